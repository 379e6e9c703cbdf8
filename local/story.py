"""What a person sees of a replay: a live panel on a terminal, one line per event elsewhere."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from local.results import Result

COLOURS = {
    "promoted": "green",
    "up_to_date": "green",
    "held": "yellow",
    "rejected": "magenta",
    "rolled_back": "magenta",
    "failed": "red",
}

# States that only carry values from one to the next; a reader of the story does not miss them.
_PATHS = {
    "update": ("Plan", "Check", "Bundle", "Build", "Publish", "Verify", "Rollout", "Proceed", "Report"),
    "rollout": ("Enroll", "Attach", "Wait", "Watch", "Promote", "Rollback", "Report"),
    "rollback": ("Restore", "Confirm", "Hold", "Report"),
}
_QUIET = frozenset({"Wait", "Watch", "Proceed", "Report"})
# Where a layer's branch ends with an outcome. A rollout that was stopped is judged later, by the run's report.
_ENDINGS = frozenset({"UpToDate", "Rejected", "RolledOut", "Failed"})
_LOOK = "rollout  [cyan]Watch[/] "


@dataclass(frozen=True)
class Row:
    """A function on the panel: its layers now, and its last minutes on the old release and on the candidate."""

    name: str
    layers: str
    changed: bool
    old: tuple[int, int]
    """Invocations, and how many of them failed."""
    new: tuple[int, int]


@dataclass(frozen=True)
class View:
    """What the panel shows of the fleet at one moment."""

    minute: int
    rows: Sequence[Row]


class Story:
    """Says nothing: the base of the two that do, and what tests use."""

    def __enter__(self) -> Story:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def begin(self, title: str, subtitle: str) -> None:
        """A replay starts."""

    def chapter(self, text: str) -> None:
        """Something new is under way."""

    def show(self, view: Callable[[], View]) -> None:
        """From now on there is a fleet to look at."""

    def step(self, machine: str, kind: str, state: str, data: Any) -> None:
        """A state machine (`update`, `rollout`, `rollback`) enters or leaves a state, or ends."""

    def change(self, function: str, before: str, after: str) -> None:
        """A function got other layers."""

    def end(self, result: Result, differences: Sequence[str], pages: Sequence[str]) -> None:
        """The replay is over; `pages` are paths of reports, the most interesting first."""


class Lines(Story):
    """One line per event, with the real seconds since the start."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stdout, width=200, highlight=False)
        self._started = time.monotonic()
        self._looks: set[str] = set()

    def begin(self, title: str, subtitle: str) -> None:
        self._started = time.monotonic()
        self._say(f"[bold]{escape(title)}[/]  ({subtitle})")

    def chapter(self, text: str) -> None:
        self._looks.clear()
        self._say(f"[bold]{escape(text)}[/]")

    def step(self, machine: str, kind: str, state: str, data: Any) -> None:
        if sentence := sentence_of(machine, kind, state, data):
            # A look that finds what an earlier one found is no news; a long watch has hundreds of them.
            if sentence.startswith(_LOOK):
                if sentence in self._looks:
                    return
                self._looks.add(sentence)
            self._say(sentence)

    def change(self, function: str, before: str, after: str) -> None:
        self._say(change_of(function, before, after))

    def end(self, result: Result, differences: Sequence[str], pages: Sequence[str]) -> None:
        _close(self._console, result, differences, pages)

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._started:6.1f}s[/]  {text}", soft_wrap=True)


class Panels(Story):
    """A live picture of the workflow, the fleet and the evidence."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._title = self._subtitle = self._chapter = ""
        self._view: Callable[[], View] | None = None
        self._log: deque[str] = deque(maxlen=9)
        self._seen: dict[str, set[str]] = {}
        self._now: dict[str, str] = {}
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Story:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def begin(self, title: str, subtitle: str) -> None:
        with self._lock:
            self._started = time.monotonic()
            self._title, self._subtitle, self._view = title, subtitle, None
            self._log.clear()

    def chapter(self, text: str) -> None:
        with self._lock:
            self._chapter = text
            self._log.append(f"[bold]{escape(text)}[/]")
            self._seen, self._now = {}, {}

    def show(self, view: Callable[[], View]) -> None:
        with self._lock:
            self._view = view

    def step(self, machine: str, kind: str, state: str, data: Any) -> None:
        with self._lock:
            if kind == "started":
                self._seen[machine] = set()
            if kind == "entered":
                self._now[machine] = state
                self._seen.setdefault(machine, set()).add(state)
            elif not state:
                self._now.pop(machine, None)
            if sentence := sentence_of(machine, kind, state, data):
                # One look after another says much the same: the newest is enough.
                if sentence.startswith(_LOOK) and self._log and self._log[-1].startswith(_LOOK):
                    self._log.pop()
                self._log.append(sentence)

    def change(self, function: str, before: str, after: str) -> None:
        with self._lock:
            self._log.append(change_of(function, before, after))

    def end(self, result: Result, differences: Sequence[str], pages: Sequence[str]) -> None:
        with self._lock:
            log = list(self._log)
        self._console.print(Text.from_markup(f"[bold]{escape(self._title)}[/]  {self._subtitle}"))
        self._console.print(Padding(Text.from_markup("\n".join(log)), (0, 2)))
        _close(self._console, result, differences, pages)

    def _render(self) -> RenderableType:
        with self._lock:
            parts: list[RenderableType] = [Text.from_markup(self._workflow())]
            view = self._view and self._view()
            if view:
                parts.append(Padding(fleet_table(view), (1, 0, 0, 0)))
            parts.append(Padding(Text.from_markup("\n".join(self._log), overflow="fold"), (1, 0, 0, 0)))
            elapsed = f"{time.monotonic() - self._started:.0f} s"
            subtitle = f"{self._subtitle} · {elapsed}" + (f" · minute {view.minute} of traffic" if view else "")
            return Panel(Group(*parts), title=f"[bold]{escape(self._title)}[/]", subtitle=subtitle, padding=(1, 2))

    def _workflow(self) -> str:
        lines = []
        for machine, path in _PATHS.items():
            if machine != "update" and machine not in self._seen:
                continue
            seen, now = self._seen.get(machine, set()), self._now.get(machine)
            words = [
                f"[bold reverse] {state} [/]"
                if state == now
                else f"[green]{state}[/]"
                if state in seen
                else f"[dim]{state}[/]"
                for state in path
            ]
            lines.append(f"[bold]{machine:9}[/]" + " → ".join(words))
        return "\n".join(lines)


def choose(quiet: bool = False) -> Story:
    """The story that suits standard output."""
    if quiet:
        return Story()
    return Panels() if sys.stdout.isatty() else Lines()


def sentence_of(machine: str, kind: str, state: str, data: Any) -> str | None:
    """An event of a state machine as a line of markup; None for one that tells nothing new."""
    facts: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    if not state:
        if kind in ("failed", "timed_out", "aborted"):
            return f"[magenta]{machine} ended: {kind.replace('_', ' ')}[/]  {_short(reason_of(facts))}"
        return f"[green]{machine} ended[/]" if kind == "succeeded" else None
    if kind == "exited" and state == "Watch" and "decision" in facts:
        return evidence_of(facts)
    if kind == "exited" and state in _ENDINGS and "variant" in facts and "outcome" in facts:
        colour = COLOURS.get(str(facts["outcome"]), "white")
        words = str(facts["outcome"]).replace("_", " ")
        return f"{facts['variant']}: [{colour}]{words}[/]  {_short(facts.get('message') or facts.get('summary') or '')}"
    if state not in _PATHS.get(machine, ()):
        return None
    if kind == "entered" and state not in _QUIET:
        variant = facts.get("variant")
        name = variant.get("variant", "") if isinstance(variant, Mapping) else ""
        without = facts.get("without")
        again = f" once more, without {_short(_versions(without))}" if isinstance(without, Mapping) else ""
        return f"{machine:8} [cyan]{state}[/]  {name}{again}".rstrip()
    # What became of a nested execution, it has told itself.
    if kind in ("failed", "retried") and state not in ("Rollout", "Rollback"):
        return f"{machine:8} [red]{state} {kind}[/]  {_short(reason_of(facts))}"
    return None


def reason_of(failure: Mapping[str, Any]) -> str:
    """Why a state or an execution failed, in words: causes of Lambda and CodeBuild are JSON documents."""
    cause = failure.get("Cause") or failure.get("Error") or ""
    try:
        document = json.loads(cause)
    except (TypeError, ValueError):
        return str(cause)
    if not isinstance(document, Mapping):
        return str(cause)
    if "errorMessage" in document:
        return f"{document.get('errorType', 'error')}: {document['errorMessage']}"
    phases = document.get("Build", {}).get("Phases", [])
    said = [context.get("Message") for phase in phases for context in phase.get("Contexts", [])]
    return "; ".join(message for message in said if message) or str(cause)


def evidence_of(watch: Mapping[str, Any]) -> str:
    """What a look at the metrics found, as a line of markup."""
    colour = {"harmful": "red", "safe": "green"}.get(str(watch.get("kind")), "yellow")
    numbers = []
    for side in ("canary", "control"):
        counts = watch.get(side)
        if isinstance(counts, Mapping):
            numbers.append(f"{side} {counts.get('errors', '?')} of {counts.get('invocations', '?')} failed")
    if isinstance(watch.get("lnE"), int | float) and isinstance(watch.get("threshold"), int | float):
        numbers.append(f"evidence {watch['lnE']:.1f} of {watch['threshold']:.1f}")
    text = f"{_LOOK} [{colour}]{watch.get('kind', '?')}[/]  {', '.join(numbers)}"
    return text if watch["decision"] == "wait" else f"{text}\n         [{colour}]{_short(watch.get('reason', ''))}[/]"


def change_of(function: str, before: str, after: str) -> str:
    """A function's change of layers, as a line of markup."""
    return f"         {function}: {escape(before)} → [bold]{escape(after)}[/]"


def fleet_table(view: View) -> Table:
    """The functions, their layers and their last minutes."""
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("function")
    table.add_column("layers")
    for heading in ("calls, old release", "failed", "calls, candidate", "failed"):
        table.add_column(heading, justify="right")
    for row in view.rows:
        style = "cyan" if row.changed else ""
        table.add_row(row.name, Text(row.layers, style), *_calls(row.old), *_calls(row.new))
    return table


def summary(result: Result) -> RenderableType:
    """The end of the story: outcome, functions, numbers."""
    colour = COLOURS.get(result.outcome, "white")
    headline = f"[bold {colour}]{result.outcome.replace('_', ' ').upper()}[/]"
    if result.caught_by:
        headline += f", caught by [bold]{result.caught_by}[/]"
    if result.culprits:
        headline += f", because of [bold]{', '.join(result.culprits)}[/]"
    parts: list[RenderableType] = [Text.from_markup(headline)]
    for variant, layer in result.layers.items():
        versions = [release and f"version {release.version}" for release in (layer.before, layer.candidate)]
        text = (
            f"{variant}: before {versions[0] or 'none'}, candidate {versions[1] or 'none'}, promoted {layer.promoted}"
        )
        held = _versions(layer.held_back)
        parts.append(Text(text + (f"; held back: {held}" if held else "")))
        if layer.then is not None:
            moves = ", ".join(
                f"{name} {old or 'new'} → {new or 'gone'}" for name, (old, new) in layer.then.changed.items()
            )
            version = f" as version {layer.then.candidate.version}" if layer.then.candidate else ""
            parts.append(Text(f"the rest{version}: {layer.then.outcome.replace('_', ' ')}; {moves}"))
        if layer.message:
            parts.append(Text(_plain(layer.message), style="dim"))
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for heading in ("function", "layers before", "layers after", "had the candidate"):
        table.add_column(heading)
    for name, function in result.functions.items():
        table.add_row(
            name,
            layers_text(function.before),
            layers_text(function.after),
            "yes" if function.candidate_attached else "no",
        )
    parts.append(Padding(table, (1, 0)))
    flow = result.traffic
    parts.append(
        Text(
            f"{flow.invocations} invocations, {flow.errors} failed; on the candidate {flow.on_candidate}, "
            f"{flow.errors_on_candidate} failed. {result.seconds.get('total', 0):.0f} s."
        )
    )
    return Padding(Group(*parts), (1, 2), expand=False)


def _close(console: Console, result: Result, differences: Sequence[str], pages: Sequence[str]) -> None:
    console.print(summary(result))
    for text in differences:
        console.print(f"  [bold red]not as expected[/]: {escape(text)}", soft_wrap=True)
    for page in pages:
        console.print(f"  report: {escape(page)}", soft_wrap=True)
    console.print()


def _calls(counts: tuple[int, int]) -> tuple[RenderableType, RenderableType]:
    calls, failed = counts
    if not calls:
        return Text("-", "dim"), Text("-", "dim")
    return Text(str(calls)), Text(f"{failed / calls:.0%}", "red" if failed else "dim")


def layers_text(arns: Sequence[str]) -> str:
    """Layer versions in few words."""
    return ", ".join(arn.split(":layer:")[-1].replace(":", " v") for arn in arns) or "none"


def _versions(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())


def _plain(text: object, limit: int = 400) -> str:
    words = " ".join(str(text).split())
    return words if len(words) <= limit else words[: limit - 1] + "…"


def _short(text: object) -> str:
    return escape(_plain(text, 220))
