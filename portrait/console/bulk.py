"""Many people at once: chosen in the grid, looked at once more, then done; above some, by a job with progress."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from portrait.console.acting import Page, told
from portrait.core.errors import ConflictError, NotFoundError
from portrait.gallery.models import Change, Identity
from portrait.gallery.selectors import as_uuid, with_newest_portraits, with_portrait_counts
from portrait.gallery.services import editing
from portrait.gallery.services.journal import Actor, actor_of_user
from portrait.jobs.models import Job, JobItem
from portrait.jobs.services import create_job
from portrait.jobs.tasks import enqueue_job

KIND = "edit-people"
QUEUE = "reindex"  # it may wait for what is live
AT_ONCE = 20
"""More than so many are done by a job."""
MOST = 5_000
MOST_MERGED = 50
SHOWN = 12

CHANGE, DELETE = "gallery.change_identity", "gallery.delete_identity"


@dataclass(frozen=True, slots=True)
class Deed:
    """Something done to each of several people. consequence: what the page of confirmation says."""

    title: str
    consequence: str
    permission: str
    do: Callable[[Identity, Actor], Change | None]


DEEDS = {
    "hide": Deed(
        "Hide",
        "They are recognised still, but left out of lists.",
        CHANGE,
        lambda person, actor: editing.update(identity=person, actor=actor, hidden=True),
    ),
    "show": Deed(
        "Show again",
        "They appear in lists.",
        CHANGE,
        lambda person, actor: editing.update(identity=person, actor=actor, hidden=False),
    ),
    "delete": Deed(
        "Delete",
        "They are no longer recognised and out of sight. They can be restored until their time of grace is over.",
        DELETE,
        lambda person, actor: editing.delete(identity=person, actor=actor),
    ),
    "restore": Deed(
        "Restore",
        "Their deletion is taken back.",
        DELETE,
        lambda person, actor: editing.restore(identity=person, actor=actor),
    ),
}


def _action(name: str) -> Any:
    deed = DEEDS[name]

    @admin.action(description=f"{deed.title} ...", permissions=["delete" if deed.permission == DELETE else "change"])
    def ask(page_of: "ModelAdmin[Identity]", request: HttpRequest, chosen: "QuerySet[Identity]") -> HttpResponse:
        return _confirmation(page_of, request, name, list(chosen.order_by().values_list("pk", flat=True)[: MOST + 1]))

    ask.__name__ = f"{name}_people"
    return ask


@admin.action(description="Merge into one ...", permissions=["change"])
def merge_people(page_of: "ModelAdmin[Identity]", request: HttpRequest, chosen: "QuerySet[Identity]") -> HttpResponse:
    keys = list(chosen.order_by().values_list("pk", flat=True)[: MOST_MERGED + 1])
    if not 2 <= len(keys) <= MOST_MERGED:
        messages.error(request, f"Choose two people or more, up to {MOST_MERGED}.")
        return redirect(request.get_full_path())
    return _confirmation(page_of, request, "merge", keys)


ACTIONS = [*(_action(name) for name in DEEDS), merge_people]


def _confirmation(page_of: "ModelAdmin[Identity]", request: HttpRequest, name: str, keys: list[UUID]) -> HttpResponse:
    if len(keys) > MOST:
        messages.error(request, f"That are more than {MOST:,} people: filter the list further.")
        return redirect(request.get_full_path())
    shown = Identity.objects.filter(pk__in=keys[: MOST_MERGED if name == "merge" else SHOWN])
    people = list(with_newest_portraits(with_portrait_counts(shown), 1))
    people.sort(key=lambda person: (person.kind != Identity.Kind.KNOWN, -person.portrait_count))  # type: ignore[attr-defined]
    context = {
        **page_of.admin_site.each_context(request),
        "opts": page_of.opts,
        "title": "Merge into one" if name == "merge" else DEEDS[name].title,
        "name": name,
        "deed": DEEDS.get(name),
        "people": people,
        "more": len(keys) - len(people),
        "number": len(keys),
        "by_job": len(keys) > AT_ONCE and name != "merge",
        "ids": ",".join(str(key) for key in keys),
    }
    return TemplateResponse(request, "console/bulk.html", context)


def pages(page_of: "ModelAdmin[Identity]") -> list[Page]:
    def do(request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        keys = [key for text in request.POST.get("ids", "").split(",")[: MOST + 1] if (key := as_uuid(text))]
        if request.POST.get("deed") == "merge":
            return _merge(request, keys)
        return _do(request, str(request.POST.get("deed")), keys)

    return [("bulk/", do, "gallery_identity_bulk")]


def _merge(request: HttpRequest, keys: list[UUID]) -> HttpResponse:
    if not request.user.has_perm(CHANGE):
        raise PermissionDenied
    into = as_uuid(request.POST.get("into", ""))
    people = {person.pk: person for person in Identity.objects.filter(pk__in=keys[:MOST_MERGED])}
    if into is None or into not in people or len(people) < 2:
        messages.error(request, "Choose who stays, and at least one other.")
        return redirect("admin:gallery_identity_changelist")
    target = people.pop(into)
    with told(request):
        editing.merge(target=target, sources=list(people.values()), actor=actor_of_user(request.user))
        messages.success(request, f"{len(people)} merged into {target}. The journal below can undo it.")
    return redirect("admin:gallery_identity_change", target.pk)


def _do(request: HttpRequest, name: str, keys: list[UUID]) -> HttpResponse:
    deed = DEEDS.get(name)
    if deed is None or not request.user.has_perm(deed.permission):
        raise PermissionDenied
    if len(keys) > AT_ONCE:
        with told(request):
            job = start(name=name, keys=keys[:MOST], actor=actor_of_user(request.user))
            messages.success(request, f"{deed.title}: {len(keys):,} people, by a job. This page shows how far it is.")
            return redirect("admin:jobs_job_change", job.pk)
        return redirect("admin:gallery_identity_changelist")
    done = 0
    for person in Identity.objects.filter(pk__in=keys).order_by("pk"):
        with told(request):
            deed.do(person, actor_of_user(request.user))
            done += 1
    if done:
        link = reverse("admin:gallery_change_changelist")
        messages.success(request, f"{deed.title}: {done} done. The journal ({link}) can undo it.")
    return redirect("admin:gallery_identity_changelist")


def start(*, name: str, keys: list[UUID], actor: Actor) -> Job:
    """A job that does it to each of them: an item a person, so that each can fail by itself."""
    collections = set(Identity.objects.filter(pk__in=keys).values_list("collection_id", flat=True))
    with transaction.atomic():
        job = create_job(
            kind=KIND,
            queue=QUEUE,
            collection_id=collections.pop() if len(collections) == 1 else None,
            parameters={"deed": name, "actor": actor.name, "ids": [str(key) for key in keys]},
            items=len(keys),
        )
        transaction.on_commit(lambda: enqueue_job(job))
    return job


def forget(identity_id: UUID) -> None:
    """Take an erased person out of the jobs that name them; the places of the others stay."""
    gone = str(identity_id)
    with transaction.atomic():
        for job in Job.objects.select_for_update().filter(kind=KIND, parameters__ids__contains=[gone]).order_by("pk"):
            ids = [None if each == gone else each for each in job.parameters["ids"]]
            Job.objects.filter(pk=job.pk).update(parameters={**job.parameters, "ids": ids})


class EditHandler:
    """Job kind `edit-people`: parameters deed, actor, ids; an item the person of its index."""

    def prepare(self, item: JobItem) -> None:
        return None

    def store(self, item: JobItem, prepared: None) -> dict[str, Any]:
        asked = item.job.parameters
        key = asked["ids"][item.index]  # None: `forget`
        person = Identity.objects.filter(pk=key).first() if key else None
        if person is None:
            raise NotFoundError("This person was erased meanwhile.")
        try:
            change = DEEDS[asked["deed"]].do(person, Actor(asked["actor"]))
        except ConflictError:
            if asked["deed"] == "delete" and Identity.objects.filter(pk=person.pk, deleted_at__isnull=False).exists():
                return {"change": None}  # delivered twice, or done by hand meanwhile
            raise
        return {"change": change.pk if change else None}  # which names them until they are erased
