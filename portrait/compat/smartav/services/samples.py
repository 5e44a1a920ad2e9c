"""Samples of faces: appended, renamed, cleared. The rows are the gallery's identities."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError

from inference.errors import ImageError
from portrait.compat.smartav.selectors import find_sample, is_stranger
from portrait.compat.smartav.services.recognition import give_id
from portrait.compat.smartav.shapes import stored_metadata
from portrait.core.errors import NotFoundError, PortraitError
from portrait.core.files import atomic_with_files
from portrait.gallery.face_choice import LARGEST
from portrait.gallery.models import Collection, Identity
from portrait.gallery.services import editing
from portrait.gallery.services.enrolment import GONE, store_photo
from portrait.gallery.services.identities import delete_identity, get_or_create_identity
from portrait.gallery.services.journal import Actor
from portrait.gallery.services.photos import PreparedPhoto, prepare_photos

Problem = PortraitError | ImageError


@dataclass(frozen=True, slots=True)
class Sample:
    """One entry of `update-samples`; image: the picture's bytes, or why they could not be had."""

    id: str
    name: str
    image: bytes | Problem
    metadata: Any = ""
    action: str = ""


@dataclass(frozen=True, slots=True)
class Updated:
    """Ids in the order of the request, one an entry; a picture that was stored before is a success again."""

    success: list[str] = field(default_factory=list)
    fail: list[tuple[str, Problem]] = field(default_factory=list)


def update_samples(*, collection: Collection, samples: Sequence[Sample]) -> Updated:
    """Enrol the largest face of every entry, under a new id or beside what its id has; one bad entry stops no other.

    Name, metadata and action count for a new id only: an entry of a known one only adds its picture.
    """
    prepared = iter(prepare_photos([each.image for each in samples if isinstance(each.image, bytes)], choice=LARGEST))
    updated = Updated()
    for sample in samples:
        photo = next(prepared) if isinstance(sample.image, bytes) else sample.image
        problem = photo if not isinstance(photo, PreparedPhoto) else _store(collection, sample, photo)
        if problem is None:
            updated.success.append(sample.id)
        else:
            updated.fail.append((sample.id, problem))
    return updated


def _store(collection: Collection, sample: Sample, photo: PreparedPhoto) -> Problem | None:
    try:
        with atomic_with_files():
            store_photo(identity=_identity_for(collection, sample), photo=photo)
    except PortraitError as error:  # somebody deletes this very person
        return error
    except IntegrityError:  # found at the commit: the collection went
        return NotFoundError(GONE)
    return None


def _identity_for(collection: Collection, sample: Sample) -> Identity:
    known = find_sample(collection, sample.id)
    if known is not None:
        return known
    return get_or_create_identity(
        collection=collection,
        name=sample.name or sample.id,
        external_id=sample.id,
        metadata=stored_metadata(sample.metadata),
        action=sample.action,
    )[0]


def update_metadata(*, identity: Identity, actor: Actor, name: str, metadata: Any) -> None:
    """Name a person, a stranger above all; an empty name changes nothing of it. A stranger's id stays; where it is
    another sample's already, the stranger gets the next free one first."""
    if identity.external_id is None and is_stranger(identity):
        give_id(identity=identity)
    values: dict[str, Any] = {"metadata": stored_metadata(metadata)}
    if name:
        values["name"] = name
    editing.update(identity=identity, actor=actor, **values)


def clear_samples(*, collection: Collection) -> int:
    """Erase everybody of a collection, with portraits, vectors, files and sightings; answers how many they were.

    Cut off in the middle, the rest is still there: clear again.
    """
    cleared = 0
    for identity in Identity.objects.filter(collection=collection).order_by("pk"):
        delete_identity(identity=identity)
        cleared += 1
    return cleared
