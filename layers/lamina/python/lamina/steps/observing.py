"""Observing, a part of Watch: what CloudWatch knows of the functions with the candidate, and of those without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from lamina.baseline import Baseline, busiest, thaw
from lamina.evidence import MINUTE, Calibration, Minute, Observed, spread
from lamina.latency import Kind, Suspected, by_minute, warm
from lamina.rollout import Entry, EntryStatus, Rollout
from lamina.steps.choosing import dimensions
from lamina.steps.freezing import with_throttles
from lamina.verdict import closed

if TYPE_CHECKING:
    from lamina.gateways.metrics import Dimensions, Metrics
    from lamina.gateways.reports import ColdStart, Reports

_SETTLING = timedelta(minutes=1)
"""What a change of `$LATEST` may take to settle: until then some invocations still have the old layers."""

_GUARDS = 10
"""Functions without the candidate that are asked about the environment, the busiest of them."""

_PROMPT = 60
"""A timeout in seconds: guards with a longer one would speak too late, unless canaries have a longer one as well."""

_TIMED = 12
"""Functions whose durations and cold starts are looked at, those with the candidate for the longest time first."""


@dataclass(frozen=True)
class Seen:
    """What there is to judge: errors of functions with and without the candidate, and all else by kind."""

    observed: tuple[Observed, ...]
    guard: tuple[Observed, ...]
    suspected: Mapping[Kind, tuple[Suspected, ...]] = field(default_factory=dict)
    slow_guard: tuple[Observed, ...] = ()


def watched(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The functions that have the candidate, and those that had it until they were put back on their own."""
    there = (EntryStatus.ATTACHED, EntryStatus.COMPLETED, EntryStatus.RESTORED)
    return tuple(entry for entry in entries if entry.status in there and entry.attached_at is not None)


def since(entry: Entry) -> datetime:
    """When the candidate was in force."""
    assert entry.attached_at is not None
    if entry.strategy == "alias":
        # Its new version was never invoked before, so that every datapoint of it counts.
        return entry.attached_at.replace(second=0, microsecond=0)
    return entry.attached_at + _SETTLING


@dataclass(frozen=True)
class Observatory:
    """One look: at a rollout and its journal, with what was frozen when it opened, at a moment."""

    rollout: Rollout
    entries: tuple[Entry, ...]
    stored: Mapping[str, Any] | None
    now: datetime

    def look(self, metrics: Metrics, reports: Reports) -> Seen:
        """Read what is known of the closed minutes."""
        mine = watched(self.entries)
        if not mine:
            return Seen((), ())
        beside = self._beside(mine)
        known = thaw(self.stored, [entry.function for entry in (*mine, *beside)])
        asked: dict[str, Dimensions] = {}
        for entry in mine:
            asked[f"canary {entry.function}"] = _canary(entry)
            if entry.strategy == "alias":
                asked[f"control {entry.function}"] = _versioned(entry, entry.before.version)
        asked |= {f"guard {entry.function}": dimensions(entry) for entry in beside}
        counts = metrics.minutes(asked, self.rollout.opened, self.now)
        began = min(since(entry) for entry in mine)
        seen = Seen(
            tuple(self._observed(entry, counts, known.get(entry.function, Baseline()).minutes) for entry in mine),
            tuple(self._guard(entry, counts, known[entry.function].minutes, began) for entry in beside),
        )
        if self.rollout.policy.latency == "ignore":
            return seen
        timed = sorted((entry for entry in mine if entry.status is not EntryStatus.RESTORED), key=since)[:_TIMED]
        return self._timed(seen, timed, beside, known, metrics, reports)

    def _beside(self, mine: Sequence[Entry]) -> tuple[Entry, ...]:
        """Functions that do not have the candidate, or did not while others had it already."""
        prompt = max(_PROMPT, max(entry.timeout for entry in mine))
        without = (EntryStatus.PLANNED, EntryStatus.LEFT_ALONE)
        first = min(entry.wave for entry in mine)
        fit = {
            entry.function: entry
            for entry in self.entries
            if entry.timeout <= prompt
            and ((entry.status in without and entry.after is None) or (entry in mine and entry.wave > first))
        }
        return tuple(fit[name] for name in busiest(self.stored, fit, _GUARDS))

    def _observed(
        self, entry: Entry, counts: Mapping[str, tuple[Minute, ...]], history: tuple[Minute, ...]
    ) -> Observed:
        against, clusters = history, None
        if entry.strategy == "alias":
            against = closed(counts[f"control {entry.function}"], self.now, entry.timeout)
            clusters = Calibration(spread(history))
        return Observed(
            function=entry.function,
            control="alias" if entry.strategy == "alias" else "history" if against else "none",
            canary=self._closed(entry, counts[f"canary {entry.function}"]),
            control_minutes=against,
            since=since(entry),
            cohort=entry.wave,
            put_back=entry.status is EntryStatus.RESTORED,
            calibration=clusters,
        )

    def _closed(self, entry: Entry, minutes: Iterable[Minute]) -> tuple[Minute, ...]:
        """The closed minutes in which the function had the candidate."""
        begin, end = since(entry), self.now
        if entry.status is EntryStatus.RESTORED and entry.strategy == "latest":
            end = entry.restored_at or begin
        return closed((m for m in minutes if begin <= m.start and m.start + MINUTE <= end), self.now, entry.timeout)

    def _guard(
        self, entry: Entry, counts: Mapping[str, tuple[Minute, ...]], history: tuple[Minute, ...], began: datetime
    ) -> Observed:
        end = entry.attached_at or self.now
        minutes = (m for m in counts[f"guard {entry.function}"] if began <= m.start and m.start + 2 * MINUTE <= end)
        return Observed(entry.function, "history", closed(minutes, self.now, entry.timeout), history, began)

    def _timed(
        self,
        seen: Seen,
        timed: Sequence[Entry],
        beside: Sequence[Entry],
        known: Mapping[str, Baseline],
        metrics: Metrics,
        reports: Reports,
    ) -> Seen:
        limits: dict[str, tuple[Dimensions, float]] = {}
        for entry in timed:
            slow = known.get(entry.function, Baseline()).slow
            if slow is not None:
                limits[f"canary {entry.function}"] = (_canary(entry), slow.ms)
                if entry.strategy == "alias":
                    limits[f"control {entry.function}"] = (_versioned(entry, entry.before.version), slow.ms)
        for entry in beside:
            slow = known[entry.function].slow
            if slow is not None and slow.minutes:
                limits[f"guard {entry.function}"] = (dimensions(entry), slow.ms)
        slower = metrics.slower(limits, self.rollout.opened, self.now)
        whole = {entry.function: dimensions(entry) for entry in timed}
        requests = metrics.minutes(whole, self.rollout.opened, self.now)
        throttles = metrics.throttles(whole, self.rollout.opened, self.now)
        found: dict[Kind, list[Suspected]] = {"slow": [], "cold": [], "throttled": []}
        for entry in timed:
            past, name = known.get(entry.function, Baseline()), entry.function
            starts = self._cold_starts(entry, reports)
            if past.slow is not None and (entry.strategy == "alias" or past.slow.minutes):
                minutes = warm(slower[f"canary {name}"], [(one.start, one.duration_ms) for one in starts], past.slow.ms)
                slow_counts = {f"canary {name}": minutes, f"control {name}": slower.get(f"control {name}", ())}
                found["slow"].append(Suspected(self._observed(entry, slow_counts, past.slow.minutes), past.slow.ms))
            if past.cold is not None:
                cold = by_minute([(one.start, one.init_ms) for one in starts], past.cold.ms)
                found["cold"].append(Suspected(self._historic(entry, cold, past.cold.minutes), past.cold.ms))
            if past.throttled:
                minutes = with_throttles(requests[name], throttles[name])
                found["throttled"].append(Suspected(self._historic(entry, minutes, past.throttled)))
        began = min((since(entry) for entry in timed), default=self.now)
        guard = tuple(
            self._guard(entry, slower, limit.minutes, began)
            for entry in beside
            if (limit := known[entry.function].slow) is not None and limit.minutes
        )
        return Seen(seen.observed, seen.guard, {kind: tuple(each) for kind, each in found.items()}, guard)

    def _historic(self, entry: Entry, minutes: Iterable[Minute], history: tuple[Minute, ...]) -> Observed:
        return Observed(
            entry.function, "history", self._closed(entry, minutes), history, since(entry), cohort=entry.wave
        )

    def _cold_starts(self, entry: Entry, reports: Reports) -> tuple[ColdStart, ...]:
        version = entry.after.version if entry.strategy == "alias" and entry.after else None
        return reports.cold_starts(entry.function, since(entry), self.now, version)


def _canary(entry: Entry) -> Mapping[str, str]:
    if entry.strategy == "alias":
        return _versioned(entry, entry.after.version if entry.after else None)
    return {"FunctionName": entry.function}


def _versioned(entry: Entry, version: str | None) -> Mapping[str, str]:
    return {
        "FunctionName": entry.function,
        "Resource": f"{entry.function}:{entry.alias}",
        "ExecutedVersion": version or "",
    }
