"""What does the way of a frame cost, from accepted JPEG to committed detections?

    python -m benchmarks.frames [throughput] [delay] [gallery] [dlib] [overload]

A real site runs on this machine (web server, worker, beat, PostgreSQL, Redis, Triton). Three cameras play a clip; the
collection has a thousand portraits, the clip's people among them. The gallery of a million takes long to build: with
PORTRAIT_BENCH_VAR set, its folder keeps it for the next run.

`throughput` and `gallery` measure how a backlog drains that was laid down while the worker was halted; `delay` and
`overload` push through the API at the same time, on the same cores.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Queue, get_context

import numpy as np

from benchmarks import _frames_site
from benchmarks._frames_clip import Clip, clip
from benchmarks._frames_site import Bench
from benchmarks._measure import Ratio, rate, report
from benchmarks.faces import CORES, Dlib, pipeline
from inference.codec import decode
from inference.local import LocalClient

SMALL, SIZES = 1_000, (1_000, 100_000, 1_000_000)
BACKLOG, ROUNDS, BARE_S = 900, 3, 10.0
GALLERY_BACKLOG = 400
SHARES, DELAY_S, CAPACITY_S = (0.1, 0.5, 0.9), 25.0, 20.0
OVERLOAD, OVERLOAD_S = 5.0, 60.0
Part = Callable[["Setting"], tuple[list[Ratio], dict[str, object]]]


@dataclass(frozen=True, slots=True)
class Setting:
    """What the parts share."""

    bench: Bench
    clip: Clip
    real: np.ndarray
    """(n, dims): one face of everybody in the clip."""

    def player(self, name: str, size: int = SMALL):
        """New cameras of the collection with so many portraits, which is made where it is missing."""
        from benchmarks import _frames_gallery as gallery
        from benchmarks import _frames_load as load
        from portrait.gallery.models import Collection

        gallery.build([size], self.real)
        return load.players(self.bench, self.clip, Collection.objects.get(name=gallery.name_of(size)), name)


def people_of(frames: Clip, local: LocalClient) -> np.ndarray:
    """A good face of everybody who is seen in a clip."""
    found: list[np.ndarray] = []
    for data in frames.frames[::10]:
        for face in pipeline(local).analyse([decode(data)])[0].faces:
            vector = face.embedding.vector
            if face.quality.acceptable and all(np.linalg.norm(vector - other) > 0.6 for other in found):
                found.append(vector)
    return np.array(found, np.float32)


def in_turn(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Every side's rates, in alternating order; a first round warms up and does not count."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        order = list(sides.items())
        for name, side in order if number % 2 else reversed(order):
            value = side()
            if number:
                rates[name].append(value)
    return rates


def ratio(name: str, ours: Sequence[float], other: Sequence[float], bound: float | None) -> Ratio:
    """Round by round."""
    ratios = sorted(one / two for one, two in zip(ours, other, strict=True))
    return Ratio(
        name, statistics.median(ratios), ratios[0], ratios[-1], statistics.median(ours), statistics.median(other), bound
    )


def throughput(setting: Setting) -> tuple[list[Ratio], dict[str, object]]:
    """A long backlog, over bare loops: one thread a core, and one loop that lets the runtime use all cores."""
    player = setting.player("throughput")
    models, take = setting.bench.environment.models_dir, setting.clip.for_ever()
    narrow, wide = pipeline(LocalClient(models)), pipeline(LocalClient(models, threads=0))

    def bare(faces, callers: int) -> float:
        def work() -> int:
            faces.analyse([decode(take())])
            return 1

        return rate(work, callers=callers, seconds=BARE_S)

    loops = f"{CORES} loops of one thread", "one loop with the runtime's own threads"
    rates = in_turn(
        {
            "ours": lambda: player.drain_rate(BACKLOG),
            loops[0]: lambda: bare(narrow, CORES),
            loops[1]: lambda: bare(wide, 1),
        },
        ROUNDS,
    )
    better = max(loops, key=lambda each: statistics.median(rates[each]))
    return [
        ratio(
            f"frames/s from a backlog of {BACKLOG} / bare: {each}",
            rates["ours"],
            rates[each],
            0.7 if each == better else None,
        )
        for each in loops
    ], {"throughput": {"found": player.found()}}


def delay(setting: Setting) -> tuple[list[Ratio], dict[str, object]]:
    """From the row of the accepted frame to its end, at shares of what the site takes in and processes at once."""
    from benchmarks import _frames_load as load

    capacity = load.capacity(setting.player("capacity"), CAPACITY_S)
    found: dict[str, object] = {"capacity, pushed and processed at once, frames/s": round(capacity, 1)}
    for share in SHARES:
        player = setting.player(f"delay-{round(100 * share)}")
        reached = load.Pusher(player).run(per_s=share * capacity, seconds=DELAY_S)
        player.wait()
        delays = load.delays_ms(player)
        found[f"at {share:g} of it"] = {
            "pushed_per_s": round(reached, 1),
            "p50_ms": round(float(np.percentile(delays, 50)), 1),
            "p95_ms": round(float(np.percentile(delays, 95)), 1),
            "frames": len(delays),
        }
    return [], {"delay": found}


def gallery(setting: Setting) -> tuple[list[Ratio], dict[str, object]]:
    """The same frames with galleries of different sizes."""
    from benchmarks import _frames_gallery as galleries

    built = galleries.build(SIZES, setting.real)
    players = {size: setting.player("gallery", size) for size in SIZES}
    rates = in_turn(
        {str(size): lambda player=player: player.drain_rate(GALLERY_BACKLOG) for size, player in players.items()},
        ROUNDS,
    )
    ratios = [
        ratio(f"frames/s with {size:,} portraits / with {SMALL:,}", rates[str(size)], rates[str(SMALL)], 0.85)
        for size in SIZES[1:]
    ]
    more: dict[str, object] = {f"found with {size:,} portraits": players[size].found() for size in SIZES}
    return ratios, {"gallery": more | {"built in this run": built or "no: kept by PORTRAIT_BENCH_VAR"}}


def dlib(setting: Setting) -> tuple[list[Ratio], dict[str, object]]:
    """What users of face_recognition run, in as many processes as there are cores."""
    player = setting.player("dlib")
    rates = in_turn(
        {"ours": lambda: player.drain_rate(GALLERY_BACKLOG), "dlib": lambda: dlib_rate(setting.clip, BARE_S)}, ROUNDS
    )
    return [ratio(f"frames/s / dlib HOG + ResNet in {CORES} processes", rates["ours"], rates["dlib"], 3.0)], {}


def _dlib_loop(frames: Sequence[bytes], first: int, seconds: float, queue: "Queue[tuple[int, float]]") -> None:
    network, done = Dlib(), 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        network.analyse(frames[(first + 7 * done) % len(frames)])  # steps that reach every scene of the clip soon
        done += 1
    queue.put((done, time.perf_counter() - started))


def dlib_rate(frames: Clip, seconds: float) -> float:
    """frames/s of one process a core."""
    context = get_context("spawn")
    queue = context.Queue()
    processes = [
        context.Process(target=_dlib_loop, args=(frames.frames, index * len(frames.frames) // CORES, seconds, queue))
        for index in range(CORES)
    ]
    for process in processes:
        process.start()
    results = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(done / elapsed for done, elapsed in results)


def overload(setting: Setting) -> tuple[list[Ratio], dict[str, object]]:
    """The producer five times faster than the worker for a minute, then stopped: everything is processed."""
    from benchmarks import _frames_load as load
    from benchmarks._frames_memory import Sampler

    capacity = setting.player("overload-warm").drain_rate(GALLERY_BACKLOG)
    player = setting.player("overload")
    pusher = load.Pusher(player, a_call=load.BATCH)
    started = time.perf_counter()
    with Sampler(setting.bench) as memory:
        reached = pusher.run(per_s=OVERLOAD * capacity, seconds=OVERLOAD_S)
        left = player.waiting()
        player.wait()
    states = load.states(player)
    return [], {
        "overload": {
            "worker_frames_per_s": round(capacity, 1),
            "pushed_per_s": round(reached, 1),
            "pushed": pusher.pushed,
            "waiting_when_the_producer_stopped": left,
            "all_done_after_s": round(time.perf_counter() - started, 1),
            "states": states,
            "every frame done": states == {"done": pusher.pushed},
            "memory, PSS of each program with its children": memory.table(),
        }
    }


PARTS: dict[str, Part] = {part.__name__: part for part in (throughput, delay, gallery, dlib, overload)}


def main() -> None:
    asked = sys.argv[1:] or list(PARTS)
    if unknown := set(asked) - set(PARTS):
        sys.exit(f"There is no part {', '.join(sorted(unknown))}: choose of {', '.join(PARTS)}.")
    played = clip()
    with _frames_site.running() as bench:
        from benchmarks import _frames_load as load

        load.forget_all()
        setting = Setting(bench, played, people_of(played, LocalClient(bench.environment.models_dir)))
        ratios: list[Ratio] = []
        more: dict[str, object] = {"clip": played.name, "people in it": len(setting.real)}
        for name in asked:
            started = time.perf_counter()
            found, told = PARTS[name](setting)
            ratios, more = [*ratios, *found], more | told | {f"{name} took, s": round(time.perf_counter() - started)}
            print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        report("frames", ratios, more)


if __name__ == "__main__":
    main()
