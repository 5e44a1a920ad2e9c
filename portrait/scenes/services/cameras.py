"""What is set up for a camera's frames."""

from django.db import IntegrityError

from inference.config import SceneTask, scene_task
from portrait.cameras.models import Camera
from portrait.core.errors import NotFoundError
from portrait.scenes.models import CameraScenes
from portrait.scenes.services.engines import WrongModelError
from portrait.scenes.services.looking import DEFAULT, DESCRIBE


def set_scenes(*, camera: Camera, caption_model: str, segment_model: str, every_s: float) -> CameraScenes:
    """Say how a camera's frames are described. A model need not be there yet: jobs that want it fail, and say so.

    Raises:
        WrongModelError: a model does something else.
        NotFoundError: the camera was deleted meanwhile.
    """
    check_model(caption_model, SceneTask.CAPTIONING, field="caption_model")
    check_model(segment_model, SceneTask.SEGMENTATION, field="segment_model")
    values = {"caption_model": caption_model, "segment_model": segment_model, "every_s": every_s}
    try:
        return CameraScenes.objects.update_or_create(camera=camera, defaults=values)[0]
    except IntegrityError:
        raise NotFoundError("There is no such camera.") from None


def check_model(name: str, task: SceneTask, *, field: str) -> None:
    """
    Raises:
        WrongModelError: it is neither empty, nor `default`, nor by its name a model for this.
    """
    allowed = {"", DEFAULT, DESCRIBE} if task is SceneTask.CAPTIONING else {"", DEFAULT}
    if name not in allowed and scene_task(name) is not task:
        raise WrongModelError(f"'{name}' is no model for {task}.", field=field)
