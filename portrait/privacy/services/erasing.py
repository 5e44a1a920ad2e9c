"""Somebody is erased: whatever we have of them goes, and a signed proof says what that was.

Files, vectors and rows follow the person through the doors of each app (`gallery.signals`, Django's own signals). What
comes here is what no door leads to, the account of it all, and the look afterwards whether something is left.
"""

import hashlib
from typing import Any

from django.db import transaction
from django.utils import timezone

from portrait.audit.models import Action
from portrait.audit.services import forget_subjects, record
from portrait.cameras.models import Frame
from portrait.core.errors import ConflictError
from portrait.core.files import retry_deletions
from portrait.core.models import PendingDeletion
from portrait.core.principal import Principal
from portrait.gallery.models import Identity, PortraitEmbedding
from portrait.gallery.services.identities import delete_identity
from portrait.privacy import inventory
from portrait.privacy.inventory import People, rows_of
from portrait.privacy.models import ErasureProof
from portrait.privacy.selectors import people_of
from portrait.privacy.signing import ALGORITHM, sign, subject_hash
from portrait.sightings.models import HistoryMove, Track
from portrait.sightings.services.erasure import lock_timelines

SCHEMA = "portrait.erasure/1"
TRIES = 3
CHUNK = 500


def erase(*, identity: Identity, principal: Principal, reference: str = "", why: str = "asked for") -> ErasureProof:
    """Erase a person with everybody who was merged into them; answers the signed proof.

    It is done by small transactions. Cut off in the middle, the person is hidden and still there: erase them again, and
    the proof has what the first run counted. reference: the caller's own, which the proof shows.

    Raises:
        AuditUnavailableError: it cannot be logged; then nothing is removed.
        ConflictError: something is being added to the person at this very moment, again and again.
    """
    people = people_of(identity)
    record(
        principal=principal,
        action=Action.ERASE if why == "asked for" else Action.RETENTION,
        collection_id=identity.collection_id,
        details={"why": why},
        identities=people,
    )
    proof = _begin(identity, people, principal, reference)
    _hide(people)
    _forget_metadata(people)
    for _ in range(TRIES):
        delete_identity(identity=identity)
        _forget(people)
        left = inventory.counts(people)
        if not left:
            return _finish(proof, why)
    raise ConflictError(f"Something of this person was added again and again ({', '.join(left)}): erase them again.")


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


def _begin(identity: Identity, people: People, principal: Principal, reference: str) -> ErasureProof:
    """The account of what is there; that of a run that was cut off is taken up."""
    begun = ErasureProof.objects.filter(collection_id=identity.collection_id, finished_at=None)
    for proof in begun:
        if proof.subject == subject_hash(proof.salt, identity.pk):
            return proof
    proof = ErasureProof(
        collection_id=identity.collection_id,
        reference=reference,
        requested_by=principal.name[:200],
        counted={"rows": inventory.counts(people), "files": sorted(map(_hash, _paths(people)))},
    )
    proof.subject = subject_hash(proof.salt, identity.pk)
    proof.save()
    return proof


def _paths(people: People) -> set[str]:
    return {path for _, path in inventory.files(people)}


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


def _finish(proof: ErasureProof, why: str) -> ErasureProof:
    retry_deletions()
    waiting = {_hash(path) for path in PendingDeletion.objects.values_list("path", flat=True).iterator(CHUNK)}
    proof.finished_at = timezone.now()
    proof.statement = statement_of(proof, why, waiting)
    proof.signature = sign(proof.statement)
    proof.save()
    return proof


def statement_of(proof: ErasureProof, why: str, waiting: set[str]) -> dict[str, Any]:
    """What is signed. waiting: hashes of the names of files that could not be deleted yet; they are tried on."""
    files = proof.counted["files"]
    return {
        "schema": SCHEMA,
        "proof": str(proof.pk),
        "algorithm": ALGORITHM,
        "collection": str(proof.collection_id),
        "subject": {"salt": proof.salt, "sha256": proof.subject},
        "reference": proof.reference,
        "requested_by": proof.requested_by,
        "why": why,
        "begun_at": proof.created_at.isoformat(),
        "finished_at": proof.finished_at.isoformat() if proof.finished_at else "",
        "removed_rows": proof.counted["rows"],
        "removed_files": [each for each in files if each not in waiting],
        "files_waiting": [each for each in files if each in waiting],
        "left_rows": {},
    }


def proof_json(proof: ErasureProof) -> dict[str, Any]:
    """A proof as it is handed out: what `manage.py verify_proof` reads."""
    return {"statement": proof.statement, "signature": proof.signature}
