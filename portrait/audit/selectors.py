"""Reads of the audit log, and its verification."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from portrait.audit import chain
from portrait.audit.models import AuditCheckpoint, AuditEntry, AuditLink, AuditSubject
from portrait.core.principal import Principal

CHUNK = 1000
MOST_FAULTS = 50
LATE = timedelta(minutes=10)
"""An entry has its place in the chain by then, where the schedule runs."""


@lru_cache(maxsize=1)
def keyring() -> chain.Keyring:
    """The keys of the settings."""
    return chain.Keyring.of(settings.PORTRAIT.audit_keys)


def content_of(entry: AuditEntry) -> dict[str, Any]:
    """All that the MAC of an entry covers."""
    return {
        "at": entry.at.isoformat(timespec="microseconds"),
        "actor_kind": str(entry.actor_kind),
        "actor": entry.actor,
        "actor_id": entry.actor_id,
        "action": str(entry.action),
        "collection": str(entry.collection_id or ""),
        "probe": entry.probe_sha256,
        "subjects": [str(each) for each in entry.subjects],
        "details": entry.details,
        "address": entry.address or "",
        "request": entry.request_id,
    }


def visible_entries(principal: Principal) -> "QuerySet[AuditEntry]":
    """A key that is bound to collections sees what was asked about these; nobody bound to cameras sees anything."""
    principal.require_no_camera()
    if principal.collection_ids is None:
        return AuditEntry.objects.all()
    return AuditEntry.objects.filter(collection_id__in=principal.collection_ids)


def entries_about(identity_ids: Iterable[UUID]) -> "QuerySet[AuditEntry]":
    """Requests whose answer named one of these people, or that were about them."""
    pseudonyms = AuditSubject.objects.filter(identity_id__in=list(identity_ids)).values_list("id", flat=True)
    return AuditEntry.objects.filter(subjects__overlap=list(pseudonyms))


def people_in(entries: Iterable[AuditEntry]) -> dict[UUID, UUID]:
    """Whom the pseudonyms of these entries mean; those of erased people are missing."""
    pseudonyms = {each for entry in entries for each in entry.subjects}
    return dict(AuditSubject.objects.filter(pk__in=pseudonyms).values_list("id", "identity_id"))


def head() -> tuple[int, bytes]:
    """Position and hash of the last link; of the last checkpoint if all before it was removed."""
    last = AuditLink.objects.order_by("-position").first() or AuditCheckpoint.objects.order_by("-position").first()
    return (last.position, bytes(last.hash)) if last else (0, chain.START)


@dataclass(slots=True)
class Verified:
    """What a look at the whole log found. unsealed: entries that wait for their place in the chain."""

    entries: int = 0
    links: int = 0
    unsealed: int = 0
    checkpoint: int = 0
    head: tuple[int, str] = (0, "")
    faults: list[str] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not self.faults

    def fault(self, text: str) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(text)


def verify(*, noted: Iterable[tuple[int, str]] = ()) -> Verified:
    """Look at every entry and every link. noted: ends of the chain that were noted elsewhere, position and hash.

    The whole log is read in chunks: bounded memory, and no lock.
    """
    found = Verified()
    position, digest = _beginning(found)
    found.checkpoint = position
    wanted: dict[int, set[str]] = {}
    for place, text in [*noted, *anchors()]:
        if place > position:
            wanted.setdefault(place, set()).add(text)
    for link in _links(position):
        found.links += 1
        position, digest = _check_link(found, link, position, digest)
        if wanted.pop(position, set()) - {digest.hex()}:
            found.fault(f"link {position} is not the one that was noted outside of the database")
    for place in sorted(wanted):
        found.fault(f"link {place} was noted outside of the database and is gone")
    found.head = (position, digest.hex())
    _check_entries(found)
    return found


def _beginning(found: Verified) -> tuple[int, bytes]:
    last = AuditCheckpoint.objects.order_by("-position").first()
    if last is None:
        return 0, chain.START
    digest = bytes(last.hash)
    if chain.checkpoint_of(keyring(), last.key_id, last.position, digest) != bytes(last.mac):
        found.fault(f"checkpoint {last.position} was not written by this installation: {_unknown(last.key_id)}")
    return last.position, digest


def _unknown(key_id: str) -> str:
    known = key_id in dict(keyring().keys)
    return "it was changed" if known else f"its key {key_id} is not among those of AUDIT_KEY"


@dataclass(frozen=True, slots=True)
class _Link:
    place: chain.Place
    key_id: str
    hash: bytes


def _links(after: int) -> Iterator[_Link]:
    """With the MACs of their entries, read as they are needed."""
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(
            "SELECT l.position, l.entry_id, e.mac, l.key_id, l.hash FROM audit_auditlink l"
            " LEFT JOIN audit_auditentry e ON e.id = l.entry_id WHERE l.position > %s ORDER BY l.position",
            [after],
        )
        while rows := cursor.fetchmany(CHUNK):
            for position, entry_id, mac, key_id, digest in rows:
                place = chain.Place(position, entry_id, None if mac is None else bytes(mac))
                yield _Link(place, key_id, bytes(digest))


def _check_link(found: Verified, link: _Link, position: int, digest: bytes) -> tuple[int, bytes]:
    """link: the one after `position`, whose hash is `digest`; answers its own."""
    place = link.place
    if place.position != position + 1:
        found.fault(f"links {position + 1} to {place.position - 1} are gone")
    if place.entry_mac is None:
        found.fault(f"entry {place.entry_id} is gone: link {place.position} names it")
    elif chain.link_of(keyring(), link.key_id, digest, place) != link.hash:
        found.fault(f"link {place.position} (entry {place.entry_id}) does not follow: {_unknown(link.key_id)}")
    return place.position, link.hash


def _check_entries(found: Verified) -> None:
    for entry in AuditEntry.objects.order_by("id").iterator(CHUNK):
        found.entries += 1
        if keyring().mac(entry.key_id, chain.canonical(content_of(entry))) != bytes(entry.mac):
            found.fault(
                f"entry {entry.pk} of {entry.at.isoformat()} is not as it was written: {_unknown(entry.key_id)}"
            )
    found.unsealed = _unsealed().count()


def _unsealed() -> "QuerySet[AuditEntry]":
    return AuditEntry.objects.exclude(pk__in=AuditLink.objects.values("entry_id"))


def late() -> int:
    """How many entries should have their place in the chain long since."""
    return _unsealed().filter(at__lt=timezone.now() - LATE).count()


def anchors() -> Iterator[tuple[int, str]]:
    """Ends of the chain as the file outside of the database has them."""
    try:
        file = settings.PORTRAIT.audit_anchors.open()
    except FileNotFoundError:
        return
    with file:
        for line in file:
            try:
                told = json.loads(line)
                yield int(told["position"]), str(told["hash"])
            except (ValueError, KeyError, TypeError):
                continue  # cut off while it was written
