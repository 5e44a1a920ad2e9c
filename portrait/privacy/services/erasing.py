"""Somebody is erased: whatever we have of them goes, and a signed proof says what that was.

Files, vectors and rows follow the person through the doors of each app (`gallery.signals`, Django's own signals). What
comes here is what no door leads to, the account of it all, and the look afterwards whether something is left.
"""

import hashlib
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.files.storage import storages
from django.db import transaction
from django.utils import timezone

from portrait.audit.models import Action
from portrait.audit.services import forget_subjects, record
from portrait.cameras.models import Frame
from portrait.core.errors import ConflictError, NotFoundError
from portrait.core.files import alias_of, retry_deletions
from portrait.core.principal import Principal
from portrait.gallery.models import Identity, PortraitEmbedding
from portrait.gallery.services.identities import delete_identity
from portrait.privacy import inventory
from portrait.privacy.inventory import People, rows_of
from portrait.privacy.models import ErasureProof
from portrait.privacy.selectors import find_cut_off, find_subject, people_of
from portrait.privacy.signing import ALGORITHM, sign, subject_hash
from portrait.sightings.models import HistoryMove, Track
from portrait.sightings.services.erasure import lock_timelines
from portrait.transfer.services.erasure import zips_waiting

logger = logging.getLogger(__name__)

SCHEMA = "portrait.erasure/1"
ASKED = "asked for"
CUT_OFF = timedelta(minutes=15)
"""An erasure that has not ended by then may have been cut off."""
TRIES = 3
CHUNK = 500


def erase(*, identity: Identity, principal: Principal, reference: str = "", why: str = ASKED) -> ErasureProof:
    """Erase a person with everybody who was merged into them; answers the signed proof.

    It is done by small transactions. Cut off in the middle, the person is hidden, and part of them may be gone: asked
    again (`erase_by_id`), or by retention within the hour, it goes on, and the proof has what the first run counted.
    reference: the caller's own, which the proof shows.

    Raises:
        AuditUnavailableError: it cannot be logged; then nothing is removed.
        ConflictError: something is being added to the person at this very moment, again and again.
    """
    people = people_of(identity)
    record(
        principal=principal,
        action=Action.ERASE if why == ASKED else Action.RETENTION,
        collection_id=identity.collection_id,
        details={"why": why},
        identities=people,
    )
    return go_on(_begin(identity, people, principal, reference, why))


def erase_by_id(*, wanted: str, principal: Principal, reference: str = "") -> ErasureProof:
    """`erase` whom an id means; where their row is gone already, the end of what was cut off.

    Raises:
        NotFoundError: there is nobody, and nothing to go on with, within the caller's reach.
    """
    try:
        identity = find_subject(principal, wanted)
    except NotFoundError:
        begun = find_cut_off(principal, wanted)
        if begun is None:
            raise
        return go_on(begun)
    return erase(identity=identity, principal=principal, reference=reference)


def go_on(proof: ErasureProof) -> ErasureProof:
    """Do what is left of an erasure that has begun, whatever is gone by now; safe twice and at once.

    Raises:
        ConflictError: something is being added to the person at this very moment, again and again.
    """
    people = proof.people
    _hide(people)
    _forget_metadata(people)
    for _ in range(TRIES):
        _delete(people)
        _forget(people)
        left = inventory.counts(people)
        if not left:
            return _finish(proof)
    raise ConflictError(f"Something of this person was added again and again ({', '.join(left)}): erase them again.")


def finish_cut_off(*, going_on: Callable[[], bool]) -> int:
    """Go on with erasures that were cut off; answers how many are done. going_on: whether there is time."""
    done = 0
    begun = ErasureProof.objects.filter(finished_at=None, created_at__lt=timezone.now() - CUT_OFF).exclude(people=[])
    for proof in begun.order_by("created_at"):
        if not going_on():
            break
        try:
            go_on(proof)
            done += 1
        except ConflictError as error:
            logger.warning("the erasure %s goes on in the next run: %s", proof.pk, error)
    return done


def _delete(people: People) -> None:
    """Who was merged into somebody goes with them; here they come one by one where that was cut off."""
    for key in people:
        identity = Identity.objects.filter(pk=key).first()
        if identity is not None:
            delete_identity(identity=identity)


def _hide(people: People) -> None:
    """From now on nobody finds them, however long the rest takes."""
    with transaction.atomic():
        Identity.objects.filter(pk__in=people, deleted_at=None).update(deleted_at=timezone.now())
        PortraitEmbedding.objects.filter(identity_id__in=people).update(live=False)


def _forget_metadata(people: People) -> None:
    """What callers said of frames that show them may be about them, and nobody knows these frames once the faces are
    gone. That a frame came in, and the hash of its bytes, stays in the ledger."""
    shown = rows_of("cameras.Frame", people).exclude(metadata={})
    while some := list(shown.values_list("pk", flat=True)[:CHUNK]):
        Frame.objects.filter(pk__in=some).update(metadata={})


def _begin(identity: Identity, people: People, principal: Principal, reference: str, why: str) -> ErasureProof:
    """The account of what is there; that of a run that was cut off is taken up."""
    begun = ErasureProof.objects.filter(collection_id=identity.collection_id, finished_at=None)
    for proof in begun:
        if proof.subject == subject_hash(proof.salt, identity.pk):
            proof.people = [*people, *(each for each in proof.people if each not in people)]
            proof.save(update_fields=["people"])
            return proof
    paths = sorted({(alias_of(storage) or "", path) for storage, path in inventory.files(people)})
    proof = ErasureProof(
        collection_id=identity.collection_id,
        reference=reference,
        requested_by=principal.name[:200],
        counted={"rows": inventory.counts(people), "files": sorted({_hash(path) for _, path in paths})},
        people=list(people),
        paths=paths,
        why=why,
    )
    proof.subject = subject_hash(proof.salt, identity.pk)
    proof.save()
    return proof


def _hash(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


def _forget(people: People) -> None:
    """What no other app takes away."""
    forget_subjects(identity_ids=people)
    HistoryMove.objects.filter(before__in=people).update(before=None)
    HistoryMove.objects.filter(after__in=people).update(after=None)
    while _forget_likenesses(people):
        pass


def _forget_likenesses(people: People) -> int:
    """Other people's tracks remember whom they looked like."""
    gone = {str(each) for each in people}
    found = Track.objects.filter(candidates__overlap=list(people)).order_by("pk")
    some = dict(found.values_list("pk", "camera_id")[:CHUNK])
    with transaction.atomic():
        lock_timelines(set(some.values()))
        for track in found.filter(pk__in=some):
            likenesses = [each for each in track.evidence.get("likenesses", []) if each[0] not in gone]
            if "likenesses" in track.evidence:
                track.evidence["likenesses"] = likenesses
            track.candidates = [each for each in track.candidates if str(each) not in gone]
            track.save(update_fields=["evidence", "candidates"])
    return len(some)


def _finish(proof: ErasureProof) -> ErasureProof:
    """Look whether the files are gone, and sign; who comes second gets what the first one signed."""
    retry_deletions(only=[path for _, path in proof.paths])
    there = {_hash(path) for alias, path in proof.paths if _is_there(alias, path)}
    with transaction.atomic():
        proof = ErasureProof.objects.select_for_update().get(pk=proof.pk)
        if proof.finished_at is None:
            proof.finished_at = timezone.now()
            proof.statement = statement_of(proof, there, zips_waiting(collection_id=proof.collection_id))
            proof.signature = sign(proof.statement)
            proof.people, proof.paths = [], []
            proof.save()
    return proof


def _is_there(alias: str, path: str) -> bool:
    """A store that does not answer may have it still."""
    try:
        return storages[alias or "default"].exists(path)
    except Exception:  # each store has errors of its own
        logger.exception("whether the file %s is gone could not be seen", path)
        return True


def statement_of(proof: ErasureProof, there: set[str], zips: int) -> dict[str, Any]:
    """What is signed. there: hashes of the names of files that are not gone yet; they are tried on. zips: of imports,
    which may hold pictures of this person: nobody read them yet, or they could not be overwritten so far."""
    files = proof.counted["files"]
    return {
        "schema": SCHEMA,
        "proof": str(proof.pk),
        "algorithm": ALGORITHM,
        "collection": str(proof.collection_id),
        "subject": {"salt": proof.salt, "sha256": proof.subject},
        "reference": proof.reference,
        "requested_by": proof.requested_by,
        "why": proof.why or ASKED,
        "begun_at": proof.created_at.isoformat(),
        "finished_at": proof.finished_at.isoformat() if proof.finished_at else "",
        "removed_rows": proof.counted["rows"],
        "removed_files": [each for each in files if each not in there],
        "files_waiting": [each for each in files if each in there],
        "import_zips_waiting": zips,
        "left_rows": {},
    }


def proof_json(proof: ErasureProof) -> dict[str, Any]:
    """A proof as it is handed out: what `manage.py verify_proof` reads."""
    return {"statement": proof.statement, "signature": proof.signature}
