"""An edit: writes that are noted as steps while they are made, and end as one row of the journal."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Model, Q

from portrait.core.errors import ConflictError, NotFoundError
from portrait.core.principal import Principal
from portrait.gallery.models import Change, Identity, Portrait, PortraitEmbedding
from portrait.gallery.services.journal_rows import (
    CREATE,
    DELETE,
    SET,
    Recorded,
    Step,
    as_json,
    recorded,
    touched,
)
from portrait.gallery.signals import change_made

MEANWHILE = "It was changed at this very moment by somebody else; look at it and try again."


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change, as the journal names them."""

    name: str


SYSTEM = Actor("Portrait")
"""Its own upkeep."""


def actor_of(principal: Principal) -> Actor:
    """The caller of the API."""
    return Actor(f"API key {principal.name}" if principal.api_key_id else f"user {principal.name}")


def actor_of_user(user: Any) -> Actor:
    """Somebody signed in to the admin."""
    return Actor(f"user {user.get_username()}")


Missing = Callable[[Recorded, Sequence[Any]], None]


@dataclass(slots=True)
class Edit:
    """Open: inside a transaction, with everybody it is about locked. people: their rows, fresh, by id."""

    collection_id: UUID
    people: dict[UUID, Identity]
    steps: list[Step] = field(default_factory=list)
    change: Change | None = None

    def set(self, rows: Iterable[Model], name: str, value: Any) -> None:
        """Give rows of one model a value; those that have it already are left alone.

        Raises:
            ConflictError: a row is not as it was read.
        """
        groups: dict[str, list[Model]] = defaultdict(list)
        for row in rows:
            kind = recorded(type(row))
            before = getattr(row, kind.attribute(name))
            if before != value:
                groups[json.dumps(as_json(before), sort_keys=True)].append(row)
        for group in groups.values():
            kind = recorded(type(group[0]))
            attribute = kind.attribute(name)
            before = getattr(group[0], attribute)
            if self.write(kind, [row.pk for row in group], name, before, value):
                raise ConflictError(MEANWHILE)
            for row in group:
                setattr(row, attribute, value)

    def write(self, kind: Recorded, keys: Sequence[Any], name: str, before: Any, after: Any) -> list[Any]:
        """A conditional update of rows that still have `before`; answers the keys of those that have not."""
        attribute = kind.attribute(name)
        rows = kind.model._default_manager.filter(pk__in=keys, **{attribute: before})
        fitting = set(rows.select_for_update(of=("self",), no_key=True).values_list("pk", flat=True))
        changes = {attribute: after, **touched(kind.model)}
        kind.model._default_manager.filter(pk__in=fitting).update(**changes)
        for key in keys:
            if key in fitting:
                values = {"field": name, "before": as_json(before), "after": as_json(after)}
                self.steps.append({"op": SET, "model": kind.label, "pk": str(key)} | values)
        return [key for key in keys if key not in fitting]

    def create(self, model: type[Model], **values: Any) -> Any:
        """A new row; its step holds what the journal keeps of it."""
        row = model(**values)
        row.save(force_insert=True)
        self.note(CREATE, row)
        return row

    def delete(self, rows: Iterable[Model]) -> None:
        """Remove rows, of which the journal keeps enough to make them again."""
        for row in rows:
            self.note(DELETE, row)
            row.delete()

    def note(self, operation: str, row: Model) -> None:
        kind = recorded(type(row))
        step = {"op": operation, "model": kind.label, "pk": str(row.pk)}
        self.steps.append(step | {"values": kind.values_of(row)})

    def close(
        self,
        action: str,
        actor: Actor,
        *,
        identities: Iterable[UUID],
        details: dict[str, Any],
        undoes: Change | None = None,
    ) -> Change:
        """Note the change, and let follow what hangs on it."""
        follow_vectors(self.steps)
        self.change = Change.objects.create(
            collection_id=self.collection_id,
            action=action,
            actor=actor.name[:200],
            identities=list(dict.fromkeys(identities)),
            steps=self.steps,
            details=details,
            undoes=undoes,
        )
        change_made.send(Change, change=self.change)
        return self.change


@contextmanager
def edit(
    *, action: str, actor: Actor, identities: Sequence[Identity], details: dict[str, Any] | None = None
) -> Iterator[Edit]:
    """A transaction that ends as one change about these people, of one collection; without any step it ends as none.

    `details` may be added to while it is open.

    Raises:
        NotFoundError: one of them was erased.
        ConflictError: they are of several collections.
    """
    told = {} if details is None else details
    with transaction.atomic():
        people = lock_people(each.pk for each in identities)
        if len(people) != len({each.pk for each in identities}):
            raise NotFoundError("There is no such identity any more.")
        collections = {each.collection_id for each in people.values()}
        if len(collections) != 1:
            raise ConflictError("These people are of several collections, which never meet.")
        mine = Edit(collections.pop(), people)
        yield mine
        if mine.steps or told.get("pin"):
            made = [UUID(step["pk"]) for step in mine.steps if step["op"] == CREATE and step["model"] == "identity"]
            mine.close(action, actor, identities=[*(each.pk for each in identities), *made], details=told)


def lock_people(identity_ids: Iterable[UUID]) -> dict[UUID, Identity]:
    """Fresh rows of these people, locked until the transaction's end; always in the same order, so that two edits
    never wait for each other. The lock is the one of enrolment: whoever only refers to them need not wait."""
    rows = Identity.objects.filter(pk__in=set(identity_ids)).order_by("pk")
    return {row.pk: row for row in rows.select_for_update(of=("self",), no_key=True)}


def follow_vectors(steps: Iterable[Step]) -> None:
    """The columns that vectors repeat: whose they are, and whether they are searched."""
    portraits = {step["pk"] for step in steps if step["model"] == "portrait"}
    ends = {"deleted_at", "merged_into"}
    people = {step["pk"] for step in steps if step["model"] == "identity" and step.get("field") in ends}
    rows = Portrait.objects.filter(Q(pk__in=portraits) | Q(identity__in=people)).select_related("identity")
    groups: dict[tuple[UUID, bool], list[UUID]] = defaultdict(list)
    for row in rows.only("pk", "deleted_at", "identity__deleted_at", "identity__merged_into").order_by():
        who = row.identity
        live = row.deleted_at is None and who.deleted_at is None and who.merged_into_id is None
        groups[who.pk, live].append(row.pk)
    for (identity_id, live), keys in groups.items():
        vectors = PortraitEmbedding.objects.filter(portrait__in=keys)
        vectors.exclude(identity_id=identity_id, live=live).update(identity_id=identity_id, live=live)
