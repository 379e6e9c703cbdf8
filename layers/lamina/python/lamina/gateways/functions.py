"""Lambda functions: reads them as views, makes the changes that were decided, waits until an update has settled.

Every write carries the revision that the decision was made on, so that Lambda refuses it when somebody else was
quicker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, WaiterError

from lamina.errors import Busy, ChangedElsewhere, Refused
from lamina.fleet import AliasView, CodePackage, FunctionChange, FunctionView, MoveAlias, PublishVersion, SetLayers

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_BOOKKEEPING = frozenset(
    {
        "CodeSha256",
        "CodeSize",
        "ConfigSha256",
        "Description",
        "FunctionArn",
        "LastModified",
        "LastUpdateStatus",
        "LastUpdateStatusReason",
        "LastUpdateStatusReasonCode",
        "Layers",
        "MasterArn",
        "RevisionId",
        "RuntimeVersionConfig",
        "State",
        "StateReason",
        "StateReasonCode",
        "Version",
    }
)
"""What may differ between two views of a function that behave alike, or is compared by itself."""

_REFUSALS = frozenset(
    {
        "AccessDeniedException",
        "CodeStorageExceededException",
        "CodeVerificationFailedException",
        "InvalidCodeSignatureException",
        "InvalidParameterValueException",
        "ResourceNotFoundException",
    }
)


class Functions:
    """The functions of one account and region."""

    def __init__(self, client: LambdaClient) -> None:
        self._client = client

    def all(self) -> Iterator[FunctionView]:
        """Every function's `$LATEST`, from the paged listing (which says nothing of states and updates)."""
        for page in self._client.get_paginator("list_functions").paginate():
            for configuration in page["Functions"]:
                yield _view(configuration)

    def read(self, name: str, qualifier: str | None = None) -> FunctionView | None:
        """A function's `$LATEST`, or one of its versions, as it is now; None if there is no such thing."""
        arguments: Any = {"FunctionName": name, **({"Qualifier": qualifier} if qualifier else {})}
        try:
            return _view(self._client.get_function(**arguments)["Configuration"])
        except self._client.exceptions.ResourceNotFoundException:
            return None

    def package(self, name: str) -> CodePackage | None:
        """The code of a function's `$LATEST`; None for an image, or if there is no such function."""
        try:
            answer = self._client.get_function(FunctionName=name)
        except self._client.exceptions.ResourceNotFoundException:
            return None
        location = answer.get("Code", {}).get("Location")
        return CodePackage(answer["Configuration"]["CodeSha256"], location) if location else None

    def alias(self, name: str, alias: str) -> AliasView | None:
        """An alias as it is now; None if the function or the alias does not exist."""
        try:
            answer = self._client.get_alias(FunctionName=name, Name=alias)
        except self._client.exceptions.ResourceNotFoundException:
            return None
        weights = answer.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
        return AliasView(alias, answer["FunctionVersion"], dict(weights), answer["RevisionId"])

    def apply(self, change: FunctionChange) -> str | None:
        """Make one change; gives back the version's number if the change publishes one.

        Raises:
            ChangedElsewhere: the function is not what it was when the change was decided.
            Busy: an update of it is under way.
            Refused: Lambda rejects the change for a reason that will not go away.
        """
        try:
            return self._make(change)
        except ClientError as error:
            code, text = error.response["Error"]["Code"], error.response["Error"]["Message"]
            if code == "PreconditionFailedException":
                raise ChangedElsewhere(text) from error
            if code == "ResourceConflictException":
                raise Busy(text) from error
            if code in _REFUSALS:
                raise Refused(f"Lambda refused the change ({code}): {text}") from error
            raise

    def settle(self, name: str, version: str | None = None) -> None:
        """Wait until the function's (or its version's) last change has taken effect or failed."""
        try:
            if version is None:
                self._client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig=_PATIENCE)
            else:
                self._client.get_waiter("published_version_active").wait(
                    FunctionName=name, Qualifier=version, WaiterConfig=_PATIENCE
                )
        except WaiterError as error:
            # A failed update is seen, and judged, at the next read; only running out of patience is an error.
            if "Max attempts" in str(error):
                raise

    def _make(self, change: FunctionChange) -> str | None:
        match change:
            case SetLayers():
                self._client.update_function_configuration(
                    FunctionName=change.function, Layers=list(change.layers), RevisionId=change.revision
                )
            case PublishVersion():
                answer = self._client.publish_version(
                    FunctionName=change.function,
                    CodeSha256=change.code,
                    RevisionId=change.revision,
                    Description=change.description[:256],
                )
                return answer["Version"]
            case MoveAlias():
                self._client.update_alias(
                    FunctionName=change.function,
                    Name=change.alias,
                    FunctionVersion=change.version,
                    RoutingConfig={"AdditionalVersionWeights": dict(change.weights)},
                    RevisionId=change.revision,
                )
        return None


_PATIENCE: Any = {"Delay": 1, "MaxAttempts": 300}


def _view(configuration: Mapping[str, Any]) -> FunctionView:
    rest = {name: value for name, value in configuration.items() if name not in _BOOKKEEPING}
    fingerprint = hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()
    modified = configuration.get("LastModified")
    return FunctionView(
        name=configuration["FunctionName"],
        arn=configuration["FunctionArn"],
        layers=tuple(layer["Arn"] for layer in configuration.get("Layers", [])),
        version=configuration.get("Version", "$LATEST"),
        revision=configuration.get("RevisionId", ""),
        code=configuration.get("CodeSha256", ""),
        fingerprint=fingerprint,
        state=configuration.get("State", "Active"),
        update=configuration.get("LastUpdateStatus", "Successful"),
        timeout=configuration.get("Timeout", 3),
        modified=datetime.fromisoformat(modified) if modified else None,
        code_size=configuration.get("CodeSize"),
        layer_sizes={
            layer["Arn"]: layer["CodeSize"] for layer in configuration.get("Layers", []) if "CodeSize" in layer
        },
    )
