"""What do our segmentation and captions cost, beside the bare networks and beside transformers?

    python -m benchmarks.scenes [--short] [memory] [segment] [caption] [transformers] [http]

YOLACT resnet50 and BLIP base with random weights of the published sizes, on a real site (web server, PostgreSQL, Redis,
Triton) on this machine. Every side may use all cores. Captions are forced to `LENGTH` tokens, as random weights end
anywhere. Making the models takes minutes; with PORTRAIT_BENCH_VAR set, its folder keeps them for the next run.
`--short` only tries whether everything runs, and writes no results.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import urllib3

from benchmarks import _frames_site
from benchmarks._frames_memory import pss_mb
from benchmarks._frames_site import Bench
from benchmarks._measure import Ratio, compare, cycle, median_ms, rate, report
from benchmarks._scenes_bare import BareCaptioner, BareSegmenter, Transformers
from benchmarks._scenes_models import CAPTIONER, HUGGING_FACE, SEGMENTER, made, photos
from inference.codec import decode
from inference.config import spec_from_json
from inference.scenes.caption import Captioner
from inference.scenes.masks import squashed
from inference.scenes.rle import mask_to_rle
from inference.scenes.segment import Segmenter
from inference.triton import TritonClient
from inference.types import CaptionSettings
from portrait.env import BASE_DIR

CORES = os.cpu_count() or 1
LENGTH = 20
SEVERAL = 4
SETTLES_S = 40
MOST_OF_GREEDY = 1.2
"""Three beams may take so many times greedy's time."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the parts share."""

    bench: Bench
    models: Path
    client: TritonClient
    rounds: int
    seconds: float
    compared: int
    """So many captions are compared with those of transformers."""

    def spec(self, name: str):
        return spec_from_json(self.client.parameters(name)["portrait.spec"])

    def ratio(
        self,
        name: str,
        ours: Callable[[], int],
        other: Callable[[], int],
        *,
        callers: int = 1,
        other_callers: int = 1,
        bound: float | None = None,
    ) -> Ratio:
        return compare(
            name,
            lambda: rate(ours, callers=callers, seconds=self.seconds),
            lambda: rate(other, callers=other_callers, seconds=self.seconds),
            rounds=self.rounds,
            bound=bound,
        )


Part = Callable[[Setting], tuple[list[Ratio], dict[str, object]]]


def memory(setting: Setting) -> tuple[list[Ratio], dict[str, object]]:
    """PSS of the Triton processes: without the networks of scenes, with each loaded, and after it has worked."""
    for name in (SEGMENTER, CAPTIONER):
        setting.client.unload(name)
    found = {"without networks of scenes": settled_mb(setting)}
    works = {SEGMENTER: lambda: objects_of(setting), CAPTIONER: lambda: captions_of(setting, beams=3, several=SEVERAL)}
    for name, work in works.items():
        setting.client.load(name)
        found[f"{name} loaded"] = settled_mb(setting)
        called = work()
        for _ in range(4):
            called()
        found[f"{name} after work"] = settled_mb(setting)
        setting.client.unload(name)
        found[f"{name} unloaded again"] = settled_mb(setting)
    for name in works:
        setting.client.load(name)
    return [], {"memory of Triton, MB (PSS)": found}


def settled_mb(setting: Setting) -> int:
    """Triton's memory, once it no longer changes: a model that is unloaded goes a while after the answer."""
    pid, before = setting.bench.pids()["triton"], -1.0
    for _ in range(SETTLES_S // 2):
        time.sleep(2)
        now = pss_mb(pid)
        if abs(now - before) < 2:
            break
        before = now
    return round(now)


def objects_of(setting: Setting) -> Callable[[], int]:
    """A photo's JPEG -> objects with COCO RLE."""
    network, take = Segmenter(setting.client, setting.spec(SEGMENTER)), cycle(photos())

    def work() -> int:
        for each in network.segment(decode(take())):
            mask_to_rle(each.mask)
        return 1

    return work


def captions_of(setting: Setting, *, beams: int, several: int = 1) -> Callable[[], int]:
    """Photos' JPEG -> captions, `several` a call."""
    network, take = Captioner(setting.client, setting.spec(CAPTIONER)), cycle(photos())
    settings = CaptionSettings(num_beams=beams, min_length=LENGTH, max_length=LENGTH)

    def work() -> int:
        return len(network.caption([decode(take()) for _ in range(several)], settings))

    return work


def bare_objects(setting: Setting) -> Callable[[], int]:
    bare = BareSegmenter(setting.models / SEGMENTER, setting.spec(SEGMENTER).size_px, photos())
    take = cycle(bare.inputs)
    return lambda: len(bare.run(take())[0])


@lru_cache(maxsize=1)
def bare_captioner(folder: Path) -> BareCaptioner:
    """One for all parts: it holds a gigabyte."""
    return BareCaptioner(folder, photos())


def bare_captions(setting: Setting, beams: int) -> Callable[[], int]:
    bare = bare_captioner(setting.models / CAPTIONER)
    take = cycle(bare.inputs)
    return lambda: len(bare.run(take(), beams=beams, steps=LENGTH - 1)) // (LENGTH - 1)


def segment(setting: Setting) -> tuple[list[Ratio], dict[str, object]]:
    """Photos to objects, over the network alone."""
    ours, bare = objects_of(setting), bare_objects(setting)
    ratios = [
        setting.ratio(
            f"{SEGMENTER} photos/s, JPEG to RLE: Triton, {callers} caller(s) / bare session.run",
            ours,
            bare,
            callers=callers,
            bound=bound,
        )
        for callers, bound in ((1, None), (2, 0.85))
    ]
    network = Segmenter(setting.client, setting.spec(SEGMENTER))
    images = [decode(data) for data in photos()]
    found = [network.segment(image) for image in images]
    size, masks = network.spec.size_px, found[0]
    parts = {
        "decode": median_ms(lambda: decode(photos()[0]), 5),
        "squash": median_ms(lambda: squashed(images[0], size), 5),
        "all but JPEG and RLE": median_ms(lambda: network.segment(images[0]), 5),
        "network alone": median_ms(bare, 5),
        "RLE": median_ms(lambda: [mask_to_rle(each.mask) for each in masks], 5),
    }
    return ratios, {"objects a photo": [len(each) for each in found], "one photo segmented, ms": parts}


def caption(setting: Setting) -> tuple[list[Ratio], dict[str, object]]:
    """Captions over encoder and steps alone; beams over greedy; several callers over one."""
    greedy, three = (captions_of(setting, beams=beams) for beams in (1, 3))
    ratios = [
        setting.ratio(
            f"{CAPTIONER} captions/s, {name}: Triton / bare encoder and {LENGTH - 1} steps",
            ours,
            bare_captions(setting, beams),
            bound=0.9,
        )
        for name, ours, beams in (("greedy", greedy, 1), ("3 beams", three, 3))
    ]
    several = f"{CAPTIONER} captions/s, 3 beams: {SEVERAL} callers / 1 caller"
    return [
        *ratios,
        setting.ratio(f"{CAPTIONER} captions/s: 3 beams / greedy", three, greedy, bound=1 / MOST_OF_GREEDY),
        setting.ratio(several, three, three, callers=SEVERAL),
    ], {}


def transformers(setting: Setting) -> tuple[list[Ratio], dict[str, object]]:
    """Captions over those of the reference, and whether they are the same."""
    reference = Transformers(setting.models / HUGGING_FACE, photos(), CORES)
    network, ratios, same = Captioner(setting.client, setting.spec(CAPTIONER)), [], {}
    for name, beams in (("greedy", 1), ("3 beams", 3)):
        take = cycle(reference.inputs)

        def generate(take: Callable = take, beams: int = beams) -> int:
            return len(reference.run(take(), beams=beams, length=LENGTH)) // LENGTH

        title = f"{CAPTIONER} captions/s, {name}: Triton / transformers generate()"
        ratios.append(setting.ratio(title, captions_of(setting, beams=beams), generate, bound=1.3))
        settings = CaptionSettings(num_beams=beams, min_length=LENGTH, max_length=LENGTH)
        compared = photos()[: setting.compared]
        ours = network.caption([decode(data) for data in compared], settings)
        theirs = [reference.run(pixels, beams=beams, length=LENGTH) for pixels in reference.inputs[: len(compared)]]
        alike = sum(list(one.token_ids) == two for one, two in zip(ours, theirs, strict=True))
        same[name] = f"{alike} of {len(theirs)}"
    return ratios, {"captions with the very tokens of transformers": same}


class Caller:
    """A client of the HTTP API."""

    def __init__(self, setting: Setting, path: str, **fields: object) -> None:
        from portrait.core.models import Scope
        from portrait.core.services import create_api_key

        key = create_api_key(name="bench", scope=Scope.READ)[1]
        self._url = f"{setting.bench.site.address}/api/v1/{path}"
        self._http = urllib3.PoolManager(maxsize=8, headers={"Authorization": f"Api-Key {key}"}, retries=False)
        self._take, self._fields = cycle(photos()), {name: str(value) for name, value in fields.items()}

    def __call__(self) -> int:
        body = self._fields | {"image": ("photo.jpg", self._take(), "image/jpeg")}
        answer = self._http.request("POST", self._url, fields=body, timeout=120)
        if answer.status != 200:
            raise RuntimeError(f"{self._url} answers {answer.status}: {answer.data!r}")
        return 1


def http(setting: Setting) -> tuple[list[Ratio], dict[str, object]]:
    """The whole way over HTTP, over the networks alone."""
    lengths = {"num_beams": 1, "min_length": LENGTH, "max_length": LENGTH, "people": "false"}
    calls = (
        ("/segment", Caller(setting, "segment", model=SEGMENTER), bare_objects(setting), 2),
        ("/caption", Caller(setting, "caption", model=CAPTIONER, **lengths), bare_captions(setting, 1), 2),
    )
    return [
        setting.ratio(f"{path} requests/s, {callers} clients / bare network(s)", caller, bare, callers=callers)
        for path, caller, bare, callers in calls
    ], {f"one {path}, ms": median_ms(caller, 5) for path, caller, _, _ in calls}


PARTS: dict[str, Part] = {
    "memory": memory,
    "segment": segment,
    "caption": caption,
    "transformers": transformers,
    "http": http,
}


@contextmanager
def repository() -> Iterator[Path]:
    """A model repository with the networks of faces and those of scenes; the environment names it."""
    with tempfile.TemporaryDirectory(prefix="portrait-bench-models-") as temporary:
        keeps = os.environ.get(_frames_site.CACHE)
        folder = made(Path(keeps or temporary) / "scene-models")
        for model in (BASE_DIR / "triton_models").iterdir():
            if (model / "1" / "model.onnx").is_file() and not (folder / model.name).exists():
                (folder / model.name).symlink_to(model)
        os.environ["PORTRAIT_MODELS"] = str(folder)
        yield folder


def main(arguments: list[str]) -> None:
    short = "--short" in arguments
    wanted = [each for each in arguments if each != "--short"] or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"There is no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}.")
    with repository() as models, _frames_site.running() as bench:
        from portrait.core.pipelines import inference_client

        client = inference_client()
        rounds, seconds, compared = (1, 3.0, 2) if short else (3, 5.0, len(photos()))
        setting = Setting(bench, models, client, rounds, seconds, compared)
        ratios, more = list[Ratio](), dict[str, object]()
        for name in wanted:
            found, also = PARTS[name](setting)
            ratios, more = ratios + found, more | also
        report("scenes", ratios, more, keep=not short)


if __name__ == "__main__":
    main(sys.argv[1:])
