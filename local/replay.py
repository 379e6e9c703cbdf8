"""Replay a scenario: the real template, state machines, functions and packages, on the embedded AWS.

The first update, as of the earlier date, makes release 1. The fleet is created on it and gets its traffic. The second
update, as of the later date, is the one under test; what became of it is the result.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local import fleet, nodes, pythons
from local.clock import Clock
from local.cloud import Cloud, Stack
from local.osv import Osv
from local.results import (
    Function,
    Layer,
    Registry,
    ReplayFailed,
    Result,
    broken_promises,
    differences,
    run_report,
)
from local.scenario import Member, Scenario
from local.states.history import StateEvent
from local.story import Story
from local.tally import Tally
from local.traffic import Traffic

PROJECT = Path(__file__).parent.parent
LIMIT = 3600.0
"""Real seconds after which an update is given up."""

_ENDS = frozenset({"succeeded", "failed", "timed_out", "aborted"})
_TIMED = ("Check", "Build", "Publish", "Verify", "Rollout")


@dataclass(frozen=True)
class Replay:
    """A replay that came to an end."""

    result: Result
    differences: Sequence[str]
    """In what it was not as expected; empty too where nothing was expected."""
    broken: Sequence[str]
    """Which functions are neither on the old release nor on the new one; never any, if Lamina keeps its promises."""
    pages: Sequence[Path]
    """Where the reports are, the rollouts' first."""

    def check(self) -> None:
        """Raise `ReplayFailed` if a promise is broken."""
        if self.broken:
            raise ReplayFailed("functions are not where they should be:\n" + "\n".join(self.broken))


@dataclass
class _Watcher:
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


class Stage:
    """Lamina, deployed on an embedded AWS, with a scenario's layer definitions."""

    def __init__(self, cloud: Cloud, stack: Stack, osv: Osv, story: Story) -> None:
        self.cloud = cloud
        self.stack = stack
        self.osv = osv
        self.registry = Registry(cloud.client("dynamodb"), stack.resources["Registry"])
        machines = {
            stack.resources[name].rsplit(":", 1)[-1]: name.lower() for name in ("Update", "Rollout", "Rollback")
        }
        self.watcher = _Watcher(machines, story)
        cloud.on_state.append(self.watcher)

    def update(self, name: str, order: Mapping[str, Any], limit: float = LIMIT) -> dict[str, Any]:
        """Run the update state machine and all that follows from it; gives back the run's report."""
        execution = self.cloud.client("stepfunctions").start_execution(
            stateMachineArn=self.stack.resources["Update"], name=name, input=json.dumps(order)
        )["executionArn"]
        ended = self.watcher.wait(execution, limit)
        self.watcher.wait_quiet(limit)
        try:
            return run_report(self.cloud.client("s3"), self.stack.resources["Artifacts"], name)
        except ReplayFailed as failure:
            about = self.cloud.client("stepfunctions").describe_execution(executionArn=execution)
            why = about.get("cause") or about.get("error") or "no cause given"
            raise ReplayFailed(f"{failure}: {ended.lower()}, {why}") from None

    def fetch(self, key: str, target: Path) -> Path:
        """Copy an object of the artifacts bucket to a file."""
        target.parent.mkdir(parents=True, exist_ok=True)
        body = self.cloud.client("s3").get_object(Bucket=self.stack.resources["Artifacts"], Key=key)["Body"]
        target.write_bytes(body.read())
        return target


@contextmanager
def stage(
    definitions: Path | None,
    minute_seconds: float,
    story: Story,
    runtime: str | None = None,
    parameters: Mapping[str, str] | None = None,
) -> Iterator[Stage]:
    """An embedded AWS with the template deployed, and an advisory database; nothing of it is left afterwards.

    `definitions` replaces the layer definitions that the template ships; `runtime` the Python of Lamina's functions;
    `parameters` are further parameters of the template.
    """
    runtime = runtime or _runtime()
    content = {} if definitions is None else {"Definitions": definitions}
    with (
        tempfile.TemporaryDirectory(prefix="lamina-", ignore_cleanup_errors=True) as work,
        Osv() as osv,
        Cloud(Path(work), clock=Clock(minute_seconds)) as cloud,
    ):
        given = {
            "Runtime": runtime,
            "Architecture": fleet.host_architecture(),
            "FunctionNames": "*",
            "AdvisoryDatabase": osv.url,
            **(parameters or {}),
        }
        story.chapter(f"Deploying template.yaml, its functions on {runtime}")
        stack = cloud.deploy(PROJECT / "template.yaml", parameters=given, content=content)
        yield Stage(cloud, stack, osv, story)


def replay(scenario: Scenario, story: Story, *, reports: Path, runtime: str | None = None) -> Replay:
    """Replay the scenario; its reports are copied to `reports`.

    Raises:
        ReplayFailed: the replay went wrong.
        InterpreterMissing: a Python that the scenario's functions need is not on this machine.
        NodeMissing: nor is a Node.js.
    """
    started = time.monotonic()
    for needed in sorted({member.runtime for member in scenario.fleet}):
        _find(needed)
    story.begin(scenario.title, f"{scenario.before} → {scenario.after}")
    with stage(scenario.definitions, scenario.minute_seconds, story, runtime) as lamina:
        story.chapter(f"The package index as of {scenario.before}: making release 1")
        first = lamina.update(f"{_safe(scenario.name)}-before", {"asOf": scenario.before.isoformat()})
        arns = released(lamina, first)
        story.chapter(f"{len(scenario.fleet)} functions on release 1, {scenario.warm_up_minutes} minutes of traffic")
        lambdas = lamina.cloud.client("lambda")
        # A build or a look at the metrics is not to wait for the traffic; the clock waits for the traffic anyway.
        lamina.cloud.lambdas.background.update(member.name for member in scenario.fleet)
        fleet.create(lambdas, lamina.cloud.client("iam"), scenario.fleet, arns)
        traffic = Traffic(lamina.cloud.lambdas, lamina.cloud.clock, fleet.sources(scenario.fleet))
        tally = Tally(lamina.cloud.lambdas, lambdas, scenario.fleet, traffic, story)
        traffic.start()
        try:
            traffic.wait_minutes(scenario.warm_up_minutes)
            story.chapter(f"The package index as of {scenario.after}: the update under test")
            before = {member.name: fleet.serving_layers(lambdas, member) for member in scenario.fleet}
            calls, seconds = Counter(_own_calls(lamina)), dict(lamina.watcher.seconds)
            order = {"asOf": scenario.after.isoformat()} | ({"force": True} if scenario.force else {})
            report = lamina.update(f"{_safe(scenario.name)}-after", order)
            traffic.check()
        finally:
            traffic.stop()
        layers = _layers(lamina, first, report)
        candidates = {layer.candidate.arn for layer in layers.values() if layer.candidate is not None}
        spent = {name: total - seconds.get(name, 0.0) for name, total in lamina.watcher.seconds.items()}
        result = Result(
            layers=layers,
            functions={
                member.name: _function(lambdas, member, before[member.name], tally.had(member.name, candidates))
                for member in scenario.fleet
            },
            traffic=tally.flow(candidates),
            seconds={name.lower(): spent[name] for name in _TIMED if spent.get(name)}
            | {"total": time.monotonic() - started},
            aws_calls=Counter(_own_calls(lamina)) - calls,
        )
        pages = _pages(lamina, report, reports)
        excused = {name for row in report["outcomes"] for name in lamina.registry.excused(row.get("rollout"))}
    found = differences(result, scenario.expect) if scenario.expect else []
    story.end(result, found, [str(page) for page in pages])
    return Replay(result, found, broken_promises(result.layers, result.functions, excused), pages)


def released(lamina: Stage, report: Mapping[str, Any]) -> dict[str, str]:
    """The layer version of each variant's release 1."""
    arns = {}
    for refused in report.get("refused", ()):
        raise ReplayFailed(f"the layer definition {refused.get('layer')} was refused: {refused.get('message')}")
    for row in report["outcomes"]:
        release = lamina.registry.release(row["variant"], lamina.registry.promoted(row["variant"]))
        if row["outcome"] != "promoted" or release is None:
            raise ReplayFailed(f"release 1 of {row['variant']} was not made: {row['outcome']}, {row.get('message')}")
        arns[row["variant"]] = release.arn
    return arns


def _layers(lamina: Stage, first: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Layer]:
    old = {row["variant"]: row["promoted"] or row["candidate"] for row in first["outcomes"]}
    return {
        variant: Layer(
            outcome=row["outcome"],
            before=lamina.registry.release(variant, old.get(variant)),
            candidate=lamina.registry.release(variant, row.get("candidate")),
            promoted=lamina.registry.promoted(variant),
            caught_by=row.get("caughtBy"),
            culprits=tuple(row.get("culprits") or ()),
            held_back=dict(row.get("heldBack") or {}),
            message=row.get("message") or row.get("summary") or "",
        )
        for row in report["outcomes"]
        for variant in [row["variant"]]
    }


def _function(lambdas: Any, member: Member, before: tuple[str, ...], attached: bool) -> Function:
    latest = lambdas.get_function_configuration(FunctionName=member.name)
    routed = False
    if member.alias is not None:
        alias = lambdas.get_alias(FunctionName=member.name, Name=member.alias)
        routed = bool(alias.get("RoutingConfig", {}).get("AdditionalVersionWeights"))
    return Function(
        before=before,
        after=fleet.serving_layers(lambdas, member),
        candidate_attached=attached,
        latest=tuple(layer["Arn"] for layer in latest.get("Layers", [])),
        routed=routed,
    )


def _pages(lamina: Stage, report: Mapping[str, Any], reports: Path) -> list[Path]:
    """Copies of the run's pages, which refer to each other; the rollouts' first."""
    shutil.rmtree(reports, ignore_errors=True)
    folder = f"reports/{report['run']}/"
    rollouts = [row["report"] for row in report["outcomes"] if row.get("report")]
    return [lamina.fetch(key, reports / key.removeprefix(folder)) for key in (*rollouts, f"{folder}index.html")]


def _own_calls(lamina: Stage) -> Mapping[str, int]:
    return lamina.cloud.calls.counts(lamina.stack.name)


def _runtime() -> str:
    """The runtime of Lamina's functions: the template's own where this machine has it, or the nearest that it has."""
    for runtime in ("python3.13", "python3.12", "python3.14", "python3.11"):
        try:
            pythons.find(runtime)
        except pythons.InterpreterMissing:
            continue
        return runtime
    return f"python3.{sys.version_info.minor}"


def _find(runtime: str) -> None:
    """Look for what functions of a runtime need here. A provided runtime needs nothing that it does not bring."""
    if runtime.startswith("python"):
        pythons.find(runtime)
    elif runtime.startswith("nodejs"):
        nodes.find(runtime)


def _safe(name: str) -> str:
    """A scenario's name as part of an execution's."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)[:60]
