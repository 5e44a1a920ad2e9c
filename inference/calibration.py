"""What the distance of two faces says: a calibrated similarity. Pure."""

import math
from dataclasses import dataclass

DECISION = 0.5
"""Similarity from which two faces count as the same person."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic curve from Euclidean distance to similarity: 0.5 at `threshold`, steeper with `slope`."""

    threshold: float
    slope: float

    def similarity(self, distance: float) -> float:
        """0..1, falling with the distance."""
        return 0.5 * (1.0 - math.tanh(0.5 * self.slope * (distance - self.threshold)))  # tanh never overflows

    def distance(self, similarity: float) -> float:
        """The inverse: up to this distance faces are at least so similar. At the ends: any distance is similar
        enough for 0 (inf), none is for 1 (-inf)."""
        if similarity <= 0:
            return math.inf
        if similarity >= 1:
            return -math.inf
        return self.threshold + math.log(1 / similarity - 1) / self.slope

    def translated(self, distance: float, to: "Calibration") -> float:
        """The distance at which another model's vectors are as similar as this one's are at `distance`."""
        return to.threshold + (distance - self.threshold) * self.slope / to.slope
