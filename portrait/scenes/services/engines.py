"""Which networks there are, which of them a request gets, and loading and unloading them."""

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
from portrait.core.errors import ConflictError, PortraitError
from portrait.core.pipelines import inference_client, required_models, scene_spec
from portrait.embedded.triton import sync_models

_SUGGESTED = {SceneTask.SEGMENTATION: "yolact-resnet50", SceneTask.CAPTIONING: "blip-base"}
_SETTING = {SceneTask.SEGMENTATION: "PORTRAIT_SEGMENTER", SceneTask.CAPTIONING: "PORTRAIT_CAPTIONER"}


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
    served = inference_client().models()
    specs = _specs(served)
    defaults = {*required_models(), *(_default(task, specs) for task in SceneTask)}
    return [
        Engine(
            name=model.name,
            task=_task_of(model.name),
            loaded=model.loaded,
            is_default=model.name in defaults,
            reason=model.reason,
            spec=specs.get(model.name),
        )
        for model in served
    ]


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
    configured: str = getattr(settings.PORTRAIT, "segmenter" if task is SceneTask.SEGMENTATION else "captioner")
    served = inference_client().models()
    if wanted := name or configured:
        return _named(task, wanted, served)
    default = _default(task, _specs(served))
    if default is None:
        raise ModelNotInstalledError(_none_message(task, served))
    return default


def domain_of(name: str) -> str:
    """What a model knows, if that is not what photos show; else empty."""
    return scene_spec(name).domain


def load(name: str) -> None:
    """Serve a model of the repository, or serve it as it is now.

    Raises:
        ModelNotInstalledError: it is not in the repository. ServerError: it cannot be loaded.
    """
    if "triton_url" not in settings.PORTRAIT.external:
        sync_models(settings.PORTRAIT)  # what was installed since the embedded server started
    if name not in {model.name for model in inference_client().models()}:
        raise ModelNotInstalledError(_not_installed(name))
    inference_client().load(name)


def unload(name: str) -> None:
    """Stop serving a model, until it is loaded again or the server starts anew.

    Raises:
        ConflictError: no face can be recognised without it. ModelNotInstalledError: there is none of that name.
    """
    if name in required_models():
        raise ConflictError(f"'{name}' cannot be unloaded: no face can be recognised without it.")
    if name not in {model.name for model in inference_client().models()}:
        raise ModelNotInstalledError(_not_installed(name))
    inference_client().unload(name)


def _task_of(name: str) -> str:
    if task := scene_task(name):
        return str(task)
    return "face_detection" if name in DETECTORS else "face_embedding" if name in EMBEDDERS else "unknown"


def _specs(served: list[ServedModel]) -> dict[str, SegmenterSpec | CaptionerSpec]:
    """Of the loaded networks of scenes; one that cannot say what it is, is left out."""
    found = {}
    for model in served:
        if model.loaded and scene_task(model.name):
            try:
                found[model.name] = scene_spec(model.name)
            except ServerError:
                continue
    return found


def _default(task: SceneTask, specs: dict[str, SegmenterSpec | CaptionerSpec]) -> str | None:
    configured: str = getattr(settings.PORTRAIT, "segmenter" if task is SceneTask.SEGMENTATION else "captioner")
    if configured:
        return configured
    order = {name: place for place, name in enumerate(SCENE_PREFERENCE)}
    fit = [name for name, spec in specs.items() if scene_task(name) is task and not spec.domain]
    return min(fit, key=lambda name: (order.get(name, len(order)), name), default=None)


def _named(task: SceneTask, name: str, served: list[ServedModel]) -> str:
    if scene_task(name) is not task:
        there = [model.name for model in served if scene_task(model.name) is task]
        known = f"; there are: {', '.join(there)}" if there else ""
        raise WrongModelError(f"'{name}' is no model for {task}{known}.", field="model")
    found = next((model for model in served if model.name == name), None)
    if found is None:
        raise ModelNotInstalledError(_not_installed(name))
    if not found.loaded:
        why = f" ({found.reason})" if found.reason and found.reason != "unloaded" else ""
        raise ModelNotLoadedError(
            f"The model '{name}' is installed, but not loaded{why}: POST /api/v1/models/{name}/load loads it."
        )
    return name


def _not_installed(name: str) -> str:
    if name.endswith("-mini"):
        return f"The model '{name}' is not installed: manage.py models build {name}."
    return (
        f"The model '{name}' is not installed. If it is a published one: manage.py models install {name} (manage.py "
        "models list has them); weights of your own: manage.py models import --help."
    )


def _none_message(task: SceneTask, served: list[ServedModel]) -> str:
    suggested = _SUGGESTED[task]
    message = f"No model for {task} is loaded. Install one: manage.py models install {suggested}."
    others = [model.name for model in served if scene_task(model.name) is task]
    if others:
        message += (
            f" There are {', '.join(others)}, which are used only where a request or {_SETTING[task]} names them."
        )
    return message
