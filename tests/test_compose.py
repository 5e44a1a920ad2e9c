"""docker-compose.yml and Dockerfile, as far as they can be read where no container engine is.

The containers themselves were never run. tests/live/test_compose_commands.py runs what they would run.
"""

import json
import os
import re
import shlex
import stat
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from jsonschema.validators import validator_for

from portrait.embedded import site
from portrait.env import BASE_DIR, ENDPOINT_KEYS
from tests.compose import FILES, ours, read, readme_block
from tests.test_readme import environment_variables

SCHEMA = json.loads((Path(__file__).parent / "data" / "compose-spec.json").read_text())
COMPOSE = read()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def complaints(compose: dict[str, Any]) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator_for(SCHEMA)(SCHEMA).iter_errors(compose)]


@pytest.mark.parametrize("name", FILES)
def test_a_compose_file_is_what_the_specification_asks_for(name: str) -> None:
    assert complaints(read(name)) == []


def test_the_schema_finds_mistakes() -> None:
    assert complaints({"services": {"web": {"imaeg": "portrait"}}})
    assert complaints({"services": {"web": {"depends_on": {"db": {"condition": "service_happy"}}}}})


def test_everything_that_is_named_is_declared_and_used() -> None:
    volumes, secrets, networks = set(), set(), set()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            volumes.add(volume["source"] if isinstance(volume, dict) else volume.split(":")[0])
        secrets |= set(service.get("secrets", []))
        networks |= set(service.get("networks", []))
        assert set(service.get("depends_on", {})) <= set(SERVICES)
    assert volumes == set(COMPOSE["volumes"])
    assert secrets == set(COMPOSE["secrets"])
    assert networks == set(COMPOSE.get("networks", {}))


def test_what_is_waited_for_can_come() -> None:
    """A server is waited for until it is healthy, so it has a check; a one-shot command until it ended, so it may."""
    for service in SERVICES.values():
        for name, needed in service.get("depends_on", {}).items():
            other = SERVICES[name]
            if needed["condition"] == "service_healthy":
                assert "test" in other["healthcheck"], name
            else:
                assert (needed["condition"], other["restart"]) == ("service_completed_successfully", "no"), name


def test_a_secret_comes_by_file_and_only_to_those_who_read_it() -> None:
    for name, service in SERVICES.items():
        mounted = {f"/run/secrets/{secret}" for secret in service.get("secrets", [])}
        variables = {key: value for key, value in service.get("environment", {}).items() if key.endswith("_FILE")}
        in_command = {word for word in service.get("command", []) if word.startswith("/run/secrets/")}
        assert set(variables.values()) | in_command == mounted, name
        assert not {"DATABASE_URL", "REDIS_URL", "SECRET_KEY", "POSTGRES_PASSWORD"} & set(
            service.get("environment", {})
        )


def test_only_the_web_server_can_be_reached_and_by_default_from_this_machine_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"web": ["127.0.0.1:8000:8000"]}
    assert read(PORTRAIT_BIND="0.0.0.0", PORTRAIT_PORT="80")["services"]["web"]["ports"] == ["0.0.0.0:80:8000"]


def test_every_queue_has_a_worker() -> None:
    commands = [service["command"] for service in ours(COMPOSE).values() if "worker" in service["command"]]
    named = [word.removeprefix("--queues=") for command in commands for word in command if "--queues=" in word]
    queues = [queue for each in named for queue in each.split(",")]
    assert sorted(queues) == sorted(settings.CELERY_TASK_QUEUES)


def test_our_services_get_only_variables_that_are_read() -> None:
    known = environment_variables() | {f"{key.upper()}_FILE" for key in ENDPOINT_KEYS} | {"SECRET_KEY_FILE"}
    for name, service in ours(COMPOSE).items():
        assert set(service["environment"]) <= known, name


def test_the_detector_that_is_chosen_is_the_one_that_triton_has_to_serve() -> None:
    services = read(PORTRAIT_DETECTOR="yunet")["services"]
    assert "--load-model=*" in services["triton"]["command"]
    assert any("/v2/models/yunet/ready" in word for word in services["triton"]["healthcheck"]["test"])
    assert services["web"]["environment"]["PORTRAIT_DETECTOR"] == "yunet"


def test_postgres_has_room_for_the_connections_of_all_processes() -> None:
    servers = [service for service in ours(COMPOSE).values() if service["restart"] != "no"]
    (room,) = [word for word in SERVICES["postgres"]["command"] if word.startswith("max_connections=")]
    assert int(room.partition("=")[2]) > len(servers) * max(36, settings.DATABASE_POOL["max_size"])  # 36: on many cores


def test_the_secrets_of_the_readme_are_those_that_compose_wants(tmp_path: Path) -> None:
    block = readme_block("tested: secrets")
    made = subprocess.run(["bash", "-c", f"umask 077\n{block}"], cwd=tmp_path, check=True, capture_output=True)
    assert made.stdout == made.stderr == b""
    files = {path.name: path for path in (tmp_path / "secrets").iterdir()}
    assert {f"./secrets/{name}" for name in files} == {secret["file"] for secret in COMPOSE["secrets"].values()}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o644}  # the containers' users read them

    texts = {name: path.read_text().strip() for name, path in files.items()}
    postgres = SERVICES["postgres"]["environment"]
    user, database = postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]
    assert texts["database_url"] == f"postgresql://{user}:{texts['postgres_password']}@postgres:5432/{database}"
    assert texts["redis_url"] == f"redis://:{texts['redis.conf'].removeprefix('requirepass ')}@redis:6379/0"
    assert len(texts["secret_key"]) >= 50
    assert len(set(texts.values())) == len(texts)

    again = subprocess.run(["bash", "-c", block], cwd=tmp_path, check=False, capture_output=True)
    assert again.returncode != 0
    assert {name: path.read_text().strip() for name, path in files.items()} == texts, "a database would be locked out"


def test_the_model_server_has_what_captions_need() -> None:
    build = SERVICES["triton"]["build"]
    text = (BASE_DIR / build["dockerfile"]).read_text()
    for source in re.findall(r"^COPY (\S+)", text, re.MULTILINE):
        assert (BASE_DIR / source).exists(), source
        assert not left_out(source.rstrip("/")), source
    packages = (BASE_DIR / "requirements" / "triton.txt").read_text()
    assert {"numpy", "onnxruntime", "tokenizers"} <= set(re.findall(r"^([a-z]+)==", packages, re.MULTILINE))


# --- Dockerfile -----------------------------------------------------------------------------------

DOCKERFILE = (BASE_DIR / "Dockerfile").read_text()
INSTRUCTIONS = [
    (line.split()[0], line.split(maxsplit=1)[1])
    for line in re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    if line.strip()
]


def arguments(instruction: str) -> list[str]:
    return [rest for name, rest in INSTRUCTIONS if name == instruction]


def left_out(path: str) -> bool:
    """Whether .dockerignore keeps a path of the checkout out of the image; the last pattern that fits decides."""
    ignored = False
    for line in (BASE_DIR / ".dockerignore").read_text().splitlines():
        pattern = line.strip().lstrip("!").rstrip("/")
        if not pattern or pattern.startswith("#"):
            continue
        name = pattern.removeprefix("**/")
        parts = path.split("/")
        whole = any(fnmatch("/".join(parts[: end + 1]), name) for end in range(len(parts)) if name != "*" or end == 0)
        anywhere = pattern.startswith("**/") and any(fnmatch(part, name) for part in parts)
        if whole or anywhere:
            ignored = not line.startswith("!")
    return ignored


def test_the_image_runs_as_an_ordinary_user() -> None:
    assert arguments("USER") == ["10001:10001"]
    assert INSTRUCTIONS.index(("USER", "10001:10001")) > max(
        index for index, (name, _) in enumerate(INSTRUCTIONS) if name in {"RUN", "COPY"}
    )


def test_what_the_image_copies_is_there() -> None:
    sources = [word for rest in arguments("COPY") if "--from" not in rest for word in shlex.split(rest)[:-1]]
    assert {"portrait/", "inference/", "triton_models/", "manage.py"} <= set(sources)
    for source in sources:
        assert (BASE_DIR / source).exists(), source
        assert not left_out(source.rstrip("/")), source


@pytest.mark.parametrize(
    "path", ["var/media/x.jpg", "secrets/secret_key", ".git/config", ".env", "triton_models/centerface/1/model.onnx"]
)
def test_no_data_and_no_secret_comes_into_the_image(path: str) -> None:
    assert left_out(path)


def test_every_text_file_that_the_code_reads_comes_into_the_image() -> None:
    for path in [
        *BASE_DIR.glob("portrait/**/*.md"),
        *BASE_DIR.glob("inference/**/*.toml"),
        *BASE_DIR.glob("*/**/*.npz"),
        *BASE_DIR.glob("inference/weights/mini/*-mini/*"),
    ]:
        relative = os.fspath(path.relative_to(BASE_DIR))
        if relative.startswith(("portrait/", "inference/")):
            assert not left_out(relative), relative


def test_the_embedded_web_server_has_the_same_limits() -> None:
    (embedded,) = [program.command for program in site._programs(settings.PORTRAIT) if program.name == "web"]
    words = [word for part in SERVICES["web"]["command"] for word in part.split("=", 1)]
    for option in ("--limit-concurrency", "--timeout-graceful-shutdown"):
        assert words[words.index(option) + 1] == embedded[embedded.index(option) + 1]
    assert {"--no-proxy-headers", "--no-access-log"} <= set(words) & set(embedded)


def test_compose_and_the_embedded_site_read_cameras_by_the_same_command() -> None:
    (embedded,) = [program.command for program in site._programs(settings.PORTRAIT) if program.name == "cameras"]
    assert SERVICES["cameras"]["command"][1:] == [Path(embedded[1]).name, *embedded[2:]]


def test_without_compose_the_image_starts_the_same_web_server() -> None:
    words = json.loads(arguments("CMD")[0])
    joined = [word for pair in SERVICES["web"]["command"] for word in pair.split("=", 1)]
    assert words == joined
    assert json.loads(arguments("HEALTHCHECK")[0].partition("CMD ")[2]) == SERVICES["web"]["healthcheck"]["test"][1:]
