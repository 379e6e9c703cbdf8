"""The course of a rollout, minute by minute, as it is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lamina.evidence import Counts, Observed, Rules, gather, total
from lamina.plain import camel, plain


@dataclass(frozen=True, slots=True)
class Point:
    """One closed minute of a rollout, all functions taken together.

    ``control`` counts what it is compared with: an alias's stable version; of a frozen history, which has no minute of
    its own here, as many invocations as the canary had. Its errors are then rounded, and ``control_rate`` is exact.
    """

    start: datetime
    canary: Counts
    control: Counts
    ln_e: float
    threshold: float
    control_rate: float | None = None

    @property
    def usual(self) -> float | None:
        """The control's error rate; None where there was nothing to compare with."""
        if not self.control.invocations:
            return None
        return self.control.rate if self.control_rate is None else self.control_rate

    def to_json(self) -> dict[str, object]:
        """The point as plain JSON data with camelCase keys."""
        return {camel(name): plain(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Point:
        """The inverse of ``to_json``."""
        return cls(
            start=datetime.fromisoformat(data["start"]),
            canary=Counts(**data["canary"]),
            control=Counts(**data["control"]),
            ln_e=data["lnE"],
            threshold=data["threshold"],
            control_rate=data.get("controlRate"),
        )


def trace(observed: Sequence[Observed], rules: Rules) -> tuple[Point, ...]:
    """The points of all closed minutes, in order of time."""
    evidence = gather(observed, rules)
    canary: dict[datetime, Counts] = {}
    control: dict[datetime, tuple[int, float]] = {}
    for track in evidence.tracks:
        usual = total(track.past).rate
        for m in track.canary:
            canary[m.start] = canary.get(m.start, Counts()) + total([m])
        compared = [(m.start, m.invocations, usual * m.invocations) for m in track.canary if track.past]
        if track.control == "alias":
            compared = [(m.start, m.invocations, float(min(m.errors, m.invocations))) for m in track.baseline]
        for start, invocations, errors in compared:
            n, x = control.get(start, (0, 0.0))
            control[start] = (n + invocations, x + errors)
    points, ln_e = [], 0.0
    for start in sorted(canary.keys() | control.keys()):
        ln_e = evidence.course.get(start, ln_e)
        n, x = control.get(start, (0, 0.0))
        points.append(
            Point(
                start=start,
                canary=canary.get(start, Counts()),
                control=Counts(n, round(x)),
                control_rate=x / n if n else None,
                ln_e=ln_e + evidence.offset,
                threshold=math.log(1 / rules.alpha) + evidence.offset,
            )
        )
    return tuple(points)
