"""Reads of the portrait database: collections a caller may see, and who is nearest to a face."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.core.exceptions import ValidationError
from django.db.models import (
    Count,
    IntegerField,
    Min,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Coalesce
from numpy.typing import NDArray

from inference.calibration import DECISION, Calibration
from portrait.core.errors import NotFoundError, PortraitError
from portrait.core.principal import Principal
from portrait.gallery import rejections
from portrait.gallery.models import DEFAULT_COLLECTION, Collection, Identity, Portrait, PortraitEmbedding
from portrait.gallery.neighbours import nearest_portraits
from portrait.gallery.vectors import distance_to

FIRST_ROWS, ROWS_A_PLACE = 16, 6
"""Read at first, and for each person who is asked for: people have some portraits each. The index is walked as far for
one row as for many (`hnsw.ef_search`); what is not needed is only carried about."""
MOST_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """An identity near a face: by its nearest portrait."""

    identity: Identity
    distance: float
    similarity: float


class CollectionRequiredError(PortraitError):
    """The key reaches several collections, so the call must name one."""

    code = "collection_required"


def visible_collections(principal: Principal) -> "QuerySet[Collection]":
    """The collections a caller may see."""
    collections = Collection.objects.select_related("active_model")
    if principal.collection_ids is None:
        return collections
    return collections.filter(id__in=principal.collection_ids)


def find_collection(principal: Principal, name: str | None) -> Collection:
    """A collection by name or id; without one, the only one the key is bound to, or `default`.

    Raises:
        NotFoundError: none of that name within reach.
        CollectionRequiredError: the key is bound to several.
    """
    visible = visible_collections(principal)
    if name is None and principal.collection_ids is not None:
        bound = list(visible[:2])
        if len(bound) != 1:
            raise CollectionRequiredError("Name a 'collection': this key is bound to several.", field="collection")
        return bound[0]
    wanted = DEFAULT_COLLECTION if name is None else name
    wanted_id = as_uuid(wanted)
    found = visible.filter(name=wanted).first() or (visible.filter(id=wanted_id).first() if wanted_id else None)
    if found is None:
        raise NotFoundError(f"There is no collection {wanted!r} within this key's reach.", field="collection")
    return found


def as_uuid(text: str) -> uuid.UUID | None:
    """The id that a text spells, or None."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def visible_identities(principal: Principal) -> "QuerySet[Identity]":
    """The identities a caller may see, merged and deleted ones left out."""
    identities = Identity.objects.filter(merged_into=None, deleted_at=None)
    if principal.collection_ids is None:
        return identities
    return identities.filter(collection_id__in=principal.collection_ids)


def deleted_identities(principal: Principal) -> "QuerySet[Identity]":
    """Those who were deleted and can be restored, within the caller's reach."""
    identities = Identity.objects.filter(merged_into=None, deleted_at__isnull=False)
    if principal.collection_ids is None:
        return identities
    return identities.filter(collection_id__in=principal.collection_ids)


def find_deleted(principal: Principal, identity_id: str) -> Identity:
    """Somebody by id, deleted or not, within the caller's reach: who is not is told so by what follows.

    Raises:
        NotFoundError: none such.
    """
    wanted = as_uuid(identity_id)
    found = (
        (visible_identities(principal) | deleted_identities(principal)).filter(pk=wanted).first() if wanted else None
    )
    if found is None:
        raise NotFoundError("There is no such identity; perhaps its time of grace is over.")
    return found


def filter_identities(
    identities: "QuerySet[Identity]",
    *,
    collection: Collection | None = None,
    external_id: str | None = None,
    name: str | None = None,
    kind: str | None = None,
    hidden: bool | None = None,
    consent: bool | None = None,
) -> "QuerySet[Identity]":
    """What fits all that is asked; `name` fits as a part, whatever its case. Hidden people only if asked for."""
    if external_id is not None:  # of somebody who was merged: whom they are a part of
        identities = identities.filter(Q(external_id=external_id) | Q(pk__in=_survivors(external_id)))
    asked: dict[str, Any] = {
        "collection": collection,
        "name__icontains": name,
        "kind": kind,
        "hidden": bool(hidden),
        "consent": "" if consent is False else None,
        "consent__gt": "" if consent else None,
    }
    return identities.filter(**{lookup: value for lookup, value in asked.items() if value is not None})


def _survivors(external_id: str) -> set[uuid.UUID]:
    """Whom those are a part of who had this id before they were merged, through any number of merges."""
    found = set[uuid.UUID]()
    parts = set(Identity.objects.filter(external_id=external_id).values_list("merged_into", flat=True)) - {None}
    while parts - found:
        found |= {key for key in parts if key is not None}
        parts = set(Identity.objects.filter(pk__in=found).values_list("merged_into", flat=True)) - {None}
    return found


def with_portrait_counts(identities: "QuerySet[Identity]") -> "QuerySet[Identity]":
    """Annotate `portrait_count` and the collection: what a list shows, in one query. Counted row by row, so that a
    page costs what its rows cost."""
    portraits = Portrait.objects.filter(identity=OuterRef("pk"), deleted_at=None).order_by().values("identity")
    count = Subquery(portraits.annotate(count=Count("pk")).values("count"), output_field=IntegerField())
    return identities.select_related("collection").annotate(portrait_count=Coalesce(count, 0))


def with_newest_portraits(identities: "QuerySet[Identity]", count: int) -> "QuerySet[Identity]":
    """Prefetch `newest_portraits`, at most `count` each: one more query however many identities."""
    newest = Portrait.objects.filter(deleted_at=None).order_by("-created_at")[:count]
    return identities.prefetch_related(Prefetch("portraits", newest, to_attr="newest_portraits"))


def visible_portraits(principal: Principal) -> "QuerySet[Portrait]":
    """The portraits a caller may see."""
    portraits = Portrait.objects.select_related("identity").filter(
        deleted_at=None, identity__deleted_at=None, identity__merged_into=None
    )
    if principal.collection_ids is None:
        return portraits
    return portraits.filter(identity__collection_id__in=principal.collection_ids)


def find_portrait(principal: Principal, portrait_id: str) -> Portrait:
    """A portrait by id, deleted or not, of somebody whom the caller may see.

    Raises:
        NotFoundError: none such.
    """
    wanted = as_uuid(portrait_id)
    found = Portrait.objects.filter(pk=wanted, identity__in=visible_identities(principal)).first() if wanted else None
    if found is None:
        raise NotFoundError("There is no such portrait.")
    return found


def calibration_of(collection: Collection) -> Calibration:
    """The curve of a collection: its model's, with the collection's own threshold where it has one."""
    values = collection.active_model.calibration
    threshold = values["threshold"] if collection.threshold is None else collection.threshold
    return Calibration(threshold=float(threshold), slope=float(values["slope"]))


def nearest_identities(
    collection: Collection,
    vector: NDArray[np.float32],
    *,
    top_k: int = 1,
    min_similarity: float = DECISION,
    exclude: Iterable[uuid.UUID] = (),
) -> list[Candidate]:
    """The identities nearest to a face, each once, most similar first; empty means: unknown.

    vector: float32, shape (dims of the collection's active model,).
    Identities are ranked, not portraits: rows are read on until there are `top_k` of them, or the rows are
    too far away, so that one person with many portraits never takes all places.
    """
    calibration, excluded = calibration_of(collection), list(exclude)
    farthest, decided = calibration.distance(min_similarity), calibration.distance(DECISION) + 1e-6
    while True:
        best = _best_people(collection, vector, top_k, farthest, excluded)
        answerable = Identity.objects.filter(deleted_at=None, merged_into=None)  # whatever their vectors say
        identities = answerable.annotate(rejecting=rejections.has_any()).in_bulk(list(best))
        gone = best.keys() - identities.keys()  # merged at this moment: by now their portraits are somebody else's
        rejecting = {key: best[key] for key, row in identities.items() if row.rejecting}
        dropped = gone | set(rejections.overruled(collection, vector, rejecting, farthest=decided))
        if not dropped:
            break
        excluded += dropped
    return [Candidate(identities[key], distance, calibration.similarity(distance)) for key, distance in best.items()]


def _best_people(
    collection: Collection, vector: NDArray[np.float32], top_k: int, farthest: float, excluded: list[uuid.UUID]
) -> dict[uuid.UUID, float]:
    """The nearest people with the distances of their nearest portraits, in order; at most `top_k`."""
    limit = max(FIRST_ROWS, ROWS_A_PLACE * top_k)
    without = Q(identity_id__in=excluded) if excluded else None
    while True:
        rows = nearest_portraits(collection.pk, collection.active_model, vector, limit, without=without)
        best: dict[uuid.UUID, float] = {}  # more rows may bring nearer ones: a shortlist is ranked anew
        for identity_id, distance in rows:
            if distance <= farthest + 1e-6:
                best.setdefault(identity_id, distance)
        exhausted = len(rows) < limit or rows[-1][1] > farthest
        if len(best) >= top_k or exhausted or limit >= MOST_ROWS:
            return dict(list(best.items())[:top_k])
        limit *= 4


def likeness_to(identity: Identity, collection: Collection, vector: NDArray[np.float32]) -> Candidate | None:
    """How alike a face is to an identity's own portraits, by the nearest of them; None if it has none."""
    rows = PortraitEmbedding.objects.filter(identity=identity, model_id=collection.active_model_id, live=True)
    distance = distance_to(collection.active_model, vector)
    nearest = rows.aggregate(distance=Min(distance))["distance"]
    if nearest is None:
        return None
    return Candidate(identity, float(nearest), calibration_of(collection).similarity(float(nearest)))


def find_identity(principal: Principal, identity_id: str) -> Identity:
    """An identity by id, within the caller's reach.

    Raises:
        NotFoundError: none such.
    """
    try:
        return with_portrait_counts(visible_identities(principal)).get(id=identity_id)
    except (Identity.DoesNotExist, ValidationError, ValueError):
        raise NotFoundError(_whereabouts(principal, identity_id)) from None


def _whereabouts(principal: Principal, identity_id: str) -> str:
    """Why there is nobody with an id that the caller may have had from us."""
    wanted = as_uuid(identity_id)
    gone = Identity.objects.filter(pk=wanted).first() if wanted else None
    if gone is None or not principal.may_reach(gone.collection_id):
        return "There is no such identity."
    if gone.merged_into_id is not None:
        return f"This identity was merged into {gone.merged_into_id}."
    if gone.deleted_at is not None:
        return f"This identity is deleted: POST /api/v1/identities/{gone.pk}/restore brings it back."
    return "There is no such identity."
