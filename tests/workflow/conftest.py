"""Lamina on the embedded AWS, with small layers of real packages."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local import fleet
from local.replay import Stage, stage
from local.scenario import Member
from local.story import Story
from local.traffic import Traffic

RUNTIME = f"python3.{sys.version_info.minor}"
ARCHITECTURE = fleet.host_architecture()


def variant(layer: str) -> str:
    return fleet.variant_name(layer, RUNTIME, ARCHITECTURE)


def define(folder: Path, name: str, requirements: str, more: str = "") -> None:
    """Write a layer definition."""
    (folder / name).mkdir(parents=True)
    (folder / name / "requirements.in").write_text(requirements)
    (folder / name / "layer.toml").write_text(
        f'[layer]\nowner = "tests"\nruntimes = ["{RUNTIME}"]\narchitectures = ["{ARCHITECTURE}"]\n'
        f'[python]\nrequirements = "requirements.in"\n[update]\ncooldown-days = 0\nallow = "major"\n{more}'
    )


@dataclass
class Lamina:
    """The stack, as an operator sees it."""

    stage: Stage

    def client(self, service: str) -> Any:
        return self.stage.cloud.client(service)

    def start(self, machine: str, order: Any, name: str | None = None) -> str:
        arn: str = self.client("stepfunctions").start_execution(
            stateMachineArn=self.stage.stack.resources[machine],
            input=json.dumps(order),
            **({"name": name} if name else {}),
        )["executionArn"]
        return arn

    def finish(self, execution: str) -> dict[str, Any]:
        """Wait for the execution, and for all that its end sets off."""
        self.stage.watcher.wait(execution, 300)
        self.stage.watcher.wait_quiet(300)
        described: dict[str, Any] = self.client("stepfunctions").describe_execution(executionArn=execution)
        return described

    def run_beside(self, machine: str, order: Any) -> dict[str, Any]:
        """Run an execution to its own end, whatever else is going on."""
        execution = self.start(machine, order)
        self.stage.watcher.wait(execution, 120)
        described: dict[str, Any] = self.client("stepfunctions").describe_execution(executionArn=execution)
        return described

    def run(self, machine: str, order: Any) -> dict[str, Any]:
        return self.finish(self.start(machine, order))

    def report(self, execution: Mapping[str, Any]) -> dict[str, Any]:
        """The outcomes of an update by variant."""
        key = f"reports/{execution['name']}/report.json"
        body = self.client("s3").get_object(Bucket=self.stage.stack.resources["Artifacts"], Key=key)["Body"]
        return {row["variant"]: row for row in json.load(body)["outcomes"]}

    def layers_of(self, function: str, alias: str | None = None) -> list[str]:
        """What serves: the layer ARNs of `$LATEST` or of the version behind the alias, which must not be split."""
        lambdas = self.client("lambda")
        if alias:
            assert not lambdas.get_alias(FunctionName=function, Name=alias).get("RoutingConfig")
        answer = lambdas.get_function_configuration(FunctionName=function, Qualifier=alias or "$LATEST")
        return [layer["Arn"] for layer in answer.get("Layers", [])]

    def lock(self, layer: str) -> Any:
        return self.item(f"LAYER#{variant(layer)}", "LOCK")

    def item(self, pk: str, sk: str) -> Any:
        answer = self.client("dynamodb").get_item(
            TableName=self.stage.stack.resources["Registry"],
            Key={"pk": {"S": pk}, "sk": {"S": sk}},
            ConsistentRead=True,
        )
        return answer.get("Item")


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layers")


@pytest.fixture(scope="module")
def lamina(definitions: Path) -> Iterator[Lamina]:
    with stage(definitions, 0.5, Story()) as ready:
        yield Lamina(ready)


@dataclass
class Crew:
    """A fleet with traffic: `app` is called through an alias, `job` on `$LATEST`."""

    members: list[Member]
    traffic: Traffic


def crew(lamina: Lamina, folder: Path, layers: tuple[str, ...], arns: dict[str, str], count: int = 2) -> Crew:
    """Create the fleet on these layer versions and start its traffic."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "app.py").write_text(
        "import idna\n\n\ndef handler(event, context):\n    return idna.encode('ä').decode()\n"
    )
    shared: dict[str, Any] = {
        "runtime": RUNTIME, "architectures": (ARCHITECTURE,), "layers": layers, "code": folder, "per_minute": 60,
        "event": {}, "error_rate": 0.0,
    }  # fmt: skip
    members = [Member(name=f"app-{number}", alias="live", **shared) for number in range(1, count + 1)]
    members += [Member(name=f"job-{number}", alias=None, **shared) for number in range(1, count + 1)]
    fleet.create(lamina.client("lambda"), lamina.client("iam"), members, arns)
    cloud = lamina.stage.cloud
    return Crew(members, Traffic(cloud.lambdas, cloud.clock, fleet.sources(members)))


# What a call asks IAM for, where that is not the action of the same name.
_ASKED = {"dynamodb:TransactWriteItems": {"dynamodb:PutItem"}}


def ungranted(lamina: Lamina) -> set[tuple[str, str]]:
    """Role and action of every call that no statement of the role's policies allows; resources are not looked at."""
    iam = lamina.client("iam")
    missing: set[tuple[str, str]] = set()
    for call in lamina.stage.cloud.calls.all():
        if call.caller.startswith("lamina-") and (call.caller, call.action) not in missing:
            missing |= {
                (call.caller, action)
                for action in _ASKED.get(call.action, {call.action})
                if action not in _granted(iam, call.caller)
            }
    return missing


@functools.cache
def _granted(iam: Any, role: str) -> frozenset[str]:
    granted: set[str] = set()
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for statement in document["Statement"]:
            if statement["Effect"] == "Allow":
                actions = statement["Action"]
                granted |= {actions} if isinstance(actions, str) else set(actions)
    return frozenset(granted)
