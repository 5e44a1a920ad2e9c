"""README.md says what is true today. That its examples work is checked in tests/live/test_readme.py."""

import re

from inference.weights.manifest import read_manifest
from inference.weights.mini.install import mini_names
from inference.weights.published import read_published
from portrait.env import BASE_DIR, ENDPOINT_KEYS

README = (BASE_DIR / "README.md").read_text()
SOURCES = [path for folder in ("portrait", "inference") for path in (BASE_DIR / folder).rglob("*.py")]


def section(title: str) -> str:
    """The text below a heading of the second level."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in `text`, without their headings."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [cells for previous, cells in zip([[""], *lines], lines, strict=False) if previous[0] and cells[0][0] == "`"]


def environment_variables() -> set[str]:
    """The variables that portrait/env.py reads."""
    source = (BASE_DIR / "portrait" / "env.py").read_text()
    found = set(re.findall(r"env\.\w+\(\s*\"([A-Z0-9_]+)\"", source))
    assert len(found) > 10
    return found | {key.upper() for key in ENDPOINT_KEYS}


def test_every_setting_is_listed_and_no_other() -> None:
    listed = {name for cells in rows(section("Settings")) for name in re.findall(r"[A-Z0-9_]{5,}", cells[0])}
    assert listed == environment_variables()


def test_every_model_is_listed_with_its_licence() -> None:
    listed = {cells[0].strip("`"): (cells[2], cells[3]) for cells in rows(section("Models"))}
    known = {entry.name: (entry.licence, "yes" if entry.commercial_use else "no") for entry in read_manifest()}
    known |= {name: (model.licence, "yes") for name, model in read_published().items()}
    known |= dict.fromkeys(mini_names(), ("CC0-1.0", "yes"))
    assert listed == known


def test_the_messages_that_are_explained_are_real() -> None:
    sources = "\n".join(path.read_text() for path in [*SOURCES, BASE_DIR / "Makefile"])
    messages = [re.findall("`([^`]+)`", cells[0])[0] for cells in rows(section("When something is wrong"))]
    assert len(messages) >= 8
    assert [message for message in messages if message not in sources] == []


def test_the_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (BASE_DIR / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
    commands = {path.stem for path in BASE_DIR.glob("portrait/*/management/commands/*.py")}
    django = {"createsuperuser", "migrate"}
    assert set(re.findall(r"manage\.py ([a-z_]+)", README)) <= commands | django


def test_the_files_that_are_linked_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (BASE_DIR / link).exists()] == []
