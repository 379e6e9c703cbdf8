"""The functions of a scenario, created through Lambda's API as any team would create theirs."""

from __future__ import annotations

import io
import json
import platform
import time
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from local.lambdas.files import unzipped_size
from local.scenario import Member, ScenarioError
from local.traffic import Source

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_lambda.literals import ArchitectureType, RuntimeType

ROLE = "scenario-fleet"
UNRELEASED = "unreleased.txt"
"""What the code of functions with unreleased work has, and that of the version behind their alias has not."""

_PADDING = "padding.bin"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def host_architecture() -> str:
    """This machine's architecture in Lambda's words."""
    return "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"


def architecture(member: Member) -> str:
    """The architecture that the function is created for: this machine's where its layers allow a choice."""
    host = host_architecture()
    return host if host in member.architectures else member.architectures[0]


def variant_name(layer: str, runtime: str, architecture: str) -> str:
    """The Lambda layer that a definition publishes for a runtime and architecture."""
    return f"{layer}-{runtime.replace('.', '')}-{architecture}"


def variants(member: Member) -> tuple[str, ...]:
    """The Lambda layers that the function has, in attach order."""
    return tuple(variant_name(layer, member.runtime, architecture(member)) for layer in member.layers)


def create(lambdas: LambdaClient, iam: IAMClient, fleet: Sequence[Member], arns: Mapping[str, str]) -> None:
    """Create every function, and its alias where it has one.

    `arns` maps variants to the layer versions to attach. Raises `ScenarioError` if a function's variant has none.
    """
    role = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(_TRUST))["Role"]["Arn"]
    packages = {code: package(code) for code in {member.code for member in fleet if member.package == "zip"}}
    for member in fleet:
        missing = [variant for variant in variants(member) if variant not in arns]
        if missing:
            raise ScenarioError(f"{member.name} needs the layer {missing[0]}, of which there is no release")
        layers = [arns[variant] for variant in variants(member)]
        lambdas.create_function(
            FunctionName=member.name,
            Role=role,
            Architectures=[cast("ArchitectureType", architecture(member))],
            Timeout=30,
            MemorySize=256,
            Tags=member.tags,
            **_what_runs(lambdas, member, packages, layers),
        )
    released = []
    for member in fleet:
        settled(lambdas, member.name)
        if member.alias is not None:
            version = lambdas.publish_version(FunctionName=member.name)["Version"]
            lambdas.create_alias(FunctionName=member.name, Name=member.alias, FunctionVersion=version)
            released.append((member, member.alias, version))
    for member, alias, version in released:
        settled(lambdas, member.name, version)
        if member.provisioned_concurrency is not None:
            _provision(lambdas, member.name, alias, member.provisioned_concurrency)
        if member.unreleased:
            more = _with_file(packages[member.code], UNRELEASED, b"work that nobody has released yet\n")
            lambdas.update_function_code(FunctionName=member.name, ZipFile=more)
            settled(lambdas, member.name)


def _what_runs(
    lambdas: LambdaClient, member: Member, packages: Mapping[Path, bytes], layers: Sequence[str]
) -> dict[str, Any]:
    """The part of a function's creation that depends on its package."""
    if member.package == "image":
        return {"PackageType": "Image", "Code": {"ImageUri": f"{ROLE}/{member.name}:1"}}
    code = packages[member.code]
    if member.fill_mb is not None:
        code = _filled(lambdas, member, code, layers, member.fill_mb)
    snapshots = {"SnapStart": {"ApplyOn": "PublishedVersions"}} if member.snap_start else {}
    return {
        "Runtime": cast("RuntimeType", member.runtime),
        "Handler": "app.handler",
        "Code": {"ZipFile": code},
        "Layers": layers,
        **snapshots,
    }


def sources(fleet: Sequence[Member]) -> list[Source]:
    """The callers of the functions."""
    return [Source(member.name, member.alias, member.per_minute, member.error_rate, member.event) for member in fleet]


def serving_layers(lambdas: LambdaClient, member: Member) -> tuple[str, ...]:
    """The layer versions of what answers the function's callers: its alias's version, or `$LATEST`."""
    qualifier = "$LATEST" if member.alias is None else member.alias
    answer = lambdas.get_function_configuration(FunctionName=member.name, Qualifier=qualifier)
    return tuple(layer["Arn"] for layer in answer.get("Layers", []))


def package(code: Path) -> bytes:
    """A function's code as a zip: its folder as it is, without bytecode."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(code.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(code).as_posix()
                info = zipfile.ZipInfo.from_file(path, name)
                info.compress_type = zipfile.ZIP_DEFLATED
                if name == "bootstrap":
                    # Lambda runs it itself, and not every way that a scenario travels keeps modes.
                    info.external_attr = 0o100755 << 16
                archive.writestr(info, path.read_bytes())
    return buffer.getvalue()


def _filled(lambdas: LambdaClient, member: Member, code: bytes, layers: Sequence[str], megabytes: float) -> bytes:
    """The code with a file of zeros, so that it and the layers come to so many MB unzipped."""
    taken = unzipped_size(code)
    for arn in layers:
        location = lambdas.get_layer_version_by_arn(Arn=arn)["Content"]["Location"]
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(location) as answer:
            taken += unzipped_size(answer.read())
    padding = round(megabytes * 2**20) - taken
    if padding < 0:
        raise ScenarioError(
            f"{member.name}: fill-mb is {megabytes:g}, and its code and layers have {taken / 2**20:.1f} MB already; "
            "choose more"
        )
    return _with_file(code, _PADDING, bytes(padding))


def _with_file(code: bytes, name: str, content: bytes) -> bytes:
    """A zip with one more file."""
    buffer = io.BytesIO(code)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def settled(lambdas: LambdaClient, name: str, version: str = "$LATEST", limit: float = 60.0) -> None:
    """Wait until Lambda is done with a function or version; boto3's own waiter looks only once a second."""
    deadline = time.monotonic() + limit
    while True:
        configuration = lambdas.get_function(FunctionName=name, Qualifier=version)["Configuration"]
        done = configuration.get("LastUpdateStatus") in ("Successful", None)
        if configuration.get("State") == "Active" and done:
            return
        if time.monotonic() > deadline:
            raise ScenarioError(f"{name} did not become active: {configuration.get('StateReason', 'no reason given')}")
        time.sleep(0.05)


def _provision(lambdas: LambdaClient, name: str, alias: str, number: int, limit: float = 60.0) -> None:
    """Allocate provisioned concurrency to an alias and wait until it is there."""
    lambdas.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=alias, ProvisionedConcurrentExecutions=number
    )
    deadline = time.monotonic() + limit
    while lambdas.get_provisioned_concurrency_config(FunctionName=name, Qualifier=alias)["Status"] != "READY":
        if time.monotonic() > deadline:
            raise ScenarioError(f"{name}: the provisioned concurrency of its alias {alias} did not become ready")
        time.sleep(0.05)
