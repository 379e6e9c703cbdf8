"""Functions as Lamina sees them, the changes it can make to them, and which of them it leaves alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TypeAlias

from lamina.layerlist import find
from lamina.model import FunctionName, LayerArn
from lamina.rollout import RolloutPolicy


@dataclass(frozen=True)
class FunctionView:
    """A function's configuration, of `$LATEST` or of a published version.

    `fingerprint` is a digest over everything in the configuration but layers, version and bookkeeping: two views
    with the same fingerprint, code and layers behave alike. `timeout` is in seconds. `code_size` and `layer_sizes` are
    the bytes of the zips, as far as Lambda says.
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
    timeout: int = 3
    modified: datetime | None = None
    code_size: int | None = None
    layer_sizes: Mapping[LayerArn, int] = field(default_factory=dict)


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


def unfit(view: FunctionView, candidate: LayerArn) -> str | None:
    """Why a function cannot be changed as it is now; None if it can."""
    if candidate in view.layers:
        return "already has this release"
    if view.state not in ("Active", "Inactive"):
        return f"its state is {view.state}"
    if view.update != "Successful":
        return f"its last update is {view.update}"
    return None


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
