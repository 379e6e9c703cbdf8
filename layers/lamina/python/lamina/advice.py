"""What becomes of the advisories that a lock has: which of them an update is to fix, and which it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamina.explain import Held
from lamina.model import Advice, Advisory, Ecosystem, Finding
from lamina.osv import pins_of
from lamina.versions import older, valid


def merge(parts: Sequence[Advice]) -> Advice:
    """Several answers as one; what could not be asked in any of them stays unknown."""
    found = {
        (finding.id, finding.ecosystem, finding.package, finding.version): finding
        for part in parts
        for finding in part.findings
    }
    unknown = dict.fromkeys(part.unknown for part in parts if part.unknown)
    return Advice(findings=tuple(found[key] for key in sorted(found)), unknown="; ".join(unknown))


def fixes(advice: Advice, named: Sequence[Advisory], *, only_named: bool) -> tuple[Advisory, ...]:
    """What to fix: for each package the advisory whose fix is the newest, which fixes the others with it.

    Of an npm package there may be several copies; each version that is locked has a fix of its own.

    Args:
        advice: what the database says of the current lock.
        named: advisories that the update was started for.
        only_named: leave every package alone that none of `named` is about.
    """
    wanted = {(advisory.ecosystem, advisory.package) for advisory in named}
    known = [
        Advisory(
            id=finding.id,
            ecosystem=finding.ecosystem,
            package=finding.package,
            fixed=finding.fixed,
            version=finding.version,
        )
        for finding in advice.findings
        if not only_named or (finding.ecosystem, finding.package) in wanted
    ]
    newest: dict[tuple[Ecosystem, str, str], Advisory] = {}
    for advisory in (*named, *known):
        if advisory.fixed is None or not valid(advisory.ecosystem, advisory.fixed):
            continue
        copy = (advisory.version or "") if advisory.ecosystem == "npm" else ""
        best = newest.get(key := (advisory.ecosystem, advisory.package, copy))
        if best is None or best.fixed is None or older(advisory.ecosystem, best.fixed, advisory.fixed):
            newest[key] = advisory
    return tuple(newest[key] for key in sorted(newest))


def settle(before: Advice, after: Advice, pins: Mapping[Ecosystem, Mapping[str, str]], held: Sequence[Held]) -> Advice:
    """The findings of the current lock with what becomes of them, and those that the new lock would bring.

    Args:
        before: what the database says of the current lock.
        after: what it says of the versions that are new in the new lock.
        pins: the new lock.
        held: what was not taken, and why.
    """
    locked: dict[tuple[Ecosystem, str], set[str]] = {}
    for pin in pins_of(pins):
        locked.setdefault((pin.ecosystem, pin.package), set()).add(pin.version)
    still = {(name, finding.ecosystem, finding.package) for finding in after.findings for name in _names(finding)}
    settled = []
    for finding in before.findings:
        versions = locked.get((finding.ecosystem, finding.package), set())
        remains = finding.version in versions or any(
            (name, finding.ecosystem, finding.package) in still for name in _names(finding)
        )
        if not remains and after.unknown:
            remains = any(not _fixes(finding, version) for version in versions)
        settled.append(
            finding.model_copy(update={"resolved": not remains, "why": _why(finding, held) if remains else ""})
        )
    known = {(name, finding.ecosystem, finding.package) for finding in before.findings for name in _names(finding)}
    introduced = [
        finding.model_copy(update={"introduced": True, "why": "the new version has it: " + _why(finding, held)})
        for finding in after.findings
        if not any((name, finding.ecosystem, finding.package) in known for name in _names(finding))
    ]
    return merge(
        [
            Advice(findings=tuple(settled), unknown=before.unknown),
            Advice(findings=tuple(introduced), unknown=after.unknown),
        ]
    )


def exposed(advice: Advice, *, taken: bool) -> tuple[str, ...]:
    """Names of the advisories that a layer has after an update.

    Args:
        advice: settled.
        taken: whether the new lock is what the layer is on now.
    """
    return tuple(
        dict.fromkeys(
            finding.id for finding in advice.findings if (not finding.resolved if taken else not finding.introduced)
        )
    )


def _names(finding: Finding) -> tuple[str, ...]:
    return finding.id, *finding.aliases


def _fixes(finding: Finding, version: str) -> bool:
    return finding.fixed is not None and not older(finding.ecosystem, version, finding.fixed)


def _why(finding: Finding, held: Sequence[Held]) -> str:
    if finding.fixed is None:
        return "no version fixes it yet"
    for entry in held:
        if (entry.ecosystem, entry.package) == (finding.ecosystem, finding.package) and not older(
            entry.ecosystem, entry.version, finding.fixed
        ):
            return f"fixed in {finding.fixed}; {entry.version} was not taken: {entry.why}"
    return f"fixed in {finding.fixed}, which was not taken"
