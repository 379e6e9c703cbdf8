"""Verify: a candidate is imported in full, in a real function that nobody depends on, before any other sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from lamina.bundle import BuiltNodePackage, BuiltPackage, Manifest
from lamina.culprit import parse_errors, suspects
from lamina.definition import Definition
from lamina.errors import VerifyFailed
from lamina.explain import Explanation
from lamina.imports import Used
from lamina.model import LayerArn, LayerVersion, Model, ObjectKey, Release, Variant
from lamina.probing import ImportFailure, Judgement, ProbeAnswer, judge, probe_name
from lamina.questions import Language, language, program, relevant, top_level, wanted_imports
from lamina.rollout import RolloutPolicy

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
    """Whether the candidate may go on; if not, which packages are to blame, as far as the errors tell.

    `init_ms` and `init_ms_before` are what a cold start takes that imports the layer's direct packages, with the
    candidate and with the promoted release, in milliseconds; None where Lambda did not say or there is none.
    """

    accepted: bool
    culprits: tuple[str, ...]
    message: str
    findings: ObjectKey
    init_ms: float | None = None
    init_ms_before: float | None = None


class Usage(Protocol):
    """Knows the functions of the fleet."""

    def imported(self, candidate: LayerArn, policy: RolloutPolicy) -> Used:
        """What the functions import that have some version of the candidate's layer, or of one that it replaces."""


@dataclass(frozen=True)
class Gateways:
    """What Verify reaches.

    Attributes:
        prefix: how the names of probe functions begin.
        sources: Lamina's probes by file name.
        usage: the fleet; without one no function's imports decide.
    """

    probes: Probes
    layers: Layers
    store: Store
    prefix: str
    sources: Mapping[str, bytes]
    usage: Usage | None = None


@dataclass(frozen=True)
class _Subject:
    """A release with what was written down of it."""

    version: LayerVersion
    release: Release
    manifest: Manifest
    explanation: Explanation


def run(event: VerifyEvent, definition: Definition, reach: Gateways) -> Verified:
    """Probe the candidate and the promoted release, hold one against the other, and record a rejection.

    Raises:
        VerifyFailed: nothing could be learned about the candidate.
    """
    name, spoken = event.variant.variant, language(event.variant.runtime)
    subject = _subject(event.candidate, name, reach)
    if subject is None:
        raise VerifyFailed(f"{name}: version {event.candidate.version} is not in the registry; start the update again")
    before = _subject(event.current, name, reach) if event.current is not None else None
    read = _read_fleet(event, definition, reach) if before is not None else Used()
    manifests = [one.manifest for one in (subject, before) if one is not None]
    used = relevant(read.modules, spoken, *manifests)
    candidate = _probe(event, subject, definition, used, reach)
    promoted, silent = None, ""
    if before is not None:
        try:
            promoted = _probe(event, before, definition, used, reach)
        except VerifyFailed as failed:
            # A release that can no longer be attached holds nothing back, as long as the candidate needs no comparison.
            if not candidate.clean:
                raise
            silent = str(failed)
    release, explanation = subject.release, subject.explanation
    judgement = judge(
        candidate,
        promoted,
        subject.manifest,
        explanation.node_direct if spoken == "nodejs" else explanation.direct,
        language=spoken,
        imports=wanted_imports(definition, spoken),
        used=used,
    )
    # A rejection stands, whatever else functions import.
    message = "; ".join(filter(None, (judgement.message, read.unknown if judgement.accepted else "")))
    culprits = () if judgement.accepted else _culprits(judgement, release, subject.manifest, spoken)
    findings = reach.store.write_json(
        findings_key(name, event.candidate.version),
        {
            "variant": name,
            "version": event.candidate.version,
            "run": event.run,
            "accepted": judgement.accepted,
            "culprits": list(culprits),
            "message": message,
            "rejecting": [failure.to_json() for failure in judgement.rejecting],
            "findings": [failure.to_json() for failure in judgement.findings],
            "vanished": list(judgement.vanished),
            "used": sorted(used),
            "functionsRead": read.functions,
            "functionsUnread": dict(read.unread),
            "initMs": candidate.init_ms,
            "initMsBefore": None if promoted is None else promoted.init_ms,
            "candidate": candidate.report(),
            "promoted": None if promoted is None else promoted.report(),
            "promotedUnknown": silent,
        },
    )
    if not judgement.accepted:
        reach.layers.record(release.model_copy(update={"status": "rejected"}))
    return Verified(
        accepted=judgement.accepted,
        culprits=culprits,
        message=message,
        findings=findings,
        init_ms=candidate.init_ms,
        init_ms_before=None if promoted is None else promoted.init_ms,
    )


def findings_key(variant: str, version: int) -> ObjectKey:
    """Where what Verify found of a candidate lies in the artifacts bucket."""
    return f"findings/{variant}/{version}.json"


def _subject(version: LayerVersion, name: str, reach: Gateways) -> _Subject | None:
    release = reach.layers.release(name, version.version)
    if release is None:
        return None
    return _Subject(
        version,
        release,
        Manifest.model_validate(_read(reach.store, release.manifest, name)),
        Explanation.model_validate(_read(reach.store, release.explanation, name)),
    )


def _read_fleet(event: VerifyEvent, definition: Definition, reach: Gateways) -> Used:
    """What functions of the fleet import, as far as their code tells."""
    if reach.usage is None:
        return Used()
    policy = RolloutPolicy.model_validate(definition.tables.rollout.model_dump(by_alias=True))
    return reach.usage.imported(event.candidate.arn, policy)


def _probe(
    event: VerifyEvent, subject: _Subject, definition: Definition, used: frozenset[str], reach: Gateways
) -> ProbeAnswer:
    made = program(
        event.variant.runtime, subject.manifest, subject.explanation, definition, reach.sources, used
    )  # fmt: skip
    name = probe_name(reach.prefix, event.variant, subject.version.version)
    return reach.probes.ask(name, event.variant, subject.version.arn, made)


def _read(store: Store, key: ObjectKey, variant: str) -> object:
    value = store.read_json(key)
    if value is None:
        raise VerifyFailed(f"{variant}: {key} is missing from the artifacts bucket; start the update again")
    return value


def _culprits(judgement: Judgement, release: Release, manifest: Manifest, spoken: Language) -> tuple[str, ...]:
    """The changed packages that the failures point at.

    Where they point at none, it is those whose own modules fail, else the whole update: a candidate that does not
    import must not be offered again and again. A first release has nobody to suspect but what the failures name.
    """
    owners = {module: package for module, package in top_level(manifest, spoken).items() if package}
    modules: dict[str, list[str]] = {}
    for module, package in owners.items():
        modules.setdefault(package, []).append(module)
    packages: Mapping[str, BuiltPackage | BuiltNodePackage] = (
        manifest.node_packages if spoken == "nodejs" else manifest.packages
    )
    ecosystem = {"python": ("PyPI",), "nodejs": ("npm",), "provided": ("PyPI", "npm")}[spoken]
    changes = [change for change in release.changes if change.ecosystem in ecosystem]
    found = suspects(
        parse_errors(_as_log(failure) for failure in judgement.rejecting),
        [(change.package, change.from_, change.to) for change in changes],
        {name: modules.get(name, ()) for name in packages},
        {name: package.requires for name, package in packages.items()},
    )
    if found:
        return tuple(suspect.package for suspect in found)
    failing = {owners.get(failure.module, "") for failure in judgement.rejecting}
    moved = [change.package for change in changes if change.from_ is not None and change.to is not None]
    return tuple([name for name in moved if name in failing] or moved)


def _as_log(failure: ImportFailure) -> str:
    """The failure as Lambda logs one, which is what `parse_errors` reads."""
    trace = failure.traceback.splitlines()
    return json.dumps({"errorType": failure.type, "errorMessage": failure.message, "stackTrace": trace})
