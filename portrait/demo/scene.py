"""One drawn scene, segmented and captioned by the small models of our own: what the other networks do, on a picture
whose truth is known. They know drawn shapes only; photos need the published weights (`manage.py models install`)."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inference.codec import encode_png
from inference.scenes.rle import rle_to_mask
from inference.weights.mini.scenes import Scene, draw_scene
from portrait.demo.client import ApiClient

SEGMENTER, CAPTIONER = "yolact-mini", "blip-mini"
SEED = 20
SIZE_PX = 256
PICTURE, ANNOTATED = "scene.png", "scene-objects.png"
_OVERLAP = 0.8
"""So much of a shape and of what was found for it must be common (intersection over union)."""


def drawn_scene() -> Scene:
    """The demo's scene; its seed is none that the models were trained with."""
    return draw_scene(np.random.default_rng(SEED), size_px=SIZE_PX)


def show_scene(api: ApiClient, folder: Path, console: Console) -> bool:
    """Ask for the objects and the caption of the scene, write the annotated picture; True if both are right."""
    scene = drawn_scene()
    png = encode_png(scene.image)
    (folder / PICTURE).write_bytes(png)
    body = {"image": base64.b64encode(png).decode()}
    found = api.call("POST", "segment", {**body, "model": SEGMENTER, "score_threshold": 0.5})
    told = api.call("POST", "caption", {**body, "model": CAPTIONER, "people": False})
    (folder / ANNOTATED).write_bytes(
        api.picture("segment", {**body, "model": SEGMENTER, "score_threshold": 0.5}, "image/png")
    )
    objects_right, caption_right = shapes_found(scene, found["objects"]), told["caption"] == scene.sentence
    table = Table(title=f"A drawn scene, by {SEGMENTER} and {CAPTIONER} ({told['domain']})", title_justify="left")
    for column in ("what", "drawn", "found", "right"):
        table.add_column(column)
    drawn = ", ".join(sorted(shape.label for shape in scene.shapes))
    seen = ", ".join(sorted(f"{each['label']} ({each['score']:.2f})" for each in found["objects"]))
    table.add_row("objects", drawn, escape(seen) or "nothing", _mark(objects_right))
    table.add_row("caption", scene.sentence, escape(told["caption"]), _mark(caption_right))
    console.print(table)
    return objects_right and caption_right


def shapes_found(scene: Scene, objects: list[dict[str, Any]]) -> bool:
    """Whether each drawn shape was found with its label and (nearly) its pixels, and nothing else was."""
    masks = [(each["label"], rle_to_mask(each["mask"]).full()) for each in objects]
    return len(masks) == len(scene.shapes) and all(
        any(label == shape.label and _overlap(mask, shape.bits) >= _OVERLAP for label, mask in masks)
        for shape in scene.shapes
    )


def _overlap(one: Any, other: Any) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _mark(right: bool) -> str:
    return "[green]yes[/green]" if right else "[red]no[/red]"
