"""When somebody was there: from single hits to sightings. Pure: no clock, no database.

Times are capture times in microseconds, and nothing else counts: the order in which frames were processed does not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """When a sighting begins and ends; times in microseconds.

    It begins with the first of `min_hits` hits within `window`: any such stretch of time, or (`tumbling`) one of the
    windows that lie side by side from the epoch on. It ends when nothing follows within `gap`.
    """

    min_hits: int
    window: int
    gap: int
    tumbling: bool = False

    def __post_init__(self) -> None:
        if self.min_hits < 1 or self.window <= 0 or self.gap <= 0:
            raise ValueError(f"a rule needs at least one hit, a window and a gap, not {self}")


@dataclass(frozen=True, slots=True)
class Span:
    """A sighting: its first and last hit, and how many frames have one."""

    first: int
    last: int
    hits: int


def spans(times: Sequence[int], rule: Rule) -> list[Span]:
    """The sightings that these hits make, earliest first. times: ascending, one a frame."""
    found = []
    for run in _runs(times, rule.gap):
        begin = _opening(run, rule)
        if begin is not None:
            found.append(Span(run[begin], run[-1], len(run) - begin))
    return found


def _runs(times: Sequence[int], gap: int) -> Iterator[Sequence[int]]:
    """The hits cut where more than `gap` lies between two."""
    start = 0
    for index in range(1, len(times) + 1):
        if index == len(times) or times[index] - times[index - 1] > gap:
            yield times[start:index]
            start = index


def _opening(run: Sequence[int], rule: Rule) -> int | None:
    """Index of the first hit of the earliest window that holds enough of them."""
    for index in range(len(run) - rule.min_hits + 1):
        end = run[index + rule.min_hits - 1]
        if rule.tumbling:
            same = run[index] // rule.window == end // rule.window
            if same and (index == 0 or run[index - 1] // rule.window != run[index] // rule.window):
                return index
        elif end - run[index] <= rule.window:
            return index
    return None


def only_extends(span: Span, new: Sequence[int], rule: Rule) -> bool:
    """Whether hits can only make a sighting longer: none is near enough to its beginning to change that, and each
    follows the one before within the gap. new: ascending."""
    if not new or new[0] <= span.first + rule.window:
        return False
    reached = span.last
    for time in new:
        if time > reached + rule.gap:
            return False
        reached = max(reached, time)
    return True
