"""The pipeline's batching and order, with networks that answer from the pixels they are sent."""

import numpy as np

from inference.client import FakeInferenceClient, Tensors
from inference.config import CENTERFACE, DLIB_RESNET, QualityLimits
from inference.faces.detect import Detector
from inference.faces.embed import Embedder
from inference.faces.pipeline import FacePipeline
from tests.inference.faces.test_detect import centerface_outputs, put

FACES = {0: [], 1: [(20, 20, 40, 40)], 2: [(20, 20, 40, 40), (100, 30, 80, 90)]}


def photo(faces: int) -> np.ndarray:
    """Its grey level tells the detector how many faces it has, and the embedder which photo a chip is of."""
    return np.full((160, 256, 3), 10 * faces, np.uint8)


def detector(inputs: Tensors) -> dict[str, np.ndarray]:
    images = inputs["image"]
    outputs = centerface_outputs(len(images), *images.shape[1:3])
    for row, image in enumerate(images):
        for box in FACES[int(image[0, 0, 0]) // 10]:
            put(outputs, row, box, 0.9)
    return outputs


def embedder(inputs: Tensors) -> dict[str, np.ndarray]:
    level = inputs["image"][:, 75, 75, :1].astype(np.float32)
    return {"embedding": np.repeat(level, 128, axis=1)}


def pipeline() -> tuple[FacePipeline, FakeInferenceClient]:
    client = FakeInferenceClient({"centerface": detector, "dlib_resnet": embedder})
    return FacePipeline(Detector(client, CENTERFACE), Embedder(client, DLIB_RESNET), QualityLimits()), client


def test_all_faces_of_all_photos_are_embedded_in_one_call_and_come_back_to_their_photo() -> None:
    faces, client = pipeline()
    results = faces.analyse([photo(2), photo(0), photo(1)])
    assert [model for model, _ in client.calls] == ["centerface"] * 3 + ["dlib_resnet"]
    assert client.calls[-1][1]["image"] == (3, 150, 150, 3)
    assert [[face.embedding.vector[0] for face in result.faces] for result in results] == [[20, 20], [], [10]]
    assert [(result.width, result.height) for result in results] == [(256, 160)] * 3
    assert results[2].faces[0].embedding.model == "dlib_resnet"


def test_the_largest_face_comes_first() -> None:
    faces, _ = pipeline()
    (result,) = faces.analyse([photo(2)])
    assert [round(face.box.width) for face in result.faces] == [80, 40]


def test_photos_without_faces_are_not_sent_to_the_embedder() -> None:
    faces, client = pipeline()
    assert [result.faces for result in faces.analyse([photo(0), photo(0)])] == [(), ()]
    assert {model for model, _ in client.calls} == {"centerface"}


def test_no_photos_no_call() -> None:
    faces, client = pipeline()
    assert faces.analyse([]) == []
    assert faces.detect([]) == []
    assert client.calls == []


def test_detection_alone_gives_quality_without_embedding() -> None:
    faces, client = pipeline()
    (result,) = faces.detect([photo(1)])
    assert [model for model, _ in client.calls] == ["centerface"]
    assert result.faces[0].quality.size_px > 35
    assert not hasattr(result.faces[0], "embedding")
