"""A rollout that is stopped, and a person who wants it back: every function ends where somebody chose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.states.history import StateEvent
from tests.workflow.conftest import Crew, Lamina, crew, define, ungranted, variant

pytestmark = pytest.mark.index

BEFORE, AFTER = "2023-06-01", "2024-06-01"
TINY, LAST = variant("tiny"), variant("last")


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    define(folder, "tiny", "idna\n", "[rollout]\nmin-minutes = 30\nmax-minutes = 300\n")
    define(folder, "last", "six\n")
    return folder


@pytest.fixture(scope="module")
def fleet(lamina: Lamina, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """Two functions behind aliases and two on `$LATEST`, with another layer around the one that moves."""
    first = lamina.run("Update", {"asOf": BEFORE})
    assert first["status"] == "SUCCEEDED", first.get("cause")
    versions = {
        name: lamina.client("lambda").list_layer_versions(LayerName=name)["LayerVersions"][0]["LayerVersionArn"]
        for name in (TINY, LAST)
    }
    made = crew(lamina, tmp_path_factory.mktemp("code"), ("last", "tiny"), versions)
    made.traffic.start()
    made.traffic.wait_minutes(15)
    yield made
    made.traffic.stop()


class Until:
    """Waits for a state of one machine to be entered for the n-th time; gives back the execution."""

    def __init__(self, lamina: Lamina, machine: str, state: str, times: int = 1) -> None:
        self._machine = lamina.stage.stack.resources[machine].rsplit(":", 1)[-1]
        self._state, self._left = state, times
        self._seen = threading.Event()
        self.execution = ""
        lamina.stage.cloud.on_state.append(self._look)

    def _look(self, event: StateEvent) -> None:
        if (event.machine, event.state, event.kind) == (self._machine, self._state, "entered") and self._left:
            self._left -= 1
            if not self._left:
                self.execution = event.execution_arn
                self._seen.set()

    def wait(self) -> str:
        assert self._seen.wait(120), f"{self._state} was not entered"
        return self.execution


def serving(lamina: Lamina, crew: Crew) -> dict[str, list[str]]:
    return {member.name: lamina.layers_of(member.name, member.alias) for member in crew.members}


def statuses(lamina: Lamina, rollout: str) -> set[str]:
    answer = lamina.client("dynamodb").query(
        TableName=lamina.stage.stack.resources["Registry"],
        KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
        ExpressionAttributeValues={":pk": {"S": f"ROLLOUT#{rollout}"}, ":sk": {"S": "FUNCTION#"}},
    )
    return {item["status"]["S"] for item in answer["Items"]}


@pytest.mark.parametrize(("state", "times"), [("Attach", 1), ("Wait", 1), ("Watch", 2)])
def test_stopping_a_rollout_brings_every_function_back_without_anyone_s_help(
    lamina: Lamina, fleet: Crew, state: str, times: int
) -> None:
    before = serving(lamina, fleet)
    reached = Until(lamina, "Rollout", state, times)
    update = lamina.start("Update", {"layers": ["tiny"], "asOf": AFTER, "force": True})
    execution = reached.wait()

    lamina.client("stepfunctions").stop_execution(executionArn=execution, cause="a person stopped it")
    lamina.finish(update)

    assert serving(lamina, fleet) == before
    for member in fleet.members:
        latest = lamina.layers_of(member.name)
        assert latest == before[member.name]
    assert lamina.lock("tiny") is None
    rollout = lamina.item(f"ROLLOUT#{execution.rsplit(':', 1)[1]}", "ROLLOUT")
    assert rollout["status"] == {"S": "rolled_back"}
    assert "ABORTED" in rollout["cause"]["S"]
    assert statuses(lamina, execution.rsplit(":", 1)[1]) <= {"restored", "planned"}
    held = lamina.item(f"LAYER#{TINY}", "STATE")["heldBack"]
    assert held == {"L": []}


def test_stopping_the_update_stops_and_puts_back_its_rollout(lamina: Lamina, fleet: Crew) -> None:
    before = serving(lamina, fleet)
    reached = Until(lamina, "Rollout", "Watch")
    update = lamina.start("Update", {"layers": ["tiny"], "asOf": AFTER, "force": True})
    reached.wait()
    lamina.client("stepfunctions").stop_execution(executionArn=update)
    lamina.stage.watcher.wait_quiet(120)
    assert serving(lamina, fleet) == before
    assert lamina.lock("tiny") is None


def test_a_person_puts_a_rollout_under_way_back(lamina: Lamina, fleet: Crew) -> None:
    before = serving(lamina, fleet)
    reached = Until(lamina, "Rollout", "Watch")
    update = lamina.start("Update", {"layers": ["tiny"], "asOf": AFTER, "force": True})
    reached.wait()
    busy = lamina.run_beside("Rollback", {"layer": TINY})
    assert busy["status"] == "SUCCEEDED"
    done = lamina.finish(update)
    assert serving(lamina, fleet) == before
    assert done["error"] == "NotAllUpdated"
    assert lamina.report(done)[TINY]["outcome"] == "rolled_back"
    assert lamina.lock("tiny") is None


def test_a_second_update_of_a_variant_is_refused_while_a_rollout_is_under_way(lamina: Lamina, fleet: Crew) -> None:
    reached = Until(lamina, "Rollout", "Watch")
    first = lamina.start("Update", {"layers": ["tiny"], "asOf": AFTER, "force": True})
    rollout = reached.wait()
    second: Any = lamina.run_beside("Update", {"layers": ["tiny"], "asOf": AFTER, "force": True})
    assert second["status"] == "FAILED"
    row = lamina.report(second)[TINY]
    assert row["outcome"] == "held"
    assert "has been under way since" in row["message"]
    lamina.client("stepfunctions").stop_execution(executionArn=rollout)
    lamina.finish(first)
    assert lamina.lock("tiny") is None


def test_nothing_was_done_all_along_that_the_template_does_not_grant(lamina: Lamina, fleet: Crew) -> None:
    callers = {call.caller for call in lamina.stage.cloud.calls.all() if call.caller.startswith("lamina-")}
    assert len(callers) > 10
    assert ungranted(lamina) == set()
