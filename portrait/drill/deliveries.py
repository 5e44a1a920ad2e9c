"""Tasks that are delivered twice, at random moments: some at once, some long after the frame is done."""

import heapq
import random
import threading
import time
from collections.abc import Sequence
from uuid import UUID

import portrait.celery  # noqa: F401  (`queue` sends through the current application)
from portrait.cameras import queue
from portrait.cameras.models import Frame
from portrait.drill import ledger

_DELAYS_S = (0.0, 0.0, 0.3, 2.0, 8.0, 30.0)
_TURN_S = 0.25
_LOOK_BACK = 200
"""Ids become visible when they are committed, not in their order."""


class SecondDeliveries:
    """Sends the task of every `nth` frame once more."""

    def __init__(self, *, camera_ids: Sequence[UUID], nth: int, stop: threading.Event) -> None:
        self._camera_ids, self._nth, self._stop = camera_ids, nth, stop
        self._due: list[tuple[float, int]] = []
        self._known: set[int] = set()
        self._newest = 0
        self._thread = threading.Thread(target=self._run, name="deliveries", daemon=True)
        self._last_round = threading.Event()
        self.sent: dict[int, float] = {}
        """Frame -> when its task was sent once more, seconds since 1970."""
        self.error: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Send what is still to be sent, without waiting for its moment."""
        self._last_round.set()
        self._thread.join()

    def after_done(self) -> int:
        """How many were sent when the frame was done already."""
        ended = dict(Frame.objects.filter(id__in=self.sent).values_list("id", "finished_at"))
        return sum(bool((end := ended[key]) and end.timestamp() < at) for key, at in self.sent.items() if key in ended)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                last = self._last_round.is_set()
                self._look()
                self._send(everything=last)
                if last and not self._due:
                    return
                self._stop.wait(_TURN_S)
        except Exception as error:  # told by whoever waits for this thread
            self.error = error

    def _look(self) -> None:
        after = self._newest - _LOOK_BACK
        ids = ledger.asked(lambda: ledger.every_nth_id(self._camera_ids, after_id=after, nth=self._nth))
        for key in ids:
            if key not in self._known:
                self._known.add(key)
                heapq.heappush(self._due, (time.time() + random.choice(_DELAYS_S), key))  # noqa: S311
        self._newest = max([self._newest, *ids])

    def _send(self, *, everything: bool) -> None:
        while self._due and (everything or self._due[0][0] <= time.time()):
            _, key = self._due[0]
            if not queue.enqueue([key]):
                return  # the broker is away: later
            heapq.heappop(self._due)
            self.sent[key] = time.time()
