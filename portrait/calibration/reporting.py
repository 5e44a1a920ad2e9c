"""What is told of a measurement: the threshold for a false-match rate, how sure it is, and what it costs. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any
from uuid import UUID

import numpy as np

from inference.calibration import Calibration
from portrait.calibration.measuring import Measured, Pairs
from portrait.calibration.rates import (
    RULE_OF_THIRTY,
    RULE_OF_THREE,
    Indexes,
    Rate,
    design_effect,
    people_for,
    rate,
    threshold_at,
)
from portrait.calibration.sampling import Bounds, Nearest, Sample

LEAST_PEOPLE, LEAST_GENUINE = 10, 30
"""With two different portraits each, and pairs of them: without these nothing is known of genuine faces."""
SMALL_GROUP = 30
MOST_GROUPS = 12
MOST_SUSPECTS = 200
QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)


class TooLittleDataError(Exception):
    """The rate cannot be shown with this collection; the message says what it would take."""


@dataclass(frozen=True, slots=True)
class _At:
    """What the intervals of a report have in common."""

    sample: Sample
    effect: float
    seed: int


def report(
    sample: Sample,
    measured: Measured,
    *,
    nearest: Sequence[Nearest] = (),
    fmr: float,
    calibration: Calibration,
    seed: int,
    bounds: Bounds = Bounds(),  # noqa: B008  (frozen)
) -> dict[str, Any]:
    """What is told of a measurement, and the threshold for a false-match rate, as JSON.

    nearest: for some of the people the nearest face of anybody else in the whole collection. bounds: of the sample.

    Raises:
        TooLittleDataError: the rate cannot be shown with so few people.
    """
    effect = _effect(sample, measured.impostors, fmr, seed)
    _require_enough(sample, measured, fmr, effect, bounds)
    threshold = floor(threshold_at(measured.impostors.distances, fmr) * 1e6) / 1e6  # never beyond the next impostor
    at = _At(sample, effect, seed)
    false_matches = _false_matches(measured.impostors, threshold, at)
    now = _false_matches(measured.impostors, calibration.threshold, at)
    curve = Calibration(threshold, calibration.slope)
    return {
        "threshold": threshold,
        "fmr": {"wanted": fmr} | told(false_matches),
        "fnmr": told(_missed(sample, measured.genuine, threshold, seed)),
        "now": {
            "threshold": round(calibration.threshold, 5),
            "fmr": told(now),
            "fnmr": told(_missed(sample, measured.genuine, calibration.threshold, seed)),
        },
        "people": {"known": sample.known, "sampled": len(sample.people), "faces": len(sample.owners)},
        "pairs": _counts(measured),
        "design_effect": round(effect, 3),
        "distances": {"genuine": _quantiles(measured.genuine), "impostor": _quantiles(measured.impostors)},
        "similarity": _similarities(curve, measured),
        "identification": _identification(measured, nearest, threshold),
        "suspects": _suspects(sample, measured, nearest),
        "groups": groups_report(sample, measured, threshold=threshold, effect=effect, seed=seed),
        "warnings": _warnings(measured, fmr, threshold, false_matches),
        "method": METHOD,
    }


METHOD = (
    "One comparison a pair of people; the threshold is the quantile of impostor distances. Intervals: 95 %, Wilson's "
    "with the number of independent comparisons that these are worth, by resampling people (Snijders and Borgatti "
    "1999; Bolle, Ratha and Pankanti 2004; Korn and Graubard 1998). How many it takes at least: the rule of "
    "three (Hanley and Lippman-Hand 1983)."
)


def _effect(sample: Sample, impostors: Pairs, fmr: float, seed: int) -> float:
    """The design effect at the rate that is wanted; where that is too few errors to tell, at thirty."""
    if len(impostors.distances) < 2:
        return 1.0
    share = max(fmr, min(0.5, RULE_OF_THIRTY / len(impostors.distances)))
    hits = impostors.distances <= threshold_at(impostors.distances, share)
    return max(1.0, design_effect(hits, impostors.first, impostors.second, len(sample.people), seed=seed))


def _require_enough(sample: Sample, measured: Measured, fmr: float, effect: float, bounds: Bounds) -> None:
    pictured = len(np.unique(measured.genuine.first))
    if pictured < LEAST_PEOPLE or len(measured.genuine.distances) < LEAST_GENUINE:
        raise TooLittleDataError(
            f"Only {pictured} known people have two different portraits ({len(measured.genuine.distances)} pairs): at "
            f"least {LEAST_PEOPLE} with {LEAST_GENUINE} pairs are needed to know how far apart the faces of one person "
            "are."
        )
    worth = len(measured.impostors.distances) / effect
    if worth < RULE_OF_THREE / fmr:
        raise TooLittleDataError(
            f"A false-match rate of {fmr:g} cannot be shown with {len(sample.people)} people: their "
            f"{len(measured.impostors.distances)} pairs are worth {worth:.0f} independent comparisons, and it takes "
            f"{RULE_OF_THREE / fmr:.0f} (rule of three). {_what_helps(fmr, effect, bounds)} With these people ask for "
            f"{_rounded_up(RULE_OF_THREE / max(worth, 1))} or more."
        )


def _what_helps(fmr: float, effect: float, bounds: Bounds) -> str:
    """More people, as long as that many are looked at."""
    people = people_for(fmr, effect)
    if people <= bounds.people and RULE_OF_THREE * effect / fmr <= bounds.pairs:
        return f"About {people} people would do."
    least = RULE_OF_THREE * effect / min(bounds.pairs, bounds.people * (bounds.people - 1) // 2)
    return (
        f"More people would not help: a calibration looks at {bounds.pairs} pairs of {bounds.people} people at most, "
        f"which show about {_rounded_up(least)} or more."
    )


def _rounded_up(rate: float) -> str:
    """To two figures, never below: who asks for what is told is not refused for the rounding."""
    step = 10.0 ** (floor(log10(rate)) - 1)
    return f"{ceil(rate / step - 1e-9) * step:.2g}"


def _false_matches(pairs: Pairs, threshold: float, at: _At) -> Rate:
    hits = pairs.distances <= threshold
    return rate(hits, pairs.first, pairs.second, len(at.sample.people), effect=at.effect, seed=at.seed)


def _missed(sample: Sample, pairs: Pairs, threshold: float, seed: int) -> Rate:
    hits = pairs.distances > threshold
    return rate(hits, pairs.first, None, len(sample.people), effect=1.0, seed=seed)


def told(found: Rate) -> dict[str, Any]:
    return {
        "rate": float(f"{found.value:.4g}"),
        "low": float(f"{found.low:.4g}"),
        "high": float(f"{found.high:.4g}"),
        "errors": found.errors,
        "comparisons": found.comparisons,
        "worth": round(found.worth, 1),
    }


def _counts(measured: Measured) -> dict[str, Any]:
    return {
        "genuine": len(measured.genuine.distances),
        "genuine_people": len(np.unique(measured.genuine.first)),
        "same_shot": measured.same_shot,
        "impostor": len(measured.impostors.distances),
        "all_pairs_of_people": measured.all_pairs,
        "suspects": len(measured.suspects.distances),
        "alike": len(measured.alike.distances),
    }


def _quantiles(pairs: Pairs) -> dict[str, float]:
    return {f"{share:g}": round(float(np.quantile(pairs.distances, share)), 4) for share in QUANTILES}


def _similarities(curve: Calibration, measured: Measured) -> dict[str, float]:
    """What callers would read with this threshold and the model's slope."""
    genuine, impostors = measured.genuine.distances, measured.impostors.distances
    return {
        "slope": curve.slope,
        "genuine_median": round(curve.similarity(float(np.median(genuine))), 4),
        "genuine_worst_5_percent": round(curve.similarity(float(np.quantile(genuine, 0.95))), 4),
        "impostor_nearest_1_percent": round(curve.similarity(float(np.quantile(impostors, 0.01))), 4),
        "impostor_median": round(curve.similarity(float(np.median(impostors))), 4),
    }


def _like_one(measured: Measured, nearest: Sequence[Nearest]) -> list[Nearest]:
    """Neighbours who look like the same person under two names: the nearest of many is near by chance too, so that it
    counts as such only where it is among the nearest genuine pairs. Told, and not taken out of any count."""
    usual = float(np.quantile(measured.genuine.distances, 0.25))
    return [each for each in nearest if each.distance <= usual and not each.distinct]


def _identification(measured: Measured, nearest: Sequence[Nearest], threshold: float) -> dict[str, Any] | None:
    """How many people would be taken for somebody else if they were not enrolled: the hardest impostors there are.

    perhaps_one_person: how many of the errors may be none, because the two look like one person; all are counted.
    """
    if not nearest:
        return None
    distances = np.array([each.distance for each in nearest])
    people = np.arange(len(nearest))
    found = rate(distances <= threshold, people, None, len(nearest), effect=1.0, seed=0)
    perhaps = sum(each.distance <= threshold for each in _like_one(measured, nearest))
    median = round(float(np.median(distances)), 4)
    return told(found) | {"nearest_stranger_median": median, "perhaps_one_person": perhaps}


def _suspects(sample: Sample, measured: Measured, nearest: Sequence[Nearest]) -> list[dict[str, Any]]:
    """counted: the pair is among the impostors all the same."""
    found = dict[tuple[str, str], tuple[float, bool]]()
    for pairs, counted in ((measured.suspects, False), (measured.alike, True)):
        for one, two, distance in zip(pairs.first, pairs.second, pairs.distances, strict=True):
            found[_pair(sample.people[one], sample.people[two])] = float(distance), counted
    for each in _like_one(measured, nearest):
        found.setdefault(_pair(each.person, each.other), (each.distance, True))
    ordered = sorted(found.items(), key=lambda item: item[1])[:MOST_SUSPECTS]
    return [
        {"first": one, "second": two, "distance": round(distance, 4), "counted": counted}
        for (one, two), (distance, counted) in ordered
    ]


def _pair(one: UUID, two: UUID) -> tuple[str, str]:
    first, second = sorted((one, two))
    return str(first), str(second)


def _warnings(measured: Measured, fmr: float, threshold: float, found: Rate) -> list[str]:
    warnings = []
    suspects = int((measured.suspects.distances <= threshold).sum())
    if suspects:
        with_them = (found.errors + suspects) / (found.comparisons + suspects)
        warnings.append(
            f"{len(measured.suspects.distances)} pairs of people look like one person and were left out (see "
            f"`suspects`): with them as impostors the rate would be {with_them:.2g}. Look at them first: merge them, "
            "or say that they are two."
        )
    if len(measured.alike.distances):
        warnings.append(_alike_warning(measured, fmr))
    if found.worth < RULE_OF_THIRTY / fmr:
        warnings.append(
            f"The rate is rough: {RULE_OF_THIRTY / fmr:.0f} independent comparisons would tell it to a third (rule of "
            f"30), there are {found.worth:.0f}."
        )
    return warnings


def _alike_warning(measured: Measured, fmr: float) -> str:
    kept = ~np.isin(_numbers(measured.impostors), _numbers(measured.alike))
    without = threshold_at(measured.impostors.distances[kept], fmr)
    return (
        f"{len(measured.alike.distances)} pairs look like one person by a single portrait (see `suspects`, counted). "
        "One portrait does not tell a duplicate from a stranger, so they count as false matches. Merge those that are "
        f"one: were all of them, the threshold would be {without:.4f}."
    )


def _numbers(pairs: Pairs) -> Indexes:
    """A number for each pair of people."""
    return (pairs.first << 32) | pairs.second


def groups_report(
    sample: Sample, measured: Measured, *, threshold: float, effect: float, seed: int
) -> list[dict[str, Any]]:
    """By group: false matches within it, and with the others, and its missed matches. Small groups say so."""
    names = sorted({name for name in sample.groups if name is not None})
    sizes = {name: sample.groups.count(name) for name in names}
    names = sorted(names, key=lambda name: (-sizes[name], name))[:MOST_GROUPS]
    number = {name: index for index, name in enumerate(names)}
    mine = np.array([number.get(name or "", -1) for name in sample.groups], dtype=np.int64)
    at = _At(sample, effect, seed)
    rows = []
    for name, index in number.items():
        first, second = mine[measured.impostors.first] == index, mine[measured.impostors.second] == index
        within = _false_matches(measured.impostors.keep(first & second), threshold, at)
        between = _false_matches(measured.impostors.keep(first ^ second), threshold, at)
        missed = _missed(sample, measured.genuine.keep(mine[measured.genuine.first] == index), threshold, seed)
        rows.append(
            {
                "group": name,
                "people": sizes[name],
                "small": sizes[name] < SMALL_GROUP,
                "fmr_within": told(within),
                "fmr_with_others": told(between),
                "fnmr": told(missed),
            }
        )
    return rows
