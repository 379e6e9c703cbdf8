"""Slower, colder, throttled: what becomes a finding, and what does not."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from lamina.evidence import Minute, Observed, Rules
from lamina.latency import Suspected, by_minute, findings, warm

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RULES = Rules(alpha=0.002)


def counts(start: datetime, count: int, invocations: int, share: float, seed: int = 1) -> tuple[Minute, ...]:
    chance = random.Random(seed)
    return tuple(
        Minute(start + number * MINUTE, invocations, sum(chance.random() < share for _ in range(invocations)))
        for number in range(count)
    )


def seen(
    control: Literal["alias", "history"], now: float, usual: float = 0.05, per_minute: int = 20, name: str = "f"
) -> Observed:
    canary = counts(START + MINUTE, 20, per_minute, now, 2)
    past = counts(START - 400 * MINUTE, 400, per_minute, usual, 3)
    return Observed(name, control, canary, counts(START, 22, 90, usual, 4) if control == "alias" else past, START)


def test_a_canary_that_gets_slower_beside_the_old_release_is_a_finding_with_its_numbers() -> None:
    (said,) = findings("slow", [Suspected(seen("alias", 0.4), 212.0)], (), RULES)
    assert said.startswith("Slower than before: f: ")
    assert "of 400 invocations" in said
    assert "took longer than 212 ms" in said
    assert "in the same minutes on the old release" in said
    assert "6.2 needed" in said


@pytest.mark.parametrize("control", ["alias", "history"])
def test_a_canary_as_fast_as_ever_is_no_finding(control: Literal["alias", "history"]) -> None:
    assert findings("slow", [Suspected(seen(control, 0.05), 212.0)], (), RULES) == ()


def test_beside_its_past_alone_a_slower_canary_needs_others_that_are_not_slower() -> None:
    """GIVEN a fifth of the calls slow where a twentieth was, THEN it takes calm functions to make that a finding."""
    slower = [Suspected(seen("history", 0.2, per_minute=100), 212.0)]
    assert findings("slow", slower, (), RULES) == ()
    assert findings("slow", slower, [seen("history", 0.05, name="g")], RULES)
    assert findings("slow", slower, [seen("history", 0.2, name="g")], RULES) == ()


def test_a_past_that_had_such_hours_itself_makes_no_finding() -> None:
    """GIVEN a past in which every fifth half hour was as slow, THEN this one is not blamed."""
    chance, past = random.Random(6), []
    for number in range(600):
        share = 0.6 if number // 30 % 5 == 0 else 0.02
        past.append(Minute(START - (600 - number) * MINUTE, 20, sum(chance.random() < share for _ in range(20))))
    canary = counts(START + MINUTE, 20, 20, 0.6)
    assert findings("slow", [Suspected(Observed("f", "history", canary, tuple(past), START), 50.0)], (), RULES) == ()


def test_cold_starts_of_several_functions_count_by_themselves() -> None:
    inits = [(START + (number + 1) * MINUTE, 900.0) for number in range(8)]
    before = [(START - (number + 1) * MINUTE, 400.0 if number % 10 else 700.0) for number in range(40)]
    canary, past = by_minute(inits, 500.0), by_minute(sorted(before), 500.0)
    (said,) = findings("cold", [Suspected(Observed("f", "history", canary, past, START), 500.0)], (), RULES)
    assert "8 of 8 cold starts (100.0%) initialised longer than 500 ms, against 10.0% in its own past" in said
    assert findings("cold", [Suspected(Observed("f", "history", canary[:2], past, START), 500.0)], (), RULES) == ()


def test_throttling_is_a_finding() -> None:
    (said,) = findings("throttled", [Suspected(seen("history", 0.5, 0.0))], (), RULES)
    assert "requests" in said
    assert "were throttled, against 0.0% in its own past" in said


def test_a_cold_start_s_own_call_does_not_count_as_slow() -> None:
    minutes = (Minute(START, 10, 3), Minute(START + MINUTE, 1, 1))
    cold = [(START + timedelta(seconds=5), 300.0), (START + timedelta(seconds=9), 20.0), (START + MINUTE, 300.0)]
    assert warm(minutes, cold, 100.0) == (Minute(START, 8, 2),)


def test_at_most_three_functions_are_named() -> None:
    many = [Suspected(seen("alias", 0.5, name=f"f-{number}"), 100.0) for number in range(5)]
    (said,) = findings("slow", many, (), RULES)
    assert said.count("took longer than") == 3
    assert "and 2 more functions" in said
