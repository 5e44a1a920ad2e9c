"""The web application: `uvicorn portrait.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portrait.settings")
_django = get_asgi_application()

from django.conf import settings  # noqa: E402  (after Django is set up)

from portrait.core.body_limit import BodyLimit  # noqa: E402

application = BodyLimit(_django, settings.MAX_BODY_BYTES, session_cookie=settings.SESSION_COOKIE_NAME)
