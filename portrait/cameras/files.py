"""What follows its row: whatever deletes a camera or a frame, the pictures go as well."""

from typing import Any

from django.db.models.signals import post_delete, pre_delete
from django.dispatch import receiver

from portrait.cameras.models import Camera, Frame, frame_storage
from portrait.core.files import delete_on_commit, stored

CHUNK = 1000


@receiver(pre_delete, sender=Camera)
def delete_frames_of_camera(sender: type[Camera], instance: Camera, **kwargs: Any) -> None:
    """By chunks and without a signal a row: a camera may have millions."""
    frames = Frame.objects.filter(camera=instance)
    storage = frame_storage()
    for name in frames.exclude(picture="").values_list("picture", flat=True).iterator(CHUNK):
        delete_on_commit([(storage, str(name))])


@receiver(post_delete, sender=Frame)
def delete_frame_file(sender: type[Frame], instance: Frame, **kwargs: Any) -> None:
    delete_on_commit(stored(instance.picture))
