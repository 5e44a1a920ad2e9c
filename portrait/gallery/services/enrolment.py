"""Enrolment: pictures -> portraits of an identity. The networks run first, then one short transaction writes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction
from django.db.models import F

from inference.calibration import DECISION
from inference.codec import decode, encode_jpeg
from inference.errors import ImageError
from inference.types import Box, Face, Image
from portrait.core.errors import NotFoundError, NothingEnrolledError, PoorQualityError, PortraitError
from portrait.core.pipelines import codec_limits, detector_spec, embedder_spec, face_pipeline
from portrait.gallery.face_choice import choose_face
from portrait.gallery.models import Collection, EmbeddingModel, Identity, Portrait, PortraitEmbedding
from portrait.gallery.selectors import Candidate, nearest_identities
from portrait.gallery.services.identities import get_or_create_identity
from portrait.gallery.thumbnails import face_thumbnail

IMAGE_QUALITY = 95
DUPLICATES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A picture with the one face to enrol, ready to be stored."""

    sha256: str
    width: int
    height: int
    jpeg: bytes
    thumbnail: bytes
    face: Face


@dataclass(frozen=True, slots=True)
class EnrolmentWarning:
    """Something to look at that does not stop an enrolment."""

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


Prepared = PreparedPhoto | PortraitError | ImageError


def prepare_photos(photos: Sequence[bytes], *, choice: str | Box | None = None, force: bool = False) -> list[Prepared]:
    """Decode, analyse and judge pictures, all in one batch; a bad one becomes its error and stops no other.

    choice: which face of a picture with several (`face_choice.parse_choice`). force: take poor faces too.

    Raises:
        inference.errors.ServerError: the networks cannot be reached.
    """
    results: list[Prepared | None] = [None] * len(photos)
    images: list[tuple[int, Image]] = []
    for index, data in enumerate(photos):
        try:
            images.append((index, decode(data, limits=codec_limits())))
        except ImageError as error:
            results[index] = error
    analyses = face_pipeline().analyse([image for _, image in images])
    for (index, image), analysis in zip(images, analyses, strict=True):
        try:
            face = choose_face(analysis.faces, choice)
            _require_quality(face, force=force)
            results[index] = prepare_face(photos[index], image, face)
        except PortraitError as error:
            results[index] = error
    return [result for result in results if result is not None]


def prepare_face(data: bytes, image: Image, face: Face) -> PreparedPhoto:
    """Encode what is kept of a picture: upright, without metadata, and a thumbnail of the face."""
    height, width = image.shape[:2]
    jpeg = encode_jpeg(image, quality=IMAGE_QUALITY)
    return PreparedPhoto(hashlib.sha256(data).hexdigest(), width, height, jpeg, face_thumbnail(image, face.box), face)


def _require_quality(face: Face, *, force: bool) -> None:
    if face.quality.acceptable or force:
        return
    reasons = [str(reason) for reason in face.quality.reasons]
    raise PoorQualityError(
        f"The face is too poor to be a portrait: {', '.join(reasons)}. Send a better picture, or 'force' it.",
        field="image",
        details={"reasons": reasons, "quality": quality_json(face)},
    )


def quality_json(face: Face) -> dict[str, Any]:
    """The quality report as it is stored and answered."""
    quality = face.quality

    def rounded(value: float | None) -> float | None:
        return None if value is None else round(float(value), 3)

    return {
        "score": rounded(quality.score),
        "size_px": rounded(quality.size_px),
        "sharpness": rounded(quality.sharpness),
        "brightness": rounded(quality.brightness),
        "detector_score": rounded(quality.detector_score),
        "yaw": rounded(quality.yaw),
        "roll": rounded(quality.roll),
        "reasons": [str(reason) for reason in quality.reasons],
    }


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
        NothingEnrolledError: all of several pictures were refused; details hold the reports.
    """
    prepared = _require_one(prepare_photos(photos, choice=choice, force=force))
    with transaction.atomic():
        identity, created = get_or_create_identity(collection=collection, name=name, external_id=external_id, **values)
        return identity, created, store_photos(identity=identity, prepared=prepared)


def enrol_photos(
    *, identity: Identity, photos: Sequence[bytes], choice: str | Box | None = None, force: bool = False
) -> list[PhotoReport]:
    """More portraits of a person; a report a picture.

    Raises:
        PortraitError, ImageError: the only picture was refused.
        NothingEnrolledError: all of several pictures were refused; details hold the reports.
    """
    return store_photos(identity=identity, prepared=_require_one(prepare_photos(photos, choice=choice, force=force)))


def _require_one(prepared: list[Prepared]) -> list[Prepared]:
    errors = [photo for photo in prepared if not isinstance(photo, PreparedPhoto)]
    if prepared and len(errors) == len(prepared):
        if len(errors) == 1:
            raise errors[0]
        results = [{"index": index} | problem_json(error) for index, error in enumerate(errors)]
        raise NothingEnrolledError("None of the pictures could be enrolled.", details={"results": results})
    return prepared


def problem_json(error: PortraitError | ImageError) -> dict[str, Any]:
    """The reason against a picture, as `error` of an answer carries it."""
    details = error.details if isinstance(error, PortraitError) else {}
    return {"code": error.code, "message": str(error)} | details


def store_photos(*, identity: Identity, prepared: Sequence[Prepared]) -> list[PhotoReport]:
    """Store what was prepared, in order; one report a picture."""
    reports = []
    for index, photo in enumerate(prepared):
        if isinstance(photo, PreparedPhoto):
            reports.append(store_photo(identity=identity, photo=photo, index=index))
        else:
            reports.append(PhotoReport(index=index, status="rejected", error=photo))
    return reports


def store_photo(*, identity: Identity, photo: PreparedPhoto, index: int = 0) -> PhotoReport:
    """Store one portrait with its vector, unless this identity has this very picture already.

    Raises:
        NotFoundError: the identity was deleted meanwhile.
    """
    known = Portrait.objects.filter(identity=identity, sha256=photo.sha256).first()
    if known is not None:
        return PhotoReport(index=index, status="duplicate", portrait=known)
    warnings = _warnings(identity, photo)
    portrait = _new_portrait(identity, photo)
    try:
        with transaction.atomic():
            _save_portrait(portrait, photo)
    except IntegrityError:
        _delete_files(portrait)
        return _lost_race(identity, photo, index)
    except BaseException:
        _delete_files(portrait)
        raise
    return PhotoReport(index=index, status="accepted", portrait=portrait, warnings=warnings)


def _lost_race(identity: Identity, photo: PreparedPhoto, index: int) -> PhotoReport:
    """Somebody stored the same picture, or deleted the identity, at the same moment."""
    known = Portrait.objects.filter(identity_id=identity.id, sha256=photo.sha256).first()
    if known is None:
        raise NotFoundError("The identity was deleted while its portrait was being enrolled.")
    return PhotoReport(index=index, status="duplicate", portrait=known)


def _new_portrait(identity: Identity, photo: PreparedPhoto) -> Portrait:
    face = photo.face
    return Portrait(
        identity=identity,
        width=photo.width,
        height=photo.height,
        box=face.box.as_list(),
        landmarks=face.landmarks.as_dict() if face.landmarks else None,
        detector=detector_spec().name,
        score=round(face.score, 4),
        quality=quality_json(face),
        sha256=photo.sha256,
    )


def _save_portrait(portrait: Portrait, photo: PreparedPhoto) -> None:
    # The identity's row is locked against deletion, then files come before rows: a row never lacks its file.
    if not Identity.objects.select_for_update(of=("self",), no_key=True).filter(id=portrait.identity_id).exists():
        raise NotFoundError("The identity was deleted while its portrait was being enrolled.")
    portrait.image.save("image.jpg", ContentFile(photo.jpeg), save=False)
    portrait.thumbnail.save("thumbnail.jpg", ContentFile(photo.thumbnail), save=False)
    portrait.save(force_insert=True)
    PortraitEmbedding.objects.create(
        portrait=portrait,
        model=_model_of(photo.face),
        collection_id=portrait.identity.collection_id,
        identity_id=portrait.identity_id,
        vector=photo.face.embedding.vector,
    )


def _model_of(face: Face) -> EmbeddingModel:
    spec = embedder_spec()
    return EmbeddingModel.objects.get(name=face.embedding.model, version=spec.version)


def _delete_files(portrait: Portrait) -> None:
    for file in (portrait.image, portrait.thumbnail):
        if file:
            file.storage.delete(str(file.name))


def _warnings(identity: Identity, photo: PreparedPhoto) -> list[EnrolmentWarning]:
    """A look-alike in the collection, or a face unlike the identity's own portraits."""
    collection = Collection.objects.select_related("active_model").get(id=identity.collection_id)
    near = nearest_identities(collection, photo.face.embedding.vector, top_k=DUPLICATES_SHOWN + 1)
    others = [candidate for candidate in near if candidate.identity.id != identity.id]
    own = any(candidate.identity.id == identity.id for candidate in near)
    warnings = []
    if not own and Portrait.objects.filter(identity=identity).exists():
        nearest = nearest_identities(collection, photo.face.embedding.vector, top_k=1, min_similarity=0.0)
        if nearest:
            message = f"The face does not look like the other portraits of {identity.name!r}."
            warnings.append(EnrolmentWarning("unlike_other_portraits", message, nearest[0]))
    for candidate in [] if own else others[:DUPLICATES_SHOWN]:
        message = f"{identity.name!r} looks like {candidate.identity.name!r}: perhaps the same person."
        warnings.append(EnrolmentWarning("possible_duplicate", message, candidate))
    return warnings


def register_unknown(*, collection: Collection, photo: PreparedPhoto) -> Candidate:
    """Keep a stranger as `unknown_person_N`; two calls at once with the same stranger make one.

    The counter's row is what concurrent calls wait at; whoever comes second finds the first one's portrait.
    """
    with transaction.atomic():
        Collection.objects.filter(id=collection.id).update(unknown_counter=F("unknown_counter") + 1)
        near = nearest_identities(collection, photo.face.embedding.vector, top_k=1, min_similarity=DECISION)
        if near:
            Collection.objects.filter(id=collection.id).update(unknown_counter=F("unknown_counter") - 1)
            return near[0]
        number = Collection.objects.values_list("unknown_counter", flat=True).get(id=collection.id)
        identity = Identity.objects.create(
            collection=collection, name=f"unknown_person_{number}", kind=Identity.Kind.UNKNOWN
        )
        store_photo(identity=identity, photo=photo)
    return Candidate(identity=identity, distance=0.0, similarity=1.0)
