"""Database connections and slow work do not go together."""

from collections.abc import Iterable
from uuid import UUID

from django.db import connection
from django.db.models import Model


def release_connection() -> None:
    """Give the connection back to the pool before slow work (networks, a fetch): a few slow callers would otherwise
    hold all of them. The next query takes one again. Inside a transaction nothing happens."""
    if not connection.in_atomic_block:
        connection.close()


def still_there(table: type[Model], keys: Iterable[UUID]) -> set[UUID]:
    """Which of these rows there are; none of them is deleted until the transaction ends.

    For what names rows without a foreign key: who deletes one (by `select_for_update` first) waits, and then finds it
    named.
    """
    name = connection.ops.quote_name(table._meta.db_table)
    with connection.cursor() as cursor:  # Django has no word for this lock
        cursor.execute(
            f"SELECT id FROM {name} WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE",  # noqa: S608
            [list(set(keys))],
        )
        return {row[0] for row in cursor.fetchall()}
