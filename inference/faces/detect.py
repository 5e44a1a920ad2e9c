"""Faces in images: letterbox, one call a batch of equal shapes, decode, suppress, map back."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from inference.client import InferenceClient, Tensor
from inference.config import DetectorSpec, FinePass
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
        spec, fine = self.spec, self.spec.fine
        lowest = spec.score_threshold if fine is None else min(spec.score_threshold, fine.suspect_score)
        suspected = self._look(images, spec.long_side_px, lowest)
        found = [tuple(face for face in faces if face.score >= spec.score_threshold) for faces in suspected]
        if fine is None:
            return found
        limits = [fine.small_px * max(1.0, max(image.shape[:2]) / spec.long_side_px) for image in images]
        again = [
            index
            for index, image in enumerate(images)
            if max(image.shape[:2]) > spec.long_side_px and _small(suspected[index], limits[index])
        ]
        closer = self._look([images[index] for index in again], fine.long_side_px, fine.score_threshold)
        for index, faces in zip(again, closer, strict=True):
            found[index] = merged(found[index], faces, small_px=limits[index], fine=fine, iou=spec.nms_iou)
        return found

    def _look(self, images: Sequence[Image], long_side_px: int, threshold: float) -> list[tuple[FaceDetection, ...]]:
        """One pass over all images at one scale."""
        boxed = [letterbox(image, long_side_px=long_side_px, stride_px=self.spec.stride_px) for image in images]
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, item in enumerate(boxed):
            groups[item.image.shape].append(index)
        # a closer look has larger images: fewer of them in a batch keep the network's memory where it was
        size = max(1, int(self.spec.max_batch * min(1.0, self.spec.long_side_px / long_side_px) ** 2))
        batches = [part for members in groups.values() for part in _parts(members, size)]

        def one(batch: Sequence[int]) -> list[Candidates]:
            return self._candidates(np.stack([boxed[index].image for index in batch]), threshold)

        found = {
            index: self._faces(candidate, boxed[index], images[index])
            for batch, candidates in zip(batches, self._side_by_side(one, batches), strict=True)
            for index, candidate in zip(batch, candidates, strict=True)
        }
        return [found[index] for index in range(len(images))]

    def _side_by_side(
        self, call: Callable[[Sequence[int]], list[Candidates]], batches: Sequence[Sequence[int]]
    ) -> list[list[Candidates]]:
        """`call` for every batch, several at a time where there are several; the first error is raised."""
        workers = min(self.spec.parallel, len(batches))
        if workers <= 1:
            return [call(batch) for batch in batches]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(call, batches))

    def _candidates(self, batch: Image, threshold: float) -> list[Candidates]:
        answer = self._client.infer(
            self.spec.name, {"image": batch}, self._decoder.outputs, deadline_s=self.spec.deadline_s
        )
        height, width = batch.shape[1:3]
        return [self._decoded(answer, row, height, width, threshold) for row in range(len(batch))]

    def _decoded(self, answer: dict[str, Tensor], row: int, height: int, width: int, threshold: float) -> Candidates:
        try:
            outputs = {name: tensor[row] for name, tensor in answer.items()}
            return self._decoder.decode(outputs, height, width, threshold)
        except (IndexError, ValueError, KeyError) as error:
            shapes = {name: tensor.shape for name, tensor in answer.items()}
            raise InvalidInferenceResponseError(
                f"model {self.spec.name!r} answered {shapes} for images of {width} x {height}: {error}"
            ) from error

    def _faces(self, candidates: Candidates, boxed: Letterbox, image: Image) -> tuple[FaceDetection, ...]:
        kept = non_maximum_suppression(candidates.boxes, candidates.scores, self.spec.nms_iou)[: self.spec.max_faces]
        height, width = image.shape[:2]
        corners = boxed.to_original(candidates.boxes[kept]).clip(0, [width, height, width, height])
        points = None if candidates.points is None else boxed.to_original(candidates.points[kept]).reshape(-1, 5, 2)
        return tuple(
            _detection(corners[place], float(candidates.scores[index]), None if points is None else points[place])
            for place, index in enumerate(kept)
            if (corners[place, 2:] - corners[place, :2]).min() >= _MIN_BOX_PX and np.isfinite(corners[place]).all()
        )


def merged(
    coarse: Sequence[FaceDetection],
    closer: Sequence[FaceDetection],
    *,
    small_px: float,
    fine: FinePass,
    iou: float,
) -> tuple[FaceDetection, ...]:
    """Both passes' faces, best score first.

    The first pass decides on faces of `small_px` and more, the closer one on smaller ones: it adds those it sees,
    unless they lie inside a larger face, and confirms those the first was not sure of.
    """
    added = [face for face in _small(closer, small_px) if not any(_inside(face.box, other.box) for other in coarse)]
    sure = [face for face in coarse if face.box.width >= small_px or face.score >= fine.score_threshold]
    faces = [*sure, *added]
    corners = np.array([[face.box.x, face.box.y, face.box.right, face.box.bottom] for face in faces]).reshape(-1, 4)
    kept = non_maximum_suppression(corners, np.array([face.score for face in faces]), iou)
    return tuple(faces[index] for index in kept)


def _inside(box: Box, other: Box) -> bool:
    """Whether `box` lies mostly in `other` and is much smaller: an eye or a mouth taken for a face."""
    width = min(box.right, other.right) - max(box.x, other.x)
    height = min(box.bottom, other.bottom) - max(box.y, other.y)
    return width > 0 and height > 0 and width * height > 0.6 * box.area and box.area < 0.5 * other.area


def _small(faces: Sequence[FaceDetection], limit_px: float) -> list[FaceDetection]:
    return [face for face in faces if face.box.width < limit_px]


def _parts(members: Sequence[int], size: int) -> list[Sequence[int]]:
    return [members[start : start + size] for start in range(0, len(members), size)]


def _detection(corners: Array, score: float, points: Array | None) -> FaceDetection:
    left, top, right, bottom = (float(value) for value in corners)
    return FaceDetection(
        box=Box(left, top, right - left, bottom - top),
        score=min(1.0, max(0.0, score)),
        landmarks=None if points is None else Landmarks.from_array(points),
    )
