"""What the journal does when somebody is gone for good: erased, or never made after all."""

from contextvars import ContextVar
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from portrait.gallery.models import Change, Collection, Identity

_taking_back: ContextVar[frozenset[UUID]] = ContextVar("taking_back", default=frozenset())


def remove_person(row: Identity) -> None:
    """Remove somebody whose making is undone: the journal still knows how to make them again."""
    token = _taking_back.set(_taking_back.get() | {row.pk})
    try:
        row.delete()
    finally:
        _taking_back.reset(token)


def forget(identity_id: UUID) -> int:
    """Take somebody who is erased out of the journal; answers how many changes named them.

    What stays of these changes: what kind of edit it was, by whom and when. None of them can be undone.
    """
    forgotten = 0
    with transaction.atomic():
        rows = Change.objects.filter(identities__contains=[identity_id]).order_by("pk")
        for change in rows.select_for_update(of=("self",)):
            change.identities = [each for each in change.identities if each != identity_id]
            change.steps = [
                {name: step[name] for name in ("op", "model", "field") if name in step} for step in change.steps
            ]
            change.details = {"erased": True}
            change.save(update_fields=["identities", "steps", "details"])
            forgotten += 1
    return forgotten


@receiver(pre_delete, sender=Identity)
def _forget_erased(sender: type[Identity], instance: Identity, origin: Any = None, **kwargs: Any) -> None:
    """Whoever deletes a person for good, the journal forgets them. With a whole collection its journal goes anyway."""
    whole = origin.model if hasattr(origin, "model") else type(origin)
    if instance.pk not in _taking_back.get() and whole is not Collection:
        forget(instance.pk)
