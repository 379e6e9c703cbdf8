"""The story of a replay: one line per event where nobody watches, a live panel where somebody does."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from local.registry import Release
from local.results import Flow, Function, Layer, Result
from local.story import Lines, Panels, Row, Story, View, reason_of, sentence_of

OLD = "arn:aws:lambda:eu-central-1:123456789012:layer:llm-python311-x86_64:1"
NEW = "arn:aws:lambda:eu-central-1:123456789012:layer:llm-python311-x86_64:2"
WATCHED = {
    "decision": "rollback",
    "kind": "harmful",
    "reason": "the canary fails [far] more often",
    "lnE": 9.2,
    "threshold": 4.605,
    "canary": {"invocations": 8, "errors": 8},
    "control": {"invocations": 60, "errors": 0},
}
RESULT = Result(
    layers={
        "llm-python311-x86_64": Layer(
            "rolled_back", Release(1, OLD, {}), Release(2, NEW, {}), 1, "canary", ("httpx",), {"httpx": "0.28.0"}
        )
    },
    functions={"chat-1": Function((OLD,), (OLD,), True, (OLD,))},
    traffic=Flow(100, 8, 8, 8),
    seconds={"total": 12.0},
    aws_calls={},
)


def told(story: Story, console: Console) -> str:
    with story:
        story.begin("a title [with brackets]", "2024-01-01 → 2024-02-01")
        story.chapter("the update")
        story.show(lambda: View(7, [Row("chat-1", "llm v2", True, (60, 0), (8, 8))]))
        story.step("update", "started", "", {})
        story.step("update", "entered", "Check", {"variant": {"variant": "llm-python311-x86_64"}})
        story.step("rollout", "entered", "Watch", {})
        story.step("rollout", "exited", "Watch", WATCHED)
        story.change("chat-1", "llm v1", "llm v1, for 10% llm v2")
        story.end(RESULT, ["culprits: expected ['pip'], was ['httpx']"], ["reports/page.html"])
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_both_forms_tell_the_same_facts(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=140, highlight=False, color_system=None)

    text = told(Panels(console) if terminal else Lines(console), console)

    for fact in (
        "a title [with brackets]",
        "canary 8 of 8 failed, control 0 of 60 failed, evidence 9.2 of 4.6",
        "the canary fails [far] more often",
        "chat-1: llm v1 → llm v1, for 10% llm v2",
        "ROLLED BACK, caught by canary, because of httpx",
        "held back: httpx 0.28.0",
        "not as expected: culprits",
        "report: reports/page.html",
    ):
        assert fact in text


def test_lines_tell_a_look_once_and_again_after_the_next_chapter() -> None:
    console = Console(file=io.StringIO(), width=140, highlight=False)
    story = Lines(console)
    waiting = WATCHED | {"decision": "wait", "kind": "undecided"}
    for errors in (0, 0, 1, 0):
        story.step("rollout", "exited", "Watch", waiting | {"canary": {"invocations": 8, "errors": errors}})
    story.chapter("another update")
    story.step("rollout", "exited", "Watch", waiting | {"canary": {"invocations": 8, "errors": 0}})
    assert isinstance(console.file, io.StringIO)
    told = console.file.getvalue()
    assert (told.count("canary 0 of 8"), told.count("canary 1 of 8")) == (2, 1)


def test_the_panel_shows_only_the_newest_of_many_looks() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=140, highlight=False, color_system=None)
    waiting = WATCHED | {"decision": "wait", "kind": "undecided"}

    with Panels(console) as story:
        for minute in range(20):
            story.step("rollout", "exited", "Watch", waiting | {"lnE": float(minute)})
        console.file.truncate(0)
        story.end(RESULT, [], [])

    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "evidence 19.0 of 4.6" in text
    assert "evidence 18.0" not in text


def test_without_a_terminal_there_are_no_control_codes() -> None:
    console = Console(file=io.StringIO(), width=140, highlight=False)

    assert "\x1b" not in told(Lines(console), console)


@pytest.mark.parametrize(
    ("machine", "kind", "state", "data", "sentence"),
    [
        ("update", "entered", "Changed?", {}, None),
        ("rollout", "entered", "Wait", {}, None),
        ("rollout", "exited", "Attach", {}, None),
        ("update", "failed", "Check", {"Error": "ResolutionFailed", "Cause": "no wheel"}, "Check failed"),
        ("rollout", "failed", "", {"Error": "RolledBack", "Cause": "harm"}, "rollout ended: failed"),
        ("rollback", "succeeded", "", {}, "rollback ended"),
        ("update", "exited", "Rejected", {"variant": "web", "outcome": "rejected", "message": "no"}, "rejected"),
        ("update", "exited", "Stopped", {"variant": "web", "outcome": "failed"}, None),
        ("update", "exited", "Proceed", {"variant": "web", "outcome": "failed"}, None),
        (
            "update",
            "entered",
            "Check",
            {"variant": {"variant": "web"}, "without": {"httpx": "0.28.0"}},
            "web once more, without httpx 0.28.0",
        ),
        ("update", "failed", "NotAllWell", {"Error": "NotAllUpdated"}, None),
        ("update", "exited", "Report", [1], None),
    ],
)
def test_what_is_worth_a_line(machine: str, kind: str, state: str, data: Any, sentence: str | None) -> None:
    line = sentence_of(machine, kind, state, data)

    assert (line is None) if sentence is None else (line is not None and sentence in line)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ({"Error": "States.Timeout"}, "States.Timeout"),
        ({"Error": "RolledBack", "Cause": "chat-1 failed 4 of 4"}, "chat-1 failed 4 of 4"),
        ({"Error": "E", "Cause": '{"errorMessage": "no wheel", "errorType": "E", "stackTrace": []}'}, "E: no wheel"),
        (
            {"Cause": '{"Build": {"Phases": [{"Contexts": []}, {"Contexts": [{"Message": "exit 1"}]}]}}'},
            "exit 1",
        ),
        ({"Cause": "[1]"}, "[1]"),
        ({}, ""),
    ],
)
def test_a_failure_in_words(failure: dict[str, str], reason: str) -> None:
    assert reason_of(failure) == reason
