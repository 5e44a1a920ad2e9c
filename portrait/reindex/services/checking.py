"""What is looked at before a collection is searched by other vectors."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import Count, ExpressionWrapper, FloatField, Value

from inference.calibration import DECISION, Calibration
from inference.types import FloatArray
from portrait.gallery.models import Collection, EmbeddingModel, PortraitEmbedding
from portrait.gallery.selectors import EXACT_BELOW
from portrait.gallery.vectors import distance_to, own_calibration
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
    nearest_before, nearest_after = _Nearest(collection, old), _Nearest(collection, new)
    several = _with_several({people[key] for key in keys}, new)
    found_self, same, before_right, after_right, with_others = 0, 0, 0, 0, 0
    for key in keys:
        own = nearest_after.to(after[key])
        found_self += own is not None and (own[0] == people[key] or own[1] <= SAME_PLACE)
        one = _named(nearest_before.to(before[key], without=key), farthest[0])
        two = _named(nearest_after.to(after[key], without=key), farthest[1])
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


class _Nearest:
    """The live portraits of a collection by one model."""

    def __init__(self, collection: Collection, model: EmbeddingModel) -> None:
        self._model = model
        self._rows = PortraitEmbedding.objects.filter(model_id=model.pk, collection_id=collection.pk, live=True)
        self._few = not self._rows.values("pk")[EXACT_BELOW : EXACT_BELOW + 1].exists()

    def to(self, vector: FloatArray, without: Any = None) -> tuple[UUID, float] | None:
        """(identity, distance) of the nearest, this portrait left out."""
        distance = distance_to(self._model, np.asarray(vector, dtype=np.float32))
        if self._few:  # as the gallery searches
            distance = ExpressionWrapper(distance + Value(0.0), FloatField())
        rows = self._rows if without is None else self._rows.exclude(portrait_id=without)
        found = rows.annotate(distance=distance).order_by("distance").values_list("identity_id", "distance")[:1]
        return next(((row[0], float(row[1])) for row in found), None)
