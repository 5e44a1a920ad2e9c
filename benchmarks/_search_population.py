"""Synthetic faces that lie as real ones do, and the figures of real ones that this is set by.

`MEASURED` was taken with `python -m benchmarks._search_real`: the default pipeline (CenterFace, dlib's ResNet) on the
demo's photos, those of ../shared (photos of public figures with several pictures a person, the clip, COCO), and the 100
small faces that scikit-image carries. Only figures are kept. What they say, and how a picture is therefore drawn:

    picture = mean + shift * blur + sharpness * (person + difficulty * deviation)

- All faces share a long mean vector; people differ in about 30 directions, not in 128 and not in all alike (the
  participation ratio of the covariance, estimated without bias): a power law over the axes. `person` is normal with it.
- Pictures of one person differ in about as many directions, of which few are those that people differ in: `deviation`
  lies for `ALIGNED` of its energy along the people's axes, for the rest along others.
- Some pictures of a person are harder than others: `difficulty` is log-normal.
- Small and blurred faces say less: they are all moved the same way (`shift`, along one direction) and lie nearer to
  one another (`sharpness` below 1), whoever they show. `QUALITIES`: photos; small faces, as the enlarged ones; poor
  ones, as the clip's blurred tracks, of which some get into every collection.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

DIMS = 128
PORTRAITS_A_PERSON = 5
CHUNK_PEOPLE = 4_000

MEASURED: dict[str, object] = {
    "distances, quantiles of %": [5, 50, 95],
    "one person's photos": [0.373, 0.415, 0.438],
    "two people's photos": [0.629, 0.842, 0.953],
    "two people's small faces": [0.574, 0.711, 0.858],
    "two people's poor faces": [0.268, 0.559, 0.738],
    "photo to poor face": [0.634, 0.763, 0.874],
    "length of a vector": [1.298, 1.384, 1.493],
    "length of the mean": 1.29,
    "from the mean: photos": [0.52, 0.614, 0.666],
    "from the mean: small faces": [0.437, 0.495, 0.584],
    "mean of poor faces from the mean": 0.389,
    "directions in which people differ": 29.3,
    "of one person's variance, along people's first 16 axes": 0.302,
    "pictures": {"photos": 12, "small": 81, "poor tracks": 14},
}
SYNTHETIC: dict[str, object] = {
    "distances, quantiles of %": [5, 50, 95],
    "one person's photos": [0.329, 0.429, 0.567],
    "two people's photos": [0.688, 0.824, 1.016],
    "two people's small faces": [0.598, 0.721, 0.887],
    "two people's poor faces": [0.413, 0.494, 0.604],
    "photo to poor face": [0.631, 0.74, 0.89],
    "length of a vector": [1.339, 1.421, 1.515],
    "length of the mean": 1.308,
    "from the mean: photos": [0.491, 0.585, 0.732],
    "from the mean: small faces": [0.423, 0.514, 0.621],
    "mean of poor faces from the mean": 0.271,
    "directions in which people differ": 34.4,
    "of one person's variance, along people's first 16 axes": 0.435,
    "pictures": {"photos": 400, "small": 400, "poor tracks": 400},
}
"""The same of this population, by the same code: 400 people."""

MEAN_LENGTH = 1.30
BETWEEN, WITHIN = 0.26, 0.0925
"""Variance of `person` and of `deviation`: 0.839 and 0.43, the measured median distances, squared and halved."""
BETWEEN_SPECTRUM, WITHIN_SPECTRUM = (1.2, 3.0), (1.3, 3.0)
"""(a, k): the k-th axis has variance in proportion to (k + k0) ** -a."""
ALIGNED = 0.25
DIFFICULTY = 0.15
Quality = tuple[float, float, float]
QUALITIES: tuple[Quality, Quality, Quality] = ((1.0, 0.0, 0.75), (0.87, 0.12, 0.20), (0.6, 0.33, 0.05))
"""(sharpness, shift, share of the pictures): photos, small faces, poor pictures."""


def _spectrum(exponent: float, offset: float, variance: float) -> Vectors:
    """Standard deviations along the axes, (DIMS,)."""
    shape = (np.arange(DIMS) + offset) ** -exponent
    return np.sqrt(variance * shape / shape.sum()).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Population:
    """People in any number, always the same ones of a seed."""

    seed: int = 5

    def people(self, count: int) -> Iterator[Vectors]:
        """Chunks (n, DIMS) of what is each person's own, `count` in all."""
        scale = _spectrum(*BETWEEN_SPECTRUM, BETWEEN)
        for number, first in enumerate(range(0, count, CHUNK_PEOPLE)):
            random = np.random.default_rng([self.seed, 1, number])
            yield random.standard_normal((min(CHUNK_PEOPLE, count - first), DIMS), np.float32) * scale

    def pictures(
        self, people: Vectors, each: int, random: np.random.Generator, qualities: Sequence[Quality] = QUALITIES
    ) -> Vectors:
        """New pictures of people (n, DIMS); float32 (n, each, DIMS)."""
        scale, shape = _spectrum(*WITHIN_SPECTRUM, WITHIN), (len(people), each)
        along = random.standard_normal((*shape, DIMS), np.float32) * (scale * np.float32(ALIGNED**0.5))
        across = random.standard_normal((*shape, DIMS), np.float32) * (scale * np.float32((1 - ALIGNED) ** 0.5))
        difficulty = random.lognormal(0, DIFFICULTY, (*shape, 1)).astype(np.float32)
        sharpness, shift, shares = np.array(qualities, np.float32).T
        quality = random.choice(len(shares), (*shape, 1), p=shares / shares.sum())
        rows = people[:, None] + difficulty * (along + across @ self._other_axes())
        return self._direction(5) * MEAN_LENGTH + self._direction(7) * shift[quality] + sharpness[quality] * rows

    def portraits(self, count: int) -> Iterator[Vectors]:
        """Chunks (people, PORTRAITS_A_PERSON, DIMS) of what is enrolled, `count` pictures in all."""
        for number, people in enumerate(self.people(count // PORTRAITS_A_PERSON)):
            yield self.pictures(people, PORTRAITS_A_PERSON, np.random.default_rng([self.seed, 2, number]))

    def probes(self, enrolled: int, count: int, every: int = 1, draw: int = 0) -> tuple[Vectors, NDArray[np.int64]]:
        """New pictures (count, DIMS) of people out of those with `enrolled` portraits, and who they are (count,).

        every: only the first of so many people, and each after as many more. draw: another number, other probes: what
        is tuned or warmed up on some is told of others.
        """
        random = np.random.default_rng([self.seed, 3, enrolled, every, *([draw] if draw else [])])
        people = np.concatenate(list(self.people(enrolled // PORTRAITS_A_PERSON)))
        chosen = every * random.integers(0, len(people) // every, count)
        return self.pictures(people[chosen], 1, random)[:, 0], chosen

    def strangers(self, count: int) -> Vectors:
        """Pictures (count, DIMS) of people whom nobody enrolled, one each."""
        random = np.random.default_rng([self.seed, 4])
        scale = _spectrum(*BETWEEN_SPECTRUM, BETWEEN)
        return self.pictures(random.standard_normal((count, DIMS), np.float32) * scale, 1, random)[:, 0]

    def samples(self, count: int = 400) -> tuple[list[Vectors], Vectors, Vectors, list[Vectors]]:
        """What `_search_real` measures of photos: several pictures of a person each, and people's photos, small
        faces and poor tracks."""
        random = np.random.default_rng([self.seed, 8])
        people = next(self.people(count))

        def of(quality: tuple[float, float, float], each: int) -> Vectors:
            return self.pictures(people, each, random, (quality,))

        photo, small, poor = QUALITIES
        return list(of(photo, 4)), of(photo, 1)[:, 0], of(small, 1)[:, 0], list(of(poor, 3))

    def _direction(self, number: int) -> Vectors:
        direction = np.random.default_rng([self.seed, number]).standard_normal(DIMS)
        return np.asarray(direction / np.linalg.norm(direction), np.float32)

    def _other_axes(self) -> Vectors:
        turn = np.linalg.qr(np.random.default_rng([self.seed, 6]).standard_normal((DIMS, DIMS)))[0]
        return turn.astype(np.float32)
