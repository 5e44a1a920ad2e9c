"""One deadline over blocking work on the network.

A socket's own timeout starts anew with each byte that comes, so that a server that drips holds a thread for as long
as it likes. Here a timer shuts the connection down at the deadline, whatever is going on over it: a handshake, headers
or a body.
"""

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

_T = TypeVar("_T")


class Deadline:
    """`total_s` seconds from now on. To be closed."""

    def __init__(self, total_s: float) -> None:
        self._ends_at = time.monotonic() + total_s
        self._lock = threading.Lock()
        self._twin: socket.socket | None = None
        self._cut_off = False
        self._timer = threading.Timer(total_s, self._cut)
        self._timer.daemon = True
        self._timer.start()

    @property
    def over(self) -> bool:
        return self._cut_off or time.monotonic() >= self._ends_at

    def left_s(self) -> float:
        """The seconds that are left.

        Raises:
            TimeoutError: none are.
        """
        if self.over:
            raise TimeoutError
        return max(0.001, self._ends_at - time.monotonic())

    def call(self, work: Callable[[], _T]) -> _T:
        """What `work` answers or raises; for work that knows no timeout, like a DNS question. Its thread lives on until
        `work` ends by itself.

        Raises:
            TimeoutError: it did not end in time.
        """
        outcome: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                outcome.put((work(), None))
            except BaseException as error:
                outcome.put((None, error))

        threading.Thread(target=run, daemon=True).start()
        try:
            result, error = outcome.get(timeout=self.left_s())
        except queue.Empty:
            raise TimeoutError from None
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only where `work` answers None

    @contextlib.contextmanager
    def guarding(self, connection: socket.socket) -> Iterator[socket.socket]:
        """Close `connection` at the block's end, and shut it down before if the deadline comes first; then what reads
        or writes it ends at once, with an end of data or an OSError."""
        with contextlib.closing(connection):
            # A descriptor of our own: theirs may be closed, and its number be another's, when the time is up.
            twin = connection.dup()
            try:
                with self._lock:
                    self._twin = twin
                self.left_s()  # the timer may have fired before there was anything to shut down
                yield connection
            finally:
                with self._lock:
                    self._twin = None
                    twin.close()

    def close(self) -> None:
        self._timer.cancel()

    def _cut(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._cut_off = True
            if self._twin is not None:
                self._twin.shutdown(socket.SHUT_RDWR)
