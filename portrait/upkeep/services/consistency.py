"""Rows against rows: what is repeated for speed says the same everywhere, and nobody is in two places."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from portrait.gallery.models import Identity, Portrait, PortraitEmbedding
from portrait.sightings.models import Detection, Sighting
from portrait.upkeep.services.runs import StillHere

LISTED = 20
BATCH = 500


@dataclass(frozen=True, slots=True)
class Rule:
    """What must not be found. rows: the rows that break it. repair: mends these, where that can be done."""

    name: str
    rows: Callable[[], "QuerySet[Any]"]
    repair: "Callable[[QuerySet[Any]], int] | None" = None


def _strayed_vectors() -> "QuerySet[PortraitEmbedding]":
    same_owner = Q(identity=F("portrait__identity"), collection=F("portrait__identity__collection"))
    return PortraitEmbedding.objects.exclude(same_owner)


def _wrongly_live() -> "QuerySet[PortraitEmbedding]":
    gone = Q(portrait__deleted_at__isnull=False) | Q(portrait__identity__deleted_at__isnull=False)
    gone |= Q(portrait__identity__merged_into__isnull=False)  # a picture that the target has as well stayed behind
    return PortraitEmbedding.objects.filter((gone & Q(live=True)) | (~gone & Q(live=False)))


def _without_vector() -> "QuerySet[Portrait]":
    made = PortraitEmbedding.objects.filter(
        portrait=OuterRef("pk"), model=OuterRef("identity__collection__active_model")
    )
    return Portrait.objects.filter(~Exists(made))


def _merged_far() -> "QuerySet[Identity]":
    other = ~Q(merged_into__collection=F("collection")) | Q(merged_into__merged_into=F("pk"))
    return Identity.objects.filter(other, merged_into__isnull=False)


def _merged_with_portraits() -> "QuerySet[Identity]":
    """Those but a picture that the target has as well, which stays where it was."""
    same = Portrait.objects.filter(identity=OuterRef("identity__merged_into"), sha256=OuterRef("sha256"))
    left = Portrait.objects.filter(~Exists(same), identity=OuterRef("pk"), deleted_at=None)
    return Identity.objects.filter(Exists(left), merged_into__isnull=False, deleted_at=None)


def _faces_of_others() -> "QuerySet[Detection]":
    return Detection.objects.filter(track__isnull=False).exclude(
        Q(identity=F("track__identity")) | Q(identity=None, track__identity=None)
    )


def _empty_sightings() -> "QuerySet[Sighting]":
    hits = Detection.objects.filter(
        camera=OuterRef("camera"),
        identity=OuterRef("identity"),
        captured_at__gte=OuterRef("first_seen"),
        captured_at__lte=OuterRef("last_seen"),
    )
    return Sighting.objects.filter(~Exists(hits), best__isnull=False)


def _owner_of(row: PortraitEmbedding) -> dict[str, Any]:
    owner = row.portrait.identity
    return {"identity_id": owner.pk, "collection_id": owner.collection_id}


def _live_of(row: PortraitEmbedding) -> dict[str, Any]:
    owner = row.portrait.identity
    return {"live": row.portrait.deleted_at is None and owner.deleted_at is None and owner.merged_into_id is None}


def _mend(values: Callable[[PortraitEmbedding], dict[str, Any]], rows: "QuerySet[Any]") -> int:
    """Bring vectors after their portrait; values: what they should be. Their people are locked, some at a time: whoever
    deletes, moves or merges them has done so before, or waits."""
    keys = rows.order_by("pk").values_list("pk", flat=True)
    mended, after = 0, None
    while some := list(keys[:BATCH] if after is None else keys.filter(pk__gt=after)[:BATCH]):
        after = some[-1]
        with transaction.atomic():
            owners = Portrait.objects.filter(embeddings__in=some).values("identity")
            list(Identity.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=owners).order_by("pk"))
            for row in rows.filter(pk__in=some).select_related("portrait__identity"):
                mended += PortraitEmbedding.objects.filter(pk=row.pk).update(**values(row))
    return mended


RULES = (
    Rule("vectors that are not with their portrait's person", _strayed_vectors, partial(_mend, _owner_of)),
    Rule("vectors that are found though deleted, or the other way round", _wrongly_live, partial(_mend, _live_of)),
    Rule("portraits without a vector of their collection's model", _without_vector),
    Rule("people merged into another collection's, or into each other", _merged_far),
    Rule("merged people who kept portraits", _merged_with_portraits),
    Rule("seen faces that are not their track's person", _faces_of_others),
    Rule("sightings without a face", _empty_sightings),
)


def check(*, still_here: StillHere, repair: bool) -> dict[str, dict[str, Any]]:
    """What each rule found: count, the first ids, and how many were mended."""
    found = {}
    for rule in RULES:
        still_here()
        rows = rule.rows()
        count = rows.count()
        if count:
            ids = [str(key) for key in rows.order_by("pk").values_list("pk", flat=True)[:LISTED]]
            mended = rule.repair(rows) if repair and rule.repair else 0
            found[rule.name] = {"count": count, "ids": ids, "mended": mended}
    return found
