"""What follows from elsewhere: edits of people overtake questions about them, and an erased person is named in none."""

from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.signals import post_delete, pre_delete
from django.dispatch import receiver

from portrait.curation.models import Suggestion
from portrait.curation.selectors import naming
from portrait.curation.services.proposing import note_duplicates, refresh_naming
from portrait.gallery.models import Change, Identity, Portrait
from portrait.gallery.signals import change_made, duplicates_suspected, identity_going


@receiver(change_made, sender=Change)
def after_edit(sender: type[Change], change: Change, **kwargs: Any) -> None:
    """After the commit; whoever dies before it leaves a question that is found overtaken when it is answered, or by the
    next scan."""
    if change.identities:
        transaction.on_commit(partial(refresh_naming, identity_ids=list(change.identities)), robust=True)


@receiver(duplicates_suspected)
def after_enrolment(sender: object, identity: Identity, alike: list[tuple[UUID, float]], **kwargs: Any) -> None:
    """Inside the transaction of the enrolment."""
    note_duplicates(identity=identity, alike=alike)


@receiver(identity_going)
def forget_person(sender: object, identity_id: UUID, **kwargs: Any) -> None:
    forget(identity_id)


@receiver(pre_delete, sender=Identity)
def forget_with_row(sender: type[Identity], instance: Identity, **kwargs: Any) -> None:
    """Of those that came up between the two."""
    forget(instance.pk)


@receiver(post_delete, sender=Portrait)
def forget_portrait(sender: type[Portrait], instance: Portrait, **kwargs: Any) -> None:
    """Questions about a portrait that is gone for good go as well, whatever their answer was."""
    Suggestion.objects.filter(portraits__contains=[instance.pk]).delete()


def forget(identity_id: UUID) -> None:
    """Remove all suggestions that name a person; likenesses follow the row by themselves."""
    Suggestion.objects.filter(naming([identity_id])).delete()
