"""The drill itself, in a process that sees the running site: cameras play, and one thing after the other dies."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone
from rich.console import Console

from portrait.cameras import queue
from portrait.cameras.models import Camera, Frame
from portrait.cameras.services.cameras import create_camera
from portrait.demo import run as demo
from portrait.demo.client import ApiClient
from portrait.demo.photos import COLLINS, Photo, PhotoSet, built_in
from portrait.drill import account, clips, faults, ledger, recovery, replay
from portrait.drill.account import Account
from portrait.drill.deliveries import SecondDeliveries
from portrait.drill.faults import Victims
from portrait.drill.feeding import Pusher, Watcher
from portrait.drill.recovery import Recovery, Struck
from portrait.drill.replay import Comparison
from portrait.env import BASE_DIR
from portrait.gallery.models import Collection
from portrait.sightings.models import Track

COLLECTION, SECOND_COLLECTION = "drill", "drill-undisturbed"
NTH = 10
"""Every so manieth frame's task is delivered twice."""
PER_S, SHORT_PER_S = 6.0, 4.0
"""Frames a second of all cameras together: less than the machine can do, so that it has something to recover with."""
FRESH_S, FRESH_FRAMES = 3.0, 3
"""The site works again once so many frames are done that were accepted so long after the fault."""
BEGAN_AGO = timedelta(minutes=20)
CORRIDOR_FPS, CLIP_STEP, CLIP_PAUSE_S = 4.0, 3, 25.0
RECOVERY_PATIENCE_S, END_PATIENCE_S = 120.0, 600.0
_PEOPLE = BASE_DIR.parent / "shared" / "data" / "people"
_REAL_PEOPLE = {"Lin-Manuel Miranda": "lin-manuel-miranda.png", "Alex Lacamoire": "alex-lacamoire.png"}
_REAL_CLIP = "short_hamilton_clip.mp4"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long the drill is. `frames`: at least so many, of all cameras."""

    frames: int
    short: bool

    @property
    def per_s(self) -> float:
        """Frames a second, of all cameras together."""
        return SHORT_PER_S if self.short else PER_S

    @property
    def share(self) -> int:
        """Frames of each camera."""
        return -(-self.frames // 3)


@dataclass(slots=True)
class Outcome:
    """What the drill gave."""

    account: Account
    comparison: Comparison
    recoveries: list[Recovery]
    frames_by_camera: dict[str, int]
    duration_s: float
    pushed_again: dict[str, int]
    delivered_twice: int
    delivered_after_done: int
    problems: list[str] = field(default_factory=list)
    """What went wrong beside the account: a fault that was not recovered from, a clip that did not end."""

    @property
    def good(self) -> bool:
        found = self.account
        wrong = [found.lost, found.double, found.stuck, found.failed, self.comparison.differences, self.problems]
        return not any(wrong) and found.done == found.captured and self.comparison.sightings > 0


class Drill:
    """One drill on the running site. `run` plays it; whatever it started is stopped at the end."""

    def __init__(self, plan: Plan, console: Console, address: str) -> None:
        self._plan, self._console, self._address = plan, console, address
        self._stop, self._enough = threading.Event(), threading.Event()
        self._problems: list[str] = []
        self._photos, self._victims = _photos(), Victims()

    def run(self) -> Outcome:
        victims = self._victims
        key = demo.api_key(settings.PORTRAIT.var)
        if not demo.enrol(ApiClient(self._address, key), COLLECTION, self._enrolled(), self._console):
            raise CommandError("The people could not be enrolled.")
        collection = Collection.objects.get(name=COLLECTION)
        sources = self._write_clips()
        victims.stop_reading()
        cameras = self._make_cameras(collection, sources)
        with ExitStack() as stack:
            stack.callback(self._stop.set)
            begin_s = time.time()
            begin = timezone.now() - BEGAN_AGO
            pushers = self._start_pushers(cameras, sources, key, begin)
            log = settings.PORTRAIT.var / "log" / "drill-watch.log"
            watcher = Watcher(camera=f"{COLLECTION}/yard", begin=begin, log=log)
            stack.callback(watcher.stop)
            deliveries = SecondDeliveries(camera_ids=[each.pk for each in cameras], nth=NTH, stop=self._stop)
            deliveries.start()
            self._say(f"Three cameras play {self._plan.frames} frames, about {self._plan.per_s:.0f} a second.")
            struck = self._strike(victims, cameras, begin_s)
            self._end(pushers, watcher, deliveries, cameras)
        return self._outcome(cameras, pushers, deliveries, struck, begin_s)

    # --- before -----------------------------------------------------------------------------------------

    def _enrolled(self) -> PhotoSet:
        """Not everybody who will be seen: the others become unknown people."""
        known = {name: pictures for name, pictures in self._photos.people.items() if name in (COLLINS, *_REAL_PEOPLE)}
        return PhotoSet(known, [])

    def _write_clips(self) -> dict[str, Path]:
        folder = settings.PORTRAIT.var / "sources"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        photos = built_in()
        paths = {name: folder / f"{name}.mp4" for name in ("entrance", "corridor", "yard")}
        yard_fps = self._plan.per_s / 3
        clips.write_clip(paths["yard"], photos, clips.YARD, fps=yard_fps, frames=self._plan.share)
        period = round(clips.PERIOD_S * CORRIDOR_FPS)  # it is played again and again
        clips.write_clip(paths["corridor"], photos, clips.CORRIDOR, fps=CORRIDOR_FPS, frames=period)
        real = _PEOPLE / _REAL_CLIP
        if real.is_file():
            paths["entrance"] = real
        else:
            clips.write_clip(paths["entrance"], photos, clips.ENTRANCE, fps=30 / CLIP_STEP, frames=400)
        return paths

    def _make_cameras(self, collection: Collection, sources: dict[str, Path]) -> list[Camera]:
        """`yard` is read, the others are pushed."""
        names = {"entrance": "", "corridor": "", "yard": str(sources["yard"])}
        return [create_camera(collection=collection, name=name, source=source) for name, source in names.items()]

    def _start_pushers(
        self, cameras: list[Camera], sources: dict[str, Path], key: str, begin: datetime
    ) -> dict[str, Pusher]:
        real = sources["entrance"].parent == _PEOPLE
        playing = {
            "entrance": clips.played(sources["entrance"], step=CLIP_STEP if real else 1, pause_s=CLIP_PAUSE_S),
            "corridor": clips.played(sources["corridor"], pause_s=CLIP_PAUSE_S),
        }
        pushers = {
            camera.name: Pusher(
                url=f"{self._address}/api/v1/cameras/{camera.pk}/frames",
                key=key,
                clip=playing[camera.name],
                begin=begin,
                per_s=self._plan.per_s / 3,
                frames=self._plan.share,
                enough=self._enough,
                stop=self._stop,
                as_json=camera.name == "entrance",
            )
            for camera in cameras
            if camera.name in playing
        }
        for pusher in pushers.values():
            pusher.start()
        return pushers

    # --- while it plays -----------------------------------------------------------------------------------

    def _strike(self, victims: Victims, cameras: list[Camera], begin_s: float) -> list[Struck]:
        """One fault after the other, spread over the run; each once the site has recovered from the one before."""
        ids = [camera.pk for camera in cameras]
        planned = faults.planned(victims, short=self._plan.short)
        struck: list[Struck] = []
        for number, fault in enumerate(planned):
            wanted = round(self._plan.frames * (number + 0.7) / (len(planned) + 0.7))
            self._until(partial(ledger.has_accepted, ids, wanted), f"{wanted} frames")
            at_s, newest = time.time(), ledger.asked(partial(ledger.newest_id, ids))
            what = fault.do()
            struck.append(Struck(fault.name, what, at_s))
            self._say(f"{at_s - begin_s:6.1f} s  {fault.name}: {what}")
            fresh = partial(ledger.has_done, ids, accepted_after_s=at_s + FRESH_S, count=FRESH_FRAMES)
            if self._until(fresh, f"new frames after '{fault.name}'"):
                self._say(f"{time.time() - begin_s:6.1f} s  new frames are done")
            if not self._plan.short and self._until(
                partial(ledger.has_done_all, ids, up_to_id=newest), f"the end of the frames from before '{fault.name}'"
            ):
                self._say(f"{time.time() - begin_s:6.1f} s  so are all that were accepted before")
        return struck

    def _until(self, condition: Callable[[], bool], what: str, patience_s: float = RECOVERY_PATIENCE_S) -> bool:
        """Wait for something; False, and a problem noted, where it does not happen."""
        ends_at = time.monotonic() + patience_s
        while not ledger.asked(condition):
            if time.monotonic() > ends_at:
                self._problems.append(f"{what} did not come within {patience_s:.0f} s")
                self._problems += self._victims.problems()
                return False
            time.sleep(0.3)
        return True

    def _end(
        self, pushers: dict[str, Pusher], watcher: Watcher, deliveries: SecondDeliveries, cameras: list[Camera]
    ) -> None:
        """Wait until all frames came, and none waits any more."""
        self._enough.set()
        for name, pusher in pushers.items():
            if not pusher.wait(END_PATIENCE_S):
                self._problems.append(f"{name} did not come to its end")
            if pusher.error:
                self._problems.append(f"{name}: {pusher.error!r}")
        self._until(watcher.ended, "the end of the clip that watch_cameras reads", END_PATIENCE_S)
        if not watcher.succeeded:
            self._problems.append(f"watch_cameras failed: {watcher.log.read_text()[-2000:]}")
        ids = [camera.pk for camera in cameras]
        self._until(partial(ledger.has_done_all, ids), "the end of the backlog", END_PATIENCE_S)
        deliveries.finish()
        if deliveries.error:
            self._problems.append(f"the second deliveries: {deliveries.error!r}")
        self._until(lambda: not queue.length(), "the end of the queue")
        self._until(lambda: not Track.objects.filter(stranger_due=True).exists(), "the registration of the strangers")
        time.sleep(1)  # what was taken from the queue last is being looked at

    # --- afterwards -----------------------------------------------------------------------------------------

    def _outcome(
        self,
        cameras: list[Camera],
        pushers: dict[str, Pusher],
        deliveries: SecondDeliveries,
        struck: list[Struck],
        begin_s: float,
    ) -> Outcome:
        ids = [camera.pk for camera in cameras]
        course = ledger.course(ids)
        self._say("All frames came. The account, from the database and the store ...")
        pushed = {name: pusher.accepted for name, pusher in pushers.items()}
        found = account.account(cameras=cameras, pushed=pushed, read={"yard": self._plan.share}, nth=NTH)
        self._say("A second, undisturbed pass over what was found ...")
        people = {name: [picture.data for picture in each] for name, each in self._enrolled().people.items()}
        comparison = replay.replayed(cameras=cameras, people=people, collection=SECOND_COLLECTION)
        again: dict[str, int] = {}
        for pusher in pushers.values():
            for problem, count in pusher.not_taken.items():
                again[problem] = again.get(problem, 0) + count
        return Outcome(
            account=found,
            comparison=comparison,
            recoveries=recovery.recoveries(course, struck, begin_s),
            frames_by_camera={camera.name: Frame.objects.filter(camera=camera).count() for camera in cameras},
            duration_s=max(course.ended, default=begin_s) - begin_s,
            pushed_again=again,
            delivered_twice=len(deliveries.sent),
            delivered_after_done=deliveries.after_done(),
            problems=self._problems,
        )

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)


def _photos() -> PhotoSet:
    """The demo's people, and those of the real clip where it is there."""
    photos = built_in()
    real = {name: _PEOPLE / file for name, file in _REAL_PEOPLE.items()} if (_PEOPLE / _REAL_CLIP).is_file() else {}
    people = {name: [Photo(path.name, path.read_bytes())] for name, path in real.items()}
    return PhotoSet(photos.people | people, photos.probes)
