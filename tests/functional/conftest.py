"""What the handlers' tests share: AWS as moto plays it, an environment, and handlers loaded as Lambda loads them."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

REPOSITORY = Path(__file__).parents[2]
REGION = "eu-central-1"
NOW = "2026-11-20T12:30:00.123Z"


@dataclass
class Context:
    """What Lambda hands to a handler beside the event."""

    function_name: str = "a-function"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:123456789012:function:a-function"
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        """Plenty."""
        return 300_000


Handler = Callable[[Mapping[str, object]], dict[str, Any]]


@dataclass
class Cloud:
    """An account with Lamina's table and bucket, and folders for what layers bring to /opt."""

    opt: Path
    registry: str = "registry"
    artifacts: str = "artifacts"

    def define(self, layer: str, toml: str, **files: str) -> None:
        """Put a layer definition where the functions read it."""
        folder = self.opt / layer
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "layer.toml").write_text(toml)
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text)

    def objects(self) -> list[str]:
        """The keys in the bucket, sorted."""
        rows = boto3.client("s3").list_objects_v2(Bucket=self.artifacts).get("Contents", [])
        return sorted(row["Key"] for row in rows)

    def read(self, key: str) -> bytes:
        """An object of the bucket."""
        return boto3.client("s3").get_object(Bucket=self.artifacts, Key=key)["Body"].read()

    def write(self, key: str, body: bytes | object) -> str:
        """Store an object; what is not bytes is stored as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        boto3.client("s3").put_object(Bucket=self.artifacts, Key=key, Body=data)
        return key

    def module(self, function: str) -> ModuleType:
        """A function's module, fresh, as a new execution environment would load it."""
        path = REPOSITORY / "functions" / function / "app.py"
        spec = importlib.util.spec_from_file_location(f"app_of_{function}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # The decorators look the module's annotations up by its name.
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    def handler(self, function: str) -> Handler:
        """A function's handler; its answer must survive JSON, as it does in Lambda."""
        module = self.module(function)
        return lambda event: json.loads(json.dumps(module.handler(json.loads(json.dumps(event)), Context())))


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A new account for each test."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "REGISTRY": "registry",
        "ARTIFACTS": "artifacts",
        "DEFINITIONS": str(tmp_path / "opt"),
        "BUILDER": str(REPOSITORY / "builder"),
        "FUNCTION_NAMES": "app-*",
        "PROBE_PREFIX": "lamina-probe",
        "PROBE_ROLE": "arn:aws:iam::123456789012:role/probe",
        "POWERTOOLS_SERVICE_NAME": "lamina",
        "POWERTOOLS_METRICS_NAMESPACE": "Lamina",
        "POWERTOOLS_TRACE_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "opt").mkdir()
    with mock_aws(config={"lambda": {"use_docker": False}}):
        boto3.client("s3").create_bucket(
            Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        boto3.client("dynamodb").create_table(
            TableName="registry",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        boto3.client("iam").create_role(RoleName="probe", AssumeRolePolicyDocument="{}")
        yield Cloud(tmp_path / "opt")
