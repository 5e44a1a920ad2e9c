"""A person's page: the face, the portraits, what was seen, the journal; and everything that is done with them."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from portrait.console import finding
from portrait.console.acting import Page, told
from portrait.console.bulk import CHANGE, DEEDS, DELETE
from portrait.console.telling import tell
from portrait.core.errors import ConflictError
from portrait.core.keyset import Key
from portrait.core.keyset import page_of as keyset_page
from portrait.curation.models import State, Suggestion
from portrait.gallery.models import Change, Identity, Portrait
from portrait.gallery.selectors import as_uuid, with_newest_portraits
from portrait.gallery.services import editing
from portrait.gallery.services.journal import actor_of_user
from portrait.sightings.models import Sighting

PORTRAITS_SHOWN = 60
CHANGES_SHOWN = 10
SIGHTINGS_SHOWN = 6
PICKED = 8
NEWEST = (Key("created_at", descending=True), Key("id", descending=True))


def context_of(request: HttpRequest, person: Identity) -> dict[str, Any]:
    """What the templates of the page show, as far as the user may see it."""
    may = request.user.has_perm
    portraits = Portrait.objects.filter(identity=person)
    page = keyset_page(
        portraits.filter(deleted_at=None),
        NEWEST,
        PORTRAITS_SHOWN,
        after=request.GET.get("_after", ""),
        before=request.GET.get("_before", ""),
    )
    changes = Change.objects.filter(identities__contains=[person.pk]).select_related("undone_by").order_by("-id")
    return {
        "person": person,
        "portraits": page,
        "deleted_portraits": list(portraits.exclude(deleted_at=None).order_by("-deleted_at")[:PORTRAITS_SHOWN]),
        "may_see_faces": may("gallery.view_portrait"),
        "may_edit": may(CHANGE) and person.deleted_at is None and person.merged_into_id is None,
        "may_delete": may(DELETE),
        "journal": tell(changes[:CHANGES_SHOWN]) if may("gallery.view_change") else None,
        "may_undo": may(CHANGE),
        "seen": _seen(person) if may("sightings.view_sighting") else None,
        "suggestions": _suggestions(person) if may("curation.view_suggestion") else 0,
    }


def _seen(person: Identity) -> list[Sighting]:
    rows = Sighting.objects.filter(identity=person).select_related("camera").order_by("-first_seen", "-id")
    return list(rows[:SIGHTINGS_SHOWN])


def _suggestions(person: Identity) -> int:
    return Suggestion.objects.filter(state=State.OPEN, identities__contains=[person.pk]).count()


def pages(page_of: "ModelAdmin[Identity]") -> list[Page]:
    def edit(request: HttpRequest, pk: UUID) -> HttpResponse:
        return _answer(request, pk, _edit)

    def portraits(request: HttpRequest, pk: UUID) -> HttpResponse:
        return _answer(request, pk, _portraits)

    def pick(request: HttpRequest) -> HttpResponse:
        return _pick(request)

    return [
        ("<uuid:pk>/edit/", edit, "gallery_identity_edit"),
        ("<uuid:pk>/portraits/", portraits, "gallery_identity_portraits"),
        ("pick/", pick, "gallery_identity_pick"),
    ]


def _answer(request: HttpRequest, pk: UUID, do: Any) -> HttpResponse:
    """One deed on one person, told on the page that is shown next."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm(CHANGE):
        raise PermissionDenied
    person = Identity.objects.filter(pk=pk).first()
    if person is None:
        raise Http404("There is no such person.")
    shown = pk
    with told(request):
        shown = do(request, person) or pk
    return redirect(reverse("admin:gallery_identity_change", args=[shown]))


def _edit(request: HttpRequest, person: Identity) -> UUID | None:
    actor, deed = actor_of_user(request.user), request.POST.get("deed", "")
    if deed == "rename":
        name = request.POST.get("name", "").strip()
        if not 0 < len(name) <= 200:
            raise ConflictError("A name has 1 to 200 characters.")
        change = editing.update(identity=person, actor=actor, name=name)
        messages.success(request, f"Renamed to {name}." if change else "That is the name already.")
    elif deed == "merge":
        target = _chosen(request, person)
        editing.merge(target=target, sources=[person], actor=actor)
        messages.success(request, f"{person} is merged into {target} now. The journal below can undo it.")
        return target.pk
    elif deed in DEEDS:
        if not request.user.has_perm(DEEDS[deed].permission):
            raise PermissionDenied
        DEEDS[deed].do(person, actor)
        messages.success(request, f"{DEEDS[deed].title}: done. {DEEDS[deed].consequence}")
    else:
        raise ConflictError("There is no such thing to do.")
    return None


def _chosen(request: HttpRequest, person: Identity) -> Identity:
    """Whom the form names as the other one."""
    key = as_uuid(request.POST.get("to", ""))
    found = Identity.objects.filter(pk=key, collection_id=person.collection_id).first() if key else None
    if found is None:
        raise ConflictError("Choose a person of the same collection first.")
    return found


def _portraits(request: HttpRequest, person: Identity) -> UUID | None:
    actor, deed = actor_of_user(request.user), request.POST.get("deed", "")
    keys = [key for text in request.POST.getlist("portraits") if (key := as_uuid(text))]
    chosen = list(Portrait.objects.filter(pk__in=keys, identity=person)[: PORTRAITS_SHOWN + 1])
    if not chosen:
        raise ConflictError("Choose some portraits first.")
    if deed in ("delete", "restore"):
        if not request.user.has_perm("gallery.delete_portrait"):
            raise PermissionDenied
        one = editing.delete_portrait if deed == "delete" else editing.restore_portrait
        for portrait in chosen:
            one(portrait=portrait, actor=actor)
        messages.success(request, f"{len(chosen)} portrait(s) {'deleted' if deed == 'delete' else 'restored'}.")
    elif deed == "reject":
        for portrait in chosen:
            editing.reject(identity=person, actor=actor, portrait=portrait)
        messages.success(request, f"Noted: {len(chosen)} portrait(s) do not show {person}.")
    elif deed == "move":
        target = _chosen(request, person)
        editing.move(identity=person, actor=actor, portraits=chosen, to=target)
        messages.success(request, f"{len(chosen)} portrait(s) moved to {target}.")
    elif deed == "split":
        name = request.POST.get("name", "").strip()[:200] or None
        change = editing.split(identity=person, actor=actor, portraits=chosen, name=name)
        messages.success(request, f"{len(chosen)} portrait(s) belong to a new person now.")
        return as_uuid(str(change.details.get("to", "")))
    else:
        raise ConflictError("There is no such thing to do.")
    return None


def _pick(request: HttpRequest) -> HttpResponse:
    """People to choose one of, as a piece of a page."""
    if not request.user.has_perm("gallery.view_identity"):
        raise PermissionDenied
    term, collection = request.GET.get("q", "").strip(), as_uuid(request.GET.get("collection", ""))
    found, other = Identity.objects.filter(deleted_at=None, merged_into=None), as_uuid(request.GET.get("not", ""))
    if collection is None or not term:
        found = found.none()
    else:
        found = finding.by_words(found.filter(collection_id=collection), term)
    people = found.exclude(pk=other) if other else found
    shown = list(with_newest_portraits(people.order_by("name", "id"), 1)[:PICKED])
    return TemplateResponse(request, "console/picked.html", {"people": shown, "term": term})
