import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portrait.embedded import leftovers, lock
from portrait.embedded.errors import EmbeddedError
from portrait.embedded.supervision import Group, Process, Program
from portrait.embedded.watch import CrashWatch, last_exit

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


class FakeGroup(Group):
    """Answers what the test says the processes are."""

    answers: list[Process]

    def processes(self) -> list[Process]:
        return self.answers


@pytest.fixture
def group(tmp_path: Path) -> FakeGroup:
    (tmp_path / "run").mkdir()
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "redis.log").write_text("first line\nout of luck\n")
    made = FakeGroup(name="services", var=tmp_path, sockets=tmp_path / "run")
    made.log.write_text("2026 WARN exited: redis (terminated by SIGSEGV; not expected)\n")
    return made


def _redis(group: Group, pid: int, state: str = "RUNNING") -> Process:
    return Process("redis", state, pid, group.var / "log" / "redis.log")


def test_a_crash_is_told_once_with_its_cause_and_the_end_of_the_log(group: FakeGroup) -> None:
    told: list[str] = []
    watch = CrashWatch(group, told.append)
    for process in (_redis(group, 7), _redis(group, 7), _redis(group, 0, "BACKOFF"), _redis(group, 8, "STARTING")):
        group.answers = [process]
        watch()
    assert len(told) == 1
    assert "redis stopped unexpectedly (terminated by SIGSEGV)" in told[0]
    assert "out of luck" in told[0]

    group.answers = [_redis(group, 9)]  # died and came back between two looks
    watch()
    assert len(told) == 2


def test_an_orderly_stop_is_no_crash(group: FakeGroup) -> None:
    told: list[str] = []
    watch = CrashWatch(group, told.append)
    for process in (_redis(group, 7), _redis(group, 7, "STOPPING"), _redis(group, 0, "STOPPED")):
        group.answers = [process]
        watch()
    assert told == []


def test_who_is_given_up_or_crashes_again_and_again_ends_the_watch(group: FakeGroup) -> None:
    group.answers = [_redis(group, 0, "FATAL")]
    with pytest.raises(EmbeddedError, match="does not stay up"):
        CrashWatch(group, str)()
    watch = CrashWatch(group, str)
    for pid in range(1, 6):  # four crashes
        group.answers = [_redis(group, pid)]
        watch()
    group.answers = [_redis(group, 6)]
    with pytest.raises(EmbeddedError, match="does not stay up"):
        watch()


def test_a_supervisor_that_is_gone_ends_the_watch(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(EmbeddedError, match="stopped from outside"):
        CrashWatch(Group(name="services", var=tmp_path, sockets=tmp_path / "run"), str)()


def test_the_cause_of_the_last_exit_is_read_from_supervisors_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "INFO exited: web (exit status 0; expected)\n"
        "WARN exited: redis (exit status 1; not expected)\n"
        "WARN exited: redis (terminated by SIGKILL (core dumped); not expected)\n"
    )
    assert last_exit(log, "redis") == "terminated by SIGKILL (core dumped)"
    assert last_exit(log, "web") == "exit status 0"
    assert last_exit(log, "triton") is None


def test_supervised_programs_start_with_odd_arguments_and_stop_with_their_group(tmp_path: Path) -> None:
    var = tmp_path / "odd 100% path"
    (var / "run").mkdir(parents=True)
    argument = "50% 'quoted' \"twice\" $HOME %(here)s"
    code = "import sys, time; print(sys.argv[1], flush=True); time.sleep(600)"
    group = Group(name="g", var=var, sockets=var / "run")
    if len(str(group.socket)) > 90:
        pytest.skip("the temporary directory is too deep for a socket")
    held = lock.acquire(group.lock_file)
    assert held is not None
    program = Program("echo", [sys.executable, "-c", code, argument])
    group.launch([program], lock_descriptor=held, attached=True, directory=tmp_path)
    os.close(held)
    try:
        assert group.is_running()  # the supervisor holds the lock
        log = var / "log" / "echo.log"
        _wait(lambda: log.is_file() and log.read_text() == f"{argument}\n")
        child = group.processes()[0].pid
        assert leftovers.marked_processes(leftovers.marker_value(var, "g"))
    finally:
        group.stop()
    assert not Path(f"/proc/{child}").exists()
    assert not group.is_running()
    assert leftovers.marked_processes(leftovers.marker_value(var, "g")) == []


def test_a_path_that_would_become_a_comment_is_refused(tmp_path: Path) -> None:
    group = Group(name="g", var=tmp_path, sockets=tmp_path)
    with pytest.raises(EmbeddedError, match="semicolon or hash"):
        group.launch([Program("p", ["true", "/a ;b"])], lock_descriptor=-1, attached=True, directory=tmp_path)


def test_a_command_line_is_tied_to_its_supervisor() -> None:
    words = shlex.split(Program("p", ["run", "a b"], stop_signal="INT", parent_death=("--reuid", "1")).command_line())
    assert words == ["setpriv", "--pdeathsig", "INT", "--reuid", "1", "--", "run", "a b"]


def test_a_lock_passes_on_to_a_child_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    held = lock.acquire(path)
    assert held is not None
    assert lock.acquire(path) is None
    child = subprocess.Popen(SLEEP, pass_fds=(held,))
    os.close(held)
    assert lock.is_held(path)
    assert not lock.wait_released(path, 0.1)
    child.kill()
    child.wait()
    assert lock.wait_released(path, 10)


def test_leftovers_are_stopped_by_force_if_need_be_and_others_are_left_alone(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    mine = {leftovers.MARKER: leftovers.marker_value(tmp_path, "site")}
    other = {leftovers.MARKER: leftovers.marker_value(tmp_path / "other", "site")}
    processes = [
        subprocess.Popen([sys.executable, "-c", stubborn], env={**os.environ, **marker}, stdout=subprocess.PIPE)
        for marker in (mine, other)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # it ignores SIGTERM from now on
        told: list[str] = []
        leftovers.stop_leftovers(tmp_path, "site", None, told.append, patience_s=0.5)
        assert len(told) == 1
        assert processes[0].wait(10) == -signal.SIGKILL
        assert processes[1].poll() is None
        leftovers.stop_leftovers(tmp_path, "site", None, told.append)
        assert len(told) == 1  # nothing left, nothing said
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_postmaster_is_one_only_if_it_runs_in_the_data_directory(tmp_path: Path) -> None:
    assert leftovers.postmaster(tmp_path) is None
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n")  # the id was given to another process
    assert leftovers.postmaster(tmp_path) is None
    with subprocess.Popen(SLEEP, cwd=tmp_path) as child:
        (tmp_path / "postmaster.pid").write_text(f"{child.pid}\n")
        assert leftovers.postmaster(tmp_path) == child.pid
        child.kill()


def _wait(condition: object) -> None:
    end = time.monotonic() + 20
    assert callable(condition)
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
