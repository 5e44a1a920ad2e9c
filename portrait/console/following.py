"""What follows from elsewhere: nobody who was erased is named by a job of these pages."""

from typing import Any
from uuid import UUID

from django.db.models.signals import pre_delete
from django.dispatch import receiver

from portrait.console.bulk import forget
from portrait.gallery.models import Identity
from portrait.gallery.signals import identity_going


@receiver(identity_going)
def forget_person(sender: object, identity_id: UUID, **kwargs: Any) -> None:
    forget(identity_id)


@receiver(pre_delete, sender=Identity)
def forget_with_row(sender: type[Identity], instance: Identity, **kwargs: Any) -> None:
    """Of jobs that were begun between the two."""
    forget(instance.pk)
