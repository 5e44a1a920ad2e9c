"""What a migration left in the database, put back after each test that commits: Django would make it anew.

Django empties all tables after such a test and sends `post_migrate`, which writes the types, the rights and the
schedule of all apps again: most of the time that such a test took.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.test import TransactionTestCase
from psycopg import sql

NEVER_WRITTEN = frozenset({"django_content_type", "auth_permission"})
"""Only migrations write them: they are left alone, and every cache of them stays right."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """A database right after its migrations. rows: what is in it, by table, as COPY writes it."""

    tables: Sequence[str]
    rows: Mapping[str, bytes]

    @classmethod
    def read(cls) -> "Fresh":
        names = connection.introspection.django_table_names(only_existing=True, include_views=False)
        tables = sorted(set(names) - NEVER_WRITTEN)
        return cls(tables, {table: data for table in tables if (data := _copied(table))})

    def put_back(self) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, self.tables))
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql.SQL("TRUNCATE {names}").format(names=names))
            for table, data in self.rows.items():
                with cursor.cursor.copy(_copy(table, "FROM STDIN")) as copy:
                    copy.write(data)


def use(fresh: Fresh) -> None:
    """From now on tests that commit end with these rows."""

    def tear_down(test: TransactionTestCase, *args: Any) -> None:
        fresh.put_back()

    TransactionTestCase._fixture_teardown = tear_down  # type: ignore[attr-defined]


def _copied(table: str) -> bytes:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {table})").format(table=sql.Identifier(table)))
        if not cursor.fetchone()[0]:
            return b""
        with cursor.cursor.copy(_copy(table, "TO STDOUT")) as copy:
            return b"".join(bytes(part) for part in copy)


def _copy(table: str, where: str) -> sql.Composed:
    return sql.SQL(f"COPY {{table}} {where} (FORMAT binary)").format(table=sql.Identifier(table))
