"""Which of the changed packages the canary's errors point at: reads what `culprit` needs to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lamina.culprit import Suspect, parse_errors, suspects
from lamina.rollout import Rollout

if TYPE_CHECKING:
    from lamina.gateways.logs import Logs
    from lamina.gateways.registry import Layers
    from lamina.gateways.store import Store

_SUSPICION = 0.3
"""The confidence from which a suspect is called a culprit."""

_MOST = 20
"""Functions whose logs are read; more would tell the same."""


@dataclass(frozen=True)
class Witness:
    """A function that has the candidate since a moment; `version` is the one to listen to, None for `$LATEST`."""

    function: str
    since: datetime
    version: str | None = None


def find_suspects(
    rollout: Rollout, witnesses: Sequence[Witness], logs: Logs, layers: Layers, store: Store
) -> tuple[Suspect, ...]:
    """The changed packages that the witnesses' error lines point at, the likeliest first; none without a release."""
    release = layers.release(rollout.variant, rollout.candidate.version)
    if release is None or not witnesses:
        return ()
    manifest: dict[str, Any] = store.read_json(release.manifest) or {}
    packages: dict[str, dict[str, Any]] = manifest.get("packages", {})
    messages: list[str] = []
    for witness in witnesses[:_MOST]:
        messages.extend(logs.errors(witness.function, witness.since, witness.version))
    return tuple(
        suspects(
            parse_errors(messages),
            changes=[(change.package, change.from_, change.to) for change in release.changes],
            modules={name: tuple(package.get("modules", ())) for name, package in packages.items()},
            requires={name: tuple(package.get("requires", ())) for name, package in packages.items()},
            imports=(),
        )
    )


def culprits_among(found: Sequence[Suspect]) -> tuple[str, ...]:
    """The packages that are suspected strongly enough to be held back."""
    return tuple(suspect.package for suspect in found if suspect.confidence >= _SUSPICION)
