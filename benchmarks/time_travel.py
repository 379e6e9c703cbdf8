"""Ten requirement sets through twelve months of real history: every lock obeys policy and is never older than the last.

`python -m benchmarks.time_travel [first month]`, such as 2025-06. On the first day of each month each set is resolved
as the index was then, from the lock of the month before. What is checked is computed from the locks alone, not by the
code that made them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from packaging.version import Version

from benchmarks import common
from lamina.lock import Lock
from lamina.resolution import Order
from lamina.steps.resolve_python import PythonGateways, resolve_python

MONTHS = 12
COOLDOWN = timedelta(days=7)
ALLOW = "minor"
RUNTIME = "python3.12"


@dataclass
class Journey:
    """One set through all months."""

    name: str
    locks: int = 0
    moves: int = 0
    held: int = 0
    broken: list[str] = field(default_factory=list)


def main(first: str) -> int:
    """Travel and print; 1 if any lock broke a rule."""
    started = time.perf_counter()
    with common.python_gateways() as gateways:
        journeys = [_travel(name, lines, first, gateways) for name, lines in common.requirement_sets().items()]
    common.show(
        f"{len(journeys)} sets, {MONTHS} months from {first}, allow {ALLOW}, cooldown {COOLDOWN.days} days, {RUNTIME}",
        ["set", "locks", "moves", "held", "broken rules"],
        [[journey.name, journey.locks, journey.moves, journey.held, len(journey.broken)] for journey in journeys],
    )
    broken = [problem for journey in journeys for problem in journey.broken]
    common.emit(
        {
            "measured": "rules that locks of real history broke",
            "first": first,
            "months": MONTHS,
            "sets": [vars(journey) for journey in journeys],
            "seconds": round(time.perf_counter() - started, 1),
        }
    )
    return 1 if broken else 0


def _travel(name: str, lines: list[str], first: str, gateways: PythonGateways) -> Journey:
    definition = common.definition(name, lines, f'allow = "{ALLOW}"\ncooldown-days = {COOLDOWN.days}', RUNTIME)
    variant, journey = common.only_variant(definition), Journey(name)
    lock: Lock | None = None
    wanted: tuple[str, ...] = ()
    for moment in _months(first):
        resolved = resolve_python(
            Order(definition, variant, lock, moment, previously_wanted=wanted), gateways, dry_run=True, now=moment
        )
        journey.locks += 1
        journey.moves += len(resolved.changes) if lock else 0
        journey.held += len(resolved.held)
        journey.broken += _broken(name, moment, lock, resolved.lock, resolved.direct)
        lock, wanted = resolved.lock, resolved.wanted
    return journey


def _months(first: str) -> Iterator[datetime]:
    moment = common.midnight(f"{first}-01")
    for _ in range(MONTHS):
        yield moment
        moment = (moment + timedelta(days=31)).replace(day=1)


def _broken(name: str, moment: datetime, old: Lock | None, new: Lock, direct: frozenset[str]) -> Iterator[str]:
    where = f"{name} {moment:%Y-%m}"
    for package, pin in new.pins.items():
        before = old.pins.get(package) if old else None
        if before is not None and Version(pin.version) < Version(before.version):
            yield f"{where}: {package} went back from {before.version} to {pin.version}"
        if before is not None and pin.version != before.version and package in direct:
            years = min(Version(pin.version).major, Version(before.version).major) >= 1990
            if Version(pin.version).major != Version(before.version).major and not years:
                yield f"{where}: {package} made a major step from {before.version} to {pin.version}"
        if (before is None or before.version != pin.version) and Version(pin.version).is_prerelease:
            yield f"{where}: {package} {pin.version} is a pre-release"
        if pin.uploaded is None or pin.uploaded >= moment:
            yield f"{where}: {package} {pin.version} was not there yet"
        elif (before is None or before.version != pin.version) and pin.uploaded > moment - COOLDOWN:
            yield f"{where}: {package} {pin.version} was younger than the cooldown"
        if not pin.hashes:
            yield f"{where}: {package} {pin.version} has no hash"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "2025-11"))
