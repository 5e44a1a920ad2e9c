"""What is told of pictures: captions and objects, by networks or by rules. Names nobody, stores nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import UUID

from inference.codec import decode
from inference.config import SceneTask, SegmenterSpec
from inference.errors import ImageError, InvalidInferenceRequestError, ModelNotInstalledError, ModelNotLoadedError
from inference.types import CaptionSettings, Face, Image, SceneObject
from portrait.core.errors import PortraitError
from portrait.core.pipelines import captioner, codec_limits, face_pipeline, further_embedders, segmenter
from portrait.gallery.models import Collection
from portrait.gallery.selectors import nearest_identities
from portrait.gallery.services.photos import CHUNK_PIXELS, slow_work
from portrait.gallery.vectors import network_of, vector_of
from portrait.scenes.models import Method
from portrait.scenes.selectors import Person
from portrait.scenes.sentences import Plan, describe, plan_of
from portrait.scenes.services import engines

DESCRIBE = "describe"
"""The name of the rules, where a model is named."""
DEFAULT = "default"
"""The name of whatever model a request gets that names none."""
TOP_K, SCORE_THRESHOLD = 15, 0.15
SURE_SCORE = 0.3
"""An object that a sentence speaks of is at least so sure."""

Picture = bytes | PortraitError | ImageError
"""Its bytes, or why there are none."""


class RefusedSettingsError(PortraitError):
    """The model cannot write what is asked for."""

    code = "invalid"
    status = 400


@dataclass(frozen=True, slots=True)
class How:
    """How a caption is asked for. model: None is the default. collection: whose people are looked for; None: nobody's,
    then faces are only counted."""

    model: str | None = None
    settings: CaptionSettings = field(default_factory=CaptionSettings)
    collection: Collection | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence about a picture. faces: how many it shows, None where nobody looked; people: who they are, where that
    was asked. plan: what a sentence by rules is made of. domain: what the model knows, if not what photos show."""

    text: str
    model: str
    method: Method
    domain: str = ""
    score: float | None = None
    faces: int | None = None
    people: tuple[Person, ...] | None = None
    plan: Plan | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Segmented:
    """The objects of a picture, best first."""

    image: Image = field(repr=False)
    model: str
    domain: str
    objects: tuple[SceneObject, ...]
    settings: dict[str, Any]


def tell(
    *, pictures: Sequence[Picture], how: How, count_faces: bool = False
) -> list[Told | PortraitError | ImageError]:
    """A sentence a picture, in order; a bad picture becomes its error and stops no other.

    count_faces: count them, even where nobody's people are looked for.

    Raises:
        ServerError: the networks cannot be reached, or the model is not there.
        WrongModelError: the model does something else.
        RefusedSettingsError: the model cannot write what the settings ask for.
    """
    results: dict[int, Told | PortraitError | ImageError] = {}
    faces: dict[int, Sequence[Face]] = {}
    with slow_work():
        for chunk in _chunks(pictures, results):
            images = [image for _, image in chunk]
            told = _describe(images) if how.model == DESCRIBE else _caption(how, images)
            if how.collection is not None:
                also = further_embedders([network_of(how.collection.active_model)])
                seen: list[Sequence[Face]] = [each.faces for each in face_pipeline().analyse(images, also=also)]
                faces |= zip((index for index, _ in chunk), seen, strict=True)
                told = [replace(each, faces=len(found)) for each, found in zip(told, seen, strict=True)]
            elif count_faces:
                told = _with_counts(told, images)
            results |= zip((index for index, _ in chunk), told, strict=True)
    if how.collection is not None:
        for index, found in faces.items():
            results[index] = _with_people(results[index], found, how.collection)
    return [results[index] for index in range(len(pictures))]


def segment(
    *, data: bytes, model: str | None = None, top_k: int = TOP_K, score_threshold: float = SCORE_THRESHOLD
) -> Segmented:
    """The objects of a picture.

    Raises:
        ImageError: it is no picture. Else as `tell`.
    """
    with slow_work():
        image = decode(data, limits=codec_limits())
        name = engines.chosen(SceneTask.SEGMENTATION, model)
        network = segmenter(name)
        most = min(top_k, network.spec.max_objects)
        found = network.segment(image, score_threshold=score_threshold, top_k=most)
        settings = {"top_k": top_k, "score_threshold": score_threshold}
        return Segmented(image, name, network.spec.domain, tuple(found), settings)


def _chunks(
    pictures: Sequence[Picture], results: dict[int, Told | PortraitError | ImageError]
) -> Iterator[list[tuple[int, Image]]]:
    """Decoded pictures, about `CHUNK_PIXELS` at a time; those that cannot be decoded go to `results`."""
    chunk: list[tuple[int, Image]] = []
    for index, data in enumerate(pictures):
        if not isinstance(data, bytes):
            results[index] = data
            continue
        try:
            chunk.append((index, decode(data, limits=codec_limits())))
        except ImageError as error:
            results[index] = error
        if sum(image.shape[0] * image.shape[1] for _, image in chunk) >= CHUNK_PIXELS / 2:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _caption(how: How, images: Sequence[Image]) -> list[Told]:
    model = engines.chosen(SceneTask.CAPTIONING, how.model)
    network = captioner(model)
    settings = _fitting(how.settings, network.spec.max_tokens)
    try:
        written = network.caption(images, settings)
    except InvalidInferenceRequestError as error:
        raise RefusedSettingsError(str(error)) from error
    return [
        Told(each.text, model, Method.NETWORK, network.spec.domain, round(each.score, 4), settings=asdict(settings))
        for each in written
    ]


def _fitting(settings: CaptionSettings, max_tokens: int) -> CaptionSettings:
    """What nobody asked for is made to fit a model that writes less; what was asked for is the model's to refuse."""
    if settings.max_length != CaptionSettings().max_length or settings.max_length <= max_tokens:
        return settings
    return replace(settings, max_length=max_tokens, min_length=min(settings.min_length, max_tokens))


def _with_counts(told: Sequence[Told], images: Sequence[Image]) -> list[Told]:
    seen = face_pipeline().detect(images)
    return [replace(each, faces=len(found.faces)) for each, found in zip(told, seen, strict=True)]


def _describe(images: Sequence[Image]) -> list[Told]:
    """By rules; of objects only if a segmentation model is there, and knows what photos show."""
    seen = face_pipeline().detect(images)
    labels: list[list[str] | None] = [None] * len(images)
    spec: SegmenterSpec | None = None
    try:
        network = segmenter(engines.chosen(SceneTask.SEGMENTATION))
        labels = [_labels(network.segment(image, score_threshold=SURE_SCORE, top_k=TOP_K)) for image in images]
        spec = network.spec
    except (ModelNotInstalledError, ModelNotLoadedError):
        pass
    return [_by_rules(len(found.faces), named, spec) for found, named in zip(seen, labels, strict=True)]


def _labels(found: Sequence[SceneObject]) -> list[str]:
    return [each.label for each in found]


def _by_rules(faces: int, labels: Sequence[str] | None, spec: SegmenterSpec | None) -> Told:
    """spec: of the model that found the labels."""
    plan = plan_of(faces, labels)
    return Told(
        text=describe(plan),
        model=DESCRIBE,
        method=Method.RULES,
        domain=spec.domain if spec else "",
        faces=faces,
        plan=plan,
        settings={"plan": plan.as_json()} | ({"segmented_by": spec.name} if spec else {}),
    )


def _with_people(
    told: Told | PortraitError | ImageError, faces: Sequence[Face], collection: Collection
) -> Told | PortraitError | ImageError:
    if not isinstance(told, Told):
        return told
    return replace(told, people=tuple(_person(face, collection) for face in faces))


def _person(face: Face, collection: Collection) -> Person:
    nearest = nearest_identities(collection, vector_of(collection.active_model, face))
    who: UUID | None = nearest[0].identity.pk if nearest else None
    return Person(who, face.box.as_list(), round(nearest[0].similarity, 4) if nearest else None)
