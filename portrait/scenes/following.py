"""What follows others: frames that were processed may have to be described; what was told of a picture goes with it."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from portrait.cameras.models import Camera, Frame
from portrait.cameras.signals import pictures_going
from portrait.gallery.models import Collection, Identity
from portrait.scenes.services.due import describe_due
from portrait.scenes.services.forgetting import forget_frames, forget_person
from portrait.sightings.signals import frames_done


@receiver(frames_done)
def describe_frames(sender: type[Frame], camera: Camera, frames: Sequence[Frame], **kwargs: Any) -> None:
    describe_due(camera=camera, frames=frames)


@receiver(pictures_going)
def forget_pictures(sender: type[Frame], frame_ids: Sequence[int], **kwargs: Any) -> None:
    forget_frames(frame_ids=frame_ids)


@receiver(pre_delete, sender=Identity)
def forget_identity(sender: type[Identity], instance: Identity, origin: Any = None, **kwargs: Any) -> None:
    """Portraits' captions follow by cascade. Where the whole collection goes, its jobs go as well."""
    kind = origin.model if isinstance(origin, QuerySet) else type(origin)
    if kind is not Collection:
        forget_person(identity_id=instance.pk)
