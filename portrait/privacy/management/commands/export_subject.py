"""`manage.py export_subject ID --out FILE`: all about one person, as a zip."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portrait.audit.models import Action
from portrait.audit.services import record, system
from portrait.core.errors import NotFoundError
from portrait.privacy.selectors import find_subject, people_of
from portrait.privacy.services.exporting import write_zip


class Command(BaseCommand):
    help = "Write all that is kept about one person into a zip: pictures, sightings, journal, requests."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("identity", metavar="ID")
        parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="must not exist yet")

    def handle(self, *args: Any, identity: str, out: Path, **options: Any) -> None:
        principal = system("manage.py export_subject")
        try:
            subject = find_subject(principal, identity)
        except NotFoundError as error:
            raise CommandError(str(error)) from None
        record(
            principal=principal,
            action=Action.EXPORT_SUBJECT,
            collection_id=subject.collection_id,
            identities=people_of(subject),
        )
        try:
            with os.fdopen(os.open(out, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
                write_zip(subject, file)
        except FileExistsError:
            raise CommandError(f"{out} exists already: name a new file.") from None
        except OSError as error:
            raise CommandError(f"{out} cannot be written: {error.strerror}") from None
        self.stdout.write(f"Written: {out} ({out.stat().st_size} bytes). It holds biometric data.")
