"""How the first-generation API tells things: its fields, from ours and back. Pure.

Contract: issue 4, item 7, and the public text of livepeer/interactive-video, folder `smartav_api`: README.md,
static/openapi.json, app.py, face_recognition/face_detection/main.py. Only the contract was taken from it.
"""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from inference.types import Box

UNKNOWN_PREFIX = "unknown_person_"
UNREGISTERED = "unknown"
"""Name, without an id, of a face that matched nobody and was too poor to be registered."""
METADATA = "metadata"
ROOTS = ("face-recognition", "image-captioning", "instance-segmentation")
"""What all addresses begin with."""
_DEFAULT_WEIGHTS = frozenset({"yolov7-seg"})
_CHECKPOINTS = {
    "yolact_resnet50_54_800000": "yolact-resnet50",
    "yolact_base_54_800000": "yolact-base",
    "yolact_im700_54_800000": "yolact-im700",
}


def error_json(code: str, message: str) -> dict[str, str]:
    """`error` was a text then; `code` is ours."""
    return {"error": message, "code": code}


def box_text(box: Box) -> str:
    """`x, y, w, h` in whole pixels of the upright picture."""
    return ", ".join(str(round(value)) for value in box.as_list())


def box_object(box: Box) -> dict[str, float]:
    """`Rect` of a detected object, in pixels of the upright picture."""
    return dict(zip("xywh", (round(float(value), 2) for value in box.as_list()), strict=True))


def stored_metadata(told: Any) -> dict[str, Any]:
    """What an identity keeps of a sample's `metadata`: ours is always an object, theirs a text."""
    return {} if told in (None, "") else {METADATA: told}


def told_metadata(stored: Mapping[str, Any]) -> Any:
    """A sample's `metadata` again; what another API stored is told as the text of its JSON."""
    if set(stored) == {METADATA}:
        return stored[METADATA]
    return json.dumps(stored, ensure_ascii=False) if stored else ""


def model_of(told: str) -> str | None:
    """The model that the name of a weights file means; None: this server's default.

    The later versions' own default, `yolov7-seg.pt`, means a default here too. Any other name is taken as it is,
    without its folder and suffix.
    """
    name = PurePosixPath(told.strip().replace("\\", "/")).name
    stem = name.removesuffix(".pth").removesuffix(".pt")
    if not stem or stem in _DEFAULT_WEIGHTS:
        return None
    return _CHECKPOINTS.get(stem, stem)


def unknown_number(sample_id: str) -> int | None:
    """N of `unknown_person_N`; None: it is not one."""
    digits = sample_id.removeprefix(UNKNOWN_PREFIX)
    return int(digits) if digits != sample_id and digits.isascii() and digits.isdigit() and len(digits) < 10 else None
