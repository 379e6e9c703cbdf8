"""Lambda functions: reads them as views, makes the changes that were decided, waits until an update has settled.

Every write carries the revision that the decision was made on, so that Lambda refuses it when somebody else was
quicker.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, WaiterError

from lamina.errors import Busy, ChangedElsewhere, Refused, Unsettled
from lamina.fleet import (
    AliasView,
    CodePackage,
    FunctionChange,
    FunctionView,
    MoveAlias,
    Provisioned,
    PublishVersion,
    SetLayers,
)

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


_TRANSIENT = frozenset({"ServiceException", "ThrottlingException", "TooManyRequestsException"})

LONGEST_WAIT = 300
"""Seconds that one wait takes at most."""

_PAUSE = 3
"""Seconds between two looks at environments that are being made ready; all such calls share one small quota."""


class Functions:
    """The functions of one account and region.

    Args:
        client: of Lambda.
        sleep: waits so many seconds.
    """

    def __init__(self, client: LambdaClient, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._sleep = sleep

    def all(self) -> Iterator[FunctionView]:
        """Every function's `$LATEST`, from the paged listing (which says nothing of states, updates and tags)."""
        for page in self._client.get_paginator("list_functions").paginate():
            for configuration in page["Functions"]:
                yield _view(configuration)

    def read(self, name: str, qualifier: str | None = None) -> FunctionView | None:
        """A function's `$LATEST`, or one of its versions, as it is now; None if there is no such thing."""
        arguments: Any = {"FunctionName": name, **({"Qualifier": qualifier} if qualifier else {})}
        try:
            answer = self._client.get_function(**arguments)
        except self._client.exceptions.ResourceNotFoundException:
            return None
        # Lambda leaves both out for a function without tags.
        unknown = bool(answer.get("TagsError")) and not answer.get("Tags")
        return replace(_view(answer["Configuration"]), tags=None if unknown else dict(answer.get("Tags", {})))

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

    def provisioned(self, name: str) -> dict[str, Provisioned] | None:
        """The environments that a function keeps ready, by alias or version; None where Lambda does not say."""
        found: dict[str, Provisioned] = {}
        try:
            pages = self._client.get_paginator("list_provisioned_concurrency_configs").paginate(FunctionName=name)
            for row in (row for page in pages for row in page["ProvisionedConcurrencyConfigs"]):
                found[row["FunctionArn"].rpartition(":")[2]] = Provisioned(
                    row["RequestedProvisionedConcurrentExecutions"], row["Status"], row.get("StatusReason", "")
                )
        except self._client.exceptions.ResourceNotFoundException:
            return {}
        except ClientError as error:
            # Its own patience with throttling has run out by then: that is for the step to be tried again.
            if error.response["Error"]["Code"] in _TRANSIENT:
                raise
            return None
        return found

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

    def settle(
        self, name: str, version: str | None = None, alias: str | None = None, seconds: int = LONGEST_WAIT
    ) -> None:
        """Wait until the last change has taken effect or failed.

        Args:
            name: the function.
            version: wait for this version of it, which may take minutes where SnapStart makes a snapshot.
            alias: wait for the environments that this alias keeps ready.
            seconds: how long.

        Raises:
            Unsettled: it has not by then.
        """
        if alias is not None:
            return self._provide(name, alias, seconds)
        waiting: Any = {"Delay": 1, "MaxAttempts": seconds}
        try:
            # Both ask GetFunction, which has a quota of its own.
            if version is None:
                self._client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig=waiting)
            else:
                self._client.get_waiter("function_active_v2").wait(
                    FunctionName=name, Qualifier=version, WaiterConfig=waiting
                )
        except WaiterError as error:
            # A failed update is seen, and judged, at the next read; only running out of patience is an error.
            if "Max attempts" in str(error):
                raise Unsettled(name, version) from error

    def _provide(self, name: str, alias: str, seconds: int) -> None:
        for _ in range(max(1, seconds // _PAUSE)):
            kept = (self.provisioned(name) or {}).get(alias)
            if kept is None or kept.status != "IN_PROGRESS":
                return
            self._sleep(_PAUSE)
        raise Unsettled(name, alias=alias)

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


def _view(configuration: Mapping[str, Any]) -> FunctionView:
    rest = {name: value for name, value in configuration.items() if name not in _BOOKKEEPING}
    if "SnapStart" in rest:
        # Whether there is a snapshot belongs to a version; `$LATEST` never has one.
        rest["SnapStart"] = rest["SnapStart"].get("ApplyOn", "None")
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
        why=configuration.get("StateReason") or configuration.get("LastUpdateStatusReason") or "",
        timeout=configuration.get("Timeout", 3),
        modified=datetime.fromisoformat(modified) if modified else None,
        code_size=configuration.get("CodeSize"),
        layer_sizes={
            layer["Arn"]: layer["CodeSize"] for layer in configuration.get("Layers", []) if "CodeSize" in layer
        },
        runtime=configuration.get("Runtime", ""),
        architecture=next(iter(configuration.get("Architectures", [])), ""),
        image=configuration.get("PackageType") == "Image",
    )
