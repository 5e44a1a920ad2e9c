"""The small files of a BLIP directory, of which no more is read than they can hold."""

import json
from pathlib import Path
from typing import Any

from inference.errors import WeightsError, WeightsNotFoundError

_MOST_JSON_BYTES = 1 << 20


def read_small(path: Path, *, most_bytes: int) -> bytes:
    """A file, never more of it than `most_bytes`.

    Raises:
        WeightsNotFoundError: there is none. WeightsError: it cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise WeightsNotFoundError(
            f"{path.parent} has no {path.name}; take all files of the published directory"
        ) from None
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read ({error}); fetch it again") from error
    if len(content) > most_bytes:
        raise WeightsError(
            f"{path.name} has more than {most_bytes} bytes, which it cannot have; take the published file"
        )
    return content


def read_json(path: Path, *, most_bytes: int = _MOST_JSON_BYTES) -> dict[str, Any]:
    """A small JSON object, or `WeightsError`."""
    try:
        content = json.loads(read_small(path, most_bytes=most_bytes).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path.name} cannot be read ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path.name} holds no JSON object; take the published file")
    return content
