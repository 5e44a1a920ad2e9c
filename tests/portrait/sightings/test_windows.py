"""From hits to sightings: the rule itself."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait.sightings.windows import Rule, Span, only_extends, spans

HOPPING = Rule(min_hits=4, window=5, gap=10)
TUMBLING = Rule(min_hits=4, window=5, gap=10, tumbling=True)

times = st.lists(st.integers(0, 120), unique=True, max_size=40).map(sorted)
rules = st.builds(
    Rule,
    min_hits=st.integers(1, 5),
    window=st.integers(1, 12),
    gap=st.integers(1, 20),
    tumbling=st.booleans(),
)


def test_four_hits_in_five_seconds_open_a_sighting_that_ends_with_the_last_hit() -> None:
    assert spans([10, 11, 13, 15, 24, 34], HOPPING) == [Span(10, 34, 6)]


def test_three_hits_open_none() -> None:
    assert spans([10, 11, 12], HOPPING) == []


def test_hits_that_are_spread_too_thin_open_none() -> None:
    assert spans([0, 3, 6, 9, 12, 15], HOPPING) == []


def test_a_sighting_begins_with_the_window_that_opens_it_not_with_a_stray_hit_before() -> None:
    assert spans([2, 10, 11, 12, 13], HOPPING) == [Span(10, 13, 4)]


def test_a_pause_longer_than_the_gap_ends_it() -> None:
    assert spans([0, 1, 2, 3, 13, 24, 25, 26, 27], HOPPING) == [Span(0, 13, 5), Span(24, 27, 4)]


def test_windows_side_by_side_do_not_see_across_their_border() -> None:
    assert spans([3, 4, 5, 6], TUMBLING) == []
    assert spans([3, 4, 5, 6, 7, 9], TUMBLING) == [Span(5, 9, 4)]
    assert spans([3, 4, 5, 6], HOPPING) == [Span(3, 6, 4)]


def test_one_hit_is_enough_where_the_rule_says_so() -> None:
    assert spans([7], Rule(min_hits=1, window=5, gap=10)) == [Span(7, 7, 1)]


@pytest.mark.parametrize("values", [(0, 5, 10), (1, 0, 10), (1, 5, 0)])
def test_a_rule_without_sense_is_refused(values: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least one hit"):
        Rule(*values)


@given(times, rules)
def test_sightings_are_apart_in_order_and_hold_their_hits(hits: list[int], rule: Rule) -> None:
    found = spans(hits, rule)
    for span in found:
        inside = [time for time in hits if span.first <= time <= span.last]
        assert len(inside) == span.hits >= rule.min_hits
        assert inside[0] == span.first
        assert inside[-1] == span.last
        assert all(after - before <= rule.gap for before, after in itertools.pairwise(inside))
    assert all(after.first - before.last > rule.gap for before, after in itertools.pairwise(found))


@given(times, times, rules)
def test_what_only_extends_a_sighting_gives_what_the_rule_gives(hits: list[int], more: list[int], rule: Rule) -> None:
    """`only_extends` lets a worker leave earlier hits alone: then nothing but the end may change."""
    new = [time for time in more if time not in hits]
    before = spans(hits, rule)
    for span in before:
        stray = [time for time in hits if span.last < time]
        if stray or not only_extends(span, new, rule):
            continue
        after = spans(sorted([*hits, *new]), rule)
        assert Span(span.first, max(span.last, new[-1]), span.hits + len(new)) in after
