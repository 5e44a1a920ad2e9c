"""The first-generation API on a site that is started with it: the examples of docs/smartav.md, as they stand."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.compose import readme_block
from tests.live.conftest import PATIENCE_S, Installation, wait_for
from tests.live.test_readme import BASH, STRICT, execute, with_this_python


@pytest.fixture
def site(installation: Installation) -> Iterator[Installation]:
    """`make up` with PORTRAIT_SMARTAV, and a key where the README's examples look for one."""
    process = installation.start("up", PORTRAIT_SMARTAV="true")
    try:
        wait_for(lambda: "Portrait runs" in installation.terminal() or process.poll() is not None, "the start")
        assert process.poll() is None, installation.terminal()
        key = installation.manage("apikey", "create", "examples", "--scope", "admin").stdout.strip()
        (installation.var / "secrets" / "demo-api-key").write_text(key)
        yield installation
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_the_examples_of_the_first_generation_work_when_pasted(site: Installation) -> None:
    blocks = with_this_python(readme_block("tested: setup")) + readme_block("tested: smartav")
    lines = [line for line in execute(site, [*BASH, STRICT + blocks]).splitlines() if line]
    updated, known, stranger, named, operator, chosen, objects, captions, cleared = lines
    assert json.loads(updated) == {"success": ["person1"], "fail": [], "reasons": []}
    (found,) = json.loads(known)
    assert (found["id"], found["name"], found["metadata"]) == ("person1", "Eileen", "example.org/1")
    assert re.fullmatch(r"\d+, \d+, \d+, \d+", found["bbox"])
    assert json.loads(stranger)[0]["id"] == "unknown_person_1"
    assert json.loads(named) == {"success": '"unknown_person_1" has been configured successfully.'}
    assert "configured by its operator" in operator
    assert chosen == "success"
    assert set(json.loads(objects)) == {"mjpg", "detected_objects", "model", "domain"}
    assert [each["model"] for each in json.loads(captions)] == ["describe"]
    assert json.loads(cleared) == {"success": True, "msg": "Samples have been removed successfully"}
