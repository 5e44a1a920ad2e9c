"""Django's settings. Values that differ between deployments come from `portrait.env`, nothing else does."""

from typing import Any

import dj_database_url
import django_stubs_ext
from django.templatetags.static import static

from portrait.env import BASE_DIR, read_environment

# Lets `admin.ModelAdmin[Job]` and the like be written, which mypy needs and Django does not know.
django_stubs_ext.monkeypatch()

PORTRAIT = read_environment()

# --- Django ---------------------------------------------------------------------------------------

DEBUG = PORTRAIT.debug
SECRET_KEY = PORTRAIT.secret_key
ALLOWED_HOSTS = PORTRAIT.allowed_hosts
CSRF_TRUSTED_ORIGINS = PORTRAIT.csrf_trusted_origins
ROOT_URLCONF = "portrait.urls"
ASGI_APPLICATION = "portrait.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "unfold",  # before Django's admin, whose templates it replaces
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "portrait.embedded",
    "portrait.core",
    "portrait.audit",
    "portrait.jobs",
    "portrait.gallery",
    "portrait.cameras",
    "portrait.sightings",
    "portrait.scenes",
    "portrait.curation",
    "portrait.reindex",
    "portrait.transfer",
    "portrait.calibration",
    "portrait.privacy",
    "portrait.upkeep",
    "portrait.console",
    "portrait.compat.smartav",
    "portrait.demo",
    "portrait.drill",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "portrait.audit.context.OriginMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "DIRS": [BASE_DIR / "portrait" / "console" / "overrides"],  # of Unfold's
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

# Threads mostly wait for Triton; several of them per core let its dynamic batcher see batches. More than 32 bring
# nothing: Triton's batches are full by then, Python's lock is busy with pictures, and each thread may hold a
# connection to PostgreSQL, which has about 200 for all processes together. More workers go further.
_worker_threads = min(32, max(8, 4 * PORTRAIT.cores))

# Each of a worker's threads may hold one at a time; the rest is for whoever else works in the process.
DATABASE_POOL = {"min_size": 0, "max_size": max(16, _worker_threads + 4), "timeout": 5}

HNSW_EF_SEARCH = 200
"""Candidates that a walk through an index of vectors keeps in mind: wide enough for a recall near an exact scan."""
_database: dict[str, Any] = {
    **dj_database_url.parse(PORTRAIT.database_url, conn_health_checks=True),
    "CONN_MAX_AGE": 0,  # the pool keeps connections, the request gives them back
}
_database.setdefault("OPTIONS", {}).update(
    {
        # Without an address the pool would only retry for a while: the plain connection fails at once.
        "pool": DATABASE_POOL if PORTRAIT.has_database else False,
        # A filtered search goes on until it has enough rows.
        "options": f"-c hnsw.iterative_scan=strict_order -c hnsw.ef_search={HNSW_EF_SEARCH}",
    }
)
DATABASES = {"default": _database}

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": PORTRAIT.redis_url,
        "KEY_PREFIX": "portrait",
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 2},
    }
}

MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"  # a new key never travels in a cookie

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
FORMAT_MODULE_PATH = ["portrait.core.formats"]

STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # served out of the packages: no collectstatic step is needed

# Media are biometric: there is no MEDIA_URL that a web server could hand out. Authorised views only.
MEDIA_ROOT = PORTRAIT.var / "media"
# Frames are the many: they may lie in an S3 bucket instead (the extra `s3`; its credentials as boto3 finds them).
_frames: dict[str, Any] = {"BACKEND": "portrait.core.storage.FsyncStorage"}
if PORTRAIT.frames_bucket:
    _frames = {
        "BACKEND": "portrait.core.s3.S3FrameStorage",
        "OPTIONS": {
            "bucket_name": PORTRAIT.frames_bucket,
            "endpoint_url": PORTRAIT.frames_endpoint or None,
            "default_acl": None,
            "file_overwrite": False,
            "querystring_auth": True,
        },
    }
STORAGES = {
    "default": {"BACKEND": "portrait.core.storage.FsyncStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "frames": _frames,
}
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
# Uploads on their way, zips of gigabytes among them: on the disk of the media, where there is room.
FILE_UPLOAD_TEMP_DIR = PORTRAIT.var / "tmp"
FILE_UPLOAD_TEMP_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
# Two pictures of 25 MB in base64 (verify), or a handful of files; larger bodies are refused before they are stored.
MAX_BODY_BYTES = 128 * 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
DATA_UPLOAD_MAX_NUMBER_FILES = 100

SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
if PORTRAIT.secure_proxy:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 31_536_000

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "portrait": {"level": PORTRAIT.log_level},
        "inference": {"level": PORTRAIT.log_level},
        "django": {"handlers": ["console"], "level": "WARNING", "propagate": False},
    },
}

# --- Admin: the look (django-unfold); its parts are in portrait.console ------------------------------

UNFOLD = {
    "SITE_TITLE": "Portrait",
    "SITE_HEADER": "Portrait",
    "SITE_SUBHEADER": "The portrait database",
    "SITE_SYMBOL": "familiar_face_and_zone",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("console/icon.svg")}],
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [lambda request: static("console/console.css")],
    "SCRIPTS": [lambda request: static("console/console.js")],
    "DASHBOARD_CALLBACK": "portrait.console.dashboard.overview",
    "SIDEBAR": {"navigation": "portrait.console.navigation.sidebar"},
    "COLORS": {
        "primary": {  # teal; white on 600 and 600 on white are readable (WCAG AA)
            "50": "#f0fdfa",
            "100": "#ccfbf1",
            "200": "#99f6e4",
            "300": "#5eead4",
            "400": "#2dd4bf",
            "500": "#14b8a6",
            "600": "#0f766e",
            "700": "#115e59",
            "800": "#134e4a",
            "900": "#0f3f3c",
            "950": "#042f2e",
        }
    },
}

# --- API ------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "portrait.core.auth.ApiKeyAuthentication",
        "portrait.core.auth.StaffSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["portrait.core.auth.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "portrait.core.pagination.NewestFirstPagination",
    "DEFAULT_THROTTLE_CLASSES": ["portrait.core.throttling.PrincipalThrottle"],
    "DEFAULT_THROTTLE_RATES": {
        "read": PORTRAIT.throttle_read,
        "enrol": PORTRAIT.throttle_enrol,
        "frames": PORTRAIT.throttle_frames,
    },
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "portrait.core.api_errors.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Portrait",
    "VERSION": "1",
    "DESCRIPTION": (BASE_DIR / "portrait" / "core" / "api_description.md").read_text(),
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "PictureKindEnum": ["frame", "portrait"],
        "ActorKindEnum": "portrait.audit.models.ActorKind",
        "IdentityKindEnum": "portrait.gallery.models.Identity.Kind",
        "FrameStateEnum": "portrait.cameras.models.FrameState",
    },  # more than one thing has a kind, or a state
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "portrait.core.schema.describe_alike",
    ],
}

# --- Celery (read by portrait.celery) -------------------------------------------------------------

CELERY_BROKER_URL = PORTRAIT.redis_url
CELERY_TASK_IGNORE_RESULT = True  # results live in PostgreSQL, never in the broker
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "ingest"
CELERY_TASK_QUEUES = {
    name: {"exchange": name, "routing_key": name}
    for name in ("ingest", "frames", "scenes", "reindex", "history", "events")
}
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = None  # threads cannot be killed; every remote call has its own deadline
# Above the longest task: Redis hands out again what was not acknowledged within this time.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600, "socket_timeout": 10, "socket_connect_timeout": 2}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_PUBLISH_RETRY = False  # the ledger in PostgreSQL is the truth: beat enqueues again what was not published
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = _worker_threads
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = TIME_ZONE
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
# What runs when stands in the database, editable in the admin; `portrait.upkeep.schedule` makes the rows.
