"""`manage.py erase_subject ID --yes`: erase somebody for good; the signed proof goes to a file or to the output."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portrait.audit.services import system
from portrait.core.errors import PortraitError
from portrait.privacy.selectors import find_subject
from portrait.privacy.services.erasing import erase_by_id, proof_json


class Command(BaseCommand):
    help = "Erase a person for good, with all that is kept of them; writes the signed proof."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("identity", metavar="ID")
        parser.add_argument("--yes", action="store_true", help="it cannot be undone: without this nothing is done")
        parser.add_argument("--reference", default="", help="how you know the request; the proof shows it")
        parser.add_argument("--proof", type=Path, metavar="FILE", help="where the proof goes; else the output")

    def handle(self, *args: Any, identity: str, yes: bool, reference: str, proof: Path | None, **options: Any) -> None:
        try:
            principal = system("manage.py erase_subject")
            if not yes:
                subject = find_subject(principal, identity)
                raise CommandError(f"{subject.name!r} would be erased for good, say so with --yes.")
            made = erase_by_id(wanted=identity, principal=principal, reference=reference[:200])
        except PortraitError as error:
            raise CommandError(str(error)) from None
        text = json.dumps(proof_json(made), indent=2, ensure_ascii=False)
        if proof is None:
            self.stdout.write(text)
        else:
            proof.write_text(f"{text}\n")
            self.stdout.write(f"Erased. The proof is in {proof}.")
