"""Lambda's rules, as pure functions: limits, revisions, weights. What is broken is raised as `Refused`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

MAX_LAYERS = 5
MAX_UNZIPPED = 262_144_000  # bytes of code and layers together
MAX_PAYLOAD = 6 * 1024 * 1024  # bytes of a synchronous request
MAX_ANSWER = 6_291_556  # bytes
ACCOUNT_CONCURRENCY = 1000
UNRESERVED_CONCURRENCY = 100  # what reservations have to leave of it
_SNAPSHOTS = re.compile(r"java(11|17|21|25)|python3\.(1[2-9])|dotnet([89]|10)")
_LAYER = re.compile(r"arn:[\w-]+:lambda:[\w-]+:\d{12}:layer:([A-Za-z0-9_-]+):(\d+)")


class Refused(Exception):
    """A request that Lambda turns down, with the error code and HTTP status that it answers."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def _invalid(message: str) -> Refused:
    return Refused("InvalidParameterValueException", message)


def check_package(package_type: str, body: Mapping[str, object]) -> None:
    """A zip needs Runtime and Handler when it is created, and an image has neither."""
    given = [name for name in ("Runtime", "Handler") if body.get(name)]
    if package_type == "Image" and given:
        raise _no_image_setting()
    if package_type != "Image" and len(given) < 2:
        raise _invalid("Runtime and Handler are mandatory parameters for functions created with deployment packages.")


def check_image_change(package_type: str, body: Mapping[str, object]) -> None:
    """An image function gets no Runtime and no Handler later either."""
    if package_type == "Image" and (body.get("Runtime") or body.get("Handler")):
        raise _no_image_setting()


def check_snap_start(snap_start: Mapping[str, str] | None, runtime: str | None) -> None:
    """Snapshots exist for some runtimes only."""
    if (snap_start or {}).get("ApplyOn") == "PublishedVersions" and not _SNAPSHOTS.fullmatch(runtime or ""):
        raise _invalid(f"{runtime or 'Image'} is not supported for SnapStart enabled functions.")


def _no_image_setting() -> Refused:
    return _invalid("Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.")


def check_layer_list(arns: Sequence[str], package_type: str) -> None:
    """At most five, of Zip functions only, no two versions of one layer, each a layer version's ARN."""
    if arns and package_type == "Image":
        raise _no_image_setting()
    if len(arns) > MAX_LAYERS:
        raise _invalid(f"Cannot reference more than {MAX_LAYERS} layers.")
    seen: dict[str, str] = {}
    for arn in arns:
        if not _LAYER.fullmatch(arn):
            raise Refused(
                "ValidationException",
                f"1 validation error detected: Value '[{arn}]' at 'layers' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern for a layer version's ARN",
            )
        layer = arn.rpartition(":")[0]
        if layer in seen:
            raise _invalid(
                "Two different versions of the same layer are not allowed to be referenced in the same function. "
                f"{seen[layer]} and {arn}"
            )
        seen[layer] = arn


def unknown_layer(arn: str) -> Refused:
    """A layer version that never was, or was deleted."""
    return _invalid(f"Layer version {arn} does not exist.")


def check_size(code: int, layers: Sequence[int]) -> None:
    """Code and layers together, in bytes unzipped."""
    if code > MAX_UNZIPPED:
        raise _invalid(f"Unzipped size must be smaller than {MAX_UNZIPPED} bytes")
    if (total := code + sum(layers)) > MAX_UNZIPPED:
        raise _invalid(
            f"Function code combined with layers exceeds the maximum allowed size of {MAX_UNZIPPED} bytes. "
            f"The actual size is {total} bytes."
        )


def check_revision(sent: str | None, current: str) -> None:
    """The guard against overwriting somebody else's change."""
    if sent and sent != current:
        raise Refused(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. "
            "Call the GetFunction/GetAlias API to retrieve the latest Revision Id",
            412,
        )


def check_code_sha(sent: str | None, current: str) -> None:
    """PublishVersion's guard against publishing other code than was meant."""
    if sent and sent != current:
        raise _invalid(
            f"CodeSHA256 ({sent}) is different from current CodeSHA256 in $LATEST ({current}). "
            "Please try again with the CodeSHA256 in $LATEST."
        )


def check_settled(arn: str, state: str, update_status: str) -> None:
    """No change of a function that is being created or could not be, nor while another change is in progress."""
    if state in ("Pending", "Failed"):
        raise pending(state)
    if update_status == "InProgress":
        raise Refused(
            "ResourceConflictException",
            f"The operation cannot be performed at this time. An update is in progress for resource: {arn}",
            409,
        )


def pending(state: str) -> Refused:
    """An operation on a function or version that is not Active yet."""
    return Refused(
        "ResourceConflictException",
        f"The operation cannot be performed at this time. The function is currently in the following state: {state}",
        409,
    )


def no_snapshot_yet() -> Refused:
    """An invocation of a version whose snapshot is being made."""
    return Refused(
        "SnapStartNotReadyException",
        "Lambda is initializing your function. It will be ready to invoke when your function state becomes ACTIVE.",
        409,
    )


def check_routing(version: str, weights: Mapping[str, float]) -> None:
    """An alias's additional versions: one at most, with a weight from 0 to 1, and nothing about $LATEST."""
    if not weights:
        return
    if len(weights) > 1:
        raise _invalid("Number of items in AdditionalVersionWeights cannot be greater than 1")
    if version == "$LATEST" or "$LATEST" in weights:
        raise _invalid("$LATEST is not supported for an alias pointing to more than 1 version")
    for other, weight in weights.items():
        if other == version:
            raise _invalid(
                f"Invalid function version {other}. "
                f"Function version {other} is already included in routing configuration."
            )
        if not 0.0 <= weight <= 1.0:
            raise _invalid(f"Invalid weight {weight} for version {other}: it must lie between 0.0 and 1.0")


def choose_version(version: str, weights: Mapping[str, float], draw: float) -> str:
    """The version that an alias runs, for a `draw` uniform in [0, 1)."""
    for other, weight in weights.items():
        if draw < weight:
            return other
        draw -= weight
    return version


def too_many_requests() -> Refused:
    """More concurrent invocations than reserved for the function, or than the account has."""
    return Refused("TooManyRequestsException", "Rate Exceeded.", 429)


def timestamp(moment: datetime) -> str:
    """A moment as Lambda's API writes it: ``2024-11-30T00:21:33.000+0000``."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"
