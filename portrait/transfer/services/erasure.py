"""What imports hold of somebody who is erased: rows lose names and paths, and zips that wait lose the pictures.

Nobody comes back out of a zip: files of an erased person that are still to be done are rejected (`person_erased`), and
a zip that nobody has read yet is compared with HMACs of what named them. A later import is a new decision: it may bring
them back.
"""

import hashlib
import hmac
import logging
import os
from collections.abc import Iterable
from functools import partial
from typing import IO, Any
from uuid import UUID

from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.db import transaction
from django.db.models import CharField, Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat

from portrait.gallery.models import Identity
from portrait.transfer.models import (
    UNDONE,
    FileStatus,
    Import,
    ImportedName,
    ImportFile,
    ImportPart,
    ImportPerson,
)
from portrait.transfer.services.imports import delete_imports
from portrait.transfer.services.people import ERASED
from portrait.transfer.zips import BadEntryError, BrokenZipError, Place, data_at, find_directory

logger = logging.getLogger(__name__)

ZEROS = bytes(2**20)
GONE = ("erased", ERASED.code)
"""Codes of files of those who were erased."""


def hold(run: Import) -> None:
    """Learn who was erased by now, and let nobody be erased until the transaction ends."""
    run.erased = Import.objects.select_for_update(of=("self",)).only("erased").get(pk=run.pk).erased


def was_erased(run: Import, *, external_id: str | None, name: str, key: str) -> bool:
    """Whether somebody was erased while the import waited whom this folder would have meant."""
    named = f"external_id:{external_id}" if external_id else f"id:{key}" if key else f"name:{name}"
    return bool(run.erased) and _digest(named) in run.erased


def _digest(named: str) -> str:
    return hmac.new(settings.SECRET_KEY.encode(), f"import:{named}".encode(), hashlib.sha256).hexdigest()


def erase_identity(*, identity_id: UUID) -> None:
    """Take a person out of all imports. Before the identity's row goes, and once more while it does: both are safe."""
    identity = Identity.objects.filter(pk=identity_id).first()
    if identity is None:
        return
    with transaction.atomic():
        open_runs = list(_open_runs(identity))
        _remember(identity, open_runs)
        people = ImportPerson.objects.filter(Q(identity=identity) | Q(run__in=open_runs) & _means(identity))
        people |= _nobodys(identity)
        ids = _locked(people)
        _forget_files(ImportFile.objects.filter(Q(identity_id=identity_id) | Q(person__in=ids)))
        forget_people(ImportPerson.objects.filter(pk__in=ids))
        transaction.on_commit(partial(scrub_waiting, collection_id=identity.collection_id), robust=True)


def _locked(rows: "QuerySet[Any]") -> list[Any]:
    """Their keys, in order: see `storing.store_chunk`."""
    return list(rows.order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True))


def forget_people(people: "QuerySet[ImportPerson]") -> None:
    """What is left of a folder's person: that they were erased."""
    gone: dict[str, Any] = {"name": "", "alias": "", "external_id": None, "key": "", "values": {}}
    folder = Concat(Value("(erased "), Cast("pk", CharField()), Value(")"))
    people.update(folder=folder, erased=True, problem_message="", **gone)


def _open_runs(identity: Identity) -> "QuerySet[Import]":
    runs = Import.objects.filter(collection=identity.collection_id, finished_at=None)
    return runs.order_by("pk").select_for_update(of=("self",))


def _names(identity: Identity) -> tuple[set[str], set[str], set[str]]:
    """external_ids, keys and names that led to a person."""
    rows = [identity, *Identity.objects.filter(merged_into=identity)]
    keys = {str(row.pk) for row in rows}
    called = {row.name for row in rows}
    for key in ImportedName.objects.filter(identity__in=rows).values_list("key", flat=True):
        kind, _, rest = key.partition(":")
        (keys if kind == "id" else called).add(rest)
    return {row.external_id for row in rows if row.external_id}, keys, called


def _remember(identity: Identity, runs: Iterable[Import]) -> None:
    external_ids, keys, called = _names(identity)
    named = [f"external_id:{each}" for each in external_ids] + [f"id:{each}" for each in keys]
    digests = [_digest(each) for each in [*named, *(f"name:{each}" for each in called)]]
    for run in runs:
        Import.objects.filter(pk=run.pk).update(erased=sorted({*run.erased, *digests}))


def _means(identity: Identity) -> Q:
    """Folders that would lead to a person by the rules of `people`."""
    external_ids, keys, called = _names(identity)
    nameless = Q(external_id=None)
    return Q(external_id__in=external_ids) | nameless & Q(key__in=keys) | nameless & Q(key="") & Q(name__in=called)


def _nobodys(identity: Identity) -> "QuerySet[ImportPerson]":
    """Folders of the same name that became nobody: in reports of imports that ended, too. Perhaps they were theirs."""
    runs = Import.objects.filter(collection=identity.collection_id)
    return ImportPerson.objects.filter(run__in=runs, identity=None, erased=False, name__in=_names(identity)[2] - {""})


def _forget_files(files: "QuerySet[ImportFile]") -> None:
    told: dict[str, Any] = {"path": "", "sha256": "", "claim": None, "identity_id": None, "portrait_id": None}
    ids = _locked(files)
    rows = ImportFile.objects.filter(pk__in=ids)
    rows.filter(status__in=UNDONE).update(status=FileStatus.REJECTED, code=ERASED.code, message=ERASED.message, **told)
    rows.exclude(code=ERASED.code).update(code="erased", message="", **told)


def zips_waiting(*, collection_id: UUID) -> int:
    """How many zips may still hold pictures of somebody who was erased: those that nobody has read yet, and those that
    could not be scrubbed so far."""
    parts = ImportPart.objects.filter(run__collection=collection_id, done_at=None).exclude(file="")
    return parts.filter(Q(planned_at=None) | Exists(_to_scrub())).count()


def scrub_waiting(*, collection_id: UUID | None = None) -> None:
    """`scrub_parts` all that need it, of one collection or of all: also what was cut off, or failed, before."""
    parts = ImportPart.objects.filter(Exists(_to_scrub()), done_at=None)
    if collection_id is not None:
        parts = parts.filter(run__collection=collection_id)
    scrub_parts(part_ids=list(parts.values_list("pk", flat=True)))


def _to_scrub() -> "QuerySet[ImportFile]":
    """Files of those who were erased, in a part of an outer query; one that was scrubbed has no place any more."""
    return ImportFile.objects.filter(part=OuterRef("pk"), code__in=GONE).exclude(place={})


def scrub_parts(*, part_ids: Iterable[int]) -> None:
    """`scrub` those of these zips that were read; of others, nothing is known yet."""
    for part in ImportPart.objects.filter(pk__in=list(part_ids), planned_at__isnull=False).exclude(file=""):
        try:
            scrub(part)
        except (OSError, BrokenZipError):
            logger.exception("the zip of import %s still holds somebody who was erased", part.run_id)


def scrub(part: ImportPart) -> None:
    """Overwrite in a zip that was read: the files of those who were erased, the tables, and all names in its list of
    contents, which nobody needs any more. Other files in it are read on as before."""
    storage = part.file.storage
    assert isinstance(storage, FileSystemStorage)  # noqa: S101  (settings.STORAGES)
    of_part = ImportFile.objects.filter(part=part).exclude(place={})
    erased = of_part.filter(Q(person__erased=True) | Q(code__in=[*GONE, "table"]))
    done = []
    with open(storage.path(str(part.file.name)), "r+b") as file:
        directory = find_directory(file)
        _overwrite(file, directory.offset, directory.offset + directory.size)
        for pk, place in erased.values_list("pk", "place").iterator():
            _scrub_entry(file, Place(**place), directory.offset)
            done.append(pk)
        os.fsync(file.fileno())
    ImportFile.objects.filter(pk__in=done).exclude(code="table").update(place={})


def _scrub_entry(file: IO[bytes], place: Place, end: int) -> None:
    """Name and data. What lies outside of the data, by the numbers of a forger, is not touched."""
    try:
        data = data_at(file, place.offset)
    except BadEntryError:
        return
    _overwrite(file, place.offset + 4, min(data + place.packed, end))


def _overwrite(file: IO[bytes], start: int, end: int) -> None:
    file.seek(start)
    while start < end:
        start += file.write(ZEROS[: min(len(ZEROS), end - start)])
    file.flush()


def erase_collection(*, collection_id: UUID) -> None:
    """Remove the imports of a collection, by small transactions."""
    delete_imports(run_ids=list(Import.objects.filter(collection=collection_id).values_list("pk", flat=True)))
