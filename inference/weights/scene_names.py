"""What an imported model of scenes may be called: one rule for all kinds, as the beginning says what it does."""

import re

from inference.config import SCENE_PREFIXES, SceneTask
from inference.errors import WeightsError

_REST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
_MOST_LETTERS = 64


def check_name(name: str, task: SceneTask) -> None:
    """
    Raises:
        WeightsError: a model for this task cannot be called so.
    """
    prefix = next(prefix for prefix, its_task in SCENE_PREFIXES.items() if its_task is task)
    if len(name) > _MOST_LETTERS or not name.startswith(prefix) or not _REST.fullmatch(name.removeprefix(prefix)):
        raise WeightsError(
            f"{name!r} is no name for a model of {task}: it begins with '{prefix}' and goes on with small letters, "
            f"digits, '.', '_' and '-', at most {_MOST_LETTERS} in all, beginning and ending with a letter or a digit; "
            "give one with --name"
        )
