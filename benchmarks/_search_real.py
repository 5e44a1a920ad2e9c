"""Takes the figures of real faces that the synthetic ones are set by: `_search_population.MEASURED`.

    python -m benchmarks._search_real

Needs the built models and the photos of ../shared. Nothing of a face is kept: figures only.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import skimage
from numpy.typing import NDArray

from benchmarks._frames_clip import clip
from benchmarks._search_population import DIMS, Population
from benchmarks.faces import pipeline
from inference.codec import decode
from inference.local import LocalClient
from inference.types import Box, Face, Image
from portrait.demo.photos import built_in
from portrait.env import BASE_DIR, read_environment

Vectors = NDArray[np.float32]
PEOPLE = BASE_DIR.parent / "shared" / "data" / "people"
COCO = BASE_DIR.parent / "shared" / "data" / "coco"
# (file, face by size): pictures of one person each, no two of them the same photo.
SAME: tuple[tuple[tuple[str, int], ...], ...] = (
    (("obama.jpg", 0), ("obama2.jpg", 0), ("obama_and_biden.jpg", 1), ("two_people.jpg", 1)),
    (("biden.jpg", 0), ("biden2.jpg", 0), ("obama_and_biden.jpg", 0)),
)
OTHERS = (("alex-lacamoire.png", 0), ("lin-manuel-miranda.png", 0), ("obama_and_biden.jpg", 2))
QUANTILES = (5, 50, 95)
LEAST_TRACK, SAME_BOX, LOST_AFTER = 5, 0.4, 5


class Faces:
    """The default pipeline, in this process."""

    def __init__(self) -> None:
        self._pipeline = pipeline(LocalClient(read_environment().models_dir))

    def of(self, image: Image) -> tuple[Face, ...]:
        return self._pipeline.analyse([image])[0].faces

    def of_file(self, path: Path) -> tuple[Face, ...]:
        return self.of(decode(path.read_bytes()))


def vectors(faces: Sequence[Face]) -> Vectors:
    return np.array([face.embedding.vector for face in faces], np.float32).reshape(-1, DIMS)


def photos(faces: Faces) -> tuple[list[Vectors], Vectors]:
    """Several pictures each of some people, and one good picture each of different people."""
    found = {path.name: faces.of_file(path) for path in sorted(PEOPLE.glob("*.*g"))}
    same = [vectors([found[name][number] for name, number in person]) for person in SAME]
    one = [found[name][number] for name, number in OTHERS]
    for path in sorted(COCO.glob("*.jpg")):
        one += [face for face in faces.of_file(path) if face.quality.acceptable]
    one += [faces.of(decode(pictures[0].data))[0] for pictures in built_in().people.values()]
    return same, np.concatenate([vectors(one), *(person[:1] for person in same)])


def small_faces(faces: Faces) -> Vectors:
    """scikit-image's faces of LFW, 25 pixels wide, enlarged and framed: one each of different people."""
    found = []
    for picture in np.load(Path(skimage.__file__).parent / "data" / "lfw_subset.npy")[:100]:
        large = cv2.resize((255 * picture).clip(0, 255).astype(np.uint8), (200, 200), interpolation=cv2.INTER_CUBIC)
        framed = cv2.copyMakeBorder(large, 100, 100, 100, 100, cv2.BORDER_REPLICATE)
        found += faces.of(np.ascontiguousarray(np.stack([framed] * 3, axis=-1)))[:1]
    return vectors(found)


def poor_tracks(faces: Faces) -> list[Vectors]:
    """Tracks of the clip (faces in the same place, frame after frame) whose pictures are mostly no good portraits."""
    tracks: list[list[tuple[int, Face]]] = []
    for number, data in enumerate(clip().frames):
        for face in faces.of(decode(data)):
            for track in tracks:
                last, seen = track[-1]
                if 0 < number - last <= LOST_AFTER and _overlap(face.box, seen.box) > SAME_BOX:
                    track.append((number, face))
                    break
            else:
                tracks.append([(number, face)])
    long = [[face for _, face in track] for track in tracks if len(track) >= LEAST_TRACK]
    return [vectors(track) for track in long if np.mean([face.quality.acceptable for face in track]) < 0.2]


def _overlap(one: Box, two: Box) -> float:
    wide = min(one.x + one.width, two.x + two.width) - max(one.x, two.x)
    high = min(one.y + one.height, two.y + two.height) - max(one.y, two.y)
    shared = max(0.0, wide) * max(0.0, high)
    return shared / (one.area + two.area - shared)


def between(rows: Vectors) -> list[float]:
    """Quantiles of the distances of all pairs."""
    return _quantiles(np.array([np.linalg.norm(a - b) for a, b in itertools.combinations(rows, 2)]))


def _quantiles(values: NDArray[np.floating]) -> list[float]:
    return [round(float(value), 3) for value in np.percentile(values, QUANTILES)]


def participation(rows: Vectors, freedom: int) -> float:
    """In how many directions rows (n, DIMS), centred, vary: trace(C)^2 / trace(C^2), without the bias of few rows.

    Source: the unbiased estimate of trace(C^2) for normal data (M. S. Srivastava, J. Japan Statist. Soc. 35, 2005).
    """
    covariance = rows.T.astype(np.float64) @ rows / freedom
    trace, squares = np.trace(covariance), np.sum(covariance**2)
    squares = (squares - trace**2 / freedom) * freedom**2 / ((freedom - 1) * (freedom + 2))
    return round(float(trace**2 / squares), 1)


def figures(same: Sequence[Vectors], one: Vectors, small: Vectors, poor: Sequence[Vectors]) -> dict[str, object]:
    """What `MEASURED` holds. one: good photos; small: enlarged faces; of different people each."""
    several = [np.linalg.norm(a - b) for person in same for a, b in itertools.combinations(person, 2)]
    singles = np.concatenate([one, small])
    centre = singles.mean(axis=0)
    axes = np.linalg.svd(singles - centre, full_matrices=False)[2][:16]
    within = np.concatenate([person - person.mean(axis=0) for person in same])
    means = np.array([track.mean(axis=0) for track in poor])
    return {
        "distances, quantiles of %": list(QUANTILES),
        "one person's photos": _quantiles(np.array(several)),
        "two people's photos": between(one),
        "two people's small faces": between(small),
        "two people's poor faces": between(np.array([track[0] for track in poor])),
        "photo to poor face": _quantiles(np.linalg.norm(one[:, None] - means, axis=2)),
        "length of a vector": _quantiles(np.linalg.norm(singles, axis=1)),
        "length of the mean": round(float(np.linalg.norm(centre)), 3),
        "from the mean: photos": _quantiles(np.linalg.norm(one - centre, axis=1)),
        "from the mean: small faces": _quantiles(np.linalg.norm(small - centre, axis=1)),
        "mean of poor faces from the mean": round(float(np.linalg.norm(means.mean(axis=0) - centre)), 3),
        "directions in which people differ": participation(singles - centre, len(singles) - 1),
        "of one person's variance, along people's first 16 axes": round(
            float(np.sum((within @ axes.T) ** 2) / np.sum(within**2)), 3
        ),
        "pictures": {"photos": len(one), "small": len(small), "poor tracks": len(poor)},
    }


def main() -> None:
    faces = Faces()
    same, one = photos(faces)
    print(json.dumps(figures(same, one, small_faces(faces), poor_tracks(faces)), indent=2))
    print("\nSynthetic, as many and more of each:")
    print(json.dumps(figures(*Population().samples()), indent=2))


if __name__ == "__main__":
    main()
