"""Rules of retention are made and removed with an entry of the audit log: both or neither."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from portrait.audit.models import Action
from portrait.audit.services import record
from portrait.core.errors import PortraitError
from portrait.core.principal import Principal
from portrait.privacy.models import RetentionRule


def save_rule(*, rule: RetentionRule, principal: Principal) -> None:
    """Store a rule, new or changed.

    Raises:
        PortraitError: it keeps entries of the audit log for less than they have to be.
        IntegrityError: there is another for the same purpose and collection.
        AuditUnavailableError: it cannot be logged.
    """
    try:
        rule.clean()
    except ValidationError as error:
        raise PortraitError(error.messages[0], field="days") from None
    with transaction.atomic():
        rule.save()
        _log(rule, principal, {"rule": rule.purpose, "days": rule.days})


def remove_rule(*, rule: RetentionRule, principal: Principal) -> None:
    """From now on what it was about is kept for good, or by the rule for all collections.

    Raises:
        AuditUnavailableError: it cannot be logged.
    """
    with transaction.atomic():
        _log(rule, principal, {"rule": rule.purpose, "removed": True})
        rule.delete()


def _log(rule: RetentionRule, principal: Principal, told: dict[str, Any]) -> None:
    record(principal=principal, action=Action.RETENTION, collection_id=rule.collection_id, details=told)
