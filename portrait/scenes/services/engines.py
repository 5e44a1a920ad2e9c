"""Which networks there are, which of them a request gets, and loading and unloading them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

from inference.client import ServedModel
from inference.config import (
    DETECTORS,
    EMBEDDERS,
    SCENE_PREFERENCE,
    CaptionerSpec,
    SceneTask,
    SegmenterSpec,
    scene_task,
)
from inference.errors import ModelNotInstalledError, ModelNotLoadedError, ServerError
from portrait.core.database import release_connection
from portrait.core.errors import ConflictError, NotFoundError, PortraitError
from portrait.core.pipelines import inference_client, required_models, scene_spec
from portrait.embedded.triton import sync_models

logger = logging.getLogger(__name__)

_SUGGESTED = {SceneTask.SEGMENTATION: "yolact-resnet50", SceneTask.CAPTIONING: "blip-base"}
_SETTING = {SceneTask.SEGMENTATION: "PORTRAIT_SEGMENTER", SceneTask.CAPTIONING: "PORTRAIT_CAPTIONER"}
_MINI = "-mini"
_UNLOADED = "unloaded"
"""What Triton says of a model that was unloaded on request."""
_FAILED = "it could not be loaded; the inference server's log says why"


class UnknownModelError(NotFoundError):
    """The address names a model that is not installed."""

    code = "model_not_installed"


class WrongModelError(PortraitError):
    """The named model does something else."""

    code = "wrong_model"
    status = 400


@dataclass(frozen=True, slots=True)
class Engine:
    """A network of the inference server. spec: of loaded networks of scenes. is_default: what a request gets that
    names none. reason: why it is not loaded, where the server says so."""

    name: str
    task: str
    loaded: bool
    is_default: bool
    reason: str = ""
    spec: SegmenterSpec | CaptionerSpec | None = None


def engines() -> list[Engine]:
    """All networks of the server's repository, by name.

    Raises:
        ServerError: the inference server does not answer.
    """
    release_connection()
    served = inference_client().models()
    specs = {model.name: _spec(model.name) for model in served if model.loaded and scene_task(model.name)}
    defaults = {*required_models(), *(_configured(task) or _default(task, served) for task in SceneTask)}
    return [
        Engine(
            name=model.name,
            task=_task_of(model.name),
            loaded=model.loaded,
            is_default=model.name in defaults,
            reason="" if model.loaded else _reason(model),
            spec=specs.get(model.name),
        )
        for model in served
    ]


def engine(name: str) -> Engine:
    """Raises ModelNotInstalledError if there is none of that name."""
    found = next((each for each in engines() if each.name == name), None)
    if found is None:
        raise ModelNotInstalledError(_not_installed(name))
    return found


def chosen(task: SceneTask, name: str | None = None) -> str:
    """The model for a request: the named one, or the default.

    That is the one that the settings name; else of the loaded ones the first of `SCENE_PREFERENCE`, then by name. A
    model that knows only a part of the world (`domain`) is taken only where it is named.

    Raises:
        WrongModelError: the name is of a model for something else.
        ModelNotInstalledError: there is none; the message says how to install one.
        ModelNotLoadedError: it is there, and not loaded.
        ServerError: the inference server does not answer.
    """
    served = inference_client().models()
    if name:
        return _named(task, name, served)
    if configured := _configured(task):
        return _from_settings(task, configured, served)
    default = _default(task, served)
    if default is None:
        raise _none_error(task, served)
    return default


def load(name: str) -> None:
    """Serve a model of the repository, or serve it as it is now.

    Raises:
        UnknownModelError: it is not in the repository. ServerError: it cannot be loaded.
    """
    release_connection()
    if "triton_url" not in settings.PORTRAIT.external:
        sync_models(settings.PORTRAIT)  # what was installed since the embedded server started
    _require_installed(name)
    try:
        inference_client().load(name)
    except ServerError as error:
        if error.retryable or isinstance(error, ModelNotInstalledError):
            raise
        logger.warning("the model %s cannot be loaded: %s", name, error)
        raise ServerError(f"The model '{name}': {_FAILED}.") from error


def unload(name: str) -> None:
    """Stop serving a model, until it is loaded again or the server starts anew.

    Raises:
        ConflictError: no face can be recognised without it. UnknownModelError: there is none of that name.
    """
    if name in required_models():
        raise ConflictError(f"'{name}' cannot be unloaded: no face can be recognised without it.")
    release_connection()
    _require_installed(name)
    inference_client().unload(name)


def _require_installed(name: str) -> None:
    if name not in {model.name for model in inference_client().models()}:
        raise UnknownModelError(_not_installed(name))


def _configured(task: SceneTask) -> str:
    return str(settings.PORTRAIT.segmenter if task is SceneTask.SEGMENTATION else settings.PORTRAIT.captioner)


def _task_of(name: str) -> str:
    if task := scene_task(name):
        return str(task)
    return "face_detection" if name in DETECTORS else "face_embedding" if name in EMBEDDERS else "unknown"


def _spec(name: str) -> SegmenterSpec | CaptionerSpec | None:
    """None of a model that cannot say what it is."""
    try:
        return scene_spec(name)
    except ServerError:
        return None


def _default(task: SceneTask, served: Sequence[ServedModel]) -> str | None:
    """The first loaded one, in the order of preference, that knows what photos show."""
    order = {name: place for place, name in enumerate(SCENE_PREFERENCE)}
    loaded = [model.name for model in served if model.loaded and scene_task(model.name) is task]
    for name in sorted(loaded, key=lambda each: (order.get(each, len(order)), each)):
        spec = _spec(name)
        if spec is not None and not spec.domain:
            return name
    return None


def _named(task: SceneTask, name: str, served: Sequence[ServedModel]) -> str:
    if scene_task(name) is not task:
        there = [model.name for model in served if scene_task(model.name) is task]
        known = f"; there are: {', '.join(there)}" if there else ""
        raise WrongModelError(f"'{name}' is no model for {task}{known}.", field="model")
    found = next((model for model in served if model.name == name), None)
    if found is None:
        raise ModelNotInstalledError(_not_installed(name))
    if not found.loaded:
        why = f" ({_reason(found)})" if _reason(found) else ""
        raise ModelNotLoadedError(f"The model '{name}' is installed, but not loaded{why}: {_to_load(name)}")
    return name


def _from_settings(task: SceneTask, name: str, served: Sequence[ServedModel]) -> str:
    try:
        return _named(task, name, served)
    except ModelNotInstalledError as error:
        raise ModelNotInstalledError(f"{_SETTING[task]} names a model that is not there. {error}") from None


def _reason(model: ServedModel) -> str:
    """For everybody: what the server itself says has its paths, and goes to the log."""
    if model.reason in ("", _UNLOADED):
        return ""
    logger.warning("the model %s is not loaded: %s", model.name, model.reason)
    return _FAILED


def _to_load(name: str) -> str:
    return f"POST /api/v1/models/{name}/load loads it."


def _not_installed(name: str) -> str:
    if name.endswith(_MINI):
        return f"The model '{name}' is not installed: manage.py models build {name}."
    return (
        f"The model '{name}' is not installed. If it is a published one: manage.py models install {name} (manage.py "
        "models list has them); weights of your own: manage.py models import --help."
    )


def _none_error(task: SceneTask, served: Sequence[ServedModel]) -> ServerError:
    others = [model for model in served if scene_task(model.name) is task]
    resting = [model.name for model in others if not model.loaded and not model.name.endswith(_MINI)]
    if resting:
        return ModelNotLoadedError(f"No model for {task} is loaded; {resting[0]} is there: {_to_load(resting[0])}")
    message = f"No model for {task} is installed. Install one: manage.py models install {_SUGGESTED[task]}."
    if others:
        names = ", ".join(model.name for model in others)
        message += f" Used only where a request or {_SETTING[task]} names it: {names}."
    if task is SceneTask.CAPTIONING:
        message += " The model 'describe', sentences by rules, is always there."
    return ModelNotInstalledError(message)
