"""Groups of processes under supervisor (http://supervisord.org): started, restarted, logged and stopped by it.

There are two groups, each with a supervisor of its own: `services` (the back ends) and `site` (web, worker,
beat). A supervisor is *attached* to the command that started it (it stops when that command dies, however it dies) or
*detached* (it stays until it is told to stop).
"""

import contextlib
import http.client
import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from portrait.embedded import leftovers, lock
from portrait.embedded.errors import EmbeddedError
from portrait.embedded.machine import tied_to_parent

_SUPERVISOR = (sys.executable, "-P", "-m", "supervisor.supervisord")  # -P: import nothing from its directory
UNREACHABLE = (OSError, http.client.HTTPException, xmlrpc.client.Error)


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised process. It has started once it ran for `start_s`; stopping may take `stop_wait_s`."""

    name: str
    command: Sequence[str]
    stop_signal: str = "TERM"
    start_s: int = 1
    stop_wait_s: int = 30
    parent_death: Sequence[str] = ()
    """Arguments for setpriv, after those that tie the process to its supervisor."""

    def command_line(self) -> str:
        return shlex.join([*tied_to_parent(self.stop_signal), *self.parent_death, "--", *self.command])


@dataclass(frozen=True, slots=True)
class Process:
    """What supervisor says of one process. `pid` is 0 while it does not run."""

    name: str
    state: str
    pid: int
    log: Path


@dataclass(slots=True)
class Group:
    """A group's files, and the handle of its supervisor."""

    name: str
    var: Path
    sockets: Path
    supervisor: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    """Our own attached child, if this process started it."""

    @property
    def socket(self) -> Path:
        return self.sockets / f"{self.name}.sock"

    @property
    def lock_file(self) -> Path:
        return self.var / "run" / f"{self.name}.lock"

    @property
    def attached_mark(self) -> Path:
        """This file is there if the last supervisor was started attached."""
        return self.var / "run" / f"{self.name}.attached"

    @property
    def log(self) -> Path:
        return self.var / "log" / f"supervisor-{self.name}.log"

    def is_running(self) -> bool:
        """Whether a supervisor of this group lives (or a command that is about to start one)."""
        return lock.is_held(self.lock_file)

    def processes(self) -> list[Process]:
        """Raises one of `UNREACHABLE` where no supervisor answers."""
        return [
            Process(info["name"], info["statename"], info["pid"], self.var / info["stdout_logfile"])
            for info in self._call("getAllProcessInfo")
        ]

    def stop_program(self, program: str) -> None:
        """Stop one program, and wait until it has ended. Raises one of `UNREACHABLE`."""
        self._call("stopProcess", f"{self.name}:{program}")

    def start_program(self, program: str) -> None:
        """Start one program, and wait until it has run for its `start_s`. Raises one of `UNREACHABLE`."""
        self._call("startProcess", f"{self.name}:{program}")

    def launch(self, programs: Sequence[Program], *, lock_descriptor: int, attached: bool, directory: Path) -> None:
        """Start the supervisor, which starts the programs. The lock passes on to it.

        Raises:
            EmbeddedError: the supervisor itself does not start.
        """
        self.socket.unlink(missing_ok=True)
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = self.var / "run" / f"{self.name}.conf"
        config.write_text(self._config(programs, directory))
        config.chmod(0o600)
        tie = (*tied_to_parent("TERM"), "--") if attached else ()
        process = subprocess.Popen(  # noqa: S603  (our own command)
            [*tie, *_SUPERVISOR, "--nodaemon", "--configuration", str(config)],
            cwd=self.var,
            env={**os.environ, leftovers.MARKER: leftovers.marker_value(self.var, self.name)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(lock_descriptor,),
            start_new_session=True,  # Ctrl-C reaches the command alone, which stops the groups in order
        )
        if attached:
            self.supervisor = process
            self.attached_mark.touch()
        else:
            self.attached_mark.unlink(missing_ok=True)
        try:
            self._wait_for_supervisor(process)
        except BaseException:
            _terminate(process, 30)
            raise

    def stop(self, *, timeout_s: float = 120.0) -> None:
        """Stop the programs and their supervisor, and wait until all are gone.

        Raises:
            EmbeddedError: they do not stop in time.
        """
        if self.supervisor is not None:
            _terminate(self.supervisor, timeout_s)
        else:
            with contextlib.suppress(*UNREACHABLE):
                self._call("shutdown")
            if not lock.wait_released(self.lock_file, timeout_s):
                raise EmbeddedError(f"The {self.name} did not stop within {timeout_s:.0f} s; see {self.log}.")
        self.socket.unlink(missing_ok=True)

    def _wait_for_supervisor(self, process: "subprocess.Popen[bytes]") -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(*UNREACHABLE):
                self._call("getState")
                return
            time.sleep(0.05)
        raise EmbeddedError(f"The process manager did not start:\n{tail(self.log)}")

    def _call(self, method: str, *arguments: str) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
        with proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def _config(self, programs: Sequence[Program], directory: Path) -> str:
        """Supervisor's configuration; paths in it are relative to `var`. One group: its programs stop side by side."""
        sections = [
            f"""[supervisord]
logfile = log/{self.log.name}
logfile_maxbytes = 5MB
logfile_backups = 1
pidfile = run/{self.name}.pid
nocleanup = true

[unix_http_server]
file = {_escaped(self.socket)}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
        ]
        group = f"[group:{self.name}]\nprograms = {','.join(program.name for program in programs)}\n"
        return "\n".join([*sections, *(_program_section(program, directory) for program in programs), group])


def _program_section(program: Program, directory: Path) -> str:
    return f"""[program:{program.name}]
command = {_escaped(program.command_line())}
directory = {_escaped(directory)}
autorestart = true
startsecs = {program.start_s}
startretries = 3
stopsignal = {program.stop_signal}
stopwaitsecs = {program.stop_wait_s}
killasgroup = true
umask = 077
redirect_stderr = true
stdout_logfile = log/{program.name}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
"""


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file, indented."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return "  (no log)"
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])


def wait_ready(
    what: str, problem: Callable[[], str | None], *, watch: Callable[[], None], timeout_s: float = 300.0
) -> None:
    """Wait until `problem` answers None; `watch` is asked in between and raises where waiting is of no use.

    Raises:
        EmbeddedError: it is not ready in time; the message carries the last problem.
    """
    end = time.monotonic() + timeout_s
    while (reason := problem()) is not None:
        watch()
        if time.monotonic() > end:
            raise EmbeddedError(f"{what} is not ready after {timeout_s:.0f} s: {reason}")
        time.sleep(0.1)


def _terminate(supervisor: "subprocess.Popen[bytes]", timeout_s: float) -> None:
    supervisor.terminate()
    try:
        supervisor.wait(timeout_s)
    except subprocess.TimeoutExpired:
        supervisor.kill()  # the kernel then signals the programs, each with its own stop signal
        supervisor.wait()


def _escaped(value: object) -> str:
    """`%` starts an expansion in supervisor's configuration; `;` and `#` after a space start a comment."""
    text = str(value)
    if any(mark in text for mark in (" ;", " #", "\n")):
        raise EmbeddedError(f"A path with a semicolon or hash after a space cannot be used: {text}")
    return text.replace("%", "%%")
