"""Every kind of picture that is accepted, and every malformed one that is refused, by content."""

import concurrent.futures
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from PIL import ImageFile

from inference.codec import Header, decode, encode_jpeg, encode_png, probe
from inference.config import CodecLimits
from inference.errors import (
    CorruptImageError,
    EmptyImageError,
    ImageError,
    ImageTooLargeError,
    ImageTooSmallError,
    UnsupportedImageError,
)

FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"]
HEIGHT, WIDTH = 48, 64
NOISE = np.random.default_rng(7).integers(0, 256, (300, 400, 3), dtype=np.uint8)


def scene() -> np.ndarray:
    """Four flat quarters (red, green / blue, white): every turn of it looks different."""
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    image[:24, :32], image[:24, 32:], image[24:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return image


def saved(image: PillowImage.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(kind: str = "PNG", **options: object) -> bytes:
    return saved(PillowImage.fromarray(scene()), kind, **options)


def assert_is_scene(image: np.ndarray, tolerance: int = 40) -> None:
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    for y, x in ((12, 16), (12, 48), (36, 16), (36, 48)):
        difference = np.abs(image[y, x].astype(int) - scene()[y, x].astype(int))
        assert difference.max() <= tolerance, (y, x, image[y, x])


@pytest.mark.parametrize("kind", FORMATS)
def test_each_accepted_format_decodes_to_rgb(kind: str) -> None:
    assert_is_scene(decode(picture(kind)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_turn_is_applied_exactly_once(kind: str, orientation: int) -> None:
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # Pillow's Transpose constants
    stored = PillowImage.fromarray(scene())
    if inverse is not None:
        stored = stored.transpose(PillowImage.Transpose(inverse))
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    data = saved(stored, kind, exif=exif)
    assert_is_scene(decode(data))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 100}])
def test_jpeg_pixels_equal_pillows(options: dict[str, object]) -> None:
    data = saved(PillowImage.fromarray(NOISE), "JPEG", **options)
    reference = np.asarray(PillowImage.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode(data), reference)


def test_grey_jpeg_and_one_bit_and_palette_become_rgb() -> None:
    grey = PillowImage.fromarray(scene()).convert("L")
    assert decode(saved(grey, "JPEG"))[36, 48].tolist() == [255, 255, 255]
    assert set(np.unique(decode(saved(grey.convert("1"), "PNG")))) == {0, 255}
    assert_is_scene(decode(saved(PillowImage.fromarray(scene()).quantize(8), "PNG")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, WIDTH, dtype=np.uint16)
    data = saved(PillowImage.fromarray(np.tile(ramp, (HEIGHT, 1))), kind)
    row = decode(data)[0, :, 0]
    assert np.abs(row.astype(int) - (ramp >> 8).astype(int)).max() <= 1
    assert len(np.unique(row)) == WIDTH


@pytest.mark.parametrize("kind", [".png", ".tiff"])
def test_sixteen_bit_colour_is_scaled_not_clipped(kind: str) -> None:
    deep = scene().astype(np.uint16) * 128  # half of the range: clipping would make it white
    row = decode(cv2.imencode(kind, deep[..., ::-1])[1].tobytes())
    assert np.abs(row[12, 16].astype(int) - [127, 0, 0]).max() <= 1
    assert np.abs(row[36, 48].astype(int) - 127).max() <= 1


def test_cmyk_jpeg_is_not_inverted() -> None:
    assert_is_scene(decode(saved(PillowImage.fromarray(scene()).convert("CMYK"), "JPEG", quality=95)))


def test_alpha_is_laid_over_white() -> None:
    layer = np.dstack([scene(), np.zeros((HEIGHT, WIDTH), np.uint8)])
    layer[:24, :32, 3] = 255
    for kind in ("PNG", "WEBP", "TIFF"):
        image = decode(saved(PillowImage.fromarray(layer), kind, **({"lossless": True} if kind == "WEBP" else {})))
        assert image[12, 16].tolist() == [255, 0, 0]
        assert image[36, 16].tolist() == [255, 255, 255]


def test_palette_transparency_is_laid_over_white() -> None:
    flat = PillowImage.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8), "L").convert("P")
    assert decode(saved(flat, "PNG", transparency=flat.getpixel((0, 0)))).min() == 255


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    black = PillowImage.new("RGB", (WIDTH, HEIGHT))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(PillowImage.fromarray(scene()), kind, save_all=True, append_images=[black, black], **options)
    assert_is_scene(decode(data))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.97])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_corrupt(kind: str, share: float) -> None:
    options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
    data = saved(PillowImage.fromarray(NOISE), kind, **options)
    with pytest.raises(CorruptImageError, match="truncated or damaged"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kept", [3, 8, 12, 20, 30])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_ends_in_its_header_is_refused(kind: str, kept: int) -> None:
    with pytest.raises(ImageError):
        decode(picture(kind)[:kept])


def test_a_damaged_png_is_corrupt() -> None:
    data = bytearray(saved(PillowImage.fromarray(NOISE), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(CorruptImageError):
        decode(bytes(data))


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 100_000, 9)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def gif_bomb() -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", 65000, 65000, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, 65000, 65000, 0)
        + b"\x08\x00;"
    )


def webp_bomb() -> bytes:
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16382).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def bmp_bomb() -> bytes:
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 24, *[0] * 6)


def tiff(width: int, height: int, tile: int) -> bytes:
    """A grey, deflated TIFF of one tile whose directory claims these sizes."""
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 324: 200, 325: 50}
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in tags)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(200, b"\0") + zlib.compress(bytes(40_000))[:50]


@pytest.mark.parametrize(
    "data",
    [
        png_bomb(7100),
        png_bomb(12000),
        png_bomb(60000),
        gif_bomb(),
        webp_bomb(),
        bmp_bomb(),
        tiff(60000, 60000, 64),
        tiff(64, 48, 40000),
    ],
    ids=["png-50MP", "png-144MP", "png-3600MP", "gif", "webp", "bmp", "tiff", "tiff-tile"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_from_its_header(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pixels(*args: object, **keywords: object) -> None:
        raise AssertionError("pixels were about to be decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", no_pixels)
    monkeypatch.setattr(cv2, "imdecode", no_pixels)
    assert len(data) < 10_000
    with pytest.raises(ImageTooLargeError, match="million"):
        decode(data)


def test_sizes_outside_the_limits_are_named() -> None:
    with pytest.raises(ImageTooLargeError, match=r"MB"):
        decode(b"\xff\xd8\xff" + bytes(25 * 2**20))
    with pytest.raises(ImageTooLargeError, match=r"64 x 48"):
        decode(picture(), limits=CodecLimits(max_pixels=3000))
    with pytest.raises(ImageTooSmallError, match=r"64 x 48"):
        decode(picture(), limits=CodecLimits(min_side_px=49))
    with pytest.raises(EmptyImageError):
        decode(b"")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'<?xml version="1.0"?>\n<!-- a --><svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\n <!DOCTYPE html><html></html>", "an HTML page"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC/HEIF photo"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "an AVIF image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "an MP4 video"),
        (b"8BPS\0\x01", "a Photoshop file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript file"),
        (b"RIFF\0\0\0\0AVI LIST", "an AVI video"),
        (b"PK\x03\x04rest", "a ZIP archive"),
        (b"data:image/png;base64,iVBORw0KGgo", "a data URI"),
        (b'{"error": "not found"}', "JSON text"),
        (b"hello", "text"),
        (bytes(5000), "a file of zeros"),
        (bytes(range(1, 200)), "unknown type"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedImageError, match=name):
        decode(data)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_thirty_two_bit_pixels_are_refused_with_advice(mode: str) -> None:
    data = saved(PillowImage.new(mode, (WIDTH, HEIGHT)), "TIFF")
    with pytest.raises(UnsupportedImageError, match="8 or 16 bits"):
        decode(data)


def test_a_broken_exif_block_does_not_cost_the_picture() -> None:
    assert_is_scene(decode(picture("JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")))


def test_threads_decode_at_once_and_pillow_keeps_its_settings() -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, PillowImage.MAX_IMAGE_PIXELS)
    files = [picture(kind) for kind in FORMATS] * 8
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for image in pool.map(decode, files):
            assert_is_scene(image)
    after = (ImageFile.LOAD_TRUNCATED_IMAGES, PillowImage.MAX_IMAGE_PIXELS)
    assert after == before
    assert before[0] is False


def test_an_encoded_image_decodes_to_nearly_itself() -> None:
    assert_is_scene(decode(encode_jpeg(scene(), quality=95)))
    assert len(encode_jpeg(NOISE, quality=30)) < len(encode_jpeg(NOISE, quality=95))


def test_a_png_keeps_every_pixel() -> None:
    assert (decode(encode_png(NOISE)) == NOISE).all()


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(FORMATS), edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6)), max_size=4))
def test_damaged_bytes_give_a_picture_or_an_image_error(kind: str, edits: list[tuple[float, bytes]]) -> None:
    data = picture(kind)
    for place, replacement in edits:
        start = int(place * len(data))
        data = data[:start] + replacement + data[start + len(replacement) :]
    try:
        image = decode(data)
    except ImageError:
        return
    assert image.ndim == 3


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_header_tells_the_size_the_picture_has_once_upright(orientation: int) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    data = picture("JPEG", exif=exif)
    height, width = decode(data).shape[:2]
    assert probe(data) == Header("JPEG", width, height)


def test_a_look_at_the_header_does_not_look_at_the_pixels() -> None:
    data = saved(PillowImage.fromarray(NOISE), "JPEG")
    assert probe(data[: len(data) * 2 // 3]) == probe(data)
    with pytest.raises(ImageTooLargeError):
        probe(png_bomb(60_000))
    with pytest.raises(UnsupportedImageError):
        probe(b"<html>no picture</html>")
