"""Half of the suspects at a time, until one is left."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from lamina.bisecting import after_harm, after_promotion, without
from lamina.model import HeldBack, LayerState

NOW = datetime(2026, 11, 1, tzinfo=UTC)
EMPTY = LayerState(variant="web", promoted=1)


def change(package: str) -> HeldBack:
    return HeldBack(package=package, version="2", above="1", since=NOW, reason="it did harm")


def names(entries: tuple[HeldBack, ...]) -> list[str]:
    return [entry.package for entry in entries]


def offered(state: LayerState, all_changes: tuple[HeldBack, ...], promoted: set[str]) -> tuple[HeldBack, ...]:
    """What the next candidate has: all that is new, and not held back."""
    held = {entry.package for entry in state.held_back}
    return tuple(entry for entry in all_changes if entry.package not in held | promoted)


def test_half_is_held_back_for_a_trial_and_half_is_offered() -> None:
    state = after_harm(EMPTY, tuple(map(change, "abcde")))
    assert names(state.suspects) == list("abcde")
    assert names(state.held_back) == list("cde")
    assert all(entry.trial for entry in state.held_back)


def test_a_single_change_is_the_culprit_at_once() -> None:
    state = after_harm(EMPTY, (change("a"),))
    assert (names(state.held_back), state.suspects) == (["a"], ())
    assert not state.held_back[0].trial


def test_what_was_held_back_before_stays_so() -> None:
    state = after_harm(EMPTY.model_copy(update={"held_back": (change("old"),)}), (change("a"), change("b")))
    assert names(state.held_back) == ["old", "b"]
    assert names(after_promotion(state, {"PyPI": {"a": "2"}}).held_back) == ["old", "b"]


def test_a_promotion_without_any_suspect_changes_nothing() -> None:
    assert after_promotion(EMPTY, {"PyPI": {"a": "2"}}) is EMPTY


def test_a_version_that_a_person_lets_go_is_no_suspect_any_more() -> None:
    state = after_harm(EMPTY, tuple(map(change, "abc")))
    freed = without(state, (state.held_back[0],))
    assert names(freed.suspects) == ["a", "c"]
    assert names(freed.held_back) == ["c"]


@given(count=st.integers(1, 20), culprit=st.integers(0, 19))
def test_one_culprit_is_found_in_about_log2_trials_and_nothing_else_stays_behind(count: int, culprit: int) -> None:
    changes = tuple(change(f"p{number}") for number in range(count))
    bad = changes[culprit % count]
    state, promoted, trials = EMPTY, set[str](), 0
    while candidate := offered(state, changes, promoted):
        trials += 1
        if bad in candidate:
            state = after_harm(state, candidate)
        else:
            promoted |= set(names(candidate))
            state = after_promotion(state, {"PyPI": dict.fromkeys(promoted, "2")})
    assert names(state.held_back) == [bad.package]
    assert promoted == set(names(changes)) - {bad.package}
    assert trials <= 2 + 2 * count.bit_length()
