"""Enrolment: prepared photos -> portraits of an identity, in one short transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError

from inference.calibration import DECISION
from inference.errors import ImageError
from inference.types import Box
from portrait.core.errors import ConflictError, NotFoundError, NothingEnrolledError, PortraitError
from portrait.core.files import atomic_with_files, write_file
from portrait.core.pipelines import detector_spec
from portrait.gallery.face_json import quality_json
from portrait.gallery.models import Collection, Identity, Portrait, PortraitEmbedding
from portrait.gallery.selectors import Candidate, likeness_to, nearest_identities
from portrait.gallery.services import editing, spaces
from portrait.gallery.services.identities import get_or_create_identity
from portrait.gallery.services.journal import SYSTEM
from portrait.gallery.services.photos import Prepared, PreparedPhoto, prepare_photos
from portrait.gallery.signals import duplicates_suspected
from portrait.gallery.vectors import NotEmbeddedError, vector_of

DUPLICATES_SHOWN = 3
GONE = "The identity was deleted, or merged into another, while its portrait was being enrolled."
STORE_TRIES = 5


@dataclass(frozen=True, slots=True)
class EnrolmentWarning:
    """Something to look at that does not stop an enrolment: possible_duplicate or unlike_other_portraits."""

    code: str
    message: str
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class PhotoReport:
    """What became of one picture: accepted, duplicate (already stored) or rejected (with the error)."""

    index: int
    status: str
    portrait: Portrait | None = None
    error: PortraitError | ImageError | None = None
    warnings: list[EnrolmentWarning] = field(default_factory=list)


def enrol_person(
    *,
    collection: Collection,
    name: str,
    photos: Sequence[bytes],
    external_id: str | None = None,
    choice: str | Box | None = None,
    force: bool = False,
    **values: Any,
) -> tuple[Identity, bool, list[PhotoReport]]:
    """A new identity with its portraits, or more portraits of the one with this `external_id`.

    Answers the identity, whether it is new, and a report a picture. Where pictures are sent and none is good,
    nothing is stored.

    Raises:
        PortraitError, ImageError: the only picture was refused.
        NothingEnrolledError: all of several pictures were refused; details hold the reasons.
    """
    networks = spaces.networks_of([collection.pk])
    prepared = _require_one(prepare_photos(photos, choice=choice, force=force, networks=networks))
    try:
        with atomic_with_files():
            identity, created = get_or_create_identity(
                collection=collection, name=name, external_id=external_id, **values
            )
            return identity, created, store_photos(identity=identity, prepared=prepared)
    except IntegrityError:  # found at the commit: the collection went
        raise NotFoundError(GONE) from None


def enrol_photos(
    *, identity: Identity, photos: Sequence[bytes], choice: str | Box | None = None, force: bool = False
) -> list[PhotoReport]:
    """More portraits of a person; a report a picture.

    Raises:
        PortraitError, ImageError: the only picture was refused.
        NothingEnrolledError: all of several pictures were refused; details hold the reasons.
        NotFoundError: the identity was deleted meanwhile.
    """
    networks = spaces.networks_of([identity.collection_id])
    prepared = prepare_photos(photos, choice=choice, force=force, networks=networks)
    return store_photos(identity=identity, prepared=_require_one(prepared))


def _require_one(prepared: list[Prepared]) -> list[Prepared]:
    errors = [photo for photo in prepared if not isinstance(photo, PreparedPhoto)]
    if prepared and len(errors) == len(prepared):
        if len(errors) == 1:
            raise errors[0]
        raise NothingEnrolledError("None of the pictures could be enrolled.", refused=errors)
    return prepared


def store_photos(*, identity: Identity, prepared: Sequence[Prepared]) -> list[PhotoReport]:
    """Store what was prepared, in order; one report a picture."""
    return [
        store_photo(identity=identity, photo=photo, index=index)
        if isinstance(photo, PreparedPhoto)
        else PhotoReport(index=index, status="rejected", error=photo)
        for index, photo in enumerate(prepared)
    ]


def store_photo(*, identity: Identity, photo: PreparedPhoto, index: int = 0) -> PhotoReport:
    """Store one portrait with its vectors, unless this identity has this very picture already.

    Raises:
        NotFoundError: the identity was deleted meanwhile, or merged into another.
        ServerError: a network has to see the face that has not yet, and cannot be reached.
    """
    known = Portrait.objects.filter(identity=identity, sha256=photo.sha256).first()
    if known is not None:
        try:
            if known.deleted_at is not None:  # sent again, it is wanted again
                editing.restore_portrait(portrait=known, actor=SYSTEM)
        except ConflictError as error:
            return PhotoReport(index=index, status="rejected", error=error)
        return PhotoReport(index=index, status="duplicate", portrait=known)
    photo = spaces.seen_by(photo, spaces.networks_of([identity.collection_id]))
    warnings = _warnings(identity, photo)
    portrait = _new_portrait(identity, photo)
    try:
        _save(portrait, photo)
    except IntegrityError:
        known = Portrait.objects.filter(identity_id=identity.id, sha256=photo.sha256).first()
        if known is None:
            raise NotFoundError(GONE) from None
        return PhotoReport(index=index, status="duplicate", portrait=known)
    _tell_duplicates(identity, warnings)
    return PhotoReport(index=index, status="accepted", portrait=portrait, warnings=warnings)


def _tell_duplicates(identity: Identity, warnings: Sequence[EnrolmentWarning]) -> None:
    others = [warning.candidate for warning in warnings if warning.code == "possible_duplicate"]
    if others:
        alike = [(candidate.identity.pk, candidate.similarity) for candidate in others]
        duplicates_suspected.send_robust(Portrait, identity=identity, alike=alike)


def _new_portrait(identity: Identity, photo: PreparedPhoto) -> Portrait:
    return Portrait(
        identity=identity,
        width=photo.width,
        height=photo.height,
        box=photo.box.as_list(),
        landmarks=photo.landmarks.as_dict() if photo.landmarks else None,
        detector=detector_spec().name,
        score=round(photo.face.score, 4),
        quality=quality_json(photo.face.quality),
        sha256=photo.sha256,
    )


def _save(portrait: Portrait, photo: PreparedPhoto) -> None:
    """Again, where the collection got a model of another network at this very moment."""
    for left in reversed(range(STORE_TRIES)):
        try:
            with atomic_with_files():
                _save_portrait(portrait, photo)
        except NotEmbeddedError:
            if not left:
                raise
            photo = spaces.seen_by(photo, spaces.networks_of([portrait.identity.collection_id]))
        else:
            return


def _save_portrait(portrait: Portrait, photo: PreparedPhoto) -> None:
    models = spaces.lock_models(portrait.identity.collection_id)
    # Whoever deletes or merges the identity waits for this lock, and then finds the portrait. Files come before rows.
    locked = Identity.objects.select_for_update(of=("self",), no_key=True).filter(id=portrait.identity_id)
    if not locked.filter(deleted_at=None, merged_into=None).exists():
        raise NotFoundError(GONE)
    rows = spaces.portrait_rows(
        models,
        portrait,
        photo.face,
        collection_id=portrait.identity.collection_id,
        identity_id=portrait.identity_id,
    )
    write_file(portrait.image, "image.jpg", photo.jpeg)
    write_file(portrait.thumbnail, "thumbnail.jpg", photo.thumbnail)
    portrait.save(force_insert=True)
    PortraitEmbedding.objects.bulk_create(rows)


def _warnings(identity: Identity, photo: PreparedPhoto) -> list[EnrolmentWarning]:
    """The face is unlike the identity's own portraits, or like somebody else's more than like its own."""
    collection = Collection.objects.select_related("active_model").get(id=identity.collection_id)
    vector = vector_of(collection.active_model, photo.face)
    own = likeness_to(identity, collection, vector)
    if own is not None and own.similarity >= DECISION:
        return []
    warnings = []
    if own is not None:
        message = f"The face does not look like the other portraits of {identity.name!r}."
        warnings.append(EnrolmentWarning("unlike_other_portraits", message, own))
    for other in nearest_identities(collection, vector, top_k=DUPLICATES_SHOWN, exclude=[identity.id]):
        message = f"{identity.name!r} looks like {other.identity.name!r}: perhaps the same person."
        warnings.append(EnrolmentWarning("possible_duplicate", message, other))
    return warnings
