"""A scan: what of it is noted, chunk by chunk, and what is asked in the end."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from portrait.core.database import still_there
from portrait.curation.apart import seen_together
from portrait.curation.grouping import MOST_OPEN, cluster_proposals, pair_proposals
from portrait.curation.looking import Looked, Near, look
from portrait.curation.models import OF_PEOPLE, Kind, Likeness, Scan, State, Suggestion
from portrait.curation.people import living
from portrait.curation.proposals import Proposal
from portrait.curation.selectors import Pair
from portrait.curation.services.proposing import of_the_living, overtake, propose, refresh
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.sightings.models import Sighting, Track

Beat = Callable[[], None]
AT_ONCE = 50
"""People whose vectors are held at a time."""
LARGEST_ID = 2**128


def part_of_ids(part: int, parts: int) -> tuple[UUID, UUID]:
    """The first and the last id of one of `parts` equal stretches of all ids: these are random, so that as many people
    have theirs in one stretch as in another, however many come and go meanwhile."""
    first, after = LARGEST_ID * part // parts, LARGEST_ID * (part + 1) // parts
    return UUID(int=first), UUID(int=after - 1)


def due(collection_id: UUID, since: datetime | None) -> "QuerySet[Identity]":
    """People who are to be looked at: all, or those of whom something changed or was seen since."""
    people = living(collection_id)
    if since is None:
        return people
    mine = {"identity": OuterRef("pk")}
    return people.filter(
        Q(updated_at__gte=since)
        | Exists(Portrait.objects.filter(**mine, updated_at__gte=since))
        | Exists(Track.objects.filter(**mine, last_seen__gte=since))
        | Exists(Sighting.objects.filter(**mine, updated_at__gte=since))
    )


def look_at_part(
    *, collection: Collection, part: int, parts: int, since: datetime | None, beat: Beat = lambda: None
) -> list[Looked]:
    """Look at the people of one stretch of ids; writes nothing. beat: called now and then: the work goes on."""
    first, last = part_of_ids(part, parts)
    rows = due(collection.pk, since).filter(pk__gte=first, pk__lte=last).order_by("pk")
    ids = list(rows.values_list("pk", flat=True))
    found = []
    for start in range(0, len(ids), AT_ONCE):
        found.append(look(collection, ids[start : start + AT_ONCE]))
        beat()
    return found


def store_looked(*, collection: Collection, looked: Looked) -> int:
    """Note what a chunk came to; answers how many questions are new. Safe to repeat, and for two at once."""
    together = seen_together({key for pair in looked.near for key in pair})
    with transaction.atomic():
        looked = _of_the_living(looked)
        _forget_unlike(collection, looked)
        _keep([_likeness(collection, pair, near, pair in together) for pair, near in sorted(looked.near.items())])
        _overtake_portraits(collection, looked)
        return propose(collection_id=collection.pk, proposals=_as_many_as_fit(collection, looked.proposals))


def _as_many_as_fit(collection: Collection, proposals: Iterable[Proposal]) -> list[Proposal]:
    """Of each kind no more than `MOST_OPEN` wait for an answer: what was asked already, and of the rest the surest.
    Who does not fit is asked about by a later scan that looks at them."""
    found = sorted(proposals, key=lambda each: -each.score)
    rows = Suggestion.objects.filter(collection=collection)
    before = rows.filter(fingerprint__in=[each.fingerprint for each in found]).exclude(state=State.STALE)
    asked = set(before.values_list("fingerprint", flat=True))
    fitting = [each for each in found if each.fingerprint in asked]
    for kind in sorted({each.kind for each in found}):
        waiting = rows.filter(state=State.OPEN, kind=kind).order_by().values("pk")[:MOST_OPEN].count()
        fresh = [each for each in found if each.kind == kind and each.fingerprint not in asked]
        fitting += fresh[: MOST_OPEN - waiting]
    return fitting


def _of_the_living(looked: Looked) -> Looked:
    """Without those who were erased since; the others stay until the transaction ends."""
    named = {key for pair in looked.near for key in pair}
    named |= {key for proposal in looked.proposals for key in proposal.identities}
    there = still_there(Identity, named.union(looked.people))
    return Looked(
        [key for key in looked.people if key in there],
        {pair: near for pair, near in looked.near.items() if there.issuperset(pair)},
        of_the_living(looked.proposals),
    )


def _likeness(collection: Collection, pair: Pair, near: Near, together: bool) -> Likeness:
    return Likeness(
        collection=collection,
        model_id=collection.active_model_id,
        first_id=pair[0],
        second_id=pair[1],
        distance=near.distance,
        nearest=near.nearest,
        together=together,
    )


def _keep(rows: list[Likeness]) -> None:
    """That two were seen together stays noted when the frame is gone."""
    seen = [row for row in rows if row.together]
    others = [row for row in rows if not row.together]
    unique = ["model", "first", "second"]
    measured = ["distance", "nearest"]
    Likeness.objects.bulk_create(
        others, batch_size=500, update_conflicts=True, unique_fields=unique, update_fields=measured
    )
    Likeness.objects.bulk_create(
        seen, batch_size=500, update_conflicts=True, unique_fields=unique, update_fields=[*measured, "together"]
    )


def _forget_unlike(collection: Collection, looked: Looked) -> None:
    rows = Likeness.objects.filter(model_id=collection.active_model_id, together=False)
    rows = rows.filter(Q(first__in=looked.people) | Q(second__in=looked.people)).order_by("first_id", "second_id")
    stored = rows.select_for_update(of=("self",)).values_list("pk", "first_id", "second_id")
    gone = [key for key, one, two in stored if (one, two) not in looked.near]
    Likeness.objects.filter(pk__in=gone).delete()


def _overtake_portraits(collection: Collection, looked: Looked) -> None:
    """Open questions about portraits of these people that do not come up any more."""
    asked = {proposal.fingerprint for proposal in looked.proposals}
    rows = Suggestion.objects.filter(
        collection=collection, state=State.OPEN, kind__in=[Kind.OUTLIER, Kind.WEAK], identities__overlap=looked.people
    )
    own = (row for row in rows if row.identities[0] in set(looked.people) and row.fingerprint not in asked)
    overtake(suggestions=own, reason="fits_now")


def group(*, collection: Collection, beat: Beat = lambda: None) -> list[Proposal]:
    """The questions about people that the graph of likenesses asks now; writes nothing. beat: as above."""
    grouped = list(cluster_proposals(collection, beat))
    return [*grouped, *pair_proposals(collection, grouped)]


def store_groups(*, collection: Collection, proposals: Iterable[Proposal]) -> dict[str, Any]:
    """Ask them; what was asked about people before and does not come up any more is overtaken."""
    found = list(proposals)
    asked = {proposal.fingerprint for proposal in found}
    cluster_of = _clusters_by_person(found)
    open_rows = Suggestion.objects.filter(collection=collection, state=State.OPEN)
    gone = 0
    for row in open_rows.filter(kind__in=OF_PEOPLE).order_by("pk").iterator(500):
        if row.fingerprint in asked or row.details.get("reason") == "enrolment":
            continue
        gone += overtake(suggestions=[row], reason=_why(row, cluster_of))
    stale = refresh(suggestions=list(open_rows.order_by("pk")[:20_000]))
    opened = propose(collection_id=collection.pk, proposals=found)
    return {"found": len(found), "opened": opened, "overtaken": gone + stale}


def _clusters_by_person(found: Iterable[Proposal]) -> dict[UUID, list[frozenset[UUID]]]:
    clusters: dict[UUID, list[frozenset[UUID]]] = defaultdict(list)
    for proposal in found:
        if proposal.kind == Kind.CLUSTER:
            members = frozenset(proposal.identities)
            for key in members:
                clusters[key].append(members)
    return clusters


def _why(row: Suggestion, cluster_of: Mapping[UUID, list[frozenset[UUID]]]) -> str:
    larger = any(set(row.identities) < members for members in cluster_of.get(row.identities[0], []))
    return "in_a_cluster" if larger else "unlike_now"


def note_scan(*, collection: Collection, job_id: UUID, began: datetime, full: bool) -> None:
    """A scan came to its end: what changed before it began need not be looked at again."""
    values: dict[str, Any] = {"model_id": collection.active_model_id, "through": began}
    if full:
        values["full_at"] = began
    Scan.objects.filter(collection=collection, job_id=job_id).update(**values)
