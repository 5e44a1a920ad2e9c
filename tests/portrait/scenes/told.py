"""What models told, made by hand where a test is about what becomes of it."""

import numpy as np

from inference.types import Box, Mask, SceneObject
from portrait.cameras.models import Frame
from portrait.gallery.models import Portrait
from portrait.scenes.models import Method
from portrait.scenes.selectors import Subject, subject_of
from portrait.scenes.services.keeping import keep
from portrait.scenes.services.looking import Segmented, Told


def subject(row: Portrait | Frame) -> Subject:
    """As workers find it."""
    return subject_of({"frame": row.pk} if isinstance(row, Frame) else {"portrait": row.pk})


def keep_caption(row: Portrait | Frame, text: str, *, model: str = "blip-test", faces: int | None = None) -> None:
    keep(subject=subject(row), told=Told(text, model, Method.NETWORK, score=-0.5, faces=faces))


def keep_objects(row: Portrait | Frame, *labels: str, model: str = "yolact-test", score: float = 0.9) -> None:
    """Squares of 8 pixels, side by side from the top left corner on."""
    image = np.zeros((row.height, row.width, 3), dtype=np.uint8)
    bits = np.ones((8, 8), dtype=bool)
    objects = tuple(
        SceneObject(label, score, Box(8 * place, 0, 8, 8), Mask.of(image.shape[:2], 8 * place, 0, bits))
        for place, label in enumerate(labels)
    )
    keep(subject=subject(row), segmented=Segmented(image, model, "", objects, {}))
