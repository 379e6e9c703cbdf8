"""Who goes first: what must hold for any fleet, and what is said of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.canaries import Member, choose_canaries, covered, exposed, names, needed
from lamina.rollout import RolloutPolicy

CHANGED = ("anyio", "httpx", "idna")
members = st.lists(
    st.builds(
        Member,
        function=st.integers(1, 10_000).map(lambda number: f"app-{number}"),
        strategy=st.sampled_from(["alias", "latest"]),
        per_minute=st.just(0.0) | st.floats(0.001, 5000),
        error_rate=st.sampled_from([0.0, 0.001, 0.3]),
        uses=st.none() | st.frozensets(st.sampled_from(CHANGED)),
        critical=st.sampled_from([False, False, False, True, None]),
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda member: member.function,
)
policies = st.builds(
    RolloutPolicy, weight=st.floats(0.01, 0.9), tolerance=st.floats(0.005, 0.2), max_minutes=st.integers(1, 120)
)


def first(fleet: list[Member], policy: RolloutPolicy) -> list[Member]:
    by_name = {member.function: member for member in fleet}
    return [by_name[name] for name in choose_canaries(fleet, policy, CHANGED)[0]]


def enough(chosen: list[Member], policy: RolloutPolicy) -> bool:
    per_minute = math.fsum(exposed(member, policy) for member in chosen)
    return per_minute * policy.max_minutes * 0.8 >= needed(policy)


@given(members, policies)
def test_critical_functions_go_first_only_where_there_is_nobody_else(
    fleet: list[Member], policy: RolloutPolicy
) -> None:
    chosen = first(fleet, policy)
    assert chosen
    if any(member.critical is False for member in fleet):
        assert all(member.critical is False for member in chosen)


@given(members, policies)
def test_whatever_changed_and_is_used_where_there_is_traffic_is_covered(
    fleet: list[Member], policy: RolloutPolicy
) -> None:
    chosen = first(fleet, policy)
    pool = [member for member in fleet if member.critical is False] or fleet
    most = max(1, math.ceil(len(fleet) / 2))
    assert len(chosen) <= most
    if len(chosen) < most:
        assert covered(member for member in pool if exposed(member, policy) > 0) <= covered(chosen)


@given(members, policies)
def test_no_canary_could_be_spared(fleet: list[Member], policy: RolloutPolicy) -> None:
    chosen = first(fleet, policy)
    for spared in chosen:
        rest = [member for member in chosen if member is not spared]
        if rest:
            assert covered(rest) != covered(chosen) or not enough(rest, policy)
            assert exposed(spared, policy) > 0


@given(members, policies)
def test_the_watch_can_conclude_unless_the_fleet_or_half_of_it_has_too_little_traffic(
    fleet: list[Member], policy: RolloutPolicy
) -> None:
    chosen = first(fleet, policy)
    pool = [member for member in fleet if member.critical is False] or fleet
    busy = [member for member in pool if exposed(member, policy) > 0]
    if not enough(chosen, policy):
        assert len(chosen) == max(1, math.ceil(len(fleet) / 2)) or set(chosen) >= set(busy)


@settings(max_examples=50)
@given(members, policies, st.randoms())
def test_the_same_fleet_in_any_order_gives_the_same_answer_in_the_same_words(
    fleet: list[Member], policy: RolloutPolicy, random: object
) -> None:
    other = list(fleet)
    random.shuffle(other)  # type: ignore[attr-defined]
    mine, said = choose_canaries(fleet, policy, CHANGED)
    theirs, also = choose_canaries(other, policy, CHANGED)
    assert mine == theirs
    assert said == also
    assert said.endswith(".")


def quick(name: str, uses: set[str] | None = None, per_minute: float = 60, errors: float = 0.0) -> Member:
    return Member(name, "latest", per_minute, errors, None if uses is None else frozenset(uses), "")


def test_who_uses_what_changed_goes_before_who_is_busier() -> None:
    fleet = [quick("busy", set(), 5000), quick("user", {"httpx"}, 30), quick("dark", None, 4000)]
    chosen, said = choose_canaries(fleet, RolloutPolicy(), ("httpx",))
    assert chosen == ("user",)
    assert said == (
        "1 of 3 functions goes first: user. It sends the candidate 30 invocations a minute, enough to conclude within "
        "30 minutes. Its code uses httpx, which changed. What dark uses is unknown."
    )


def test_one_that_uses_all_is_taken_instead_of_one_for_each() -> None:
    fleet = [quick("a", {"httpx"}), quick("b", {"anyio"}), quick("both", {"httpx", "anyio"}), quick("rest", set())]
    assert choose_canaries(fleet, RolloutPolicy(), CHANGED)[0] == ("both",)


def test_one_that_uses_all_but_is_hardly_called_shows_nothing() -> None:
    fleet = [
        quick("a", {"httpx"}), quick("b", {"anyio"}), quick("both", {"httpx", "anyio"}, 0.001), quick("rest", set()),
    ]  # fmt: skip
    assert choose_canaries(fleet, RolloutPolicy(), CHANGED)[0] == ("a", "b")


def test_what_only_a_failing_function_uses_is_tried_there_and_by_nobody_else_that_fails() -> None:
    fleet = [quick("good", {"httpx"}), quick("bad", {"anyio", "httpx"}, 60, 0.3), quick("worse", {"httpx"}, 900, 0.5)]
    fleet += [quick("other", set())]
    assert choose_canaries(fleet, RolloutPolicy(), CHANGED)[0] == ("bad",)
    fleet = [quick("good", {"httpx"}), quick("bad", {"anyio"}, 60, 0.3), quick("worse", {"httpx"}, 900, 0.5)]
    assert choose_canaries(fleet, RolloutPolicy(), CHANGED)[0] == ("good", "bad")


def test_what_is_used_by_nobody_or_by_critical_functions_only_is_said() -> None:
    fleet = [quick("a", {"httpx"}), Member("pay", "latest", 900, 0, frozenset({"anyio"}), critical=True)]
    chosen, said = choose_canaries(fleet, RolloutPolicy(), CHANGED)
    assert chosen == ("a",)
    assert "anyio changed too, and is used by pay only." in said
    assert "idna changed, and no function uses it as far as code was read." in said
    assert said.endswith("pay is tagged as critical and goes last.")


def test_tags_that_could_not_be_read_count_as_critical_and_are_said() -> None:
    dark = Member("dark", "latest", 900, 0, critical=None)
    chosen, said = choose_canaries([quick("a"), dark], RolloutPolicy())
    assert chosen == ("a",)
    assert said.endswith("What dark is tagged with is unknown, which counts as critical.")
    chosen, said = choose_canaries([dark], RolloutPolicy())
    assert chosen == ("dark",)
    assert said.endswith("Every function is tagged as critical, or may be, so that some of them have to go first.")


def test_why_code_was_not_read_is_said_once() -> None:
    fleet = [Member(f"app-{number}", "latest", 60, 0, None, "it is too large") for number in range(8)]
    said = choose_canaries(fleet, RolloutPolicy(), ("httpx",))[1]
    assert "What app-0, app-1, app-2, app-3, app-4 and 3 more use is unknown (it is too large)." in said
    assert "no function uses" not in said


def test_named_canaries_are_taken_as_they_are_critical_or_not() -> None:
    pay = Member("pay", "latest", 900, 0, frozenset({"httpx"}), critical=True)
    chosen, said = choose_canaries([quick("a"), pay], RolloutPolicy(canary=("pay", "gone")), ("httpx",))
    assert chosen == ("pay",)
    assert said.startswith("pay is named as the canary in the layer's definition. Its code uses httpx, which changed.")
    chosen, said = choose_canaries([quick("a"), pay], RolloutPolicy(canary=("gone",)))
    assert chosen == ("a",)
    assert said.startswith("None of the functions that the definition names as canaries is here: gone. 1 of 2 ")


def test_a_fleet_that_nobody_calls_has_one_canary() -> None:
    fleet = [quick(f"app-{number}", {"httpx"}, 0) for number in range(9)]
    chosen, said = choose_canaries(fleet, RolloutPolicy(), CHANGED)
    assert chosen == ("app-0",)
    assert "200 are needed in all, so the watch may go on beyond 30 minutes." in said


@pytest.mark.parametrize(
    ("found", "text"),
    [((), ""), (("a",), "a"), (("a", "b"), "a and b"), (("a", "b", "c"), "a, b and c"), (("a", "a"), "a")],
)
def test_names_in_a_sentence(found: tuple[str, ...], text: str) -> None:
    assert names(found) == text
    assert names(["a", "b", "c"], 2) == "a, b and 1 more"
