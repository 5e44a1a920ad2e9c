"""How a figure is taken: sides in alternating rounds, ratios round by round, the median told with its spread.

Machines are noisy: a side's absolute speed means little, a ratio of two sides a second apart means something.
"""

import json
import os
import platform
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from portrait.embedded import services
from portrait.env import BASE_DIR, Environment, read_environment

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours over the other side: the median of the rounds' ratios, and both sides' median rates (1/s)."""

    name: str
    ratio: float
    lowest: float
    highest: float
    ours_per_s: float
    other_per_s: float
    bound: float | None = None

    @property
    def held(self) -> bool | None:
        return None if self.bound is None else self.ratio >= self.bound


def rate(work: Callable[[], int], *, callers: int, seconds: float) -> float:
    """Units of work a second with `callers` threads, each calling `work` (answers units done) until time is up."""
    done = [0] * callers
    barrier = threading.Barrier(callers + 1)
    ends = [0.0]
    failures: list[BaseException] = []

    def call(index: int) -> None:
        barrier.wait()
        try:
            while time.perf_counter() < ends[0]:
                done[index] += work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(callers)]
    for thread in threads:
        thread.start()
    started = time.perf_counter()
    ends[0] = started + seconds
    barrier.wait()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(done) / (time.perf_counter() - started)


def compare(
    name: str, ours: Callable[[], float], other: Callable[[], float], *, rounds: int = 7, bound: float | None = None
) -> Ratio:
    """Both sides in turn (the first round warms up and does not count); each answers its rate."""
    ours(), other()
    pairs = [(ours(), other()) if index % 2 else tuple(reversed((other(), ours()))) for index in range(rounds)]
    ratios = sorted(one / two for one, two in pairs)
    return Ratio(
        name=name,
        ratio=statistics.median(ratios),
        lowest=ratios[0],
        highest=ratios[-1],
        ours_per_s=statistics.median(pair[0] for pair in pairs),
        other_per_s=statistics.median(pair[1] for pair in pairs),
        bound=bound,
    )


def median_ms(call: Callable[[], object], times: int = 25) -> float:
    """The median of several calls' durations, after one that does not count."""
    call()
    durations = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        durations.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(durations), 2)


def cycle(items: Sequence[object]) -> Callable[[], object]:
    """The items in turn, for ever, from any thread."""
    lock, position = threading.Lock(), [0]

    def take() -> object:
        with lock:
            position[0] += 1
            return items[position[0] % len(items)]

    return take


@contextmanager
def own_environment() -> Iterator[Environment]:
    """A PORTRAIT_VAR that only this run uses; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="portrait-bench-") as var:
        os.environ["PORTRAIT_VAR"] = var
        yield read_environment()


@contextmanager
def servers() -> Iterator[Environment]:
    """PostgreSQL, Redis and Triton of this run's own; the environment that names them."""
    with own_environment() as environment:
        running = services.use_or_start(environment=environment, say=lambda text: None)
        try:
            yield replace(environment, triton_urls=[running.urls["triton_url"]])
        finally:
            running.stop()


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=BASE_DIR, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "commit": commit,
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def report(name: str, ratios: Sequence[Ratio], more: dict[str, object], *, keep: bool = True) -> None:
    """Print the table and, if it is to be kept, write `results/<name>.json`."""
    console = Console(width=150)
    table = Table(title=f"{name} ({os.cpu_count()} cores)", title_justify="left")
    for column in ("what", "ratio", "lowest – highest", "ours /s", "other /s", "bound"):
        table.add_column(column)
    for ratio in ratios:
        held = "" if ratio.held is None else f"≥ {ratio.bound:g} {'held' if ratio.held else '[red]NOT held[/red]'}"
        spread = f"{ratio.lowest:.2f} – {ratio.highest:.2f}"
        table.add_row(
            ratio.name, f"{ratio.ratio:.2f}", spread, f"{ratio.ours_per_s:.1f}", f"{ratio.other_per_s:.1f}", held
        )
    console.print(table)
    for key, value in more.items():
        console.print(f"{key}: {value}", highlight=False)
    if not keep:
        return
    RESULTS.mkdir(exist_ok=True)
    body = {"machine": machine(), "ratios": [asdict(ratio) | {"held": ratio.held} for ratio in ratios]} | more
    (RESULTS / f"{name}.json").write_text(json.dumps(body, indent=2) + "\n")
