"""What follows a person or a collection that goes: whatever deletes them (API, admin, a cascade)."""

from typing import Any
from uuid import UUID

from django.db.models.signals import pre_delete
from django.dispatch import receiver

from portrait.gallery.models import Collection, Identity
from portrait.gallery.signals import collection_going, identity_going
from portrait.transfer.services import erasure


@receiver(identity_going)
def erase_most_of_identity(sender: type[Identity], identity_id: UUID, **kwargs: Any) -> None:
    erasure.erase_identity(identity_id=identity_id)


@receiver(pre_delete, sender=Identity)
def erase_identity(sender: type[Identity], instance: Identity, **kwargs: Any) -> None:
    if not isinstance(kwargs.get("origin"), Collection):
        erasure.erase_identity(identity_id=instance.pk)


@receiver(collection_going)
def erase_most_of_collection(sender: type[Collection], collection_id: UUID, **kwargs: Any) -> None:
    erasure.erase_collection(collection_id=collection_id)


@receiver(pre_delete, sender=Collection)
def erase_collection(sender: type[Collection], instance: Collection, **kwargs: Any) -> None:
    erasure.erase_collection(collection_id=instance.pk)
