"""The values that travel between states, functions and the registry.

All are frozen pydantic models; in JSON their keys are camelCase. Moments are aware UTC datetimes.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

LayerArn: TypeAlias = str
"""A layer version's ARN, `arn:aws:lambda:<region>:<account>:layer:<name>:<version>`."""

FunctionName: TypeAlias = str
ObjectKey: TypeAlias = str
"""The key of an object in the artifacts bucket."""


class Model(BaseModel):
    """Base of all values: immutable, strict about unknown keys, camelCase in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def to_json(self) -> dict[str, object]:
        """The value as plain JSON data with camelCase keys."""
        return self.model_dump(mode="json", by_alias=True)


class Outcome(StrEnum):
    """How an update of one variant ended."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    UP_TO_DATE = "up_to_date"
    HELD = "held"
    FAILED = "failed"


class Stage(StrEnum):
    """The part of the workflow that stopped an update."""

    RESOLVE = "resolve"
    BUILD = "build"
    VERIFY = "verify"
    CANARY = "canary"


class Variant(Model):
    """One runtime and architecture of a layer definition; `variant` is its Lambda layer name."""

    variant: str
    layer: str
    runtime: str
    architecture: str
    environment: str | None = None


class Change(Model):
    """One package that moves; `from_` is None for a package that was not there, `to` is None for one that goes."""

    package: str
    from_: str | None = Field(None, alias="from")
    to: str | None = None
    direct: bool = False


class Reason(Model):
    """Why an update was started."""

    kind: Literal["schedule", "console", "advisory"] = "console"
    text: str = ""


class Advisory(Model):
    """A published vulnerability: the package it is in and the first version that fixes it."""

    id: str
    package: str
    fixed: str | None = None


class LayerVersion(Model):
    """A published version of a variant's layer; `digest` is that of its contents, not of its zip."""

    version: int
    arn: LayerArn
    digest: str = ""


class Release(Model):
    """A published layer version with everything that explains it. Keys point into the artifacts bucket."""

    variant: str
    version: int
    arn: LayerArn
    digest: str
    artifact: ObjectKey
    manifest: ObjectKey
    lock: ObjectKey
    explanation: ObjectKey
    packages: dict[str, str]
    changes: tuple[Change, ...] = ()
    summary: str = ""
    reason: Reason = Reason()
    as_of: datetime
    created: datetime
    run: str
    rollout: str | None = None
    status: Literal["published", "rejected", "promoted", "rolled_back"] = "published"


class HeldBack(Model):
    """A package version that was found to break functions and is not offered again."""

    package: str
    version: str
    since: datetime
    reason: str
    run: str = ""


class LayerState(Model):
    """What the registry knows of a variant as a whole."""

    variant: str
    promoted: int | None = None
    held_back: tuple[HeldBack, ...] = ()


class LayerOutcome(Model):
    """How one run ended for one variant; one row of the run's report."""

    variant: str
    outcome: Outcome
    caught_by: Stage | None = None
    culprits: tuple[str, ...] = ()
    held_back: dict[str, str] = {}
    before: int | None = None
    candidate: int | None = None
    promoted: int | None = None
    rollout: str | None = None
    summary: str = ""
    message: str = ""
    report: ObjectKey | None = None
