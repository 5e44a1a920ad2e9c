"""Cameras that are fed with a clip, and what becomes of their frames. Import only once Django is set up."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import urllib3
from django.db import connection
from django.db.models import Count, Max, QuerySet
from django.utils import timezone

from benchmarks._frames_clip import Clip
from benchmarks._frames_site import Bench
from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, Frame, FrameState
from portrait.cameras.services.accept import Accepted, accept_frames
from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Collection
from portrait.sightings.models import Detection

CAMERAS = 3
SENDERS = 4
BATCH = 10
"""Frames a call where the pace matters."""
SHORT, LONG = 100, 200
"""Between so many frames wait while the capacity is taken."""
PATIENCE_S = 1800.0


@dataclass(slots=True)
class Player:
    """Several cameras of one collection that play the same clip for ever, each frame in turn on every camera."""

    bench: Bench
    clip: Clip
    cameras: list[Camera]
    played: Iterator[int] = field(default_factory=itertools.count)
    begin: datetime = field(default_factory=lambda: timezone.now() - timedelta(days=1))

    def frame(self) -> tuple[Camera, IncomingFrame]:
        """The next frame of the next camera, as if it had been filmed at the clip's own pace."""
        number = next(self.played)
        turn, camera = divmod(number, len(self.cameras))
        data = self.clip.frames[turn % len(self.clip.frames)]
        return self.cameras[camera], IncomingFrame(data, self.begin + timedelta(seconds=turn / self.clip.fps), turn)

    def others(self, count: int) -> list[bytes]:
        """Some pictures of the clip."""
        return list(self.clip.frames[:count])

    def accept(self, count: int) -> None:
        """Take frames one by one, as `watch_cameras` does."""
        for _ in range(count):
            camera, incoming = self.frame()
            outcome = accept_frames(camera=camera, incoming=[incoming])[0]
            if not isinstance(outcome, Accepted):
                raise outcome

    def drain_rate(self, count: int) -> float:
        """frames/s from a backlog of `count` accepted frames to the last one's commit."""
        with self.bench.worker_halted():
            self.accept(count)
        started = timezone.now()
        ended = self.wait()
        return count / (ended - started).total_seconds()

    def rows(self) -> "QuerySet[Frame]":
        return Frame.objects.filter(camera__in=self.cameras)

    def waiting(self) -> int:
        return self.rows().filter(state=FrameState.WAITING).count()

    def wait(self) -> datetime:
        """Until nothing waits; answers when the last frame was done.

        Raises:
            RuntimeError: a frame failed, or they are not done in time.
        """
        end = time.monotonic() + PATIENCE_S
        while self.rows().filter(state=FrameState.WAITING).exists():
            self.bench.check()
            if time.monotonic() > end:
                raise RuntimeError(f"{self.waiting()} frames still wait")
            time.sleep(0.1)
        wrong = list(self.rows().exclude(state=FrameState.DONE).values_list("state", "error_code")[:5])
        if wrong:
            raise RuntimeError(f"frames were not done: {wrong}")
        return self.rows().aggregate(last=Max("finished_at"))["last"]

    def found(self) -> dict[str, int]:
        """What was found in the frames."""
        seen = Detection.objects.filter(camera__in=self.cameras)
        counts = seen.aggregate(faces=Count("id"), people=Count("identity", distinct=True))
        named = seen.exclude(identity=None).count()
        return {"frames": self.rows().count(), **counts, "faces with an identity": named}


def states(player: Player) -> dict[str, int]:
    """How many frames are in which state."""
    return dict(player.rows().order_by().values_list("state").annotate(Count("id")))


def delays_ms(player: Player) -> list[float]:
    """From each frame's acceptance to its end."""
    times = player.rows().values_list("accepted_at", "finished_at")
    return [1000 * (finished - accepted).total_seconds() for accepted, finished in times if finished]


def capacity(player: Player, seconds: float) -> float:
    """frames/s that are pushed through the API and processed at the same time, with a short backlog all along."""
    pusher = Pusher(player, a_call=BATCH)
    while player.waiting() < LONG:
        pusher.push(BATCH)
    began, end = timezone.now(), time.monotonic() + seconds
    while time.monotonic() < end:
        if player.waiting() < SHORT:
            for _ in range((LONG - SHORT) // BATCH):
                pusher.push(BATCH)
        time.sleep(0.05)
    ended = timezone.now()
    done = player.rows().filter(finished_at__range=(began, ended)).count()
    player.wait()
    return done / (ended - began).total_seconds()


def players(bench: Bench, clip: Clip, collection: Collection, name: str) -> Player:
    """New cameras."""
    cameras = [Camera.objects.create(collection=collection, name=f"{name}-{number}") for number in range(CAMERAS)]
    return Player(bench, clip, cameras)


def forget_all() -> None:
    """Remove what earlier runs on a kept folder left: every camera, and all that was seen."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE cameras_camera CASCADE")


class Pusher:
    """Pushes a player's frames through the API at a given pace, from several threads."""

    def __init__(self, player: Player, *, a_call: int = 1) -> None:
        self._player = player
        self._a_call = a_call
        _, key = create_api_key(name="bench", scope=Scope.ENROL)
        self._http = urllib3.PoolManager(maxsize=SENDERS, headers={"Authorization": f"Api-Key {key}"}, retries=False)
        self._lock = threading.Lock()
        self.pushed = 0

    def run(self, *, per_s: float, seconds: float) -> float:
        """Push by the clock; what comes late is made up for. Answers the pace that was reached."""
        started = time.perf_counter()
        calls = itertools.count()
        before = self.pushed

        def send() -> None:
            while True:
                with self._lock:
                    due = started + next(calls) * self._a_call / per_s
                if due > started + seconds or time.perf_counter() > started + seconds:
                    return
                time.sleep(max(0.0, due - time.perf_counter()))
                self.push(self._a_call)

        with ThreadPoolExecutor(SENDERS) as pool:
            for done in [pool.submit(send) for _ in range(SENDERS)]:
                done.result()
        return (self.pushed - before) / (time.perf_counter() - started)

    def push(self, count: int) -> None:
        """One call, with `count` frames of one camera, filmed now."""
        with self._lock:
            camera, incoming = self._player.frame()
        pictures = [incoming.data, *self._player.others(count - 1)]
        fields = [("images" if count > 1 else "image", ("frame.jpg", data, "image/jpeg")) for data in pictures]
        url = f"{self._player.bench.site.address}/api/v1/cameras/{camera.pk}/frames"
        answer = self._http.request("POST", url, fields=fields, timeout=60)
        if answer.status != 202:
            raise RuntimeError(f"{url} answers {answer.status}: {answer.data!r}")
        with self._lock:
            self.pushed += count
