"""Reads of exports, proofs and rules; whom a request about a person is about."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import QuerySet

from portrait.core.errors import NotFoundError
from portrait.core.principal import Principal
from portrait.gallery.models import Identity
from portrait.gallery.selectors import as_uuid
from portrait.privacy.models import ErasureProof, RetentionRule, SubjectExport


def find_subject(principal: Principal, wanted: str) -> Identity:
    """The person that an id means, deleted and merged ones too: the one whom they were merged into.

    Raises:
        NotFoundError: there is none within the caller's reach.
    """
    key = as_uuid(wanted)
    row = Identity.objects.select_related("collection").filter(pk=key).first() if key else None
    if row is None:
        raise NotFoundError("There is no such identity.")
    principal.require_collection(row.collection_id, "identity")
    while row.merged_into is not None:
        row = row.merged_into
    return row


def find_cut_off(principal: Principal, wanted: str) -> ErasureProof | None:
    """The erasure that has begun and not ended, of somebody whose row may be gone by now; within the caller's reach."""
    begun = (
        visible_proofs(principal).filter(finished_at=None, people__contains=[key]) if (key := as_uuid(wanted)) else None
    )
    return None if begun is None else begun.order_by("created_at").first()


def people_of(identity: Identity) -> list[UUID]:
    """A person's id, and those of everybody who was merged into them: the last to be merged stand last."""
    found, new = [identity.pk], [identity.pk]
    while new:
        rows = Identity.objects.filter(merged_into__in=new).exclude(pk__in=found)
        new = list(rows.order_by("pk").values_list("pk", flat=True))
        found += new
    return found


def ends_of_merges(keys: Iterable[UUID]) -> dict[UUID, UUID]:
    """Of many people at a time, as `people_of` of one: whoever was merged into one of them -> that one."""
    ends = {key: key for key in keys}
    new = list(ends)
    while new:
        rows = Identity.objects.filter(merged_into__in=new).exclude(pk__in=list(ends))
        merged = dict(rows.values_list("pk", "merged_into_id"))
        ends |= {part: ends[into] for part, into in merged.items() if into is not None}
        new = list(merged)
    return ends


def visible_exports(principal: Principal) -> "QuerySet[SubjectExport]":
    """Those within reach; nobody who is bound to cameras sees any."""
    principal.require_no_camera()
    exports = SubjectExport.objects.select_related("collection")
    if principal.collection_ids is not None:
        exports = exports.filter(collection_id__in=principal.collection_ids)
    return exports


def visible_proofs(principal: Principal) -> "QuerySet[ErasureProof]":
    """Those within reach."""
    principal.require_no_camera()
    if principal.collection_ids is None:
        return ErasureProof.objects.all()
    return ErasureProof.objects.filter(collection_id__in=principal.collection_ids)


def visible_rules(principal: Principal) -> "QuerySet[RetentionRule]":
    """Those within reach, and the ones for all collections."""
    rules = RetentionRule.objects.select_related("collection")
    if principal.collection_ids is None:
        return rules
    return rules.filter(collection_id__in=principal.collection_ids) | rules.filter(collection=None)
