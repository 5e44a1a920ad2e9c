"""Reads of cameras and of the ledger."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from portrait.cameras.models import Camera, Frame, FrameState
from portrait.core.errors import ConflictError, NotFoundError
from portrait.core.principal import Principal
from portrait.gallery.selectors import as_uuid


def visible_cameras(principal: Principal) -> "QuerySet[Camera]":
    """The cameras a caller may see."""
    cameras = Camera.objects.select_related("collection", "status")
    if principal.collection_ids is not None:
        cameras = cameras.filter(collection_id__in=principal.collection_ids)
    if principal.camera_ids is not None:
        cameras = cameras.filter(id__in=principal.camera_ids)
    return cameras


def find_camera(principal: Principal, camera_id: str) -> Camera:
    """A camera by its id.

    Raises:
        NotFoundError: none within reach.
    """
    wanted = as_uuid(camera_id)
    found = visible_cameras(principal).filter(id=wanted).first() if wanted else None
    if found is None:
        raise NotFoundError("There is no such camera.")
    return found


def visible_frames(principal: Principal) -> "QuerySet[Frame]":
    """The frames a caller may see."""
    frames = Frame.objects.select_related("camera", "camera__collection")
    if principal.collection_ids is not None:
        frames = frames.filter(camera__collection_id__in=principal.collection_ids)
    if principal.camera_ids is not None:
        frames = frames.filter(camera_id__in=principal.camera_ids)
    return frames


def waiting() -> "QuerySet[Frame]":
    return Frame.objects.filter(state=FrameState.WAITING)


def in_brokers_hands() -> "QuerySet[Frame]":
    """Frames that wait, that no worker has, and that the broker was told of."""
    return waiting().filter(paused_until=None, lease=None)


def ripe() -> "QuerySet[Frame]":
    """Frames whose pause is over, the longest waiting first."""
    return waiting().filter(lease=None, paused_until__lte=timezone.now()).order_by("paused_until", "id")


def abandoned(*, given_before: datetime) -> "QuerySet[Frame]":
    """Frames whose worker vanished with them."""
    return waiting().filter(leased_until__lt=timezone.now(), enqueued_at__lt=given_before).order_by("enqueued_at", "id")


def cameras_named(names: Sequence[str]) -> list[Camera]:
    """Cameras as a person at the command line names them: NAME, COLLECTION/NAME or id; none named: all.

    Raises:
        NotFoundError: there is none of that name.
        ConflictError: several collections have one, and the name does not say which.
    """
    everything = Camera.objects.select_related("collection", "status").order_by("collection__name", "name")
    return [_named(everything, name) for name in names] if names else list(everything)


def _named(cameras: "QuerySet[Camera]", text: str) -> Camera:
    collection, _, name = text.rpartition("/")
    by_name = cameras.filter(name=name, **({"collection__name": collection} if collection else {}))
    wanted = as_uuid(text)
    found = list(by_name) or (list(cameras.filter(id=wanted)) if wanted else [])
    if not found:
        raise NotFoundError(f"There is no camera {text!r}.")
    if len(found) > 1:
        several = ", ".join(f"{camera.collection.name}/{camera.name}" for camera in found)
        raise ConflictError(f"Several cameras have the name {text!r}: say which, {several}.")
    return found[0]
