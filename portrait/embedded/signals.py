"""The signals that ask a command to stop, as an exception, so that `finally` blocks do the stopping."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """The user, or the system, asks the command to end. (No `Exception`: nothing may handle it by the way.)"""


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Within the block, the first Ctrl-C, SIGTERM or SIGHUP raises `StopRequested`; further ones cannot disturb the
    orderly stop that follows, which ends by itself. At the end of the block the old handlers are back."""
    before = {number: signal.signal(number, _request_stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _request_stop(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise StopRequested(signal.Signals(number).name)
