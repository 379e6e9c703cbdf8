"""Verify: a candidate is imported in full, in a real function that nobody depends on, before any other sees it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamina.bundle import Manifest
from lamina.culprit import parse_errors, suspects
from lamina.errors import VerifyFailed
from lamina.explain import Explanation
from lamina.model import LayerVersion, Model, ObjectKey, Release, Variant
from lamina.probing import RUNTIME_MODULES, ImportFailure, Judgement, ProbeAnswer, judge, probe_name

if TYPE_CHECKING:
    from lamina.gateways.probes import Probes
    from lamina.gateways.registry import Layers
    from lamina.gateways.store import Store


class VerifyEvent(Model):
    """What the update state machine hands to Verify; `current` is the promoted release, None before the first."""

    run: str
    variant: Variant
    candidate: LayerVersion
    current: LayerVersion | None = None
    now: datetime


class Verified(Model):
    """Whether the candidate may go on; if not, which packages are to blame, as far as the errors tell."""

    accepted: bool
    culprits: tuple[str, ...]
    message: str
    findings: ObjectKey


@dataclass(frozen=True)
class Gateways:
    """What Verify reaches. `prefix` is how the names of probe functions begin."""

    probes: Probes
    layers: Layers
    store: Store
    prefix: str


def run(event: VerifyEvent, reach: Gateways) -> Verified:
    """Probe the candidate and, where it fails anything, the promoted release too; record a rejection.

    Raises:
        VerifyFailed: nothing could be learned about the candidate.
    """
    name = event.variant.variant
    release = reach.layers.release(name, event.candidate.version)
    if release is None:
        raise VerifyFailed(f"{name}: version {event.candidate.version} is not in the registry; start the update again")
    manifest = Manifest.model_validate(_read(reach.store, release.manifest, name))
    explanation = Explanation.model_validate(_read(reach.store, release.explanation, name))
    candidate = _probe(event, event.candidate, release, reach)
    promoted = None
    if event.current is not None and not candidate.clean:
        before = reach.layers.release(name, event.current.version)
        promoted = None if before is None else _probe(event, event.current, before, reach)
    judgement = judge(candidate, promoted, manifest, explanation.direct)
    culprits = () if judgement.accepted else _culprits(judgement, release, manifest)
    findings = reach.store.write_json(
        f"findings/{name}/{event.candidate.version}.json",
        {
            "variant": name,
            "version": event.candidate.version,
            "run": event.run,
            "accepted": judgement.accepted,
            "culprits": list(culprits),
            "message": judgement.message,
            "rejecting": [failure.to_json() for failure in judgement.rejecting],
            "findings": [failure.to_json() for failure in judgement.findings],
            "candidate": candidate.to_json(),
            "promoted": None if promoted is None else promoted.to_json(),
        },
    )
    if not judgement.accepted:
        reach.layers.record(release.model_copy(update={"status": "rejected"}))
    return Verified(accepted=judgement.accepted, culprits=culprits, message=judgement.message, findings=findings)


def _probe(event: VerifyEvent, version: LayerVersion, release: Release, reach: Gateways) -> ProbeAnswer:
    return reach.probes.ask(
        probe_name(reach.prefix, event.variant, version.version),
        event.variant,
        version.arn,
        {"packages": sorted(release.packages), "modules": list(RUNTIME_MODULES)},
    )


def _read(store: Store, key: ObjectKey, variant: str) -> object:
    value = store.read_json(key)
    if value is None:
        raise VerifyFailed(f"{variant}: {key} is missing from the artifacts bucket; start the update again")
    return value


def _culprits(judgement: Judgement, release: Release, manifest: Manifest) -> tuple[str, ...]:
    """The changed packages that the failures point at.

    Where they point at none, it is those whose own modules fail, else the whole update: a candidate that does not
    import must not be offered again and again. A first release has nobody to suspect but what the failures name.
    """
    found = suspects(
        parse_errors(_as_log(failure) for failure in judgement.rejecting),
        [(change.package, change.from_, change.to) for change in release.changes],
        {name: package.modules for name, package in manifest.packages.items()},
        {name: package.requires for name, package in manifest.packages.items()},
    )
    if found:
        return tuple(suspect.package for suspect in found)
    failing = {failure.module for failure in judgement.rejecting}
    moved = [change.package for change in release.changes if change.from_ is not None and change.to is not None]
    owners = [name for name in moved if name in manifest.packages and failing & set(manifest.packages[name].modules)]
    return tuple(owners or moved)


def _as_log(failure: ImportFailure) -> str:
    """The failure as Lambda logs one, which is what `parse_errors` reads."""
    trace = failure.traceback.splitlines()
    return json.dumps({"errorType": failure.type, "errorMessage": failure.message, "stackTrace": trace})
