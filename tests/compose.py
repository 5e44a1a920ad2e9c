"""The compose files as data, with their variables filled in the way Compose does."""

import re
from typing import Any

import yaml

from portrait.env import BASE_DIR

FILES = ("docker-compose.yml", "docker-compose.gpu.yml")
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+):-(?P<default>[^}]*)\})")


def fill_in(value: Any, variables: dict[str, str]) -> Any:
    """`${NAME:-default}` from `variables`, `$$` as a dollar; any other use of a dollar is an error."""
    match value:
        case dict():
            return {key: fill_in(inner, variables) for key, inner in value.items()}
        case list():
            return [fill_in(inner, variables) for inner in value]
        case str():
            assert "$" not in _VARIABLE.sub("", value), f"Compose would not understand {value!r}"
            return _VARIABLE.sub(
                lambda found: "$" if found["dollar"] else variables.get(found["name"]) or found["default"], value
            )
        case _:
            return value


def read(name: str = FILES[0], **variables: str) -> dict[str, Any]:
    """A compose file as Compose sees it where `variables` are set."""
    return dict(fill_in(yaml.safe_load((BASE_DIR / name).read_text()), variables))


def ours(compose: dict[str, Any]) -> dict[str, Any]:
    """The services that run our image."""
    return {name: service for name, service in compose["services"].items() if service["image"] == "portrait:latest"}


def readme_block(mark: str) -> str:
    """The bash block of README.md, or of a page in docs/, that follows the comment `<!-- mark -->`."""
    pages = [BASE_DIR / "README.md", *sorted((BASE_DIR / "docs").glob("*.md"))]
    text = "\n".join(page.read_text() for page in pages)
    found = re.search(rf"<!-- {re.escape(mark)} -->\s*```bash\n(.*?)```", text, re.DOTALL)
    assert found, f"no page has a block marked {mark}"
    return found[1]
