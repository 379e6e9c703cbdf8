"""Replay a scenario: the real template, state machines, functions and packages, on the embedded AWS.

The first update, as of the earlier date, makes release 1. The fleet is created on it and gets its traffic. The second
update, as of the later date, is the one under test; what became of it is the result.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from local import fleet, nodes, pythons
from local.clock import Clock
from local.cloud import Cloud, Stack
from local.lambdas.backend import find_backend
from local.osv import Osv
from local.redeploy import merged, redeploy
from local.registry import Registry, ReplayFailed, run_report
from local.results import (
    Function,
    Layer,
    Result,
    Then,
    broken_promises,
    differences,
    next_of,
)
from local.scenario import Member, Scenario
from local.story import Story
from local.tally import Tally
from local.traffic import Traffic
from local.troubles import Troubles
from local.watcher import Watcher

PROJECT = Path(__file__).parent.parent
LIMIT = 3600.0
"""Real seconds after which an update is given up."""

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
        self.watcher = Watcher(machines, story)
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
    with (
        tempfile.TemporaryDirectory(prefix="lamina-definitions-") as work,
        stage(scenario.definitions, scenario.minute_seconds, story, runtime) as lamina,
    ):
        story.chapter(f"The package index as of {scenario.before}: making release 1")
        first = lamina.update(f"{_safe(scenario.name)}-before", {"asOf": scenario.before.isoformat()})
        story.chapter(f"{len(scenario.fleet)} functions on release 1, {scenario.warm_up_minutes} minutes of traffic")
        with _peopled(lamina, scenario, released(lamina, first), story) as people:
            people.traffic.wait_minutes(scenario.warm_up_minutes)
            story.chapter(f"The package index as of {scenario.after}: the update under test")
            if scenario.definitions_after is not None:
                after = merged(scenario.definitions, scenario.definitions_after, Path(work) / "definitions")
                redeploy(lamina.cloud, lamina.stack, after)
            result, report = _under_test(lamina, scenario, people, first)
            pages = _pages(lamina, report, reports)
            last = [row.get("then") or row for row in report["outcomes"]]
            excused = {name for row in last for name in lamina.registry.excused(row.get("rollout"))}
            if scenario.next_day is not None:
                story.chapter(f"The package index as of {scenario.next_day}: another update")
                order = {"asOf": scenario.next_day.isoformat()}
                later = lamina.update(f"{_safe(scenario.name)}-next", order)
                result = replace(result, next=next_of(lamina.registry, later))
            people.traffic.check()
    result = replace(result, seconds={**result.seconds, "total": time.monotonic() - started})
    told = " ".join(_plain(page) for page in pages)
    found = differences(result, scenario.expect, told) if scenario.expect else []
    story.end(result, found, [str(page) for page in pages])
    return Replay(result, found, broken_promises(result.layers, result.functions, excused), pages)


@dataclass(frozen=True)
class _People:
    """A fleet with its callers, and those who count and trouble them."""

    traffic: Traffic
    tally: Tally
    troubles: Troubles


@contextmanager
def _peopled(lamina: Stage, scenario: Scenario, arns: Mapping[str, str], story: Story) -> Iterator[_People]:
    """The scenario's functions on these layer versions, called for as long as the block runs."""
    engine, lambdas = lamina.cloud.lambdas, lamina.cloud.client("lambda")
    # A build or a look at the metrics is not to wait for the traffic; the clock waits for the traffic anyway.
    engine.background.update(member.name for member in scenario.fleet)
    engine.lifetimes.update(
        (member.name, member.invocations_per_environment)
        for member in scenario.fleet
        if member.invocations_per_environment is not None
    )
    fleet.create(lambdas, lamina.cloud.client("iam"), scenario.fleet, arns)
    for member in scenario.fleet:
        if member.state != "Active":
            find_backend(engine.account, engine.region).set_state(member.name, member.state)
    troubles = Troubles(scenario.trouble)
    traffic = Traffic(engine, lamina.cloud.clock, fleet.sources(scenario.fleet), trouble=troubles.error_rate)

    def served() -> None:
        troubles.begin("canary", traffic.minutes)

    tally = Tally(engine, lambdas, scenario.fleet, traffic, story, served)
    traffic.start()
    try:
        yield _People(traffic, tally, troubles)
    finally:
        traffic.stop()


def _under_test(
    lamina: Stage, scenario: Scenario, people: _People, first: Mapping[str, Any]
) -> tuple[Result, dict[str, Any]]:
    """Run the update under test; what it came to, and its report."""
    lambdas = lamina.cloud.client("lambda")
    before = {member.name: fleet.serving_layers(lambdas, member) for member in scenario.fleet}
    calls, seconds = Counter(_own_calls(lamina)), dict(lamina.watcher.seconds)
    people.troubles.begin("update", people.traffic.minutes)
    order = {"asOf": scenario.after.isoformat()} | ({"force": True} if scenario.force else {})
    report = lamina.update(f"{_safe(scenario.name)}-after", order)
    layers = _layers(lamina, first, report)
    candidates = {layer.candidate.arn for layer in layers.values() if layer.candidate is not None}
    spent = {name: total - seconds.get(name, 0.0) for name, total in lamina.watcher.seconds.items()}
    left_alone = {
        name: reason
        for row in report["outcomes"]
        for name, reason in lamina.registry.left_alone(row.get("rollout")).items()
    }
    functions = {
        member.name: replace(
            _function(lambdas, member, before[member.name], people.tally.had(member.name, candidates)),
            left_alone=left_alone.get(member.name, ""),
        )
        for member in scenario.fleet
    }
    result = Result(
        layers=layers,
        functions=functions,
        traffic=people.tally.flow(candidates),
        seconds={name.lower(): spent[name] for name in _TIMED if spent.get(name)},
        aws_calls=Counter(_own_calls(lamina)) - calls,
    )
    return result, report


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
            then=_then(lamina, row),
        )
        for row in report["outcomes"]
        for variant in [row["variant"]]
    }


def _then(lamina: Stage, row: Mapping[str, Any]) -> Then | None:
    then = row.get("then")
    if then is None:
        return None
    changed = {name: (old, new) for name, (old, new) in then["changed"].items()}
    return Then(then["outcome"], lamina.registry.release(row["variant"], then.get("candidate")), changed)


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
    attempts = [attempt for row in report["outcomes"] for attempt in (row, row.get("then")) if attempt]
    rollouts = [attempt["report"] for attempt in attempts if attempt.get("report")]
    return [lamina.fetch(key, reports / key.removeprefix(folder)) for key in (*rollouts, f"{folder}index.html")]


def _plain(page: Path) -> str:
    """The text of a page, without its markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.read_text("utf-8"))).split())


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
