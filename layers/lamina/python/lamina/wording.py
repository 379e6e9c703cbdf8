"""What a verdict says in words, with the numbers that it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lamina.evidence import Bounds, Evidence, Rules, Track, total


def cohort(number: int) -> str:
    """What a cohort is called."""
    return f"wave {number}" if number else "canary"


def names(tracks: Sequence[Track]) -> str:
    """The functions, of many the first three."""
    listed = [track.seen.function for track in tracks]
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def worst(tracks: Sequence[Track]) -> str:
    """What the three functions with the most evidence did, and what they are compared with."""
    versus = {"alias": "in the same minutes on the old release", "history": "in its own history"}
    first = sorted(tracks, key=lambda track: -track.process.peak)[:3]
    return "; ".join(
        f"{track.seen.function} failed {total(track.canary)}"
        + (f", against {total(track.baseline)} {versus[track.control]}" if track.control in versus else "")
        for track in first
    )


def strength(evidence: Evidence, floor: float) -> str:
    """How strong the evidence is, in nats and as odds."""
    return (
        f"The evidence is {evidence.peak + evidence.offset:.1f} nats, with {floor + evidence.offset:.1f} needed: "
        f"a harmless release would ever look this bad {_odds(evidence.peak)}."
    )


def harm(evidence: Evidence, floor: float, live: bool) -> str:
    """Why the release is called harmful."""
    loud = [track for track in evidence.tracks if track.harmful] or evidence.tracks
    text = f"{worst(loud)}. {strength(evidence, floor)}"
    if not live:
        text += " Only the past was there to compare with, so something else may have changed at the same time."
    return text


def alone(harmed: Sequence[Track], others: int) -> str:
    """Why some functions are put back while the others keep the release."""
    are = "is" if len(harmed) == 1 else "are"
    return f"{names(harmed)} {are} harmed: {worst(harmed)}; the {others} others that have the release are not."


def rates(bounds: Bounds, rules: Rules) -> str:
    """What is known of the new release's errors."""
    if not bounds.canary.invocations:
        return "The new release has not been invoked yet."
    against = f"the old one {bounds.control}" if bounds.control.invocations else "and there is nothing to compare with"
    added = bounds.upper - bounds.lower
    return (
        f"The new release failed {bounds.canary}, {against}; it adds at most {max(0.0, added):.2%} of errors "
        f"(tolerance {rules.tolerance:.2%})."
    )


def _odds(ln_e: float) -> str:
    times = f"{int(math.exp(ln_e)):,}" if ln_e < math.log(1e6) else "a million"
    return f"at most once in {times} rollouts"
