"""Verdicts on simulated rollouts: what is harmful, what is safe, and what happens while nobody knows."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.evidence import spread
from lamina.verdict import (
    Calibration,
    Counts,
    Minute,
    Observed,
    Point,
    Rules,
    Verdict,
    calibrate,
    closed,
    judge,
    pause,
    trace,
)

START = datetime(2024, 7, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RULES = Rules()
LN_100 = math.log(100)


def minutes(start: datetime, count: int, invocations: int, errors: Callable[[], int] | int = 0) -> tuple[Minute, ...]:
    return tuple(
        Minute(start + i * MINUTE, invocations, errors if isinstance(errors, int) else errors()) for i in range(count)
    )


def errors(chance: random.Random, invocations: int, rate: float) -> Callable[[], int]:
    return lambda: sum(chance.random() < rate for _ in range(invocations))


def with_history(
    name: str,
    count: int,
    per_minute: int,
    now: Callable[[], int] | int = 0,
    then: Callable[[], int] | int = 0,
    *,
    past: int = 600,
    since: datetime = START,
    cohort: int = 0,
    put_back: bool = False,
) -> Observed:
    canary = minutes(since + MINUTE, count, per_minute, now)
    history = minutes(since - past * MINUTE, past, per_minute, then)
    return Observed(name, "history", canary, history, since, cohort, put_back)


def with_alias(
    name: str,
    count: int,
    canary: int,
    stable: int,
    now: Callable[[], int] | int = 0,
    then: Callable[[], int] | int = 0,
    *,
    since: datetime = START,
    cohort: int = 0,
) -> Observed:
    return Observed(
        name, "alias", minutes(since, count, canary, now), minutes(since, count, stable, then), since, cohort
    )


def ask(*observed: Observed, after: float = 34, last: bool = False, rules: Rules = RULES) -> Verdict:
    return judge(observed, rules, now=START + after * MINUTE, last=last)


# --- harm


@pytest.mark.parametrize(
    ("broken", "failures"),
    [
        (lambda n: with_history("f", n, 1, 1, 0, past=3360), 2),
        (lambda n: with_alias("f", n, 1, 9, 1), 3),
        (lambda n: with_alias("f", n, 1, 1, 1), 8),
        (lambda n: Observed("f", "none", minutes(START + MINUTE, n, 1, 1), (), START), 2),
    ],
    ids=["history", "a tenth of an alias", "half of an alias", "no control"],
)
def test_a_broken_canary_is_found_after_a_few_invocations(broken: Callable[[int], Observed], failures: int) -> None:
    assert ask(broken(failures - 1)).kind == "undecided"
    verdict = ask(broken(failures))
    assert (verdict.kind, verdict.next, verdict.harmed) == ("harmful", "rollback", ("f",))
    assert verdict.canary == Counts(failures, failures)
    assert verdict.p_value <= RULES.alpha
    assert f"f failed {failures} of {failures} (100.00%)" in verdict.reason


@pytest.mark.parametrize(
    "harmless",
    [
        lambda c: with_history("f", 30, 100, errors(c, 100, 0.01), errors(c, 100, 0.01), past=300),
        lambda c: with_alias("f", 30, 10, 90, errors(c, 10, 0.01), errors(c, 90, 0.01)),
        lambda c: with_alias("f", 30, 50, 50, errors(c, 50, 0.01), errors(c, 50, 0.01)),
    ],
    ids=["history", "a tenth of an alias", "half of an alias"],
)
def test_a_harmless_release_at_its_usual_one_percent_is_left_alone(
    harmless: Callable[[random.Random], Observed],
) -> None:
    """The verdict speaks of the largest evidence of the whole watch, so it counts an alarm at any minute."""
    chance = random.Random(20240701)
    alarms = sum(ask(harmless(chance)).kind == "harmful" for _ in range(300))
    assert alarms <= 3


def test_a_fleet_that_grows_in_waves_raises_no_more_false_alarms() -> None:
    chance, alarms = random.Random(5), 0
    for _ in range(150):
        fleet = [
            with_alias(
                f"f-{cohort}-{i}",
                30 - 8 * cohort,
                5,
                45,
                errors(chance, 5, 0.02),
                errors(chance, 45, 0.02),
                since=START + 8 * cohort * MINUTE,
                cohort=cohort,
            )
            for cohort, size in enumerate((1, 3, 6))
            for i in range(size)
        ]
        alarms += ask(*fleet).kind == "harmful"
    assert alarms <= 2


def test_ten_times_the_errors_are_found_within_minutes() -> None:
    chance, found = random.Random(3), []
    for _ in range(20):
        whole = with_history("f", 30, 100, errors(chance, 100, 0.01), errors(chance, 100, 0.001), past=2000)
        found.append(
            next(
                n
                for n in range(1, 31)
                if ask(Observed("f", "history", whole.canary[:n], whole.control_minutes, START)).kind == "harmful"
            )
        )
    assert sorted(found)[10] <= 6


def test_one_broken_canary_beside_a_noisy_one_condemns_the_release_and_is_named() -> None:
    """numpy 1.24: scoring uses what was removed, summary keeps its usual two percent."""
    scoring = with_history("scoring-1", 1, 30, 30, 0, past=40)
    summary = with_history("summary-1", 1, 30, 1, errors(random.Random(1), 30, 0.02), past=40)
    verdict = ask(scoring, summary, after=5)
    assert (verdict.kind, verdict.next, verdict.harmed) == ("harmful", "rollback", ("scoring-1",))
    assert verdict.unattributed
    assert {f.function: f.kind for f in verdict.functions} == {"scoring-1": "harmful", "summary-1": "undecided"}
    few = Observed("scoring-1", "history", (Minute(START + MINUTE, 2, 2),), scoring.control_minutes, START)
    assert ask(few, summary, after=5).kind == "harmful"


def test_harm_seen_beside_a_live_control_is_attributed() -> None:
    live = ask(with_alias("f", 5, 2, 18, 2))
    assert (live.kind, live.unattributed) == ("harmful", False)
    past = ask(with_history("f", 5, 2, 2))
    assert (past.kind, past.unattributed) == ("harmful", True)
    assert "something else may have changed" in past.reason


def test_trouble_of_the_environment_is_not_blamed_on_the_release() -> None:
    """GIVEN functions without the release that turn bad as well, THEN history condemns nobody; a live control does."""
    canary, bystander = with_history("f", 3, 20, 10), with_history("g", 3, 20, 10)
    verdict = judge([canary], RULES, now=START + 8 * MINUTE, guard=[bystander])
    assert (verdict.kind, verdict.next, verdict.environment, verdict.harmed) == ("undecided", "wait", True, ())
    assert "not the release's" in verdict.reason
    assert "g) failed 30 of 60 (50.00%) from 12:01-12:03 UTC" in verdict.reason
    calm = judge([canary], RULES, now=START + 8 * MINUTE, guard=[with_history("g", 3, 20)])
    assert calm.next == "rollback"
    live = judge([with_alias("f", 5, 5, 15, 5)], RULES, now=START + 8 * MINUTE, guard=[bystander])
    assert live.next == "rollback"


def test_a_lone_victim_in_a_large_wave_is_put_back_alone() -> None:
    """GIVEN 100 functions of a wave, one of them a little harmed, THEN the release stands and the one is restored."""
    canary = with_history("canary", 30, 20)
    wave = [with_alias(f"f-{i}", 12, 5, 45, since=START + 10 * MINUTE, cohort=1) for i in range(100)]
    victim = with_alias("victim", 5, 1, 9, 1, since=START + 10 * MINUTE, cohort=1)
    verdict = ask(canary, *wave, victim)
    assert (verdict.kind, verdict.next, verdict.harmed) == ("undecided", "restore", ("victim",))
    assert "victim is harmed" in verdict.reason
    back = replace(victim, put_back=True)
    after = ask(canary, *wave, back)
    assert (after.kind, after.next, after.harmed) == ("safe", "advance", ())
    assert next(f for f in after.functions if f.function == "victim").kind == "harmful"


def test_clustered_errors_of_the_past_raise_the_threshold() -> None:
    """GIVEN a function with an outage every few hours, WHEN the canary sees one, THEN nobody is blamed."""
    chance = random.Random(9)

    def past() -> int:
        return 40 if chance.random() < 0.006 else 0

    canary = (*minutes(START + MINUTE, 3, 100), Minute(START + 4 * MINUTE, 100, 40))
    history = minutes(START - 6000 * MINUTE, 6000, 100, past)
    calibration = calibrate(history, 0.01, 30)
    assert calibration.dispersion == 10.0
    assert calibration.threshold is not None
    verdict = ask(Observed("f", "history", canary, history, START))
    assert verdict.kind == "undecided"
    assert verdict.threshold == pytest.approx(calibration.threshold)
    assert ask(Observed("f", "history", canary, minutes(START - 6000 * MINUTE, 6000, 100), START)).kind == "harmful"


def test_clusters_are_seen_within_a_minute_and_across_minutes() -> None:
    """GIVEN failures that are tried again twice, at once or after one and three minutes, THEN they count as a third."""
    chance = random.Random(6)
    starts = [sum(chance.random() < 0.01 for _ in range(100)) for _ in range(9000)]

    def past(*delays: int) -> tuple[Minute, ...]:
        failed = [sum(starts[at - delay] for delay in delays) for at in range(3, 9000)]
        return tuple(Minute(START + at * MINUTE, 100, x) for at, x in enumerate(failed))

    assert spread(past(0)) == pytest.approx(1.0, abs=0.2)
    assert spread(past(0, 0, 0)) == pytest.approx(3.0, abs=0.5)
    assert spread(past(0, 1, 3)) == pytest.approx(3.0, abs=0.5)
    assert spread(()) == 1.0


def test_the_past_of_an_alias_tempers_what_its_clusters_say() -> None:
    """GIVEN three failures in a row on the canary, WHEN failures always come in threes, THEN that is one, not three."""
    seen = with_alias("f", 3, 1, 9, 1)
    assert ask(seen).kind == "harmful"
    tempered = ask(replace(seen, calibration=Calibration(3.0, 20.0, 300)))
    assert tempered.kind == "undecided"
    assert (tempered.functions[0].dispersion, tempered.threshold) == (3.0, pytest.approx(LN_100))


def test_a_calibration_that_was_kept_is_used() -> None:
    seen = with_history("f", 2, 1, 1, 0, past=3360)
    kept = replace(seen, calibration=Calibration(1.0, 20.0, 500))
    assert ask(seen).kind == "harmful"
    assert (ask(kept).kind, ask(kept).threshold) == ("undecided", 20.0)


def test_a_history_too_short_to_calibrate_is_said_to_be_so() -> None:
    (function,) = ask(with_history("f", 5, 60, past=40)).functions
    assert function.threshold == pytest.approx(LN_100)
    assert "too short" in function.note


# --- safe


def test_a_clean_canary_with_traffic_is_safe_after_min_minutes() -> None:
    assert ask(with_history("f", 4, 100), after=8).next == "wait"
    verdict = ask(with_history("f", 5, 100), after=9)
    assert (verdict.kind, verdict.next, verdict.minutes) == ("safe", "advance", 5)
    assert verdict.upper - verdict.lower <= RULES.tolerance
    assert ask(with_history("f", 5, 100), after=9, last=True).next == "promote"


def test_forty_nine_clean_invocations_are_not_enough() -> None:
    lenient = Rules(tolerance=0.9)
    assert ask(with_history("f", 7, 7), rules=lenient).kind == "undecided"
    assert ask(with_history("f", 5, 10), rules=lenient).kind == "safe"


def test_about_two_hundred_clean_invocations_bound_the_added_errors() -> None:
    assert ask(with_alias("f", 20, 9, 81)).kind == "undecided"
    assert ask(with_alias("f", 30, 9, 81)).kind == "safe"


def test_the_controls_are_compared_in_the_canarys_mix_of_functions() -> None:
    """GIVEN a noisy function with a long past and a quiet one with a short, THEN the noise hides nothing."""
    noisy = with_history("noisy", 60, 10, 2, 2, past=3000)
    quiet = with_history("quiet", 60, 100, 1, 0, past=300)
    verdict = ask(noisy, quiet, after=64)
    mixed = (10 * 0.2 + 100 * 0.0) / 110
    assert verdict.control.rate == pytest.approx(mixed, abs=0.001)


def test_an_alias_without_stable_traffic_has_nothing_to_show() -> None:
    verdict = ask(Observed("f", "alias", minutes(START, 30, 100), (), START))
    assert (verdict.kind, verdict.canary, verdict.upper) == ("undecided", Counts(), 1.0)


# --- waves


def noisy_wave(count: int, cohort: int = 1) -> Observed:
    chance = random.Random(8)
    since = START + 32 * MINUTE
    now, then = errors(chance, 60, 0.05), errors(chance, 60, 0.05)
    return with_history("flaky-2", count, 60, now, then, past=40, since=since, cohort=cohort)


def test_a_noisy_function_in_a_later_wave_neither_blocks_nor_blames() -> None:
    """requests 2.32: five percent as always, and far too few invocations to bound them within two."""
    canary = with_alias("fetch-1", 40, 6, 54)
    early = ask(canary, noisy_wave(3), after=40)
    assert early.next == "wait"
    assert "3 of 5 minutes" in early.reason
    verdict = ask(canary, noisy_wave(5), after=41)
    assert (verdict.kind, verdict.next, verdict.harmed) == ("safe", "advance", ())
    assert next(f for f in verdict.functions if f.function == "flaky-2").kind == "undecided"


def test_a_wave_s_minutes_count_from_its_last_attach() -> None:
    """GIVEN a wave whose functions were attached eight minutes apart, THEN the last one gets its minutes too."""
    canary = with_alias("fetch-1", 40, 6, 54)
    first = with_alias("fetch-5", 8, 6, 54, since=START + 30 * MINUTE, cohort=1)
    last = with_alias("fetch-6", 2, 6, 54, since=START + 38 * MINUTE, cohort=1)
    early = ask(canary, first, last, after=44)
    assert (early.next, "0 of 5 minutes" in early.reason or "2 of 5 minutes" in early.reason) == ("wait", True)


def test_what_the_canary_proved_is_not_lost_in_a_noisy_wave() -> None:
    chance = random.Random(4)
    since = START + 32 * MINUTE
    canary = with_alias("fetch-1", 40, 6, 54)
    now, then = errors(chance, 60, 0.2), errors(chance, 60, 0.2)
    noisy = [with_history(f"flaky-{i}", 5, 60, now, then, past=40, since=since, cohort=1) for i in range(4)]
    verdict = ask(canary, *noisy, after=41)
    assert (verdict.kind, verdict.next) == ("safe", "advance")
    assert verdict.canary == Counts(240, 0)


def test_alpha_is_shared_by_the_functions_of_a_wave_and_by_the_waves() -> None:
    """GIVEN a lone canary, THEN a quarter of its weight is kept for waves to come; n functions each need ln(n) more."""
    (alone,) = ask(with_alias("f", 2, 1, 9, 1)).functions
    assert alone.threshold == pytest.approx(LN_100)
    fleet = ask(with_alias("f", 2, 1, 9, 1)).ln_e
    assert fleet == pytest.approx(math.log(0.5 * (0.75 * math.exp(alone.ln_e) + 0.25) + 0.5 * math.exp(alone.ln_e)))
    many = ask(*(with_alias(f"f-{i}", 2, 1, 9) for i in range(20))).functions
    assert {round(function.threshold, 9) for function in many} == {round(LN_100 + math.log(20), 9)}


def test_a_function_is_not_safe_before_min_minutes() -> None:
    assert [ask(with_history("f", n, 200)).functions[0].kind for n in (4, 5)] == ["undecided", "safe"]


def test_a_wave_that_is_broken_stops_a_rollout_whose_canary_was_safe() -> None:
    canary = with_alias("fetch-1", 40, 6, 54)
    broken = [with_alias(f"g-{i}", 2, 6, 54, 6, since=START + 38 * MINUTE, cohort=1) for i in range(3)]
    verdict = ask(canary, *broken, after=44)
    assert (verdict.kind, verdict.next, verdict.harmed) == ("harmful", "rollback", ("g-0", "g-1", "g-2"))


def test_an_idle_wave_is_waited_for_and_then_passed_as_unknown() -> None:
    canary = with_alias("fetch-1", 60, 6, 54)
    idle = Observed("idle", "none", (), (), START + 40 * MINUTE, 1)
    assert ask(canary, idle, after=60).next == "wait"
    verdict = ask(canary, idle, after=70)
    assert verdict.next == "advance"
    assert "little is known" in verdict.reason


# --- undecided


def test_an_undecided_watch_is_extended_with_growing_pauses() -> None:
    canary = with_alias("f", 20, 1, 9)
    looks, elapsed = [], 20.0
    while (verdict := ask(canary, after=elapsed)).next == "wait":
        looks.append(verdict.pause)
        elapsed += verdict.pause
    assert looks[:15] == [1] * 10 + [2, 4, 8, 15, 15]
    assert elapsed == RULES.extend_minutes
    assert verdict.next == "hold"


@given(elapsed=st.floats(0, 2000), longest=st.integers(1, 200))
def test_a_pause_never_outlasts_the_extension(elapsed: float, longest: int) -> None:
    wait = pause(elapsed, RULES, longest)
    assert 1 <= wait <= longest
    assert wait == 1 or elapsed + wait <= RULES.extend_minutes + 1


@pytest.mark.parametrize(
    ("choice", "last", "step"),
    [("hold", 0, "hold"), ("rollback", 0, "rollback"), ("promote", 0, "advance"), ("promote", 1, "promote")],
)
def test_a_release_that_nobody_invoked_is_unknown(choice: str, last: int, step: str) -> None:
    rules = Rules(on_no_traffic=choice)  # type: ignore[arg-type]
    silent = Observed("f", "history", (), minutes(START - 600 * MINUTE, 600, 5), START)
    assert ask(silent, after=1439, rules=rules).next == "wait"
    verdict = ask(silent, after=1440, rules=rules, last=bool(last))
    assert (verdict.kind, verdict.next) == ("undecided", step)
    assert "never invoked" in verdict.reason


def test_at_the_end_the_balance_of_evidence_decides() -> None:
    """GIVEN too few invocations to be sure, WHEN time is up, THEN it promotes only with 50 and nothing against it."""
    assert ask(with_alias("f", 60, 1, 9), after=1440).next == "advance"
    assert ask(with_alias("f", 49, 1, 9), after=1440).next == "hold"
    worse = with_alias("f", 60, 1, 9, errors(random.Random(1), 1, 0.15), errors(random.Random(2), 9, 0.05))
    verdict = ask(worse, after=1440)
    assert verdict.kind == "undecided"
    assert verdict.next == "hold"


def test_nothing_attached_is_nothing_known() -> None:
    verdict = judge([], RULES, now=START)
    assert (verdict.kind, verdict.next) == ("undecided", "hold")


# --- what is counted


def test_a_minute_is_closed_three_minutes_and_a_timeout_after_it_began() -> None:
    given_minutes = (Minute(START + MINUTE, 1, 0), Minute(START, 1, 0))
    assert closed(given_minutes, START + timedelta(seconds=209), 30) == ()
    assert closed(given_minutes, START + timedelta(seconds=210), 30) == (given_minutes[1],)
    assert closed(given_minutes, START + timedelta(seconds=270), 30) == (given_minutes[1], given_minutes[0])


def test_minutes_that_mix_releases_are_left_out() -> None:
    """GIVEN a change at 12:00:20, THEN $LATEST counts from 12:02, history ends with 11:59, an alias counts at once."""
    since = START + timedelta(seconds=20)
    around = minutes(START - 2 * MINUTE, 5, 10)
    (latest,) = ask(Observed("f", "history", around, around, since)).functions
    assert (latest.canary.invocations, latest.baseline.invocations) == (10, 20)
    (alias,) = ask(Observed("f", "alias", around, around, since)).functions
    assert (alias.canary.invocations, alias.baseline.invocations) == (30, 30)


@given(seed=st.integers(0, 10_000), order=st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_same_minutes_give_the_same_verdict(seed: int, order: random.Random) -> None:
    chance = random.Random(seed)
    seen = with_history("f", 8, 20, errors(chance, 20, 0.1), errors(chance, 20, 0.08), past=60)
    shuffled = list(seen.canary)
    order.shuffle(shuffled)
    again = Observed("f", "history", tuple(shuffled), seen.control_minutes, START)
    assert ask(seen) == ask(seen) == ask(again)


def test_later_minutes_never_take_an_alarm_back() -> None:
    broken = with_alias("f", 4, 2, 18, 2)
    calm = minutes(START + 4 * MINUTE, 60, 2)
    later = Observed("f", "alias", broken.canary + calm, minutes(START, 64, 18), START)
    assert ask(broken).kind == ask(later).kind == "harmful"


def test_a_verdict_travels_as_json() -> None:
    verdict = ask(with_history("f", 5, 100), with_alias("g", 5, 10, 90, 2))
    data = json.loads(json.dumps(verdict.to_json()))
    assert {"kind", "next", "reason", "lnE", "threshold", "pValue", "functions", "unattributed", "pause"} <= set(data)
    assert data["canary"].keys() == {"invocations", "errors"}
    assert data["functions"][0]["function"] == "f"
    assert data["functions"][0]["baseline"] == {"invocations": 60000, "errors": 0}


def test_the_course_ends_where_the_verdict_stands() -> None:
    fleet = (with_alias("f", 6, 2, 18, 1), with_history("g", 6, 10, 0, 1))
    points = trace(fleet, RULES)
    assert [p.start for p in points] == sorted({m.start for seen in fleet for m in seen.canary})
    assert max(p.ln_e for p in points) == pytest.approx(ask(*fleet).ln_e)
    assert points[1].canary == Counts(12, 1)
    assert points[1].control == Counts(28, 1)
    assert points[1].usual == pytest.approx(0 / 28 + 10 * 0.1 / 28)
    assert all(p.threshold == pytest.approx(LN_100) for p in points)
    for p in points:
        read = Point.from_json(json.loads(json.dumps(p.to_json())))
        assert (read.start, read.canary, read.control) == (p.start, p.canary, p.control)
        assert (read.ln_e, read.threshold, read.usual) == pytest.approx((p.ln_e, p.threshold, p.usual))


def test_a_frozen_history_is_drawn_at_its_own_rate_however_sparse_the_traffic() -> None:
    (point, *_) = trace([with_history("f", 3, 2, past=100)], RULES)
    assert point.usual == 0.0
    seen = with_history("f", 3, 2, 0, errors(random.Random(1), 2, 0.1), past=1000)
    (point, *_) = trace([seen], RULES)
    assert point.control == Counts(2, 0)
    assert point.usual == pytest.approx(0.1, abs=0.03)
    silent = Observed("f", "none", minutes(START + MINUTE, 1, 2), (), START)
    assert [p.usual for p in trace([silent], RULES)] == [None]
