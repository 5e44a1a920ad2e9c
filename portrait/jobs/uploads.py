"""Uploaded files that no item names: what a process leaves that is killed between the file and its row."""

import logging
from collections.abc import Iterator
from datetime import date, timedelta

from django.core.files.storage import Storage
from django.utils import timezone

from portrait.jobs.models import JobItem
from portrait.jobs.selectors import uploads_in_use

logger = logging.getLogger(__name__)

ROOT = "uploads"
KEEP = timedelta(days=1)  # a transaction may write its files before midnight and its rows after


def remove_orphaned() -> None:
    """Remove the uploads of past days that no item names, and the folders of days that are empty then."""
    storage = JobItem._meta.get_field("upload").storage
    for folder in _past_days(storage):
        try:
            _clean(storage, folder)
        except OSError:
            logger.exception("the uploads in %s could not be removed", folder)


def _past_days(storage: Storage) -> Iterator[str]:
    """Folders `uploads/<year>/<month>/<day>` of days that are over."""
    before = (timezone.now() - KEEP).date()
    for year in _folders(storage, ROOT):
        for month in _folders(storage, f"{ROOT}/{year}"):
            for day in _folders(storage, f"{ROOT}/{year}/{month}"):
                if date(int(year), int(month), int(day)) < before:
                    yield f"{ROOT}/{year}/{month}/{day}"


def _folders(storage: Storage, path: str) -> list[str]:
    try:
        return sorted(storage.listdir(path)[0])
    except FileNotFoundError:
        return []


def _clean(storage: Storage, folder: str) -> None:
    names = [f"{folder}/{name}" for name in storage.listdir(folder)[1]]
    used = uploads_in_use(names)
    orphaned = [name for name in names if name not in used]
    for name in orphaned:
        storage.delete(name)
    if orphaned:
        logger.warning("removed %d uploads in %s that belonged to no item", len(orphaned), folder)
    if not used:
        storage.delete(folder)
