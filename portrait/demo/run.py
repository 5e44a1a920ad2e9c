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
from rich.table import Table

from portrait.demo.annotate import annotate
from portrait.demo.client import ApiClient
from portrait.demo.photos import UNKNOWN, Photo, PhotoSet
from portrait.env import BASE_DIR

ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Recognised:
    """What came back for one picture: the names from left to right."""

    photo: Photo
    names: tuple[str, ...]
    similarities: tuple[float | None, ...]

    @property
    def right(self) -> bool:
        return self.photo.expected is None or self.photo.expected == self.names


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
    """Enrol everybody through the queue; True if each person got at least one portrait."""
    found = {entry["name"] for entry in api.call("GET", "collections?page_size=500")["results"]}
    if collection not in found:
        api.call("POST", "collections", {"name": collection, "description": "made by make demo"})
    jobs = []
    for name, pictures in photos.people.items():
        identity = api.ensure_person(collection, name)
        jobs += [(name, picture.name, api.enrol(identity, picture.data)) for picture in pictures]
    table = Table(title=f"Enrolled into the collection {collection!r}", title_justify="left")
    for column in ("person", "picture", "outcome"):
        table.add_column(column)
    enrolled = set()
    for name, picture, job in jobs:
        outcome, good = _outcome(api.wait(job)["items"][0])
        if good:
            enrolled.add(name)
        table.add_row(name, picture, outcome)
    console.print(table)
    return enrolled == set(photos.people)


def _outcome(item: dict[str, Any]) -> tuple[str, bool]:
    if item["error"]:
        return f"[red]refused:[/red] {item['error']['message']}", False
    if item["result"]["status"] == "duplicate":
        return "enrolled already", True
    quality = item["result"]["portrait"]["quality"]["score"]
    warnings = "".join(f"; [yellow]{warning['message']}[/yellow]" for warning in item["result"]["warnings"])
    return f"[green]accepted[/green], quality {quality:.2f}{warnings}", True


def recognise(api: ApiClient, collection: str, photos: PhotoSet, folder: Path, console: Console) -> list[Recognised]:
    """Recognise every probe, write its annotated picture to `folder`, print the table."""
    table = Table(title="Recognised", title_justify="left")
    for column in ("picture", "faces", "who (similarity)", "right", "annotated picture"):
        table.add_column(column)
    results = []
    for number, photo in enumerate(photos.probes, start=1):
        faces = sorted(api.recognize(collection, photo.data), key=lambda face: float(face["box"][0]))
        path = folder / f"{number:02}-{slugify(Path(photo.name).stem) or 'picture'}.jpg"
        annotate(photo.data, faces, path)
        best = [face["candidates"][0] if face["candidates"] else None for face in faces]
        result = Recognised(
            photo,
            tuple(candidate["identity"]["name"] if candidate else UNKNOWN for candidate in best),
            tuple(candidate["similarity"] if candidate else None for candidate in best),
        )
        results.append(result)
        table.add_row(photo.name, str(len(faces)), _who(result), _mark(result), path.name)
    console.print(table)
    return results


def _who(result: Recognised) -> str:
    parts = [
        name if similarity is None else f"{name} ({similarity:.2f})"
        for name, similarity in zip(result.names, result.similarities, strict=True)
    ]
    return ", ".join(parts) or "no face"


def _mark(result: Recognised) -> str:
    if result.photo.expected is None:
        return ""
    expected = ", ".join(result.photo.expected) or "no face"
    return "[green]yes[/green]" if result.right else f"[red]no, expected: {expected}[/red]"
