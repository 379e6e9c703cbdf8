"""What is frozen of a function's past: which minutes count, which limits follow, and that it survives the bucket."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lamina.baseline import Baseline, Limit, Past, busiest, cold_limit, freeze, halves, slow_limit, thaw
from lamina.evidence import Minute

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def minutes(count: int, invocations: int = 10) -> tuple[Minute, ...]:
    return tuple(Minute(START + number * MINUTE, invocations, 0) for number in range(count))


def test_minutes_from_before_a_change_and_with_an_earlier_candidate_do_not_count() -> None:
    """GIVEN a deployment at 12:02:30 and a candidate from 12:05:20 to 12:07:10, THEN no minute they touch counts."""
    since = START + timedelta(minutes=2, seconds=30)
    window = (START + timedelta(minutes=5, seconds=20), START + timedelta(minutes=7, seconds=10))
    kept = Past(since, (window,)).clean(minutes(10))
    assert [minute.start.minute for minute in kept] == [3, 4, 8, 9]
    assert Past().clean(minutes(3)) == minutes(3)


def test_an_hour_counts_only_as_a_whole() -> None:
    past = Past(None, ((START + 30 * MINUTE, START + 31 * MINUTE),))
    hour = timedelta(hours=1)
    assert not past.counts(START, hour)
    assert past.counts(START + hour, hour)


def test_a_limit_leaves_room_for_jitter() -> None:
    assert slow_limit([3.0, 4.0, 90.0]) == 24.0
    assert slow_limit([1000.0]) == 1100.0
    assert slow_limit([]) is None


def test_a_limit_for_cold_starts_needs_some() -> None:
    assert cold_limit([400.0] * 4) is None
    assert cold_limit([400.0] * 9 + [900.0]) == 990.0


def test_a_past_is_halved_only_if_both_halves_have_something_to_say() -> None:
    assert halves(minutes(10)) == START + 5 * MINUTE
    assert halves(minutes(3)) is None


@given(
    st.lists(st.tuples(st.integers(1, 10_000), st.integers(0, 500), st.integers(0, 500)), max_size=30),
    st.booleans(),
)
def test_what_is_frozen_thaws(rows: list[tuple[int, int, int]], limited: bool) -> None:
    counts = tuple(Minute(START + after * MINUTE, n, x) for after, n, x in rows)
    limit = Limit(123.456, counts) if limited else None
    whole = {"f": Baseline(counts, counts[:3], limit, None), "g": Baseline()}
    stored = json.loads(json.dumps(freeze(whole)))
    assert thaw(stored, ["f", "g", "nobody"]) == whole
    assert thaw(None, ["f"]) == {}


def test_the_busiest_are_those_with_the_most_minutes() -> None:
    stored = freeze({"few": Baseline(minutes(2)), "many": Baseline(minutes(9)), "other": Baseline(minutes(5))})
    assert busiest(stored, ["few", "many", "nobody"], 1) == ("many",)


def test_a_week_of_minutes_stays_small() -> None:
    assert len(json.dumps(freeze({"f": Baseline(minutes(10_080, 1000))}))) < 150_000
