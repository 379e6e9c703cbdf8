"""The pages that tell people what happened: one for each rollout, and an index for each update run.

A page is one self-contained HTML file without scripts. Everything that goes into it may come from strangers (package
names, log lines, messages) and is escaped by the template engine. Moments are aware datetimes, shown in UTC.

Example:
    >>> html = render_rollout(RolloutPage(layer="web-python313-arm64", outcome="promoted", before=7, candidate=8, …))
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lamina.chart import Mark, bins, chart
from lamina.culprit import Suspect, printable
from lamina.verdict import Point
from lamina.views import (
    MOST_MODULES,
    NOTHING_FOUND,
    Contents,
    Found,
    FunctionJudgement,
    FunctionLine,
    Judgement,
    PackageChange,
    Proof,
    WaveLine,
    worst_first,
)

Outcome = Literal["promoted", "rolled_back", "rejected", "up_to_date", "held", "failed", "running"]

_BADGES: dict[str, tuple[str, str, str]] = {
    "promoted": ("good", "✓", "promoted"),
    "rolled_back": ("bad", "↩", "rolled back"),
    "rejected": ("bad", "✕", "rejected"),
    "up_to_date": ("quiet", "✓", "up to date"),
    "held": ("warn", "‖", "held"),
    "failed": ("bad", "!", "failed"),
    "running": ("busy", "…", "under way"),
}
_URGENCY: tuple[Outcome, ...] = ("failed", "held", "rolled_back", "rejected", "running", "promoted", "up_to_date")
_STAGES = {
    "resolve": "caught while resolving",
    "build": "caught in the build",
    "verify": "caught when it was verified",
    "canary": "caught by the canary",
}
_FUNCTION_GROUPS = (
    ("failed", "Could not be settled"),
    ("restored", "Put back on the old release"),
    ("left", "Left alone"),
    ("attached", "Have the new release for now"),
    ("updated", "Moved to the new release"),
)
_MOST_FUNCTIONS = 200
"""Functions whose own evidence is on the page; all of it is in the bucket."""

_SEVERITY = {
    "major": "bad",
    "minor": "warn",
    "removed": "bad",
    "new": "busy",
    "patch": "quiet",
}


@dataclass(frozen=True)
class RolloutPage:
    """All that the page of one rollout shows. What is None, empty or unknown is left out, or said to be unknown.

    Attributes:
        layer: the variant's name. before, candidate: layer versions; None where there is none.
        outcome: see ``Outcome``. summary: one sentence on what happened and what it means now.
        caught_by: ``resolve``, ``build``, ``verify`` or ``canary``, if it was stopped.
        reason: why the update was started, in words. found: what was held and which advisories there are.
        run: id of the update run. run_href: relative link to the run's page.
        started, ended: aware datetimes. changes: packages that move.
        contents, proof: what the release holds and what Verify found; None where that is not known.
        canary_reason: why the canaries are the ones they are. remarks: what else was observed, in sentences.
        waves, functions, judged: in any order. verdict: the last one; None if nothing was watched.
        alpha, tolerance: the rules it was judged by.
        points: see ``verdict.trace``. suspects: see ``culprit.suspects``. held_back: package → version.
        rollback_machine: ARN of the rollback state machine. rollback_input: None for "to the promoted release".
    """

    layer: str
    outcome: Outcome
    before: int | None
    candidate: int | None
    summary: str
    reason: str
    run: str
    started: datetime
    ended: datetime | None = None
    caught_by: str | None = None
    run_href: str = ""
    found: Found = NOTHING_FOUND
    changes: tuple[PackageChange, ...] = ()
    contents: Contents | None = None
    proof: Proof | None = None
    waves: tuple[WaveLine, ...] = ()
    canary_reason: str = ""
    remarks: tuple[str, ...] = ()
    verdict: Judgement | None = None
    judged: tuple[FunctionJudgement, ...] = ()
    alpha: float = 0.01
    tolerance: float = 0.02
    points: tuple[Point, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    held_back: tuple[tuple[str, str], ...] = ()
    functions: tuple[FunctionLine, ...] = ()
    rollback_machine: str = ""
    rollback_version: int | None = None


@dataclass(frozen=True)
class LayerLine:
    """How one run ended for one variant; ``href`` is a relative link to the rollout's page, if there was one."""

    layer: str
    outcome: Outcome
    summary: str = ""
    caught_by: str | None = None
    before: int | None = None
    candidate: int | None = None
    promoted: int | None = None
    culprits: tuple[str, ...] = ()
    held_back: tuple[tuple[str, str], ...] = ()
    changes: tuple[PackageChange, ...] = ()
    href: str = ""
    found: Found = NOTHING_FOUND


@dataclass(frozen=True)
class RunPage:
    """All that the index page of one update run shows.

    Attributes:
        run: id of the run. reason: why it was started. layers: one line for each variant, in any order.
        refused: (layer, message) of definitions that could not be used. dry_run: nothing was changed.
    """

    run: str
    reason: str
    started: datetime
    ended: datetime | None = None
    layers: tuple[LayerLine, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    dry_run: bool = False


def render_rollout(page: RolloutPage) -> str:
    """The page of one rollout, as one HTML document."""
    marks = [Mark(wave.started, wave.name) for wave in sorted(page.waves, key=lambda wave: wave.started)]
    if page.ended and page.outcome in ("promoted", "rolled_back", "held", "failed"):
        tone, _, label = _BADGES[page.outcome]
        marks.append(Mark(page.ended, label, tone))
    groups = [
        (title, sorted((f for f in page.functions if f.outcome == outcome), key=lambda f: (f.wave or 0, f.name)))
        for outcome, title in _FUNCTION_GROUPS
    ]
    moved = sum(1 for function in page.functions if function.outcome in ("updated", "attached"))
    return _render(
        "rollout.html",
        page=page,
        badge=_BADGES[page.outcome],
        stage=_STAGES.get(page.caught_by or "", ""),
        # The chart escapes what it is given; everything else is escaped by the template.
        chart=Markup(chart(page.points, marks)),
        minutes=bins(page.points),
        groups=[group for group in groups if group[1]],
        moved=moved,
        severity=_SEVERITY,
        changes=sorted(page.changes, key=lambda change: (not change.direct, change.package)),
        judged=worst_first(page.judged)[:_MOST_FUNCTIONS],
        most=MOST_MODULES,
        command=_command(page),
    )


def render_run(page: RunPage) -> str:
    """The index page of one update run, as one HTML document."""
    lines = sorted(page.layers, key=lambda line: (_URGENCY.index(line.outcome), line.layer))
    tally = [(_BADGES[outcome], len(list(same))) for outcome, same in groupby(lines, lambda line: line.outcome)]
    return _render("run.html", page=page, lines=lines, badges=_BADGES, stages=_STAGES, tally=tally, severity=_SEVERITY)


def _command(page: RolloutPage) -> str:
    if not page.rollback_machine:
        return ""
    wanted: dict[str, object] = {"layer": page.layer}
    if page.rollback_version is not None:
        wanted["version"] = page.rollback_version
    return (
        f"aws stepfunctions start-execution \\\n  --state-machine-arn {shlex.quote(page.rollback_machine)} \\\n"
        f"  --input {shlex.quote(json.dumps(wanted))}"
    )


# --- filters


def _moment(moment: datetime | None, form: str = "%d %b %Y, %H:%M") -> str:
    return f"{moment.astimezone(UTC):{form}}" if moment else "—"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _took(started: datetime, ended: datetime | None) -> str:
    if ended is None:
        return "still going"
    minutes = max(0, round((ended - started) / timedelta(minutes=1)))
    parts = ((minutes // 60, "h"), (minutes % 60, "min"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value) or "less than a minute"


def _percent(rate: float) -> str:
    return f"{rate:.2%}"


def _odds(p_value: float) -> str:
    return "1 in a million" if p_value < 1e-6 else f"1 in {int(1 / max(p_value, 1e-6) + 1e-9):,}"


def _until(started: datetime, ended: datetime) -> str:
    """An end as short as its beginning allows: the date only where it is another day."""
    same = started.astimezone(UTC).date() == ended.astimezone(UTC).date()
    return _moment(ended, "%H:%M" if same else "%d %b, %H:%M")


def _version(layer: str | None) -> str:
    """The number of a layer version given as number or ARN."""
    return "—" if layer is None else layer.rsplit(":", 1)[-1]


def _relative(href: str) -> str:
    """The link if it is a plain relative one, else nothing: no scheme, no host, no surprises."""
    return href if re.fullmatch(r"(?!/)(?:[\w.-]+/)*[\w.-]+", href) else ""


def _advisory(identifier: str) -> str:
    return "https://osv.dev/vulnerability/" + quote(identifier, safe="")


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"


def _milliseconds(duration: float | None) -> str:
    return "unknown" if duration is None else f"{duration:,.0f} ms"


def _listed(words: Iterable[str]) -> str:
    *head, last = words or ("",)
    return f"{', '.join(head)} and {last}" if head else last


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "moment": _moment,
        "iso": _iso,
        "percent": _percent,
        "odds": _odds,
        "version": _version,
        "relative": _relative,
        "advisory": _advisory,
        "listed": _listed,
        "megabytes": _megabytes,
        "milliseconds": _milliseconds,
    }
    environment.globals |= {"took": _took, "until": _until}
    return environment


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values)
