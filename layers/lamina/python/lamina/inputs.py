"""The input of an update: what a schedule, a person or a security advisory may ask for.

Everything that is not accepted is an `InvalidInput` that says what was wrong and what is accepted. `parse_input`
reads the input on its own; `plan` holds an update against the definitions and the promoted releases.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import Field

from lamina.advisory import affecting, parse_event
from lamina.culprit import canonical
from lamina.definition import Definition, Refusal, variants
from lamina.errors import InvalidInput
from lamina.model import Advisory, Ecosystem, Model, Reason, Variant
from lamina.steering import ACCEPTED as STEERING
from lamina.steering import Steering, parse_steering

ACCEPTED = (
    'Accepted are {} for every layer, or an object with any of "layers" (list of names), "packages" (name to exact '
    'version, together with "layers"), "release" (list of packages that are held back and may be taken again, together '
    'with "layers"), "force" (true or false), "dryRun" (true or false) and "asOf" (a date or '
    f"moment), or an EventBridge event of aws.inspector2 or lamina.advisory; {STEERING}"
)
KEYS = ("layers", "packages", "release", "force", "dryRun", "asOf")
Locked: TypeAlias = Mapping[Ecosystem, Mapping[str, str]]
"""The packages of a release: for each ecosystem, name to version."""
_STARTED_BY = "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"


class UpdateRequest(Model):
    """What an update is asked to do.

    Attributes:
        layers: names of layer definitions; empty for all of them.
        packages: package to the exact version to take, names normalized.
        release: packages whose held-back versions may be taken again, names as `lamina.culprit.canonical` has them.
        as_of: the moment whose package index counts.
        advisories: what made the update necessary; then only layers that hold an affected version are meant.
        found_in: names of the Lambda layers that the advisories were found in; empty where that is not known.
    """

    layers: tuple[str, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)
    release: tuple[str, ...] = ()
    force: bool = False
    dry_run: bool = False
    as_of: datetime
    reason: Reason = Reason()
    advisories: tuple[Advisory, ...] = ()
    found_in: tuple[str, ...] = ()


class Plan(Model):
    """What an update is going to do: one branch of the state machine for each variant.

    `security` says that an advisory started it, so that it changes as little else as possible. `paused` is why it does
    nothing at all, `steering` what it does instead.
    """

    run: str
    as_of: datetime
    dry_run: bool
    force: bool
    security: bool
    packages: dict[str, str]
    reason: Reason
    advisories: tuple[Advisory, ...]
    variants: tuple[Variant, ...]
    refused: tuple[Refusal, ...]
    paused: str = ""
    steering: Steering | None = None


class KnownVariant(Model):
    """A variant that a definition makes. `waits` says that its advisories are left to the schedule."""

    layer: str
    waits: bool


class Known(Model):
    """The variants that there are, by name, and why some layers' variants are not known, as a plan found them."""

    variants: dict[str, KnownVariant]
    refused: dict[str, str]


def known(definitions: Sequence[Definition], refusals: Sequence[Refusal]) -> Known:
    """What looks for vulnerabilities between plans needs to know of the definitions."""
    return Known(
        variants={
            variant.variant: KnownVariant(layer=definition.name, waits=definition.tables.update.security == "scheduled")
            for definition in definitions
            for variant in variants(definition)
        },
        refused={refusal.layer: refusal.message for refusal in refusals},
    )


def run_id(execution: str) -> str:
    """The run's id: the name of its execution, the last part of the execution's ARN."""
    return execution.rsplit(":", 1)[-1]


def parse_input(raw: object, now: datetime) -> UpdateRequest | Steering:
    """Parse the input of an execution: an update, or what a person asks of what is under way.

    Raises:
        InvalidInput: it is neither.
    """
    steering = parse_steering(_own(raw)) if isinstance(raw, dict) else None
    return steering or parse_update(raw, now)


def parse_update(raw: object, now: datetime) -> UpdateRequest:
    """Parse the input of an execution that updates layers.

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
            found_in=event.found_in,
        )
    given = _own(raw)
    for key in given:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, 1, 0.6)
            raise _invalid(f"unknown key {key!r}" + (f", did you mean {close[0]!r}?" if close else ""))
    layers = _layers(given.get("layers"), given="layers" in given)
    packages = _packages(given.get("packages", {}))
    if packages and not layers:
        raise _invalid('"packages" needs "layers": say which layers take exactly these versions')
    release = _release(given.get("release"), given="release" in given)
    if release and not layers:
        raise _invalid('"release" needs "layers": say which layers may take these packages again')
    if release and given.get("dryRun"):
        raise _invalid('"release" does not go together with "dryRun", which changes nothing; leave one of them out')
    request = UpdateRequest(
        layers=layers,
        packages=packages,
        release=release,
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
    promoted: Callable[[str], Locked | None],
    *,
    run: str,
) -> Plan:
    """Which variants the update works on.

    Advisories concern the variants whose promoted release has an affected version. Where a finding names one of the
    variants' own Lambda layers, no other is meant; and a layer whose advisories wait for the schedule is left to it,
    unless the event names it.

    Args:
        request: what is asked for.
        definitions: the definitions that can be used.
        refusals: the definitions that cannot.
        promoted: variant to the packages of its promoted release, None before the first; asked for advisories only.
        run: the run's id.

    Raises:
        InvalidInput: a layer that is asked for does not exist.
    """
    names = sorted({definition.name for definition in definitions} | {refusal.layer for refusal in refusals})
    for layer in request.layers:
        if layer not in names:
            raise _invalid(f"there is no layer {layer!r}; known are: {', '.join(names) or 'none at all'}")
    wanted = set(request.layers or names)
    chosen = [
        (definition, variant)
        for definition in definitions
        if definition.name in wanted
        for variant in variants(definition)
    ]
    reason, advisories = request.reason, request.advisories
    if advisories:
        concerns = {
            variant.variant: found
            for _, variant in chosen
            if (found := affecting(advisories, promoted(variant.variant) or {}))
        }
        # A layer that is none of the variants' own says only that the vulnerability exists.
        named = {variant.variant for _, variant in chosen} & set(request.found_in)
        affected = [
            (definition, variant)
            for definition, variant in chosen
            if variant.variant in concerns and (not named or variant.variant in named)
        ]
        chosen = [
            (definition, variant)
            for definition, variant in affected
            if request.layers or definition.tables.update.security == "immediate"
        ]
        reason = _because(reason, affected, chosen)
        needed = {advisory for _, variant in chosen for advisory in concerns[variant.variant]}
        advisories = tuple(advisory for advisory in advisories if advisory in needed)
    return Plan(
        run=run,
        as_of=request.as_of,
        dry_run=request.dry_run,
        force=request.force,
        security=bool(request.advisories),
        packages=request.packages,
        reason=reason,
        advisories=advisories,
        variants=tuple(variant for _, variant in chosen),
        refused=tuple(refusal for refusal in refusals if refusal.layer in wanted),
    )


def without(planned: Plan, taken: Mapping[str, str]) -> Plan:
    """The plan without variants that another update is fixing already, which it says.

    Args:
        taken: variant to the run that has it.
    """
    if not taken:
        return planned
    left = tuple(variant for variant in planned.variants if variant.variant not in taken)
    runs = ", ".join(f"{variant} by {run}" for variant, run in sorted(taken.items()))
    text = f"{planned.reason.text}: already being fixed: {runs}"
    return planned.model_copy(
        update={
            "variants": left,
            "reason": planned.reason.model_copy(update={"text": text}),
            # A run that has nothing left to do does not report again what the others report.
            "refused": planned.refused if left else (),
        }
    )


def steers(steering: Steering, now: datetime, *, run: str) -> Plan:
    """The plan of an execution that works on no variant, because it steers what is under way."""
    return Plan(
        run=run,
        as_of=now,
        dry_run=False,
        force=False,
        security=False,
        packages={},
        reason=Reason(kind="console", text=f"{steering.action} {steering.variant or 'everything'}"),
        advisories=(),
        variants=(),
        refused=(),
        steering=steering,
    )


def stopped(planned: Plan, paused: str) -> Plan:
    """The plan with nothing left of it, because everything is paused."""
    return planned.model_copy(update={"variants": (), "refused": (), "paused": paused})


def _own(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key != _STARTED_BY}


def _because(
    reason: Reason, affected: Sequence[tuple[Definition, Variant]], chosen: Sequence[tuple[Definition, Variant]]
) -> Reason:
    waiting = sorted({definition.name for definition, _ in affected} - {definition.name for definition, _ in chosen})
    if not affected:
        said = "no promoted release holds an affected version"
    elif waiting:
        said = f"{', '.join(waiting)} waits for the schedule (update.security)"
    else:
        return reason
    return reason.model_copy(update={"text": f"{reason.text}: {said}"})


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


def _release(value: Any, *, given: bool) -> tuple[str, ...]:
    if not given:
        return ()
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise _invalid('"release" must be a list of package names, such as ["requests"]')
    for name in value:
        if not re.fullmatch(r"(@[A-Za-z0-9._-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
            raise _invalid(f'"release": {name!r} cannot be the name of a package')
    return tuple(dict.fromkeys(canonical(name) for name in value))


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
        *(f"{name} no longer held back" for name in request.release),
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
