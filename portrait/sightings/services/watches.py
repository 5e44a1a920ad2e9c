"""People to look for, and the alerts about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError
from django.db.models import QuerySet
from django.utils import timezone

from inference.types import Box
from portrait.cameras.models import Camera
from portrait.core.errors import NotFoundError
from portrait.core.files import atomic_with_files
from portrait.gallery.face_choice import choose_face
from portrait.gallery.models import Collection, Identity
from portrait.gallery.selectors import nearest_identities
from portrait.gallery.services.enrolment import store_photo
from portrait.gallery.services.identities import create_identity
from portrait.gallery.services.photos import PreparedPhoto, analyse, prepare_face, require_quality
from portrait.gallery.vectors import vector_of
from portrait.sightings.models import Alert, Watch

GONE = "The identity, a camera or the collection was deleted meanwhile."


@dataclass(frozen=True, slots=True)
class Watched:
    """A new watch. resolved: whom it looks for was in the collection (`existing`), or came with it (`enrolled`)."""

    watch: Watch
    resolved: str


def watch_identity(*, identity: Identity, cameras: Sequence[Camera], **values: Any) -> Watched:
    """Look for somebody of the collection.

    Raises:
        NotFoundError: the identity or a camera was deleted meanwhile.
    """
    return Watched(_create(identity, cameras, values), "existing")


def watch_face(
    *,
    collection: Collection,
    name: str,
    data: bytes,
    choice: str | Box | None,
    force: bool,
    cameras: Sequence[Camera],
    **values: Any,
) -> Watched:
    """Look for the person in a picture: for the identity that the face matches, or for a new one of this name.

    The picture becomes a portrait only of a new identity.

    Raises:
        NoFaceError, SeveralFacesError: no face is meant.
        PoorQualityError: nobody matches, and the face is too poor to look for.
        ImageError: not a picture.
        NotFoundError: the collection or a camera was deleted meanwhile.
    """
    image, analysis = analyse(data, collection=collection)
    face = choose_face(analysis.faces, choice)
    near = nearest_identities(collection, vector_of(collection.active_model, face))
    if near:
        return watch_identity(identity=near[0].identity, cameras=cameras, name=name, **values)
    require_quality(face, force=force)
    photo = prepare_face(data, image, face, alone=len(analysis.faces) == 1)
    return _enrol(collection, name, photo, cameras, values)


def _enrol(
    collection: Collection, name: str, photo: PreparedPhoto, cameras: Sequence[Camera], values: dict[str, Any]
) -> Watched:
    try:
        with atomic_with_files():
            # Two calls with the same face make one identity: the second waits here, and finds the first one's.
            if not Collection.objects.select_for_update(of=("self",), no_key=True).filter(pk=collection.pk).exists():
                raise NotFoundError(GONE)
            near = nearest_identities(collection, vector_of(collection.active_model, photo.face))
            if near:
                return Watched(_create(near[0].identity, cameras, {"name": name, **values}), "existing")
            identity = create_identity(collection=collection, name=name, external_id=None)
            store_photo(identity=identity, photo=photo)
            return Watched(_create(identity, cameras, {"name": name, **values}), "enrolled")
    except IntegrityError:
        raise NotFoundError(GONE) from None


def _create(identity: Identity, cameras: Sequence[Camera], values: dict[str, Any]) -> Watch:
    try:
        with atomic_with_files():
            watch = Watch.objects.create(
                identity=identity, collection_id=identity.collection_id, all_cameras=not cameras, **values
            )
            watch.cameras.set(cameras)
    except IntegrityError:
        raise NotFoundError(GONE) from None
    return watch


def update_watch(*, watch: Watch, cameras: Sequence[Camera] | None = None, **values: Any) -> None:
    """Change a watch's own fields; cameras None leaves them as they are, none of them means all of the collection.

    Raises:
        NotFoundError: it, or a camera, was deleted meanwhile.
    """
    if cameras is not None:
        values["all_cameras"] = not cameras
    try:
        with atomic_with_files():
            if not Watch.objects.filter(pk=watch.pk).update(**values, updated_at=timezone.now()):
                raise NotFoundError("There is no such watch.")
            if cameras is not None:
                watch.cameras.set(cameras)
    except IntegrityError:
        raise NotFoundError(GONE) from None


def acknowledge(*, alerts: "QuerySet[Alert]") -> int:
    """Note that somebody has seen these alerts; the first time counts. Answers how many were new."""
    return alerts.filter(acknowledged_at=None).update(acknowledged_at=timezone.now())
