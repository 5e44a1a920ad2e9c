"""The pictures of a demo: public photos out of scikit-image and matplotlib, altered; or the user's own folder."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from django.core.management.base import CommandError
from PIL import Image, ImageEnhance, ImageOps

COLLINS, HOPPER, UNKNOWN = "Eileen Collins", "Grace Hopper", "unknown"
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
EXIF_ORIENTATION, TURNED_RIGHT = 0x0112, 6


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture as a client would send it. `expected`: the names from left to right; None: nobody knows."""

    name: str
    data: bytes
    expected: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Who is enrolled with which pictures, and the pictures to recognise."""

    people: dict[str, list[Photo]]
    probes: list[Photo]


def _package_file(package: str, path: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CommandError(f"The demo's photos are in the package {package}: pip install -e '.[demo]', or make demo.")
    return Path(spec.submodule_search_locations[0]) / path


def _open(package: str, path: str) -> Image.Image:
    return Image.open(_package_file(package, path)).convert("RGB")


def _jpeg(image: Image.Image, quality: int = 92, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def _side_by_side(left: Image.Image, right: Image.Image, height: int = 480) -> Image.Image:
    parts = [ImageOps.contain(part, (10_000, height)) for part in (left, right)]
    canvas = Image.new("RGB", (sum(part.width for part in parts), height))
    canvas.paste(parts[0], (0, 0))
    canvas.paste(parts[1], (parts[0].width, 0))
    return canvas


def _on_its_side(image: Image.Image) -> bytes:
    """Stored lying, with the EXIF note that a phone writes to turn it upright."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = TURNED_RIGHT
    return _jpeg(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def built_in() -> PhotoSet:
    """Two people to enrol, and pictures that the database has not seen."""
    collins, hopper = (
        _open("skimage", "data/astronaut.png"),
        _open("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    )
    camera, coffee = _open("skimage", "data/camera.png"), _open("skimage", "data/coffee.png")
    chelsea = _open("skimage", "data/chelsea.png")

    def scaled(image: Image.Image, factor: float) -> Image.Image:
        return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)

    makers: list[tuple[str, tuple[str, ...], Callable[[], bytes]]] = [
        ("both in one picture", (COLLINS, HOPPER), lambda: _jpeg(_side_by_side(collins, hopper))),
        ("both, changed places", (HOPPER, COLLINS), lambda: _jpeg(_side_by_side(hopper, collins, 360))),
        ("flipped", (COLLINS,), lambda: _jpeg(ImageOps.mirror(collins))),
        ("dark", (HOPPER,), lambda: _jpeg(ImageEnhance.Brightness(hopper).enhance(0.3))),
        ("small", (COLLINS,), lambda: _jpeg(scaled(collins, 0.5))),
        ("turned by 15 degrees", (HOPPER,), lambda: _jpeg(hopper.rotate(15, Image.Resampling.BICUBIC, expand=True))),
        ("on its side, with EXIF", (COLLINS,), lambda: _on_its_side(collins)),
        ("recompressed at quality 12", (HOPPER,), lambda: _jpeg(hopper, quality=12)),
        ("grey", (COLLINS,), lambda: _jpeg(ImageOps.grayscale(collins))),
        ("somebody not enrolled", (UNKNOWN,), lambda: _jpeg(camera)),
        ("a cup of coffee", (), lambda: _jpeg(coffee)),
        ("a cat", (), lambda: _jpeg(chelsea)),
    ]
    people = {COLLINS: [Photo("astronaut.png", _jpeg(collins))], HOPPER: [Photo("grace_hopper.jpg", _jpeg(hopper))]}
    return PhotoSet(people, [Photo(name, make(), expected) for name, expected, make in makers])


def _photos_in(folder: Path) -> Iterator[Photo]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix.lower() in PHOTO_SUFFIXES:
            yield Photo(path.name, path.read_bytes())


def from_folder(folder: Path) -> PhotoSet:
    """`folder/<person>/*.jpg` to enrol, `folder/*.jpg` to recognise.

    Raises:
        CommandError: the folder is not there, or has nobody to enrol.
    """
    if not folder.is_dir():
        raise CommandError(f"PHOTOS: there is no folder {folder}.")
    people = {path.name: list(_photos_in(path)) for path in sorted(folder.iterdir()) if path.is_dir()}
    people = {name: photos for name, photos in people.items() if photos}
    if not people:
        raise CommandError(f"PHOTOS: {folder} has no folder with photos in it; expected {folder}/<person name>/*.jpg")
    return PhotoSet(people, list(_photos_in(folder)))
