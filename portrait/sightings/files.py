"""What follows its row: whatever deletes a person, a camera or a sighting, pictures and faces go as well."""

import posixpath
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import Model, QuerySet
from django.db.models.signals import post_delete, pre_delete
from django.dispatch import receiver

from portrait.cameras.models import Camera
from portrait.core.files import delete_on_commit, stored
from portrait.gallery.models import Collection, Identity
from portrait.gallery.selectors import as_uuid
from portrait.gallery.signals import identity_going
from portrait.sightings.models import Sighting
from portrait.sightings.services.erasure import erase_identity, erase_most, lock_timelines

CHUNK = 1000


@receiver(identity_going)
def erase_most_of_what_was_seen(sender: type[Identity], identity_id: UUID, **kwargs: Any) -> None:
    erase_most(identity_id=identity_id)


@receiver(pre_delete, sender=Identity)
def erase_what_was_seen(sender: type[Identity], instance: Identity, origin: Any = None, **kwargs: Any) -> None:
    """Where the whole collection goes, its cameras go with all they saw, and nobody needs a cut-out any more."""
    if _kind(origin) is not Collection:
        erase_identity(identity_id=instance.pk)


def _kind(origin: Any) -> type[Model]:
    return origin.model if isinstance(origin, QuerySet) else type(origin)


@receiver(pre_delete, sender=Camera)
def delete_pictures_of_camera(sender: type[Camera], instance: Camera, **kwargs: Any) -> None:
    """Read here and now, under the lock: a cut-out may have been saved since the rows were collected."""
    lock_timelines([instance.pk])
    rows = Sighting.everything.filter(camera=instance).exclude(picture="")
    storage = Sighting._meta.get_field("picture").storage
    for name in rows.values_list("picture", flat=True).iterator(CHUNK):
        delete_on_commit([(storage, str(name))])


@receiver(post_delete, sender=Sighting)
def delete_picture(sender: type[Sighting], instance: Sighting, **kwargs: Any) -> None:
    delete_on_commit(stored(instance.picture))


def named(paths: Sequence[str]) -> set[str]:
    """Which of these files are pictures of sightings."""
    ids = [key for path in paths if (key := as_uuid(posixpath.basename(path)[:36])) is not None]  # see `sighting_path`
    return set(Sighting.everything.filter(pk__in=ids).values_list("picture", flat=True)) & set(paths)
