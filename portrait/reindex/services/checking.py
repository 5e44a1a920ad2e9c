"""What is looked at before a collection is searched by other vectors."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import Count, Q

from inference.calibration import DECISION, Calibration
from inference.types import FloatArray
from portrait.gallery.models import Collection, EmbeddingModel, PortraitEmbedding
from portrait.gallery.neighbours import nearest_portraits
from portrait.gallery.vectors import own_calibration
from portrait.reindex import gaps
from portrait.reindex.services import thresholds

SAMPLE = 300
LEAST_SELF_MATCH = 0.99
LEAST_AGREEMENT = 0.95
SAME_PLACE = 1e-6


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of `asked` portraits, each looked for among all others, as if it were new.

    self_match: the share that is found by its own vector. same: the share about whom both models say the same: the
    same identity, or nobody. right: the share to whom a model gives their own identity, of those who have another
    portrait.
    """

    asked: int
    self_match: float | None
    same: float | None
    right_before: float | None
    right_after: float | None


def check(
    collection: Collection, old: EmbeddingModel, new: EmbeddingModel, *, from_pictures: bool = False
) -> dict[str, Any]:
    """The report: what is missing, and how the new vectors answer beside the old."""
    missing = gaps.count_gaps(collection.pk, new, old, from_pictures=from_pictures)
    threshold = thresholds.translated(collection, old, new)
    agreement = agreement_of(collection, old, new, threshold.threshold)
    return {
        "portraits": gaps.portraits_of(collection.pk).order_by().count(),
        "detections": gaps.detections_of(collection.pk).order_by().count(),
        "missing": missing.as_json(),
        "agreement": asdict(agreement),
        "threshold": {"before": collection.threshold, "after": threshold.threshold, "method": threshold.method},
    }


def reasons_against(report: dict[str, Any]) -> list[str]:
    """Why nobody should be searched by the new vectors without a look at the report."""
    missing, agreement = report["missing"], report["agreement"]
    found = []
    if missing["portraits"]:
        found.append(f"{missing['portraits']} portraits have no vector: their pictures cannot be used")
    if agreement["self_match"] is not None and agreement["self_match"] < LEAST_SELF_MATCH:
        found.append(f"only {agreement['self_match']:.1%} of the portraits are found by their own vector")
    if agreement["same"] is not None and agreement["same"] < LEAST_AGREEMENT:
        found.append(f"both models agree about {agreement['same']:.1%} of the portraits only")
    return found


def agreement_of(
    collection: Collection, old: EmbeddingModel, new: EmbeddingModel, new_threshold: float | None
) -> Agreement:
    """Measured on a random sample of the collection's live portraits."""
    people, before = thresholds.vectors_of(collection.pk, old, SAMPLE)
    _, after = thresholds.vectors_of(collection.pk, new, SAMPLE, only=list(people))
    keys = [key for key in people if key in after]
    if not keys:
        return Agreement(0, None, None, None, None)
    farthest = (_threshold(old, collection.threshold), _threshold(new, new_threshold))
    several = _with_several({people[key] for key in keys}, new)
    found_self, same, before_right, after_right, with_others = 0, 0, 0, 0, 0
    for key in keys:
        own = _nearest(collection, new, after[key])
        found_self += own is not None and (own[0] == people[key] or own[1] <= SAME_PLACE)
        one = _named(_nearest(collection, old, before[key], without=key), farthest[0])
        two = _named(_nearest(collection, new, after[key], without=key), farthest[1])
        same += one == two
        if people[key] in several:
            with_others += 1
            before_right += one == people[key]
            after_right += two == people[key]
    asked = len(keys)
    return Agreement(
        asked,
        _share(found_self, asked),
        _share(same, asked),
        _share(before_right, with_others),
        _share(after_right, with_others),
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _threshold(model: EmbeddingModel, own: float | None) -> float:
    curve = own_calibration(model)
    return Calibration(curve.threshold if own is None else own, curve.slope).distance(DECISION)


def _named(found: tuple[UUID, float] | None, farthest: float) -> UUID | None:
    return found[0] if found is not None and found[1] <= farthest else None


def _with_several(people: Iterable[UUID], model: EmbeddingModel) -> set[UUID]:
    """Those of them who have more than one portrait."""
    rows = PortraitEmbedding.objects.filter(identity_id__in=list(people), model=model, live=True)
    counted = rows.order_by().values("identity_id").annotate(count=Count("pk")).filter(count__gt=1)
    return set(counted.values_list("identity_id", flat=True))


def _nearest(
    collection: Collection, model: EmbeddingModel, vector: FloatArray, without: UUID | None = None
) -> tuple[UUID, float] | None:
    """(identity, distance) of the nearest portrait by one model, one portrait left out; as the gallery searches."""
    left_out = None if without is None else Q(portrait_id=without)
    found = nearest_portraits(collection.pk, model, np.asarray(vector, np.float32), 1, without=left_out)
    return next(((who, float(distance)) for who, distance in found), None)
