"""The environment guard: outages that hit everybody are nobody's fault, and harm is found beside calm functions."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.evalue import chance_of_at_most
from lamina.guard import Surroundings
from lamina.verdict import Minute, Observed, Rules, Verdict, calibrate, judge

START = datetime(2024, 7, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RULES = Rules(alpha=0.008)
PAST = 600


class World:
    """Functions with a usual error rate, and what is added to it in each minute from `START` + 1 on."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def function(self, name: str, per_minute: float, usual: float, added: list[float]) -> Observed:
        past = [self.minute(number - PAST, per_minute, usual) for number in range(PAST)]
        now = [self.minute(number + 1, per_minute, usual + more * (1 - usual)) for number, more in enumerate(added)]
        history = tuple(minute for minute in past if minute.invocations)
        return Observed(
            name,
            "history",
            tuple(minute for minute in now if minute.invocations),
            history,
            START,
            calibration=calibrate(history, RULES.alpha, RULES.max_minutes),
        )

    def minute(self, number: int, per_minute: float, rate: float) -> Minute:
        invocations = int(per_minute) + (self.chance.random() < per_minute % 1)
        return Minute(
            START + number * MINUTE, invocations, sum(self.chance.random() < rate for _ in range(invocations))
        )


def until(minute: int, seen: Observed) -> Observed:
    return replace(seen, canary=tuple(m for m in seen.canary if m.start <= START + minute * MINUTE))


def watch(canary: Observed, guard: list[Observed], minutes: int) -> list[Verdict]:
    """A look after each minute, until the release is put back."""
    looks = []
    for minute in range(1, minutes + 1):
        now = START + (minute + 3) * MINUTE
        looks.append(judge([until(minute, canary)], RULES, now=now, guard=[until(minute, one) for one in guard]))
        if looks[-1].next in ("rollback", "restore"):
            break
    return looks


def stretch(first: int, last: int, rate: float, minutes: int) -> list[float]:
    return [rate if first <= minute <= last else 0.0 for minute in range(1, minutes + 1)]


@pytest.mark.parametrize("usual", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("rate", [0.2, 1.0])
def test_an_outage_of_all_is_never_blamed_on_the_release(usual: float, rate: float) -> None:
    """GIVEN an outage of ten minutes that hits the canary and one other alike, THEN no look ever calls it harmful."""
    world, outage = World(7), stretch(6, 15, rate, 24)
    for _ in range(8):
        canary, guard = world.function("f", 20, usual, outage), world.function("g", 20, usual, outage)
        looks = watch(canary, [guard], 24)
        assert {look.next for look in looks} <= {"wait", "advance"}
        assert not any(look.harmed for look in looks)


def test_what_an_outage_left_behind_convicts_nobody_afterwards() -> None:
    """The canary's failures during the outage would condemn it for good; they do not count once others failed too."""
    world, outage = World(3), stretch(3, 12, 0.5, 40)
    canary, guard = world.function("f", 60, 0.01, outage), world.function("g", 20, 0.01, outage)
    assert judge([canary], RULES, now=START + 43 * MINUTE).next == "rollback"
    during, after = (watch(canary, [guard], minutes)[-1] for minutes in (9, 40))
    assert (during.next, during.environment) == ("wait", True)
    assert (after.kind, after.next, after.environment) == ("safe", "advance", True)
    (bad,) = after.excluded
    assert START + 2 * MINUTE <= bad.first <= START + 3 * MINUTE
    assert START + 12 * MINUTE <= bad.last <= START + 14 * MINUTE
    assert after.functions[0].excluded == (bad.last - bad.first) // MINUTE + 1
    assert f"{bad.first:%H:%M}-{bad.last:%H:%M}" in after.reason


def test_while_the_environment_is_bad_nothing_goes_on_and_at_the_end_it_is_held() -> None:
    world, outage = World(5), [0.0] * 10 + [0.6] * 6
    canary, guard = world.function("f", 100, 0.0, outage), world.function("g", 20, 0.0, outage)
    assert judge([until(10, canary)], RULES, now=START + 13 * MINUTE, guard=[until(10, guard)]).next == "advance"
    waiting = judge([canary], RULES, now=START + 19 * MINUTE, guard=[guard])
    assert (waiting.next, waiting.kind) == ("wait", "safe")
    assert "g) failed" in waiting.reason
    held = judge([canary], RULES, now=START + RULES.extend_minutes * MINUTE, guard=[guard])
    assert (held.next, held.harmed) == ("hold", ())


@pytest.mark.parametrize(("per_minute", "guards", "failures"), [(20, 3, 20), (1, 3, 5), (1, 1, 9)])
def test_harm_beside_calm_functions_is_found_as_quickly_as_they_can_tell(
    per_minute: int, guards: int, failures: int
) -> None:
    world = World(11)
    canary = world.function("f", per_minute, 0.0, [1.0] * 20)
    calm = [world.function(f"g{number}", per_minute, 0.01, [0.0] * 20) for number in range(guards)]
    last = watch(canary, calm, 20)[-1]
    assert (last.kind, last.next, last.unattributed) == ("harmful", "rollback", True)
    assert last.canary.errors <= failures


def test_a_blame_waits_for_quiet_guards_and_not_for_ever() -> None:
    """GIVEN a guard that is called now and then, THEN it is waited for; with none to speak of, nobody waits."""
    world = World(2)
    canary = world.function("f", 10, 0.0, [0.3] * 40)
    quiet = world.function("g", 0.6, 0.0, [0.0] * 40)
    looks = watch(canary, [replace(quiet, canary=())], 40)
    assert [look.next for look in looks[:5]] == ["wait"] * 5
    assert "are heard" in looks[4].reason
    assert looks[-1].next == "rollback"
    assert len(looks) <= 14
    silent = world.function("g", 0.2, 0.0, [0.0] * 40)
    assert len(watch(canary, [replace(silent, canary=())], 40)) <= 3


def test_a_live_control_needs_no_guard() -> None:
    world = World(4)
    stable = tuple(Minute(START + number * MINUTE, 90, 0) for number in range(10))
    broken = tuple(Minute(START + number * MINUTE, 10, 5) for number in range(10))
    outage = world.function("g", 20, 0.0, [0.5] * 10)
    verdict = judge([Observed("f", "alias", broken, stable, START)], RULES, now=START + 13 * MINUTE, guard=[outage])
    assert (verdict.next, verdict.unattributed, verdict.excluded) == ("rollback", False, ())


def test_without_trouble_hardly_a_minute_is_left_out() -> None:
    world, left_out = World(13), 0
    for usual in (0.0, 0.01, 0.05):
        for per_minute in (1, 30):
            guards = [world.function(f"g{number}", per_minute, usual, [0.0] * 200) for number in range(2)]
            left_out += len(Surroundings.of(guards, RULES).bad)
    assert left_out <= 0.03 * 6 * 200


@given(seed=st.integers(0, 10_000), errors=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_which_minutes_count_never_depends_on_the_canary(seed: int, errors: int) -> None:
    world = World(seed)
    guard = world.function("g", 5, 0.02, stretch(4, 8, 0.5, 15))
    around = Surroundings.of([guard], RULES)
    usual = world.function("f", 20, 0.0, [0.0] * 15)
    failing = replace(usual, canary=tuple(replace(m, errors=errors) for m in usual.canary))
    kept = [[m.start for m in around.without_bad(seen).canary] for seen in (usual, failing)]
    assert kept[0] == kept[1]
    assert around.excluded(usual) == around.excluded(failing)


@given(n=st.integers(1, 60), x=st.integers(0, 60), p=st.floats(0.001, 0.999))
def test_a_binomial_s_lower_tail(n: int, x: int, p: float) -> None:
    exact = math.fsum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(min(x, n) + 1))
    assert chance_of_at_most(x, n, p) == pytest.approx(exact, abs=1e-9)
