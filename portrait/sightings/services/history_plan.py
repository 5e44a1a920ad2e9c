"""Which tracks a change of people concerns: the ledger of the job that gives them to somebody else, and its preview."""

from bisect import bisect_right
from collections.abc import Collection as Items
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import Count, Q, QuerySet

from inference.calibration import DECISION
from portrait.cameras.models import Camera
from portrait.gallery.models import Change, Collection, Identity, PortraitEmbedding
from portrait.gallery.selectors import calibration_of
from portrait.gallery.vectors import stored_vector
from portrait.sightings.models import Detection, HistoryMove, Sighting, Track
from portrait.sightings.selectors import Scope, nearest_exemplars
from portrait.sightings.services import judging
from portrait.sightings.services.judging import Work

CHUNK = 200
"""Tracks an item of the job."""
PORTRAITS_COMPARED = 20
FACES_A_PORTRAIT = 500
MOST_ALIKE = 2000
"""So many past tracks are looked at when somebody gets a name."""
MOST_PREVIEWED = 200
"""So many of them a preview really judges; of more it tells an upper bound."""


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """Tracks, and the sightings they are in, that go from one to another on a camera. None is nobody."""

    camera: Camera
    before: UUID | None
    after: UUID | None
    tracks: int
    sightings: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would do to the history, and how many portraits and watches would be somebody else's. at_most: some
    tracks would be judged first, more than a preview judges."""

    moves: list[PlannedMove]
    at_most: bool = False
    portraits: int = 0
    watches: int = 0

    @property
    def tracks(self) -> int:
        return sum(move.tracks for move in self.moves)

    @property
    def sightings(self) -> int:
        return sum(move.sightings for move in self.moves)


def plan_all(change: Change, identity_ids: Iterable[UUID], after: UUID, *, chunk: int | None = None) -> int:
    """Note every track of these people, those that are in the ledger of this change left out; answers how many.

    chunk: the item that does them all; without it 200 an item, a camera's together.
    """
    item = "%(chunk)s" if chunk is not None else "(row_number() OVER (ORDER BY camera_id, id) - 1) / %(size)s"
    statement = f"""
        INSERT INTO {HistoryMove._meta.db_table}
            (change_id, chunk, track_id, before, before_similarity, before_pinned, after, done)
        SELECT %(change)s, {item}, id, identity_id, similarity, pinned, %(after)s, false
        FROM {Track._meta.db_table} WHERE identity_id = ANY(%(people)s)
        ON CONFLICT DO NOTHING
    """  # noqa: S608  (names of our own tables)
    values = {"change": change.pk, "chunk": chunk, "size": CHUNK, "after": after, "people": list(identity_ids)}
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def plan_tracks(change: Change, tracks: Sequence[Track], after: UUID | None) -> None:
    """Note these tracks, behind those that are noted already."""
    first = next_chunk(change)
    ordered = sorted(tracks, key=lambda track: (str(track.camera_id), track.pk))
    HistoryMove.objects.bulk_create(
        [
            HistoryMove(
                change=change,
                chunk=first + index // CHUNK,
                track=track,
                before=track.identity_id,
                before_similarity=track.similarity,
                before_pinned=track.pinned,
                after=after,
            )
            for index, track in enumerate(ordered)
        ],
        batch_size=1000,
        ignore_conflicts=True,
    )


def next_chunk(change: Change) -> int:
    """How many items the ledger of a change has."""
    last = HistoryMove.objects.filter(change=change).order_by("-chunk").values_list("chunk", flat=True).first()
    return 0 if last is None else last + 1


def alike(person: Identity, collection: Collection, *, people: Items[UUID] = ()) -> list[Track]:
    """Past tracks of nobody, or of other unknown people, with a face like one of the person's portraits, the most
    alike first; at most `MOST_ALIKE`. None that is pinned, none of anybody known. people: who else becomes the person.
    """
    near: dict[int, float] = {}
    farthest = calibration_of(collection).distance(DECISION)
    rows = PortraitEmbedding.objects.filter(
        identity__in={person.pk, *people}, model_id=collection.active_model_id, live=True
    )
    for row in rows.order_by("-portrait__score", "pk")[:PORTRAITS_COMPARED]:
        for key, distance in nearest_exemplars(Scope(collection), stored_vector(row), FACES_A_PORTRAIT):
            if distance <= farthest:
                near[key] = min(distance, near.get(key, distance))
    others = Q(identity=None) | Q(
        identity__kind=Identity.Kind.UNKNOWN, identity__deleted_at=None, identity__merged_into=None
    )
    faces = Detection.objects.filter(pk__in=near).exclude(track=None).values_list("track_id", "pk")
    best: dict[int, float] = {}
    for track_id, key in faces:
        if track_id is not None:
            best[track_id] = min(near[key], best.get(track_id, near[key]))
    tracks = Track.objects.filter(others, pk__in=best, pinned=False).exclude(identity__in={person.pk, *people})
    return sorted(tracks, key=lambda track: (best[track.pk], track.pk))[:MOST_ALIKE]


def tracks_of(sightings: Iterable[Sighting]) -> list[Track]:
    """The tracks with a hit in one of these sightings."""
    found: dict[int, Track] = {}
    for row in sightings:
        seen = Detection.objects.filter(
            camera_id=row.camera_id, identity_id=row.identity_id, captured_at__range=(row.first_seen, row.last_seen)
        )
        found |= Track.objects.in_bulk(seen.exclude(track=None).values_list("track_id", flat=True).distinct())
    return [found[key] for key in sorted(found)]


def preview_all(identity_ids: Items[UUID], after: UUID | None) -> list[PlannedMove]:
    """What `plan_all` would note."""
    counts = Track.objects.filter(identity__in=identity_ids).values_list("camera_id", "identity_id")
    seen = Sighting.objects.filter(identity__in=identity_ids).values_list("camera_id", "identity_id")
    sightings = {key[:2]: key[2] for key in seen.annotate(count=Count("pk")).order_by()}
    cameras = Camera.objects.in_bulk()
    return [
        PlannedMove(cameras[camera], before, after, count, sightings.get((camera, before), 0))
        for camera, before, count in counts.annotate(count=Count("pk")).order_by("camera_id", "identity_id")
    ]


def preview_tracks(tracks: Sequence[Track], after: UUID | None) -> list[PlannedMove]:
    """What `plan_tracks` would note."""
    groups: dict[tuple[UUID, UUID | None], list[Track]] = {}
    for track in tracks:
        groups.setdefault((track.camera_id, track.identity_id), []).append(track)
    cameras = Camera.objects.in_bulk([camera for camera, _ in groups])
    return [
        PlannedMove(cameras[camera], before, after, len(group), _sightings_with(group))
        for (camera, before), group in sorted(groups.items(), key=str)
    ]


def _sightings_with(tracks: Sequence[Track]) -> int:
    """In how many sightings these tracks of one person on one camera are."""
    who, camera = tracks[0].identity_id, tracks[0].camera_id
    if who is None:
        return 0
    begins, ends = _stretches(tracks)
    rows = Sighting.objects.filter(
        camera_id=camera, identity_id=who, last_seen__gte=begins[0], first_seen__lte=ends[-1]
    )
    count = 0
    for first_seen, last_seen in rows.values_list("first_seen", "last_seen").iterator():
        before = bisect_right(begins, last_seen)  # so many begin before it ends: does the last of them reach it?
        count += before > 0 and ends[before - 1] >= first_seen
    return count


def _stretches(tracks: Sequence[Track]) -> tuple[list[datetime], list[datetime]]:
    """Begins and ends of the stretches of time that these tracks cover, in order; no two of them touch."""
    begins: list[datetime] = []
    ends: list[datetime] = []
    for first, last in sorted((track.first_seen, track.last_seen) for track in tracks):
        if ends and first <= ends[-1]:
            ends[-1] = max(ends[-1], last)
        else:
            begins.append(first)
            ends.append(last)
    return begins, ends


def preview_alike(person: Identity, collection: Collection, *, people: Items[UUID] = ()) -> Preview:
    """Which past tracks a name would pull in; judged as the job will judge them, as far as that is not too much.
    people: who becomes the person with it."""
    tracks, wanted = alike(person, collection, people=people), {person.pk, *people}
    judged = tracks[:MOST_PREVIEWED]
    cameras = Camera.objects.select_related("collection__active_model").in_bulk({each.camera_id for each in judged})
    fitting = [
        track
        for track in judged
        if judging.would_be(Work(cameras[track.camera_id], collection.active_model), track).key in wanted
    ]
    rest = tracks[MOST_PREVIEWED:]
    return Preview(preview_tracks([*fitting, *rest], person.pk), at_most=bool(rest))


def ledger(change: Change) -> "QuerySet[HistoryMove]":
    """The moves of a change, in order."""
    return HistoryMove.objects.filter(change=change).order_by("chunk", "pk")
