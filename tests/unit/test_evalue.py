"""Evidence by numbers: known values, the laws an e-process must obey, and what history may be used for."""

from __future__ import annotations

import itertools
import math
import random
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.evalue import (
    BETS,
    EXACT_UP_TO,
    Ceiling,
    Comparison,
    Stratum,
    clopper_pearson_lower,
    combine,
    deal_history,
    dispersion,
    log_e,
    log_e_ceiling,
    log_expectations,
    lower_bound,
    pace,
    pair,
    placebo_threshold,
    upper_bound,
)

LN_100 = math.log(100)


@pytest.mark.parametrize(
    ("times", "stratum", "ln_e", "harmful"),
    [
        (2, (1, 1, 336, 0), "9.217356", True),
        (3, (1, 1, 9, 0), "5.839547", True),
        (8, (1, 1, 1, 0), "4.842966", True),
        (1, (10, 5, 0, 0), "0.000000", False),
        (30, (100, 0, 100, 0), "0.000000", False),
        (30, (100, 1, 100, 1), "-3.156678", False),
        (10, (1000, 20, 1000, 10), "14.022982", True),
        (1, (2, 5, 100, 0), "6.793246", True),
    ],
)
def test_known_evidence(times: int, stratum: tuple[int, int, int, int], ln_e: str, harmful: bool) -> None:
    found = log_e([Stratum(*stratum)] * times)
    assert (f"{found:.6f}", found >= LN_100) == (ln_e, harmful)


def test_known_evidence_against_a_ceiling() -> None:
    assert f"{log_e_ceiling(2, 2, 0.05):.6f}" == "5.155409"


@pytest.mark.parametrize(
    ("bound", "n", "x", "m", "value"),
    [
        (upper_bound, 1000, 5, 0.01, "0.0158197"),
        (upper_bound, 200, 0, 0.005, "0.0209803"),
        (lower_bound, 10000, 100, 0.01, "0.0068265"),
    ],
)
def test_known_bounds(bound: object, n: int, x: int, m: float, value: str) -> None:
    assert callable(bound)
    assert f"{bound(n, x, 0.025, m):.7f}" == value


def _choose(n: int, k: int) -> int:
    return math.comb(n, k) if 0 <= k <= n else 0


@given(n1=st.integers(1, 40), n0=st.integers(1, 40), k=st.integers(1, 40), data=st.data())
@settings(max_examples=80, deadline=None)
def test_the_expectation_of_a_bet_is_exact(n1: int, n0: int, k: int, data: st.DataObject) -> None:
    k = min(k, n1 + n0)
    bet = data.draw(st.sampled_from(range(len(BETS))))
    psi = Fraction(BETS[bet])
    exact = sum(psi**j * _choose(n1, j) * _choose(n0, k - j) for j in range(k + 1)) / Fraction(math.comb(n1 + n0, k))
    assert log_expectations(n1, n0, k)[bet] == pytest.approx(math.log(exact), abs=1e-9)


def outcomes(n1: int, n0: int, p1: float, p0: float) -> list[tuple[Stratum, float]]:
    """Every outcome of a stratum with its probability."""
    return [
        (Stratum(n1, x1, n0, x0), _binomial(n1, x1, p1) * _binomial(n0, x0, p0))
        for x1 in range(n1 + 1)
        for x0 in range(n0 + 1)
    ]


def _binomial(n: int, x: int, p: float) -> float:
    return math.comb(n, x) * p**x * (1 - p) ** (n - x)


@given(
    n1=st.integers(1, 12),
    n0=st.integers(1, 12),
    p=st.floats(0.001, 0.999),
    lower=st.just(1.0) | st.floats(0.1, 1.0),
)
@settings(max_examples=60, deadline=None)
def test_a_harmless_stratum_has_an_expectation_of_at_most_one(n1: int, n0: int, p: float, lower: float) -> None:
    """E[bet^x1 / M] by enumeration, for a canary at or below its control's odds: exactly 1 where they are the same."""
    for bet, psi in enumerate(BETS):
        expectation = 0.0
        for seen, probability in outcomes(n1, n0, p * lower, p):
            log_m = 0.0 if seen.silent else log_expectations(n1, n0, seen.x1 + seen.x0)[bet]
            expectation += probability * math.exp(seen.x1 * math.log(psi) - log_m)
        assert expectation <= 1 + 1e-9
        if lower == 1.0:
            assert expectation == pytest.approx(1)


small = st.tuples(st.integers(1, 3), st.integers(1, 3), st.floats(0.001, 0.999), st.just(1.0) | st.floats(0.1, 1.0))


@given(strata=st.lists(small, min_size=1, max_size=3), phi=st.just(1.0) | st.floats(1.0, 10.0))
@settings(max_examples=20, deadline=None)
def test_a_harmless_release_is_rarely_blamed_however_the_rates_drift(
    strata: list[tuple[int, int, float, float]], phi: float
) -> None:
    """By enumeration of all courses: E[E] <= 1 at the end, and P(E ever reaches 1/alpha) <= alpha, for every alpha.

    Each stratum has rates of its own; the canary's are at or below its control's.
    """
    alphas = (0.5, 0.2, 0.1, 0.05, 0.01)
    expectation, blamed = 0.0, dict.fromkeys(alphas, 0.0)
    for course in itertools.product(*(outcomes(n1, n0, p * lower, p) for n1, n0, p, lower in strata)):
        process, probability = Comparison(), math.prod(chance for _, chance in course)
        for seen, _ in course:
            process.add(seen, phi)
        expectation += probability * math.exp(process.ln_e)
        for alpha in alphas:
            blamed[alpha] += probability * (process.peak >= math.log(1 / alpha))
    assert expectation <= 1 + 1e-9
    assert all(share <= alpha + 1e-9 for alpha, share in blamed.items())


@given(p=st.floats(0.001, 0.999), canary=st.integers(1, 3), history=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_a_history_that_is_dealt_out_keeps_the_expectation(p: float, canary: int, history: int) -> None:
    """By enumeration of all pasts and all canaries of one invocation a minute."""
    expectation = 0.0
    for fates in itertools.product((0, 1), repeat=canary + history):
        minutes = [(1, x) for x in fates]
        probability = math.prod(p if x else 1 - p for x in fates)
        dealt = deal_history(minutes[:canary], minutes[canary:])
        expectation += probability * math.exp(log_e(stratum for _, stratum in dealt))
    assert expectation == pytest.approx(1)


@given(n=st.integers(1, 60), p=st.floats(0.0, 0.05))
def test_a_rate_below_the_ceiling_has_an_expectation_of_at_most_one(n: int, p: float) -> None:
    total = sum(math.comb(n, x) * p**x * (1 - p) ** (n - x) * math.exp(log_e_ceiling(n, x)) for x in range(n + 1))
    assert total <= 1 + 1e-9


def test_beyond_the_exact_sum_evidence_is_only_understated() -> None:
    n1, n0, k = 5000, 7000, EXACT_UP_TO
    share = n1 / (n1 + n0)
    exact = log_expectations(n1, n0, k)
    bound = log_expectations(n1, n0, k + 1)
    for psi, at, above in zip(BETS, exact, bound, strict=True):
        assert at <= k * math.log1p(share * (psi - 1)) + 1e-9
        assert above == pytest.approx((k + 1) * math.log1p(share * (psi - 1)))


counts = st.integers(0, 10**7)


@given(strata=st.lists(st.builds(Stratum, counts, counts, counts, counts), max_size=20))
def test_evidence_is_a_finite_number_whatever_comes(strata: list[Stratum]) -> None:
    process = Comparison()
    for stratum in strata:
        process.add(stratum)
    assert math.isfinite(process.ln_e)
    assert process.peak >= max(0.0, process.ln_e)
    assert log_e(strata) == process.ln_e


@given(n1=counts, n0=counts, x=counts)
def test_no_data_is_neither_good_nor_bad(n1: int, n0: int, x: int) -> None:
    silent = [Stratum(0, 0, n0, x), Stratum(n1, x, 0, 0), Stratum(n1, 0, n0, 0)]
    assert log_e(silent) == 0.0


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Stratum(1, -1, 1, 0)
    with pytest.raises(ValueError, match="negative"):
        log_e_ceiling(-1, 0)
    with pytest.raises(ValueError, match="ceiling"):
        log_e_ceiling(1, 0, 0.9999)


def test_more_errors_of_the_canary_are_more_evidence() -> None:
    evidence = [log_e([Stratum(100, x, 900, 9)]) for x in range(5, 60)]
    assert evidence == sorted(evidence)


def test_a_change_of_the_odds_below_the_smallest_bet_never_fires() -> None:
    assert log_e([Stratum(100_000, 1_200, 100_000, 1_000)] * 200) < 0


def test_dispersed_evidence_is_weaker() -> None:
    plain, tempered = Comparison(), Comparison()
    for _ in range(3):
        plain.add(Stratum(1, 1, 336, 0))
        tempered.add(Stratum(1, 1, 336, 0), 4.0)
    assert 0 < tempered.ln_e < plain.ln_e


def test_a_running_ceiling_remembers_its_peak() -> None:
    process = Ceiling()
    process.add(2, 2)
    peak = process.ln_e
    process.add(500, 0)
    assert process.ln_e < 0 < peak == process.peak


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=9), st.floats(-50, 50))
def test_the_fleet_is_half_mean_half_pool(functions: list[float], pooled: float) -> None:
    expected = 0.5 * sum(map(math.exp, functions)) / len(functions) + 0.5 * math.exp(pooled)
    assert combine(functions, pooled) == pytest.approx(math.log(expected), abs=1e-9)


def test_weight_that_is_kept_back_counts_as_no_evidence() -> None:
    assert combine([math.log(9.0)], 0.0, [0.5]) == pytest.approx(math.log(0.5 * (0.5 * 9 + 0.5) + 0.5))
    assert combine([2000.0, -2000.0], 1000.0, [0.25, 0.25]) == pytest.approx(2000 - math.log(8))


def test_a_thousand_minutes_of_fifty_functions_take_less_than_a_second() -> None:
    chance = random.Random(4)
    fleet = [
        [Stratum(100, int(chance.expovariate(1)), 900, int(chance.expovariate(0.1))) for _ in range(1000)]
        for _ in range(50)
    ]
    started = time.process_time()
    for strata in fleet:
        log_e(strata)
    assert time.process_time() - started < 1.0


# --- controls


def test_minutes_with_both_sides_stand_alone_and_lonely_ones_wait_for_each_other() -> None:
    minutes = [(0, 2, 1, 9, 0), (1, 0, 0, 9, 1), (2, 1, 1, 0, 0), (3, 0, 0, 0, 0), (4, 1, 0, 9, 0), (5, 1, 1, 0, 0)]
    assert pair(minutes) == [(0, Stratum(2, 1, 9, 0)), (2, Stratum(1, 1, 9, 1)), (4, Stratum(1, 0, 9, 0))]


def test_a_lonely_minute_does_not_wait_for_ever() -> None:
    assert pair([(0, 0, 0, 9, 0), (60, 1, 1, 0, 0)]) == []
    assert pair([(0, 0, 0, 9, 0), (59, 1, 1, 0, 0)]) == [(59, Stratum(1, 1, 9, 0))]


@given(st.integers(0, 3000), st.integers(0, 400))
def test_history_is_never_dealt_twice(length: int, minutes: int) -> None:
    ends = pace(length, minutes)
    assert ends == sorted(ends)
    assert all(0 <= end <= length for end in ends)
    if length >= 10 and minutes:
        assert ends[0] == length // 10
    assert pace(length, minutes + 1)[:minutes] == ends  # what comes later changes nothing before it


def test_history_is_dealt_by_tenths_and_then_ever_more_thinly() -> None:
    ends = pace(1000, 20)
    assert ends[:3] == [100, 190, 271]
    assert ends[19] == int(1000 - 1000 * 0.9**10 * 10 / 20)  # the shares 1/11 … 1/20 leave half of what ten tenths left


minutes_of = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60)), max_size=60)


@given(canary=minutes_of, history=minutes_of, other=st.integers(0, 60))
def test_blocks_are_disjoint_and_blind_to_errors(
    canary: list[tuple[int, int]], history: list[tuple[int, int]], other: int
) -> None:
    dealt = deal_history(canary, history)
    assert sum(s.n0 for _, s in dealt) <= sum(n for n, _ in history)
    assert sum(s.x0 for _, s in dealt) <= sum(min(n, x) for n, x in history)
    assert sum(s.n1 for _, s in dealt) <= sum(n for n, _ in canary)
    changed = deal_history([(n, min(n, other)) for n, _ in canary], [(n, min(n, other)) for n, _ in history])
    assert [(i, s.n1, s.n0) for i, s in dealt] == [(i, s.n1, s.n0) for i, s in changed]


def test_canary_minutes_wait_for_a_whole_minute_of_history() -> None:
    dealt = deal_history([(1, 0)] * 40, [(1, 0)] * 12)
    assert [index for index, _ in dealt[:10]] == list(range(10))
    late = [stratum for index, stratum in dealt if index >= 10]
    assert late and all(stratum.n0 == 1 and stratum.n1 > 1 for stratum in late)


def test_dispersion_is_one_for_chance_and_more_for_clusters() -> None:
    chance = random.Random(2)
    even = [(100, sum(chance.random() < 0.05 for _ in range(100))) for _ in range(500)]
    clusters = [(100, 50 if i % 10 == 0 else 0) for i in range(500)]
    assert dispersion(even) == pytest.approx(1.0, abs=0.15)
    assert dispersion(clusters) == 10.0
    assert dispersion([]) == dispersion([(10, 0)] * 9) == dispersion([(10, 10)] * 9) == dispersion([(10, 3)]) == 1.0
    assert dispersion([(10, 1), (10, 3)]) == pytest.approx(1.25)


def test_a_short_past_cannot_raise_the_threshold() -> None:
    placebo = placebo_threshold([[[(10, 1)] * 30] * 99], 0.01, [1.0])
    assert (placebo.threshold, placebo.windows, placebo.known) == (LN_100, 99, False)


def test_a_calm_past_leaves_the_threshold_where_theory_puts_it() -> None:
    placebo = placebo_threshold([[[(10, 0)] * 30] * 200], 0.01, [1.0])
    assert (placebo.threshold, placebo.windows, placebo.known) == (LN_100, 200, True)


def test_a_past_with_outages_raises_the_threshold() -> None:
    """GIVEN 200 windows, three of them with an outage, WHEN alpha is 1 %, THEN the second worst sets the threshold."""
    windows = [[(100, 0)] * 30 for _ in range(200)]
    for number, errors in ((20, 12), (90, 14), (150, 13)):
        windows[number] = [(100, 0)] * 10 + [(100, errors)] + [(100, 0)] * 19

    def peak(number: int) -> float:
        newest = [c for w in reversed(windows[:number]) for c in reversed(w)]
        newest += [c for w in reversed(windows[number + 1 :]) for c in reversed(w)]
        process = Comparison()
        for _, stratum in deal_history(windows[number], newest):
            process.add(stratum)
        return process.peak

    placebo = placebo_threshold([windows], 0.01, [1.0])
    assert placebo.known
    assert placebo.threshold == pytest.approx(sorted((peak(20), peak(90), peak(150)))[1])
    assert placebo.threshold > LN_100
    assert placebo_threshold([windows], 0.01, [3.0]).threshold < placebo.threshold


def test_functions_that_fail_together_raise_their_pool_more_than_each_alone() -> None:
    windows = [[(100, 0)] * 30 for _ in range(200)]
    for number in (20, 90, 150):
        windows[number] = [(100, 0)] * 10 + [(100, 9)] + [(100, 0)] * 19
    alone = placebo_threshold([windows], 0.01, [1.0]).threshold
    assert placebo_threshold([windows, windows], 0.01, [1.0, 1.0]).threshold > alone


# --- bounds


@given(n=st.integers(1, 5000), data=st.data())
@settings(deadline=None)
def test_bounds_enclose_the_observed_rate(n: int, data: st.DataObject) -> None:
    x = data.draw(st.integers(0, n))
    m = data.draw(st.floats(0.001, 0.9))
    assert 0 <= lower_bound(n, x, 0.025, m) <= x / n <= upper_bound(n, x, 0.025, m) <= 1
    assert 0 <= clopper_pearson_lower(n, x, 0.025) <= x / n


@pytest.mark.parametrize(("n", "x"), [(10, 1), (100, 3), (1000, 10), (5000, 4000)])
def test_clopper_pearson_is_where_the_binomial_tail_is_alpha(n: int, x: int) -> None:
    p = Fraction(clopper_pearson_lower(n, x, 0.025))
    logs = [
        math.log(math.comb(n, j)) + j * math.log(float(p)) + (n - j) * math.log1p(-float(p)) for j in range(x, n + 1)
    ]
    assert sum(math.exp(value) for value in logs) == pytest.approx(0.025, rel=1e-6)


def test_bounds_without_data_say_nothing() -> None:
    assert upper_bound(0, 0, 0.025, 0.01) == 1.0
    assert lower_bound(0, 0, 0.025, 0.01) == clopper_pearson_lower(0, 0, 0.025) == 0.0
    assert upper_bound(5, 5, 0.025, 0.01) == 1.0
    assert clopper_pearson_lower(5, 5, 0.025) == pytest.approx(0.025**0.2)


def test_the_upper_bound_holds_at_all_times_at_once() -> None:
    chance, missed = random.Random(11), 0
    for _ in range(200):
        errors = 0
        for n in range(1, 40):
            errors += sum(chance.random() < 0.02 for _ in range(20))
            if upper_bound(20 * n, errors, 0.025, 0.02) < 0.02:
                missed += 1
                break
    assert missed <= 200 * 0.025 + 5
