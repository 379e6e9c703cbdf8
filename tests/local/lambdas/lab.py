"""A local Lambda behind a real HTTP endpoint, and small things to put into it."""

from __future__ import annotations

import io
import itertools
import json
import logging
import os
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.core.base_backend import BackendDict
from moto.server import ThreadedMotoServer

from local.clock import Clock
from local.lambdas import Invocation, LambdaEngine
from local.metrics import MetricStore

RUNTIME = f"python3.{sys.version_info.minor}"
"""The runtime of functions: the one Python that is certainly on this machine."""

MARK = f"lambdas-{os.getpid()}"
ORIGIN = datetime(2024, 11, 27, 10, 0, tzinfo=UTC)
_NAMES = itertools.count(1)


def packed(files: dict[str, str | bytes]) -> bytes:
    """A zip of some files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@dataclass
class Cloud:
    """The engine under test with its clients."""

    engine: LambdaEngine
    clock: Clock
    metrics: MetricStore
    endpoint: str
    role: str = ""

    def client(self, service: str) -> Any:
        """A boto3 client that asks once: retries would hide errors."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint,
            region_name="eu-central-1",
            aws_access_key_id="operator",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def function(self, code: str, name: str | None = None, **settings: Any) -> str:
        """Create a function from the text of its app.py and wait until it is active; returns its name."""
        name = name or f"function-{next(_NAMES)}"
        files: dict[str, str | bytes] = {"app.py": code}
        settings.setdefault("Environment", {"Variables": {"TEST_MARK": MARK}})
        self.client("lambda").create_function(
            **{
                "FunctionName": name,
                "Runtime": RUNTIME,
                "Role": self.role,
                "Handler": "app.handler",
                "Code": {"ZipFile": packed(files)},
                **settings,
            }
        )
        self.settled(name)
        return name

    @property
    def mounts(self) -> bool:
        """Whether functions see private mounts."""
        return self.engine.namespaces

    def settled(self, name: str, qualifier: str = "$LATEST") -> dict[str, Any]:
        """Wait until a function or version is neither being created nor updated; returns its configuration."""
        for _ in range(2000):
            found: dict[str, Any] = self.client("lambda").get_function_configuration(
                FunctionName=name, Qualifier=qualifier
            )
            if found["State"] == "Active" and found.get("LastUpdateStatus") != "InProgress":
                return found
        raise AssertionError(f"{name} does not settle")

    def layer(self, files: dict[str, str | bytes], name: str | None = None) -> str:
        """Publish a layer version; returns its ARN."""
        answer = self.client("lambda").publish_layer_version(
            LayerName=name or f"layer-{next(_NAMES)}", Content={"ZipFile": packed(files)}
        )
        arn: str = answer["LayerVersionArn"]
        return arn

    def call(self, name: str, event: Any = None, qualifier: str | None = None) -> Any:
        """Invoke in-process; the decoded answer."""
        return json.loads(self.invoke(name, event, qualifier).payload)

    def invoke(self, name: str, event: Any = None, qualifier: str | None = None) -> Invocation:
        """Invoke in-process."""
        return self.engine.invoke(name, qualifier, json.dumps(event or {}).encode())


def refused(call: Any, **arguments: Any) -> tuple[str, int, str]:
    """Error code, HTTP status and message of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


@contextmanager
def running(work: Path, *, namespaces: bool = True, **settings: Any) -> Iterator[Cloud]:
    """A local Lambda that is gone, processes and all, when the block ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    clock, metrics = Clock(60.0, ORIGIN), MetricStore()
    engine = LambdaEngine(
        clock,
        metrics,
        work,
        endpoint=lambda: cloud.endpoint,
        namespaces=namespaces,
        **{"update_seconds": 0.05, "seed": 1, **settings},
    )
    engine.install()
    server.start()
    cloud = Cloud(engine, clock, metrics, "http://{}:{}".format(*server.get_host_and_port()))
    try:
        role = cloud.client("iam").create_role(RoleName="worker", AssumeRolePolicyDocument="{}")
        cloud.role = role["Role"]["Arn"]
        yield cloud
    finally:
        server.stop()
        engine.close()
        BackendDict.reset()
    # A process that was killed takes a moment to be gone.
    patience = time.monotonic() + 10
    while (left := left_running()) and time.monotonic() < patience:
        time.sleep(0.05)
    assert left == []


def left_running() -> list[str]:
    """Command lines of processes that were started for a function of these tests."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if MARK.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
