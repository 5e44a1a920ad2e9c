"""Files follow their rows: whatever deletes a portrait (API, admin, a cascade), its pictures go after the commit."""

from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver

from portrait.gallery.models import Portrait


@receiver(post_delete, sender=Portrait)
def delete_portrait_files(sender: type[Portrait], instance: Portrait, **kwargs: Any) -> None:
    files = [(file.storage, str(file.name)) for file in (instance.image, instance.thumbnail) if file]

    def delete() -> None:
        for storage, name in files:
            storage.delete(name)

    transaction.on_commit(delete)
