"""Captions and objects, the way old clients ask: the model is named beforehand, not with the picture."""

import logging
from collections.abc import Sequence

from django.core.cache import cache
from redis.exceptions import RedisError

from inference.config import SceneTask
from inference.errors import ImageError, InferenceError, ModelNotInstalledError, ModelNotLoadedError
from portrait.compat.smartav.shapes import model_of
from portrait.core.errors import PortraitError
from portrait.scenes.services import engines
from portrait.scenes.services.looking import How, Picture, Segmented, Told, segment, tell

logger = logging.getLogger(__name__)

KEPT_S = 30 * 24 * 3600


def init_engine(*, caller: str, weights: str, may_load: bool) -> str:
    """Choose the model that this caller's pictures are segmented by from now on, and load it where the caller may.

    The first generation had one model for all; here a caller's choice is that caller's own (Redis keeps it; where it
    is lost, the default is taken again). weights: the name of a file or of a model; empty: the default.

    Raises:
        ModelNotInstalledError, ModelNotLoadedError: the message says what to do. WrongModelError: it does something
        else. ServerError: the inference server does not answer.
    """
    wanted = model_of(weights)
    try:
        name = engines.chosen(SceneTask.SEGMENTATION, wanted)
    except (ModelNotInstalledError, ModelNotLoadedError) as error:
        if wanted is None or not may_load:
            raise
        name = _load(wanted, error)
    try:
        cache.set(_key(caller), wanted or "", timeout=KEPT_S)
    except RedisError as error:
        logger.warning("a choice of engine is not kept, Redis does not answer: %s", error)
    return name


def _load(name: str, reason: InferenceError) -> str:
    """Load a model that may be there by now; else the reason stands."""
    try:
        engines.load(name)
    except engines.UnknownModelError:
        raise reason from None
    return name


def detect_objects(*, caller: str, data: bytes, model: str, top_k: int, score_threshold: float) -> Segmented:
    """The objects of a picture, by the named model, else the caller's own, else the default.

    Raises:
        As `portrait.scenes.services.looking.segment`.
    """
    wanted = model_of(model) or _remembered(caller)
    return segment(data=data, model=wanted, top_k=top_k, score_threshold=score_threshold)


def captions(*, pictures: Sequence[tuple[Picture, str]]) -> list[Told]:
    """A sentence a picture, in order. pictures: each with the name of a model; empty: the default.

    Raises:
        PortraitError, ImageError: of the first picture that is none. Else as `portrait.scenes.services.looking.tell`.
    """
    told: dict[int, Told | PortraitError | ImageError] = {}
    for model in dict.fromkeys(name for _, name in pictures):
        places = [place for place, (_, name) in enumerate(pictures) if name == model]
        found = tell(pictures=[pictures[place][0] for place in places], how=How(model=model or None))
        told |= zip(places, found, strict=True)
    return [_sentence(told[place]) for place in range(len(pictures))]


def _sentence(told: Told | PortraitError | ImageError) -> Told:
    if isinstance(told, Told):
        return told
    raise told


def _key(caller: str) -> str:
    return f"smartav:segmenter:{caller}"


def _remembered(caller: str) -> str | None:
    try:
        return str(cache.get(_key(caller)) or "") or None
    except RedisError:
        return None
