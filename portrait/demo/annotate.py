"""Draws names and boxes into a picture."""

import re
from pathlib import Path
from typing import Any

from inference.codec import decode, encode_jpeg
from inference.types import Box
from portrait.core.drawing import KNOWN, STRANGER, LabelledFace, draw_faces

_OURS = re.compile(r"\d{2,}-[\w-]+\.jpg|scene(-objects)?\.png")


def clean_folder(folder: Path) -> None:
    """Make the folder of the annotated pictures, for its owner only, and remove those of earlier demos: they show named
    people. Whatever else lies there stays."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.is_file():
            path.unlink()


def annotate(photo: bytes, faces: list[dict[str, Any]], path: Path) -> None:
    """Write the upright picture with every face's box, name and similarity to `path`, as JPEG."""
    path.write_bytes(encode_jpeg(draw_faces(decode(photo), [_labelled(face) for face in faces])))


def _labelled(face: dict[str, Any]) -> LabelledFace:
    best = face["candidates"][0] if face["candidates"] else None
    text = f"{best['identity']['name']} {best['similarity']:.2f}" if best else "unknown"
    return LabelledFace(Box(*face["box"]), text, KNOWN if best else STRANGER)
