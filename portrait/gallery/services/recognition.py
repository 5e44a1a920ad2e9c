"""Answers about faces: where they are, who this is, whether two are the same."""

from dataclasses import dataclass

import numpy as np

from inference.calibration import DECISION
from inference.codec import decode
from inference.types import Face, FaceAnalysis, FaceAssessment, Image
from portrait.core.errors import NoFaceError
from portrait.core.pipelines import codec_limits, embedder_spec, face_pipeline
from portrait.gallery.models import Collection
from portrait.gallery.selectors import Candidate, nearest_identities
from portrait.gallery.services.photos import analyse, prepare_face, slow_work
from portrait.gallery.services.strangers import register_unknown
from portrait.gallery.vectors import vector_of


@dataclass(frozen=True, slots=True)
class RecognisedFace:
    """A face and who it may be, most similar first; no candidates: unknown."""

    face: Face
    candidates: list[Candidate]


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether two faces are one person's. `distance` is Euclidean; `threshold` is the similarity that decides."""

    same: bool
    similarity: float
    distance: float
    threshold: float
    faces: tuple[Face, Face]


def detect(*, data: bytes) -> FaceAssessment:
    """Find the faces of one picture, with their quality; no embedding is made."""
    with slow_work():
        return face_pipeline().detect([decode(data, limits=codec_limits())])[0]


def recognise(
    *,
    collection: Collection,
    data: bytes,
    top_k: int = 5,
    min_similarity: float = DECISION,
    register_strangers: bool = False,
) -> list[RecognisedFace]:
    """Name every face of a picture.

    register_strangers: keep a good face that matches nobody as a new unknown person, who is then its candidate.
    """
    image, analysis = analyse(data, collection=collection)
    if register_strangers:
        _register_strangers(collection, data, image, analysis)
    model = collection.active_model  # as it was when the request came: its vectors stay for longer than a request
    return [
        RecognisedFace(
            face,
            nearest_identities(collection, vector_of(model, face), top_k=top_k, min_similarity=min_similarity),
        )
        for face in analysis.faces
    ]


def _register_strangers(collection: Collection, data: bytes, image: Image, analysis: FaceAnalysis) -> None:
    for face in analysis.faces:
        if face.quality.acceptable and not nearest_identities(collection, vector_of(collection.active_model, face)):
            photo = prepare_face(data, image, face, alone=len(analysis.faces) == 1)
            register_unknown(collection=collection, photos=[photo])


def verify(*, data_a: bytes, data_b: bytes) -> Verification:
    """Compare the largest faces of two pictures.

    Raises:
        NoFaceError: a picture has none; `field` says which.
    """
    face_a, face_b = _face_to_compare(data_a, "image_a"), _face_to_compare(data_b, "image_b")
    distance = float(np.linalg.norm(face_a.embedding.vector - face_b.embedding.vector))
    similarity = embedder_spec().calibration.similarity(distance)
    return Verification(similarity >= DECISION, similarity, distance, DECISION, (face_a, face_b))


def _face_to_compare(data: bytes, field: str) -> Face:
    _, analysis = analyse(data)
    if not analysis.faces:
        raise NoFaceError("No face was found in the picture.", field=field)
    return analysis.faces[0]
