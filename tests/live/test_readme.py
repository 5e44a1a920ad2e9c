"""The examples of README.md, as they stand, on what `make demo` starts."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from portrait.demo.scene import drawn_scene
from portrait.env import BASE_DIR
from tests.compose import readme_block
from tests.live.conftest import PATIENCE_S, Installation, wait_for

# What a reader would notice by eye: an answer that is an error.
STRICT = 'set -euo pipefail\ncurl() { command curl --fail-with-body "$@"; echo; }\n'
BASH = ["bash", "-c"]


@pytest.fixture
def demo(installation: Installation) -> Iterator[Installation]:
    """`make demo`, serving."""
    process = installation.start("demo")
    try:
        wait_for(lambda: "keeps serving" in installation.terminal() or process.poll() is not None, "the demo's table")
        assert process.poll() is None, installation.terminal()
        yield installation
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def execute(installation: Installation, command: list[str]) -> str:
    """Run in the checkout, as a reader does; answers what was printed."""
    result = subprocess.run(
        command,
        cwd=BASE_DIR,
        env={**os.environ, **installation.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


def with_this_python(block: str) -> str:
    """The environment of the tests need not be .venv."""
    return block.replace(".venv/bin/python", sys.executable)


def answers(text: str) -> list[Any]:
    """The JSON answers among the lines printed."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def names(answer: dict[str, Any]) -> list[str]:
    faces = sorted(answer["faces"], key=lambda face: float(face["box"][0]))
    return [face["candidates"][0]["identity"]["name"] for face in faces]


def test_the_examples_work_when_pasted(demo: Installation) -> None:
    before = with_this_python(readme_block("tested: setup"))

    def paste(*marks: str) -> list[Any]:
        blocks = "\n".join(readme_block(f"tested: {mark}") for mark in marks)
        return answers(execute(demo, [*BASH, STRICT + before + blocks]))

    detected, verified, two, one = paste("faces")
    assert len(detected["faces"]) == 1
    assert verified["same"] is True
    assert names(two) == ["Eileen Collins", "Grace Hopper"]
    assert names(one) == ["Grace Hopper"]

    told, found, described, rule, scene, captions = (
        each for each in paste("scenes", "scene picture", "scene rule") if "state" not in each
    )
    assert told["caption"] == drawn_scene().sentence
    assert "shapes" in told["domain"]
    assert sorted(each["label"] for each in found["objects"] if each["score"] > 0.5) == sorted(
        shape.label for shape in drawn_scene().shapes
    )
    assert described["method"] == "rules"
    assert described["caption_with_names"].startswith("Grace Hopper")
    (job,) = paste("scene job")
    assert job["items"][0]["result"]["caption_with_names"] == "Grace Hopper."
    assert (demo.var / "drawn.png").read_bytes().startswith(b"\x89PNG")
    assert rule["every_s"] == 5
    assert [each["caption"] for each in scene["captions"]] == [drawn_scene().sentence]
    assert len(scene["objects"]) >= len(drawn_scene().shapes)
    assert [each["caption"] for each in captions["results"]] == [drawn_scene().sentence]

    # One shell: each block uses what the one before it made.
    camera_frames = paste("cameras")
    assert [answer["sequence"] for answer in camera_frames[:3]] == [1, 2, 3]
    sightings, searched = camera_frames[-2:]
    assert {each["identity"]["name"] for each in sightings["results"]} == {"Eileen Collins", "Grace Hopper"}
    assert [each["identity"]["name"] for each in searched["sightings"]] == ["Grace Hopper"]

    collection, more, job, found, changed, _, gone, restored, renamed, undone, portrait = paste(
        "enrol", "jobs", "manage", "people edit"
    )
    assert collection["name"] == "staff"
    assert [result["status"] for result in more["results"]] == ["duplicate", "accepted"]
    assert (job["state"], job["items"][0]["result"]["status"]) == ("done", "accepted")
    assert [identity["portrait_count"] for identity in found["results"]] == [3]
    assert changed["action"] == "open the door"
    assert (demo.var / "thumbnail.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    assert "restore" in gone
    assert restored["name"] == found["results"][0]["name"]
    assert renamed["name"] == "Rear Admiral Hopper"
    assert undone["action"] == "undo"
    assert portrait["change"]
    (left,) = answers(execute(demo, [*BASH, STRICT + before + 'curl -s -H "$AUTH" "$URL/identities?collection=staff"']))
    assert [(each["name"], each["portrait_count"]) for each in left["results"]] == [(found["results"][0]["name"], 3)]


def test_the_python_example_works(demo: Installation) -> None:
    found = re.search(r"<!-- tested: python -->\s*```python\n(.*?)```", (BASE_DIR / "README.md").read_text(), re.DOTALL)
    assert found
    printed = execute(demo, [sys.executable, "-c", found[1]])
    assert re.search(r"^\[.+\] Eileen Collins \(\d\.\d\d\)$", printed, re.MULTILINE)
    assert re.search(r"^\[.+\] Grace Hopper \(\d\.\d\d\)$", printed, re.MULTILINE)
