"""Bytes to image and back: which files are accepted, how large they may be, and how they become RGB.

Every picture ends as RGB uint8 (height, width, 3), upright. What the formats allow beyond that is settled here:

* the content decides the type; a file name or a `Content-Type` is never asked;
* 16 bits a channel are scaled to 8; alpha is laid over white; palette, grey, 1-bit and CMYK become RGB;
* of an animation or a document of several pages, the first frame;
* colour profiles are ignored: the networks were trained on pictures read that way.

Pillow reads the headers and all formats; plain JPEGs are decoded by OpenCV, which gave the same pixels
(difference 0 on baseline and progressive files) in 50-85 % of the time. No state of Pillow is changed, so threads may
decode at once.
"""

import io
import struct
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as PillowImage

from inference.config import CODEC_LIMITS, CodecLimits
from inference.errors import (
    CorruptImageError,
    EmptyImageError,
    ImageError,
    ImageTooLargeError,
    ImageTooSmallError,
    UnsupportedImageError,
)
from inference.filetypes import ACCEPTED, accepted_format, name_of
from inference.types import Image

_MEGA = 1_000_000
_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N")
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_ORIENTATION, _BITS, _TILE_WIDTH, _TILE_HEIGHT = 0x0112, 0x0102, 0x0142, 0x0143
_JPEG_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


@dataclass(frozen=True, slots=True)
class Header:
    """A picture's type, as Pillow names it, and its size in pixels once upright."""

    format: str
    width: int
    height: int


def decode(data: bytes, *, limits: CodecLimits = CODEC_LIMITS) -> Image:
    """The picture in `data`: RGB uint8, shape (height, width, 3), upright, contiguous and writeable.

    Raises:
        EmptyImageError: no bytes.
        UnsupportedImageError: not a picture, or of a kind that is not accepted; the message names what it is.
        ImageTooLargeError, ImageTooSmallError: outside `limits`; found from the header, before pixels are allocated.
        CorruptImageError: truncated or damaged.
    """
    with _open(data, limits) as picture:
        if picture.format in ("JPEG", "MPO") and picture.mode in ("L", "RGB"):
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _JPEG_FLAGS)
            if pixels is not None and pixels.shape[:2] == (picture.height, picture.width):
                return _turned(cast(Image, pixels), _orientation(picture))
        try:
            picture.load()  # turns a TIFF, and forgets its orientation then; hence asked for afterwards
            return _turned(_rgb(picture), _orientation(picture))
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            raise _corrupt(data, error) from error


def probe(data: bytes, *, limits: CodecLimits = CODEC_LIMITS) -> Header:
    """What a picture's header says; the pixels are not looked at.

    Raises: as `decode`, but for damage behind the header.
    """
    with _open(data, limits) as picture:
        width, height = picture.size
        if _orientation(picture) >= 5:
            width, height = height, width
        return Header("JPEG" if picture.format == "MPO" else str(picture.format), width, height)


def encode_jpeg(image: Image, *, quality: int = 90, is_bgr: bool = False) -> bytes:
    """`image` (RGB uint8, height x width x 3) as a baseline JPEG; quality 1..100.

    is_bgr: its channels are in OpenCV's order, as its video readers give them.
    """
    bgr = image if is_bgr else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise UnsupportedImageError(f"an image of {image.shape[1]} x {image.shape[0]} pixels does not fit into a JPEG")
    return bytes(encoded.tobytes())


def encode_png(image: Image) -> bytes:
    """`image` (RGB uint8, height x width x 3) as PNG: nothing of it is lost."""
    done, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise UnsupportedImageError(f"an image of {image.shape[1]} x {image.shape[0]} pixels does not fit into a PNG")
    return bytes(encoded.tobytes())


def _open(data: bytes, limits: CodecLimits) -> PillowImage.Image:
    """The header, within the limits. Only the accepted formats' parsers are ever reached."""
    if not data:
        raise EmptyImageError("the image is empty: send the bytes of a picture file")
    if len(data) > limits.max_bytes:
        size_mb, limit_mb = len(data) / 2**20, limits.max_bytes / 2**20
        raise ImageTooLargeError(
            f"the file has {size_mb:.1f} MB, more than the {limit_mb:g} MB allowed: send a smaller one"
        )
    kind = accepted_format(data)
    if kind is None:
        accepted = ", ".join(ACCEPTED)
        raise UnsupportedImageError(
            f"this is {name_of(data)}, not a picture of an accepted type: send one of {accepted}"
        )
    if kind == "WEBP":  # Pillow's reader allocates the whole canvas while it opens the file
        _check_pixels(_webp_size(data), limits)
    try:
        picture = PillowImage.open(io.BytesIO(data), formats=(kind,))
    except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning) as error:
        raise _too_many_pixels("far too many", limits) from error
    except MemoryError:
        raise
    except Exception as error:
        raise _corrupt(data, error) from error
    _check_pixels(picture.size, limits)
    if kind == "TIFF":  # a tile may be declared far larger than the image around it, and is allocated whole
        tags = picture.getexif()
        _check_pixels((int(tags.get(_TILE_WIDTH, 1)), int(tags.get(_TILE_HEIGHT, 1))), limits)
    if min(picture.size) < limits.min_side_px:
        width, height = picture.size
        least = limits.min_side_px
        raise ImageTooSmallError(f"the image has {width} x {height} pixels; each side needs at least {least}")
    return picture


def _check_pixels(size: tuple[int, int], limits: CodecLimits) -> None:
    if size[0] * size[1] > limits.max_pixels:
        raise _too_many_pixels(f"{size[0]} x {size[1]} = {size[0] * size[1] / _MEGA:.0f} million", limits)


def _too_many_pixels(count: str, limits: CodecLimits) -> ImageTooLargeError:
    limit = limits.max_pixels / _MEGA
    return ImageTooLargeError(f"the image has {count} pixels, more than the {limit:g} million allowed: scale it down")


def _corrupt(data: bytes, error: Exception) -> CorruptImageError:
    unread = isinstance(error, UnidentifiedImageError)
    detail = "its header cannot be read" if unread else str(error) or type(error).__name__
    return CorruptImageError(
        f"the {accepted_format(data)} file is truncated or damaged ({detail}): send the original file again"
    )


def _webp_size(data: bytes) -> tuple[int, int]:
    """Canvas size by the container's first chunk (developers.google.com/speed/webp/docs/riff_container)."""
    try:
        if data[12:16] == b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        if data[12:16] == b"VP8L":
            bits = struct.unpack_from("<I", data, 21)[0]
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    except struct.error as error:
        raise _corrupt(data, error) from error


def _orientation(picture: PillowImage.Image) -> int:
    """EXIF orientation 1..8; a missing, unknown or unreadable one is 1."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
        return value if isinstance(value, int) and 1 <= value <= 8 else 1
    except Exception:  # the picture is whole though its EXIF block is not
        return 1


def _turned(image: Image, orientation: int) -> Image:
    """Undo an EXIF orientation: 2 mirrored, 3 by 180, 4 flipped, 5 transposed, 6 and 8 by a quarter, 7 transverse."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.require(image, requirements=["C", "W"])


def _rgb(picture: PillowImage.Image) -> Image:
    """The loaded picture's pixels as RGB uint8."""
    mode = picture.mode
    if mode in _DEEP_GREY:
        return _from_deep_grey(picture)
    if mode in ("I", "F", "LAB"):
        kinds = {"I": "32-bit integer", "F": "floating-point", "LAB": "L*a*b*"}
        raise UnsupportedImageError(
            f"{kinds[mode]} pixels are not accepted: save the image with 8 or 16 bits a channel"
        )
    if mode in _ALPHA or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = PillowImage.new("RGBA", layer.size, (255, 255, 255, 255))
        picture = PillowImage.alpha_composite(white, layer)
    return np.array(picture.convert("RGB"))


def _from_deep_grey(picture: PillowImage.Image) -> Image:
    """Grey of up to 16 bits; a TIFF may use fewer of them (12-bit scanners)."""
    bits = picture.getexif().get(_BITS, 16) if picture.format == "TIFF" else 16
    used = int(bits[0] if isinstance(bits, tuple) else bits)
    grey = np.asarray(picture).astype(np.uint16) >> max(0, used - 8)
    return cast(Image, cv2.cvtColor(grey.clip(0, 255).astype(np.uint8), cv2.COLOR_GRAY2RGB))
