"""Follows a replay's executions: which run, how they end, how long their states take."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from local.registry import ReplayFailed
from local.states.history import StateEvent
from local.story import Story

_ENDS = frozenset({"succeeded", "failed", "timed_out", "aborted"})


@dataclass
class Watcher:
    """Follows executions: which run, how the named ones ended, how long states took. Called from their threads."""

    machines: Mapping[str, str]
    """What the story calls a state machine, by its name."""
    story: Story
    running: set[str] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _entered: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _last: float = field(default_factory=time.monotonic)

    def __call__(self, event: StateEvent) -> None:
        machine = self.machines.get(event.machine)
        if machine is None:
            return
        with self._changed:
            self._note(event, time.monotonic())
            self._changed.notify_all()
        self.story.step(machine, event.kind, event.state, event.data)

    def wait(self, execution: str, limit: float) -> str:
        """How the execution ended, in Step Functions' words."""
        with self._changed:
            if not self._changed.wait_for(lambda: execution in self.ended, limit):
                raise ReplayFailed(f"{execution.rsplit(':', 1)[-1]} had not ended after {limit:.0f} seconds")
            return self.ended[execution]

    def wait_quiet(self, limit: float, calm: float = 1.0) -> None:
        """Return once nothing has run for `calm` seconds: what an execution's end sets off comes by way of events."""
        deadline = time.monotonic() + limit
        with self._changed:
            while self.running or time.monotonic() - self._last < calm:
                if time.monotonic() > deadline:
                    raise ReplayFailed(f"still running after {limit:.0f} seconds: {', '.join(sorted(self.running))}")
                self._changed.wait(calm / 4)

    def _note(self, event: StateEvent, now: float) -> None:
        self._last = now
        where = event.execution_arn, event.state
        if event.kind == "started":
            self.running.add(event.execution_arn)
        elif not event.state and event.kind in _ENDS:
            self.running.discard(event.execution_arn)
            self.ended[event.execution_arn] = event.kind.upper()
        elif event.kind == "entered":
            self._entered.setdefault(where, []).append(now)
        elif event.kind == "exited" and self._entered.get(where):
            self.seconds[event.state] = self.seconds.get(event.state, 0.0) + now - self._entered[where].pop()
