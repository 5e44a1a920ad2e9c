"""How well a segmenter knows drawn scenes: COCO's own measure of masks, through pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from inference.scenes.rle import mask_to_rle
from inference.scenes.segment import Segmenter
from inference.types import Mask, SceneObject
from inference.weights.mini.scenes import SHAPES, Scene, draw_scene

_THRESHOLD = 0.05
_TOP_K = 100


def held_out_scenes(seed: int, count: int) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [draw_scene(rng) for _ in range(count)]


def measure(segmenter: Segmenter, scenes: Sequence[Scene]) -> dict[str, float]:
    """mask_ap50, mask_ap75, mask_ap (COCO's mean of 0.5 to 0.95), all 0..1, and mask_ap50 of each shape."""
    found = [segmenter.segment(scene.image, score_threshold=_THRESHOLD, top_k=_TOP_K) for scene in scenes]
    evaluation = _evaluated(scenes, found)
    scores = {
        "mask_ap50": float(evaluation.stats[1]),
        "mask_ap75": float(evaluation.stats[2]),
        "mask_ap": float(evaluation.stats[0]),
    }
    precision = evaluation.eval["precision"][0, :, :, 0, -1]  # IoU 0.5, recalls, classes, all areas, 100 objects
    return scores | {f"mask_ap50_{shape}": float(precision[:, index].mean()) for index, shape in enumerate(SHAPES)}


def _evaluated(scenes: Sequence[Scene], found: Sequence[Sequence[SceneObject]]) -> Any:
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [
            {"id": index, "height": scene.image.shape[0], "width": scene.image.shape[1]}
            for index, scene in enumerate(scenes)
        ],
        "categories": [{"id": 1 + index, "name": shape} for index, shape in enumerate(SHAPES)],
        "annotations": [
            {
                "id": 1 + 10 * index + place,
                "image_id": index,
                "category_id": 1 + SHAPES.index(shape.label),
                "segmentation": mask_to_rle(Mask.of(shape.bits.shape, 0, 0, shape.bits)),
                "bbox": shape.box.as_list(),
                "area": int(shape.bits.sum()),
                "iscrowd": 0,
            }
            for index, scene in enumerate(scenes)
            for place, shape in enumerate(scene.shapes)
        ],
    }
    results = [
        {
            "image_id": index,
            "category_id": 1 + SHAPES.index(item.label),
            "segmentation": mask_to_rle(item.mask),
            "score": item.score,
        }
        for index, objects in enumerate(found)
        for item in objects
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it goes
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
