"""Decoders on hand-made outputs, batching, suppression, the way back to the photo, and the second look."""

from dataclasses import replace

import numpy as np
import pytest

from inference.client import FakeInferenceClient, Tensors
from inference.config import CENTERFACE, ULTRAFACE, YUNET, FinePass
from inference.errors import InvalidInferenceResponseError, ServerUnavailableError
from inference.faces.decoders import decode_centerface, decode_ultraface, decode_yunet
from inference.faces.detect import Detector, merged
from inference.types import Box, FaceDetection

FINE = FinePass(long_side_px=1600, score_threshold=0.6, suspect_score=0.3, small_px=24)
ONE_PASS = replace(CENTERFACE, fine=None)


def centerface_outputs(n: int, height: int, width: int) -> dict[str, np.ndarray]:
    """Nobody, anywhere."""
    rows, columns = height // 4, width // 4
    shapes = {"heatmap": 1, "scale": 2, "offset": 2, "landmarks": 10}
    return {name: np.zeros((n, depth, rows, columns), np.float32) for name, depth in shapes.items()}


def put(outputs: dict[str, np.ndarray], row: int, box: tuple[float, float, float, float], score: float) -> None:
    """A face at x, y, width, height (pixels of the network's input), with landmarks at fixed shares of the box."""
    x, y, width, height = box
    centre_x, centre_y = (x + width / 2) / 4 - 0.5, (y + height / 2) / 4 - 0.5
    cell = (row, slice(None), int(centre_y), int(centre_x))
    outputs["heatmap"][cell] = score
    outputs["scale"][cell] = np.log([height / 4, width / 4])
    outputs["offset"][cell] = [centre_y - int(centre_y), centre_x - int(centre_x)]
    outputs["landmarks"][cell] = [0.4, 0.25, 0.4, 0.75, 0.6, 0.5, 0.8, 0.3, 0.8, 0.7]  # y before x


def test_centerface_heads_are_read_height_before_width() -> None:
    outputs = centerface_outputs(1, 64, 96)
    put(outputs, 0, (20, 10, 30, 40), 0.9)
    found = decode_centerface({name: tensor[0] for name, tensor in outputs.items()}, 64, 96, 0.5)
    assert np.allclose(found.boxes, [[20, 10, 50, 50]], atol=1e-4)
    assert found.points is not None
    expected = [[27.5, 26, 42.5, 26, 35, 34, 29, 42, 41, 42]]
    assert np.allclose(found.points, expected, atol=1e-3)


def test_yunet_levels_are_read_row_by_row() -> None:
    height, width = 64, 96
    outputs = {}
    for stride in (8, 16, 32):
        cells = (height // stride) * (width // stride)
        for name, depth in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            outputs[f"{name}_{stride}"] = np.zeros((cells, depth), np.float32)
    cell = 1 * (width // 16) + 3  # row 1, column 3 of stride 16
    outputs["cls_16"][cell], outputs["obj_16"][cell] = 0.9, 0.4
    outputs["bbox_16"][cell] = [0.5, 0.25, np.log(2), np.log(1.5)]
    outputs["kps_16"][cell] = np.arange(10) / 10
    found = decode_yunet(outputs, height, width, 0.5)
    assert np.allclose(found.scores, 0.6)
    assert np.allclose(found.boxes, [[56 - 16, 20 - 12, 56 + 16, 20 + 12]])
    assert found.points is not None
    assert np.allclose(found.points[0, :4], [48, 16 + 1.6, 48 + 3.2, 16 + 4.8])


def test_ultraface_boxes_are_shares_of_the_input() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)
    boxes = np.array([[0.25, 0.5, 0.5, 1.0], [0, 0, 1, 1]], np.float32)
    found = decode_ultraface({"scores": scores, "boxes": boxes}, 240, 320, 0.5)
    assert found.boxes.tolist() == [[80, 120, 160, 240]]
    assert found.points is None


def fake(faces: list[tuple[tuple[float, float, float, float], float]]) -> FakeInferenceClient:
    """A CenterFace that sees the same faces (pixels of its input) in every image."""

    def model(inputs: Tensors) -> dict[str, np.ndarray]:
        n, height, width, _ = inputs["image"].shape
        outputs = centerface_outputs(n, height, width)
        for row in range(n):
            for box, score in faces:
                put(outputs, row, box, score)
        return outputs

    return FakeInferenceClient({"centerface": model})


def test_faces_are_mapped_back_to_the_photo() -> None:
    photo = np.zeros((600, 1280, 3), np.uint8)  # halved for the network
    (faces,) = Detector(fake([((100, 50, 40, 60), 0.9)]), ONE_PASS).detect([photo])
    assert faces[0].box.as_list() == pytest.approx([200, 100, 80, 120], abs=0.1)
    assert faces[0].landmarks is not None
    assert faces[0].landmarks.nose == pytest.approx((240, 172), abs=0.1)


def test_boxes_are_cut_at_the_border_and_those_in_the_padding_dropped() -> None:
    photo = np.zeros((100, 100, 3), np.uint8)  # padded to 128 x 128
    (faces,) = Detector(fake([((-8, 20, 40, 40), 0.9), ((104, 104, 16, 16), 0.8)]), ONE_PASS).detect([photo])
    assert [face.box.as_list() for face in faces] == [pytest.approx([0, 20, 32, 40], abs=0.1)]


def test_overlapping_candidates_become_one_face_best_score_first() -> None:
    client = fake(
        [((20, 20, 40, 40), 0.7), ((24, 22, 40, 40), 0.9), ((200, 100, 30, 30), 0.95), ((100, 8, 30, 30), 0.4)]
    )
    (faces,) = Detector(client, ONE_PASS).detect([np.zeros((160, 320, 3), np.uint8)])
    assert [round(face.score, 2) for face in faces] == [0.95, 0.9]


def test_equal_shapes_travel_together_within_the_batch_limit_and_order_is_kept() -> None:
    client = fake([((10, 10, 40, 40), 0.9)])
    wide, tall = np.zeros((320, 640, 3), np.uint8), np.zeros((1280, 640, 3), np.uint8)
    found = Detector(client, replace(ONE_PASS, max_batch=2)).detect([wide, tall, wide, wide])
    sent = sorted(shapes["image"] for _, shapes in client.calls)  # they go side by side, in any order
    assert sent == [(1, 320, 640, 3), (1, 640, 320, 3), (2, 320, 640, 3)]
    assert [round(faces[0].box.width) for faces in found] == [40, 80, 40, 40]


def test_the_first_failure_of_several_requests_is_raised() -> None:
    def fails(inputs: Tensors) -> dict[str, np.ndarray]:
        raise ServerUnavailableError("down")

    with pytest.raises(ServerUnavailableError):
        Detector(FakeInferenceClient({"centerface": fails}), CENTERFACE).detect([np.zeros((64, 64, 3), np.uint8)] * 5)


def test_no_images_no_call() -> None:
    client = fake([])
    assert Detector(client, CENTERFACE).detect([]) == []
    assert client.calls == []


@pytest.mark.parametrize("spec", [CENTERFACE, YUNET, ULTRAFACE], ids=lambda spec: spec.name)
def test_outputs_of_other_shapes_are_an_invalid_response(spec) -> None:
    names = Detector(FakeInferenceClient({}), spec)._decoder.outputs
    client = FakeInferenceClient({spec.name: lambda inputs: {name: np.full((1, 3), 0.9, np.float32) for name in names}})
    with pytest.raises(InvalidInferenceResponseError, match=spec.name):
        Detector(client, spec).detect([np.zeros((64, 64, 3), np.uint8)])


@pytest.mark.parametrize(
    ("width", "faces", "looks"),
    [
        (2560, [((40, 40, 60, 60), 0.9)], 1),  # only large faces
        (2560, [((40, 40, 12, 12), 0.35)], 2),  # a small one is suspected
        (640, [((40, 40, 12, 12), 0.9)], 1),  # the photo has no more detail to show
    ],
)
def test_a_second_look_is_taken_where_a_large_photo_seems_to_have_small_faces(width, faces, looks) -> None:
    client = fake(faces)
    Detector(client, replace(CENTERFACE, fine=FINE)).detect([np.zeros((320, width, 3), np.uint8)])
    assert len(client.calls) == looks


def face(x: float, y: float, side: float, score: float) -> FaceDetection:
    return FaceDetection(Box(x, y, side, side), score, None)


def test_the_second_look_adds_confirms_and_drops_only_small_faces() -> None:
    large, sure, unsure, doubtful = (
        face(0, 0, 200, 0.55),
        face(300, 0, 40, 0.8),
        face(400, 0, 40, 0.52),
        face(500, 0, 40, 0.55),
    )
    confirmed, fresh, mouth, too_large = (
        face(401, 1, 40, 0.9),
        face(600, 0, 30, 0.7),
        face(80, 120, 40, 0.9),
        face(700, 0, 300, 0.9),
    )
    result = merged(
        [large, sure, unsure, doubtful], [confirmed, fresh, mouth, too_large], small_px=60, fine=FINE, iou=0.3
    )
    assert list(result) == [confirmed, sure, fresh, large]
