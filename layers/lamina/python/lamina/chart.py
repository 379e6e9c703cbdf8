"""The picture of a rollout: error rates above, evidence below, drawn as one inline SVG.

No script and no style of its own: the page's style sheet colours the classes, in light and in dark. Time runs from the
first attach, in minutes and in UTC. A minute without invocations is a gap in the line, not a zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

from lamina.verdict import Counts, Point

WIDTH, HEIGHT = 960, 470
_LEFT, _RIGHT = 62, 24
_RATE = (58, 220)
_NATS = (278, 410)
_MOST_BINS = 120
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment worth a line: a wave that was attached, or the end.

    ``tone`` is ``wave``, ``good``, ``bad`` or ``warn``.
    """

    at: datetime
    label: str
    tone: str = "wave"


def bins(points: Sequence[Point], most: int = _MOST_BINS) -> tuple[Point, ...]:
    """The points, in order of time, summed up over equal spans so that at most ``most`` remain.

    Evidence and threshold are those at the end of a span.
    """
    ordered = sorted(points, key=lambda point: point.start)
    if not ordered:
        return ()
    first, span = ordered[0].start, _span(ordered, most)
    grouped: dict[int, list[Point]] = {}
    for point in ordered:
        grouped.setdefault(int((point.start - first) / _MINUTE) // span, []).append(point)
    return tuple(_merged(first + number * span * _MINUTE, same) for number, same in grouped.items())


def _span(points: Sequence[Point], most: int = _MOST_BINS) -> int:
    """The minutes that one of ``bins`` lasts."""
    starts = [point.start for point in points]
    return math.ceil(((max(starts) - min(starts)) / _MINUTE + 1) / most)


def _merged(start: datetime, points: Sequence[Point]) -> Point:
    control = sum((point.control for point in points), Counts())
    errors = sum(point.control.invocations * (point.usual or 0.0) for point in points)
    return Point(
        start=start,
        canary=sum((point.canary for point in points), Counts()),
        control=Counts(control.invocations, round(errors)),
        ln_e=points[-1].ln_e,
        threshold=points[-1].threshold,
        control_rate=errors / control.invocations if control.invocations else None,
    )


def chart(points: Sequence[Point], marks: Sequence[Mark] = (), *, name: str = "chart") -> str:
    """Draws a rollout; returns SVG markup with everything that came in escaped, or an empty string without points.

    Args:
        points: the course of the rollout, see ``verdict.trace``.
        marks: waves and the end.
        name: prefix of the ids inside, unique on the page.
    """
    shown = bins(points)
    if not shown:
        return ""
    spots = sorted(marks, key=lambda mark: mark.at)
    start = min([shown[0].start, *(mark.at for mark in spots)])
    end = max([shown[-1].start + _span(points) * _MINUTE, *(mark.at for mark in spots)])
    time = _Axis(0.0, max(1.0, (end - start) / _MINUTE), _LEFT, WIDTH - _RIGHT)
    name = escape(name, quote=True)
    span = _span(points)

    def x(moment: datetime) -> float:
        return time((moment - start) / _MINUTE)

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">Error rates and evidence since the first attach</title>',
        f'<desc id="{name}-desc">{escape(_described(points))}</desc>',
        *_marks(spots, x),
        *_times(time, start),
        *_rates(shown, x, span),
        *_evidence(shown, x, span),
        "</svg>",
    ]
    return "\n".join(parts)


class _Axis:
    """Maps a range of values to a range of pixels."""

    def __init__(self, low: float, high: float, from_: float, to: float) -> None:
        self.low, self.high, self._from, self._to = low, high, from_, to

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self._from + share * (self._to - self._from), 1)


def _step(span: float, about: int) -> float:
    """A round step that divides a span into roughly that many parts."""
    raw = span / about
    size = 10.0 ** math.floor(math.log10(raw))
    return next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw * 0.999)


def _text(x: float, y: float, text: str, kind: str = "tick", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _described(points: Sequence[Point]) -> str:
    whole = _merged(points[0].start, points)
    control = "nothing to compare with" if whole.usual is None else f"{whole.usual:.2%} in its control"
    peak, threshold = max(point.ln_e for point in points), points[-1].threshold
    return (
        f"Over {len(points)} minutes the new release failed {whole.canary}, against {control}. The evidence of harm "
        f"reached {peak:.1f} nats; {threshold:.1f} are needed to call the release harmful."
    )


def _marks(spots: Sequence[Mark], x: Callable[[datetime], float]) -> list[str]:
    parts: list[str] = []
    taken = [-1e9, -1e9]
    bottom = _NATS[1]
    waves = [mark for mark in spots if mark.tone == "wave"]
    for i, mark in enumerate(waves[:60]):
        until = x(waves[i + 1].at) if i + 1 < len(waves) else WIDTH - _RIGHT
        if i % 2 == 1:
            width = round(until - x(mark.at), 1)
            parts.append(
                f'<rect class="band" x="{x(mark.at)}" y="{_RATE[0]}" width="{width}" height="{bottom - _RATE[0]}"/>'
            )
    for mark in spots[:60]:
        at, label = x(mark.at), mark.label if len(mark.label) <= 32 else mark.label[:31] + "…"
        width = 7.0 * len(label) + 12
        tone = mark.tone if mark.tone in ("wave", "good", "bad", "warn") else "wave"
        flipped = at + width > WIDTH
        begin = at - width if flipped else at
        row = next((row for row in (0, 1) if taken[row] <= begin), None)
        top = _RATE[0] if row is None else 24 + 18 * row
        parts.append(_line(at, top - 9, at, bottom, f"mark {tone}"))
        if row is not None:
            taken[row] = begin + width
            parts.append(_text(at + (-6 if flipped else 6), top, label, f"label {tone}", "end" if flipped else "start"))
    return parts


def _times(time: _Axis, start: datetime) -> list[str]:
    parts = []
    minutes = time.high
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880)
    step = next((step for step in steps if minutes / step <= 10), 1440 * math.ceil(minutes / 1440 / 8))
    bottom = _NATS[1]
    for i in range(int(minutes // step) + 1):
        at, moment = time(i * step), start + i * step * _MINUTE
        parts.append(_line(at, bottom, at, bottom + 5, "axis"))
        parts.append(_text(at, bottom + 19, f"{i * step:,}", anchor="middle"))
        clock = f"{moment:%H:%M}" if i and moment.date() == start.date() else f"{moment:%d %b %H:%M}"
        edge = at > WIDTH - _RIGHT - 30 and len(clock) > 5
        if i == 0 or minutes < 1440 or i % 2 == 0:
            parts.append(_text(at, bottom + 34, clock, "tick soft", "start" if i == 0 else "end" if edge else "middle"))
    parts.append(_text(WIDTH - _RIGHT, bottom + 54, "minutes since the first attach, and UTC", "tick soft", "end"))
    return parts


def _rates(shown: Sequence[Point], x: Callable[[datetime], float], span: int) -> list[str]:
    canary = [(point.start, point.canary.rate) for point in shown if point.canary.invocations]
    control = [(point.start, point.usual) for point in shown if point.usual is not None]
    rates = [rate for _, rate in (*canary, *control)]
    top = max([0.01, *rates])
    top = min(1.0, top * 1.08) if top < 1 else 1.0
    step = _step(top, 4)
    y = _Axis(0.0, top, _RATE[1], _RATE[0])
    parts = [_text(14, _RATE[0] - 14, "errors", "caption")]
    digits = max(0, -math.floor(math.log10(step * 100)))
    for i in range(int(top / step + 1e-9) + 1):
        at = y(i * step)
        parts.append(_line(_LEFT, at, WIDTH - _RIGHT, at, "grid" if i else "axis"))
        parts.append(_text(_LEFT - 8, at + 4, f"{i * step * 100:.{digits}f}%", anchor="end"))
    for kind, seen in (("control", control), ("canary", canary)):
        dots: list[str] = []
        lines: list[list[str]] = []
        last: datetime | None = None
        for moment, rate in seen:
            at, height = x(moment + span / 2 * _MINUTE), y(rate)
            if last is None or moment - last > span * _MINUTE * 1.5:
                lines.append([])
            lines[-1].append(f"{at},{height}")
            last = moment
            said = escape(f"{kind}, {moment:%H:%M} UTC: {rate:.2%}")
            dots.append(f'<circle class="{kind}" cx="{at}" cy="{height}" r="2.4"><title>{said}</title></circle>')
        parts.extend(f'<polyline class="{kind}" points="{" ".join(line)}"/>' for line in lines if len(line) > 1)
        parts.extend(dots)
    return parts


def _evidence(shown: Sequence[Point], x: Callable[[datetime], float], span: int) -> list[str]:
    threshold = shown[-1].threshold
    peak, least = max(point.ln_e for point in shown), min(point.ln_e for point in shown)
    high, low = max(1.4 * threshold, min(peak * 1.1, 3 * threshold)), -max(1.0, min(-least * 1.1, threshold))
    y = _Axis(low, high, _NATS[1], _NATS[0])
    step = _step(high - low, 5)
    parts = [_text(14, _NATS[0] - 14, "evidence of harm (ln E, nats)", "caption")]
    for i in range(math.ceil(low / step), int(high / step) + 1):
        at = y(i * step)
        parts.append(_line(_LEFT, at, WIDTH - _RIGHT, at, "grid" if i else "axis"))
        parts.append(_text(_LEFT - 8, at + 4, f"{i * step:g}".replace("-", "\u2212"), anchor="end"))
    path, level = [f"{x(shown[0].start)},{y(0.0)}"], y(0.0)
    for i, point in enumerate(shown):
        until = shown[i + 1].start if i + 1 < len(shown) else point.start + span * _MINUTE
        path.append(f"{x(point.start)},{level}")
        level = y(min(high, max(low, point.ln_e)))
        path.append(f"{x(point.start)},{level}")
        if i + 1 == len(shown):
            path.append(f"{min(x(until), WIDTH - _RIGHT)},{level}")
    first, last = path[0].split(",")[0], path[-1].split(",")[0]
    parts.append(f'<polygon class="evidence" points="{first},{y(0.0)} {" ".join(path)} {last},{y(0.0)}"/>')
    parts.append(f'<polyline class="evidence" points="{" ".join(path)}"/>')
    at = y(threshold)
    parts.append(_line(_LEFT, at, WIDTH - _RIGHT, at, "threshold"))
    parts.append(_text(WIDTH - _RIGHT - 4, at - 6, f"harmful from {threshold:.1f}", "label bad", "end"))
    if peak > high:
        top = next(point for point in shown if point.ln_e == peak)
        where = min(max(x(top.start), _LEFT + 60), WIDTH - _RIGHT - 170)
        parts.append(_text(where + 8, _NATS[0] + 12, f"↑ up to {peak:,.0f} nats", "label bad"))
    return parts
