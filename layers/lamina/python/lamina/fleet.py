"""Functions as Lamina sees them, the changes it can make to them, and which of them it leaves alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

from lamina.layerlist import find, lookalike, name_of, split
from lamina.model import FunctionName, LayerArn, Release
from lamina.rollout import RolloutPolicy

CRITICAL = "lamina:critical"
"""The tag with which a team says that a function goes last: `true`, `yes` or `1`."""

BUSY = "somebody else is changing it: its last update is not finished. It gets the next release"

IMAGE = "it is made of a container image, which cannot have layers: what it needs is in the image, and up to its team"


@dataclass(frozen=True)
class FunctionView:
    """A function's configuration, of `$LATEST` or of a published version.

    Attributes:
        fingerprint: a digest over everything in the configuration but layers, version and bookkeeping: two views with
            the same fingerprint, code and layers behave alike.
        why: what Lambda says of its state or of its last update, where that is not as it should be.
        timeout: in seconds.
        code_size, layer_sizes: the bytes of the zips, as far as Lambda says.
        runtime, architecture: empty where unknown.
        image: whether it is made of a container image, and so cannot have layers.
        tags: None where they are not known; listings know none.
    """

    name: FunctionName
    arn: str
    layers: tuple[LayerArn, ...] = ()
    version: str = "$LATEST"
    revision: str = ""
    code: str = ""
    fingerprint: str = ""
    state: str = "Active"
    update: str = "Successful"
    why: str = ""
    timeout: int = 3
    modified: datetime | None = None
    code_size: int | None = None
    layer_sizes: Mapping[LayerArn, int] = field(default_factory=dict)
    runtime: str = ""
    architecture: str = ""
    image: bool = False
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True)
class CodePackage:
    """A function's code: its digest, and an address that opens it to whoever has it, for a few minutes."""

    code: str
    location: str = field(repr=False)


@dataclass(frozen=True)
class AliasView:
    """An alias: the version that it points to and the versions that take a share of its traffic (0 to 1)."""

    name: str
    version: str
    weights: Mapping[str, float] = field(default_factory=dict)
    revision: str = ""


@dataclass(frozen=True)
class Provisioned:
    """The environments that an alias or a version keeps ready; `why` is what Lambda says of an allocation that failed.

    While an alias moves from one version to another, or is split between two, Lambda deals them out anew.
    """

    requested: int
    status: Literal["IN_PROGRESS", "READY", "FAILED"] = "READY"
    why: str = ""


@dataclass(frozen=True)
class SetLayers:
    """Give `$LATEST` this list of layers, provided that nobody changed it since `revision`."""

    function: FunctionName
    layers: tuple[LayerArn, ...]
    revision: str


@dataclass(frozen=True)
class PublishVersion:
    """Publish `$LATEST`, provided that its code and configuration are still the ones that were read."""

    function: FunctionName
    code: str
    revision: str
    description: str


@dataclass(frozen=True)
class MoveAlias:
    """Point an alias to `version` and give `weights` to others, provided that nobody changed it since `revision`."""

    function: FunctionName
    alias: str
    version: str
    weights: Mapping[str, float]
    revision: str


FunctionChange: TypeAlias = SetLayers | PublishVersion | MoveAlias


@dataclass(frozen=True)
class Scope:
    """What this installation may change: functions whose names match `names`, and never its own (`own` prefix)."""

    names: str
    own: str


def users_of(views: Sequence[FunctionView], candidate: LayerArn, policy: RolloutPolicy) -> tuple[FunctionView, ...]:
    """The fleet: the functions with some version of the candidate's layer, or of one that it replaces."""
    return tuple(view for view in views if find(view.layers, candidate, policy.replaces) is not None)


def lookalikes_of(
    views: Sequence[FunctionView], candidate: LayerArn, policy: RolloutPolicy
) -> dict[FunctionName, LayerArn]:
    """Functions with a layer of that name which is another account's or region's, and with none that is meant."""
    return {
        view.name: found
        for view in views
        if find(view.layers, candidate, policy.replaces) is None
        and (found := lookalike(view.layers, candidate, policy.replaces)) is not None
    }


def images_of(views: Sequence[FunctionView], policy: RolloutPolicy, scope: Scope) -> tuple[FunctionName, ...]:
    """Functions within reach that are made of images: whatever they were to share with the fleet is in these."""
    return tuple(sorted(view.name for view in views if view.image and outside(view.name, policy, scope) is None))


def foreign(arn: LayerArn) -> str:
    """Why a function with a layer of the right name, but of another account or region, is left alone."""
    layer, _ = split(arn)
    _, _, _, region, account, *_ = layer.split(":")
    return (
        f"its layer {name_of(arn)!r} is another one, of account {account} in {region}; name {layer} in [rollout] "
        "replaces if it is to be taken over"
    )


def critical(view: FunctionView) -> bool | None:
    """Whether the function's team tagged it as one that goes last; None where its tags are not known."""
    if view.tags is None:
        return None
    return view.tags.get(CRITICAL, "").strip().lower() in ("true", "yes", "1")


def outside(name: FunctionName, policy: RolloutPolicy, scope: Scope) -> str | None:
    """Why a function may not be touched at all, by its name; None if it may."""
    if name.startswith(scope.own):
        return "one of Lamina's own functions"
    pattern = next((pattern for pattern in policy.exclude if fnmatchcase(name, pattern)), None)
    if pattern is not None:
        return f"excluded by the layer's definition ([rollout] exclude has {pattern!r})"
    if not fnmatchcase(name, scope.names):
        return f"outside of what this stack may change (parameter FunctionNames is {scope.names!r})"
    return None


def unfit(view: FunctionView, candidate: LayerArn, release: Release | None = None) -> str | None:
    """Why a function cannot be changed as it is now; None if it can.

    Args:
        release: the candidate as the registry knows it, with the runtimes and architectures that it is for.
    """
    if candidate in view.layers:
        return "already has this release"
    for_ = (release.runtimes, release.architectures) if release else ((), ())
    for word, mine, theirs in zip(("runtime", "architecture"), (view.runtime, view.architecture), for_, strict=True):
        if theirs and mine and mine not in theirs:
            return f"its {word} is {mine}, and this release is for {' and '.join(theirs)}"
    if view.state == "Inactive":
        return (
            "its state is Inactive: nobody called it for so long that Lambda took its resources back. It gets the next "
            "release after it was called again"
        )
    if busy(view):
        return BUSY
    if view.state != "Active":
        return f"its state is {view.state}{_said(view)}"
    if view.update != "Successful":
        return f"its last update is {view.update}{_said(view)}"
    return None


def busy(view: FunctionView) -> bool:
    """Whether something is being done to the function that ends by itself."""
    return view.state == "Pending" or view.update == "InProgress"


def unprovisioned(alias: AliasView, kept: Mapping[str, Provisioned]) -> str | None:
    """Why an alias cannot be moved without giving up environments that are kept ready; None if it can.

    Args:
        kept: what the function's aliases and versions keep ready, by their names.
    """
    if alias.version in kept:
        return (
            f"version {alias.version} behind its alias {alias.name!r} has provisioned concurrency of its own "
            f"({kept[alias.version].requested}), which a new version would not have. Put it on the alias, and Lambda "
            "moves it along"
        )
    mine = kept.get(alias.name)
    if mine is not None and mine.status == "FAILED":
        said = f" ({mine.why})" if mine.why else ""
        return f"Lambda cannot provide the provisioned concurrency of its alias {alias.name!r} as it is{said}"
    return None


def _said(view: FunctionView) -> str:
    return f" ({view.why})" if view.why else ""


def unreleased(latest: FunctionView, behind: FunctionView, layers: Sequence[LayerArn] | None = None) -> str | None:
    """Why publishing `$LATEST` would release work that its team has not; None if the two are the same.

    `behind` is the version that the alias points to; `layers` are what `$LATEST` is expected to have (default:
    those of `behind`).
    """
    if latest.code != behind.code:
        return f"$LATEST has code that version {behind.version} behind the alias has not"
    if latest.fingerprint != behind.fingerprint:
        return f"$LATEST has a configuration that version {behind.version} behind the alias has not"
    if latest.layers != tuple(behind.layers if layers is None else layers):
        return f"$LATEST has layers that version {behind.version} behind the alias has not"
    return None
