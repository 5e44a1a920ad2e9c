"""The web application: `uvicorn portrait.asgi:application`."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portrait.settings")
django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402  (after Django is set up)

from portrait.core.body_limit import BodyLimit, Larger  # noqa: E402
from portrait.core.spool import SpoolingHandler  # noqa: E402
from portrait.transfer.admission import admitted, recognise  # noqa: E402

application = BodyLimit(
    SpoolingHandler(),
    settings.MAX_BODY_BYTES,
    session_cookie=settings.SESSION_COOKIE_NAME,
    larger={("POST", "/api/v1/imports"): Larger(settings.PORTRAIT.import_max_mb * 2**20, admitted)},
    recognise=recognise,
)
