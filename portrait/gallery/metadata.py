"""How much may be noted of a person or a frame, wherever it comes from. Pure."""

import json
from typing import Any

MAX_METADATA_BYTES = 64 * 1024
MAX_CONSENT_CHARS = 100_000


class BadMetadataError(ValueError):
    """`code`: "size", or "null" for what PostgreSQL does not take."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_metadata(value: dict[str, Any]) -> None:
    """Whether it can be stored.

    Raises:
        BadMetadataError: it is too large, or holds a NUL, half of a surrogate pair or a number that is none.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise BadMetadataError("null", "'metadata' holds half of a surrogate pair, or a number that is none.") from None
    if len(text) > MAX_METADATA_BYTES:
        raise BadMetadataError("size", f"'metadata' has more than {MAX_METADATA_BYTES // 1024} KB.")
    if b"\\u0000" in text:
        raise BadMetadataError("null", "'metadata' holds a NUL.")
