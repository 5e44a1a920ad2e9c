"""How long what was deleted can be restored."""

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from portrait.core.errors import ConflictError


def grace_began() -> datetime:
    """What was deleted before is removed for good."""
    return timezone.now() - timedelta(days=settings.PORTRAIT.delete_grace_days)


def require_grace(deleted_at: datetime) -> None:
    """Raise `ConflictError` once what was deleted is being removed for good: from then on nothing brings it back."""
    if deleted_at <= grace_began():
        raise ConflictError("The time of grace is over: what was deleted is being removed for good.")


def grace_ends(deleted_at: datetime | None) -> datetime:
    """Until when it can be restored."""
    return (deleted_at or timezone.now()) + timedelta(days=settings.PORTRAIT.delete_grace_days)
