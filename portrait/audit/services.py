"""Writes of the audit log: an entry an answered request, its place in the chain, and what is over its time.

An entry is inserted alone, without a lock and without a look at other entries: many callers at once do not wait for
each other. The chain follows by `seal`, one process at a time.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from portrait.audit import chain
from portrait.audit.context import current
from portrait.audit.models import Action, ActorKind, AuditEntry, AuditLink, AuditSubject
from portrait.audit.selectors import content_of, head, keyring
from portrait.core.errors import PortraitError
from portrait.core.models import ApiKey, Scope
from portrait.core.principal import Principal

logger = logging.getLogger(__name__)

SEAL_BATCH = 2000
SEAL_MOST = 50 * SEAL_BATCH
LATE = 100_000
"""An entry is found by `seal` if at most so many were written between its id and its commit."""
MIN_KEEP = timedelta(days=30)
"""PostgreSQL refuses to remove younger entries: the migration says so too."""
_LOCK = 0x61756469  # "audi"


class AuditUnavailableError(PortraitError):
    """What cannot be logged is not answered."""

    code: ClassVar[str] = "audit_unavailable"
    status: ClassVar[int] = 503


def system(name: str) -> Principal:
    """The installation itself as a caller: a command or a schedule."""
    return Principal(name, Scope.ADMIN, None, f"system-{name}")


def asked_by(api_key_id: UUID | None, otherwise: str) -> Principal:
    """Who asked for what a worker does: the key's owner; without a key, or after its end, the installation itself."""
    key = ApiKey.objects.filter(pk=api_key_id).first() if api_key_id else None
    if key is None:
        return system(otherwise)
    return Principal(key.name, Scope(key.scope), frozenset(), f"key-{key.pk}", api_key_id=key.pk)


def sha256_of(picture: bytes) -> str:
    """How the log knows a picture: hexadecimal."""
    return hashlib.sha256(picture).hexdigest()


def record(
    *,
    principal: Principal,
    action: str,
    collection_id: UUID | None,
    probe: bytes | None = None,
    probe_sha256: str = "",
    details: Mapping[str, Any] | None = None,
    identities: Iterable[UUID] = (),
) -> None:
    """Log one request, before its answer is sent. Of the probe only the SHA-256 is kept: `probe_sha256`, where the
    picture itself is not at hand any more.

    details: numbers, settings, ids; never a name. identities: those whom the answer names or the request is about:
    the log has pseudonyms of them, which mean nobody once the person is erased.

    Raises:
        AuditUnavailableError: it cannot be written; then the caller gets no answer either.
    """
    kind, actor_id = _who(principal)
    origin = current()
    try:
        entry = AuditEntry(
            at=timezone.now(),
            actor_kind=kind,
            actor=_plain(principal.name)[:200],
            actor_id=actor_id,
            action=Action(action),
            collection_id=collection_id,
            probe_sha256=sha256_of(probe) if probe is not None else probe_sha256,
            subjects=_pseudonyms(identities),
            details=_plain(dict(details or {})),
            address=origin.address,
            request_id=origin.request_id,
            key_id=keyring().newest,
        )
        entry.mac = keyring().mac(entry.key_id, chain.canonical(content_of(entry))) or b""
        entry.save(force_insert=True)
    except DatabaseError as error:
        logger.exception("an audit entry could not be written")
        raise AuditUnavailableError(
            "The audit log cannot be written at this moment, so this is not answered; try again shortly."
        ) from error


def _who(principal: Principal) -> tuple[ActorKind, str]:
    if principal.api_key_id is not None:
        return ActorKind.KEY, str(principal.api_key_id)
    if principal.throttle_id.startswith("user-"):
        return ActorKind.USER, principal.throttle_id.removeprefix("user-")
    return ActorKind.SYSTEM, ""


def _plain(value: Any) -> Any:
    """As PostgreSQL gives it back: the MAC must be the same then."""
    if isinstance(value, float):
        value = round(value, 4)
        return int(value) if value.is_integer() else value
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int) else str(value)


def _pseudonyms(identity_ids: Iterable[UUID]) -> list[UUID]:
    """Of these people, made where there is none yet; sorted, so that their order tells nothing."""
    wanted = set(identity_ids)
    if not wanted:
        return []
    known = _known(wanted)
    if missing := wanted - known.keys():
        AuditSubject.objects.bulk_create([AuditSubject(identity_id=each) for each in missing], ignore_conflicts=True)
        known = _known(wanted)  # another request may have been faster
    return sorted(known.values())


def _known(identity_ids: set[UUID]) -> dict[UUID, UUID]:
    rows = AuditSubject.objects.filter(identity_id__in=identity_ids)
    return dict(rows.values_list("identity_id", "id"))


def forget_subjects(*, identity_ids: Iterable[UUID]) -> int:
    """From now on nobody can tell whom the log means by these people's pseudonyms. Answers how many there were."""
    return AuditSubject.objects.filter(identity_id__in=list(identity_ids)).delete()[0]


def seal() -> int:
    """Give every entry that has none its place in the chain; answers how many got one.

    One process at a time, in short steps; what comes in meanwhile is for the next run. The end of the chain is noted
    outside of the database as well: without that, the newest entries could be cut off unnoticed.
    """
    sealed = 0
    while sealed < SEAL_MOST and (step := _seal_some()):
        sealed += step
    if sealed:
        _anchor()
    return sealed


def _seal_some() -> int:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
            if not cursor.fetchone()[0]:
                return 0
        position, digest = head()
        newest = AuditLink.objects.order_by("-entry_id").values_list("entry_id", flat=True).first() or 0
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT e.id, e.mac FROM audit_auditentry e LEFT JOIN audit_auditlink l ON l.entry_id = e.id"
                " WHERE l.entry_id IS NULL AND e.id > %s ORDER BY e.id LIMIT %s",
                [newest - LATE, SEAL_BATCH],
            )
            rows = cursor.fetchall()
        links, keys = [], keyring()
        for at, (entry_id, mac) in enumerate(rows, position + 1):
            digest = chain.link_of(keys, keys.newest, digest, chain.Place(at, entry_id, bytes(mac))) or b""
            links.append(AuditLink(position=at, entry_id=entry_id, key_id=keys.newest, hash=digest))
        AuditLink.objects.bulk_create(links)
    return len(links)


def _anchor() -> None:
    """The end of the chain goes to a file and to the worker's log, which a backup or a log server keeps."""
    position, digest = head()
    line = json.dumps({"position": position, "hash": digest.hex(), "at": timezone.now().isoformat()})
    logger.info("audit log: %s", line)
    path = settings.PORTRAIT.audit_anchors
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        logger.exception("the end of the audit log could not be noted in %s", path)


def purge(*, before: datetime) -> int:
    """Remove sealed entries older than this, the oldest ones of the chain; answers how many.

    The chain stays verifiable: it begins at a checkpoint then. Entries of the last 30 days stay, whatever is asked:
    PostgreSQL sees to that.
    """
    seal()
    before = min(before, timezone.now() - MIN_KEEP)
    young = AuditEntry.objects.filter(at__gte=before).values("id")
    stays = AuditLink.objects.filter(entry_id__in=young).order_by("position").first()
    links = AuditLink.objects.filter(at__lt=before)
    if stays is not None:
        links = links.filter(position__lt=stays.position)
    last = links.order_by("-position").first()
    if last is None:
        return 0
    keys = keyring()
    mac = chain.checkpoint_of(keys, keys.newest, last.position, bytes(last.hash))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT portrait_audit_purge(%s, %s, %s, %s)", [last.position, bytes(last.hash), keys.newest, mac]
        )
        return int(cursor.fetchone()[0])
