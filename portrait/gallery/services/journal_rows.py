"""What the journal may write, and how a row's values stand in its JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, cast
from uuid import UUID

from django.db.models import Field, Model
from django.utils import timezone

from portrait.gallery.models import Distinct, Identity, Portrait, Rejection

Step = dict[str, Any]
"""One exactly invertible write: `op` (set, create or delete), `model` (a label of `recorded`), `pk` (as text), and
`field`, `before`, `after` of a set, `values` of the others."""

SET, CREATE, DELETE = "set", "create", "delete"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A model that edits may change, by these of its fields."""

    label: str
    model: type[Model]
    fields: tuple[str, ...]

    def column(self, name: str) -> "Field[Any, Any]":
        if name not in self.fields:
            raise ValueError(f"{self.label}.{name} is not a field that the journal writes")
        return cast("Field[Any, Any]", self.model._meta.get_field(name))

    def attribute(self, name: str) -> str:
        """`identity_id` of `identity`: what a lookup, an update and a row know a column as."""
        return str(self.column(name).attname)

    def value(self, name: str, stored: Any) -> Any:
        """The inverse of `as_json`."""
        column: Any = self.column(name)
        target = column.target_field if column.is_relation else column
        return None if stored is None else target.to_python(stored)

    def values_of(self, row: Model) -> dict[str, Any]:
        """All that the journal keeps of a row, as JSON, so that the row can be made again."""
        return {name: as_json(getattr(row, self.attribute(name))) for name in self.fields}

    def key(self, text: str) -> Any:
        return self.model._meta.pk.to_python(text) if self.model._meta.pk else text


_by_label: dict[str, Recorded] = {}
_by_model: dict[type[Model], Recorded] = {}


def record(label: str, model: type[Model], fields: Sequence[str]) -> None:
    """Let edits change these fields of a model: apps above the gallery add theirs when they start."""
    _by_label[label] = _by_model[model] = Recorded(label, model, tuple(fields))


def recorded(what: str | type[Model]) -> Recorded:
    """By label or by model."""
    return _by_label[what] if isinstance(what, str) else _by_model[what]


def as_json(value: Any) -> Any:
    """A column's value as JSON, without any loss."""
    if isinstance(value, UUID):
        return str(value)
    return value.isoformat() if isinstance(value, date) else value  # a datetime is a date too


def touched(row: type[Model]) -> dict[str, Any]:
    """What every update of such a row writes beside its own values."""
    return {"updated_at": timezone.now()} if any(field.name == "updated_at" for field in row._meta.fields) else {}


def inverse(step: Step) -> Step:
    """The step that takes this one back."""
    if step["op"] == SET:
        return step | {"before": step["after"], "after": step["before"]}
    return step | {"op": DELETE if step["op"] == CREATE else CREATE}


def people_in(steps: Iterable[Step]) -> set[UUID]:
    """Everybody whom steps name by an id: as the row itself, or as the one that a row refers to."""
    found: set[str] = set()
    for step in steps:
        kind = recorded(step["model"])
        if kind.model is Identity:
            found.add(step["pk"])
        given = {step["field"]: None} if step["op"] == SET else step["values"]
        for name in given:
            if kind.column(name).related_model is Identity:
                values = (step["before"], step["after"]) if step["op"] == SET else (step["values"][name],)
                found.update(value for value in values if value)
    return {UUID(each) for each in found}


record(
    "identity",
    Identity,
    [
        "collection",
        "name",
        "external_id",
        "metadata",
        "action",
        "kind",
        "hidden",
        "merged_into",
        "deleted_at",
        "consent",
        "keep_until",
    ],
)
record("portrait", Portrait, ["identity", "deleted_at"])
record("rejection", Rejection, ["identity", "portrait"])
record("distinct", Distinct, ["first", "second"])
