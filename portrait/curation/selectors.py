"""Reads of suggestions: which a caller may see, what they name, and whether they still make sense."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q, QuerySet

from portrait.core.principal import Principal
from portrait.curation.models import OF_PEOPLE, Kind, Suggestion
from portrait.gallery.models import Distinct, Identity, Portrait

MAX_MERGES = 20
"""How long a chain of merges is followed."""
Pair = tuple[UUID, UUID]


def visible_suggestions(principal: Principal) -> "QuerySet[Suggestion]":
    """The suggestions a caller may see."""
    rows = Suggestion.objects.select_related("collection")
    if principal.collection_ids is None:
        return rows
    return rows.filter(collection_id__in=principal.collection_ids)


def in_order(first: UUID, second: UUID) -> Pair:
    """A pair as the database orders it."""
    return (first, second) if first < second else (second, first)


def distinct_among(identity_ids: Iterable[UUID]) -> set[Pair]:
    """Which of these people were said to be two."""
    ids = list(identity_ids)
    return set(Distinct.objects.filter(first__in=ids, second__in=ids).values_list("first_id", "second_id"))


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known now of the subjects of suggestions, with those whom they were merged into.

    portraits: the live ones, and whose they are. distinct: of each person who is said to be another.
    """

    identities: dict[UUID, Identity]
    portraits: dict[UUID, UUID]
    distinct: dict[UUID, set[UUID]]

    def visible(self, identity_id: UUID) -> bool:
        found = self.identities.get(identity_id)
        return found is not None and not (found.merged_into_id or found.deleted_at or found.hidden)

    def now(self, identity_id: UUID) -> UUID | None:
        """Who that is now: themselves, or whom they were merged into; None: gone, or not to be seen."""
        current: UUID | None = identity_id
        for _ in range(MAX_MERGES):
            found = self.identities.get(current) if current else None
            if found is None or found.merged_into_id is None:
                break
            current = found.merged_into_id
        return current if current is not None and self.visible(current) else None

    def apart(self, identity_ids: Sequence[UUID]) -> bool:
        """Whether two of these are known to be two people."""
        people = set(identity_ids)
        return any(not people.isdisjoint(self.distinct.get(key, ())) for key in people)

    def overtaken(self, suggestion: Suggestion) -> str | None:
        """Why the question does not arise any more, as a code; None: it does."""
        if not all(self.visible(key) for key in suggestion.identities):
            return "people_changed"
        if suggestion.kind in OF_PEOPLE:
            return "two_people" if self.apart(suggestion.identities) else None
        owner = suggestion.identities[0]
        if not all(self.portraits.get(key) == owner for key in suggestion.portraits):
            return "portraits_changed"
        return None


def facts_of(suggestions: Iterable[Suggestion]) -> Facts:
    """Three queries, and one a step of the longest chain of merges."""
    rows = list(suggestions)
    identities: dict[UUID, Identity] = {}
    wanted = {key for row in rows for key in row.identities}
    for _ in range(MAX_MERGES):
        if not wanted:
            break
        identities |= Identity.objects.in_bulk(wanted)
        wanted = {row.merged_into_id for row in identities.values() if row.merged_into_id} - identities.keys()
    live = Portrait.objects.filter(pk__in={key for row in rows for key in row.portraits}, deleted_at=None)
    apart: dict[UUID, set[UUID]] = defaultdict(set)
    for one, two in distinct_among(identities):
        apart[one].add(two)
    return Facts(identities, dict(live.values_list("pk", "identity_id")), apart)


def naming(identity_ids: Iterable[UUID]) -> Q:
    """Suggestions that name one of these people."""
    return Q(identities__overlap=list(identity_ids))


def thumbnails_of(identity_ids: Iterable[UUID]) -> dict[UUID, Portrait]:
    """A portrait of each of these people to show, the newest: one query."""
    newest = Portrait.objects.filter(identity__in=list(identity_ids), deleted_at=None)
    newest = newest.order_by("identity_id", "-created_at", "-id").distinct("identity_id")
    return {portrait.identity_id: portrait for portrait in newest}


REASONS = {
    "alike": "Their faces are alike.",
    "same_picture": "The very same picture is enrolled under both.",
    "enrolment": "At enrolment the face of one looked like the other.",
    "cluster": "Their faces, in portraits and sightings, hang together.",
    "unlike_the_rest": "The face does not look like the other portraits of this person.",
    "like_somebody_else": "The face looks like somebody else's, and not like the other portraits of this person.",
    "better_ones": "The portrait is poor, and this person has better ones.",
    "only_weak": "This person has no good portrait: better pictures are wanted.",
}


def reason_of(suggestion: Suggestion) -> str:
    """Why it is suggested, in words."""
    return REASONS.get(str(suggestion.details.get("reason", "")), Kind(suggestion.kind).label)
