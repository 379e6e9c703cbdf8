"""A small stack on the embedded AWS, and the ways of asking things of it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.clock import Clock
from local.cloud import Cloud, StateEvent
from local.deploy import Stack

DATA = Path(__file__).with_name("data")
RUNTIME = f"python3.{sys.version_info.minor}"
"""The runtime of functions, layers and builds: the one Python that is certainly on this machine."""
_ENDS = ("succeeded", "failed", "timed_out", "aborted")


class Asker:
    """Starts executions of the stack's machines and waits for what happens in them, without polling."""

    def __init__(self, cloud: Cloud, stack: Stack) -> None:
        self.cloud = cloud
        self.stack = stack
        self.machine = stack.outputs["MainArn"]
        self.events: list[StateEvent] = []
        self._news = threading.Condition()
        cloud.on_state.append(self._hear)

    def start(self, machine: str | None = None, name: str | None = None, **data: Any) -> str:
        named = {"name": name} if name else {}
        states = self.cloud.client("stepfunctions")
        arn: str = states.start_execution(stateMachineArn=machine or self.machine, input=json.dumps(data), **named)[
            "executionArn"
        ]
        return arn

    def until(self, what: Callable[[StateEvent], bool], seconds: float = 20) -> StateEvent:
        with self._news:
            assert self._news.wait_for(lambda: any(map(what, self.events)), seconds), "it did not happen"
            return next(filter(what, self.events))

    def ended(self, arn: str) -> dict[str, Any]:
        self.until(lambda event: event.execution_arn == arn and not event.state and event.kind in _ENDS)
        found: dict[str, Any] = self.cloud.client("stepfunctions").describe_execution(executionArn=arn)
        return found

    def entered(self, arn: str, state: str) -> None:
        self.until(lambda event: (event.execution_arn, event.kind, event.state) == (arn, "entered", state))

    def ask(self, **data: Any) -> dict[str, Any]:
        return self.ended(self.start(**data))

    def answer(self, **data: Any) -> Any:
        found = self.ask(**data)
        assert found["status"] == "SUCCEEDED", (found.get("error"), found.get("cause"))
        return json.loads(found["output"])

    def history(self, arn: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cloud.client("stepfunctions").get_execution_history(executionArn=arn)[
            "events"
        ]
        return found

    def stop(self, arn: str, **why: str) -> None:
        self.cloud.client("stepfunctions").stop_execution(executionArn=arn, **why)

    def _hear(self, event: StateEvent) -> None:
        with self._news:
            self.events.append(event)
            self._news.notify_all()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    with Cloud(folder / "work", clock=Clock(minute_seconds=1.0), cache=folder / "cache") as running:
        yield running


@pytest.fixture(scope="module")
def asker(cloud: Cloud) -> Asker:
    return Asker(cloud, cloud.deploy(DATA / "template.yaml", parameters={"Runtime": RUNTIME}))
