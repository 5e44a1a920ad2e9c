"""The integrity check: rows against files, rows against each other."""

from dataclasses import asdict

from portrait.upkeep.models import UpkeepRun
from portrait.upkeep.services import consistency, files
from portrait.upkeep.services.runs import Outcome, StillHere, run


def check(*, repair: bool = True) -> UpkeepRun | None:
    """Look, and mend what can be mended without a person: derived columns, files of past days that no row names.

    None where a check is going on already.
    """
    return run(kind=UpkeepRun.Kind.INTEGRITY, work=lambda still_here: _check(still_here, repair))


def _check(still_here: StillHere, repair: bool) -> Outcome:
    found = files.check(still_here=still_here, delete=repair)
    rows = consistency.check(still_here=still_here, repair=repair)
    left = any(each["count"] > each["mended"] for each in rows.values())
    ok = not found.missing_count and found.orphan_count <= found.deleted and not left
    return Outcome(ok, {"files": asdict(found), "rows": rows})
