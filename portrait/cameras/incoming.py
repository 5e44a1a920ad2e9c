"""What comes in as a frame: checked, and JPEG from here on."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.utils import timezone

from inference.codec import decode, encode_jpeg, probe
from portrait.core.errors import PortraitError
from portrait.core.pipelines import codec_limits

JPEG_QUALITY = 92
FUTURE = timedelta(minutes=5)
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
MAX_SEQUENCE = 2**53
"""Of a client's own count: the ledger counts on from there, and must never come to its column's end."""


class CaptureTimeError(PortraitError):
    """No frame can have been captured then."""

    code: ClassVar[str] = "captured_at_invalid"


@dataclass(frozen=True, slots=True)
class IncomingFrame:
    """A frame as it is handed in: any accepted kind of picture. `sequence` None: the ledger counts."""

    data: bytes = field(repr=False)
    captured_at: datetime | None = None
    sequence: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadyFrame:
    """A frame that can be stored. `sha256` is of the bytes as they were sent."""

    jpeg: bytes = field(repr=False)
    sha256: str
    width: int
    height: int
    captured_at: datetime
    sequence: int | None
    metadata: dict[str, Any]


def make_ready(incoming: IncomingFrame) -> ReadyFrame:
    """Check a frame; whatever is not a JPEG becomes one. A JPEG's pixels are looked at when it is processed.

    Raises:
        ImageError: not a picture that Portrait accepts.
        CaptureTimeError: it comes from the future, or from before any camera.
    """
    now = timezone.now()
    captured_at = (incoming.captured_at or now).astimezone(UTC)  # the hour of its folder is that of its row
    if captured_at > now + FUTURE:
        raise CaptureTimeError(
            f"captured_at is {captured_at.isoformat()}, and here it is {now.isoformat(timespec='seconds')}: set the "
            "camera's clock, and send the time with its zone.",
            field="captured_at",
        )
    if captured_at < EARLIEST:
        raise CaptureTimeError(f"captured_at is {captured_at.isoformat()}: before 1970.", field="captured_at")
    header = probe(incoming.data, limits=codec_limits())
    jpeg = incoming.data
    if header.format != "JPEG":
        jpeg = encode_jpeg(decode(incoming.data, limits=codec_limits()), quality=JPEG_QUALITY)
    return ReadyFrame(
        jpeg=jpeg,
        sha256=hashlib.sha256(incoming.data).hexdigest(),
        width=header.width,
        height=header.height,
        captured_at=captured_at,
        sequence=incoming.sequence,
        metadata=incoming.metadata,
    )
