"""`manage.py drill --reindex`, in its short form: its worker is killed again and again, PostgreSQL restarted."""

import json
from pathlib import Path

from tests.live.test_drill import TIME_LIMIT_S, _drill, _end, _started_here, temporary

__all__ = ["temporary"]


def test_a_reindex_survives_every_death_of_its_worker(temporary: Path) -> None:
    drill = _drill(temporary, "--reindex", "--json")
    try:
        output, told = drill.communicate(timeout=TIME_LIMIT_S)
    finally:
        _end(drill)
    assert drill.returncode == 0, told[-5000:] + output[-5000:]
    found = json.loads(output)
    assert found["passed"] is True
    assert found["state"] == "switched"
    assert found["kills"] >= 3
    assert found["postgres_restarts"] == 1
    assert [found[name] for name in ("missing", "double", "wrong", "problems")] == [[], 0, [], []]
    assert found["searches"] > 0
    assert found["enrolled_meanwhile"] > 0
    assert found["portraits"] == 300 + found["enrolled_meanwhile"]
    assert list(temporary.iterdir()) == []
    assert _started_here(temporary) == []
