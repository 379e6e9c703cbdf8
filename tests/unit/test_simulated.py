"""The verdict's benchmark: its traffic is what it says, today's rules are theirs, and its shortcut is the verdict."""

from __future__ import annotations

import random

import pytest

from benchmarks.simulated import HABITS, Count, minutes, route
from benchmarks.today import any_error, exact_p, high, information_bound, kayenta, two_of_three
from benchmarks.watching import HORIZON, LOOKS, Agreement, BesideTheOld, BesideThePast, Past
from lamina.evalue import dispersion


@pytest.mark.parametrize("habit", HABITS)
def test_every_habit_fails_as_often_as_asked(habit: str) -> None:
    made = minutes(random.Random(1), 20_000, 10, 0.05, habit)
    invocations, errors = sum(n for n, _ in made), sum(x for _, x in made)
    assert invocations / 20_000 == pytest.approx(10, rel=0.02)
    assert errors / invocations == pytest.approx(0.05, rel=0.05)
    assert all(0 <= x <= n for n, x in made)


def test_habits_cluster_errors() -> None:
    spread = {habit: dispersion(minutes(random.Random(2), 5_000, 100, 0.01, habit)) for habit in HABITS}
    assert spread["independent"] == pytest.approx(1.0, abs=0.1)
    assert spread["retried"] == pytest.approx(3.0, abs=0.3)
    assert spread["bursty"] == pytest.approx(2.0, abs=0.2)


def test_an_alias_splits_what_comes() -> None:
    chance = random.Random(3)
    whole = minutes(chance, 2_000, 10, 0.5)
    canary, stable = route(chance, whole, 0.1)
    both = [(a.invocations + b.invocations, a.errors + b.errors) for a, b in zip(canary, stable, strict=True)]
    assert both == whole
    assert sum(n for n, _ in canary) / sum(n for n, _ in whole) == pytest.approx(0.1, rel=0.1)


def test_fishers_tea_and_walds_bound() -> None:
    """The lady who tasted tea: 3 of 4 right by chance, p = 17/70."""
    assert exact_p(4, 3, 4, 1) == pytest.approx(17 / 70)
    assert exact_p(4, 4, 4, 0) == pytest.approx(1 / 70)
    assert exact_p(10, 0, 10, 0) == 1.0
    assert information_bound(0.01, 1.0, 0.01) == pytest.approx(1.0)
    assert information_bound(0.01, 0.01, 0.001) == pytest.approx(327.4, abs=0.1)
    assert information_bound(0.01, 0.01, 0.0) is None


def test_alarms_fire_on_what_they_count() -> None:
    clean, one, three = Count(100, 0), Count(100, 1), Count(100, 3)
    assert any_error([clean, one], []) == 1
    assert two_of_three([one, one, one], []) is None
    assert two_of_three([three, clean, three], []) == 2
    assert two_of_three([three, clean, clean, three], []) is None


def test_a_rank_test_needs_minutes_and_a_shift() -> None:
    low, lifted = [0.01 * at for at in range(10)], [0.5 + 0.01 * at for at in range(10)]
    assert high(lifted, low)
    assert not high(low, lifted)
    assert not high(low, low)
    assert kayenta([Count(100, 50)] * 3, [Count(100, 0)] * 60, live=False) == 0
    assert kayenta([Count(100, 1)] * 30, [Count(100, 1)] * 30, live=True) is None


def test_looks_grow_farther_apart_after_half_an_hour() -> None:
    assert LOOKS[:32] == (*range(1, 31), 32, 36)
    assert LOOKS[-1] <= HORIZON


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.3])
def test_the_shortcut_says_what_the_verdict_says(rate: float) -> None:
    chance, agreement = random.Random(4), Agreement()
    past = Past(minutes(chance, 600, 10, 0.02, "retried"))
    for _ in range(5):
        history = BesideThePast(minutes(chance, HORIZON, 10, rate, "retried"), past)
        alias = BesideTheOld(minutes(chance, HORIZON, 1, rate), minutes(chance, HORIZON, 9, 0.02), past)
        for watch in (history, alias):
            agreement.check(watch, watch.first_alarm())
    assert (agreement.compared, agreement.different) == (10, 0)
