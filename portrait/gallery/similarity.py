"""Distance -> similarity -> decision. Pure: no database, no settings."""

import math
from dataclasses import dataclass

DECISION = 0.5
"""Similarity from which two faces count as the same person."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic curve: 0.5 at `threshold` (Euclidean distance), steeper with `slope`."""

    threshold: float
    slope: float

    def similarity(self, distance: float) -> float:
        """0..1, falling with distance."""
        exponent = max(-60.0, min(60.0, self.slope * (distance - self.threshold)))
        return 1.0 / (1.0 + math.exp(exponent))

    def distance(self, similarity: float) -> float:
        """The inverse: the distance that has this similarity; 0 and 1 map to the ends of what can be told apart."""
        clipped = min(max(similarity, 1e-12), 1 - 1e-12)
        return max(0.0, self.threshold + math.log(1.0 / clipped - 1.0) / self.slope)
