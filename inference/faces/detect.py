"""Faces in images: letterbox, one call a batch of equal shapes, decode, suppress, map back."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from inference.client import InferenceClient, Tensor
from inference.config import DetectorSpec
from inference.errors import InvalidInferenceResponseError
from inference.faces.decoders import DECODERS, Candidates
from inference.geometry import Array, Letterbox, letterbox, non_maximum_suppression
from inference.types import Box, FaceDetection, Image, Landmarks

_MIN_BOX_PX = 1.0


class Detector:
    """Finds faces with the network that `spec` describes."""

    def __init__(self, client: InferenceClient, spec: DetectorSpec) -> None:
        self._client = client
        self.spec = spec
        self._decoder = DECODERS[spec.family]

    def detect(self, images: Sequence[Image]) -> list[tuple[FaceDetection, ...]]:
        """The faces of each image, best score first; boxes are cut at the image's border, landmarks are not.

        Images of the same padded shape travel together, at most `spec.max_batch` in one call.

        Raises:
            ServerError: the inference server did not answer as asked.
        """
        spec = self.spec
        boxed = [letterbox(image, long_side_px=spec.long_side_px, stride_px=spec.stride_px) for image in images]
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, item in enumerate(boxed):
            groups[item.image.shape].append(index)
        found: dict[int, tuple[FaceDetection, ...]] = {}
        for members in groups.values():
            for start in range(0, len(members), spec.max_batch):
                batch = members[start : start + spec.max_batch]
                candidates = self._candidates(np.stack([boxed[index].image for index in batch]))
                for index, candidate in zip(batch, candidates, strict=True):
                    found[index] = self._faces(candidate, boxed[index], images[index])
        return [found[index] for index in range(len(images))]

    def _candidates(self, batch: Image) -> list[Candidates]:
        answer = self._client.infer(
            self.spec.name, {"image": batch}, self._decoder.outputs, deadline_s=self.spec.deadline_s
        )
        return [self._decoded(answer, row, *batch.shape[1:3]) for row in range(len(batch))]

    def _decoded(self, answer: dict[str, Tensor], row: int, height: int, width: int) -> Candidates:
        try:
            outputs = {name: tensor[row] for name, tensor in answer.items()}
            candidates = self._decoder.decode(outputs, height, width, self.spec.score_threshold)
        except (IndexError, ValueError, KeyError) as error:
            shapes = {name: tensor.shape for name, tensor in answer.items()}
            raise InvalidInferenceResponseError(
                f"model {self.spec.name!r} answered {shapes} for images of {width} x {height}: {error}"
            ) from error
        return candidates

    def _faces(self, candidates: Candidates, boxed: Letterbox, image: Image) -> tuple[FaceDetection, ...]:
        kept = non_maximum_suppression(candidates.boxes, candidates.scores, self.spec.nms_iou)
        height, width = image.shape[:2]
        corners = boxed.to_original(candidates.boxes[kept]).clip(0, [width, height, width, height])
        points = None if candidates.points is None else boxed.to_original(candidates.points[kept]).reshape(-1, 5, 2)
        return tuple(
            _detection(corners[place], float(candidates.scores[index]), None if points is None else points[place])
            for place, index in enumerate(kept)
            if (corners[place, 2:] - corners[place, :2]).min() >= _MIN_BOX_PX and np.isfinite(corners[place]).all()
        )


def _detection(corners: Array, score: float, points: Array | None) -> FaceDetection:
    left, top, right, bottom = (float(value) for value in corners)
    return FaceDetection(
        box=Box(left, top, right - left, bottom - top),
        score=min(1.0, max(0.0, score)),
        landmarks=None if points is None else Landmarks.from_array(points),
    )
