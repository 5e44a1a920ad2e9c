"""The front page: how much there is, what waits for people, what runs, whether all is well."""

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import connection, models
from django.http import HttpRequest
from django.urls import reverse

from portrait.console.acting import names_people
from portrait.core.health import outcome
from portrait.core.keyset import MOST_COUNTED, Counted
from portrait.jobs.models import Job
from portrait.jobs.selectors import attach_counts, progress_of
from portrait.sightings.models import Alert

JOBS_SHOWN = 5
ALERTS_SHOWN = 6
TILES = (
    ("People", "face", "gallery.identity"),
    ("Portraits", "account_box", "gallery.portrait"),
    ("Sightings", "visibility", "sightings.sighting"),
    ("Frames", "photo_library", "cameras.frame"),
)
"""(title, symbol, table): counted as PostgreSQL estimates it where there are many."""


@dataclass(frozen=True, slots=True)
class Tile:
    title: str
    icon: str
    counted: Counted
    url: str | None


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What `UNFOLD["DASHBOARD_CALLBACK"]` asks for: only what the user may see."""
    may = request.user.has_perm
    context["tiles"] = [_tile(*each) for each in TILES if may(f"{each[2].replace('.', '.view_')}")]
    context["running"] = _running() if may("jobs.view_job") else None
    context["alerts"] = _alerts() if may("sightings.view_alert") else None
    may_review = may("curation.view_suggestion") and names_people(request)
    context["open_suggestions"] = _open_suggestions() if may_review else None
    context["health"] = outcome.get()
    return context


def _tile(title: str, icon: str, label: str) -> Tile:
    model = apps.get_model(label)
    name = f"admin:{label.replace('.', '_')}_changelist"
    return Tile(title, icon, rows_in(model), None if label == "gallery.portrait" else reverse(name))


def rows_in(model: type[models.Model]) -> Counted:
    """How many rows a table has: small ones are counted, of large ones the statistics are read."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [model._meta.db_table])
        estimate = int(cursor.fetchone()[0])
    if estimate > MOST_COUNTED:
        return Counted(estimate, exact=False, estimated=True)
    rows = model._default_manager.order_by().values("pk")[: MOST_COUNTED + 1].count()
    return Counted(min(rows, MOST_COUNTED), exact=rows <= MOST_COUNTED)


def _running() -> list[Any]:
    jobs = list(Job.objects.filter(finished_at=None).order_by("-created_at")[:JOBS_SHOWN])
    attach_counts(jobs)
    return [(job, progress_of(job)) for job in jobs]


def _alerts() -> list[Alert]:
    newest = Alert.objects.order_by("-created_at", "-id").select_related("identity", "camera", "watch", "sighting")
    return list(newest[:ALERTS_SHOWN])


def _open_suggestions() -> list[dict[str, Any]]:
    suggestion = apps.get_model("curation", "Suggestion")
    kinds = dict(suggestion._meta.get_field("kind").choices or [])
    rows = suggestion._default_manager.filter(state="open").order_by().values("kind")
    counts = rows.annotate(number=models.Count("pk"))
    return [{"kind": row["kind"], "title": kinds[row["kind"]], "number": row["number"]} for row in counts]
