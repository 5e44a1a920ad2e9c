"""How suggestions come to be, and how they are overtaken by what becomes of their people."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from portrait.core.database import still_there
from portrait.curation.models import OF_PEOPLE, Kind, State, Suggestion
from portrait.curation.proposals import Proposal
from portrait.curation.selectors import Facts, facts_of, naming
from portrait.gallery.models import Change, Identity, Portrait
from portrait.gallery.services.journal import in_effect

OPENED_AGAIN: dict[str, Any] = {"state": State.OPEN, "decided_by": "", "decided_at": None, "changes": []}
BY_EDITS = ("people_changed", "two_people", "portraits_changed")
"""What is taken back together with the edit that did it; a scan's reasons are only taken back by a scan."""
CHUNK = 500


def propose(*, collection_id: UUID, proposals: Iterable[Proposal]) -> int:
    """Ask what was not asked before; answers how many questions are new, or are open again.

    What was answered stays answered, unless the answer was undone. Safe to repeat, and for two at once.
    """
    by_fingerprint = {proposal.fingerprint: proposal for proposal in proposals}
    keys, opened = list(by_fingerprint), 0
    for start in range(0, len(keys), CHUNK):
        chunk = {key: by_fingerprint[key] for key in keys[start : start + CHUNK]}
        with transaction.atomic():
            opened += _propose(collection_id, chunk)
    return opened


def of_the_living(proposals: Iterable[Proposal]) -> list[Proposal]:
    """Those that name nobody who was erased, and no portrait that was removed, since they were thought of. Whom they
    name stays until the transaction ends; who is to be erased after it, is taken out by `following`."""
    asked = list(proposals)
    people = still_there(Identity, {key for each in asked for key in each.identities})
    portraits = still_there(Portrait, {key for each in asked for key in each.portraits})
    return [each for each in asked if people.issuperset(each.identities) and portraits.issuperset(each.portraits)]


def _propose(collection_id: UUID, found: dict[str, Proposal]) -> int:
    living = of_the_living(found.values())
    proposals = {proposal.fingerprint: proposal for proposal in living}
    rows = Suggestion.objects.filter(collection_id=collection_id, fingerprint__in=proposals)
    known = {row.fingerprint: row for row in rows}
    fresh = [_row(collection_id, key, proposal) for key, proposal in proposals.items() if key not in known]
    Suggestion.objects.bulk_create(fresh, ignore_conflicts=True)
    undone = _undone(row for row in known.values() if row.state in (State.CONFIRMED, State.REJECTED))
    return len(fresh) + sum(_again(row, proposals[key], row.pk in undone) for key, row in known.items())


def _row(collection_id: UUID, fingerprint: str, proposal: Proposal) -> Suggestion:
    return Suggestion(
        collection_id=collection_id,
        kind=proposal.kind,
        fingerprint=fingerprint,
        identities=list(proposal.identities),
        portraits=list(proposal.portraits),
        score=proposal.score,
        details=proposal.details,
    )


def _undone(answered: Iterable[Suggestion]) -> set[UUID]:
    """Of answered suggestions those whose answer was undone, in the journal."""
    rows = [row for row in answered if row.changes]
    changes = Change.objects.filter(pk__in={key for row in rows for key in row.changes})
    standing = {change.pk for change in changes if in_effect(change)}
    return {row.pk for row in rows if not standing.intersection(row.changes)}


def _again(row: Suggestion, proposal: Proposal, undone: bool) -> bool:
    """Found once more: new figures for an open question; one that was overtaken, or undone, is open again."""
    told = {"score": proposal.score, "updated_at": timezone.now(), "details": proposal.details}
    told["identities"] = list(proposal.identities)  # of a portrait also whose it may be, which others are by now
    same = Suggestion.objects.filter(pk=row.pk, state=row.state)
    if row.state == State.OPEN:
        if row.kind in OF_PEOPLE and "reason" in row.details:
            told["details"] = proposal.details | {"reason": row.details["reason"]}
        same.update(**told)
    elif row.state == State.STALE or undone:
        return bool(same.update(**OPENED_AGAIN, **told))
    return False


def refresh(*, suggestions: Sequence[Suggestion]) -> int:
    """Bring open and overtaken suggestions up to what their people and portraits are now; answers how many changed.

    Who was merged is followed: the question is then asked of whom they became.
    """
    facts = facts_of(suggestions)
    return sum(_refresh(row, facts) for row in suggestions)


def _refresh(row: Suggestion, facts: Facts) -> bool:
    reason = facts.overtaken(row)
    same = Suggestion.objects.filter(pk=row.pk, state=row.state)
    if row.state == State.STALE and reason is None and row.details.get("overtaken") in BY_EDITS:
        details = {key: value for key, value in row.details.items() if key != "overtaken"}
        return bool(same.update(**OPENED_AGAIN, details=details))
    if row.state != State.OPEN or reason is None:
        return False
    details = row.details | {"overtaken": reason}
    changed = bool(same.update(state=State.STALE, details=details, updated_at=timezone.now()))
    if changed:
        _follow(row, facts)
    return changed


def _follow(row: Suggestion, facts: Facts) -> None:
    """Ask of those whom the people became."""
    if row.kind not in OF_PEOPLE:
        return
    current = sorted({key for key in map(facts.now, row.identities) if key is not None})
    if len(current) < 2 or set(current) == set(row.identities) or facts.apart(current):
        return
    details = {key: value for key, value in row.details.items() if key != "overtaken"}
    kind = Kind.CLUSTER if len(current) > 2 else Kind.SAME_PERSON
    follower = Proposal(kind, tuple(current), row.score, details=details | {"instead_of": str(row.pk)})
    propose(collection_id=row.collection_id, proposals=[follower])


def refresh_naming(*, identity_ids: Iterable[UUID]) -> None:
    """`refresh` of all that names one of these people: after a change of theirs."""
    rows = Suggestion.objects.filter(naming(identity_ids), state__in=[State.OPEN, State.STALE])
    refresh(suggestions=list(rows.order_by("pk")[:5000]))


def overtake(*, suggestions: Iterable[Suggestion], reason: str) -> int:
    """Open questions that are asked no more, for a reason of the scan: found again, they open again."""
    return sum(
        Suggestion.objects.filter(pk=row.pk, state=State.OPEN).update(
            state=State.STALE, details=row.details | {"overtaken": reason}, updated_at=timezone.now()
        )
        for row in suggestions
    )


def note_duplicates(*, identity: Identity, alike: Sequence[tuple[UUID, float]]) -> None:
    """Warnings of an enrolment, (identity, similarity) of people like the one who was enrolled, become suggestions."""
    propose(
        collection_id=identity.collection_id,
        proposals=[
            Proposal(
                Kind.DUPLICATE,
                tuple(sorted((identity.pk, other))),
                round(similarity, 4),
                details={"reason": "enrolment", "similarity": round(similarity, 4)},
            )
            for other, similarity in alike
        ],
    )
