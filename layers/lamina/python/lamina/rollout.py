"""A rollout and its journal, as values.

The journal has one entry for each function of the fleet. An entry says what stood there before Lamina changed
anything, and is written *before* each change, so that whoever finds it (a retry, the rollback, a person) can tell
what may have happened since and put it back.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict

from lamina.model import FunctionName, LayerArn, LayerVersion, Model, ObjectKey, Reason
from lamina.tables import RolloutTable


class RolloutStatus(StrEnum):
    """Where a rollout is. Only an open one may change functions; a held one waits for a person or a newer candidate."""

    OPEN = "open"
    HELD = "held"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    PROMOTED = "promoted"
    FAILED = "failed"
    CONTINUED = "continued"


class EntryStatus(StrEnum):
    """Where a function is on its way."""

    PLANNED = "planned"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    COMPLETED = "completed"
    RESTORED = "restored"
    UNRESTORED = "unrestored"
    LEFT_ALONE = "left_alone"


TOUCHED = frozenset({EntryStatus.ATTACHING, EntryStatus.ATTACHED, EntryStatus.COMPLETED, EntryStatus.UNRESTORED})
"""The statuses of functions that Lamina has, or may have, changed."""


ENDED = frozenset({RolloutStatus.ROLLED_BACK, RolloutStatus.PROMOTED, RolloutStatus.FAILED, RolloutStatus.CONTINUED})
"""The statuses that nothing follows. What was held, and then continued, goes on as a rollout of another name."""


class RolloutPolicy(RolloutTable):
    """The ``[rollout]`` table of a layer definition, as it was when the rollout began."""

    model_config = ConfigDict(strict=False, populate_by_name=True)


class Snapshot(Model):
    """What a function runs on: `$LATEST`'s layers in order, and the version that its alias points to."""

    layers: tuple[LayerArn, ...]
    version: str | None = None


class Entry(Model):
    """One function in the journal.

    Attributes:
        replaced: the layer version whose place the candidate takes; empty for a function that cannot have layers.
        timeout: the function's own, in seconds.
        runtime, architecture: empty where unknown.
        critical: whether its team tagged it as one that goes last; None where its tags could not be read.
        provisioned: how many environments its alias keeps ready (provisioned concurrency).
        since: when Lamina first wanted to change it.
        changed: when somebody other than Lamina last changed it before the rollout; None where unknown.
        attached_at: when it had the candidate, ready to serve.
        restored_at: when it was put back.
    """

    function: FunctionName
    strategy: Literal["alias", "latest"] = "latest"
    alias: str | None = None
    wave: int = 0
    status: EntryStatus = EntryStatus.PLANNED
    reason: str = ""
    before: Snapshot
    after: Snapshot | None = None
    replaced: LayerArn
    timeout: int = 3
    runtime: str = ""
    architecture: str = ""
    critical: bool | None = False
    provisioned: int = 0
    since: datetime | None = None
    changed: datetime | None = None
    attached_at: datetime | None = None
    restored_at: datetime | None = None


class Wave(Model):
    """One step of a rollout: `percent` of the fleet has the candidate when it is done; `count` functions are new."""

    name: str
    count: int
    percent: int


class Question(Model):
    """What a person was asked: whether the rollout may go on. `token` answers it at Step Functions."""

    token: str
    at: datetime


class Rollout(Model):
    """The move of a fleet to a release. `kind` tells an update's rollout from a person's rollback to a release.

    `paused` (who, why and how to go on), `promote_now` with `promoted_by` (who and why), and `question` are between
    people and the rollout; `steered` counts their changes.

    `alarms` has the state of each alarm that may veto when the rollout opened, and OK for one that was OK since.
    `findings` are sentences on what is worse without failing; they hold a rollout.

    `attempt` is 2 for what remained of an update once the culprits of its first candidate were held back.
    """

    rollout: str
    kind: Literal["update", "rollback"] = "update"
    variant: str
    layer: str
    run: str
    execution: str
    candidate: LayerVersion
    baseline: int | None = None
    policy: RolloutPolicy = RolloutPolicy()
    waves: tuple[Wave, ...] = ()
    status: RolloutStatus = RolloutStatus.OPEN
    opened: datetime
    closed: datetime | None = None
    as_of: datetime
    reason: Reason = Reason()
    summary: str = ""
    owner: str = ""
    canary_reason: str = ""
    attempt: int = 1
    history: ObjectKey | None = None
    imports: ObjectKey | None = None
    alarms: dict[str, str] = {}
    findings: tuple[str, ...] = ()
    verdict: dict[str, Any] | None = None
    suspects: tuple[dict[str, Any], ...] = ()
    cause: str = ""
    cause_kind: str = ""
    culprits: tuple[str, ...] = ()
    held_back: dict[str, str] = {}
    steered: int = 0
    paused: str = ""
    promote_now: bool = False
    promoted_by: str = ""
    question: Question | None = None
    continues: str = ""


class Lock(Model):
    """Who may change a variant's fleet."""

    rollout: str
    execution: str
    since: datetime
