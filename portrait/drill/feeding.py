"""What plays the cameras: two clients that push, like real cameras do, and one clip that `watch_cameras` reads."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import urllib3

from portrait.embedded.machine import tied_to_parent
from portrait.env import BASE_DIR

PATIENCE_S = 300.0
_RETRY_S = 0.5
_STOP_S = 30.0


class PushError(Exception):
    """The API refuses a frame for good, or never takes it."""


class Pusher:
    """Sends a clip's frames one after the other at an even pace; one that is not taken is sent again, with the same
    sequence, until it is. Stops after `frames` of them, once `enough` is set."""

    def __init__(
        self,
        *,
        url: str,
        key: str,
        clip: Iterator[tuple[float, bytes]],
        begin: datetime,
        per_s: float,
        frames: int,
        enough: threading.Event,
        stop: threading.Event,
        as_json: bool,
    ) -> None:
        self._url, self._clip, self._begin = url, clip, begin
        self._per_s, self._frames, self._as_json = per_s, frames, as_json
        self._enough, self._stop = enough, stop
        self._http = urllib3.PoolManager(headers={"Authorization": f"Api-Key {key}"}, retries=False)
        self._thread = threading.Thread(target=self._run, name="pusher", daemon=True)
        self.accepted: dict[int, tuple[int, str]] = {}
        """Sequence -> (the frame's id, sha256 of its picture), of every frame that the API said it accepted."""
        self.not_taken: Counter[str] = Counter()
        """Why a frame had to be sent again, and how often."""
        self.error: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._play()
        except Exception as error:  # told by whoever waits for this thread
            self.error = error

    def _play(self) -> None:
        due = time.monotonic()
        for sequence, (offset_s, picture) in enumerate(self._clip):
            if self._stop.is_set() or (sequence >= self._frames and self._enough.is_set()):
                return
            self._stop.wait(max(0.0, due - time.monotonic()))
            due = max(due + 1 / self._per_s, time.monotonic() - 2)  # what an outage held up is not made up in a rush
            self._push(sequence, self._begin + timedelta(seconds=offset_s), picture)

    def _push(self, sequence: int, captured_at: datetime, picture: bytes) -> None:
        ends_at = time.monotonic() + PATIENCE_S
        while not self._stop.is_set():
            try:
                answer = self._send(sequence, captured_at, picture)
            except urllib3.exceptions.HTTPError as error:
                problem = type(error).__name__
            else:
                if answer.status == 202:
                    self.accepted[sequence] = (int(answer.json()["frame"]), hashlib.sha256(picture).hexdigest())
                    return
                problem = f"{answer.status}"
                if answer.status < 500 and answer.status != 429:
                    raise PushError(f"Frame {sequence} was answered {problem}: {answer.data[:500]!r}")
            self.not_taken[problem] += 1
            if time.monotonic() > ends_at:
                raise PushError(f"Frame {sequence} was not taken within {PATIENCE_S:.0f} s: {problem}")
            self._stop.wait(_RETRY_S)

    def _send(self, sequence: int, captured_at: datetime, picture: bytes) -> urllib3.BaseHTTPResponse:
        if self._as_json:
            said = {"sequence": sequence, "captured_at": captured_at.isoformat(), "metadata": {"drill": True}}
            body = said | {"image": base64.b64encode(picture).decode()}
            return self._http.request("POST", self._url, json=body, timeout=30)
        form: dict[str, str | tuple[str, bytes, str]] = {
            "sequence": str(sequence),
            "captured_at": captured_at.isoformat(),
            "metadata": json.dumps({"drill": True}),
            "image": ("frame.jpg", picture, "image/jpeg"),
        }
        return self._http.request("POST", self._url, fields=form, timeout=30)


class Watcher:
    """`manage.py watch_cameras` on one camera's file, as fast as it was filmed."""

    def __init__(self, *, camera: str, begin: datetime, log: Path) -> None:
        self.log = log
        command = [sys.executable, str(BASE_DIR / "manage.py"), "watch_cameras", camera, "--once", "--realtime"]
        command += ["--start", begin.isoformat()]
        with log.open("ab") as file:
            self._process = subprocess.Popen(  # noqa: S603  (our own command)
                [*tied_to_parent("TERM"), "--", *command],
                env=dict(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def succeeded(self) -> bool:
        """Whether the file was read to its end."""
        return self._process.poll() == 0

    def stop(self) -> None:
        if not self.ended():
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
