"""`manage.py verify_proof FILE`: whether a proof of erasure was signed by this installation, and is as it was."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portrait.privacy.signing import is_signed, public_key, subject_hash


class Command(BaseCommand):
    help = "Check the signature of a proof of erasure."
    requires_system_checks: list[str] = []  # needs no database

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--key", help="the public key, base64: of another installation, GET /api/v1/privacy/key")
        parser.add_argument("--identity", metavar="ID", help="check as well that it is about this person")

    def handle(self, *args: Any, file: Path, key: str | None, identity: str | None, **options: Any) -> None:
        try:
            proof = json.loads(file.read_text())
            statement, signature = dict(proof["statement"]), str(proof["signature"])
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(f"{file} is no proof of erasure: {error}") from None
        if not is_signed(statement, signature, key or public_key()):
            raise CommandError("The signature is not right: the proof was changed, or another installation made it.")
        subject = statement["subject"]
        if identity is not None and subject_hash(subject["salt"], identity.lower()) != subject["sha256"]:
            raise CommandError("The signature is right, but the proof is about somebody else.")
        rows = sum(statement["removed_rows"].values())
        self.stdout.write(
            f"The signature is right. Erased at {statement['finished_at']}: {rows} rows, "
            f"{len(statement['removed_files'])} files; {len(statement['files_waiting'])} files still had to go, "
            f"{statement.get('import_zips_waiting', 0)} zips of imports were still waiting."
        )
