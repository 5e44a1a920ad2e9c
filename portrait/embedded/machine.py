"""What the embedded servers need of the machine, and where their packages lie."""

import contextlib
import importlib.util
import os
import platform
import shutil
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from portrait.embedded.errors import EmbeddedError

NOBODY = 65534
"""User and group of an embedded PostgreSQL that is started by root: PostgreSQL refuses to run as root."""

EXTERNAL_HINT = (
    "set DATABASE_URL, REDIS_URL and TRITON_URL to servers of your own (docker-compose.yml starts all three)"
)
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def check_platform() -> None:
    """Raise `EmbeddedError` where the wheels that carry the servers do not exist."""
    if sys.platform != "linux" or platform.machine() not in {"x86_64", "AMD64"}:
        raise EmbeddedError(
            f"The embedded servers need Linux on x86-64, and this is {platform.system()} on "
            f"{platform.machine()}: {EXTERNAL_HINT}."
        )
    for tool in ("setpriv", "flock"):
        if not shutil.which(tool):
            raise EmbeddedError(f"The program {tool} is missing: install the package util-linux, or {EXTERNAL_HINT}.")


def package_dir(package: str, remedy: str = "run `make` again") -> Path:
    """The directory of an installed package, which is not imported (importing some of them has effects)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(f"The Python package {package}, which carries a server, is not installed: {remedy}.")
    return Path(next(iter(spec.submodule_search_locations)))


def binary(path: Path, remedy: str = "run `make` again") -> Path:
    """`path`, if it is a program."""
    if not os.access(path, os.X_OK):
        raise EmbeddedError(f"The program {path} is missing: {remedy}.")
    return path


def tied_to_parent(stop_signal: str) -> tuple[str, ...]:
    """A command prefix: the kernel sends `stop_signal` when the parent dies, however it dies."""
    return ("setpriv", "--pdeathsig", stop_signal)


def as_nobody(paths: Iterable[Path]) -> tuple[str, ...]:
    """More of `tied_to_parent`'s prefix: run without root's rights, able to reach `paths`. Empty if we are not root.

    A checkout below a private directory (0700 /root, say) cannot be entered by another user. Instead of
    changing the modes of directories that are not ours, the process keeps the single right to search and read.
    """
    if os.geteuid() != 0:
        return ()
    prefix = ("--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
    if all(_open_to_all(path) for path in paths):
        return prefix
    capability = _search_capability()
    return (*prefix, "--inh-caps", f"+{capability}", "--ambient-caps", f"+{capability}")


def _open_to_all(path: Path) -> bool:
    """Whether everybody may pass through all directories above `path`."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)


def _search_capability() -> str:
    """The smallest right at hand that lets a process pass any directory (containers often lack the first)."""
    status = Path("/proc/self/status").read_text()
    held = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    for name, bit in (("dac_read_search", _CAP_DAC_READ_SEARCH), ("dac_override", _CAP_DAC_OVERRIDE)):
        if held & (1 << bit):
            return name
    raise EmbeddedError(
        "PostgreSQL cannot run as root, and the user nobody cannot enter the directory of this checkout: "
        "run as an ordinary user, or move the checkout to a place that everybody may enter."
    )


def shared_memory_bytes() -> int:
    """The size of /dev/shm; 64 MB in a container, unless it was asked for more."""
    status = os.statvfs("/dev/shm")  # noqa: S108  (asked about, not written)
    return status.f_frsize * status.f_blocks


def memory_share_mb(share: float, *, most: int) -> int:
    """A share of this machine's memory, or of what a container may have of it, in MB: at least 128, at most `most`."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max"
        total = min(total, int(_CGROUP_LIMIT.read_text()))
    return int(min(most, max(128, share * total / 2**20)))
