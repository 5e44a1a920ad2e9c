"""Locks that end with the process that holds them, however it ends (`flock` on a file)."""

import fcntl
import os
import time
from pathlib import Path


def acquire(path: Path) -> int | None:
    """An open descriptor that holds the lock, or None where another process holds it.

    A child that inherits the descriptor holds the lock too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(path: Path) -> bool:
    """Whether any process holds the lock."""
    descriptor = acquire(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def wait_released(path: Path, timeout_s: float) -> bool:
    """Wait until nobody holds the lock; False where that does not happen in time."""
    end = time.monotonic() + timeout_s
    while is_held(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
