"""How long the site took to recover from each fault: read from the ledger's times, afterwards. Pure."""

from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from portrait.drill.ledger import Course

STOPPED_S = 1.5
"""Frames are stored by batches: shorter pauses are the rule."""
_BEFORE_S = 10.0
_WINDOW_S = 3.0
_SAME_RATE = 0.9


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that was done; `at_s` in seconds since 1970."""

    name: str
    what: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a fault did. Seconds; `after_s` since the drill's start, the others since the fault.

    stopped_s: the longest time in which no frame was done. rate_s: until frames were done at the earlier rate
    (`rate_before`, frames a second) again. all_s: until the last of the frames was done that had been accepted before.
    None: that was not seen, before the frames were at an end.
    """

    name: str
    what: str
    after_s: float
    stopped_s: float
    most_waiting: int
    rate_before: float
    rate_s: float | None
    all_s: float | None

    def as_json(self) -> dict[str, Any]:
        return {key: round(value, 2) if isinstance(value, float) else value for key, value in asdict(self).items()}


def recoveries(course: Course, struck: list[Struck], begin_s: float) -> list[Recovery]:
    """One a fault; each is looked at until the next."""
    last_s = max([*course.ended, *course.accepted], default=begin_s)
    ends = [*(each.at_s for each in struck[1:]), max(last_s, begin_s)]
    return [_recovery(course, each, end, begin_s) for each, end in zip(struck, ends, strict=True)]


def _recovery(course: Course, struck: Struck, until_s: float, begin_s: float) -> Recovery:
    at_s = struck.at_s
    before = course.rate(max(begin_s, at_s - _BEFORE_S), at_s)
    since_s, stopped_s = _longest_pause(course.ended, at_s, until_s)
    before_all = [ended for accepted, ended in course.pairs if accepted <= at_s < ended]
    return Recovery(
        name=struck.name,
        what=struck.what,
        after_s=at_s - begin_s,
        stopped_s=stopped_s,
        most_waiting=_most_waiting(course, at_s, until_s),
        rate_before=before,
        rate_s=_again_at(course, at_s, since_s + stopped_s, before, until_s),
        all_s=max(before_all) - at_s if before_all else 0.0,
    )


def _longest_pause(ended: tuple[float, ...], since_s: float, until_s: float) -> tuple[float, float]:
    """(its beginning, its length) between two frames that were done."""
    inside = ended[bisect_left(ended, since_s) : bisect_right(ended, until_s)]
    times = [since_s, *inside, until_s]
    return max(((one, other - one) for one, other in pairwise(times)), key=lambda each: each[1])


def _most_waiting(course: Course, since_s: float, until_s: float) -> int:
    times = [since_s, *(each for each in course.accepted if since_s <= each <= until_s)]
    return max(course.waiting_at(each) for each in times)


def _again_at(course: Course, at_s: float, from_s: float, rate: float, until_s: float) -> float | None:
    """Seconds from the fault to the first frame, once they flow again, after which frames are done at the rate."""
    starts = [each for each in course.ended if from_s <= each <= until_s]
    for start in starts:
        window = min(_WINDOW_S, max(0.5, course.ended[-1] - start))
        if course.rate(start - 1e-6, start + window) >= _SAME_RATE * rate:
            return start - at_s
    return None
