"""Video sources, read by OpenCV's FFmpeg: a file, or something live. Folders of pictures are in `folder`."""

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from inference.codec import encode_jpeg
from inference.errors import ImageError
from portrait.cameras import addresses
from portrait.cameras.addresses import SourceKind
from portrait.cameras.incoming import JPEG_QUALITY

TIMEOUT_MS = 10_000
"""For opening a source, and for its next frame."""
_LIVE_THREADS = 2
"""FFmpeg's decoder holds back a frame for each of its threads."""
_SAMPLE_BYTES = 1 << 20
_FALLBACK_FPS = 25.0

# Without `file`: a playlist, or a redirection, from the network must not make us read files.
_NETWORK_PROTOCOLS = "rtp,rtsp,rtsps,tcp,tls,udp,http,https,httpproxy,crypto"
# Without playlists (hls, concat, sdp): a file must not make us read other files, or the network.
_FILE_FORMATS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mjpeg,h264,hevc,m4v,mxf,ivf,av1,obu,dv,nut,gif"
)


Reason = Callable[[], str]
"""What FFmpeg said last, as the end of a message; empty if it said nothing."""


class UnreadableError(Exception):
    """The source does not open, or does not go on. The message has no password in it."""


@dataclass(frozen=True, slots=True)
class Look:
    """One frame of a source, looked at; `take` makes a JPEG (or another picture's bytes) of it.

    index: counts the source's frames from 0. time_s: the frame's own time; of a file since its beginning, of others by
    the clock. `take` must be called before the next look, and answers None for a damaged frame.
    """

    index: int
    time_s: float
    take: Callable[[], bytes | None]
    metadata: dict[str, Any] = field(default_factory=dict)


def restrict_ffmpeg(kind: SourceKind) -> None:
    """Tell OpenCV's FFmpeg, for this process, what it may open; to be called before the first source is opened.

    OpenCV takes these options from the environment only.
    """
    options = {
        SourceKind.NETWORK: f"rtsp_transport;tcp|protocol_whitelist;{_NETWORK_PROTOCOLS}",
        SourceKind.PATH: f"protocol_whitelist;file|format_whitelist;{_FILE_FORMATS}",
        SourceKind.DEVICE: "protocol_whitelist;file",
    }
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = options[kind]
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "16")  # errors: they are the reason in messages
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")


class LiveSource:
    """A network stream or a device: frames come when they come."""

    def __init__(self, source: str, reason: Reason) -> None:
        addresses.check_source(source)
        self._source, self._reason = source, reason

    def looks(self) -> Iterator[Look]:
        """Frames until the connection ends.

        Raises:
            UnreadableError: it does not open, or ended; it may be tried again.
        """
        capture = self._open()
        try:
            index = 0
            while capture.grab():
                yield Look(index, time.time(), lambda: _jpeg(capture))
                index += 1
        finally:
            capture.release()
        raise UnreadableError(f"the connection ended after {index} frames{self._reason()}")

    def _open(self) -> cv2.VideoCapture:
        if addresses.kind_of(self._source) is SourceKind.DEVICE:
            number = addresses.device_number(self._source)
            capture = cv2.VideoCapture(number, cv2.CAP_V4L2)
            what = f"/dev/video{number}"
        else:
            options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
            options += [cv2.CAP_PROP_N_THREADS, _LIVE_THREADS]
            capture = cv2.VideoCapture(self._source, cv2.CAP_FFMPEG, options)
            what = addresses.masked(self._source)
        if not capture.isOpened():
            raise UnreadableError(f"{what} cannot be opened{self._reason()}")
        return capture


class VideoFile:
    """A video file, read from its first frame to its last."""

    def __init__(self, path: Path, reason: Reason) -> None:
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS])
        if not self._capture.isOpened():
            raise UnreadableError(
                f"{path.name} cannot be opened as a video{reason()} (for a picture, name its folder as the source)"
            )
        self._fps = _plausible(self._capture.get(cv2.CAP_PROP_FPS)) or _FALLBACK_FPS
        self.expected = int(_plausible(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)) or 0)
        """How many frames its header names; 0 where it names none."""

    @property
    def duration_s(self) -> float:
        """By its header; 0 where that says nothing."""
        return self.expected / self._fps

    def looks(self) -> Iterator[Look]:
        """All its frames, always from the first on: seeking meets the wrong frame in many files."""
        capture, last, zero, index = self._capture, 0.0, None, 0
        try:
            while capture.grab():
                shown = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                if zero is None:
                    zero = shown if math.isfinite(shown) else 0.0
                time_s = shown - zero
                if index and not last < time_s < math.inf:  # some containers have no times
                    time_s = last + 1 / self._fps
                yield Look(index, time_s, lambda: _jpeg(capture))
                last, index = time_s, index + 1
        finally:
            capture.release()


def fingerprint(path: Path) -> str:
    """What tells a file from another at the same path: its size, and parts of its content."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for start in sorted({0, max(0, size // 2), max(0, size - _SAMPLE_BYTES)}):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))
    return f"file:{digest.hexdigest()}"


def _plausible(value: float) -> float | None:
    return value if math.isfinite(value) and 0 < value < 1e9 else None


def _jpeg(capture: cv2.VideoCapture) -> bytes | None:
    done, image = capture.retrieve()
    if not done or image is None:
        return None
    try:
        return encode_jpeg(image, quality=JPEG_QUALITY, is_bgr=True)  # type: ignore[arg-type]
    except ImageError:
        return None
