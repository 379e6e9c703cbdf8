"""Which of the changed packages the canary's errors point at: reads what `culprit` needs to judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from lamina.culprit import ErrorRecord, Suspect, parse_errors, suspects
from lamina.model import Release
from lamina.npmlock import package_of
from lamina.rollout import Rollout

if TYPE_CHECKING:
    from lamina.gateways.logs import Logs
    from lamina.gateways.registry import Layers
    from lamina.gateways.store import Store

_SUSPICION = 0.3
"""The confidence from which a suspect is called a culprit."""

_MOST = 20
"""Functions whose logs are read; more would tell the same."""

_EARLIER = timedelta(hours=6)
"""How far back it is read what functions said before they had the candidate."""

_BETWEEN = timedelta(minutes=5)
"""How long before that moment a function's `$LATEST` may have had the candidate already, or another one's end."""


@dataclass(frozen=True)
class Witness:
    """A function that has the candidate since a moment.

    Attributes:
        version: the version to listen to; None for `$LATEST`.
        beside: the version with the old release that is called beside it; None where there is none.
    """

    function: str
    since: datetime
    version: str | None = None
    beside: str | None = None


def find_suspects(
    rollout: Rollout, witnesses: Sequence[Witness], logs: Logs, layers: Layers, store: Store
) -> tuple[Suspect, ...]:
    """The changed packages that the witnesses' error lines point at, the likeliest first; none without a release.

    Errors that a function has on the old release too are not the candidate's, and count for nothing.
    """
    release = layers.release(rollout.variant, rollout.candidate.version)
    if release is None or not witnesses:
        return ()
    baseline = None if rollout.baseline is None else layers.release(rollout.variant, rollout.baseline)
    imports: Mapping[str, Sequence[str]] = (store.read_json(rollout.imports) if rollout.imports else None) or {}
    records = [
        record
        for witness in witnesses[:_MOST]
        for record in _new_errors(witness, imports.get(witness.function, ()), logs, rollout.attempt)
    ]
    modules: dict[str, set[str]] = {}
    requires: dict[str, set[str]] = {}
    for one in (baseline, release):
        _describe(one, store, modules, requires)
    return suspects(
        records, [(change.package, change.from_, change.to) for change in release.changes], modules, requires
    )


def culprits_among(found: Sequence[Suspect]) -> tuple[str, ...]:
    """The packages that are suspected strongly enough to be held back."""
    return tuple(suspect.package for suspect in found if suspect.confidence >= _SUSPICION)


def _new_errors(witness: Witness, imports: Iterable[str], logs: Logs, attempt: int) -> list[ErrorRecord]:
    records = parse_errors(logs.errors(witness.function, witness.since, witness.version), imports)
    usual = {record.signature for record in parse_errors(_old_errors(witness, logs, attempt))} if records else set()
    return [record for record in records if record.signature not in usual]


def _old_errors(witness: Witness, logs: Logs, attempt: int) -> Sequence[str]:
    start = witness.since - _EARLIER
    if witness.beside is not None:
        return logs.errors(witness.function, start, witness.beside)
    # Before a second attempt `$LATEST` had the first one's candidate, and nothing in its log tells them apart.
    return logs.errors(witness.function, start, until=witness.since - _BETWEEN) if attempt == 1 else ()


def _describe(
    release: Release | None, store: Store, modules: dict[str, set[str]], requires: dict[str, set[str]]
) -> None:
    """Add what the manifest of a release says of its packages: modules that only the old one had are missed now."""
    manifest: Mapping[str, Any] = (store.read_json(release.manifest) if release is not None else None) or {}
    for name, package in manifest.get("packages", {}).items():
        modules.setdefault(name, set()).update(package.get("modules", ()))
        requires.setdefault(name, set()).update(package.get("requires", ()))
    for place, package in manifest.get("nodePackages", {}).items():
        modules.setdefault(place, set()).add(package_of(place))
        requires.setdefault(place, set()).update(package.get("requires", ()))
