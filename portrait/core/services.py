"""Writes of the core: API keys."""

import secrets
import uuid
from collections.abc import Collection

from django.utils import timezone

from portrait.core.models import KEY_PREFIX_CHARS, ApiKey, Scope, hash_key


def create_api_key(
    *,
    name: str,
    scope: Scope,
    collection_ids: Collection[uuid.UUID] | None = None,
    camera_ids: Collection[uuid.UUID] | None = None,
) -> tuple[ApiKey, str]:
    """Store a new key; answers the row and the key itself, which cannot be had again."""
    key = f"pk_{secrets.token_urlsafe(32)}"  # begins with a letter: no command takes it for an option
    row = ApiKey.objects.create(
        name=name,
        scope=scope,
        collection_ids=None if collection_ids is None else list(collection_ids),
        camera_ids=None if camera_ids is None else list(camera_ids),
        prefix=key[:KEY_PREFIX_CHARS],
        key_hash=hash_key(key),
    )
    return row, key


def revoke_api_keys(*, ids: Collection[uuid.UUID]) -> int:
    """Close the keys for good; answers how many were open."""
    return ApiKey.objects.filter(id__in=ids, revoked_at=None).update(revoked_at=timezone.now())
