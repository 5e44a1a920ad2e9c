"""The composition root: settings -> clients and pipelines, one of each a process, shared by its threads."""

from collections.abc import Iterable
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from inference.config import (
    DETECTORS,
    DLIB_RESNET,
    EMBEDDERS,
    SCENE_SPEC,
    CaptionerSpec,
    CodecLimits,
    DetectorSpec,
    EmbedderSpec,
    QualityLimits,
    SegmenterSpec,
    spec_from_json,
)
from inference.errors import InvalidInferenceRequestError, InvalidInferenceResponseError, ModelNotInstalledError
from inference.faces.detect import Detector
from inference.faces.embed import Embedder
from inference.faces.pipeline import FacePipeline
from inference.scenes.caption import Captioner
from inference.scenes.segment import Segmenter
from inference.triton import TritonClient


def codec_limits() -> CodecLimits:
    """What an uploaded picture may be."""
    return CodecLimits()


def detector_spec() -> DetectorSpec:
    """The detector that the settings name."""
    try:
        return DETECTORS[settings.PORTRAIT.detector]
    except KeyError:
        raise ImproperlyConfigured(
            f"PORTRAIT_DETECTOR is {settings.PORTRAIT.detector!r}; choose one of {', '.join(sorted(DETECTORS))}."
        ) from None


def embedder_spec() -> EmbedderSpec:
    """The embedder whose vectors the portraits of new collections get; every face is seen by it."""
    return DLIB_RESNET


def embedder_specs() -> dict[str, EmbedderSpec]:
    """The embedders that there are, by name."""
    return EMBEDDERS


@lru_cache(maxsize=16)
def embedder(name: str) -> Embedder:
    """A network that makes vectors of faces.

    Raises:
        ModelNotInstalledError: there is none of that name.
    """
    try:
        return Embedder(inference_client(), embedder_specs()[name])
    except KeyError:
        raise ModelNotInstalledError(
            f"there is no embedder {name!r} in inference.config.EMBEDDERS: {', '.join(sorted(EMBEDDERS))}"
        ) from None


def further_embedders(names: Iterable[str]) -> list[Embedder]:
    """Those of these networks that `face_pipeline` does not ask anyway, each once."""
    return [embedder(name) for name in sorted(set(names) - {embedder_spec().name})]


@lru_cache(maxsize=1)
def inference_client() -> TritonClient:
    """The connection to the inference server(s)."""
    return TritonClient(settings.PORTRAIT.triton_urls)


@lru_cache(maxsize=1)
def face_pipeline() -> FacePipeline:
    """Detection, alignment, quality and embedding, over `inference_client`."""
    client = inference_client()
    return FacePipeline(Detector(client, detector_spec()), Embedder(client, embedder_spec()), QualityLimits())


def scene_spec(name: str) -> SegmenterSpec | CaptionerSpec:
    """What a loaded model of scenes says of itself: asked each time, as another may take its name meanwhile.

    Raises:
        ModelNotInstalledError, ServerUnavailableError: it is not there, or not loaded.
        InvalidInferenceResponseError: what is served under that name was not imported by Portrait.
    """
    text = inference_client().parameters(name).get(SCENE_SPEC, "")
    try:
        spec = spec_from_json(text)
    except ValueError as error:
        raise InvalidInferenceResponseError(f"model {name!r}: {error}; import it again") from error
    if spec.name != name:
        raise InvalidInferenceResponseError(f"model {name!r} is a copy of {spec.name!r}: import it under its own name")
    return spec


def segmenter(name: str) -> Segmenter:
    """The loaded segmentation model of that name.

    Raises:
        InvalidInferenceRequestError: it is none. Else as `scene_spec`.
    """
    spec = scene_spec(name)
    if not isinstance(spec, SegmenterSpec):
        raise InvalidInferenceRequestError(f"model {name!r} is no segmentation model")
    return Segmenter(inference_client(), spec)


def captioner(name: str) -> Captioner:
    """The loaded captioning model of that name.

    Raises:
        InvalidInferenceRequestError: it is none. Else as `scene_spec`.
    """
    spec = scene_spec(name)
    if not isinstance(spec, CaptionerSpec):
        raise InvalidInferenceRequestError(f"model {name!r} is no captioning model")
    return Captioner(inference_client(), spec)


def required_models() -> tuple[str, ...]:
    """The models without which no face can be recognised."""
    return detector_spec().name, embedder_spec().name
