"""What the pages show, as plain values: one class for each kind of line, made from what the registry and S3 hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from lamina.bundle import Manifest
from lamina.explain import ExplainedChange, Explanation
from lamina.model import Release
from lamina.verdict import Counts

MOST_MODULES = 50
"""Modules of one kind that a page lists."""

_BIGGEST = 10
_CONTROLS = {
    "alias": "the old release in the same minutes",
    "history": "its own past",
    "none": "nothing but a ceiling",
}


@dataclass(frozen=True)
class PackageChange:
    """One package that moves: ``old`` None for one that is new, ``new`` None for one that goes.

    ``kind`` is the size of the step, in the words of the layer's policy: patch, minor, major, new or removed.
    ``released`` is when the new version was uploaded; ``age_days`` how old it was when it was taken.
    """

    package: str
    old: str | None
    new: str | None
    kind: Literal["patch", "minor", "major", "new", "removed"]
    direct: bool = False
    released: datetime | None = None
    age_days: int | None = None

    @classmethod
    def of(cls, change: ExplainedChange) -> PackageChange:
        """From the explanation of a check."""
        return cls(
            change.package, change.from_, change.to, change.kind, change.direct, change.uploaded, change.age_days
        )


@dataclass(frozen=True)
class AdvisoryLine:
    """An advisory that the promoted release has: its id (CVE, GHSA, PYSEC), the package, and the version that fixes it.

    ``resolved`` is whether the new release is free of it; ``why`` is what keeps it otherwise.
    """

    id: str
    package: str
    fixed: str | None = None
    version: str = ""
    resolved: bool = True
    why: str = ""


@dataclass(frozen=True)
class HeldLine:
    """A version that exists and was not taken; ``until`` is the moment from which it may be, if that is known."""

    package: str
    version: str
    why: str
    until: datetime | None = None
    more: int = 0


@dataclass(frozen=True)
class Found:
    """What Check found besides the changes; ``unknown`` is what the advisory database could not be asked."""

    held: tuple[HeldLine, ...] = ()
    advisories: tuple[AdvisoryLine, ...] = ()
    unknown: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, explanation: Explanation) -> Found:
        """From the explanation of a check."""
        return cls(
            held=tuple(
                HeldLine(held.package, held.version, held.why, held.until, held.more) for held in explanation.held
            ),
            advisories=tuple(
                AdvisoryLine(finding.id, finding.package, finding.fixed, finding.version, finding.resolved, finding.why)
                for finding in explanation.advice.findings
            ),
            unknown=explanation.advice.unknown,
            notes=explanation.notes,
        )


NOTHING_FOUND = Found()


@dataclass(frozen=True)
class Contents:
    """What a release holds.

    Attributes:
        zipped, unzipped: bytes. packages: how many.
        licenses: license and how many packages have it, the most frequent first; unstated ones are "not stated".
        biggest: package and bytes, the largest first.
        notes: what the build left out or could not do, in sentences.
        documents: what a document is, and its key in the artifacts bucket.
        build_log: address of the build's log; empty where there is none.
    """

    zipped: int
    unzipped: int
    packages: int
    licenses: tuple[tuple[str, int], ...] = ()
    biggest: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    documents: tuple[tuple[str, str], ...] = ()
    build_log: str = ""

    @classmethod
    def of(cls, manifest: Manifest, release: Release) -> Contents:
        """From what the build left behind."""
        packages = [
            *((name, package.license, package.size) for name, package in manifest.packages.items()),
            *((name, package.license, package.size) for name, package in manifest.node_packages.items()),
        ]
        licenses = Counter(license_ or "not stated" for _, license_, _ in packages)
        sizes = sorted(((name, size) for name, _, size in packages), key=lambda entry: (-entry[1], entry[0]))
        documents = (
            ("software bill of materials (CycloneDX)", release.sbom),
            ("lock", release.lock if manifest.packages else None),
            ("package-lock.json", release.node_lock),
            ("manifest", release.manifest),
            ("explanation of the check", release.explanation),
        )
        return cls(
            zipped=manifest.sizes.zipped,
            unzipped=manifest.sizes.unzipped,
            packages=len(packages),
            licenses=tuple(sorted(licenses.items(), key=lambda entry: (-entry[1], entry[0]))),
            biggest=tuple(sizes[:_BIGGEST]),
            notes=tuple(note for note in (manifest.bytecode_why, *manifest.notes) if note),
            documents=tuple((what, key) for what, key in documents if key),
            build_log=release.build_log,
        )


@dataclass(frozen=True)
class Proof:
    """What Verify found before any function had the release.

    Attributes:
        init_ms, init_ms_before: what a cold start takes that imports the direct packages, with this release and with
            the promoted one; None where that is not known.
        imported, modules: of how many modules the candidate could import how many.
        broken: modules that fail only now and that nobody depends on, with how they fail.
        vanished: modules that the promoted release has and this one has not.
        functions: how many functions' code was read for what they import.
        unread: function → why its code could not be read.
        unknown: why there was nothing to compare with, if so.
    """

    init_ms: float | None = None
    init_ms_before: float | None = None
    imported: int = 0
    modules: int = 0
    broken: tuple[tuple[str, str], ...] = ()
    vanished: tuple[str, ...] = ()
    functions: int = 0
    unread: tuple[tuple[str, str], ...] = ()
    unknown: str = ""

    @classmethod
    def from_json(cls, findings: Mapping[str, Any]) -> Proof:
        """From what Verify wrote down."""
        candidate = findings.get("candidate") or {}
        return cls(
            init_ms=findings.get("initMs"),
            init_ms_before=findings.get("initMsBefore"),
            imported=int(candidate.get("imported", 0)),
            modules=int(candidate.get("modules", 0)),
            broken=tuple(
                (str(failure["module"]), f"{failure['type']}: {failure.get('message', '')}")
                for failure in findings.get("findings", ())
            ),
            vanished=tuple(findings.get("vanished", ())),
            functions=int(findings.get("functionsRead", 0)),
            unread=tuple(sorted((findings.get("functionsUnread") or {}).items())),
            unknown=str(findings.get("promotedUnknown") or ""),
        )


@dataclass(frozen=True)
class WaveLine:
    """One wave. ``number`` 0 is the canary; ``share`` is the percentage of the fleet attached after it."""

    number: int
    started: datetime
    ended: datetime | None
    functions: int
    outcome: str
    share: int | None = None

    @property
    def name(self) -> str:
        """``canary`` or ``wave 2``."""
        return f"wave {self.number}" if self.number else "canary"


@dataclass(frozen=True)
class FunctionLine:
    """One function of the fleet.

    Attributes:
        name: its name. alias: the alias it is called through, if any.
        before, after: the layer's version on it then and now, as number or ARN; None for none.
        wave: the wave it was attached in, 0 for the canary; None if never.
        outcome: ``updated``, ``restored`` (put back), ``attached`` (under way), ``left`` (left alone) or ``failed``.
        note: why it was left alone or put back.
    """

    name: str
    outcome: Literal["updated", "restored", "attached", "left", "failed"]
    before: str | None = None
    after: str | None = None
    wave: int | None = None
    alias: str | None = None
    note: str = ""


@dataclass(frozen=True)
class FunctionJudgement:
    """One function's own evidence: errors on the release, and on what it was compared with, over closed minutes.

    ``ln_e`` and ``threshold`` are in nats; ``note`` says what limits the comparison.
    """

    name: str
    kind: str
    control: str
    canary: Counts
    baseline: Counts
    ln_e: float
    threshold: float
    minutes: int
    note: str = ""

    @property
    def against(self) -> str:
        """What it was compared with, in words."""
        return _CONTROLS.get(self.control, self.control)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FunctionJudgement:
        """From an element of ``functions`` in ``Verdict.to_json()``."""
        return cls(
            name=data["function"],
            kind=data["kind"],
            control=data["control"],
            canary=Counts(**data["canary"]),
            baseline=Counts(**data["baseline"]),
            ln_e=data["lnE"],
            threshold=data["threshold"],
            minutes=data["minutes"],
            note=data.get("note", ""),
        )


@dataclass(frozen=True)
class Judgement:
    """The verdict as the page tells it, made from the JSON that Watch keeps."""

    kind: str
    reason: str
    ln_e: float
    threshold: float
    p_value: float
    canary: Counts
    control: Counts
    upper: float
    lower: float
    minutes: int
    unattributed: bool = False
    environment: bool = False
    harmed: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Judgement:
        """From ``Verdict.to_json()``; keys that it does not know are ignored."""
        values = {re.sub(r"[A-Z]", lambda m: "_" + m[0].lower(), key): value for key, value in data.items()}
        values = {key: value for key, value in values.items() if key in cls.__dataclass_fields__}
        values |= {key: Counts(**values[key]) for key in ("canary", "control")}
        return cls(**values | {"harmed": tuple(values.get("harmed", ()))})

    @property
    def added(self) -> float:
        """Upper bound of the error rate that the release adds."""
        return max(0.0, self.upper - self.lower)


def worst_first(functions: Iterable[FunctionJudgement]) -> tuple[FunctionJudgement, ...]:
    """In the order that a reader wants: what speaks most against the release comes first."""
    return tuple(sorted(functions, key=lambda line: (-line.ln_e, line.name)))
