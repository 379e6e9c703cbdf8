"""A function, or a published version of one, with the states and guards that moto's lacks."""

from __future__ import annotations

import base64
import binascii
import copy
import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from moto.awslambda.models import LambdaFunction
from moto.s3.exceptions import MissingBucket, MissingKey
from moto.s3.models import s3_backends

from local.lambdas import rules
from local.lambdas.files import BadArchive, unzipped_size
from local.lambdas.values import Archive, AttachedLayer, Invocation, Release

_REASONS = {
    "Pending": ("The function is being created.", "Creating"),
    "Inactive": ("The function is inactive, since it was not invoked for a long time.", "Idle"),
    "Failed": ("The function could not get the network interfaces that it needs.", "EniLimitExceeded"),
}
"""What Lambda says of each state but Active: a sentence and a code."""

# What UpdateFunctionConfiguration may set and what it is called here; everything else of the function stays as it is.
_SETTINGS = {
    "Description": "description",
    "Handler": "handler",
    "MemorySize": "memory_size",
    "Role": "role",
    "Runtime": "run_time",
    "Timeout": "timeout",
    "VpcConfig": "_vpc_config",
    "KMSKeyArn": "kms_key_arn",
    "TracingConfig": "tracing_config",
    "DeadLetterConfig": "dead_letter_config",
    "FileSystemConfigs": "file_systems",
    "SnapStart": "snap_start",
    "LoggingConfig": "logging_config",
}


def read_archive(account: str, partition: str, content: dict[str, Any]) -> bytes:
    """The bytes of a zip from a request: base64, or an S3 object. Raises `rules.Refused`."""
    if "ZipFile" in content:
        try:
            return base64.b64decode(content["ZipFile"])
        except binascii.Error as error:
            raise rules.Refused("InvalidParameterValueException", f"Could not unzip uploaded file: {error}") from None
    bucket, key = content.get("S3Bucket"), content.get("S3Key")
    if not (bucket and key):
        raise rules.Refused("InvalidParameterValueException", "Please provide a source for function code.")
    try:
        found = s3_backends[account][partition].get_object(bucket, key, content.get("S3ObjectVersion"))
    except (MissingBucket, MissingKey):
        found = None
    if found is None:
        raise rules.Refused(
            "InvalidParameterValueException",
            "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: "
            f"The specified key does not exist. (s3://{bucket}/{key})",
        )
    return bytes(found.value)


def archive(content: bytes) -> Archive:
    """A zip with its unzipped size; raises `rules.Refused` for what is no zip or is too large on its own."""
    try:
        size = unzipped_size(content)
    except BadArchive as error:
        raise rules.Refused("InvalidParameterValueException", str(error)) from None
    rules.check_size(size, [])
    return Archive(content, size)


class Function(LambdaFunction):
    """``$LATEST`` or a version. `live` is what invocations run; it follows the configuration once a change settled."""

    def __init__(
        self, account_id: str, spec: dict[str, Any], region: str, *,
        find_layer: Callable[[str], AttachedLayer],
        run: Callable[[str, bytes], Invocation], now: Callable[[], str],
    ) -> None:  # fmt: skip
        self._find_layer = find_layer
        self._now = now
        self._run = run
        self.attached: tuple[AttachedLayer, ...] = ()
        self.archive = Archive(b"", 0)
        self.live: Release | None = None
        self.update_status: str | None = None
        self.deleted = False
        self.frozen_from = ""  # the fingerprint that a version was published from
        self.dead_letter_config = spec.get("DeadLetterConfig")
        self.file_systems = spec.get("FileSystemConfigs")
        self.snap_start = spec.get("SnapStart")
        self.logging_config = spec.get("LoggingConfig")
        rules.check_package(spec.get("PackageType", "Zip"), spec)
        rules.check_layer_list(spec.get("Layers", []), spec.get("PackageType", "Zip"))
        rules.check_snap_start(self.snap_start, spec.get("Runtime"))
        super().__init__(account_id, spec, region, version="$LATEST")
        self._check_size()
        self.state = "Pending"
        self.touch()

    # -- changes

    def touch(self) -> None:
        """A change was made or has settled: a new revision."""
        self.revision_id = str(uuid.uuid4())

    def stamp(self) -> None:
        """The code or configuration was modified now."""
        self.last_modified = self._now()
        self.touch()

    def configure(self, body: dict[str, Any]) -> None:
        """Set what `body` of UpdateFunctionConfiguration holds, and nothing else. Raises before anything is changed."""
        rules.check_image_change(self.package_type, body)
        rules.check_snap_start(body.get("SnapStart", self.snap_start), body.get("Runtime") or self.run_time)
        if "Layers" in body:
            rules.check_layer_list(body["Layers"], self.package_type)
            attached = tuple(self._find_layer(arn) for arn in body["Layers"])
            rules.check_size(self.archive.unzipped, [layer.archive.unzipped for layer in attached])
            self._attach(attached)
        for name, attribute in _SETTINGS.items():
            if name in body:
                setattr(self, attribute, body[name])
        if "Environment" in body:
            self.environment_vars = dict(body["Environment"].get("Variables") or {})
        if "EphemeralStorage" in body:
            self.ephemeral_storage = body["EphemeralStorage"]["Size"]
        self.stamp()

    def replace_code(self, body: dict[str, Any]) -> None:
        """Take the code (and architectures) of UpdateFunctionCode. Raises before anything is changed."""
        if "ImageUri" not in body:
            content = archive(read_archive(self.account_id, self.partition, body))
            rules.check_size(content.unzipped, [layer.archive.unzipped for layer in self.attached])
            self.code = {key: body[key] for key in ("S3Bucket", "S3Key", "S3ObjectVersion") if key in body}
            self._take(content)
        else:
            self.code = {"ImageUri": body["ImageUri"]}
            super()._set_function_code(self.code)
        if body.get("Architectures"):
            self.architectures = body["Architectures"]
        self.stamp()

    def published_as(self, number: int, description: str | None) -> Function:
        """The version that freezes this function's code and configuration."""
        version = copy.copy(self)
        version.environment_vars = dict(self.environment_vars)
        version._attach(self.attached)
        version.event_invoke_config = []
        version.tags = {}
        version.reserved_concurrency = None
        version.version = number
        version.function_arn = f"{self.function_arn}:{number}"
        version.state, version.update_status, version.live = "Pending", None, None
        if description:
            version.description = description
        version.stamp()
        return version

    @property
    def snapshots(self) -> bool:
        """Whether its versions are started from snapshots."""
        return bool((self.snap_start or {}).get("ApplyOn") == "PublishedVersions")

    def fingerprint(self) -> str:
        """What a publish compares: code and configuration, without revision, dates and state."""
        configuration = {
            "code": self.code_sha_256,
            "layers": [layer.arn for layer in self.attached],
            "environment": self.environment_vars,
            "storage": self.ephemeral_storage,
            "architectures": self.architectures,
            **{name: getattr(self, attribute) for name, attribute in _SETTINGS.items()},
        }
        return json.dumps(configuration, sort_keys=True, default=str)

    def release(self) -> Release:
        """What invocations run, as it is now."""
        logging = self.logging_config or {}
        return Release(
            function=self.function_name,
            version=str(self.version),
            arn=self.function_arn.removesuffix(f":{self.version}"),
            package_type=self.package_type,
            runtime=self.run_time,
            handler=self.handler or "",
            timeout=int(self.timeout),
            memory=int(self.memory_size),
            architecture=self.architectures[0],
            role=self.role,
            log_group=logging.get("LogGroup") or f"/aws/lambda/{self.function_name}",
            variables=dict(self.environment_vars),
            code=self.archive,
            layers=self.attached,
        )

    def _check_size(self) -> None:
        rules.check_size(self.archive.unzipped, [layer.archive.unzipped for layer in self.attached])

    # -- what moto asks for

    def get_configuration(self, on_create: bool = False) -> dict[str, Any]:
        """FunctionConfiguration as the API answers it."""
        found = super().get_configuration(on_create=True)
        found["RevisionId"] = self.revision_id
        found["LastModified"] = self.last_modified
        if not self.layers:
            del found["Layers"]
        if self.state in _REASONS:
            found["StateReason"], found["StateReasonCode"] = _REASONS[self.state]
        if self.update_status:
            found["LastUpdateStatus"] = self.update_status
        if self.update_status == "InProgress":
            found["LastUpdateStatusReason"] = "The function is being created."
            found["LastUpdateStatusReasonCode"] = "Creating"
        if self.dead_letter_config:
            found["DeadLetterConfig"] = self.dead_letter_config
        if self.file_systems:
            found["FileSystemConfigs"] = self.file_systems
        if self.snap_start:
            optimised = self.snapshots and self.version != "$LATEST"
            found["SnapStart"] = {
                "ApplyOn": self.snap_start.get("ApplyOn", "None"),
                "OptimizationStatus": "On" if optimised else "Off",
            }
        group = f"/aws/lambda/{self.function_name}"
        found["LoggingConfig"] = {"LogFormat": "Text", "LogGroup": group} | (self.logging_config or {})
        return {key: value for key, value in found.items() if value is not None}

    def update_configuration(self, config_updates: dict[str, Any]) -> dict[str, Any]:
        """CloudFormation's way to change a function."""
        self.configure(config_updates)
        return self.get_configuration()

    def invoke(self, body: str, request_headers: Any, response_headers: Any) -> bytes:
        """Run it, as moto's other services do to deliver their messages."""
        done = self._run(self.function_arn, body.encode())
        if done.error:
            response_headers["x-amz-function-error"] = done.error
        return done.payload

    def _get_layers_data(self, layers_versions_arns: Sequence[str]) -> list[Any]:
        self._attach(tuple(self._find_layer(arn) for arn in layers_versions_arns))
        return self.layers

    def _set_function_code(self, updated_spec: dict[str, Any]) -> None:
        if "ImageUri" in updated_spec:
            super()._set_function_code(updated_spec)
            self.code_bytes, self.code_digest = b"", self.code_sha_256
        else:
            self._take(archive(read_archive(self.account_id, self.partition, updated_spec)))

    def _attach(self, attached: tuple[AttachedLayer, ...]) -> None:
        self.attached = attached
        self.layers = [{"Arn": layer.arn, "CodeSize": layer.code_size} for layer in attached]

    def _take(self, content: Archive) -> None:
        self.archive = content
        self.code_bytes, self.code_size, self.code_digest = content.content, len(content.content), content.digest
        self.code_sha_256 = base64.b64encode(hashlib.sha256(content.content).digest()).decode()
