"""What follows its row: the zip of an export; the meaning of a pseudonym when its person goes, whoever deletes them."""

from typing import Any

from django.db.models.signals import post_delete
from django.dispatch import receiver

from portrait.audit.services import forget_subjects
from portrait.core.files import delete_on_commit, stored
from portrait.gallery.models import Identity
from portrait.privacy.models import SubjectExport


@receiver(post_delete, sender=SubjectExport)
def delete_zip(sender: type[SubjectExport], instance: SubjectExport, **kwargs: Any) -> None:
    delete_on_commit(stored(instance.file))


@receiver(post_delete, sender=Identity)
def forget_pseudonym(sender: type[Identity], instance: Identity, **kwargs: Any) -> None:
    forget_subjects(identity_ids=[instance.pk])
