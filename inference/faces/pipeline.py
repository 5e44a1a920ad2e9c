"""Photos to analysed faces: detect, align, assess, embed; batched over photos and over faces."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference.config import QualityLimits
from inference.faces.align import align
from inference.faces.detect import Detector
from inference.faces.embed import Embedder
from inference.faces.quality import assess
from inference.types import AssessedFace, Embedding, Face, FaceAnalysis, FaceAssessment, FaceDetection, Image


@dataclass(frozen=True, slots=True)
class _Aligned:
    face: AssessedFace
    chip: Image
    further: tuple[Image, ...]
    """Chips for further embedders, whose templates differ."""


class FacePipeline:
    """Finds, assesses and embeds faces. Safe to share between threads, as its client is."""

    def __init__(self, detector: Detector, embedder: Embedder, quality_limits: QualityLimits) -> None:
        self.detector = detector
        self.embedder = embedder
        self.quality_limits = quality_limits

    def analyse(self, images: Sequence[Image], *, also: Sequence[Embedder] = ()) -> list[FaceAnalysis]:
        """Every face of every image with its embedding, largest first; one result an image, in order.

        also: further networks that embed each face too (`Face.others`).

        Raises:
            ServerError: the inference server did not answer as asked; no image is then analysed.
        """
        found = self._aligned(images, also)
        aligned = [item for faces in found for item in faces]
        embeddings = iter(_embedded(self.embedder, [item.chip for item in aligned]))
        further = [
            _embedded(embedder, [item.further[index] for item in aligned]) for index, embedder in enumerate(also)
        ]
        others = iter(zip(*further, strict=True) if further else ((),) * len(aligned))
        return [
            FaceAnalysis(
                image.shape[1],
                image.shape[0],
                tuple(_face(item.face, next(embeddings), next(others)) for item in faces),
            )
            for image, faces in zip(images, found, strict=True)
        ]

    def detect(self, images: Sequence[Image]) -> list[FaceAssessment]:
        """As `analyse`, without embeddings: half the work where nobody is to be recognised."""
        return [
            FaceAssessment(image.shape[1], image.shape[0], tuple(item.face for item in faces))
            for image, faces in zip(images, self._aligned(images, ()), strict=True)
        ]

    def _aligned(self, images: Sequence[Image], also: Sequence[Embedder]) -> list[list[_Aligned]]:
        if not images:
            return []
        return [
            sorted((self._one(image, face, also) for face in faces), key=lambda item: item.face.box.area, reverse=True)
            for image, faces in zip(images, self.detector.detect(images), strict=True)
        ]

    def _one(self, image: Image, face: FaceDetection, also: Sequence[Embedder]) -> _Aligned:
        chip = align(image, face, self.embedder.spec)
        quality = assess(image, face, chip, self.embedder.spec, self.quality_limits)
        further = tuple(align(image, face, embedder.spec) for embedder in also)
        return _Aligned(AssessedFace(face.box, face.score, face.landmarks, quality), chip, further)


def _embedded(embedder: Embedder, chips: Sequence[Image]) -> list[Embedding]:
    return embedder.embed(chips) if chips else []


def _face(face: AssessedFace, embedding: Embedding, others: tuple[Embedding, ...]) -> Face:
    return Face(face.box, face.score, face.landmarks, face.quality, embedding, others)
