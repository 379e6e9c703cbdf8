"""Slower, colder, throttled: what does not fail and is worse all the same.

Durations become counts. An invocation is slow when it takes longer than the baseline's 95th percentile, a cold start
when its initialisation takes longer than the baseline's 90th, each frozen on older data than the control; from there on
it is the e-process of errors, with an alpha of its own. A finding holds a rollout, it never puts one back.

Durations drift more than errors do. Where the past is the only control, a finding must therefore exceed whatever the
rule would have said about any window of that past, and functions without the release must not have become slower too;
where there are none to ask, a third of all invocations must be slow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from lamina.evidence import MINUTE, Calibration, Evidence, Minute, Observed, Rules, Track, calibrate, gather, total
from lamina.guard import Surroundings

Kind = Literal["slow", "cold", "throttled"]

ERRORS, FINDINGS = 0.8, 0.2
"""The shares of a policy's alpha that are spent on errors, and on each kind of finding."""

_EVIDENT = 1 / 3
"""The share of slow invocations that needs no word from functions without the release."""


@dataclass(frozen=True, slots=True)
class Suspected:
    """One function in one respect: what was seen, with what counts in the minutes' ``errors``, and the limit in ms."""

    seen: Observed
    limit_ms: float = 0.0


def findings(kind: Kind, suspected: Sequence[Suspected], guard: Sequence[Observed], rules: Rules) -> tuple[str, ...]:
    """A sentence on what is worse in one respect; none where nothing is.

    Args:
        suspected: the functions that have the release.
        guard: functions without it, in the same respect.
        rules: the layer's, with the alpha for this kind.
    """
    around = Surroundings.of(guard, rules)
    limits = {one.seen.function: one.limit_ms for one in suspected}
    evidence = gather([around.without_bad(_steady(one.seen, rules)) for one in suspected], rules)
    loud = [track for track in evidence.tracks if track.harmful and _stands(track, around)]
    if not loud and evidence.live_peak >= math.log(1 / rules.alpha):
        loud = [track for track in evidence.tracks if track.control == "alias" and track.process.peak > 0]
    if not loud:
        return ()
    worst = sorted(loud, key=lambda track: -track.process.peak)
    said = "; ".join(_sentence(kind, track, limits[track.seen.function]) for track in worst[:3])
    more = f"; and {len(worst) - 3} more functions" if len(worst) > 3 else ""
    return (f"{_WORDS[kind]}: {said}{more} ({_strength(evidence, worst[0])}).",)


def warm(minutes: Sequence[Minute], cold: Sequence[tuple[datetime, float]], limit_ms: float) -> tuple[Minute, ...]:
    """Minutes without their cold starts, whose first call is slower whatever the release.

    Args:
        minutes: invocations, and in ``errors`` the slow ones.
        cold: when each cold start began, and its duration in ms.
        limit_ms: what a slow one exceeds.
    """
    table = {minute.start: minute for minute in minutes}
    for start, duration in cold:
        at = start.replace(second=0, microsecond=0)
        if at in table:
            found = table[at]
            slow = found.errors - (duration > limit_ms)
            table[at] = Minute(at, max(0, found.invocations - 1), max(0, slow))
    return tuple(minute for _, minute in sorted(table.items()) if minute.invocations)


def by_minute(inits: Sequence[tuple[datetime, float]], limit_ms: float) -> tuple[Minute, ...]:
    """Cold starts by the minute: how many, and in ``errors`` how many initialisations took longer than the limit."""
    table: dict[datetime, Minute] = {}
    for start, init in inits:
        at = start.replace(second=0, microsecond=0)
        old = table.get(at, Minute(at, 0, 0))
        table[at] = Minute(at, old.invocations + 1, old.errors + (init > limit_ms))
    return tuple(minute for _, minute in sorted(table.items()))


_WORDS = {
    "slow": "Slower than before",
    "cold": "Slower cold starts than before",
    "throttled": "Throttled more than before",
}


def _sentence(kind: Kind, track: Track, limit_ms: float) -> str:
    now, before = total(track.canary), total(track.baseline)
    when = "in the same minutes on the old release" if track.control == "alias" else "in its own past"
    what = {
        "slow": f"{now.errors:,} of {now.invocations:,} invocations ({now.rate:.1%}) took longer than "
        f"{limit_ms:,.0f} ms",
        "cold": f"{now.errors:,} of {now.invocations:,} cold starts ({now.rate:.1%}) initialised longer than "
        f"{limit_ms:,.0f} ms",
        "throttled": f"{now.errors:,} of {now.invocations:,} requests ({now.rate:.1%}) were throttled",
    }[kind]
    return f"{track.seen.function}: {what}, against {before.rate:.1%} {when}"


def _strength(evidence: Evidence, worst: Track) -> str:
    if worst.harmful:
        return f"evidence {worst.process.peak:.1f} nats, {worst.threshold:.1f} needed"
    return f"evidence of all together {evidence.live_peak:.1f} nats"


def _stands(track: Track, around: Surroundings) -> bool:
    """Whether a function's own evidence is enough for a finding."""
    if track.control == "alias" or around.calm_beside([track]):
        return True
    return total(track.canary).rate >= _EVIDENT and not around.ongoing


def _steady(seen: Observed, rules: Rules) -> Observed:
    """The function with a threshold that no window of its past would have reached."""
    if seen.control != "history":
        return seen
    past = tuple(m for m in seen.control_minutes if m.start + MINUTE <= seen.since)
    windows = calibrate(past, rules.alpha, rules.max_minutes).windows
    if not windows:
        return seen
    highest = calibrate(past, max(rules.alpha, 1 / windows), rules.max_minutes)
    return replace(seen, calibration=Calibration(highest.dispersion, highest.threshold, windows))
