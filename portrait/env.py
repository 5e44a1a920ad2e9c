"""The environment, parsed once, typed and loud. Nothing else reads `os.environ`.

Any secret may come as `NAME_FILE`, the path of a file that holds it. Where an address of a back end is not
given, the embedded servers are used: they leave their addresses in `<PORTRAIT_VAR>/run/endpoints.json`.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from environs import EnvError, FileAwareEnv, ValidationError, validate

from inference.config import DETECTORS, SCENE_PREFIXES, SceneTask, scene_task

BASE_DIR = Path(__file__).resolve().parent.parent
ENDPOINT_KEYS = ("database_url", "redis_url", "triton_url")
_NO_DATABASE_URL = "postgresql://portrait@127.0.0.1:1/portrait"


@dataclass(frozen=True, slots=True)
class Environment:
    """What a deployment may set; the README lists each variable."""

    var: Path
    models_dir: Path
    triton_env: Path
    """The Python environment that holds the embedded Triton server."""
    host: str
    port: int
    debug: bool
    secret_key: str
    allowed_hosts: list[str]
    csrf_trusted_origins: list[str]
    secure_proxy: bool
    database_url: str
    redis_url: str
    triton_urls: list[str]
    external: frozenset[str]
    """Which of `ENDPOINT_KEYS` were given from outside; the embedded servers provide the others."""
    detector: str
    segmenter: str
    """The segmentation model that requests get which name none; empty: see `portrait.scenes.services.engines`."""
    captioner: str
    log_level: str
    throttle_read: str
    throttle_enrol: str
    throttle_frames: str
    image_url_private: bool
    job_lease_s: int
    frames_bucket: str
    """Name of an S3 bucket for frames' pictures; empty: files under `var`."""
    frames_endpoint: str
    frames_min_free_mb: int
    source_dirs: list[Path]
    """Folders out of which cameras may read files."""
    cores: int
    delete_grace_days: int
    """So long whoever and whatever was deleted can be restored."""
    import_max_mb: int
    """The largest zip that an import takes."""
    import_max_files: int
    smartav: bool
    """Whether the first-generation API answers too."""
    audit_keys: list[str]
    """The newest first: it writes the audit log, all of them verify it."""
    audit_address: bool
    """Whether the audit log has the callers' addresses."""
    proof_key: str
    """What the key is made of that signs proofs of erasure."""

    @property
    def endpoints_file(self) -> Path:
        return self.var / "run" / "endpoints.json"

    @property
    def audit_anchors(self) -> Path:
        """Where the end of the audit log is noted, outside of the database that it is in."""
        return self.var / "audit" / "anchors"

    @property
    def has_database(self) -> bool:
        """Whether an address is known: given from outside, or an embedded server runs."""
        return self.database_url != _NO_DATABASE_URL


def _embedded_endpoints(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}


def _own_secret(var: Path, name: str) -> str:
    """A key of an embedded installation, made at its first use and kept readable to its owner only."""
    path = var / "secrets" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvError(f"PORTRAIT_VAR: the folder {var} cannot be used: {error.strerror}") from None
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
    except FileExistsError:
        pass
    return path.read_text().strip()


def _derived(secret_key: str, purpose: str) -> str:
    """A key for one purpose: where SECRET_KEY is given, all machines have the same without a file in common."""
    return hmac.new(secret_key.encode(), f"portrait {purpose}".encode(), hashlib.sha256).hexdigest()


def _of_task(task: SceneTask) -> Callable[[str], None]:
    """A check that a value is empty or names a model of this task."""

    def check(name: str) -> None:
        if name and scene_task(name) is not task:
            beginning = next(prefix for prefix, each in SCENE_PREFIXES.items() if each is task)
            raise ValidationError(f"{name!r} is no model for {task}: their names begin with {beginning!r}.")

    return check


def read_environment() -> Environment:
    """Parse `os.environ`.

    Raises:
        environs.EnvError: a variable has a value that cannot be used; the message names it.
    """
    env = FileAwareEnv(strip_whitespace=True)  # an editor ends a secret's file with a new line
    var = Path(env.str("PORTRAIT_VAR", str(BASE_DIR / "var"))).resolve()
    given = {key: env.str(key.upper(), "") for key in ENDPOINT_KEYS}
    external = frozenset(key for key, value in given.items() if value)
    endpoints = _embedded_endpoints(var / "run" / "endpoints.json") | {key: given[key] for key in external}
    secret_key = env.str("SECRET_KEY", "")

    def own(name: str) -> str:
        return _derived(secret_key, name) if secret_key else _own_secret(var, name)

    return Environment(
        var=var,
        models_dir=Path(env.str("PORTRAIT_MODELS", str(BASE_DIR / "triton_models"))).resolve(),
        triton_env=Path(env.str("PORTRAIT_TRITON_ENV", str(BASE_DIR / ".venv-triton"))).resolve(),
        host=env.str("PORTRAIT_HOST", "127.0.0.1"),
        port=env.int("PORTRAIT_PORT", 8000, validate=validate.Range(min=1, max=65535)),
        debug=env.bool("PORTRAIT_DEBUG", False),
        secret_key=secret_key or _own_secret(var, "django"),
        allowed_hosts=env.list("PORTRAIT_ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"]),
        csrf_trusted_origins=env.list("PORTRAIT_TRUSTED_ORIGINS", []),
        secure_proxy=env.bool("PORTRAIT_BEHIND_TLS_PROXY", False),
        database_url=endpoints.get("database_url", _NO_DATABASE_URL),
        redis_url=endpoints.get("redis_url", "redis://127.0.0.1:1/0"),
        triton_urls=[url.strip() for url in endpoints.get("triton_url", "127.0.0.1:1").split(",")],
        external=external,
        detector=env.str("PORTRAIT_DETECTOR", "centerface", validate=validate.OneOf(sorted(DETECTORS))),
        segmenter=env.str("PORTRAIT_SEGMENTER", "", validate=_of_task(SceneTask.SEGMENTATION)),
        captioner=env.str("PORTRAIT_CAPTIONER", "", validate=_of_task(SceneTask.CAPTIONING)),
        log_level=env.str("PORTRAIT_LOG_LEVEL", "INFO").upper(),
        throttle_read=env.str("PORTRAIT_THROTTLE_READ", "600/min"),
        throttle_enrol=env.str("PORTRAIT_THROTTLE_ENROL", "600/min"),
        throttle_frames=env.str("PORTRAIT_THROTTLE_FRAMES", "6000/min"),
        image_url_private=env.bool("PORTRAIT_IMAGE_URL_ALLOW_PRIVATE", False),
        job_lease_s=env.int("PORTRAIT_JOB_LEASE_S", 60, validate=validate.Range(min=1)),
        frames_bucket=env.str("PORTRAIT_FRAMES_S3_BUCKET", ""),
        frames_endpoint=env.str("PORTRAIT_FRAMES_S3_ENDPOINT", ""),
        frames_min_free_mb=env.int("PORTRAIT_MIN_FREE_MB", 1024, validate=validate.Range(min=0)),
        source_dirs=[Path(each).resolve() for each in env.list("PORTRAIT_SOURCE_DIRS", [str(var / "sources")])],
        cores=env.int("PORTRAIT_CORES", os.cpu_count() or 1, validate=validate.Range(min=1)),
        delete_grace_days=env.int("PORTRAIT_DELETE_GRACE_DAYS", 30, validate=validate.Range(min=0)),
        import_max_mb=env.int("PORTRAIT_IMPORT_MAX_MB", 20_480, validate=validate.Range(min=1)),
        import_max_files=env.int("PORTRAIT_IMPORT_MAX_FILES", 1_000_000, validate=validate.Range(min=1)),
        smartav=env.bool("PORTRAIT_SMARTAV", False),
        audit_keys=env.list("AUDIT_KEY", []) or [own("audit")],
        audit_address=env.bool("PORTRAIT_AUDIT_ADDRESS", False),
        proof_key=env.str("PROOF_KEY", "") or own("proof"),
    )
