"""How measurements of a face are told, in answers and in rows."""

from dataclasses import asdict
from typing import Any

from inference.types import Quality


def quality_json(quality: Quality) -> dict[str, Any]:
    """The quality report; numbers rounded to thousandths."""
    values = asdict(quality) | {"reasons": [str(reason) for reason in quality.reasons]}
    return {name: round(float(value), 3) if isinstance(value, int | float) else value for name, value in values.items()}
