from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from lamina.canaries import Member, exposed
from lamina.cohorts import choose
from lamina.rollout import RolloutPolicy

members = st.lists(
    st.builds(
        Member,
        function=st.integers(1, 10_000).map(lambda number: f"app-{number}"),
        strategy=st.sampled_from(["alias", "latest"]),
        per_minute=st.floats(0, 5000),
        error_rate=st.floats(0, 1),
        uses=st.none() | st.frozensets(st.sampled_from(["httpx", "anyio", "idna"])),
        critical=st.sampled_from([False, False, True, None]),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda member: member.function,
)
waves = st.lists(st.integers(1, 99), max_size=4, unique=True).map(lambda percents: (*sorted(percents), 100))
policies = st.builds(RolloutPolicy, waves=waves, weight=st.floats(0.01, 0.9), tolerance=st.floats(0.005, 0.2))


@given(members, policies)
def test_every_function_is_in_exactly_one_wave(fleet: list[Member], policy: RolloutPolicy) -> None:
    cohorts = choose(fleet, policy)
    assert set(cohorts.wave_of) == {member.function for member in fleet}
    counts = [sum(wave == number for wave in cohorts.wave_of.values()) for number in range(len(cohorts.waves))]
    assert counts == [wave.count for wave in cohorts.waves]


@given(members, policies)
def test_waves_grow_no_faster_than_the_policy_says(fleet: list[Member], policy: RolloutPolicy) -> None:
    cohorts = choose(fleet, policy)
    attached = cohorts.waves[0].count
    limits = [math.ceil(len(fleet) * percent / 100) for percent in policy.waves]
    for wave in cohorts.waves[1:]:
        if wave.name == "complete":
            continue
        attached += wave.count
        assert attached in limits
    assert attached == len(fleet)


@given(members, policies)
def test_there_is_a_canary_and_it_is_never_more_than_half_of_a_fleet(
    fleet: list[Member], policy: RolloutPolicy
) -> None:
    first = choose(fleet, policy).waves[0]
    assert first.name == "canary"
    assert 1 <= first.count <= max(1, math.ceil(len(fleet) / 2))


@given(members, policies)
def test_the_last_wave_that_attaches_leaves_nobody_out_and_critical_functions_come_last(
    fleet: list[Member], policy: RolloutPolicy
) -> None:
    cohorts = choose(fleet, policy)
    attaching = [wave for wave in cohorts.waves if wave.name != "complete"]
    assert attaching[-1].percent == 100
    later = {member.function: cohorts.wave_of[member.function] for member in fleet if cohorts.wave_of[member.function]}
    uncritical = [later[member.function] for member in fleet if member.function in later and member.critical is False]
    others = [later[member.function] for member in fleet if member.function in later and member.critical is not False]
    assert max(uncritical, default=0) <= min(others, default=len(cohorts.waves))


@given(members, policies)
def test_the_completing_wave_is_there_for_aliases_and_last(fleet: list[Member], policy: RolloutPolicy) -> None:
    named = [wave.name for wave in choose(fleet, policy).waves]
    assert ("complete" in named) == any(member.strategy == "alias" for member in fleet)
    assert "complete" not in named[:-1]


@given(members, policies)
def test_the_same_fleet_in_any_order_gives_the_same_cohorts(fleet: list[Member], policy: RolloutPolicy) -> None:
    assert choose(fleet, policy) == choose(list(reversed(fleet)), policy)


def test_quiet_functions_with_traffic_go_first_and_just_enough_of_them() -> None:
    fleet = [Member(f"fetch-{number}", "alias", 60, 0.0) for number in range(1, 7)]
    fleet += [Member(f"flaky-{number}", "latest", 60, 0.05) for number in range(1, 3)]
    cohorts = choose(fleet, RolloutPolicy())
    assert [name for name, wave in cohorts.wave_of.items() if wave == 0] == ["fetch-1", "fetch-2"]
    assert [wave.name for wave in cohorts.waves] == ["canary", "wave 1", "wave 2", "complete"]
    assert "enough to conclude within 30 minutes" in cohorts.reason


def test_named_canaries_are_taken_as_they_are_and_missing_ones_are_told_of() -> None:
    fleet = [Member("scoring-1", "latest", 30, 0), Member("summary-1", "latest", 30, 0.02)]
    named = choose(fleet, RolloutPolicy(canary=("summary-1", "gone")))
    assert [name for name, wave in named.wave_of.items() if wave == 0] == ["summary-1"]
    missing = choose(fleet, RolloutPolicy(canary=("gone",)))
    assert "gone" in missing.reason


def test_an_empty_fleet_has_no_waves() -> None:
    assert choose([], RolloutPolicy()).waves == ()


def test_an_alias_exposes_only_its_weight() -> None:
    policy = RolloutPolicy(weight=0.25)
    assert exposed(Member("a", "alias", 40, 0), policy) == 10
    assert exposed(Member("a", "latest", 40, 0), policy) == 40
