"""Error rates of comparisons that share people, and how sure they are. Pure.

A rate over pairs of people is no binomial share: one person takes part in many pairs. Its variance is estimated by
resampling people and not pairs (Snijders and Borgatti, "Non-parametric standard errors and tests for network
statistics", Connections 22, 1999; for biometrics: Bolle, Ratha and Pankanti, "Error analysis of pattern recognition
systems: the subsets bootstrap", CVIU 93, 2004). Against the variance of as many independent pairs that gives the
design effect, and so the number of independent pairs that these are worth. The interval is Wilson's (JASA 22, 1927)
with that number, as Korn and Graubard (Survey Methodology 24, 1998) do it with Clopper and Pearson's. How many
comparisons a rate needs at least is the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983).
"""

from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RULE_OF_THREE = 3.0
"""-ln(0.05): without an error in n trials the rate is below 3/n at 95 %, one-sided."""
RULE_OF_THIRTY = 30
"""Errors to be seen for a rate that is known to 30 % at 90 % (Doddington et al., Speech Communication 31, 2000)."""
RESAMPLES = 300
Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]
Hits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of comparisons, with its 95 % interval. worth: of how many independent comparisons."""

    errors: int
    comparisons: int
    worth: float
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.errors / self.comparisons if self.comparisons else 0.0


def wilson(share: float, count: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share of `count` trials, which need not be whole."""
    if count <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def rate(hits: Hits, first: Indexes, second: Indexes | None, people: int, *, effect: float, seed: int) -> Rate:
    """The share of hits, each of a comparison of person `first` with `second` (None: with themselves).

    first, second: indexes below `people`, one a comparison. effect: the least design effect that is believed.
    """
    count, errors = len(hits), int(hits.sum())
    if not count:
        return Rate(0, 0, 0.0, 0.0, 1.0)
    worth = count / max(effect, design_effect(hits, first, second, people, seed=seed))
    return Rate(errors, count, worth, *wilson(errors / count, worth))


def design_effect(hits: Hits, first: Indexes, second: Indexes | None, people: int, *, seed: int) -> float:
    """The variance of the share when people are drawn anew, over that of independent comparisons; 1 where no error,
    or nothing but errors, was seen."""
    share, count = float(hits.mean()) if len(hits) else 0.0, len(hits)
    if share in (0.0, 1.0):
        return 1.0
    rng = np.random.default_rng(seed)
    shares = []
    for _ in range(RESAMPLES):
        drawn = np.bincount(rng.integers(0, people, people), minlength=people)
        weight = drawn[first] if second is None else drawn[first] * drawn[second]
        total = float(weight.sum())
        if total:
            shares.append(float(weight[hits].sum()) / total)
    return float(np.var(shares)) / (share * (1 - share) / count) if len(shares) > 1 else 1.0


def people_for(fmr: float, effect: float) -> int:
    """How many people have as many pairs as a false-match rate needs by the rule of three."""
    pairs = RULE_OF_THREE * max(1.0, effect) / fmr
    return ceil((1 + sqrt(1 + 8 * pairs)) / 2)


def threshold_at(impostors: Floats, fmr: float) -> float:
    """The largest distance at which at most this share of impostors is nearer: half-way to the next of them."""
    ordered = np.sort(impostors)
    errors = int(fmr * len(ordered) + 1e-9)
    if errors == 0:
        return float(ordered[0]) - 1e-6
    return float(ordered[errors - 1] + ordered[min(errors, len(ordered) - 1)]) / 2
