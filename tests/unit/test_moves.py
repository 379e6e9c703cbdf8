"""What must always hold when functions are changed and put back, whoever else is at work on them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.errors import ChangedElsewhere, Refused, RolloutClosed, Unsettled
from lamina.fleet import FunctionChange, MoveAlias, Provisioned, PublishVersion, SetLayers
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


def test_a_function_that_lambda_lets_nobody_change_is_left_alone_as_it_was() -> None:
    functions, journal = world("live")

    def refuse(change: FunctionChange) -> None:
        if isinstance(change, SetLayers):
            raise Refused("Lambda refused the change (InvalidParameterValueException): Layer version does not exist")

    functions.before_apply = refuse
    entry = go(functions, journal, canary())
    assert (entry.status, "does not exist" in entry.reason) == (EntryStatus.LEFT_ALONE, True)
    assert functions.latest["app"].layers == LAYERS


# -- versions and environments that take their time


def pending(functions: FakeFunctions, state: str, why: str = "") -> None:
    """Have Lambda publish versions that are not ready to serve."""
    real = functions._publish

    def publish(name: str) -> str:
        version = real(name)
        functions.versions[name, version] = replace(functions.versions[name, version], state=state, why=why)
        return version

    functions._publish = publish  # type: ignore[method-assign]


def test_no_traffic_goes_to_a_version_before_it_is_active_however_many_calls_that_takes() -> None:
    functions, journal = world("live")
    pending(functions, "Pending")
    functions.slow.add(("app", "2", None))
    for _ in range(2):
        with pytest.raises(Unsettled, match=r"app: the last change of version 2 has not taken effect"):
            go(functions, journal, canary())
        assert functions.aliases["app", "live"].weights == {}
        assert journal.entry.after is not None and journal.entry.after.version == "2"
    functions.versions["app", "2"] = replace(functions.versions["app", "2"], state="Active")
    later = NOW + timedelta(minutes=7)
    entry = bring(journal.entry, canary(), functions, journal.note, later)  # type: ignore[arg-type]
    assert entry.status is EntryStatus.ATTACHED
    assert functions.aliases["app", "live"].weights == {"2": 0.1}
    # The watch counts from when it was ready, not from when its layers were changed.
    assert (entry.attached_at, entry.since) == (later, None)
    assert [change for change in functions.applied if isinstance(change, PublishVersion)] != []
    assert len(functions.applied) == 3


def test_a_version_that_lambda_cannot_start_gets_no_traffic_and_the_function_is_put_back() -> None:
    functions, journal = world("live")
    pending(functions, "Failed", "the handler raised during the snapshot")
    entry = go(functions, journal, canary())
    assert entry.status is EntryStatus.LEFT_ALONE
    assert entry.reason == (
        "version 2, which Lamina published with the candidate, is Failed (the handler raised during the snapshot)"
    )
    assert functions.serving("app", "live") == LAYERS
    assert functions.latest["app"].layers == LAYERS


def test_what_is_not_ready_after_an_hour_is_put_back() -> None:
    functions, journal = world("live")
    pending(functions, "Pending")
    functions.slow.add(("app", "2", None))
    with pytest.raises(Unsettled):
        go(functions, journal, canary())
    assert journal.entry.since == NOW
    entry = bring(journal.entry, canary(), functions, journal.note, NOW + timedelta(minutes=61))  # type: ignore[arg-type]
    assert (entry.status, entry.reason) == (EntryStatus.LEFT_ALONE, "it was not ready 60 minutes after its change")
    assert functions.latest["app"].layers == LAYERS


def kept(functions: FakeFunctions, journal: Journal, *statuses: str) -> None:
    """Environments that the alias keeps ready, with one status after the other."""
    left = list(statuses)
    journal.entry = journal.entry.model_copy(update={"provisioned": 5})

    def provisioned(name: str) -> dict[str, Provisioned]:
        status: Any = left.pop(0) if len(left) > 1 else left[0]
        return {"live": Provisioned(5, status, "FUNCTION_ERROR_INIT_FAILURE" if status == "FAILED" else "")}

    functions.provisioned = provisioned  # type: ignore[assignment,method-assign]


@pytest.mark.parametrize("weight", [0.1, None])
def test_environments_that_an_alias_keeps_ready_are_waited_for_before_anything_counts(weight: float | None) -> None:
    functions, journal = world("live")
    go(functions, journal, canary())
    functions, journal = world("live")
    # Asked before the two changes of the function and of its alias, and twice while Lambda deals them out anew.
    kept(functions, journal, "READY", "READY", "READY", "IN_PROGRESS", "IN_PROGRESS", "READY")
    entry = go(functions, journal, canary(weight))
    assert entry.status is (EntryStatus.COMPLETED if weight is None else EntryStatus.ATTACHED)
    assert functions.waits.count(("app", None, "live", 300)) == 2


def test_environments_that_lambda_cannot_make_ready_put_the_function_back_the_alias_first() -> None:
    functions, journal = world("live")
    kept(functions, journal, "READY", "READY", "READY", "FAILED")
    entry = go(functions, journal, canary())
    assert entry.status is EntryStatus.LEFT_ALONE
    assert "keeps 5 environments ready, and Lambda could not do so with the candidate" in entry.reason
    assert "FUNCTION_ERROR_INIT_FAILURE" in entry.reason
    assert functions.serving("app", "live") == LAYERS
    assert [type(change) for change in functions.applied[-2:]] == [MoveAlias, SetLayers]


def test_lambda_s_own_weights_while_it_moves_an_alias_are_nobody_s_deployment() -> None:
    functions, journal = world("live")
    go(functions, journal, canary())
    kept(functions, journal, "READY", "IN_PROGRESS", "READY")

    def leave_traffic_on_the_old_version(change: FunctionChange) -> None:
        if isinstance(change, MoveAlias) and change.version == "2":
            functions.before_apply = lambda change: None
            functions.apply(change)
            alias = functions.aliases["app", "live"]
            functions.aliases["app", "live"] = replace(alias, weights={"1": 1.0})
            raise ChangedElsewhere("it is under way already")

    functions.before_apply = leave_traffic_on_the_old_version
    entry = go(functions, journal, canary(None))
    assert entry.status is EntryStatus.COMPLETED
    assert functions.serving("app", "live") == MOVED


def test_an_alias_that_lambda_is_still_moving_is_put_back_to_a_version_that_has_no_weight_beside_it() -> None:
    functions, journal = world("live")
    go(functions, journal, canary())
    go(functions, journal, canary(None))
    alias = functions.aliases["app", "live"]
    functions.aliases["app", "live"] = replace(alias, weights={"1": 1.0})
    assert back(functions, journal).status is EntryStatus.RESTORED
    assert (functions.aliases["app", "live"].version, functions.aliases["app", "live"].weights) == ("1", {})


def test_without_provisioned_concurrency_nobody_asks_for_it() -> None:
    functions, journal = world("live")
    functions.provisioned = None  # type: ignore[assignment,method-assign]
    assert go(functions, journal, canary()).status is EntryStatus.ATTACHED


@pytest.mark.parametrize(
    ("kept", "status", "reason"),
    [
        ({"live": Provisioned(4)}, EntryStatus.PLANNED, ""),
        ({"1": Provisioned(4)}, EntryStatus.LEFT_ALONE, "has provisioned concurrency of its own"),
        (None, EntryStatus.PLANNED, "whether its alias has provisioned concurrency is unknown"),
    ],
)
def test_the_journal_knows_what_an_alias_keeps_ready(
    kept: dict[str, Provisioned] | None, status: EntryStatus, reason: str
) -> None:
    functions, _ = world("live")
    functions.kept["app"] = kept
    entry = Entry(function="app", before=Snapshot(layers=LAYERS), replaced=OLD)
    examined = examine(entry, NEW, RolloutPolicy(), functions)  # type: ignore[arg-type]
    assert (examined.status, examined.provisioned) == (status, 4 if kept and "live" in kept else 0)
    assert reason in examined.reason


def test_a_function_that_fell_asleep_since_it_was_enrolled_is_left_alone() -> None:
    functions, journal = world(None)
    functions.deploy("app", state="Inactive")
    assert go(functions, journal, canary()).status is EntryStatus.LEFT_ALONE
    assert functions.applied == []
