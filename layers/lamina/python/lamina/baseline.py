"""What is known of functions from before a rollout, as it is frozen when the rollout opens.

Only minutes that speak of the function as it is now are kept: none in which it had an earlier candidate of the same
layer, and none from before somebody else last changed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from lamina.evidence import MINUTE, Minute

Window = tuple[datetime, datetime]
"""When a function had a candidate: from, and until."""

_LEAST = 20
"""Invocations (or cold starts) without which no limit is derived from a past."""

_JITTER_MS = 20.0
_JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Limit:
    """From which duration on something counts as slow, and how often it was, minute by minute.

    ``minutes`` count in their ``errors`` what took longer than ``ms``; they are younger than what ``ms`` was taken
    from, and empty where the control is a live one.
    """

    ms: float
    minutes: tuple[Minute, ...] = ()


@dataclass(frozen=True, slots=True)
class Baseline:
    """One function's past. ``throttled`` counts requests in ``invocations`` and the throttled ones in ``errors``."""

    minutes: tuple[Minute, ...] = ()
    throttled: tuple[Minute, ...] = ()
    slow: Limit | None = None
    cold: Limit | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """Which minutes of a function's past count: those from ``since`` on that are in none of the windows."""

    since: datetime | None = None
    windows: tuple[Window, ...] = field(default=())

    def counts(self, start: datetime, length: timedelta = MINUTE) -> bool:
        """Whether a period lies wholly in what counts."""
        if self.since is not None and start < self.since:
            return False
        return all(start + length <= begin or start >= end for begin, end in self.windows)

    def clean(self, minutes: Iterable[Minute]) -> tuple[Minute, ...]:
        """The minutes that count."""
        return tuple(minute for minute in minutes if self.counts(minute.start))


def halves(minutes: Sequence[Minute]) -> datetime | None:
    """The minute with which the younger half of a past begins; None where it is too short for two."""
    if len(minutes) < 2 or sum(minute.invocations for minute in minutes) < 2 * _LEAST:
        return None
    return minutes[len(minutes) // 2].start


def slow_limit(percentiles: Sequence[float]) -> float | None:
    """The duration in milliseconds from which an invocation is slow: the past's usual percentile, and a margin.

    A clock's jitter is not slowness: within 20 ms, or 10 % if that is more, nobody waits longer.
    """
    if not percentiles:
        return None
    usual = median(percentiles)
    return round(usual + max(_JITTER_MS, _JITTER * usual), 3)


def cold_limit(inits: Sequence[float]) -> float | None:
    """The same for cold starts: the 90th percentile of the past's."""
    if len(inits) < _LEAST / 4:
        return None
    ordered = sorted(inits)
    return slow_limit([ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]])


# --- how it is stored


def freeze(baselines: Mapping[str, Baseline]) -> dict[str, Any]:
    """Baselines as JSON data; a week of minutes takes some 100 KB."""
    return {name: _frozen(one) for name, one in baselines.items()}


def thaw(stored: Mapping[str, Any] | None, names: Iterable[str]) -> dict[str, Baseline]:
    """The inverse of `freeze` for some functions; nothing where nothing was stored of them."""
    return {
        name: Baseline(
            minutes=_unpack(one["minutes"]),
            throttled=_unpack(one["throttled"]),
            slow=_limit(one["slow"]),
            cold=_limit(one["cold"]),
        )
        for name in names
        if (one := (stored or {}).get(name)) is not None
    }


def busiest(stored: Mapping[str, Any] | None, names: Iterable[str], most: int) -> tuple[str, ...]:
    """Of some functions those with the most minutes of traffic in what was stored."""
    known = [(-one["minutes"].count(","), name) for name in names if (one := (stored or {}).get(name)) is not None]
    return tuple(name for _, name in sorted(known)[:most])


def _frozen(one: Baseline) -> dict[str, Any]:
    def limit(given: Limit | None) -> dict[str, Any] | None:
        return None if given is None else {"ms": given.ms, "minutes": _pack(given.minutes)}

    return {
        "minutes": _pack(one.minutes),
        "throttled": _pack(one.throttled),
        "slow": limit(one.slow),
        "cold": limit(one.cold),
    }


def _limit(stored: Mapping[str, Any] | None) -> Limit | None:
    return None if stored is None else Limit(stored["ms"], _unpack(stored["minutes"]))


def _pack(minutes: Sequence[Minute]) -> str:
    """The first minute, then for each: minutes after it, invocations, errors."""
    if not minutes:
        return ""
    first = minutes[0].start
    rows = (f"{(m.start - first) // MINUTE} {m.invocations} {m.errors}" for m in minutes)
    return ",".join([first.isoformat(), *rows])


def _unpack(text: str) -> tuple[Minute, ...]:
    if not text:
        return ()
    head, *rows = text.split(",")
    first = datetime.fromisoformat(head)
    counts = (tuple(map(int, row.split())) for row in rows)
    return tuple(Minute(first + after * MINUTE, invocations, errors) for after, invocations, errors in counts)
