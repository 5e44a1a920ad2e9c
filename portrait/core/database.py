"""Database connections and slow work do not go together."""

from django.db import connection


def release_connection() -> None:
    """Give the connection back to the pool before slow work (networks, a fetch): a few slow callers would otherwise
    hold all of them. The next query takes one again. Inside a transaction nothing happens."""
    if not connection.in_atomic_block:
        connection.close()
