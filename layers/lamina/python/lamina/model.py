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

Ecosystem: TypeAlias = Literal["PyPI", "npm"]
"""Where a package is from, as the OSV schema spells it."""


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
    """One runtime and architecture of a layer definition; `variant` is its Lambda layer name.

    `snapshot` is where the run keeps a definition that is not deployed with the stack; None for one that is.
    """

    variant: str
    layer: str
    runtime: str
    architecture: str
    environment: str | None = None
    snapshot: ObjectKey | None = None


class Change(Model):
    """One package that moves; `from_` is None for a package that was not there, `to` is None for one that goes."""

    ecosystem: Ecosystem = "PyPI"
    package: str
    from_: str | None = Field(None, alias="from")
    to: str | None = None
    direct: bool = False


class Reason(Model):
    """Why an update was started."""

    kind: Literal["schedule", "console", "advisory"] = "console"
    text: str = ""


class Advisory(Model):
    """A published vulnerability: the package it is in and the first version that fixes it.

    `version` is the locked version that it was found in; None where every version below `fixed` is meant.
    """

    id: str
    ecosystem: Ecosystem = "PyPI"
    package: str
    version: str | None = None
    fixed: str | None = None


class Finding(Model):
    """An advisory that a lock has.

    Attributes:
        aliases: the same vulnerability's other names.
        version: what is locked.
        fixed: the lowest version above it that the advisory calls fixed; None where there is none yet.
        resolved: whether the new lock is free of it.
        introduced: whether only the new lock has it.
        why: what keeps it, where it is not resolved.
    """

    id: str
    aliases: tuple[str, ...] = ()
    ecosystem: Ecosystem = "PyPI"
    package: str
    version: str
    fixed: str | None = None
    summary: str = ""
    resolved: bool = False
    introduced: bool = False
    why: str = ""


class Advice(Model):
    """What an advisory database says of a lock; `unknown` is what it could not be asked: that is not clean."""

    findings: tuple[Finding, ...] = ()
    unknown: str = ""


class LayerVersion(Model):
    """A published version of a variant's layer; `digest` is that of its contents, not of its zip."""

    version: int
    arn: LayerArn
    digest: str = ""


class Coverage(Model):
    """Which functions a release is for.

    Attributes:
        runtimes, architectures: each of these runtimes on each of these architectures.
        shared_by: variants that publish nothing of their own because this release is the same as theirs would be.
        replaces: layers whose functions it takes over, beside those that the definition names.
    """

    runtimes: tuple[str, ...]
    architectures: tuple[str, ...]
    shared_by: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()


class Shared(Model):
    """A variant without a layer of its own: whose release its functions have, and which."""

    variant: str
    leader: str
    version: int


class Release(Model):
    """A published layer version with everything that explains it. Keys point into the artifacts bucket.

    Attributes:
        digest: of the contents as they were built, before any signature.
        runtimes, architectures: those of the functions that it is for; empty where that is not known.
        shared_by: variants without a layer of their own, for which it is as well.
        replaces: layers whose functions it takes over, beside those that the definition names.
        sources: what it was built from beside packages (see `lamina.ingredients`); None where that was not recorded.
        signing_profile: the profile in AWS Signer that it is signed with; empty if it is not.
        signing_job: the job that signed it.
        signed: the signed zip, which is what Lambda holds; None if it is not signed.
    """

    variant: str
    version: int
    arn: LayerArn
    digest: str
    runtimes: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    shared_by: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    sources: dict[str, str] | None = None
    signing_profile: str = ""
    signing_job: str = ""
    signed: ObjectKey | None = None
    artifact: ObjectKey
    manifest: ObjectKey
    sbom: ObjectKey | None = None
    build_log: str = ""
    lock: ObjectKey
    node_lock: ObjectKey | None = None
    explanation: ObjectKey
    packages: dict[str, str]
    node_packages: dict[str, str] = {}
    changes: tuple[Change, ...] = ()
    summary: str = ""
    reason: Reason = Reason()
    as_of: datetime
    created: datetime
    run: str
    rollout: str | None = None
    status: Literal["published", "rejected", "promoted", "rolled_back"] = "published"


class HeldBack(Model):
    """A package version that was found to break functions and is not offered again.

    Nor is what lies between `above`, which was there before, and `version`, if it is as large a step and had come by
    `as_of`, the moment whose package index counted (see `lamina.policy.withheld`). What comes later is offered.
    With `trial` it is held back only until it is known whether it, or something that is offered meanwhile, did harm.
    """

    ecosystem: Ecosystem = "PyPI"
    package: str
    version: str
    above: str | None = None
    as_of: datetime | None = None
    trial: bool = False
    since: datetime
    reason: str
    run: str = ""


class Released(HeldBack):
    """A package version that was held back until a person let it go: the run that was asked to, and when."""

    by: str
    at: datetime


class LayerState(Model):
    """What the registry knows of a variant as a whole.

    `held_back` is in force; `released` is what was, kept for those who want to know who ended it. One of the `suspects`
    did harm, and it is not known yet which (see `lamina.bisecting`); `narrowed` is the rollout that last told.
    """

    variant: str
    promoted: int | None = None
    held_back: tuple[HeldBack, ...] = ()
    released: tuple[Released, ...] = ()
    suspects: tuple[HeldBack, ...] = ()
    narrowed: str = ""


class LayerOutcome(Model):
    """How one run ended for one variant; one row of the run's report.

    Outcome, culprits and candidate speak of the update as it was first proposed, `promoted` of the end.

    Attributes:
        changed: package to its version before and in the candidate; None where it was not there, or is not any more.
        then: what became of the rest, once the culprits were held back; None where nothing was tried again.
        advisories: those that the layer still has.
        unknown: what the advisory database could not be asked.
    """

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
    advisories: tuple[str, ...] = ()
    unknown: str = ""
    explanation: ObjectKey | None = None
    report: ObjectKey | None = None
    changed: dict[str, tuple[str | None, str | None]] = {}
    then: LayerOutcome | None = None
