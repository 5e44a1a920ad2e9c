"""What follows its row: the zip of an export; when a person goes, whoever deletes them, the meaning of their pseudonym
and what the admin's own log has of them."""

from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
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


@receiver(post_delete, sender=Identity)
def forget_edits(sender: type[Identity], instance: Identity, **kwargs: Any) -> None:
    kind = ContentType.objects.get_for_model(Identity)
    LogEntry.objects.filter(content_type=kind, object_id=str(instance.pk)).delete()
