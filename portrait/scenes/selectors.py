"""Reads of what pictures show: within a caller's reach, and by what was asked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.contrib.postgres.search import SearchQuery
from django.db.models import Exists, OuterRef, Q, QuerySet

from portrait.cameras.models import Camera, Frame, FrameState
from portrait.cameras.selectors import visible_frames
from portrait.core.errors import NotFoundError
from portrait.core.models import Scope
from portrait.core.principal import Principal
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.gallery.selectors import visible_portraits
from portrait.gallery.services.people import survivor
from portrait.scenes.models import CameraScenes, Caption, SceneObject, Segmentation
from portrait.sightings.models import Detection

_ANYBODY = Principal("a worker", Scope.ADMIN, None, "")
ShownRow = TypeVar("ShownRow", Caption, SceneObject)


@dataclass(frozen=True, slots=True)
class Subject:
    """A picture that the database holds: a portrait's or a frame's."""

    portrait: Portrait | None = None
    frame: Frame | None = None

    def __post_init__(self) -> None:
        if (self.portrait is None) == (self.frame is None):
            raise ValueError("a subject is one portrait or one frame")

    @property
    def row(self) -> Portrait | Frame:
        found = self.portrait or self.frame
        assert found is not None  # noqa: S101  (see __post_init__)
        return found

    @property
    def key(self) -> dict[str, Any]:
        """As lookups and rows name it."""
        return {"portrait_id": self.portrait and self.portrait.pk, "frame_id": self.frame and self.frame.pk}

    @property
    def collection_id(self) -> UUID:
        if self.frame is not None:
            return self.frame.camera.collection_id
        return self.portrait.identity.collection_id  # type: ignore[union-attr]  # one of both is there

    @property
    def camera_id(self) -> UUID | None:
        return self.frame.camera_id if self.frame is not None else None

    @property
    def shown_at(self) -> datetime:
        return self.frame.captured_at if self.frame is not None else self.portrait.created_at  # type: ignore[union-attr]

    @property
    def looked_at(self) -> bool:
        """Whether its faces are known: a frame's are once it was processed."""
        return self.frame is None or self.frame.state in (FrameState.DONE, FrameState.EXPIRED)


@dataclass(frozen=True, slots=True)
class Person:
    """A face in a picture, and who that is; None: unknown."""

    identity_id: UUID | None
    box: list[float]
    similarity: float | None

    def as_json(self) -> dict[str, Any]:
        """Names nobody."""
        who = str(self.identity_id) if self.identity_id else None
        return {"identity": who, "box": self.box, "similarity": self.similarity}


def find_subject(principal: Principal, *, portrait: Any = None, frame: Any = None) -> Subject:
    """A picture of the database by the id of its portrait or frame.

    Raises:
        NotFoundError: none within reach.
    """
    if frame is not None:
        found = visible_frames(principal).filter(pk=frame).first()
        if found is None:
            raise NotFoundError("There is no such frame.", field="frame")
        return Subject(frame=found)
    shown = visible_portraits(principal).filter(pk=portrait).first()
    if shown is None:
        raise NotFoundError("There is no such portrait.", field="portrait")
    return Subject(portrait=shown)


def subject_of(key: dict[str, Any]) -> Subject:
    """The picture that an item of a job is about: {"portrait": id} or {"frame": id}.

    Raises:
        NotFoundError: it is gone.
    """
    return find_subject(_ANYBODY, portrait=key.get("portrait"), frame=key.get("frame"))


def people_of(subject: Subject) -> list[Person]:
    """Who is in a picture of the database, as far as is known now: a portrait shows its identity, of a frame the faces
    were stored."""
    if subject.portrait is not None:
        return [Person(subject.portrait.identity_id, subject.portrait.box, None)]
    faces = Detection.objects.filter(frame=subject.frame).order_by("id")
    return [
        Person(face.identity_id, face.box, None if face.similarity is None else round(face.similarity, 4))
        for face in faces
    ]


def captions_of(subject: Subject) -> "QuerySet[Caption]":
    """Newest first."""
    return Caption.objects.filter(**subject.key).order_by("-created_at", "-id")


def segmentations_of(subject: Subject) -> "QuerySet[Segmentation]":
    """Newest first, with their objects, best first."""
    return Segmentation.objects.filter(**subject.key).order_by("-created_at", "-id")


def objects_of(segmentations: Iterable[Segmentation]) -> list[SceneObject]:
    """Best first."""
    found = SceneObject.objects.filter(segmentation__in=list(segmentations)).select_related("segmentation")
    return list(found.order_by("-score", "id"))


def identities(ids: Iterable[UUID | str]) -> dict[str, Identity]:
    """By the text of their ids; those that are gone are left out, and of those who were merged it is whom they are a
    part of by now."""
    rows = {str(key): survivor(row) for key, row in Identity.objects.in_bulk(list(ids)).items()}
    return {key: row for key, row in rows.items() if row.deleted_at is None}


def scenes_of(camera: Camera) -> CameraScenes:
    """How a camera's frames are described; never: not at all."""
    return CameraScenes.objects.filter(camera=camera).first() or CameraScenes(camera=camera)


def _within_reach(rows: "QuerySet[ShownRow]", principal: Principal) -> "QuerySet[ShownRow]":
    if principal.collection_ids is not None:
        rows = rows.filter(collection_id__in=principal.collection_ids)
    if principal.camera_ids is not None:
        rows = rows.filter(camera_id__in=principal.camera_ids)
    return rows


def visible_captions(principal: Principal) -> "QuerySet[Caption]":
    """The captions a caller may see, with what their answers show."""
    return _within_reach(Caption.objects.select_related("camera", "portrait"), principal).defer("words")


def visible_objects(principal: Principal) -> "QuerySet[SceneObject]":
    """The objects a caller may see, with what their answers show."""
    related = ("segmentation__camera", "segmentation__portrait")
    return _within_reach(SceneObject.objects.select_related(*related), principal).defer("mask")


def filtered(
    rows: "QuerySet[ShownRow]",
    *,
    collection: Collection | None = None,
    cameras: Sequence[Camera] = (),
    identity_ids: Iterable[UUID] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    kind: str | None = None,
    **lookups: Any,
) -> "QuerySet[ShownRow]":
    """What fits all that is asked. identity_ids: pictures that show one of them. kind: `frame` or `portrait`."""
    asked: dict[str, Any] = {
        "collection": collection,
        "camera__in": cameras or None,
        "shown_at__gte": since,
        "shown_at__lte": until,
        "camera__isnull": None if kind is None else kind == "portrait",
        **lookups,
    }
    rows = rows.filter(**{lookup: value for lookup, value in asked.items() if value is not None})
    wanted = list(identity_ids)
    return rows.filter(_shows(rows, wanted)) if wanted else rows


def _shows(rows: "QuerySet[ShownRow]", identity_ids: Sequence[UUID]) -> Q:
    path = "" if rows.model is Caption else "segmentation__"
    faces = Detection.objects.filter(frame=OuterRef(f"{path}frame_id"), identity_id__in=identity_ids)
    return Q(Exists(faces)) | Q(**{f"{path}portrait__identity_id__in": identity_ids})


def matching(captions: "QuerySet[Caption]", text: str) -> "QuerySet[Caption]":
    """Captions that fit a search as people type it: all words, "a phrase", or, -not."""
    return captions.filter(words=SearchQuery(text, search_type="websearch", config="english"))


def untold(subjects: "QuerySet[Any]", told: "QuerySet[Any]", *, model: str, name: str) -> "QuerySet[Any]":
    """Those of these portraits or frames (`name`) of which this model told nothing yet. told: captions, or
    segmentations."""
    told = told.filter(**{name: OuterRef("pk")}, model=model)
    return subjects.filter(~Exists(told))
