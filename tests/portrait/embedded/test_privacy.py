"""PostgreSQL's log holds no statement and no value of a row."""

import uuid

import psycopg
import pytest
from django.conf import settings


def test_a_failing_statement_leaves_nothing_of_it_in_the_log() -> None:
    log = settings.PORTRAIT.var / "log" / "postgres.log"
    if not log.exists():
        pytest.skip("DATABASE_URL is set: the log is not ours")
    marker, table = f"Marker{uuid.uuid4().hex}", f"t_{uuid.uuid4().hex}"
    written = log.stat().st_size
    with psycopg.connect(settings.PORTRAIT.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE TEMPORARY TABLE {table} (name text UNIQUE, vector vector(2) NOT NULL)")
        connection.execute(f"INSERT INTO {table} VALUES (%s, '[1,2]')", [marker])
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(f"INSERT INTO {table} VALUES (%s, '[1,2]')", [marker])
        with pytest.raises(psycopg.errors.NotNullViolation):
            connection.execute(f"INSERT INTO {table} VALUES ('{marker}', NULL)")
        with pytest.raises(psycopg.errors.RaiseException):
            connection.execute(f"DO $$ BEGIN RAISE 'refused' USING DETAIL = '{marker}', HINT = '{marker}'; END $$")
    text = log.read_text()
    assert 'violates unique constraint "t_' in text[written:], "the log would show it"
    assert "violates not-null constraint" in text[written:]
    assert marker not in text
