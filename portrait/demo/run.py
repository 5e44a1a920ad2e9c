"""The demo itself: enrol, recognise, show, compare with what is known of the pictures."""

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.utils.text import slugify
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inference.errors import ImageError
from portrait.core.errors import NoFaceError, PoorQualityError, PortraitError, SeveralFacesError
from portrait.demo.annotate import annotate
from portrait.demo.client import ApiClient, PictureRefusedError
from portrait.demo.photos import UNKNOWN, Photo, PhotoSet
from portrait.env import BASE_DIR

ADMIN = "admin"
# Why the queue refuses a picture for what it is; any other error is the site's.
_BAD_PICTURES: list[type[ImageError]] = [ImageError, *ImageError.__subclasses__()]
_BAD_FACES: list[type[PortraitError]] = [NoFaceError, SeveralFacesError, PoorQualityError]
REFUSALS = {kind.code for kind in _BAD_PICTURES} | {kind.code for kind in _BAD_FACES}


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What became of one picture of a person. `broken`: it could not be done, and not for what the picture is."""

    person: str
    picture: str
    outcome: str
    good: bool = False
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Recognised:
    """What came back for one picture: the names from left to right, or why it was refused."""

    photo: Photo
    names: tuple[str, ...] = ()
    similarities: tuple[float | None, ...] = ()
    refusal: str | None = None

    @property
    def right(self) -> bool:
        """Of a picture that nobody knows, any answer is; a refusal is one."""
        if self.photo.expected is None:
            return True
        return self.refusal is None and self.photo.expected == self.names


def manage(*arguments: str, **environment: str) -> str:
    """Run a management command in a process that sees the started servers; answers what it printed."""
    command = [sys.executable, str(BASE_DIR / "manage.py"), *arguments]
    result = subprocess.run(  # noqa: S603  (our own command)
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise CommandError(f"`manage.py {arguments[0]}` failed: {(result.stderr or result.stdout).strip()}")
    return result.stdout.strip()


def _kept(path: Path, make: Any) -> str:
    """A secret that is made once and kept, readable to its owner only."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = make()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
    return path.read_text().strip()


def api_key(var: Path) -> str:
    """A key for everything, made at the first demo and kept in `var/secrets/demo-api-key`."""
    return _kept(var / "secrets" / "demo-api-key", lambda: manage("apikey", "create", "demo", "--scope", "admin"))


def admin_password(var: Path) -> str:
    """The password of the admin's user, who is made at the first demo."""

    def make() -> str:
        password = secrets.token_urlsafe(12)
        manage("createsuperuser", "--noinput", "--username", ADMIN, "--email", "", DJANGO_SUPERUSER_PASSWORD=password)
        return password

    return _kept(var / "secrets" / "demo-admin-password", make)


def enrol(api: ApiClient, collection: str, photos: PhotoSet, console: Console) -> bool:
    """Enrol everybody through the queue; True if each person got at least one portrait, and if no picture failed but
    those that were refused for what they are."""
    found = {entry["name"] for entry in api.call("GET", "collections?page_size=500")["results"]}
    if collection not in found:
        api.call("POST", "collections", {"name": collection, "description": "made by make demo"})
    jobs = []
    for name, pictures in photos.people.items():
        identity = api.ensure_person(collection, name)
        jobs += [(name, picture.name, _enqueue(api, identity, picture)) for picture in pictures]
    table = Table(title=f"Enrolled into the collection {collection!r}", title_justify="left")
    for column in ("person", "picture", "outcome"):
        table.add_column(column)
    results = []
    for name, picture, job in jobs:
        result = _outcome(name, picture, api.wait(job)["items"][0] if isinstance(job, str) else job)
        results.append(result)
        table.add_row(escape(name), escape(picture), result.outcome)
    console.print(table)
    everybody = {result.person for result in results if result.good} == set(photos.people)
    return everybody and not any(result.broken for result in results)


def _enqueue(api: ApiClient, identity: str, picture: Photo) -> str | PictureRefusedError:
    """The job, or why there is none."""
    try:
        return api.enrol(identity, picture.data)
    except PictureRefusedError as error:
        return error


def _outcome(person: str, picture: str, end: dict[str, Any] | PictureRefusedError) -> Enrolled:
    """`end`: the job's item, or why there is none."""
    if isinstance(end, PictureRefusedError):
        return Enrolled(person, picture, _refused(str(end)))
    if error := end["error"]:
        if error["code"] in REFUSALS:
            return Enrolled(person, picture, _refused(error["message"]))
        return Enrolled(person, picture, f"[red]failed:[/red] {escape(error['message'])}", broken=True)
    if end["result"]["status"] == "duplicate":
        return Enrolled(person, picture, "enrolled already", good=True)
    quality = end["result"]["portrait"]["quality"]["score"]
    warnings = "".join(f"; [yellow]{escape(warning['message'])}[/yellow]" for warning in end["result"]["warnings"])
    return Enrolled(person, picture, f"[green]accepted[/green], quality {quality:.2f}{warnings}", good=True)


def _refused(reason: str) -> str:
    return f"[red]refused:[/red] {escape(reason)}"


def recognise(api: ApiClient, collection: str, photos: PhotoSet, folder: Path, console: Console) -> list[Recognised]:
    """Recognise every probe, write its annotated picture to `folder`, print the table."""
    if not photos.probes:
        console.print("There is no picture to recognise: put some beside the folders of the people.")
        return []
    table = Table(title="Recognised", title_justify="left")
    for column in ("picture", "faces", "who (similarity)", "right", "annotated picture"):
        table.add_column(column)
    results = []
    for number, photo in enumerate(photos.probes, start=1):
        path = folder / f"{number:02}-{slugify(Path(photo.name).stem) or 'picture'}.jpg"
        result = _recognise(api, collection, photo, path)
        results.append(result)
        faces, drawn = ("", "") if result.refusal else (str(len(result.names)), path.name)
        table.add_row(escape(photo.name), faces, _who(result), _mark(result), drawn)
    console.print(table)
    return results


def _recognise(api: ApiClient, collection: str, photo: Photo, path: Path) -> Recognised:
    try:
        faces = sorted(api.recognize(collection, photo.data), key=lambda face: float(face["box"][0]))
    except PictureRefusedError as error:
        return Recognised(photo, refusal=str(error))
    annotate(photo.data, faces, path)
    best = [face["candidates"][0] if face["candidates"] else None for face in faces]
    return Recognised(
        photo,
        tuple(candidate["identity"]["name"] if candidate else UNKNOWN for candidate in best),
        tuple(candidate["similarity"] if candidate else None for candidate in best),
    )


def _who(result: Recognised) -> str:
    if result.refusal is not None:
        return _refused(result.refusal)
    parts = [
        name if similarity is None else f"{name} ({similarity:.2f})"
        for name, similarity in zip(result.names, result.similarities, strict=True)
    ]
    return escape(", ".join(parts)) or "no face"


def _mark(result: Recognised) -> str:
    if result.photo.expected is None:
        return ""
    expected = ", ".join(result.photo.expected) or "no face"
    return "[green]yes[/green]" if result.right else f"[red]no, expected: {expected}[/red]"
