"""One account in this process: a fleet, its layer's releases, and the real state machines and handlers on it.

Nothing runs beside the calling thread, so that the whole world can be forked in the middle of an AWS call. State
machines are interpreted as the embedded AWS does it; handlers are called as functions; their AWS is moto with the
embedded Lambda in it. Time passes only where something waits, and brings the fleet's traffic with it.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from moto import mock_aws
from samcli.yamlhelper import yaml_parse

from lamina.gateways.registry import Layers, Table
from lamina.model import Change, LayerState, Release, Variant
from local.lambdas.engine import LambdaEngine
from local.metrics import MetricStore
from local.states.definition import load
from local.states.errors import StateError
from local.states.history import History, compact, iso
from local.states.interpreter import Interpreter, TaskCall
from local.states.interrupt import Interrupt
from local.states.tokens import Tokens

REPOSITORY = Path(__file__).parents[2]
REGION, ACCOUNT = "eu-central-1", "123456789012"
VARIANT = Variant(variant="web-python313-x86_64", layer="web", runtime="python3.13", architecture="x86_64")
START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ALIASED, PLAIN = ("app-1", "app-2"), ("job-1", "job-2")
FUNCTIONS = (*ALIASED, *PLAIN)
PER_MINUTE = 60
PACKAGES = {1: "0.27.2", 2: "0.28.0", 3: "0.28.1"}

_MACHINES = {"Rollout": "rollout", "Rollback": "rollback"}
_DEFINITION = """
[layer]
owner = "tests"
runtimes = ["python3.13"]
architectures = ["x86_64"]
[python]
requirements = "requirements.in"
[rollout]
canary = ["app-1", "job-1"]
waves = [100]
min-minutes = 1
max-minutes = 10
tolerance = 0.2
"""


class Killed(BaseException):
    """The process of a Lambda function ended in the middle of its work."""


class JumpClock:
    """Virtual time that passes at once, and only where somebody waits."""

    def __init__(self, start: datetime, passed: Callable[[datetime, datetime], None]) -> None:
        self._now, self._passed = start, passed

    def now(self) -> datetime:
        """The virtual moment, aware UTC."""
        return self._now

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Let `seconds` pass."""
        return self.sleep_until(self._now + timedelta(seconds=seconds), stop)

    def sleep_until(self, moment: datetime, stop: threading.Event | None = None) -> bool:
        """Let time pass until a moment."""
        before, self._now = self._now, max(self._now, moment)
        self._passed(before, self._now)
        return stop is None or not stop.is_set()


@dataclass
class Ended:
    """How an execution ended."""

    arn: str
    status: str
    output: Any = None
    error: str = ""
    cause: str = ""


@dataclass
class Context:
    """What Lambda hands to a handler beside the event."""

    function_name: str
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:lamina"
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        """Plenty."""
        return 900_000


@dataclass
class World:
    """The account, and what is going on in it.

    Attributes:
        harmful: functions on release 2 fail from then on, if set.
        inside: called before each step's handler with its name, and after it with None.
        entering: called with machine and state before each state of an execution.
    """

    clock: JumpClock
    metrics: MetricStore
    machines: dict[str, dict[str, Any]]
    handlers: dict[str, Callable[[Any], Any]]
    harmful: bool = False
    inside: Callable[[str | None], None] = lambda step: None
    entering: Callable[[str, str], None] = lambda machine, state: None
    executions: dict[str, Ended] = field(default_factory=dict)
    releases: dict[int, str] = field(default_factory=dict)

    def run(self, machine: str, order: Any, name: str) -> Ended:
        """Run an execution to its end; of a name that ran before with the same input, its end then."""
        arn = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:lamina-{_MACHINES[machine]}:{name}"
        if arn in self.executions:
            return self.executions[arn]
        self.executions[arn] = Ended(arn, "RUNNING")
        interrupt = Interrupt()
        history = History(self.clock.now)

        def observe(kind: str, state: str, data: Any) -> None:
            if kind == "entered":
                self.entering(machine, state)

        context = {
            "Execution": {
                "Id": arn,
                "Name": name,
                "Input": order,
                "RoleArn": "role",
                "StartTime": iso(self.clock.now()),
            },
            "StateMachine": {"Id": arn.rsplit(":", 1)[0], "Name": _MACHINES[machine]},
        }
        clock: Any = self.clock
        interpreter = Interpreter(
            self.machines[machine], context, clock=clock, history=history, integrations=_Integrations(self),
            interrupt=interrupt, observe=observe, tokens=Tokens(),
        )  # fmt: skip
        try:
            ended = Ended(arn, "SUCCEEDED", interpreter.run(order, 0))
        except StateError as error:
            ended = Ended(arn, "FAILED", error=error.error, cause=error.cause)
        except Stopped:
            ended = Ended(arn, "ABORTED")
        self.executions[arn] = ended
        return ended

    def task(self, resource: str, arguments: Any) -> Any:
        """The result of a task."""
        if resource.endswith(":lambda:invoke"):
            return {"Payload": self._invoke(arguments["FunctionName"], arguments["Payload"]), "StatusCode": 200}
        if resource.endswith(":states:startExecution.sync:2"):
            ended = self.run(arguments["StateMachineArn"], arguments["Input"], arguments["Name"])
            if ended.status != "SUCCEEDED":
                told = {"ExecutionArn": ended.arn, "Status": ended.status, "Error": ended.error, "Cause": ended.cause}
                raise StateError("States.TaskFailed", compact(told))
            return {"ExecutionArn": ended.arn, "Status": ended.status, "Output": ended.output}
        raise AssertionError(f"no such integration here: {resource}")

    def _invoke(self, function: str, payload: Any) -> Any:
        self.inside(function)
        try:
            return json.loads(json.dumps(self.handlers[function](json.loads(json.dumps(payload)))))
        except Killed:
            told = {"errorType": "Runtime.ExitError", "errorMessage": "RequestId: 0 Error: Runtime exited"}
            raise StateError("Runtime.ExitError", compact(told)) from None
        except Exception as error:
            told = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": []}
            raise StateError(type(error).__name__, compact(told)) from error
        finally:
            self.inside(None)

    def update(self, version: int) -> Ended:
        """Roll a release out, and do what the recovery rule does where that fails."""
        order = {
            "run": f"run-{version}",
            "variant": VARIANT.to_json(),
            "candidate": {"version": version, "arn": self.releases[version], "digest": str(version) * 8},
            "asOf": iso(self.clock.now()),
            "reason": {"kind": "schedule", "text": "daily"},
            "summary": f"httpx {PACKAGES[version]}",
            "attempt": 1,
        }
        ended = self.run("Rollout", order, f"web-v{version}")
        self.recover(ended)
        return ended

    def recover(self, ended: Ended) -> None:
        """The recovery rule: a rollout that did not succeed is put back."""
        if ended.status == "SUCCEEDED":
            return
        detail = {"executionArn": ended.arn, "status": ended.status, "error": ended.error, "cause": ended.cause}
        event = {"source": "aws.states", "detail-type": "Step Functions Execution Status Change", "detail": detail}
        self.run("Rollback", event, f"recovery-{ended.arn.rsplit(':', 1)[1]}")

    def advance(self, start: datetime, end: datetime) -> None:
        """Send the traffic of the minutes that begin in [start, end)."""
        moment = start.replace(second=0, microsecond=0)
        moment += MINUTE if moment < start else timedelta()
        while moment < end:
            for name in FUNCTIONS:
                self._send(name, moment)
            moment += MINUTE

    def _send(self, name: str, minute: datetime) -> None:
        client = boto3.client("lambda")
        if name in PLAIN:
            self._count(name, None, "$LATEST", minute, PER_MINUTE, self._fails(client, name, "$LATEST"))
            return
        alias = client.get_alias(FunctionName=name, Name="live")
        weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
        shares = {alias["FunctionVersion"]: 1 - sum(weights.values()), **weights}
        for version, share in shares.items():
            self._count(name, "live", version, minute, round(PER_MINUTE * share), self._fails(client, name, version))

    def _fails(self, client: Any, name: str, version: str) -> bool:
        if not self.harmful:
            return False
        layers = client.get_function_configuration(FunctionName=name, Qualifier=version)["Layers"]
        return any(row["Arn"] == self.releases[2] for row in layers)

    def _count(self, name: str, alias: str | None, version: str, minute: datetime, count: int, fails: bool) -> None:
        for _ in range(count):
            self.metrics.record(name, alias, version, minute, duration_ms=20.0, error=fails)


class Stopped(BaseException):
    """Somebody stopped the execution."""


@dataclass(frozen=True)
class _Integrations:
    """What Task states reach."""

    world: World

    def run(self, resource: str, arguments: Any, call: TaskCall) -> Any:
        """The result of one attempt."""
        return self.world.task(resource, arguments)


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """A new account: four functions on release 1 of a layer, releases 2 and 3 to move to, and an hour of traffic."""
    os.environ.update(_environment(folder))
    definition = folder / "definitions" / "web"
    definition.mkdir(parents=True)
    (definition / "layer.toml").write_text(_DEFINITION)
    (definition / "requirements.in").write_text("httpx\n")
    with mock_aws():
        metrics = MetricStore()
        made: list[World] = []
        clock = JumpClock(START - 60 * MINUTE, lambda start, end: made[0].advance(start, end))
        moving: Any = clock
        nowhere = "http://127.0.0.1:9"
        engine = LambdaEngine(moving, metrics, folder / "lambdas", endpoint=lambda: nowhere, update_seconds=0)
        engine.install()
        try:
            releases = _account()
            made.append(World(clock, metrics, _machines(), _handlers(), releases=releases))
            clock.sleep_until(START)
            yield made[0]
        finally:
            engine.close()


def _environment(folder: Path) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_MAX_ATTEMPTS": "1",
        "REGISTRY": "registry",
        "ARTIFACTS": "artifacts",
        "DEFINITIONS": str(folder / "definitions"),
        "FUNCTION_NAMES": "*",
        "STACK": "lamina",
        "TOPIC": f"arn:aws:sns:{REGION}:{ACCOUNT}:lamina",
        "ROLLBACK": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:lamina-rollback",
        "POWERTOOLS_SERVICE_NAME": "lamina",
        "POWERTOOLS_METRICS_NAMESPACE": "Lamina",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "POWERTOOLS_METRICS_DISABLED": "true",
        "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    }


def _account() -> dict[int, str]:
    """Everything that stands before the first update; the layer versions by number."""
    boto3.client("s3").create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": REGION})
    boto3.client("sns").create_topic(Name="lamina")
    boto3.client("dynamodb").create_table(
        TableName="registry",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    client = boto3.client("lambda")
    role = boto3.client("iam").create_role(RoleName="fleet", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    releases = {
        version: client.publish_layer_version(
            LayerName=VARIANT.variant,
            Content={"ZipFile": _zip("python/httpx.py", f"version = '{PACKAGES[version]}'")},
            CompatibleRuntimes=["python3.13"],
        )["LayerVersionArn"]
        for version in PACKAGES
    }
    other = client.publish_layer_version(LayerName="logs", Content={"ZipFile": _zip("python/logs.py", "")})
    for name in FUNCTIONS:
        client.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=role,
            Handler="app.handler",
            Code={"ZipFile": _zip("app.py", "import httpx")},
            Layers=[other["LayerVersionArn"], releases[1]],
            Environment={"Variables": {"STAGE": "production"}},
            Timeout=10,
        )
    for name in ALIASED:
        version = client.publish_version(FunctionName=name)["Version"]
        client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    _registry(releases)
    return releases


def _registry(releases: Mapping[int, str]) -> None:
    layers = Layers(Table(boto3.client("dynamodb"), "registry"))
    s3 = boto3.client("s3")
    for version, arn in releases.items():
        before = PACKAGES.get(version - 1)
        manifest = {
            "variant": VARIANT.variant,
            "digest": str(version) * 64,
            "sha256": str(version) * 64,
            "sizes": {"zipped": 1000, "unzipped": 3000},
            "packages": {"httpx": {"version": PACKAGES[version], "modules": ["httpx"]}},
        }
        s3.put_object(Bucket="artifacts", Key=f"manifest-{version}.json", Body=json.dumps(manifest))
        layers.record(
            Release(
                variant=VARIANT.variant, version=version, arn=arn, digest=str(version) * 8, artifact="a",
                manifest=f"manifest-{version}.json", lock="l", explanation="e",
                packages={"httpx": PACKAGES[version]},
                changes=(Change(package="httpx", from_=before, to=PACKAGES[version]),) if before else (),
                as_of=START, created=START, run=f"run-{version}",
                status="promoted" if version == 1 else "published",
            )
        )  # fmt: skip
    layers.save(LayerState(variant=VARIANT.variant, promoted=1))


def _zip(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


def _machines() -> dict[str, dict[str, Any]]:
    """The definitions, with functions and machines under their own names."""
    template = yaml_parse((REPOSITORY / "template.yaml").read_text())["Resources"]
    machines = {}
    for logical, file in _MACHINES.items():
        text = json.dumps(yaml_parse((REPOSITORY / f"statemachine/{file}.asl.yaml").read_text()))
        for name in template[logical]["Properties"]["DefinitionSubstitutions"]:
            text = text.replace("${" + name + "}", "aws" if name == "Partition" else name)
        machines[logical] = load(text)
    return machines


def _handlers() -> dict[str, Callable[[Any], Any]]:
    """Every function's handler by logical ID."""
    handlers = {}
    for path in sorted((REPOSITORY / "functions").glob("*/app.py")):
        name = path.parent.name
        if name in ("webhook", "poll"):
            continue
        spec = importlib.util.spec_from_file_location(f"faults_{name}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        handlers[name.capitalize()] = _called(spec.loader.exec_module, module, name)
    return handlers


def _called(load_module: Callable[[Any], None], module: Any, name: str) -> Callable[[Any], Any]:
    """The handler, its module loaded at its first call: most machines need but a few."""

    def call(event: Any) -> Any:
        if not hasattr(module, "handler"):
            load_module(module)
        return module.handler(event, Context(name))

    return call
