"""Proving a candidate: what a probe answered, held against the same probe of the promoted release.

Only what the candidate alone fails speaks against it, and only what somebody depends on rejects it: a package's
top-level module, the layer's own modules, what `verify.imports` names, the smoke test, a module that a function of the
fleet imports, a program or library whose own libraries are gone, or the runtime's own SDK. Any other module that newly
fails or is gone is a finding for the report. A first release has nothing to be compared with: it is rejected if
something that the team itself asked for fails.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from lamina.bundle import Manifest
from lamina.errors import VerifyFailed
from lamina.model import Model, Variant
from lamina.questions import RUNTIME_MODULES, Language, top_level

LONGEST_NAME = 64
"""Lambda's limit for a function's name, in characters."""

MOST_VANISHED = 400
"""How many modules that are gone a report lists."""

_STARTS = ("Runtime.", "Extension.", "Sandbox.")


class ImportFailure(Model):
    """A module that cannot be imported, and how it failed; or a smoke test, a program, a library."""

    module: str
    type: str
    message: str = ""
    traceback: str = ""
    milliseconds: int = 0


class SmokeResult(Model):
    """How a smoke test ended; `type` is empty where it ended well."""

    module: str
    type: str = ""
    message: str = ""
    traceback: str = ""
    milliseconds: int = 0

    @property
    def failure(self) -> ImportFailure | None:
        """The error, if there was one."""
        return ImportFailure(**self.model_dump()) if self.type else None


class ProbeAnswer(Model):
    """What a probe found. `broken` is set instead of all else if the function itself did not run.

    Attributes:
        version: of the language.
        names: everything that was to be imported.
        smoke: how the smoke test ended; None where there is none.
        init_ms: how long Lambda took to initialise the function, with the layer's direct packages imported; None where
            Lambda did not say.
    """

    version: str = ""
    modules: int = 0
    imported: int = 0
    skipped: int = 0
    untried: int = 0
    failed: int = 0
    failures: tuple[ImportFailure, ...] = ()
    names: tuple[str, ...] = ()
    smoke: SmokeResult | None = None
    milliseconds: int = 0
    init_ms: float | None = None
    broken: str | None = None

    @property
    def clean(self) -> bool:
        """Whether everything was imported, and the smoke test ended well."""
        return self.broken is None and not self.failures and (self.smoke is None or not self.smoke.type)

    def report(self) -> dict[str, object]:
        """The answer as it is kept: without the names of all modules."""
        return {key: value for key, value in self.to_json().items() if key != "names"}


@dataclass(frozen=True)
class Judgement:
    """Whether a candidate is accepted, what rejects it, and what is worth knowing besides.

    `vanished` are the modules that the promoted release has and the candidate has not.
    """

    rejecting: tuple[ImportFailure, ...]
    findings: tuple[ImportFailure, ...]
    message: str
    vanished: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether nothing rejects the candidate."""
        return not self.rejecting


def probe_name(prefix: str, variant: Variant, version: int) -> str:
    """The probe function's name: the same for every attempt, so that a killed one's leftover is found again."""
    name = f"{prefix}-{variant.variant}-v{version}"
    if len(name) <= LONGEST_NAME:
        return name
    end = f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}-v{version}"
    return name[: LONGEST_NAME - len(end)] + end


def judge(
    candidate: ProbeAnswer,
    promoted: ProbeAnswer | None,
    manifest: Manifest,
    direct: Collection[str],
    *,
    language: Language = "python",
    imports: Collection[str] = (),
    used: Collection[str] = (),
) -> Judgement:
    """Decide about a candidate.

    Args:
        candidate: the probe of the candidate.
        promoted: the probe of the promoted release; None before the first.
        manifest: the candidate's.
        direct: packages of that language that the definition itself requires.
        imports: what `verify.imports` names.
        used: modules that functions of the fleet import.

    Raises:
        VerifyFailed: the probe did not run, and there is no sign that the candidate is why.
    """
    compared = promoted is not None and promoted.broken is None
    if candidate.broken is not None:
        if not compared and not _own_fault(candidate.broken, manifest):
            raise VerifyFailed(
                f"{manifest.variant}: the probe of the candidate did not run ({candidate.broken}), and there is no "
                "working release to compare it with; nothing was attached. Start the update again"
            )
        failure = ImportFailure(module="(the runtime itself)", type="FunctionError", message=candidate.broken)
        return Judgement((failure,), (), f"no function can start with the candidate: {candidate.broken}")
    known = {failure.module for failure in _failures(promoted)} if promoted is not None else set()
    fresh = [failure for failure in _failures(candidate) if failure.module not in known]
    owners = top_level(manifest, language)
    decisive = {module for module, package in owners.items() if compared or not package or package in direct}
    decisive |= {*imports} | ({*used} if compared else set())
    if candidate.smoke is not None:
        decisive.add(candidate.smoke.module)
    rejecting = tuple(
        failure
        for failure in fresh
        if failure.module in decisive or _broken_sdk(failure) or (compared and failure.type == "LibraryMissing")
    )
    findings = tuple(failure for failure in fresh if failure not in rejecting)
    gone = sorted({*promoted.names} - {*candidate.names}) if promoted is not None and compared else []
    message = _message(candidate, rejecting, findings, gone, compared=compared)
    return Judgement(rejecting, findings, message, tuple(gone[:MOST_VANISHED]))


def start_failed(kind: str) -> bool:
    """Whether an error's type says that the function did not start, and not that its code raised something."""
    return kind.startswith(_STARTS)


def _failures(answer: ProbeAnswer) -> tuple[ImportFailure, ...]:
    smoke = answer.smoke.failure if answer.smoke is not None else None
    return answer.failures if smoke is None else (*answer.failures, smoke)


def _own_fault(broken: str, manifest: Manifest) -> bool:
    """Whether what broke is a program of the layer, so that nothing else needs to be compared."""
    return broken.startswith("Extension.") or (manifest.bootstrap and start_failed(broken))


def _broken_sdk(failure: ImportFailure) -> bool:
    # A runtime that has no SDK is not something that the layer broke.
    return failure.module in RUNTIME_MODULES and failure.message != f"No module named '{failure.module}'"


def _message(
    candidate: ProbeAnswer,
    rejecting: tuple[ImportFailure, ...],
    findings: tuple[ImportFailure, ...],
    gone: list[str],
    *,
    compared: bool,
) -> str:
    if rejecting:
        first = rejecting[0]
        more = f" (and {len(rejecting) - 1} more)" if len(rejecting) > 1 else ""
        if candidate.smoke is not None and first.module == candidate.smoke.module:
            said, before = "the smoke test fails", "; with the promoted release it does not"
        elif first.type == "LibraryMissing":
            said, before = f"{first.module} cannot be loaded", "; with the promoted release it can"
        else:
            said, before = f"{first.module} cannot be imported", "; the promoted release imports it"
        return f"{said}{before if compared else ''}: {first.type}: {first.message}{more}"[:1000]
    parts = [f"{candidate.imported} of {candidate.modules} modules imported"]
    if candidate.smoke is not None:
        parts.append("the smoke test fails as before" if candidate.smoke.type else "the smoke test passed")
    if findings:
        parts.append(f"{len(findings)} modules fail that nothing decides on")
    if gone:
        parts.append(f"{len(gone)} modules are gone that nothing decides on")
    untried = f"; {candidate.untried} were not tried for lack of time" if candidate.untried else ""
    return ", ".join(parts) + untried
