"""What this machine can do, against what its cameras produce.

Measured: pictures of each camera are decoded and analysed through Triton as workers do, first by one caller (the time
of a frame alone), then by as many callers as a worker has threads (frames a second at full load).

    seconds of one core a frame  =  cores of this machine / frames a second at full load
    cores needed                 =  frames produced a second  *  seconds of one core a frame
    workers needed               =  frames produced a second  *  the worker's own CPU seconds a frame, rounded up
    Triton instances needed      =  frames produced a second  *  (a frame's time alone - the worker's CPU), rounded up

The last two hold as a worker process keeps about one core busy (Python's lock), and an instance of a model works on one
request at a time. The database's part is not measured: it is small beside the networks'.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from django.db.models import Max, Min
from django.db.models.fields.files import FieldFile
from django.utils import timezone

from inference.codec import decode, encode_jpeg
from inference.errors import ImageError
from inference.types import Image
from portrait.cameras.addresses import SourceError, SourceKind, kind_of, resolve_path
from portrait.cameras.models import Camera, Frame
from portrait.cameras.services.backlog import acceptance_rates
from portrait.core.pipelines import codec_limits, face_pipeline
from portrait.gallery.models import Portrait

SAMPLES = 8
NEWEST = 500
UNKNOWN = "unknown: no frame came yet"

Analyse = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured. `pictures` says on which pictures."""

    pictures: str
    time_alone_s: float
    worker_cpu_s: float
    frames_per_s: float
    threads: int
    cores: int

    @property
    def core_s(self) -> float:
        """Seconds of one core that a frame takes."""
        return self.cores / self.frames_per_s


@dataclass(frozen=True, slots=True)
class Need:
    """What one camera, or all, ask of the machine. `basis`: where the rate is from."""

    name: str
    produced_per_s: float
    basis: str
    cores: float
    workers: int
    instances: int

    @property
    def known(self) -> bool:
        return self.basis != UNKNOWN


def sample_pictures(camera: Camera | None) -> tuple[str, list[bytes]]:
    """Pictures to measure with, and what they are: the camera's newest frames, enrolled photos, or a blank one."""
    frames = Frame.objects.exclude(picture="").order_by("-captured_at") if camera else Frame.objects.none()
    found = _read([frame.picture for frame in frames.filter(camera=camera)[:SAMPLES]])
    if found:
        return f"its newest {len(found)} frames", found
    found = _read([portrait.image for portrait in Portrait.objects.order_by("-created_at")[:SAMPLES]])
    if found:
        return f"{len(found)} enrolled photos", found
    return "a picture without a face: frames with faces take longer", [encode_jpeg(_blank())]


def measure(
    pictures: Sequence[bytes], *, what: str, seconds: float, threads: int, cores: int, analyse: Analyse | None = None
) -> Speed:
    """Analyse these pictures for about `seconds`, half of the time alone and half by `threads` callers.

    Raises:
        inference.errors.ServerError: Triton does not answer.
    """
    work = analyse or analyse_picture
    work(pictures[0])  # connections and models are warm
    cpu, count, took_s = time.process_time(), 0, 0.0
    begin = time.perf_counter()
    while count == 0 or took_s < seconds / 2:
        work(pictures[count % len(pictures)])
        count += 1
        took_s = time.perf_counter() - begin
    return Speed(
        pictures=what,
        time_alone_s=took_s / count,
        worker_cpu_s=(time.process_time() - cpu) / count,
        frames_per_s=_full_load(work, pictures, seconds / 2, threads),
        threads=threads,
        cores=cores,
    )


def produced(cameras: Sequence[Camera]) -> dict[UUID, tuple[float, str]]:
    """Frames a second that each camera produces, and where that is known from."""
    accepted = acceptance_rates([camera.pk for camera in cameras], now=timezone.now())
    return {camera.pk: _rate(camera, accepted.get(camera.pk, 0.0)) for camera in cameras}


def need(*, name: str, produced_per_s: float, basis: str, speed: Speed) -> Need:
    """The formula of this module."""
    in_triton_s = max(0.0, speed.time_alone_s - speed.worker_cpu_s)
    return Need(
        name=name,
        produced_per_s=produced_per_s,
        basis=basis,
        cores=produced_per_s * speed.core_s,
        workers=_at_least_one(produced_per_s * speed.worker_cpu_s),
        instances=_at_least_one(produced_per_s * in_triton_s),
    )


def sum_of(needs: Sequence[Need], speeds: Sequence[Speed]) -> Need:
    """All cameras together; they share workers and instances, so that the rounding is done once."""
    pairs = list(zip(needs, speeds, strict=True))
    return Need(
        name="all",
        produced_per_s=math.fsum(each.produced_per_s for each in needs),
        basis="",
        cores=math.fsum(each.cores for each in needs),
        workers=_at_least_one(math.fsum(each.produced_per_s * speed.worker_cpu_s for each, speed in pairs)),
        instances=_at_least_one(
            math.fsum(each.produced_per_s * max(0.0, speed.time_alone_s - speed.worker_cpu_s) for each, speed in pairs)
        ),
    )


def analyse_picture(data: bytes) -> object:
    """What a worker does with a frame, but for the database."""
    return face_pipeline().analyse([decode(data, limits=codec_limits())])


def _full_load(work: Analyse, pictures: Sequence[bytes], seconds: float, threads: int) -> float:
    """Frames a second by `threads` callers at once."""
    begin = time.perf_counter()
    end = begin + seconds

    def call(number: int) -> int:
        done = 0
        while done == 0 or time.perf_counter() < end:
            work(pictures[(number + done) % len(pictures)])
            done += 1
        return done

    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(call, range(threads)))
    return done / (time.perf_counter() - begin)


def _rate(camera: Camera, accepted_per_s: float) -> tuple[float, str]:
    if not camera.enabled:
        return 0.0, "switched off"
    if camera.fps is not None and camera.source and _sampled(camera):
        return camera.fps, "its setting fps"
    if accepted_per_s:
        return accepted_per_s, "accepted in the last minute"
    times = Frame.objects.filter(camera=camera).order_by("-captured_at").values("captured_at")[:NEWEST]
    span = Frame.objects.filter(camera=camera, captured_at__in=times).aggregate(
        first=Min("captured_at"), last=Max("captured_at")
    )
    count = times.count()
    if count > 1 and span["last"] > span["first"]:
        return (count - 1) / (span["last"] - span["first"]).total_seconds(), f"its newest {count} frames"
    return 0.0, UNKNOWN


def _sampled(camera: Camera) -> bool:
    """Whether its reader keeps to fps: of a folder of pictures it takes each one."""
    try:
        return kind_of(camera.source) is not SourceKind.PATH or not resolve_path(camera.source).is_dir()
    except SourceError:
        return True


def _read(files: Sequence[FieldFile]) -> list[bytes]:
    found = []
    for file in files:
        try:
            with file.open("rb") as opened:
                data = opened.read()
            decode(data, limits=codec_limits())
        except (OSError, ImageError):
            continue
        found.append(data)
    return found


def _blank() -> Image:
    rows = np.linspace(0, 255, 720, dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(rows[:, None, None], (720, 1280, 3)))


def _at_least_one(needed: float) -> int:
    return max(1, math.ceil(needed))
