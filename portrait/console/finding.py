"""Finding people: by what is known of them, and by a picture."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Exists, Max, OuterRef, QuerySet

from inference.types import Box
from portrait.audit.models import Action
from portrait.audit.services import record
from portrait.core.principal import Principal
from portrait.gallery.finding import by_words, matching
from portrait.gallery.models import WEAK_BELOW, Collection, Identity, Portrait
from portrait.gallery.selectors import Candidate, with_newest_portraits
from portrait.gallery.services.recognition import recognise
from portrait.sightings.models import Sighting

__all__ = ["FoundFace", "attach_last_seen", "by_photo", "by_words", "matching", "with_weak_portraits"]

FOUND_BY_PHOTO = 12
LEAST_SIMILARITY = 0.1
"""Also people who are not alike are shown, with their similarity: a reader wants to see who comes next."""


def with_weak_portraits(people: "QuerySet[Identity]") -> "QuerySet[Identity]":
    """Those who have a portrait of poor quality."""
    weak = Portrait.objects.filter(identity=OuterRef("pk"), deleted_at=None, quality__score__lt=WEAK_BELOW)
    return people.filter(Exists(weak))


def attach_last_seen(people: Iterable[Identity]) -> None:
    """`last_seen` of the people of a page: one query, over their sightings only."""
    people = list(people)
    seen = Sighting.objects.filter(identity__in=[person.pk for person in people]).order_by().values("identity")
    latest = {row["identity"]: row["latest"] for row in seen.annotate(latest=Max("last_seen"))}
    for person in people:
        person.last_seen = latest.get(person.pk)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face of the picture that was asked about, and who is like it, most alike first."""

    box: Box
    candidates: list[Candidate]


def by_photo(*, principal: Principal, collection: Collection, data: bytes) -> list[FoundFace]:
    """Who is like the faces of a picture. The question is noted in the audit log; the picture is not kept.

    Raises:
        ImageError, InferenceError, AuditUnavailableError.
    """
    faces = recognise(collection=collection, data=data, top_k=FOUND_BY_PHOTO, min_similarity=LEAST_SIMILARITY)
    named = [candidate.identity.pk for face in faces for candidate in face.candidates]
    record(
        principal=principal,
        action=Action.SEARCH,
        collection_id=collection.pk,
        probe=data,
        details={"faces": len(faces), "in": "admin", "top_k": FOUND_BY_PHOTO, "min_similarity": LEAST_SIMILARITY},
        identities=named,
    )
    shown = _shown(named)
    return [
        FoundFace(
            face.face.box,
            [
                Candidate(shown[each.identity.pk], each.distance, each.similarity)
                for each in face.candidates
                if each.identity.pk in shown
            ],
        )
        for face in faces
    ]


def _shown(ids: list[UUID]) -> dict[UUID, Identity]:
    """The people with their newest portrait, in one query."""
    people = with_newest_portraits(Identity.objects.filter(pk__in=ids).select_related("collection"), 1)
    return {person.pk: person for person in people}
