"""What is known of the fleet from before the rollout: read once, when it opens, and kept for every look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from lamina.baseline import Baseline, Limit, Past, cold_limit, freeze, halves, slow_limit
from lamina.evidence import MINUTE, Minute
from lamina.latency import by_minute
from lamina.model import ObjectKey
from lamina.rollout import Entry, EntryStatus, Rollout
from lamina.steps.choosing import HISTORY, dimensions

if TYPE_CHECKING:
    from lamina.gateways.metrics import Metrics
    from lamina.gateways.reports import Reports
    from lamina.gateways.rollouts import Rollouts
    from lamina.gateways.store import Store

_COLD_HISTORY = timedelta(days=1)
_COLD_FUNCTIONS = 12
"""Functions whose logs are read for cold starts: the canaries, and those after them."""

_HOUR = timedelta(hours=1)
_HOURS = 3
"""Hours with traffic from which the usual percentile of durations is taken by the hour, and not by the minute."""

_WATCHED = 3
"""Functions without the candidate that suffice to tell how the environment is; with fewer, others are asked too."""

_BESIDE = 5
"""How many of the functions that are left alone are asked."""


class Gateways(Protocol):
    """What is read, and where it is kept; Enroll has these among others."""

    @property
    def metrics(self) -> Metrics: ...

    @property
    def reports(self) -> Reports: ...

    @property
    def rollouts(self) -> Rollouts: ...

    @property
    def store(self) -> Store: ...


def unrelated(entries: Sequence[Entry], variant: str, rollouts: Rollouts, now: datetime) -> tuple[Entry, ...]:
    """The journal's entries, with when somebody else last changed each function.

    What Lamina itself changed last is no news of the function: then what was known before that holds.
    """
    journals = _journals(variant, rollouts, now)
    return tuple(entry.model_copy(update={"changed": _changed(entry, journals)}) for entry in entries)


def freeze_past(
    rollout: Rollout,
    entries: Sequence[Entry],
    traffic: Mapping[str, tuple[Minute, ...]],
    reach: Gateways,
    until: datetime,
) -> ObjectKey:
    """Keep the pasts of all functions that will have the candidate, and of some that never will; gives back the key.

    Args:
        rollout: what opens.
        entries: its journal, with waves.
        traffic: minutes of each function that will have the candidate, as far back as `HISTORY`.
        reach: the gateways.
        until: the newest minute that is closed.
    """
    journals = _journals(rollout.variant, reach.rollouts, rollout.opened)
    planned = sorted((entry for entry in entries if entry.function in traffic), key=lambda entry: entry.wave)
    asked = _asked(entries, planned)
    start = rollout.opened - HISTORY
    beside = reach.metrics.minutes({entry.function: dimensions(entry) for entry in asked}, start, until)
    pasts = {entry.function: _past(entry, journals, rollout.opened) for entry in (*planned, *asked)}
    clean = {name: pasts[name].clean(minutes) for name, minutes in {**traffic, **beside}.items()}
    slow = _durations([*planned, *asked], clean, pasts, reach.metrics, start, until)
    throttles = reach.metrics.throttles({entry.function: dimensions(entry) for entry in planned}, start, until)
    cold = {
        entry.function: _cold(entry, pasts[entry.function], reach.reports, until) for entry in planned[:_COLD_FUNCTIONS]
    }
    kept = {
        name: Baseline(minutes, with_throttles(minutes, throttles.get(name, {})), slow.get(name), cold.get(name))
        for name, minutes in clean.items()
    }
    return reach.store.write_json(f"rollouts/{rollout.rollout}/history.json", freeze(kept))


def with_throttles(minutes: Sequence[Minute], throttles: Mapping[datetime, int]) -> tuple[Minute, ...]:
    """Minutes of requests, and in ``errors`` how many were throttled."""
    ran = {minute.start: minute.invocations for minute in minutes}
    return tuple(
        Minute(start, ran.get(start, 0) + throttles.get(start, 0), throttles.get(start, 0))
        for start in sorted(ran.keys() | throttles.keys())
    )


def _journals(variant: str, rollouts: Rollouts, now: datetime) -> list[tuple[Rollout, dict[str, Entry]]]:
    """The variant's earlier rollouts as far back as they matter, oldest first, with their entries by function."""
    earlier = [one for one in rollouts.recent(variant, now - 2 * HISTORY) if one.opened < now]
    return [(one, {entry.function: entry for entry in rollouts.entries(one.rollout)}) for one in earlier]


def _changed(entry: Entry, journals: Sequence[tuple[Rollout, Mapping[str, Entry]]]) -> datetime | None:
    last = next((mine for _, journal in reversed(journals) if (mine := journal.get(entry.function))), None)
    if last is None or entry.changed is None:
        return entry.changed
    ours = max((moment for moment in (last.attached_at, last.restored_at) if moment), default=None)
    return last.changed if ours is not None and entry.changed <= ours + MINUTE else entry.changed


def _past(entry: Entry, journals: Sequence[tuple[Rollout, Mapping[str, Entry]]], now: datetime) -> Past:
    windows = []
    for rollout, journal in journals:
        earlier = journal.get(entry.function)
        if earlier is not None and earlier.attached_at is not None:
            windows.append((earlier.attached_at, earlier.restored_at or rollout.closed or now))
    return Past(entry.changed, tuple(windows))


def _asked(entries: Sequence[Entry], planned: Sequence[Entry]) -> list[Entry]:
    """Functions that are left alone, if there are few others to tell how the environment is."""
    if sum(entry.wave > 0 for entry in planned) >= _WATCHED:
        return []
    alone = [entry for entry in entries if entry.status is EntryStatus.LEFT_ALONE and entry.replaced]
    return alone[:_BESIDE]


def _durations(
    entries: Sequence[Entry],
    clean: Mapping[str, tuple[Minute, ...]],
    pasts: Mapping[str, Past],
    metrics: Metrics,
    start: datetime,
    until: datetime,
) -> dict[str, Limit]:
    """Each function's limit, from the older half of its past, and how often the younger half exceeded it.

    An alias's control is live, and all of its past is older than that.
    """
    split = {
        entry.function: until if entry.strategy == "alias" else middle
        for entry in entries
        if (middle := halves(clean[entry.function])) is not None
    }
    wanted = {entry.function: dimensions(entry) for entry in entries if entry.function in split}
    limits: dict[str, float] = {}
    for period, least in ((_HOUR, _HOURS), (MINUTE, 1)):
        left = {name: mine for name, mine in wanted.items() if name not in limits}
        if not left:
            break
        first = start if period == _HOUR else min(clean[name][0].start for name in left)
        for name, points in metrics.percentiles(left, first, until, 95, period).items():
            older = [value for at, value in points if at + period <= split[name] and pasts[name].counts(at, period)]
            limit = slow_limit(older) if len(older) >= least else None
            if limit is not None:
                limits[name] = limit
    compared = {entry.function for entry in entries if entry.strategy == "latest" and entry.function in limits}
    asked = {name: (wanted[name], limits[name]) for name in sorted(compared)}
    slow = metrics.slower(asked, min(split[name] for name in asked), until) if asked else {}
    return {
        name: Limit(ms, pasts[name].clean(m for m in slow.get(name, ()) if m.start >= split[name]))
        for name, ms in limits.items()
    }


def _cold(entry: Entry, past: Past, reports: Reports, until: datetime) -> Limit | None:
    """The same for cold starts; None where there were too few."""
    version = entry.before.version if entry.strategy == "alias" else None
    found = reports.cold_starts(entry.function, until - _COLD_HISTORY, until, version)
    starts = [one for one in found if past.counts(one.start.replace(second=0, microsecond=0))]
    older, younger = starts[: len(starts) // 2], starts[len(starts) // 2 :]
    limit = cold_limit([one.init_ms for one in older])
    if limit is None:
        return None
    return Limit(limit, by_minute([(one.start, one.init_ms) for one in younger], limit))
