"""Pictures with what was found in them drawn in, as PNG."""

from collections.abc import Mapping, Sequence

import numpy as np

from inference.codec import decode, encode_jpeg, encode_png
from inference.scenes.rle import rle_to_mask
from inference.types import Box, Image
from portrait.core.drawing import (
    KNOWN,
    STRANGER,
    UNKNOWN_PERSON,
    DrawnObject,
    LabelledFace,
    colour_of,
    draw_faces,
    draw_objects,
)
from portrait.core.pipelines import codec_limits
from portrait.gallery.models import Identity
from portrait.gallery.services.photos import slow_work
from portrait.scenes.models import SceneObject
from portrait.scenes.selectors import Person
from portrait.scenes.services.looking import Segmented


def segmented_png(segmented: Segmented) -> bytes:
    """What was just found."""
    with slow_work():
        return encode_png(_painted(segmented))


def segmented_jpeg(segmented: Segmented) -> bytes:
    """The same, smaller and less exact."""
    with slow_work():
        return encode_jpeg(_painted(segmented))


def _painted(segmented: Segmented) -> Image:
    drawn = [
        DrawnObject(each.box, f"{each.label} {each.score:.2f}", colour_of(place), each.mask)
        for place, each in enumerate(segmented.objects)
    ]
    return draw_objects(segmented.image, drawn)


def stored_png(
    *, data: bytes, objects: Sequence[SceneObject], people: Sequence[Person], known: Mapping[str, Identity]
) -> bytes:
    """What is stored, and who is in the picture. known: identities by the text of their ids."""
    labels = [_label(person, known.get(str(person.identity_id))) for person in people]
    with slow_work():
        image = decode(data, limits=codec_limits())
        drawn = [
            DrawnObject(Box(*each.box), f"{each.label} {each.score:.2f}", colour_of(place), rle_to_mask(each.mask))
            for place, each in enumerate(objects)
            if tuple(each.mask["size"]) == image.shape[:2]
        ]
        return encode_png(np.asarray(draw_faces(draw_objects(image, drawn), labels), dtype=np.uint8))


def _label(person: Person, identity: Identity | None) -> LabelledFace:
    if identity is None:
        return LabelledFace(Box(*person.box), "unknown", STRANGER)
    colour = KNOWN if identity.kind == Identity.Kind.KNOWN else UNKNOWN_PERSON
    return LabelledFace(Box(*person.box), identity.name, colour)
