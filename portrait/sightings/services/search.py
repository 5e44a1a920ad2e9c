"""Where and when was this face seen: from one picture to a timeline."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from inference.calibration import DECISION
from inference.types import Box, Face, FloatArray
from portrait.core.principal import Principal
from portrait.gallery.face_choice import choose_face
from portrait.gallery.models import Identity
from portrait.gallery.selectors import Candidate, calibration_of, nearest_identities
from portrait.gallery.services.photos import analyse
from portrait.gallery.vectors import vector_of
from portrait.sightings.models import Detection, Sighting
from portrait.sightings.selectors import (
    Scope,
    nearest_exemplars,
    overlapping,
    sightings_around,
    sightings_of,
    visible_sightings,
    without_deleted,
)

CANDIDATES = 20
SAME = 5e-5
"""Similarities are told to four digits: a face that is as like as the portrait, but for rounding, is what is named."""
FIRST_ROWS, MOST_ROWS = 500, 20_000


@dataclass(frozen=True, slots=True)
class FoundSighting:
    """A sighting like the face. matched_by: what `similarity` is of: `face`: one of its faces; `identity`: a portrait
    of the person."""

    sighting: Sighting
    similarity: float
    matched_by: str


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face that belongs to no sighting: the most similar of its track."""

    detection: Detection
    similarity: float


@dataclass(frozen=True, slots=True)
class Found:
    """The face that was looked for, who it may be, and where it was seen: the most similar, newest first.
    more: there were more than `top_k`."""

    face: Face
    identities: list[Candidate]
    sightings: list[FoundSighting]
    faces: list[FoundFace]
    more: bool


@dataclass(slots=True)
class _Matches:
    """Similarity by sighting, and the faces without one, a track once."""

    sightings: dict[UUID, float]
    faces: dict[int | str, FoundFace]


def search(
    *,
    principal: Principal,
    scope: Scope,
    data: bytes,
    choice: str | Box | None = None,
    min_similarity: float = DECISION,
    top_k: int = 50,
    kind: str | None = None,
) -> Found:
    """The sightings that show the person in a picture, known by name or not.

    scope: within the principal's reach. kind: only people known by name, or only unknown ones.

    Raises:
        NoFaceError, SeveralFacesError: no face is meant.
        ImageError: not a picture.
    """
    _, analysis = analyse(data, collection=scope.collection)
    face = choose_face(analysis.faces, choice)
    vector = vector_of(scope.collection.active_model, face)
    candidates = _candidates(principal, scope, vector, min_similarity, kind)
    matches = _matches(scope, vector, min_similarity, top_k, kind)
    alike = {each.identity.pk: each.similarity for each in candidates}
    rows = {row.pk: row for row in sightings_of(scope, alike, top_k + 1)}
    rows |= Sighting.objects.filter(overlapping(scope.since, scope.until)).in_bulk(list(matches.sightings))
    ranked = sorted((_found(row, matches, alike) for row in rows.values()), key=_by_likeness, reverse=True)
    lonely = sorted(matches.faces.values(), key=lambda each: each.similarity, reverse=True)
    return Found(
        face=face,
        identities=candidates,
        sightings=_newest_first(principal, ranked[:top_k]),
        faces=sorted(lonely[:top_k], key=lambda each: each.detection.captured_at, reverse=True),
        more=len(ranked) > top_k or len(lonely) > top_k,
    )


def _by_likeness(found: FoundSighting) -> tuple[float, float]:
    return found.similarity, found.sighting.first_seen.timestamp()


def _found(row: Sighting, matches: _Matches, alike: dict[UUID, float]) -> FoundSighting:
    by_face, by_identity = matches.sightings.get(row.pk), alike.get(row.identity_id, 0.0)
    if by_face is not None and by_face > by_identity - SAME:
        return FoundSighting(row, max(by_face, by_identity), "face")
    return FoundSighting(row, by_identity, "identity")


def _newest_first(principal: Principal, found: Iterable[FoundSighting]) -> list[FoundSighting]:
    """As a caller sees them, with all that an answer shows."""
    by_key = {each.sighting.pk: each for each in found}
    rows = visible_sightings(principal).filter(pk__in=by_key).order_by("-first_seen", "-id")
    return [FoundSighting(row, by_key[row.pk].similarity, by_key[row.pk].matched_by) for row in rows]


def _candidates(
    principal: Principal, scope: Scope, vector: FloatArray, min_similarity: float, kind: str | None
) -> list[Candidate]:
    """Who the face may be. A key that is bound to cameras learns only of people whom these saw."""
    found = nearest_identities(scope.collection, vector, top_k=CANDIDATES, min_similarity=min_similarity)
    if principal.camera_ids is not None:
        keys = [each.identity.pk for each in found]
        here = Sighting.objects.filter(camera_id__in=principal.camera_ids, identity_id__in=keys).order_by()
        seen = set(here.values_list("identity_id", flat=True).distinct())
        found = [each for each in found if each.identity.pk in seen]
    return [each for each in found if kind is None or each.identity.kind == kind]


def _matches(scope: Scope, vector: FloatArray, min_similarity: float, top_k: int, kind: str | None) -> _Matches:
    """Faces like this one, by the sightings they are part of. Read on until there are `top_k`, as one person who is
    there all day has many faces."""
    calibration = calibration_of(scope.collection)
    farthest = calibration.distance(min_similarity) + 1e-6
    limit = FIRST_ROWS
    while True:
        rows = nearest_exemplars(scope, vector, limit)
        near = {key: calibration.similarity(distance) for key, distance in rows if distance <= farthest}
        matches = _grouped(near, kind)
        exhausted = len(rows) < limit or rows[-1][1] > farthest
        if len(matches.sightings) > top_k or exhausted or limit >= MOST_ROWS:
            return matches
        limit *= 4


def _grouped(near: dict[int, float], kind: str | None) -> _Matches:
    matches = _Matches({}, {})
    faces = Detection.objects.filter(pk__in=near).select_related("identity", "camera")
    part_of = sightings_around(near)
    shown = (without_deleted(face) for face in faces)
    for face in sorted(shown, key=lambda each: near[each.pk], reverse=True):
        if kind is not None and kind != _kind(face):
            continue
        sighting_id = part_of.get(face.pk)
        if sighting_id is not None and face.identity is not None:
            matches.sightings.setdefault(sighting_id, near[face.pk])
        else:
            matches.faces.setdefault(face.track_id or f"face {face.pk}", FoundFace(face, near[face.pk]))
    return matches


def _kind(face: Detection) -> str:
    return face.identity.kind if face.identity is not None else Identity.Kind.UNKNOWN
