"""AWS on one machine: moto's API, with state machines, functions, builds, rules and metrics that really run.

    with Cloud(work, clock=Clock(minute_seconds=1)) as cloud:
        stack = cloud.deploy(Path("template.yaml"))
        arn = cloud.fire("daily")
        status = cloud.client("stepfunctions").describe_execution(executionArn=arn)["status"]

One cloud at a time: moto's state belongs to the process, and is wiped when a cloud starts and when it ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from botocore.config import Config
from moto.moto_api._internal.models import moto_api_backend
from moto.stepfunctions.models import stepfunctions_backends

from local import codebuild, events
from local.calls import Call, CallLog
from local.clock import Clock
from local.codebuild import Builds
from local.deploy import Stack, deploy
from local.events import Bus
from local.identity import OPERATOR, SECRET, Identities
from local.images import Images
from local.lambdas.engine import LambdaEngine
from local.logs import LogWriter
from local.metrics import MetricStore
from local.models import boto_session
from local.patches import Patches
from local.pythons import find
from local.server import Server
from local.states import service as states
from local.states.history import StateEvent
from local.states.integrations import AwsIntegrations
from local.states.service import Executions

_RUNNING = threading.Lock()
_OPERATOR_KEY = "AKIAOPERATOR00000000"


class Cloud:
    """The embedded AWS; use it as a context manager.

    `work` takes everything that is written, except what is worth keeping between runs (built layers, build images),
    which goes to `cache`: by default the folder in `LAMINA_CACHE`, or `.cache` beside the project's `local`.
    """

    def __init__(
        self,
        work: Path,
        *,
        clock: Clock | None = None,
        account: str = "123456789012",
        region: str = "eu-central-1",
        cache: Path | None = None,
    ) -> None:
        default = os.environ.get("LAMINA_CACHE") or Path(__file__).resolve().parents[1] / ".cache"
        self.work = work
        self.cache = cache or Path(default)
        self.clock = clock or Clock()
        self.account = account
        self.region = region
        self.calls = CallLog()
        self.identities = Identities()
        self.on_state: list[Callable[[StateEvent], None]] = []
        self.endpoint = ""
        self._patches = Patches()
        self._session: Any = boto_session(region)
        self._clients: dict[tuple[str, str], Any] = {}
        self._clients_lock = threading.Lock()

    def __enter__(self) -> Self:
        if not _RUNNING.acquire(blocking=False):
            raise RuntimeError("another Cloud is running in this process; close it first")
        try:
            self._start()
        except BaseException:
            self._patches.undo()
            _RUNNING.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything that runs, free the port, and give moto back as it was."""
        with ExitStack() as stack:
            # In reverse: each step is done whatever becomes of the ones before it.
            stack.callback(_RUNNING.release)
            stack.callback(moto_api_backend.reset)
            stack.callback(self._patches.undo)
            stack.callback(self._server.stop)
            stack.callback(self.lambdas.close)
            stack.callback(self.bus.close)
            stack.callback(self.builds.close)
            stack.callback(self.executions.close)

    def client(self, service: str) -> Any:
        """A boto3 client of this cloud, as the operator."""
        return self.client_as(service, "")

    def client_as(self, service: str, role: str) -> Any:
        """A boto3 client that calls as a role (name or ARN); safe to share between threads."""
        key = self.identities.access_key(role) if role else _OPERATOR_KEY
        with self._clients_lock:
            if (service, key) not in self._clients:
                self._clients[service, key] = self._session.client(
                    service,
                    endpoint_url=self.endpoint,
                    aws_access_key_id=key,
                    aws_secret_access_key=SECRET,
                    config=Config(
                        retries={"total_max_attempts": 1},
                        read_timeout=1000,
                        max_pool_connections=64,
                        proxies={},
                        s3={"addressing_style": "path"},
                    ),
                )
            return self._clients[service, key]

    def environment(self) -> dict[str, str]:
        """What a person's AWS CLI, or any SDK, needs in its environment to reach this cloud."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": _OPERATOR_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def deploy(
        self,
        template: Path,
        *,
        stack: str = "lamina",
        parameters: Mapping[str, str] | None = None,
        content: Mapping[str, Path] | None = None,
    ) -> Stack:
        """Create what a SAM template describes.

        `content` replaces the folder of a layer's ContentUri or a function's CodeUri, by logical ID.

        Raises:
            DeployError: for an unknown parameter, resource type, property or intrinsic, or a refused resource.
        """
        return deploy(self, template, stack=stack, parameters=parameters or {}, content=content or {})

    def fire(self, name: str) -> str:
        """Run a schedule or a scheduled rule now; returns the ARN of the execution that it started."""
        return self.bus.fire(name)

    def put_event(self, source: str, kind: str, detail: Mapping[str, Any], resources: list[str] | None = None) -> str:
        """Put an event on the default bus as a service of AWS would (`aws.inspector2`); returns its id."""
        return self.bus.put(source, kind, dict(detail), resources=resources or [])

    def _start(self) -> None:
        moto_api_backend.reset()
        self.work.mkdir(parents=True, exist_ok=True)
        self.metrics = MetricStore()
        self.lambdas = LambdaEngine(
            self.clock,
            self.metrics,
            self.work / "lambdas",
            endpoint=lambda: self.endpoint,
            account=self.account,
            region=self.region,
        )
        self.executions = Executions(self.clock, self._observe, self._status_changed)
        images = Images(self.cache / "images", find)
        writer = LogWriter(self.account, self.region)
        self.builds = Builds(self.clock, self.work / "builds", images, self.region, self.client_as, writer)
        self.executions.integrations = AwsIntegrations(self.client_as, self.executions, self.builds)
        self.bus = Bus(self.clock, self.account, self.region, self._start_machine, self.client)
        states.install(self._patches, self.executions)
        codebuild.install(self._patches, self.builds)
        events.install(self._patches, self.bus)
        self.lambdas.install()
        self._server = Server(self.calls, self._caller)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"

    def _caller(self, access_key: str) -> str:
        return self.lambdas.role_of(access_key) or self.identities.caller(access_key)

    def _observe(self, event: StateEvent) -> None:
        for observer in list(self.on_state):
            observer(event)

    def _status_changed(self, arn: str, moment: str, detail: Mapping[str, Any]) -> None:
        kind = "Step Functions Execution Status Change"
        self.bus.put("aws.states", kind, dict(detail), resources=[arn], time=moment[:19] + "Z")

    def _start_machine(self, arn: str, name: str, text: str) -> str:
        machine = stepfunctions_backends[self.account][self.region].describe_state_machine(arn)
        execution = self.executions.start(machine, name, text)
        self.calls.add(Call("states:StartExecution", "events", arn, 200))
        started: str = execution.execution_arn
        return started


__all__ = ["OPERATOR", "Cloud", "Stack", "StateEvent"]
