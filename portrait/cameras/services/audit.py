"""Is every frame accounted for? The ledger is compared with itself, and with the store.

What balances, and what is a loss, says `services/balance.py`.

Memory stays bounded: rows and files are compared an hour's folder at a time.
"""

import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Any
from uuid import UUID

from django.core.files.storage import Storage
from django.db.models import Count, F, Max, Min, Q, Window
from django.db.models.functions import Lag
from django.utils import timezone

from portrait.cameras.models import Camera, Frame, FrameState, frame_storage
from portrait.cameras.services.balance import CameraAudit, Gap

ROOT = "frames"
IN_FLIGHT = timedelta(hours=1)
"""A file that is younger may belong to a frame that is being accepted at this moment."""
LISTED = 100
CHUNK = 2000
_DAY = timedelta(days=1)


@dataclass(slots=True)
class _Found:
    """What comparing rows with files found."""

    without_file: list[int] = field(default_factory=list)
    without_file_count: int = 0
    orphans: list[str] = field(default_factory=list)
    orphan_count: int = 0


def audit_camera(*, camera: Camera, delete_orphans: bool = False) -> CameraAudit:
    """Account for a camera's frames; may run while frames come in and are processed."""
    counts = _counts(camera)
    gaps = _gaps(camera, counts)
    found = _Found()
    visited = _compare_rows(camera, found, delete=delete_orphans)
    _compare_folders(camera, visited, found, delete=delete_orphans)
    status = getattr(camera, "status", None)
    return CameraAudit(
        camera_id=str(camera.pk),
        camera=camera.name,
        collection=camera.collection.name,
        source_read=bool(camera.source),
        captured=counts["next"] - counts["first"] + counts["below"],
        accepted=counts["accepted"],
        pruned=counts["pruned"],
        **{state: counts[state] for state in FrameState.values},
        not_taken=status.not_taken if status else 0,
        gaps=gaps,
        without_file=tuple(found.without_file),
        without_file_count=found.without_file_count,
        orphans=tuple(found.orphans),
        orphan_count=found.orphan_count,
    )


def leftovers(*, delete: bool = False) -> tuple[tuple[str, ...], int]:
    """Files of cameras that are no more: the first hundred, and how many; only those older than an hour."""
    storage, found = frame_storage(), _Found()
    for folder in _folders(storage, ROOT):
        camera_id = posixpath.basename(folder)
        if not _is_camera(camera_id):
            for path, names in _walk(storage, folder):
                _note_orphans(storage, (f"{path}/{name}" for name in names), found, delete=delete)
    return tuple(found.orphans), found.orphan_count


@dataclass(frozen=True, slots=True)
class OtherStore:
    """Files beside the frames that follow rows of an app above this one. named: which of some files rows name."""

    root: str
    storage: Callable[[], Storage]
    named: Callable[[Sequence[str]], set[str]]


_other_stores: dict[str, OtherStore] = {}


def register_store(store: OtherStore) -> None:
    """To be called when an app starts; safe to repeat."""
    _other_stores[store.root] = store


def orphans_elsewhere(*, delete: bool = False) -> dict[str, tuple[tuple[str, ...], int]]:
    """Files that no row names, by the folder of each other store: the first hundred, and how many; only those older
    than an hour."""
    told = {}
    for root, store in _other_stores.items():
        storage, found = store.storage(), _Found()
        for folder, names in _walk(storage, root):
            for chunk in _chunks(f"{folder}/{name}" for name in sorted(names)):
                named = store.named(chunk)
                _note_orphans(storage, (path for path in chunk if path not in named), found, delete=delete)
        told[root] = tuple(found.orphans), found.orphan_count
    return told


def _counts(camera: Camera) -> dict[str, int]:
    """Rows by state, the first sequence, and the one that is next: of one moment, as it is one statement."""
    by_state: dict[str, Any] = {state: Count("frames", filter=Q(frames__state=state)) for state in FrameState.values}
    found: dict[str, Any] = dict(
        Camera.objects.filter(pk=camera.pk)
        .values("next_sequence", "pruned_below", "accepted", "pruned")
        .annotate(
            **by_state,
            first=Min("frames__sequence"),
            last=Max("frames__sequence"),
            below=Count("frames", filter=Q(frames__sequence__lt=F("pruned_below"))),
        )
        .get()
    )
    above = found["next_sequence"]
    first = max(found["pruned_below"], found["first"] or 0)  # below, retention has taken rows away
    last = -1 if found["last"] is None else found["last"]
    return {state: found[state] for state in FrameState.values} | {
        "first": first,
        "below": found["below"],
        "accepted": found["accepted"],
        "pruned": found["pruned"],
        "last": last,
        "next": max(above, last + 1),
    }


def _gaps(camera: Camera, counts: dict[str, int]) -> tuple[Gap, ...]:
    """The first hundred ranges of sequences that have no row, the one at the end last."""
    previous = Window(Lag("sequence"), order_by=F("sequence").asc())
    kept = Frame.objects.filter(camera=camera, sequence__gte=counts["first"])
    rows = kept.annotate(previous=previous).filter(sequence__gt=F("previous") + 1)
    found = rows.order_by("sequence").values_list("previous", "sequence")[:LISTED]
    gaps = [Gap(before + 1, after - 1) for before, after in found]
    lowest = kept.aggregate(lowest=Min("sequence"))["lowest"]
    if lowest is not None and lowest > counts["first"]:
        gaps.insert(0, Gap(counts["first"], lowest - 1))
    if counts["next"] > max(counts["last"] + 1, counts["first"]):
        gaps.append(Gap(max(counts["last"] + 1, counts["first"]), counts["next"] - 1))
    return tuple(gaps)


def _with_picture(camera: Camera) -> Any:
    return Frame.objects.filter(camera=camera).exclude(state=FrameState.EXPIRED)


def _compare_rows(camera: Camera, found: _Found, *, delete: bool) -> set[str]:
    """Look for every row's file, and for files beside them that no row names; answers the folders."""
    storage, visited = frame_storage(), set[str]()
    rows = _with_picture(camera).order_by("captured_at", "id").values_list("id", "picture")
    for folder, group in groupby(rows.iterator(CHUNK), lambda row: posixpath.dirname(row[1])):
        unseen = set(_names(storage, folder)) if folder else set()
        for chunk in _chunks(group):
            absent = [(pk, name) for pk, name in chunk if posixpath.basename(name) not in unseen]
            _note_absent(storage, absent, found)
            # What was seen stays in until the group's end: two rows may name one file only by mistake.
            unseen -= {posixpath.basename(name) for _, name in chunk}
        visited.add(folder)
        _note_orphans(storage, _unnamed(camera, folder, unseen), found, delete=delete)
    return visited


def _compare_folders(camera: Camera, visited: Collection[str], found: _Found, *, delete: bool) -> None:
    """Folders that no row led to."""
    storage = frame_storage()
    for folder, names in _walk(storage, f"{ROOT}/{camera.pk}", visited):
        _note_orphans(storage, _unnamed(camera, folder, names), found, delete=delete)


def _note_absent(storage: Storage, suspects: Sequence[tuple[int, str]], found: _Found) -> None:
    """Rows whose file was not listed, looked at again: it may have expired, or come, since they were read."""
    if not suspects:
        return
    ids = [pk for pk, _ in suspects]
    again = Frame.objects.filter(id__in=ids).exclude(state=FrameState.EXPIRED).values_list("id", "picture")
    absent = [pk for pk, name in again if not name or not storage.exists(name)]
    if absent:  # once more: it may have expired while the store was asked
        absent = list(
            Frame.objects.filter(id__in=absent).exclude(state=FrameState.EXPIRED).values_list("id", flat=True)
        )
    found.without_file_count += len(absent)
    found.without_file += absent[: LISTED - len(found.without_file)]


def _unnamed(camera: Camera, folder: str, names: Iterable[str]) -> Iterator[str]:
    """The files of an hour's folder that no row names."""
    hour = _hour_of(folder)
    rows = Frame.objects.filter(camera=camera)
    if hour is not None:  # the index leads there: files lie by the time of capture
        rows = rows.filter(captured_at__range=(hour - _DAY, hour + _DAY))
    for chunk in _chunks(sorted(names)):
        paths = [f"{folder}/{name}" for name in chunk]
        named = set(rows.filter(picture__in=paths).values_list("picture", flat=True))
        yield from (path for path in paths if path not in named)


def _note_orphans(storage: Storage, paths: Iterable[str], found: _Found, *, delete: bool) -> None:
    before = timezone.now() - IN_FLIGHT
    for path in paths:
        try:
            old = storage.get_modified_time(path) < before
        except FileNotFoundError:
            continue
        if not old:
            continue
        found.orphan_count += 1
        if len(found.orphans) < LISTED:
            found.orphans.append(path)
        if delete:
            storage.delete(path)


def _is_camera(text: str) -> bool:
    try:
        return Camera.objects.filter(pk=UUID(text)).exists()
    except ValueError:
        return False


def _walk(storage: Storage, path: str, without: Collection[str] = ()) -> Iterator[tuple[str, list[str]]]:
    """A folder and those below it, each with the names of its files; not those of `without`."""
    if path in without:
        return
    yield path, _names(storage, path)
    for below in _folders(storage, path):
        yield from _walk(storage, below, without)


def _folders(storage: Storage, path: str) -> list[str]:
    try:
        return sorted(f"{path}/{name}" for name in storage.listdir(path)[0])
    except FileNotFoundError:
        return []


def _names(storage: Storage, path: str) -> list[str]:
    try:
        return storage.listdir(path)[1]
    except FileNotFoundError:
        return []


def _hour_of(folder: str) -> datetime | None:
    try:
        year, month, day, hour = (int(part) for part in folder.split("/")[-4:])
        return datetime(year, month, day, hour, tzinfo=timezone.get_current_timezone())
    except ValueError:
        return None


def _chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
