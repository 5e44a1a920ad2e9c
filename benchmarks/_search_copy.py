"""Rows of fixed width into PostgreSQL, as fast as its binary COPY takes them: no Python for a single row.

Source of the format: PostgreSQL's manual, COPY, "Binary Format", and pgvector's `vector_recv`.
"""

from collections.abc import Mapping

import numpy as np
from django.db import connection
from django.db.models import Model
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Column = Bytes | bytes | None
"""(rows, width) bytes of each row's value, the same bytes for all rows, or NULL."""

_HEADER, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_PIECE = 1 << 22


def uuids(count: int, random: np.random.Generator) -> Bytes:
    return random.integers(0, 256, (count, 16), np.uint8)


def vectors(rows: NDArray[np.float32]) -> Bytes:
    """pgvector's own: dimensions, 0, big-endian floats. rows: (n, dims)."""
    head = np.broadcast_to(np.array([rows.shape[1], 0], ">i2").view(np.uint8), (len(rows), 4))
    return np.concatenate([head, rows.astype(">f4").view(np.uint8)], axis=1)


def texts(prefix: str, keys: Bytes) -> Bytes:
    """`prefix` and a key in hexadecimal, for each row."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    spelt = np.stack([digits[keys >> 4], digits[keys & 15]], axis=2).reshape(len(keys), -1)
    start = np.broadcast_to(np.frombuffer(prefix.encode(), np.uint8), (len(keys), len(prefix)))
    return np.concatenate([start, spelt], axis=1)


def float_array(values: list[float]) -> bytes:
    """A value of the type double precision[]."""
    head = np.array([1, 0, 701, len(values), 1], ">i4").tobytes()
    return head + b"".join(np.array([8], ">i4").tobytes() + np.array([value], ">f8").tobytes() for value in values)


def copy(table: type[Model], rows: int, columns: Mapping[str, Column]) -> None:
    """Add rows to a table. Names of columns are the database's; one that is not named gets its default."""
    body = _rows(rows, list(columns.values())).reshape(-1)
    statement = f"COPY {table._meta.db_table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        stream.write(_HEADER)
        for start in range(0, len(body), _PIECE):
            stream.write(body[start : start + _PIECE].tobytes())
        stream.write(_END)


def _rows(rows: int, columns: list[Column]) -> Bytes:
    parts = [np.frombuffer(np.array([len(columns)], ">i2").tobytes(), np.uint8)]
    for column in columns:
        value = np.frombuffer(column, np.uint8) if isinstance(column, bytes) else column
        width = -1 if value is None else value.shape[-1]
        parts.append(np.frombuffer(np.array([width], ">i4").tobytes(), np.uint8))
        if value is not None:
            parts.append(value)
    return np.concatenate([np.broadcast_to(part, (rows, part.shape[-1])) for part in parts], axis=1)
