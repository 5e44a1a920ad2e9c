"""Who is erased is named in no report of a check."""

from typing import Any

from django.db import transaction
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from portrait.gallery.models import Identity
from portrait.upkeep.models import UpkeepRun


@receiver(pre_delete, sender=Identity)
def forget_person(sender: type[Identity], instance: Identity, **kwargs: Any) -> None:
    """Checks list the first few people of whom something is amiss."""
    key = str(instance.pk)
    named = UpkeepRun.objects.filter(kind=UpkeepRun.Kind.INTEGRITY, report__icontains=key)
    with transaction.atomic():
        for run in named.select_for_update(of=("self",)).order_by("pk"):
            for told in run.report.get("rows", {}).values():
                told["ids"] = [each for each in told["ids"] if each != key]
            run.save(update_fields=["report"])
