"""The values that the parts of the local Lambda pass among themselves and to their users."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

_SERIAL = itertools.count(1)


@dataclass(frozen=True)
class Archive:
    """A zip of code or of a layer."""

    content: bytes = field(repr=False)
    unzipped: int  # bytes of its files
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", hashlib.sha256(self.content).hexdigest())


@dataclass(frozen=True)
class AttachedLayer:
    """A layer version as a function holds it. It stays usable there after the version was deleted."""

    arn: str
    archive: Archive
    code_size: int  # bytes of the zip


@dataclass(frozen=True)
class Release:
    """Code and configuration that invocations run with: what ``$LATEST`` was when it last settled, or a version."""

    function: str
    version: str
    arn: str  # unqualified
    package_type: str
    runtime: str | None
    handler: str
    timeout: int  # seconds
    memory: int  # MB
    architecture: str
    role: str
    log_group: str
    variables: Mapping[str, str]
    code: Archive
    layers: tuple[AttachedLayer, ...]
    serial: int = field(default_factory=lambda: next(_SERIAL))  # of no two releases the same

    @property
    def layer_arns(self) -> tuple[str, ...]:
        """The layers in the order in which they are attached."""
        return tuple(layer.arn for layer in self.layers)


@dataclass(frozen=True)
class Target:
    """What a name and a qualifier stand for at the moment of an invocation."""

    release: Release
    qualifier: str | None  # as asked for
    reserved_concurrency: int | None


@dataclass(frozen=True)
class Invocation:
    """What an invocation answered; `error` is Lambda's FunctionError, or the error code if the function did not run."""

    status: int  # HTTP
    payload: bytes
    error: str | None
    executed_version: str
    log_tail: str  # the last 4 KB of its log, plain text
    duration_ms: float
    cold: bool
    request_id: str = ""


@dataclass(frozen=True)
class FunctionChange:
    """A function version or an alias that from `time` on runs something else."""

    function: str
    version: str  # that runs now
    alias: str | None  # whose change it is, if not the version's own
    layers: tuple[str, ...]  # ARNs in order
    time: datetime  # virtual
    weights: Mapping[str, float] = field(default_factory=dict)  # of an alias's additional versions
