"""What must always hold when functions are changed and put back, whoever else is at work on them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.errors import RolloutClosed
from lamina.fleet import FunctionChange
from lamina.moves import Move, by_hand, confirm
from lamina.rollout import Entry, EntryStatus, RolloutPolicy, Snapshot
from lamina.steps.changing import bring, put_back
from lamina.steps.enroll import examine
from tests.unit.fakes import NOW, FakeFunctions, layer

OLD, NEW = layer("web", 1), layer("web", 2)
LAYERS = (layer("logs", 4), OLD, layer("tracing", 9))
MOVED = (layer("logs", 4), NEW, layer("tracing", 9))


@dataclass
class Journal:
    """Keeps the last entry, and can close as a rollout does."""

    entry: Entry
    closed: bool = False
    notes: list[Entry] = field(default_factory=list)

    def note(self, entry: Entry) -> None:
        if self.closed:
            raise RolloutClosed("closed")
        self.entry = entry
        self.notes.append(entry)


def world(alias: str | None) -> tuple[FakeFunctions, Journal]:
    functions = FakeFunctions()
    functions.add("app", LAYERS, alias)
    entry = Entry(function="app", before=Snapshot(layers=LAYERS), replaced=OLD)
    return functions, Journal(examine(entry, NEW, RolloutPolicy(), functions))  # type: ignore[arg-type]


def canary(weight: float | None = 0.1) -> Move:
    return Move(candidate=NEW, replaces=(), weight=weight, description="test")


def go(functions: FakeFunctions, journal: Journal, move: Move) -> Entry:
    return bring(journal.entry, move, functions, journal.note, NOW)  # type: ignore[arg-type]


def back(functions: FakeFunctions, journal: Journal) -> Entry:
    journal.entry = put_back(journal.entry, NEW, functions)  # type: ignore[arg-type]
    return journal.entry


def test_a_function_on_latest_gets_the_candidate_in_place() -> None:
    functions, journal = world(None)
    entry = go(functions, journal, canary())
    assert entry.status is EntryStatus.ATTACHED
    assert functions.latest["app"].layers == MOVED
    assert entry.before.layers == LAYERS


def test_an_alias_keeps_its_version_and_gives_the_new_one_a_share() -> None:
    functions, journal = world("live")
    entry = go(functions, journal, canary())
    alias = functions.aliases["app", "live"]
    assert (alias.version, alias.weights) == ("1", {"2": 0.1})
    assert functions.versions["app", "2"].layers == MOVED
    assert entry.after is not None
    assert entry.after.version == "2"


def test_completing_moves_the_alias_wholly() -> None:
    functions, journal = world("live")
    go(functions, journal, canary())
    entry = go(functions, journal, canary(None))
    assert entry.status is EntryStatus.COMPLETED
    assert functions.aliases["app", "live"].version == "2"
    assert functions.serving("app", "live") == MOVED


@pytest.mark.parametrize("alias", [None, "live"])
def test_the_journal_knows_what_stood_there_before_each_change(alias: str | None) -> None:
    functions, journal = world(alias)
    known: list[bool] = []

    def watch(change: FunctionChange) -> None:
        known.append(journal.entry.before.layers == LAYERS and journal.entry.status is EntryStatus.ATTACHING)

    functions.before_apply = watch
    go(functions, journal, canary())
    assert known
    assert all(known)


@pytest.mark.parametrize("alias", [None, "live"])
@pytest.mark.parametrize("complete", [False, True])
def test_restoring_brings_back_exactly_what_stood_there_and_twice_changes_nothing(
    alias: str | None, complete: bool
) -> None:
    functions, journal = world(alias)
    go(functions, journal, canary())
    if complete:
        go(functions, journal, canary(None))
    assert back(functions, journal).status is EntryStatus.RESTORED
    assert functions.serving("app", alias) == LAYERS
    assert functions.latest["app"].layers == LAYERS
    count = len(functions.applied)
    assert back(functions, journal).status is EntryStatus.RESTORED
    assert len(functions.applied) == count


@pytest.mark.parametrize("alias", [None, "live"])
@given(stop=st.integers(0, 8))
def test_wherever_attaching_dies_restoring_ends_on_the_old_release(alias: str | None, stop: int) -> None:
    functions, journal = world(alias)
    countdown = iter(range(stop, -1, -1))

    class Killed(Exception):
        pass

    def die(change: FunctionChange) -> None:
        if next(countdown, 0) == 0:
            raise Killed

    functions.before_apply = die
    with contextlib.suppress(Killed):
        go(functions, journal, canary())
    functions.before_apply = lambda change: None
    if journal.entry.status is not EntryStatus.PLANNED:
        assert back(functions, journal).status is EntryStatus.RESTORED
    assert functions.serving("app", alias) == LAYERS
    assert functions.latest["app"].layers == LAYERS


@pytest.mark.parametrize("alias", [None, "live"])
@given(at=st.integers(0, 2))
def test_a_step_that_was_stopped_but_is_not_dead_changes_nothing_after_the_restore(alias: str | None, at: int) -> None:
    functions, journal = world(alias)
    count = 0

    def restore_meanwhile(change: FunctionChange) -> None:
        nonlocal count
        if count == at:
            functions.before_apply = lambda change: None
            journal.closed = True
            entry = put_back(journal.entry, NEW, functions)  # type: ignore[arg-type]
            assert entry.status is EntryStatus.RESTORED
        count += 1

    functions.before_apply = restore_meanwhile
    with contextlib.suppress(RolloutClosed):
        go(functions, journal, canary())
    if journal.closed:
        assert functions.serving("app", alias) == LAYERS
        assert functions.latest["app"].layers == LAYERS


foreign = st.sampled_from(["code", "configuration", "layers", "release", "nothing"])


@pytest.mark.parametrize("alias", [None, "live"])
@settings(max_examples=60)
@given(when=st.integers(0, 3), what=foreign, restoring=st.booleans())
def test_somebody_else_s_change_survives_and_unreleased_code_stays_unreleased(
    alias: str | None, when: int, what: str, restoring: bool
) -> None:
    functions, journal = world(alias)
    count = 0
    other = layer("other", 1)

    def interfere(change: FunctionChange) -> None:
        nonlocal count
        count += 1
        if count - 1 != when:
            return
        if what == "code":
            functions.deploy("app", code="code-2")
        elif what == "configuration":
            functions.deploy("app", fingerprint="configuration-2")
        elif what == "layers":
            functions.deploy("app", layers=(*functions.latest["app"].layers, other))
        elif what == "release" and alias:
            functions.deploy("app", code="code-2")
            functions.release("app", alias)

    functions.before_apply = interfere
    go(functions, journal, canary())
    if restoring and journal.entry.status is not EntryStatus.LEFT_ALONE:
        back(functions, journal)
    happened = count > when
    view = functions.latest["app"]
    if happened and what in ("code", "release") and not (what == "release" and alias is None):
        assert view.code == "code-2"
    if happened and what == "configuration":
        assert view.fingerprint == "configuration-2"
    if happened and what == "layers":
        assert other in view.layers
    assert tuple(arn for arn in view.layers if arn not in (OLD, NEW, other)) == (LAYERS[0], LAYERS[2])
    # Whatever Lamina published has the code and configuration that the team had released.
    if alias and what in ("code", "configuration"):
        for (_, version), published in functions.versions.items():
            assert (published.code, published.fingerprint) == ("code-1", "configuration-1"), version
    if restoring and what != "release":
        assert NEW not in view.layers


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"code": "code-2"}, "unreleased work"), ({"fingerprint": "other"}, "unreleased work")],
)
def test_a_function_with_unreleased_work_is_left_alone_and_says_why(change: dict[str, str], reason: str) -> None:
    functions, _ = world("live")
    functions.deploy("app", **change)
    entry = Entry(function="app", before=Snapshot(layers=LAYERS), replaced=OLD)
    examined = examine(entry, NEW, RolloutPolicy(), functions)  # type: ignore[arg-type]
    assert examined.status is EntryStatus.LEFT_ALONE
    assert reason in examined.reason


def test_an_alias_that_somebody_splits_meanwhile_is_left_to_them() -> None:
    functions, journal = world("live")
    functions.deploy("app", code="code-2")
    functions._publish("app")
    alias = functions.aliases["app", "live"]
    functions.aliases["app", "live"] = type(alias)("live", "1", {"2": 0.5}, "theirs")
    entry = go(functions, journal, canary())
    assert entry.status is EntryStatus.LEFT_ALONE
    assert "somebody else's deployment" in entry.reason
    assert functions.aliases["app", "live"].weights == {"2": 0.5}


def test_a_function_that_vanished_is_left_alone_and_counts_as_restored() -> None:
    functions, journal = world(None)
    del functions.latest["app"]
    assert go(functions, journal, canary()).status is EntryStatus.LEFT_ALONE
    assert confirm(journal.entry, NEW, None, None).status is EntryStatus.RESTORED


def test_the_way_back_by_hand_names_function_layers_and_version() -> None:
    _, journal = world("live")
    text = by_hand(journal.entry)
    assert "update-alias --function-name app --name live --function-version 1" in text
    assert f"--layers {' '.join(LAYERS)}" in text
