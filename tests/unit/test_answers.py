"""The resolver's answers: what is tried one after the other until an answer may be taken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from lamina.answers import Answers
from lamina.errors import ResolutionFailed
from lamina.fixing import Fix
from lamina.gateways.index import Unsolved
from lamina.lock import Lock, Pin
from lamina.model import Advisory
from lamina.resolve import Answer, Approach, Question, basis
from tests.orders import order_of, python_layer

NOW = datetime(2026, 11, 20, tzinfo=UTC)
OLD, YOUNG = NOW - timedelta(days=30), NOW - timedelta(days=2)
CURRENT = Lock.of([Pin("flask", "2.2.2", (), OLD), Pin("requests", "2.31.0", (), OLD)])
FLASK = Fix(Advisory(id="CVE-1", package="flask", fixed="2.2.5"), ("2.2.5", "2.3.0"), early=True)
REQUESTS = Fix(Advisory(id="CVE-2", package="requests", fixed="2.32.0"), ("2.32.0",), early=True)


class Scripted:
    """A resolver that answers by a rule, and remembers what it was asked."""

    def __init__(self, rule: Callable[[Question], Answer | str]) -> None:
        self.rule = rule
        self.asked: list[Question] = []

    def resolve(self, question: Question) -> Answer:
        self.asked.append(question)
        answer = self.rule(question)
        if isinstance(answer, str):
            raise Unsolved(answer)
        return answer


def answers(
    resolver: Scripted,
    *,
    approach: Approach | None = None,
    withdrawn: frozenset[str] = frozenset(),
    wheels: frozenset[str] = frozenset(),
    fresh: frozenset[str] = frozenset(),
    unfinished: frozenset[str] = frozenset(),
) -> Answers:
    order = order_of(python_layer(wants="flask\nrequests\n"), CURRENT, NOW)
    return Answers(
        order,
        basis(order),
        resolver,
        approach=approach or Approach(),
        learn=lambda names: dict.fromkeys(names, fresh),
        has_wheel=lambda name, _: name in wheels,
        unfinished=lambda names: unfinished & set(names),
        withdrawn=withdrawn,
    )


def lock(moment: datetime = OLD, **versions: str) -> Answer:
    """The current lock with other versions, uploaded at some moment, in it."""
    moved = {name: Pin(name, version, (), moment) for name, version in versions.items()}
    return Answer(Lock.of({**CURRENT.pins, **moved}.values()))


def test_an_ordinary_update_without_fixes_asks_once() -> None:
    resolver = Scripted(lambda _: lock(requests="2.32.0"))

    found = answers(resolver).ordinary(())

    assert found.lock.packages["requests"] == "2.32.0"
    assert len(resolver.asked) == 1


def test_a_fix_that_nothing_goes_with_does_not_stop_the_rest() -> None:
    resolver = Scripted(lambda asked: "does not fit" if len(asked.asked) > 2 else lock(requests="2.32.0"))

    found = answers(resolver).ordinary((FLASK,))

    assert found.lock.packages == {"flask": "2.2.2", "requests": "2.32.0"}
    assert [(held.package, held.version, held.kind) for held in found.held] == [("flask", "2.2.5", "conflict")]
    assert found.held[0].why == "fixes CVE-1, but does not fit"
    assert found.notes == ()


def test_a_fix_may_bring_along_what_it_needs_before_its_cooldown_and_says_so() -> None:
    # GIVEN a fix that needs a young blinker
    def rule(asked: Question) -> Answer | str:
        if len(asked.asked) == 2:
            return lock(requests="2.31.1")
        if "blinker==1.9" in asked.constraints:
            return Answer(Lock.of([*lock(flask="2.2.5", requests="2.31.1").lock.pins.values(), Pin("blinker", "1.9")]))
        if asked.cutoff == NOW:
            return Answer(Lock.of([*lock(flask="2.2.5").lock.pins.values(), Pin("blinker", "1.9", (), YOUNG)]))
        return "blinker is too young"

    resolver = Scripted(rule)

    # WHEN an ordinary update is to take it
    found = answers(resolver).ordinary((FLASK,))

    # THEN blinker comes along, and only the fix's own search was without a cooldown, with all pins preferred
    assert found.lock.packages == {"blinker": "1.9", "flask": "2.2.5", "requests": "2.31.1"}
    assert found.notes == (
        "flask did not wait for its cooldown to end: the update fixes CVE-1.",
        "blinker 1.9 was taken before its cooldown ended: the fix of CVE-1 in flask needs it.",
    )
    assert all(asked.preferred for asked in resolver.asked if asked.cutoff == NOW)
    assert not resolver.asked[-1].preferred


def test_a_fix_that_needs_too_many_young_packages_is_left_out() -> None:
    along = [Pin(f"new-{number}", "1", (), YOUNG) for number in range(4)]

    def rule(asked: Question) -> Answer | str:
        return (
            Answer(Lock.of([*lock(flask="2.2.5").lock.pins.values(), *along])) if asked.cutoff == NOW else "too young"
        )

    with pytest.raises(ResolutionFailed, match=r"none of the fixes can be taken.*more than 3 other packages.*new-3 1"):
        answers(Scripted(rule)).security((FLASK,))


def test_a_security_update_prefers_every_pin_and_takes_the_lowest_fix() -> None:
    resolver = Scripted(lambda _: lock(flask="2.2.5"))

    found = answers(resolver).security((FLASK,))

    (asked,) = resolver.asked
    assert asked.preferred == CURRENT.packages
    assert asked.asked[-1] == "flask==2.2.5"
    assert found.lock.packages == {"flask": "2.2.5", "requests": "2.31.0"}


def test_where_the_lowest_fix_does_not_fit_a_higher_one_may() -> None:
    resolver = Scripted(lambda asked: lock(flask="2.3.0") if asked.asked[-1] == "flask>=2.2.5" else "does not fit")

    assert answers(resolver).security((FLASK,)).lock.packages["flask"] == "2.3.0"


def test_of_several_fixes_those_that_can_be_taken_are() -> None:
    resolver = Scripted(
        lambda asked: (
            "no"
            if any(line.startswith(("flask=", "flask>")) for line in asked.asked)
            else lock(YOUNG, requests="2.32.0")
        )
    )

    found = answers(resolver).security((FLASK, REQUESTS))

    assert found.lock.packages == {"flask": "2.2.2", "requests": "2.32.0"}
    assert [held.package for held in found.held] == ["flask"]


def test_a_withdrawn_version_stays_where_nothing_newer_fits() -> None:
    resolver = Scripted(lambda asked: lock() if "requests==2.31.0" in asked.constraints else "requests has no wheels")

    found = answers(resolver, withdrawn=frozenset({"requests"})).ordinary(())

    assert found.lock == CURRENT


def test_what_no_approach_helps_fails_with_the_first_reason() -> None:
    with pytest.raises(ResolutionFailed, match=r"^does not fit$") as failed:
        answers(Scripted(lambda _: "does not fit"), withdrawn=frozenset({"requests"})).ordinary((FLASK,))

    assert type(failed.value) is ResolutionFailed


def test_packages_without_upload_times_are_learned_of_and_their_fresh_versions_left_out() -> None:
    def rule(asked: Question) -> Answer:
        known = "requests" in asked.cutoffs
        return Answer(lock(requests="2.31.1").lock, untimed=frozenset() if known else frozenset({"requests"}))

    resolver = Scripted(rule)
    asking = answers(resolver, fresh=frozenset({"2.32.0"}))

    asking.ordinary(())

    assert asking.timeless == {"requests"}
    assert resolver.asked[1].cutoffs == {"requests": None}
    assert "requests!=2.32.0" in resolver.asked[1].constraints


def test_an_index_that_never_stops_showing_new_ones_is_given_up_on() -> None:
    numbers = iter(range(1000))
    endless = Scripted(lambda _: Answer(CURRENT, untimed=frozenset({f"new-{next(numbers)}"})))

    with pytest.raises(ResolutionFailed, match=r"gives no upload times.*cooldown-days = 0"):
        answers(endless).ordinary(())

    assert len(endless.asked) == 16


def test_a_wheel_is_preferred_where_building_from_source_is_allowed() -> None:
    resolver = Scripted(lambda _: lock(requests="2.32.0"))

    answers(
        resolver, approach=Approach(forced=frozenset({"flask", "requests"})), wheels=frozenset({"requests"})
    ).ordinary(())

    assert [asked.forced for asked in resolver.asked] == [("flask", "requests"), ("flask",)]
    assert "requests==2.32.0" in resolver.asked[1].constraints


def test_a_pre_release_of_a_package_that_has_nothing_else_is_taken() -> None:
    resolver = Scripted(lambda _: lock(conventions="0.60b0"))

    assert (
        answers(resolver, unfinished=frozenset({"conventions"})).ordinary(()).lock.packages["conventions"] == "0.60b0"
    )
    with pytest.raises(ResolutionFailed, match=r"conventions 0\.60b0 would be a pre-release"):
        answers(resolver).ordinary(())
