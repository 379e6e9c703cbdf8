"""Proving a candidate: what a probe answered, held against the same probe of the promoted release.

Only what the candidate alone fails speaks against it, and only a module that people import by a package's name
rejects it: a package's top-level module, or the runtime's own SDK. A submodule that newly fails is a finding for the
report. A first release has nothing to be compared with: it is rejected if a package that the team itself asked for
cannot be imported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from lamina.bundle import Manifest
from lamina.errors import VerifyFailed
from lamina.model import Model, Variant

RUNTIME_MODULES = ("boto3",)
"""What the runtime brings along and a layer can break by shadowing what it needs."""

LONGEST_NAME = 64
"""Lambda's limit for a function's name, in characters."""


class ImportFailure(Model):
    """A module that cannot be imported, and how it failed."""

    module: str
    type: str
    message: str = ""
    traceback: str = ""
    milliseconds: int = 0


class ProbeAnswer(Model):
    """What a probe found. `broken` is set instead of all else if the function itself did not run."""

    python: str = ""
    modules: int = 0
    imported: int = 0
    skipped: int = 0
    untried: int = 0
    failed: int = 0
    failures: tuple[ImportFailure, ...] = ()
    milliseconds: int = 0
    broken: str | None = None

    @property
    def clean(self) -> bool:
        """Whether everything was imported."""
        return self.broken is None and not self.failures


@dataclass(frozen=True)
class Judgement:
    """Whether a candidate is accepted, what rejects it, and what is worth knowing besides."""

    rejecting: tuple[ImportFailure, ...]
    findings: tuple[ImportFailure, ...]
    message: str

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
    candidate: ProbeAnswer, promoted: ProbeAnswer | None, manifest: Manifest, direct: Collection[str]
) -> Judgement:
    """Decide about a candidate.

    Args:
        candidate: the probe of the candidate.
        promoted: the probe of the promoted release; None before the first.
        manifest: the candidate's.
        direct: packages that the definition itself requires.

    Raises:
        VerifyFailed: the probe did not run, and there is no sign that the candidate is why.
    """
    compared = promoted is not None and promoted.broken is None
    if candidate.broken is not None:
        if not compared:
            raise VerifyFailed(
                f"{manifest.variant}: the probe of the candidate did not run ({candidate.broken}), and there is no "
                "working release to compare it with; nothing was attached. Start the update again"
            )
        failure = ImportFailure(module="(the runtime itself)", type="FunctionError", message=candidate.broken)
        return Judgement((failure,), (), f"no function can start with the candidate: {candidate.broken}")
    known = {failure.module for failure in promoted.failures} if promoted is not None else set()
    fresh = [failure for failure in candidate.failures if failure.module not in known]
    decisive = {
        module
        for name, package in manifest.packages.items()
        if compared or name in direct
        for module in package.modules
    }
    rejecting = tuple(failure for failure in fresh if failure.module in decisive or _broken_sdk(failure))
    findings = tuple(failure for failure in fresh if failure not in rejecting)
    return Judgement(rejecting, findings, _message(candidate, rejecting, findings, compared=compared))


def _broken_sdk(failure: ImportFailure) -> bool:
    # A runtime that has no SDK is not something that the layer broke.
    return failure.module in RUNTIME_MODULES and failure.message != f"No module named '{failure.module}'"


def _message(
    candidate: ProbeAnswer,
    rejecting: tuple[ImportFailure, ...],
    findings: tuple[ImportFailure, ...],
    *,
    compared: bool,
) -> str:
    untried = f"; {candidate.untried} were not tried for lack of time" if candidate.untried else ""
    if rejecting:
        first = rejecting[0]
        more = f" (and {len(rejecting) - 1} more)" if len(rejecting) > 1 else ""
        before = "; the promoted release imports it" if compared else ""
        return f"{first.module} cannot be imported{before}: {first.type}: {first.message}{more}"[:1000]
    found = f", {len(findings)} modules fail that nothing decides on" if findings else ""
    return f"{candidate.imported} of {candidate.modules} modules imported{found}{untried}"
