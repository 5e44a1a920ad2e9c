"""What was told of the database's own pictures is kept with them: the newest of each model."""

from django.db import IntegrityError

from portrait.cameras.models import Frame
from portrait.core.errors import NotFoundError
from portrait.core.files import atomic_with_files
from portrait.gallery.models import Identity, Portrait
from portrait.scenes.models import LABEL_CHARS, Caption, SceneObject, Segmentation
from portrait.scenes.selectors import Subject
from portrait.scenes.services.answers import object_json
from portrait.scenes.services.looking import Segmented, Told
from portrait.sightings.services.pictures import PictureExpiredError, frame_bytes

GONE = "The picture went while it was looked at."


def picture_of(subject: Subject) -> bytes:
    """The picture's bytes.

    Raises:
        PictureExpiredError: a frame's that is no longer kept. NotFoundError: the file is missing.
    """
    if subject.frame is not None:
        return frame_bytes(subject.frame)
    try:
        with subject.portrait.image.open("rb") as file:  # type: ignore[union-attr]  # one of both is there
            return bytes(file.read())
    except FileNotFoundError:
        raise NotFoundError("The picture's file is missing from the storage.") from None


def keep(*, subject: Subject, told: Told | None = None, segmented: Segmented | None = None) -> None:
    """Replace what these models told of the picture before.

    Raises:
        NotFoundError, PictureExpiredError: the picture went meanwhile; then nothing of it must be kept.
    """
    try:
        with atomic_with_files():
            _hold(subject)
            if told is not None:
                _keep_caption(subject, told)
            if segmented is not None:
                _keep_objects(subject, segmented)
    except IntegrityError:  # found at the commit: its collection or camera went, or somebody told the same just now
        raise NotFoundError(GONE) from None


def _hold(subject: Subject) -> None:
    """Whoever takes the picture away waits until the transaction's end, and then finds what was stored; or was first.
    A person goes before the portraits, so their row is locked before."""
    if subject.frame is not None:
        held = Frame.objects.select_for_update(of=("self",), no_key=True).filter(pk=subject.frame.pk)
        if held.exclude(picture="").first() is None:
            raise PictureExpiredError(GONE)
    if subject.portrait is not None:
        people = Identity.objects.select_for_update(of=("self",), no_key=True)
        portraits = Portrait.objects.select_for_update(of=("self",), no_key=True)
        there = people.filter(pk=subject.portrait.identity_id).first() is not None
        if not there or portraits.filter(pk=subject.portrait.pk).first() is None:
            raise NotFoundError(GONE)


def _common(subject: Subject) -> dict[str, object]:
    return {"collection_id": subject.collection_id, "camera_id": subject.camera_id, "shown_at": subject.shown_at}


def _keep_caption(subject: Subject, told: Told) -> None:
    Caption.objects.filter(**subject.key, model=told.model).delete()
    Caption.objects.create(
        **subject.key,
        **_common(subject),
        model=told.model,
        domain=told.domain,
        settings=told.settings,
        text=told.text,
        method=told.method,
        score=told.score,
        faces=told.faces,
    )


def _keep_objects(subject: Subject, segmented: Segmented) -> None:
    Segmentation.objects.filter(**subject.key, model=segmented.model).delete()
    made = Segmentation.objects.create(
        **subject.key,
        **_common(subject),
        model=segmented.model,
        domain=segmented.domain,
        settings=segmented.settings,
    )
    SceneObject.objects.bulk_create(
        SceneObject(segmentation=made, **_common(subject), **object_json(each) | {"label": each.label[:LABEL_CHARS]})
        for each in segmented.objects
    )
