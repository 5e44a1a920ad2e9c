"""A chunk's files: read out of their zip, looked at together, stored in one short transaction.

What the person has already is found by its SHA-256, before any network is asked. A file that cannot be done is
rejected with its reason; only what is no file's fault (no inference server, no database) lets the chunk wait.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO
from uuid import UUID

from django.db import InterfaceError, OperationalError
from django.db.models import F, QuerySet

from inference.errors import ImageError, InferenceError, ModelNotInstalledError
from inference.types import Box
from portrait.core.errors import PortraitError, SeveralFacesError
from portrait.gallery.face_choice import parse_choice
from portrait.gallery.models import Identity, Portrait
from portrait.gallery.services.photos import PreparedPhoto, prepare_photos
from portrait.transfer.models import UNDONE, FileStatus, ImportChunk, ImportFile
from portrait.transfer.services import people
from portrait.transfer.services.people import Refusal
from portrait.transfer.zips import BadEntryError, Place, read_entry

logger = logging.getLogger(__name__)

GROUP_FILES, GROUP_BYTES = 8, 16 * 2**20
"""So many files are looked at together."""
TOO_OFTEN = 2
"""Workers that vanished with an item; from the first on, its files are looked at one by one."""

StillMine = Callable[[], None]
Known = dict[tuple[UUID, str], Portrait]


SEVERAL = (
    "The picture holds several faces. Cut one out, or import again with face=largest (the command: --face largest)."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to become of a file: a status with its code and message, or a photo to store. like: the file of this
    chunk that is the same picture of the same person."""

    file: ImportFile
    sha256: str = ""
    status: str = ""
    code: str = ""
    message: str = ""
    portrait: Portrait | None = None
    photo: PreparedPhoto | None = None
    like: int | None = None


def prepare_chunk(chunk: ImportChunk, *, careful: bool, still_mine: StillMine) -> list[Outcome]:
    """Read and analyse what is still to be done of a chunk. careful: a worker vanished with it.

    Raises:
        inference.errors.ServerError: the networks cannot be reached.
    """
    run = chunk.run
    files = list(ImportFile.objects.filter(chunk=chunk, status__in=UNDONE).select_related("person"))
    if not files:
        return []
    found = people.identities_of(run, {file.person_id: file.person for file in files if file.person}.values())
    outcomes: list[Outcome] = []
    with chunk.part.file.open("rb") as zipped:
        for group in _groups(files):
            still_mine()
            outcomes += _prepare_group(group, zipped, found, careful=careful, seen=outcomes)
    return outcomes


def _groups(files: Sequence[ImportFile]) -> Iterator[list[ImportFile]]:
    group: list[ImportFile] = []
    for file in files:
        if group and (len(group) >= GROUP_FILES or sum(each.place["size"] for each in group) >= GROUP_BYTES):
            yield group
            group = []
        group.append(file)
    yield group


def _prepare_group(
    group: Sequence[ImportFile],
    zipped: IO[bytes],
    found: dict[int, Identity | Refusal | None],
    *,
    careful: bool,
    seen: Sequence[Outcome],
) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    data: dict[int, bytes] = {}
    for file in group:
        read = _read(file, zipped, found.get(file.person_id or 0))
        if isinstance(read, bytes):
            data[file.pk] = read
        else:
            outcomes[file.pk] = read
    outcomes |= _known(group, data, found, [*seen, *outcomes.values()])
    wanted = [file for file in group if file.pk not in outcomes]
    looked = _one_by_one(wanted, data) if careful else _together(wanted, data)
    outcomes |= {outcome.file.pk: outcome for outcome in looked}
    return [outcomes[file.pk] for file in group]


def _read(file: ImportFile, zipped: IO[bytes], identity: Identity | Refusal | None) -> bytes | Outcome:
    if isinstance(identity, Refusal):
        return Outcome(file, status=FileStatus.REJECTED, code=identity.code, message=identity.message)
    if file.suspicions >= 1:
        message = f"{TOO_OFTEN} workers vanished while they had this file: it is not tried again by itself."
        return Outcome(file, status=FileStatus.REJECTED, code="worker_lost", message=message)
    try:
        data = read_entry(zipped, Place(**file.place))
    except BadEntryError as error:
        return Outcome(file, status=FileStatus.REJECTED, code=error.code, message=str(error))
    if data.startswith(b"PK\x03\x04"):
        message = "A zip within the zip is not opened: send it by itself."
        return Outcome(file, status=FileStatus.REJECTED, code="nested_zip", message=message)
    return data


def _known(
    group: Sequence[ImportFile],
    data: dict[int, bytes],
    found: dict[int, Identity | Refusal | None],
    seen: Sequence[Outcome],
) -> dict[int, Outcome]:
    """Pictures that their person has already, or that stand twice in the chunk."""
    digests = {pk: hashlib.sha256(each).hexdigest() for pk, each in data.items()}
    kept = {file.pk: _fingerprint(file, digests[file.pk]) for file in group if file.pk in digests}
    owners = people.portrait_owner_ids(found.values())
    rows = Portrait.objects.filter(identity__in=owners, sha256__in={*digests.values(), *kept.values()})
    portraits: Known = {(row.identity_id, row.sha256): row for row in rows}
    first = {(each.file.person_id, each.sha256): each.file.pk for each in seen if each.photo is not None}
    outcomes = {}
    for file in group:
        if file.pk not in digests:
            continue
        identity, sha256 = found.get(file.person_id or 0), kept[file.pk]
        owner = identity.pk if isinstance(identity, Identity) else None
        known = owner and (portraits.get((owner, sha256)) or portraits.get((owner, digests[file.pk])))
        if known:
            outcomes[file.pk] = duplicate(file, known)
        elif (file.person_id, sha256) in first:
            outcomes[file.pk] = Outcome(file, sha256, like=first[file.person_id, sha256])
        else:
            first[file.person_id, sha256] = file.pk
    return outcomes


def _fingerprint(file: ImportFile, digest: str) -> str:
    """Of the picture that was sent at first: an export keeps another JPEG of it."""
    return str(file.claim["sha256"]) if _claimed(file, digest) and file.claim else digest


def _claimed(file: ImportFile, digest: str) -> bool:
    """Whether portraits.csv speaks of this very file."""
    return file.claim is not None and file.claim["file_sha256"] == digest


def duplicate(file: ImportFile, portrait: Portrait) -> Outcome:
    if portrait.deleted_at is not None:
        message = "This picture was deleted from its person: restore it there, if it is wanted."
        return Outcome(file, portrait.sha256, FileStatus.REJECTED, "portrait_deleted", message)
    return Outcome(file, portrait.sha256, FileStatus.DUPLICATE, portrait=portrait)


def _together(files: Sequence[ImportFile], data: dict[int, bytes]) -> list[Outcome]:
    """All at once; one by one where that fails for a reason that lies in one of them."""
    try:
        plain = [file for file in files if not _claimed(file, hashlib.sha256(data[file.pk]).hexdigest())]
        outcomes = _look(plain, data)
        for file in files:
            if file not in plain:
                outcomes += _look([file], data, claimed=True)
    except (ModelNotInstalledError, OperationalError, InterfaceError):
        raise
    except InferenceError as error:
        if error.retryable:
            raise
        return _one_by_one(files, data)
    except Exception:
        logger.exception("a chunk failed; its files are looked at one by one")
        return _one_by_one(files, data)
    return outcomes


def _look(files: Sequence[ImportFile], data: dict[int, bytes], *, claimed: bool = False) -> list[Outcome]:
    """Ask the networks. claimed: portraits.csv says which face it is, and it was judged before."""
    if not files:
        return []
    run, claim = files[0].run, files[0].claim
    choice = Box(*claim["box"]) if claimed and claim else parse_choice(run.face)
    prepared = prepare_photos([data[file.pk] for file in files], choice=choice, force=run.force or claimed)
    outcomes = []
    for file, photo in zip(files, prepared, strict=True):
        digest = hashlib.sha256(data[file.pk]).hexdigest()
        if isinstance(photo, PreparedPhoto):
            sha256 = _fingerprint(file, digest)
            outcomes.append(Outcome(file, sha256, photo=replace(photo, sha256=sha256)))
        else:
            outcomes.append(_rejected(file, digest, photo))
    return outcomes


def _rejected(file: ImportFile, sha256: str, error: PortraitError | ImageError) -> Outcome:
    message = SEVERAL if isinstance(error, SeveralFacesError) else str(error)
    return Outcome(file, sha256, FileStatus.REJECTED, error.code, message)


def _one_by_one(files: Sequence[ImportFile], data: dict[int, bytes]) -> list[Outcome]:
    """Each for itself, noted before: whoever kills its worker is found by that."""
    outcomes = []
    for file in files:
        row = ImportFile.objects.filter(pk=file.pk)
        row.update(suspicions=F("suspicions") + 1)
        try:
            outcomes.append(_alone(file, data))
        finally:  # whatever is raised, the worker lives
            _forgive(row)
    return outcomes


def _forgive(row: "QuerySet[ImportFile]") -> None:
    row.update(suspicions=F("suspicions") - 1)


def _alone(file: ImportFile, data: dict[int, bytes]) -> Outcome:
    digest = hashlib.sha256(data[file.pk]).hexdigest()
    try:
        return _look([file], data, claimed=_claimed(file, digest))[0]
    except (ModelNotInstalledError, OperationalError, InterfaceError):
        raise
    except InferenceError as error:
        if error.retryable:
            raise
        return Outcome(file, digest, FileStatus.REJECTED, error.code, str(error))
    except Exception as error:
        logger.exception("a file of import %s failed", file.run_id)
        message = f"It could not be looked at ({type(error).__name__}: see the worker's log)."
        return Outcome(file, digest, FileStatus.REJECTED, "internal_error", message)
