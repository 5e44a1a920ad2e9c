"""A person's own data as a zip: JSON by sections, pictures, and a text that says what is what."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import IO, Any

from django.core.files.base import File
from django.utils import timezone

from portrait.audit.models import Action
from portrait.audit.services import record
from portrait.core.errors import NotFoundError, PortraitError
from portrait.core.files import write_file
from portrait.core.principal import Principal
from portrait.gallery.models import Identity, Portrait
from portrait.jobs.models import Job
from portrait.jobs.services import create_job
from portrait.privacy.inventory import People
from portrait.privacy.models import SubjectExport
from portrait.privacy.selectors import people_of
from portrait.privacy.services.gathering import CHUNK, SECTIONS
from portrait.sightings.models import Sighting
from portrait.sightings.services.pictures import PictureExpiredError, sighting_picture

SCHEMA = "portrait.subject/1"
KIND = "subject_export"
QUEUE = "ingest"
KEEP = timedelta(hours=24)
README = """What this system has about one person.

subject.json    "schema" ({schema}), "generated_at", "pictures_missing" and one list a section:
{sections}
portraits/      the pictures by which the person is recognised, as they are kept; named by the portrait's id
sightings/      the best face of each sighting, cut out of its frame; named by the sighting's id

Times are UTC. Boxes are [x, y, width, height] in pixels. Vectors are what networks made of the face: float32, little
endian, in base64. Other people are counted, never named; their faces in cut-outs are made coarse.
This file holds biometric data: keep it as you keep a passport.
"""


class ExportNotReadyError(PortraitError):
    """The zip is not made yet."""

    code = "not_ready"
    status = 409


class ExportExpiredError(PortraitError):
    """There was a zip, and it is no longer kept."""

    code = "expired"
    status = 410


def request_export(*, identity: Identity, principal: Principal) -> tuple[SubjectExport, Job]:
    """Ask for a person's data; a job makes the zip, the caller enqueues it after the commit.

    Raises:
        AuditUnavailableError: it cannot be logged.
    """
    _log(identity, principal, Action.EXPORT_SUBJECT)
    export = SubjectExport.objects.create(
        collection=identity.collection,
        identity=identity,
        requested_by=principal.name[:200],
        expires_at=timezone.now() + KEEP,
    )
    job = create_job(
        kind=KIND,
        queue=QUEUE,
        collection_id=identity.collection_id,
        subject_id=identity.pk,
        api_key_id=principal.api_key_id,
        parameters={"export": str(export.pk)},
        items=1,
    )
    SubjectExport.objects.filter(pk=export.pk).update(job_id=job.pk)
    export.job_id = job.pk
    return export, job


def _log(identity: Identity, principal: Principal, action: str) -> None:
    people = people_of(identity)
    record(principal=principal, action=action, collection_id=identity.collection_id, identities=people)


def write_zip(identity: Identity, out: "IO[bytes]", *, going_on: Callable[[], None] = lambda: None) -> None:
    """All about a person, into a file that can seek. A row at a time: the memory that is needed does not grow with it.

    going_on: called again and again while it works.
    """
    people = people_of(identity)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        missing = []
        for name, data in _pictures(people):
            going_on()
            if data is None:
                missing.append(name)
            else:
                archive.writestr(zipfile.ZipInfo(name), data)
        with archive.open("subject.json", "w", force_zip64=True) as file:
            for text in _json(people, missing):
                going_on()
                file.write(text.encode())
        sections = "\n".join(f"                {name}" for name in SECTIONS)
        archive.writestr("README.txt", README.format(schema=SCHEMA, sections=sections))


def _pictures(people: People) -> Iterator[tuple[str, bytes | None]]:
    for portrait in Portrait.objects.filter(identity__in=people).order_by("pk").iterator(CHUNK):
        try:
            with portrait.image.open("rb") as file:
                yield f"portraits/{portrait.pk}.jpg", bytes(file.read())
        except FileNotFoundError:
            yield f"portraits/{portrait.pk}.jpg", None
    for sighting in Sighting.everything.filter(identity__in=people).order_by("pk").iterator(CHUNK):
        try:
            yield f"sightings/{sighting.pk}.jpg", sighting_picture(sighting)
        except PictureExpiredError:
            yield f"sightings/{sighting.pk}.jpg", None


def _json(people: People, missing: list[str]) -> Iterator[str]:
    head = {"schema": SCHEMA, "generated_at": timezone.now(), "pictures_missing": missing}
    yield _text(head).removesuffix("}")
    for name, rows in SECTIONS.items():
        yield f',\n"{name}": ['
        for number, row in enumerate(rows(people)):
            yield f"{',' if number else ''}\n{_text(row)}"
        yield "]"
    yield "}\n"


def _text(value: Any) -> str:
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def store_zip(*, export_id: str, file: "IO[bytes]") -> dict[str, Any]:
    """Keep a zip that was made; inside the transaction that ends the job's item. Answers its result.

    Raises:
        NotFoundError: the person was erased meanwhile.
    """
    whose = SubjectExport.objects.filter(pk=export_id).values("identity")
    # The person first: whoever erases them waits, and then finds the file, or was here before.
    person = Identity.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=whose).first()
    export = SubjectExport.objects.select_for_update(of=("self",)).filter(pk=export_id).first()
    if person is None or export is None:
        raise NotFoundError("The person was erased meanwhile.")
    export.sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    export.size_bytes = file.tell()
    file.seek(0)
    write_file(export.file, "subject.zip", File(file))
    export.ready_at, export.expires_at = timezone.now(), timezone.now() + KEEP
    export.save()
    return {"export": str(export.pk), "size_bytes": export.size_bytes}


def open_zip(*, export: SubjectExport, principal: Principal) -> "File[bytes]":
    """The zip, to be sent; the download is logged.

    Raises:
        ExportNotReadyError, ExportExpiredError: there is none.
        AuditUnavailableError: it cannot be logged.
    """
    if export.ready_at is None:
        raise ExportNotReadyError("The zip is not made yet: GET /api/v1/jobs/{job} tells how far it is.")
    if export.expires_at <= timezone.now() or not export.file:
        raise ExportExpiredError("The zip is no longer kept; ask for a new one.")
    _log(export.identity, principal, Action.DOWNLOAD)
    try:
        opened: File[bytes] = export.file.open("rb")
    except FileNotFoundError:
        raise ExportExpiredError("The zip is no longer there; ask for a new one.") from None
    SubjectExport.objects.filter(pk=export.pk).update(downloads=export.downloads + 1)
    return opened


def remove_expired() -> int:
    """Remove zips that were kept for a day; their rows too, as the audit log knows of them. Answers how many."""
    gone = 0
    for export in SubjectExport.objects.filter(expires_at__lte=timezone.now()).order_by("pk")[:CHUNK]:
        gone += export.delete()[0]
    return gone
