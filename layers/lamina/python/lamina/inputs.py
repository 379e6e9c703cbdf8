"""The input of an update: what a schedule, a person or a security advisory may ask for.

Everything that is not accepted is an `InvalidInput` that says what was wrong and what is accepted. `parse_update`
reads the input on its own; `plan` holds it against the definitions and the promoted releases.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import Field

from lamina.advisory import parse_event
from lamina.definition import Definition, Refusal, variants
from lamina.errors import InvalidInput
from lamina.model import Advisory, Model, Reason, Variant

ACCEPTED = (
    'Accepted are {} for every layer, or an object with any of "layers" (list of names), "packages" (name to exact '
    'version, together with "layers"), "force" (true or false), "dryRun" (true or false) and "asOf" (a date or '
    "moment), or an EventBridge event of aws.inspector2 or lamina.advisory"
)
KEYS = ("layers", "packages", "force", "dryRun", "asOf")
_STARTED_BY = "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"


class UpdateRequest(Model):
    """What an update is asked to do.

    Attributes:
        layers: names of layer definitions; empty for all of them.
        packages: package to the exact version to take, names normalized.
        as_of: the moment whose package index counts.
        advisories: what made the update necessary; then only layers that hold an affected version are meant.
    """

    layers: tuple[str, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)
    force: bool = False
    dry_run: bool = False
    as_of: datetime
    reason: Reason = Reason()
    advisories: tuple[Advisory, ...] = ()


class Plan(Model):
    """What an update is going to do: one branch of the state machine for each variant."""

    run: str
    as_of: datetime
    dry_run: bool
    force: bool
    packages: dict[str, str]
    reason: Reason
    advisories: tuple[Advisory, ...]
    variants: tuple[Variant, ...]
    refused: tuple[Refusal, ...]


def run_id(execution: str) -> str:
    """The run's id: the name of its execution, the last part of the execution's ARN."""
    return execution.rsplit(":", 1)[-1]


def parse_update(raw: object, now: datetime) -> UpdateRequest:
    """Parse the input of an execution.

    Args:
        raw: the input as it arrived.
        now: the moment the execution started (aware UTC).

    Raises:
        InvalidInput: it is not an input that Lamina accepts.
    """
    if not isinstance(raw, dict):
        raise _invalid(f"the input must be an object, not {_kind(raw)}")
    if "detail-type" in raw or "source" in raw:
        event = parse_event(raw)
        return UpdateRequest(
            layers=event.layers,
            as_of=now,
            reason=Reason(kind="advisory", text=event.text),
            advisories=event.advisories,
        )
    given = {key: value for key, value in raw.items() if key != _STARTED_BY}
    for key in given:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, 1, 0.6)
            raise _invalid(f"unknown key {key!r}" + (f", did you mean {close[0]!r}?" if close else ""))
    layers = _layers(given.get("layers"), given="layers" in given)
    packages = _packages(given.get("packages", {}))
    if packages and not layers:
        raise _invalid('"packages" needs "layers": say which layers take exactly these versions')
    request = UpdateRequest(
        layers=layers,
        packages=packages,
        force=_flag(given, "force"),
        dry_run=_flag(given, "dryRun"),
        as_of=parse_as_of(given["asOf"], now) if "asOf" in given else now,
    )
    return request.model_copy(update={"reason": _reason(request, given)})


def parse_as_of(value: object, now: datetime) -> datetime:
    """The moment that a date or moment means.

    A bare date means through the end of that day in UTC, that is the next midnight, so that what was uploaded on
    the day belongs to it; today's date means now. A moment without an offset is UTC.

    Raises:
        InvalidInput: it is neither, or lies in the future.
    """
    if not isinstance(value, str):
        raise _invalid(f'"asOf" must be a text such as "2024-11-27" or "2024-11-27T12:00:00Z", not {_kind(value)}')
    bare = re.fullmatch(r"\d{4}-\d{2}-\d{2}", value) is not None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise _invalid(
            f'"asOf" {value!r} is neither a date such as "2024-11-27" nor a moment such as "2024-11-27T12:00:00Z"'
        ) from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment > now:
        raise _invalid(f'"asOf" {value!r} lies in the future (it is {now:%Y-%m-%dT%H:%M:%SZ}); leave it out for now')
    return min(moment + timedelta(days=1), now) if bare else moment


def plan(
    request: UpdateRequest,
    definitions: Sequence[Definition],
    refusals: Sequence[Refusal],
    promoted: Callable[[str], Mapping[str, str] | None],
    *,
    run: str,
) -> Plan:
    """Which variants the update works on.

    Args:
        request: what is asked for.
        definitions: the definitions that can be used.
        refusals: the definitions that cannot.
        promoted: variant to the packages of its promoted release, None before the first; asked for advisories only.
        run: the run's id.

    Raises:
        InvalidInput: a layer that is asked for does not exist.
    """
    known = sorted({definition.name for definition in definitions} | {refusal.layer for refusal in refusals})
    for layer in request.layers:
        if layer not in known:
            raise _invalid(f"there is no layer {layer!r}; known are: {', '.join(known) or 'none at all'}")
    wanted = set(request.layers or known)
    chosen = tuple(
        variant
        for definition in definitions
        if definition.name in wanted
        for variant in variants(definition)
        if not request.advisories or _affected(request.advisories, promoted(variant.variant) or {})
    )
    reason = request.reason
    if request.advisories and not chosen:
        reason = reason.model_copy(update={"text": f"{reason.text}: no promoted release holds an affected version"})
    return Plan(
        run=run,
        as_of=request.as_of,
        dry_run=request.dry_run,
        force=request.force,
        packages=request.packages,
        reason=reason,
        advisories=request.advisories,
        variants=chosen,
        refused=tuple(refusal for refusal in refusals if refusal.layer in wanted),
    )


def _affected(advisories: Sequence[Advisory], packages: Mapping[str, str]) -> bool:
    return any(
        advisory.fixed is not None
        and advisory.package in packages
        and Version(packages[advisory.package]) < Version(advisory.fixed)
        for advisory in advisories
    )


def _layers(value: Any, *, given: bool) -> tuple[str, ...]:
    if not given:
        return ()
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _invalid('"layers" must be a list of layer names, such as ["web"]')
    if not value:
        raise _invalid('"layers" is empty; leave it out for every layer')
    return tuple(dict.fromkeys(value))


def _packages(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _invalid('"packages" must be an object of package names and versions, such as {"requests": "2.32.4"}')
    packages: dict[str, str] = {}
    for name, version in value.items():
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
            raise _invalid(f'"packages": {name!r} cannot be the name of a package')
        if not isinstance(version, str):
            raise _invalid(f'"packages": the version of {name} must be a text such as "2.32.4", not {_kind(version)}')
        try:
            packages[canonicalize_name(name)] = str(Version(version))
        except InvalidVersion as error:
            raise _invalid(
                f'"packages": {version!r} is not an exact version of {name}; give one such as "2.32.4"'
            ) from error
    return packages


def _flag(given: Mapping[str, Any], key: str) -> bool:
    value = given.get(key, False)
    if not isinstance(value, bool):
        raise _invalid(f'"{key}" must be true or false, not {_kind(value)}')
    return value


def _reason(request: UpdateRequest, given: Mapping[str, Any]) -> Reason:
    if not given:
        return Reason(kind="schedule", text="every layer, no special request")
    parts = [
        "layers " + ", ".join(request.layers) if request.layers else "every layer",
        *(f"{name} exactly {version}" for name, version in sorted(request.packages.items())),
        *(("even if nothing changed",) if request.force else ()),
        *(("dry run",) if request.dry_run else ()),
        *((f"as of {given['asOf']}",) if "asOf" in given else ()),
    ]
    return Reason(kind="console", text="; ".join(parts))


def _kind(value: object) -> str:
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _invalid(problem: str) -> InvalidInput:
    return InvalidInput(f"{problem}. {ACCEPTED}.")
