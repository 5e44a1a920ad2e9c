"""The sidebar: what there is to do, grouped by daily work. Everybody sees what he may open."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from portrait.console.places import GROUPS, address_of, is_registered
from portrait.jobs.models import ItemState, Job, JobItem

MOST_IN_A_BADGE = 99
RECENT = timedelta(days=1)

Item = dict[str, Any]


def sidebar(request: HttpRequest) -> list[Item]:
    """What `UNFOLD["SIDEBAR"]["navigation"]` asks for."""
    groups = [
        {
            "title": title,
            "separator": True,
            "items": [_item(request, *each) for each in items if is_registered(each[2])],
        }
        for title, items in GROUPS
    ]
    others = _others(request)
    if others:
        groups.append({"title": "More", "separator": True, "collapsible": True, "items": others})
    home = {"title": "Overview", "icon": "dashboard", "link": reverse("admin:index"), "has_permission": True}
    return [{"title": None, "items": [home]}, *groups]


def _item(request: HttpRequest, title: str, icon: str, label: str) -> Item:
    allowed = _may_open(request, label)
    item: Item = {"title": title, "icon": icon, "link": address_of(label), "permission": lambda _: allowed}
    count = BADGES.get(label)
    number = count() if allowed and count is not None else 0
    if number:
        item["badge"] = f"{MOST_IN_A_BADGE}+" if number > MOST_IN_A_BADGE else str(number)
        item["badge_variant"] = "danger" if label == "jobs.job" else "primary"
    return item


def _may_open(request: HttpRequest, label: str) -> bool:
    """As the page itself would say."""
    return admin.site._registry[apps.get_model(label)].has_view_or_change_permission(request)


def _others(request: HttpRequest) -> list[Item]:
    """What apps registered that has no place above."""
    placed = {label for _, items in GROUPS for _, _, label in items}
    labels = {f"{model._meta.app_label}.{model._meta.model_name}": model for model in admin.site._registry}
    hidden = {label for label in labels if label.startswith("django_celery_beat.")}
    return [
        _item(request, str(model._meta.verbose_name_plural).capitalize(), "chevron_right", label)
        for label, model in sorted(labels.items())
        if label not in placed | hidden and _may_open(request, label)
    ]


def _count(label: str, condition: Q) -> int:
    """No more than what a badge shows is counted."""
    rows = apps.get_model(label).objects.filter(condition)
    return int(rows.order_by().values("pk")[: MOST_IN_A_BADGE + 1].count())


def _failed_jobs() -> int:
    """Jobs that ended within a day and have something to be looked at."""
    failed = Exists(JobItem.objects.filter(job=OuterRef("pk"), state=ItemState.FAILED))
    recent = Job.objects.filter(failed, finished_at__gte=timezone.now() - RECENT)
    return recent.order_by().values("pk")[: MOST_IN_A_BADGE + 1].count()


BADGES: dict[str, Callable[[], int]] = {
    "jobs.job": _failed_jobs,
    "curation.suggestion": lambda: _count("curation.suggestion", Q(state="open")),
    "sightings.alert": lambda: _count("sightings.alert", Q(acknowledged_at=None)),
}
