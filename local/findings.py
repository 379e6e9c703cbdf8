"""What `check` found, as a person likes to read it: colour on a terminal, plain columns elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lamina.explain import ExplainedChange, Held
from lamina.model import Finding
from local.checking import Report, Row

MOST_CHANGES, MOST_HELD = 16, 8
"""Lines of each kind that are shown of a variant, unless all are asked for."""

_OUTCOMES = {
    "changed": ("green", "would change"),
    "up_to_date": ("cyan", "up to date"),
    "failed": ("red", "no solution"),
    "unknown": ("yellow", "unknown"),
}
_KINDS = {"patch": "green", "minor": "cyan", "major": "magenta", "new": "green", "removed": "yellow"}
_INDENT = (0, 0, 0, 2)
_MACHINE = re.compile(r"\b(x86_64|aarch64)-(?=manylinux)")
"""What a reason says of one architecture alone, where several have it."""


@dataclass(frozen=True)
class _Group:
    """Variants of a layer for which the same holds."""

    rows: tuple[Row, ...]

    @property
    def row(self) -> Row:
        return self.rows[0]


def show(report: Report, console: Console, *, whole: bool = False) -> None:
    """Print the report.

    Args:
        whole: leave nothing out.
    """
    parts = list(_parts(report, whole))
    if console.is_terminal:
        console.print(*parts, sep="\n")
        return
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    # Columns are filled up with spaces, which in a file are only in the way.
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _parts(report: Report, whole: bool) -> Iterator[RenderableType]:
    for group in _groups(report.rows):
        yield _heading(group)
        yield Padding(Group(*_body(group, report.as_of, whole)), _INDENT)
        yield ""
    for refusal in report.refused:
        yield Text.assemble(("refused  ", "bold red"), refusal.message)
    if report.refused:
        yield ""
    unknown = [said for row in report.rows if row.explanation and (said := row.explanation.advice.unknown)]
    if unknown:
        more = f" (and for {_count(len(unknown) - 1, 'other variant', 'other variants')})" if len(unknown) > 1 else ""
        yield Text.assemble(("advisories unknown  ", "bold yellow"), unknown[0], (more, "dim"))
    yield Text(summary(report), "bold")


def summary(report: Report) -> str:
    """The whole in one line."""
    outcomes: Counter[str] = Counter(row.outcome for row in report.rows)
    # The same advisory in several variants is one to a reader.
    found: dict[tuple[str, str, str], bool] = {}
    for row in report.rows:
        for one in row.explanation.advice.findings if row.explanation else ():
            key = (row.variant.layer, one.package, one.id)
            found[key] = found.get(key, True) and one.resolved
    fixed = sum(found.values())
    silent = any(row.explanation is None or row.explanation.advice.unknown for row in report.rows)
    parts = [
        *(f"{count} {_OUTCOMES[outcome][1]}" for outcome in _OUTCOMES if (count := outcomes[outcome])),
        *([_count(fixed, "advisory fixed", "advisories fixed")] if fixed else []),
        *([_count(len(found) - fixed, "advisory remains", "advisories remain")] if len(found) > fixed else []),
        *(["advisories unknown, wholly or in part"] if silent else []),
        *([f"{_count(len(report.refused), 'definition', 'definitions')} refused"] if report.refused else []),
    ]
    layers = len({row.variant.layer for row in report.rows})
    told = "; ".join(parts) or "nothing to check"
    return (
        f"{_count(layers, 'layer', 'layers')}, {_count(len(report.rows), 'variant', 'variants')}: {told} "
        f"(as of {report.as_of:%Y-%m-%d %H:%M} UTC)"
    )


def _groups(rows: Sequence[Row]) -> list[_Group]:
    found: dict[object, _Group] = {}
    for row in rows:
        told = row.explanation
        # Files for several architectures are uploaded one after another: the day is what a reader sees.
        key = (
            row.variant.layer, row.variant.environment, row.outcome, row.locks, row.notes,
            row.message.replace(row.variant.variant, ""),
            told and tuple((*_seen(change), change.direct) for change in told.changes),
            told and tuple((*_seen(held), _MACHINE.sub("", held.why)) for held in told.held),
            told and told.advice.findings,
        )  # fmt: skip
        found[key] = _Group((*(found[key].rows if key in found else ()), row))
    return list(found.values())


def _seen(entry: ExplainedChange | Held) -> tuple[object, ...]:
    if isinstance(entry, Held):
        return (entry.package, entry.version, entry.kind, entry.more, entry.until and entry.until.date())
    return (entry.package, entry.from_, entry.to, entry.kind, entry.uploaded and entry.uploaded.date())


def _heading(group: _Group) -> Text:
    row = group.row
    colour, words = _OUTCOMES[row.outcome]
    names = [one.variant.variant.removeprefix(f"{row.variant.layer}-") for one in group.rows]
    if row.explanation is not None and row.outcome == "changed":
        packages = _count(len(row.explanation.changes), "package", "packages")
        words = f"{packages} would change" if row.locks else f"first release with {packages}"
    text = Text.assemble((row.variant.layer, "bold"), "  ", ", ".join(names), "  ", (words, f"bold {colour}"))
    text.append(f"  (from {', '.join(row.locks)})" if row.locks else "  (no lock beside it)", "dim")
    return text


def _body(group: _Group, as_of: datetime, whole: bool) -> Iterable[RenderableType]:
    row = group.row
    if row.message:
        yield Text(row.message)
    if row.explanation is not None:
        if row.explanation.advice.findings:
            yield _advice(row.explanation.advice.findings)
        if row.explanation.changes:
            yield from _changes(row.explanation.changes, whole)
        if row.explanation.held:
            yield Text("not taken", "dim")
            alike = [held.model_copy(update={"why": _MACHINE.sub("", held.why)}) for held in row.explanation.held]
            yield from _held(alike if len(group.rows) > 1 else row.explanation.held, as_of, whole)
    for note in row.notes:
        yield Text.assemble(("note  ", "yellow"), note)


def _advice(findings: Sequence[Finding]) -> RenderableType:
    table = _columns(3)
    for one in sorted(findings, key=lambda one: (one.resolved, one.package, one.id)):
        if one.resolved:
            said = Text("fixed by this update", "green")
        else:
            said = Text(f"{'comes with this update' if one.introduced else 'remains'}: {one.why}", "bold red")
        table.add_row(Text(one.id, "bold"), f"{one.package} {one.version}", said)
    return table


def _changes(changes: Sequence[ExplainedChange], whole: bool) -> Iterable[RenderableType]:
    ordered = sorted(changes, key=lambda change: (not change.direct, change.ecosystem, change.package))
    shown = ordered if whole or len(ordered) <= MOST_CHANGES else _first(ordered)
    table = _columns(6)
    for change in shown:
        table.add_row(
            Text(change.package, "bold" if change.direct else ""),
            _step(change.from_, change.to),
            Text(change.kind, _KINDS[change.kind]),
            "direct" if change.direct else "transitive",
            "" if change.uploaded is None else f"{change.uploaded:%Y-%m-%d}",
            "" if change.age_days is None else _count(change.age_days, "day old", "days old"),
        )
    yield table
    left = len(ordered) - len(shown)
    if left:
        yield Text(f"and {_count(left, 'package', 'packages')} more that these need", "dim")


def _first(ordered: list[ExplainedChange]) -> list[ExplainedChange]:
    direct = sum(change.direct for change in ordered)
    return ordered[: max(direct, MOST_CHANGES)]


def _held(held: Sequence[Held], as_of: datetime, whole: bool) -> Iterable[RenderableType]:
    shown = held if whole else sorted(held, key=lambda one: one.kind not in ("cooldown", "withdrawn"))[:MOST_HELD]
    table = _columns(4)
    for one in shown:
        more = f" and {one.more} older" if one.more else ""
        table.add_row(one.package, f"{one.version}{more}", Text(one.kind, "yellow"), _why(one, as_of))
    yield table
    rest = Counter(one.kind for one in held) - Counter(one.kind for one in shown)
    if rest:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(rest.items()))
        yield Text(f"and {rest.total()} more ({kinds}); --all shows them", "dim")


def _why(one: Held, as_of: datetime) -> str:
    if one.until is None:
        return one.why
    days = max((one.until - as_of).days, 0)
    return (
        f"until {one.until:%Y-%m-%d %H:%M} UTC, in {_count(days, 'day', 'days')}"
        if days
        else (f"until {one.until:%Y-%m-%d %H:%M} UTC")
    )


def _step(before: str | None, after: str | None) -> str:
    if before is None:
        return str(after)
    return f"{before} → {after}" if after else f"{before} goes"


def _columns(count: int) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for number in range(count):
        table.add_column(overflow="fold", no_wrap=number < count - 1)
    return table


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
