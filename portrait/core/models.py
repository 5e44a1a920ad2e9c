"""Base models, and the keys that open the API."""

import hashlib
import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

KEY_PREFIX_CHARS = 11
"""`pk_` and eight characters: enough to tell keys apart, too few to guess one."""


class BaseModel(models.Model):
    """A random public id, and when the row was made and changed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class Scope(models.TextChoices):
    """What a key may do; each includes the ones before it."""

    READ = "read", "read: detect, verify, recognize, look up"
    ENROL = "enrol", "enrol: add and change identities and portraits"
    ADMIN = "admin", "admin: collections, models, deletion of collections"

    def includes(self, other: "Scope") -> bool:
        order = list(Scope)
        return order.index(self) >= order.index(other)


def hash_key(key: str) -> str:
    """SHA-256 of a key, hexadecimal. Keys are 256 random bits, so a slow password hash would add nothing."""
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKey(BaseModel):
    """A key to the API: only its hash is stored. `collection_ids` None means every collection, `camera_ids`
    None every camera of these."""

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=KEY_PREFIX_CHARS, editable=False, help_text="The key's first characters.")
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    scope = models.CharField(max_length=10, choices=Scope.choices, default=Scope.READ)
    # Ids, not rows: collections belong to an app above this one.
    collection_ids = ArrayField(models.UUIDField(), null=True, blank=True)
    camera_ids = ArrayField(
        models.UUIDField(),
        null=True,
        blank=True,
        help_text="A key bound to cameras opens what belongs to these cameras, and nothing else.",
    )
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…, {self.scope})"


class PendingDeletion(models.Model):
    """A file that has to go. The row is written by the transaction that gives the file up, and is removed once the file
    is gone: neither a store that fails nor a process that dies leaves it behind for good."""

    id = models.BigAutoField(primary_key=True)
    storage = models.CharField(max_length=30, help_text="Its name in the settings.")
    path = models.CharField(max_length=500)
    since = models.DateTimeField(default=timezone.now)
    tries = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now, db_index=True)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.path} in {self.storage}"
