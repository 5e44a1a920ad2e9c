"""Pages of long lists by where the last one ended ("keyset"), and how many rows there are without counting them all.

A page by OFFSET costs what lies before it; a page by keyset costs what is on it, wherever it lies, as long as an index
has the order. Source of the method: Markus Winand, "We need tool support for keyset pagination".
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.core.paginator import Paginator
from django.db import models
from django.db.models import Q, QuerySet
from django.utils.functional import cached_property

MOST_COUNTED = 10_000
"""Above this a count is estimated: nobody needs the exact number, and to count costs what the rows cost."""

Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Key:
    """One column of an order: not nullable."""

    name: str
    descending: bool

    @property
    def ordering(self) -> str:
        return f"-{self.name}" if self.descending else self.name

    def turned(self) -> "Key":
        return Key(self.name, not self.descending)


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one page; a cursor is None where nothing lies that way."""

    rows: list[Any]
    previous: str | None
    next: str | None


@dataclass(frozen=True, slots=True)
class Counted:
    """How many rows there are: exactly, by the planner's estimate, or (neither) more than that."""

    rows: int
    exact: bool = True
    estimated: bool = False

    def __str__(self) -> str:
        return f"{'' if self.exact else 'about ' if self.estimated else 'more than '}{self.rows:,}"


def keys_of(model: type[models.Model], ordering: Sequence[Any]) -> list[Key] | None:
    """The columns of an order that ends with the primary key, or None where pages by keyset cannot be made of it:
    expressions, columns of other tables, columns that may be null.

    The primary key is turned the way of the column before it, as one index has both.
    """
    keys: list[Key] = []
    for each in ordering:
        if not isinstance(each, str) or not (key := _key(model, each)):
            return None
        if model._meta.pk is not None and key.name == model._meta.pk.name:
            return [*keys, Key(key.name, keys[-1].descending if keys else key.descending)]
        keys.append(key)
    return None


def _key(model: type[models.Model], ordering: str) -> Key | None:
    name = ordering.lstrip("-")
    try:
        field = model._meta.pk if name == "pk" else model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    if not isinstance(field, models.Field) or field.null:
        return None
    return Key(field.attname if field.is_relation else field.name, ordering.startswith("-"))


def page_of(rows: "QuerySet[Row]", keys: Sequence[Key], size: int, *, after: str = "", before: str = "") -> Page:
    """The page behind the cursor `after`, or the one in front of `before`, or the first. A cursor that is none (of
    another order, or made up) leads to the first page."""
    model = rows.model
    backward = bool(before) and not after
    place = _read(model, keys, after or before)
    way = [key.turned() for key in keys] if backward and place else list(keys)
    found = rows if place is None else rows.filter(_beyond(way, place))
    read = list(found.order_by(*(key.ordering for key in way))[: size + 1])
    more, shown = len(read) > size, read[:size]
    if backward and place is not None:
        return _ends(shown[::-1], keys, has_previous=more, has_next=True)
    return _ends(shown, keys, has_previous=place is not None, has_next=more)


def _ends(rows: list[Any], keys: Sequence[Key], *, has_previous: bool, has_next: bool) -> Page:
    if not rows:  # behind the end, after a deletion: back to the first page
        return Page([], "" if has_previous else None, None)
    return Page(rows, _write(rows[0], keys) if has_previous else None, _write(rows[-1], keys) if has_next else None)


def _beyond(keys: Sequence[Key], place: Sequence[Any]) -> Q:
    """(a, b) > (x, y) as `a >= x and (a > x or (a = x and b > y))`: the first part is what an index is entered by."""
    condition, same = Q(), Q()
    for key, value in zip(keys, place, strict=True):
        condition |= same & Q(**{f"{key.name}__{'lt' if key.descending else 'gt'}": value})
        same &= Q(**{key.name: value})
    first, value = keys[0], place[0]
    return Q(**{f"{first.name}__{'lte' if first.descending else 'gte'}": value}) & condition


def _field(model: type[models.Model], name: str) -> "models.Field[Any, Any]":
    return next(field for field in model._meta.concrete_fields if name in (field.name, field.attname))


def _write(row: models.Model, keys: Sequence[Key]) -> str:
    values = [_field(type(row), key.name).value_to_string(row) for key in keys]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _read(model: type[models.Model], keys: Sequence[Key], cursor: str) -> list[Any] | None:
    if not cursor:
        return None
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(keys) or not all(isinstance(v, str) for v in values):
            return None
        if any("\x00" in value for value in values):  # PostgreSQL has no such text
            return None
        return [_field(model, key.name).to_python(value) for key, value in zip(keys, values, strict=True)]
    except (ValueError, TypeError, ValidationError, binascii.Error, RecursionError):
        return None


def counted(rows: "QuerySet[Row]") -> Counted:
    """How many rows there are: exact up to `MOST_COUNTED`, above that as PostgreSQL's planner estimates it."""
    plain = rows.order_by().values("pk")
    planned = planned_rows(plain)
    if planned > MOST_COUNTED:
        return Counted(planned, exact=False, estimated=True)
    number = plain[: MOST_COUNTED + 1].count()
    return Counted(min(number, MOST_COUNTED), exact=number <= MOST_COUNTED)


def planned_rows(rows: "QuerySet[Any, Any]") -> int:
    """The planner's estimate, from the statistics that ANALYZE made."""
    plan = json.loads(rows.explain(format="json"))
    return int(plan[0]["Plan"]["Plan Rows"])


class CappedPaginator(Paginator[Any]):
    """Counts no further than `MOST_COUNTED`: a ledger has millions of rows, and nobody turns so many pages."""

    template_name = "portrait/pager.html"

    @cached_property
    def count(self) -> int:
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.order_by()[:MOST_COUNTED].count()
