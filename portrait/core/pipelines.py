"""The composition root: settings -> clients and pipelines, one of each a process, shared by its threads."""

from functools import lru_cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from inference.config import DETECTORS, DLIB_RESNET, CodecLimits, DetectorSpec, EmbedderSpec, QualityLimits
from inference.faces.detect import Detector
from inference.faces.embed import Embedder
from inference.faces.pipeline import FacePipeline
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
    """The embedder whose vectors new portraits get."""
    return DLIB_RESNET


@lru_cache(maxsize=1)
def inference_client() -> TritonClient:
    """The connection to the inference server(s)."""
    return TritonClient(settings.PORTRAIT.triton_urls)


@lru_cache(maxsize=1)
def face_pipeline() -> FacePipeline:
    """Detection, alignment, quality and embedding, over `inference_client`."""
    client = inference_client()
    return FacePipeline(Detector(client, detector_spec()), Embedder(client, embedder_spec()), QualityLimits())


def required_models() -> tuple[str, ...]:
    """The models without which no face can be recognised."""
    return detector_spec().name, embedder_spec().name
