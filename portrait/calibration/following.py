"""Who is erased is named in no report, and a picture goes with its run."""

from typing import Any
from uuid import UUID

from django.db.models.signals import post_delete, pre_delete
from django.dispatch import receiver

from portrait.calibration.models import CalibrationRun
from portrait.calibration.services.runs import forget
from portrait.core.files import delete_on_commit, stored
from portrait.gallery.models import Identity
from portrait.gallery.signals import identity_going


@receiver(identity_going)
def forget_person(sender: object, identity_id: UUID, **kwargs: Any) -> None:
    forget(identity_id=identity_id)


@receiver(pre_delete, sender=Identity)
def forget_with_row(sender: type[Identity], instance: Identity, **kwargs: Any) -> None:
    """Of reports that came between the two."""
    forget(identity_id=instance.pk)


@receiver(post_delete, sender=CalibrationRun)
def delete_picture(sender: type[CalibrationRun], instance: CalibrationRun, **kwargs: Any) -> None:
    delete_on_commit(stored(instance.picture))
