"""Who looks like whom, and which portraits do not fit: reads of one chunk of people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from inference.calibration import DECISION, Calibration
from portrait.curation.models import Kind
from portrait.curation.people import ALL_FACES, Kept, Person, living, load, qualities
from portrait.curation.proposals import Proposal
from portrait.curation.selectors import Pair, in_order
from portrait.gallery.models import WEAK_BELOW, Collection, Identity
from portrait.gallery.selectors import calibration_of, nearest_identities
from portrait.sightings.models import Detection
from portrait.sightings.selectors import Scope, nearest_exemplars

LIKE_FROM = 0.3
"""Similarity from which two people are noted as alike."""
OUTLIER_BELOW = 0.3
"""A portrait that is less similar to the nearest other of its person is suggested as an outlier."""
NEIGHBOURS = 10
PROBES = 4
"""So many faces of a person are looked for among the others'."""
EXEMPLARS = 32


@dataclass(frozen=True, slots=True)
class Near:
    """How far two people are apart: on average, and at the nearest."""

    distance: float
    nearest: float


@dataclass(frozen=True, slots=True)
class Looked:
    """What a chunk came to. people: all who were looked at."""

    people: list[UUID]
    near: dict[Pair, Near] = field(default_factory=dict)
    proposals: list[Proposal] = field(default_factory=list)


def look(collection: Collection, identity_ids: Sequence[UUID]) -> Looked:
    """Look at these people: their neighbours, and their portraits among each other."""
    calibration = calibration_of(collection)
    people = load(collection, identity_ids, portraits=ALL_FACES)
    around = {key: _neighbours(collection, person) for key, person in people.items()}
    others = load(collection, {key for keys in around.values() for key in keys} - people.keys()) | people
    near = _measured(around, others, calibration.distance(LIKE_FROM))
    kept = qualities(list(people))
    proposals = [proposal for person in people.values() for proposal in _outliers(collection, calibration, person)]
    outliers = {key for proposal in proposals for key in proposal.portraits}
    proposals += [
        proposal
        for key in people
        for proposal in _weak([each for each in kept.get(key, []) if each.portrait_id not in outliers])
    ]
    return Looked(list(identity_ids), near, proposals)


def _probes(person: Person) -> list[np.ndarray]:
    """The newest portrait and the newest faces that were seen, and of the other portraits those farthest from it."""
    rows = [*person.vectors[:1], *person.seen[:1]]
    rest = sorted(person.vectors[1:], key=lambda row: -float(np.linalg.norm(row - rows[0])))
    return [*rows, *rest, *person.seen[1:]][:PROBES]


def _neighbours(collection: Collection, person: Person) -> set[UUID]:
    """People with a portrait or a face in a frame near one of this person's."""
    farthest = calibration_of(collection).distance(LIKE_FROM)
    found, detections = set[UUID](), set[int]()
    for vector in _probes(person):
        near = nearest_identities(
            collection, vector, top_k=NEIGHBOURS, min_similarity=LIKE_FROM, exclude=[person.identity_id]
        )
        found |= {candidate.identity.pk for candidate in near}
        exemplars = nearest_exemplars(Scope(collection), vector, EXEMPLARS)
        detections |= {key for key, distance in exemplars if distance <= farthest}
    seen = Detection.objects.filter(pk__in=detections, dismissed=False).exclude(identity=None)
    found |= {key for key in seen.values_list("identity_id", flat=True) if key is not None}
    found.discard(person.identity_id)
    return set(living(collection.pk).filter(pk__in=found).values_list("pk", flat=True)) if found else found


def _measured(around: dict[UUID, set[UUID]], people: dict[UUID, Person], farthest: float) -> dict[Pair, Near]:
    faces = {key: person.faces for key, person in people.items()}
    near: dict[Pair, Near] = {}
    for key, others in around.items():
        for other in others & people.keys():
            pair = in_order(key, other)
            if pair not in near and (distance := faces[key].distance(faces[other])) <= farthest:
                near[pair] = Near(distance, people[key].nearest(people[other]))
    return near


def _outliers(collection: Collection, calibration: Calibration, person: Person) -> Iterable[Proposal]:
    """Portraits that no other portrait of the same person is like."""
    count = len(person.vectors)
    if count < 2:
        return
    rows = np.stack(person.vectors)
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    own = distances.min(axis=1)
    unlike = [index for index in range(count) if calibration.similarity(float(own[index])) < DECISION]
    if len(unlike) > max(1, count // 2):
        unlike = _alone_with_others(collection, person, unlike)  # nobody agrees: only who is like somebody else
    for index in unlike:
        proposal = _outlier(collection, calibration, person, index, float(own[index]))
        if proposal is not None:
            yield proposal


def _alone_with_others(collection: Collection, person: Person, unlike: list[int]) -> list[int]:
    like = [index for index in unlike if _like(collection, person, index)]
    return like[:1] if len(like) < len(person.vectors) else []


def _like(collection: Collection, person: Person, index: int) -> Identity | None:
    """Whom a portrait looks like, beside its own person."""
    near = nearest_identities(collection, person.vectors[index], top_k=3, exclude=[person.identity_id])
    return next((each.identity for each in near if not each.identity.hidden), None)


def _outlier(
    collection: Collection, calibration: Calibration, person: Person, index: int, own: float
) -> Proposal | None:
    similarity = calibration.similarity(own)
    other = _like(collection, person, index)
    if other is None and (similarity >= OUTLIER_BELOW or len(person.vectors) < 3):
        return None
    return Proposal(
        Kind.OUTLIER,
        (person.identity_id,) if other is None else (person.identity_id, other.pk),
        round(1 - similarity, 4),
        portraits=(person.portraits[index],),
        details={
            "reason": "unlike_the_rest" if other is None else "like_somebody_else",
            "similarity": round(similarity, 4),
        },
    )


def _weak(kept: Sequence[Kept]) -> Iterable[Proposal]:
    """Poor portraits where there are better ones; all of them as one where there are none."""
    weak = [each for each in kept if each.score < WEAK_BELOW]
    if weak and len(weak) == len(kept):
        keys = tuple(sorted(each.portrait_id for each in weak))
        yield _poor(weak[0].identity_id, keys, "only_weak", max(each.score for each in weak))
        return
    for each in weak:
        yield _poor(each.identity_id, (each.portrait_id,), "better_ones", each.score)


def _poor(identity_id: UUID, portraits: tuple[UUID, ...], reason: str, quality: float) -> Proposal:
    details = {"reason": reason, "quality": round(quality, 3)}
    return Proposal(Kind.WEAK, (identity_id,), round(1 - quality, 4), portraits=portraits, details=details)
