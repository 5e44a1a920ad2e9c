#!/usr/bin/env python
"""Django's command line: `python manage.py help` lists the commands, Portrait's own among them."""

import os
import sys

import psycopg
from django.core.management import execute_from_command_line
from django.db import OperationalError
from environs import EnvError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portrait.settings")
    try:
        execute_from_command_line(sys.argv)
    except EnvError as error:
        sys.exit(f"A setting cannot be used. {error}")
    except (OperationalError, psycopg.OperationalError):  # the pool's own errors are psycopg's
        from django.conf import settings

        from portrait.embedded.postgres import explain_silence

        if reason := explain_silence(settings.PORTRAIT):
            sys.exit(reason)
        raise


if __name__ == "__main__":
    main()
