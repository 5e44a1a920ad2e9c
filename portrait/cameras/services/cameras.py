"""Writes of cameras: one set of rules, whoever changes them."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.db import IntegrityError, OperationalError, transaction
from django.utils import timezone

from portrait.cameras.addresses import HIDDEN, check_source, unmasked
from portrait.cameras.models import Camera, CaptureStatus, Frame
from portrait.core.errors import ConflictError, NotFoundError, PortraitError
from portrait.gallery.models import Collection

MAX_KEEP_H = 100 * 366 * 24
"""A century: what lies before it has no place in a calendar."""
FRAMES_AT_ONCE = 1000
DELETE_TRIES = 5


class CameraSettingsError(PortraitError):
    """These settings do not fit together."""

    code: ClassVar[str] = "invalid"


def check_settings(**values: Any) -> None:
    """The rules that bind several fields, or that their types do not know; `values` are some of a camera's.

    Raises:
        CameraSettingsError: one is broken; `field` names it.
    """
    for name in ("fps", "window_s", "gap_s"):
        if values.get(name) is not None and not math.isfinite(values[name]):
            raise CameraSettingsError(f"{name} is not a number.", field=name)
    for name in ("keep_frames_h", "keep_unnamed_h", "keep_named_h"):
        if (values.get(name) or 0) > MAX_KEEP_H:
            raise CameraSettingsError(f"{name} is at most {MAX_KEEP_H} hours: a century.", field=name)
    window_s, gap_s = values.get("window_s"), values.get("gap_s")
    if window_s is not None and gap_s is not None and gap_s < window_s:
        raise CameraSettingsError(
            f"gap_s must be at least window_s: gap_s is {gap_s:g}, window_s is {window_s:g}, and a sighting may not "
            "end within its window.",
            field="gap_s",
        )
    _check_rule(values.get("fps"), window_s, values.get("min_hits"))


def _check_rule(fps: float | None, window_s: float | None, min_hits: int | None) -> None:
    """A sighting must be possible."""
    if fps is None or window_s is None or min_hits is None:
        return
    most = math.floor(fps * window_s + 1 + 1e-9)
    if most < min_hits:
        raise CameraSettingsError(
            f"min_hits ({min_hits}) can never be reached: {fps:g} frames a second are at most {most} within window_s "
            f"({window_s:g}). Lower min_hits, or raise fps or window_s.",
            field="min_hits",
        )


def new_source(camera: Camera | None, source: str) -> str:
    """The source that a caller means who may have been shown the present one with its password masked.

    Raises:
        PortraitError: it cannot be read, or the mask stands where a password is needed.
    """
    before = camera.source if camera else ""
    source = unmasked(source.strip(), before=before)
    if source == before:
        return source
    if f"{HIDDEN}@" in source or f"={HIDDEN}" in source:  # the old password never goes into another address
        raise CameraSettingsError(
            f"'{HIDDEN}' stands for a secret that is not shown: where the address changes, write the secret again.",
            field="source",
        )
    check_source(source)
    return source


def create_camera(*, collection: Collection, name: str, source: str = "", **values: Any) -> Camera:
    """A new camera, with the status of its reading.

    Raises:
        ConflictError: its collection has a camera of that name.
        PortraitError: settings that do not fit together, or a source that cannot be read.
    """
    camera = Camera(collection=collection, name=name, source=new_source(None, source), **values)
    check_settings(**_settings_of(camera))
    try:
        with transaction.atomic():
            camera.save(force_insert=True)
            CaptureStatus.objects.create(camera=camera)
    except IntegrityError:
        raise _name_taken(name) from None
    return camera


def update_camera(*, camera: Camera, **values: Any) -> Camera:
    """Change exactly these fields. A camera stays in its collection: what it saw is stored there.

    Raises:
        ConflictError: the name is taken.
        NotFoundError: it was deleted meanwhile.
        PortraitError: as `create_camera`.
    """
    if "source" in values:
        values["source"] = new_source(camera, values["source"])
    check_settings(**_settings_of(camera) | values)
    try:
        with transaction.atomic():
            found = Camera.objects.filter(pk=camera.pk).update(**values, updated_at=timezone.now())
    except IntegrityError:
        raise _name_taken(str(values.get("name"))) from None
    if not found:
        raise NotFoundError("The camera was deleted meanwhile.")
    camera.refresh_from_db()
    return camera


def collections_of(cameras: Sequence[Camera]) -> list[UUID]:
    """What a key is bound to that is bound to these cameras."""
    return list({camera.collection_id for camera in cameras})


def delete_camera(*, camera: Camera) -> None:
    """Remove a camera with its frames, pictures and sightings, some frames a transaction: it may have millions.

    Cut off in between, the camera is there, switched off, with the frames that are left: delete it again.
    """
    Camera.objects.filter(pk=camera.pk).update(enabled=False, updated_at=timezone.now())
    while _try_hard(lambda: _delete_some_frames(camera)):
        pass
    _try_hard(lambda: _delete_row(camera))


def delete_cameras_of(*, collection_id: UUID, **kwargs: Any) -> None:
    """Before a collection goes: its cameras, some frames a transaction."""
    for camera in Camera.objects.filter(collection_id=collection_id):
        delete_camera(camera=camera)


def _settings_of(camera: Camera) -> dict[str, Any]:
    names = ("fps", "min_hits", "window_s", "gap_s", "keep_frames_h", "keep_unnamed_h", "keep_named_h")
    return {name: getattr(camera, name) for name in names}


def _name_taken(name: str) -> ConflictError:
    return ConflictError(f"The collection has a camera {name!r} already.", field="name")


def _delete_some_frames(camera: Camera) -> bool:
    """The pictures follow their rows (`cameras.files`), faces and vectors by cascade. False: nothing is left."""
    with transaction.atomic():
        frames = Frame.objects.filter(camera=camera).order_by("id").select_for_update(of=("self",))
        ids = list(frames.values_list("id", flat=True)[:FRAMES_AT_ONCE])
        Frame.objects.filter(id__in=ids).delete()
    return bool(ids)


def _delete_row(camera: Camera) -> bool:
    with transaction.atomic():
        for found in Camera.objects.select_for_update(of=("self",)).filter(pk=camera.pk):
            found.delete()
    return True


def _try_hard(step: Callable[[], bool]) -> bool:
    for _ in range(DELETE_TRIES - 1):
        try:
            return step()
        except (IntegrityError, OperationalError):  # a worker stored something just now; or a deadlock, ended by us
            continue
    return step()
