"""Rows against files: whatever column names a file, the file is there; whatever file lies there, a row names it.

Columns are found, not listed: a file field that somebody adds tomorrow is looked after. The frames' pictures are the
ledger's affair (`portrait.cameras.services.audit`).
"""

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any

from django.apps import apps
from django.core.files.storage import Storage, default_storage
from django.db.models import FileField, Model, UUIDField
from django.utils import timezone

from portrait.gallery.selectors import as_uuid
from portrait.upkeep.services.runs import StillHere

NOT_OURS = ("frames",)
CHUNK = 2000
LISTED = 50
IN_FLIGHT = timedelta(hours=1)
"""A younger file may belong to a transaction that is under way."""
FORGOTTEN = timedelta(days=1)
"""An older one that no row names is what a killed process left: it is deleted."""
MOST_DELETED = 1000
"""More than so many are not leftovers of a crash: perhaps another database's files. Then nothing is deleted."""


@dataclass(frozen=True, slots=True)
class FileColumn:
    """A column that names files of the default storage."""

    model: type[Model]
    name: str

    def __str__(self) -> str:
        return f"{self.model._meta.label}.{self.name}"

    def named(self, names: Iterable[str]) -> set[str]:
        """Which of these files it names."""
        rows = self.model._default_manager.filter(**{f"{self.name}__in": list(names)})
        return set(rows.values_list(self.name, flat=True))

    def named_by_id(self, names: Sequence[str]) -> set[str]:
        """The same for files that are called by their row's id, which is quick however many rows there are."""
        if not isinstance(self.model._meta.pk, UUIDField):
            return set()
        ids = [key for name in names if (key := as_uuid(posixpath.basename(name)[:36])) is not None]
        return set(self.model._default_manager.filter(pk__in=ids).values_list(self.name, flat=True)) & set(names)


@dataclass(slots=True)
class FileReport:
    """rows, files: how many were looked at. missing: `column id` of rows whose file is gone. orphans: files that no row
    names. Both list the first fifty; the counts are of all."""

    rows: int = 0
    files: int = 0
    missing: list[str] = field(default_factory=list)
    missing_count: int = 0
    orphans: list[str] = field(default_factory=list)
    orphan_count: int = 0
    deleted: int = 0


def columns() -> list[FileColumn]:
    """Every column of ours that names files of the default storage."""
    return [
        FileColumn(model, each.name)
        for model in apps.get_models()
        if model.__module__.startswith("portrait.")
        for each in model._meta.get_fields()
        if isinstance(each, FileField) and each.storage == default_storage and _root(each) not in NOT_OURS
    ]


def _root(column: "FileField") -> str:
    """The first folder of a column whose files lie apart by a setting, not by a path."""
    return "frames" if column.model._meta.label == "cameras.Frame" else ""


def check(*, still_here: StillHere, delete: bool) -> FileReport:
    """Compare rows with files, and files with rows; memory stays bounded. delete: orphans of past days."""
    report = FileReport()
    every = columns()
    for column in every:
        _look_for_files(column, report, still_here)
    forgotten: list[str] = []
    for chunk in _chunks(_files(default_storage)):
        still_here()
        report.files += len(chunk)
        _look_for_rows(every, chunk, report, forgotten)
    if delete and len(forgotten) <= MOST_DELETED:
        report.deleted = sum(_delete(every, name) for name in forgotten)
    return report


def _look_for_files(column: FileColumn, report: FileReport, still_here: StillHere) -> None:
    rows: Any = column.model._default_manager.exclude(**{column.name: ""}).exclude(**{f"{column.name}__isnull": True})
    last = None
    while True:
        page = rows if last is None else rows.filter(pk__gt=last)
        found = list(page.order_by("pk").values_list("pk", column.name)[:CHUNK])
        if not found:
            return
        still_here()
        last = found[-1][0]
        report.rows += len(found)
        absent = [(pk, name) for pk, name in found if not default_storage.exists(name)]
        for pk, name in absent:
            if column.model._default_manager.filter(pk=pk, **{column.name: name}).exists():  # it may have gone since
                _note(report.missing, f"{column} {pk}")
                report.missing_count += 1


def _look_for_rows(every: Sequence[FileColumn], names: list[str], report: FileReport, forgotten: list[str]) -> None:
    suspects = names
    for look in (FileColumn.named_by_id, FileColumn.named):
        for column in every:
            if suspects:
                known = look(column, suspects)
                suspects = [name for name in suspects if name not in known]
    now = timezone.now()
    for name in suspects:
        try:
            age = now - default_storage.get_modified_time(name)
        except FileNotFoundError:
            continue
        if age > IN_FLIGHT:
            _note(report.orphans, name)
            report.orphan_count += 1
        if age > FORGOTTEN and len(forgotten) <= MOST_DELETED:
            forgotten.append(name)


def _delete(every: Sequence[FileColumn], name: str) -> bool:
    if any(column.named([name]) for column in every):
        return False
    default_storage.delete(name)
    return True


def _note(listed: list[str], what: str) -> None:
    if len(listed) < LISTED:
        listed.append(what)


def _files(storage: Storage, path: str = "") -> Iterator[str]:
    try:
        folders, names = storage.listdir(path)
    except FileNotFoundError:
        return
    yield from (posixpath.join(path, name) for name in sorted(names))
    for folder in sorted(folders):
        if path or folder not in NOT_OURS:
            yield from _files(storage, posixpath.join(path, folder))


def _chunks(items: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
