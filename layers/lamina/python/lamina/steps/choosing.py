"""Choosing, a part of Enroll: what the fleet's traffic and code say of who should go first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import ValidationError

from lamina.affected import usable, used
from lamina.bundle import Manifest
from lamina.canaries import Member
from lamina.cohorts import Cohorts, choose
from lamina.fleet import FunctionView
from lamina.imports import Used
from lamina.model import FunctionName, Release
from lamina.questions import Language, relevant
from lamina.rollout import Entry, RolloutPolicy
from lamina.verdict import Minute

if TYPE_CHECKING:
    from lamina.gateways.metrics import Metrics
    from lamina.gateways.store import Store
    from lamina.gateways.usage import Usage


HISTORY = timedelta(days=7)
"""How far back a function's own history is read: it is the control of functions that run on `$LATEST`."""

CLOSED = timedelta(minutes=4)
"""The newest minutes are not closed yet; this is what a short function's may take."""


def traffic_before(entries: Sequence[Entry], metrics: Metrics, now: datetime) -> dict[FunctionName, tuple[Minute, ...]]:
    """The closed minutes of the traffic that each function's strategy is about, before the rollout began."""
    return metrics.minutes({entry.function: dimensions(entry) for entry in entries}, now - HISTORY, now - CLOSED)


def dimensions(entry: Entry) -> Mapping[str, str]:
    """The metric dimensions of all the traffic that a function's strategy is about."""
    if entry.strategy == "alias":
        return {"FunctionName": entry.function, "Resource": f"{entry.function}:{entry.alias}"}
    return {"FunctionName": entry.function}


@dataclass(frozen=True)
class Chooser:
    """What a choice is made from.

    Attributes:
        of: the language that the variant's functions are written in.
        candidate: None where the registry does not know it; what changed is unknown then.
        before: the promoted release; None before the first.
    """

    of: Language
    candidate: Release | None
    before: Release | None
    usage: Usage
    store: Store

    def read(
        self,
        entries: Sequence[Entry],
        views: Mapping[FunctionName, FunctionView],
        traffic: Mapping[FunctionName, Sequence[Minute]],
    ) -> Used:
        """What the functions import of the layer, the busiest of them read first.

        Args:
            views: the functions as they were listed.
            traffic: their minutes before the rollout.
        """
        manifests = self._manifests()
        if not manifests or self.of == "provided":
            return Used()
        busiest = sorted(entries, key=lambda entry: (-_invocations(traffic[entry.function]), entry.function))
        found = self.usage.read(views[entry.function] for entry in busiest)
        ours = {name: relevant(modules, self.of, *manifests) for name, modules in found.by_function.items()}
        return Used(ours, found.unread)

    def choose(
        self,
        entries: Sequence[Entry],
        traffic: Mapping[FunctionName, Sequence[Minute]],
        imported: Used,
        policy: RolloutPolicy,
    ) -> Cohorts:
        """The waves.

        Args:
            imported: see `read`.
        """
        manifests = self._manifests()
        changed = usable(self.candidate.changes if self.candidate else (), self.of)
        members = []
        for entry in entries:
            modules = imported.by_function.get(entry.function)
            uses = None if modules is None else used(modules, self.of, *manifests) & changed
            unread = imported.unread.get(entry.function, "")
            members.append(_member(entry, traffic[entry.function], uses, unread))
        return choose(members, policy, changed)

    def _manifests(self) -> tuple[Manifest, ...]:
        """The candidate's and that of the release before it, as far as there are any; none without the candidate's."""
        found: list[Manifest] = []
        for release in (self.candidate, self.before):
            try:
                found.append(Manifest.model_validate(self.store.read_json(release.manifest) if release else None))
            except ValidationError:
                if not found:
                    return ()
        return tuple(found)


def _member(entry: Entry, minutes: Sequence[Minute], uses: frozenset[str] | None, unread: str) -> Member:
    per_minute = error_rate = 0.0
    if minutes:
        invocations = _invocations(minutes)
        per_minute = invocations / ((minutes[-1].start - minutes[0].start) / timedelta(minutes=1) + 1)
        error_rate = sum(minute.errors for minute in minutes) / invocations
    return Member(entry.function, entry.strategy, per_minute, error_rate, uses, unread, entry.critical)


def _invocations(minutes: Sequence[Minute]) -> int:
    return sum(minute.invocations for minute in minutes)
