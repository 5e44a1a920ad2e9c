"""Draws names and boxes into a picture."""

import re
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from inference.codec import decode

KNOWN, STRANGER = (46, 160, 67), (207, 34, 46)
_OURS = re.compile(r"\d{2,}-[\w-]+\.jpg")


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
    image = Image.fromarray(decode(photo))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(14, min(image.size) // 28))
    for face in faces:
        x, y, width, height = face["box"]
        best = face["candidates"][0] if face["candidates"] else None
        colour = KNOWN if best else STRANGER
        text = f"{best['identity']['name']} {best['similarity']:.2f}" if best else "unknown"
        draw.rectangle((x, y, x + width, y + height), outline=colour, width=max(2, min(image.size) // 200))
        left, top, right, bottom = draw.textbbox((x, y), text, font=font, anchor="lb")
        shift = max(0, -top)
        draw.rectangle((left - 2, top - 2 + shift, right + 2, bottom + 2 + shift), fill=colour)
        draw.text((x, y + shift), text, fill="white", font=font, anchor="lb")
    image.save(path, "JPEG", quality=90)
