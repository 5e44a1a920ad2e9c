"""Objects in pictures by YOLACT: squash, one call, find, assemble masks at the picture's own size."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from inference.client import InferenceClient, Tensor
from inference.config import SegmenterSpec
from inference.errors import InvalidInferenceResponseError
from inference.scenes.masks import assemble, squashed
from inference.scenes.prototypes import Candidates, find
from inference.types import Box, FloatArray, Image, SceneObject

SCORE_THRESHOLD = 0.15
TOP_K = 15
"""Both as in the published examples."""
_OUTPUTS = ("loc", "conf", "coef", "proto")
_PARALLEL = 2
"""Pictures under way at once: while the network looks at one, the masks of another are assembled. More gain nothing:
on a CPU a picture of a batch costs what it costs alone."""


class Segmenter:
    """Finds objects with the network that `spec` describes. Safe to share between threads."""

    def __init__(self, client: InferenceClient, spec: SegmenterSpec) -> None:
        self._client = client
        self.spec = spec

    def segment(
        self, image: Image, *, score_threshold: float = SCORE_THRESHOLD, top_k: int = TOP_K
    ) -> list[SceneObject]:
        """The objects of a picture, best score first: those above `score_threshold`, at most `top_k`.

        Boxes are whole pixels, cut at the border. A mask may spill a little over its box, and may be empty.
        A threshold of 0 takes whatever the network names, as published.

        Raises:
            ValueError: `score_threshold` is not 0 to 1, or `top_k` not 1 to `spec.max_objects`.
            ServerError: the inference server did not answer as asked.
        """
        if not 0 <= score_threshold <= 1:
            raise ValueError(f"score_threshold is 0 to 1, not {score_threshold}")
        if not 1 <= top_k <= self.spec.max_objects:
            raise ValueError(f"top_k is 1 to {self.spec.max_objects}, not {top_k}")
        loc, conf, coef, proto = self._heads(image)
        found = find(conf, loc, coef, self.spec, score_threshold)
        return self._objects(found, proto, image.shape[0], image.shape[1], top_k)

    def segment_all(
        self, images: Sequence[Image], *, score_threshold: float = SCORE_THRESHOLD, top_k: int = TOP_K
    ) -> list[list[SceneObject]]:
        """`segment` for each picture; the first error is raised."""
        one = partial(self.segment, score_threshold=score_threshold, top_k=top_k)
        if len(images) <= 1:
            return [one(image) for image in images]
        with ThreadPoolExecutor(_PARALLEL) as pool:
            return list(pool.map(one, images))

    def _heads(self, image: Image) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """loc, conf, coef and proto of one picture, checked."""
        spec = self.spec
        batch = squashed(image, spec.size_px)[None]
        answer = self._client.infer(spec.name, {"image": batch}, _OUTPUTS, deadline_s=spec.deadline_s)
        loc, conf, coef, proto = (self._checked(answer, name) for name in _OUTPUTS)
        if coef.shape[1] != proto.shape[2]:
            raise InvalidInferenceResponseError(
                f"model {spec.name!r} answered {coef.shape[1]} coefficients for {proto.shape[2]} prototypes"
            )
        return loc, conf, coef, proto

    def _checked(self, answer: dict[str, Tensor], name: str) -> FloatArray:
        spec = self.spec
        rows = len(spec.ratios) * sum(grid * grid for grid in spec.grids)
        side = 2 * spec.grids[0]
        expected: tuple[int | None, ...] = {
            "loc": (1, rows, 4),
            "conf": (1, rows, 1 + len(spec.labels)),
            "coef": (1, rows, None),
            "proto": (1, side, side, None),
        }[name]
        tensor = answer.get(name, np.empty(0, np.float32))
        fits = len(tensor.shape) == len(expected) and all(
            want in (None, is_) for want, is_ in zip(expected, tensor.shape, strict=True)
        )
        if not fits or tensor.dtype != np.float32:
            raise InvalidInferenceResponseError(
                f"model {spec.name!r} answered {name!r} as {tensor.dtype} {tensor.shape}, not float32 {expected}"
            )
        if not np.isfinite(tensor.sum()):  # a tenth of the time that looking at each number takes
            raise InvalidInferenceResponseError(f"model {spec.name!r} answered {name!r} with numbers that are none")
        row: FloatArray = tensor[0]
        return row

    def _objects(self, found: Candidates, proto: FloatArray, height: int, width: int, top_k: int) -> list[SceneObject]:
        objects: list[SceneObject] = []
        for box, coef, score, label in zip(found.boxes, found.coef, found.scores, found.labels, strict=True):
            place = _pixels(box, height, width)
            if place is not None:
                mask = assemble(proto, coef, box, height, width)
                objects.append(SceneObject(self.spec.labels[int(label)], float(score), place, mask))
            if len(objects) == top_k:
                break
        return objects


def _pixels(box: FloatArray, height: int, width: int) -> Box | None:
    """The box in whole pixels, cut off as published, not rounded; None if nothing is left of it."""
    sides = np.array([width, height, width, height], np.float32)
    x1, y1, x2, y2 = (int(value) for value in np.clip(np.trunc(box * sides), 0, sides))
    left, right = min(x1, x2), max(x1, x2)
    top, bottom = min(y1, y2), max(y1, y2)
    if left == right or top == bottom:
        return None
    return Box(left, top, right - left, bottom - top)
