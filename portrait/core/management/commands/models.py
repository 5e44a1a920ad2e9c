"""`manage.py models list|build|install|import|verify`: the networks that Triton serves."""

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Column, Table

from inference.config import scene_task
from inference.errors import UnknownModelError, WeightsError
from inference.weights.build import build, buildable, install, require_licence, verify
from inference.weights.imported import imported_names, read_record, remove_imported, verify_imported
from inference.weights.manifest import Manifest, ModelEntry, Task, read_manifest
from inference.weights.mini.install import install_mini, is_current, mini_names
from inference.weights.published import install_published, published, read_published
from inference.weights.store import State, ensure_config, state_of
from portrait.core.model_imports import add_import_arguments, import_weights, say_how_to_load
from portrait.env import BASE_DIR

CONFIGS_DIR = BASE_DIR / "triton_models"
TABLE_WIDTH = 120


class Command(BaseCommand):
    help = "List, build, install, import and verify the networks that Triton serves."
    requires_system_checks: list[str] = []  # runs before there is a database

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="every known model, its licence and whether it is installed")
        build_parser = actions.add_parser("build", help="make the default models from installed packages, offline")
        build_parser.add_argument("names", nargs="*", metavar="NAME")
        build_parser.add_argument("--force", action="store_true", help="build again what is already there")
        install_parser = actions.add_parser("install", help="fetch, check and convert further models")
        install_parser.add_argument("names", nargs="+", metavar="NAME")
        install_parser.add_argument(
            "--from", dest="origin", metavar="DIR", help="a folder, file or address instead of the published address"
        )
        for fetching in (build_parser, install_parser):
            fetching.add_argument("--accept-licence", action="append", default=[], metavar="LICENCE")
        add_import_arguments(actions.add_parser("import", help="convert weights of your own: YOLACT or BLIP"))
        remove_parser = actions.add_parser("remove", help="delete imported models")
        remove_parser.add_argument("names", nargs="+", metavar="NAME")
        verify_parser = actions.add_parser("verify", help="check installed models; fails if one is not as it should be")
        verify_parser.add_argument("names", nargs="*", metavar="NAME")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        manifest = read_manifest()
        actions: dict[str, Callable[..., None]] = {
            "list": self._list,
            "build": self._build,
            "install": self._install,
            "import": self._import,
            "remove": self._remove,
            "verify": self._verify,
        }
        try:
            actions[action](manifest, settings.PORTRAIT.models_dir, **options)
        except WeightsError as error:
            raise CommandError(str(error)) from error

    def _list(self, manifest: Manifest, models_dir: Path, **options: Any) -> None:
        table = Table("name", "task", "licence", "commercial use", "state", Column("source", overflow="fold"))
        for entry in manifest:
            commercial = "yes" if entry.commercial_use else "no"
            state = str(state_of(models_dir, entry))
            table.add_row(entry.name, entry.task, entry.licence, commercial, state, str(entry.source))
        for row in _scene_rows(models_dir):
            table.add_row(*row)
        console = Console(width=max(Console().width, TABLE_WIDTH))
        with console.capture() as capture:
            console.print(table)
        self.stdout.write(capture.get())

    def _build(
        self,
        manifest: Manifest,
        models_dir: Path,
        *,
        names: list[str],
        force: bool,
        accept_licence: list[str],
        **options: Any,
    ) -> None:
        for entry in [manifest[name] for name in names if name not in mini_names()] or (
            [] if names else buildable(manifest)
        ):
            written = build(entry, models_dir=models_dir, force=force, accepted=accept_licence)
            ensure_config(models_dir, entry.name, CONFIGS_DIR)
            self.stdout.write(f"{entry.name}: {'built and checked' if written else 'already there'}")
        for name in [name for name in mini_names() if not names or name in names]:
            current = not force and is_current(models_dir, name)
            if not current:
                install_mini(models_dir, name)
            self.stdout.write(f"{name}: {'already there' if current else 'installed'}")

    def _install(
        self,
        manifest: Manifest,
        models_dir: Path,
        *,
        names: list[str],
        origin: str | None,
        accept_licence: list[str],
        **options: Any,
    ) -> None:
        for name in names:
            if name in read_published():
                require_licence(published(name), accept_licence)
                path = install_published(published(name), models_dir=models_dir, origin=origin)
                self.stdout.write(f"{name}: installed, {path}\n{_checked(name, origin)}\n{say_how_to_load(name)}")
                continue
            entry = _entry(manifest, name)
            path = install(entry, models_dir=models_dir, origin=origin, accepted=accept_licence)
            ensure_config(models_dir, entry.name, CONFIGS_DIR)
            self.stdout.write(f"{entry.name}: installed and checked, {path}\n{_activation(entry)}")

    def _import(self, manifest: Manifest, models_dir: Path, **options: Any) -> None:
        path = import_weights(models_dir=models_dir, **options)
        parity = read_record(models_dir, path.name)["origin"]["parity"]
        self.stdout.write(
            f"{path.name}: imported, {path}\nAgainst the original: {_told(parity)}\n{say_how_to_load(path.name)}"
        )

    def _remove(self, manifest: Manifest, models_dir: Path, *, names: list[str], **options: Any) -> None:
        for name in names:
            remove_imported(models_dir, name)
            self.stdout.write(
                f"{name}: removed. A running server has it until POST /api/v1/models/{name}/unload, or its next start."
            )

    def _verify(self, manifest: Manifest, models_dir: Path, *, names: list[str], **options: Any) -> None:
        scenes = [name for name in imported_names(models_dir) if not names or name in names]
        chosen = [manifest[name] for name in names if name not in scenes] or [
            entry
            for entry in manifest
            if not names and (entry in buildable(manifest) or state_of(models_dir, entry) != State.MISSING)
        ]
        bad = []
        for verdict in (verify(entry, models_dir=models_dir) for entry in chosen):
            self.stdout.write(f"{verdict.name}: {'ok' if verdict.ok else 'FAILED'}: {verdict.message}")
            bad += [] if verdict.ok else [verdict.name]
        for name in scenes:
            problem = verify_imported(models_dir, name)
            self.stdout.write(
                f"{name}: {f'FAILED: {problem}' if problem else 'ok: its files are as they were written'}"
            )
            bad += [name] if problem else []
        if bad:
            raise CommandError(f"not as they should be: {', '.join(bad)}")


def _scene_rows(models_dir: Path) -> list[tuple[str, ...]]:
    """Scene models: the published ones, and whatever else was imported."""
    known, installed = read_published(), imported_names(models_dir)
    rows: list[tuple[str, ...]] = [
        (
            name,
            str(scene_task(name)),
            model.licence,
            "yes" if model.commercial_use else "no",
            "installed" if name in installed else "missing",
            model.homepage,
        )
        for name, model in known.items()
    ]
    for name in [name for name in installed if name not in known]:
        origin = read_record(models_dir, name)["origin"]
        commercial = "yes" if name in mini_names() else "see its licence"
        rows.append((name, str(scene_task(name)), origin["licence"], commercial, "installed", origin["homepage"]))
    return rows


def _entry(manifest: Manifest, name: str) -> ModelEntry:
    """The model of the manifest.

    Raises:
        UnknownModelError: there is none of that name; the message lists what can be installed.
    """
    if name in mini_names():
        raise UnknownModelError(f"{name!r} is part of the repository: manage.py models build {name}")
    if name not in manifest.models:
        raise UnknownModelError(f"no model {name!r}; there are: {', '.join([*manifest.models, *read_published()])}")
    return manifest[name]


def _checked(name: str, origin: str | None) -> str:
    """What is known of the files that were installed."""
    if all(file.sha256 for file in published(name).files):
        return "Its files have the published checksums."
    if origin is not None:
        return "No checksum of its files was ever published: they are what you gave."
    return "No checksum of its files was ever published: theirs are recorded, and held to from now on."


def _told(parity: dict[str, Any]) -> str:
    """The measurements of a comparison, in words."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.2g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in parity.items()
    )


def _activation(entry: ModelEntry) -> str:
    if entry.task is Task.FACE_DETECTION:
        return f"To use it: set PORTRAIT_DETECTOR={entry.name} and restart."
    return "To use it: restart the model server."
