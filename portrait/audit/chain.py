"""What binds the entries of the log: pure functions of bytes, no database.

Each entry has a MAC at once, so that nobody without the key can write or change one. A moment later it gets its place
in a chain: a hash over its MAC and the link before, so that none can be taken out or put in between either. HMAC-SHA256
(RFC 2104); the chain is that of Schneier and Kelsey, "Secure audit logs to support computer forensics" (1999), without
their evolving key: who has both the database and the key can write the log anew, and what is noted elsewhere (see
`services.seal`) shows that.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

START = b"\0" * 32
"""What comes before the first link."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys by id: the first writes, all of them verify."""

    keys: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, secrets: Sequence[str]) -> "Keyring":
        """secrets: the newest first.

        Raises:
            ValueError: there is none.
        """
        if not any(secrets):
            raise ValueError("AUDIT_KEY is empty")
        derived = (hashlib.sha256(b"portrait audit\0" + secret.encode()).digest() for secret in secrets if secret)
        return cls(tuple((hashlib.sha256(key).hexdigest()[:8], key) for key in derived))

    @property
    def newest(self) -> str:
        return self.keys[0][0]

    def mac(self, key_id: str, *parts: bytes) -> bytes | None:
        """32 bytes; None: this key is not known here."""
        key = dict(self.keys).get(key_id)
        if key is None:
            return None
        digest = hmac.new(key, digestmod=hashlib.sha256)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()


def canonical(values: Mapping[str, Any]) -> bytes:
    """The same bytes for the same entry, before it was stored and after."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


@dataclass(frozen=True, slots=True)
class Place:
    """An entry's place in the chain. entry_mac: None where the entry is gone."""

    position: int
    entry_id: int
    entry_mac: bytes | None


def link_of(keys: Keyring, key_id: str, before: bytes, place: Place) -> bytes | None:
    """The hash of a link after the one whose hash is `before`; None: the key is not known here."""
    named = f"{place.position} {place.entry_id}".encode()
    return keys.mac(key_id, b"link", before, named, place.entry_mac or b"")


def checkpoint_of(keys: Keyring, key_id: str, position: int, digest: bytes) -> bytes | None:
    """The MAC of a checkpoint; None: the key is not known here."""
    return keys.mac(key_id, b"checkpoint", str(position).encode(), digest)
