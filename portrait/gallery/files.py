"""What follows its row: whatever deletes a person (API, admin, a cascade), pictures and queued uploads go as well."""

from typing import Any

from django.db.models import QuerySet
from django.db.models.signals import post_delete, pre_delete
from django.dispatch import receiver

from portrait.core.files import delete_on_commit, stored
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.jobs.removal import erase_jobs, forget_portrait


@receiver(post_delete, sender=Portrait)
def delete_portrait_files(sender: type[Portrait], instance: Portrait, **kwargs: Any) -> None:
    delete_on_commit(stored(instance.image, instance.thumbnail))
    forget_portrait(subject_id=instance.identity_id, portrait_id=instance.pk)


@receiver(pre_delete, sender=Identity)
def erase_jobs_of_identity(sender: type[Identity], instance: Identity, **kwargs: Any) -> None:
    erase_jobs(subject_id=instance.pk)


@receiver(pre_delete, sender=Identity)
def erase_parts_of_identity(sender: type[Identity], instance: Identity, origin: Any = None, **kwargs: Any) -> None:
    """Whoever was merged into a person is that person, and never comes back as somebody."""
    whole = origin.model if isinstance(origin, QuerySet) else type(origin)
    if whole is not Collection:
        for part in Identity.objects.filter(merged_into=instance).order_by("pk"):
            part.delete()


@receiver(pre_delete, sender=Collection)
def erase_jobs_of_collection(sender: type[Collection], instance: Collection, **kwargs: Any) -> None:
    erase_jobs(collection_id=instance.pk)
