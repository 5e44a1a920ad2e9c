"""Proofs that can be checked without us: Ed25519 over canonical JSON.

The signature is over the UTF-8 bytes of the statement with sorted keys and no white space. Source: RFC 8032; the
canonical form is that of RFC 8785 for what stands in a statement (texts, whole numbers, lists, objects).
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings

ALGORITHM = "Ed25519"


@lru_cache(maxsize=4)
def _private_key(secret: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"portrait proof\0" + secret.encode()).digest())


def _own_key() -> Ed25519PrivateKey:
    return _private_key(settings.PORTRAIT.proof_key)


def public_key() -> str:
    """Of this installation: the 32 raw bytes, base64."""
    raw = _own_key().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(raw).decode()


def public_key_pem() -> str:
    """The same, as OpenSSL reads it."""
    return _own_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def canonical(statement: Mapping[str, Any]) -> bytes:
    """What is signed."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sign(statement: Mapping[str, Any]) -> str:
    """The signature of this installation, base64."""
    return base64.b64encode(_own_key().sign(canonical(statement))).decode()


def is_signed(statement: Mapping[str, Any], signature: str, key: str) -> bool:
    """Whether the holder of a key (base64) signed exactly this."""
    try:
        raw, signed = base64.b64decode(key, validate=True), base64.b64decode(signature, validate=True)
        Ed25519PublicKey.from_public_bytes(raw).verify(signed, canonical(statement))
    except (InvalidSignature, ValueError):
        return False
    return True


def subject_hash(salt: str, identity_id: object) -> str:
    """How a proof knows somebody: hexadecimal."""
    return hashlib.sha256(f"{salt}{identity_id}".encode()).hexdigest()
