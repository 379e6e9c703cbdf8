"""Goes through a rollout call by call, and at each call forks a world for every fault that may happen there.

One world is built and run to its end without faults. At every AWS call of every step it forks: each child suffers one
fault at that call, goes on until it has come to rest, checks what must hold, rolls the next release out, checks again,
and leaves a report. So every fault meets the very state that a real one would, and nothing is set up twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.faults import Fault, Injector, Point
from tests.faults.truths import Truths
from tests.faults.world import Stopped, World, world


@dataclass(frozen=True)
class Case:
    """One fault in one place, and what did not hold afterwards."""

    plot: str
    step: str
    action: str
    number: int
    fault: str
    broken: tuple[str, ...]


@dataclass(frozen=True)
class Plot:
    """A rollout to go through: of a harmless release, or of one that does harm."""

    name: str
    harmful: bool


PLOTS = (Plot("promotion", harmful=False), Plot("rollback", harmful=True))


class Explorer:
    """Explores one plot, with a stop before every state of the rollout as well.

    Args:
        folder: for what the worlds leave behind.
        chosen: which faults to try at a call.
        jobs: how many worlds at once.
        step: only faults in this step, and no stops; None for all.
    """

    def __init__(
        self, plot: Plot, folder: Path, chosen: Callable[[Point], Sequence[Fault]], jobs: int, step: str | None = None
    ) -> None:
        self._plot, self._folder, self._chosen, self._jobs, self._step = plot, folder, chosen, jobs, step
        self._children: dict[int, Case] = {}
        self._cases: list[Case] = []
        self._in_child = False
        self._case: Case | None = None
        self._states = 0

    def explore(self) -> list[Case]:
        """Every case; the run without a fault is the first."""
        self._folder.mkdir(parents=True)
        injector = Injector(self._decide)
        with world(self._folder) as made, injector.installed():
            made.harmful = self._plot.harmful
            made.inside, made.entering = injector.inside, self._entering
            truths = Truths(made)
            try:
                broken = tuple(self._play(made, truths))
            except Exception:
                broken = (traceback.format_exc(limit=-6),)
            if self._in_child:
                self._leave(broken)
            self._cases.append(Case(self._plot.name, "-", "-", 0, "none", broken))
            while self._children:
                self._reap()
        return self._cases

    def _play(self, made: World, truths: Truths) -> list[str]:
        made.update(2)
        problems = [*truths.broken("web-v2", (1, 2))]
        # From here on nothing happens any more: the next update must find everything in order.
        self._states, self._chosen = -1, lambda point: ()
        made.harmful = False
        ended = made.update(3)
        if ended.status != "SUCCEEDED":
            problems.append(f"the next update did not go through: {ended.error}: {ended.cause}")
        return problems + [f"after the next update, {text}" for text in truths.broken("web-v3", (3,))]

    def _decide(self, point: Point) -> Fault | None:
        if self._in_child:
            return None
        if self._step not in (None, point.step):
            return None
        for fault in self._chosen(point):
            if self._fork(Case(self._plot.name, point.step, point.action, point.number, fault.value, ())):
                return fault
        return None

    def _entering(self, machine: str, state: str) -> None:
        if self._in_child or self._states < 0 or self._step is not None:
            return
        self._states += 1
        point = Point(f"{machine}.{state}", "states:StopExecution", self._states)
        if machine == "Rollout" and self._fork(
            Case(self._plot.name, point.step, point.action, point.number, "is stopped", ())
        ):
            raise Stopped

    def _fork(self, case: Case) -> bool:
        """Whether this is the child, which is to suffer the case."""
        while len(self._children) >= self._jobs:
            self._reap()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child:
            self._children[child] = case
            return False
        self._in_child, self._case = True, case
        return True

    def _leave(self, broken: tuple[str, ...]) -> None:
        (self._folder / f"{os.getpid()}.json").write_text(json.dumps(broken))
        # Nothing that belongs to the parent is closed on the way out.
        os._exit(0)

    def _reap(self) -> None:
        child, _ = os.wait()
        case = self._children.pop(child)
        file = self._folder / f"{child}.json"
        broken = tuple(json.loads(file.read_text())) if file.exists() else ("the world ended without a report",)
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
        self._cases.append(replace(case, broken=broken))
        if len(self._cases) % 25 == 0:
            print(f"{self._plot.name}: {len(self._cases)} cases", file=sys.stderr, flush=True)


def every(point: Point) -> Sequence[Fault]:
    """All faults at every call."""
    return tuple(Fault)


def in_turn(point: Point) -> Sequence[Fault]:
    """One fault at every call, each kind in its turn."""
    return (tuple(Fault)[point.number % len(Fault)],)


def tabulate(cases: Sequence[Case]) -> str:
    """Step by fault: how many cases, and how many of them did not hold."""
    faults = [*(fault.value for fault in Fault), "is stopped"]
    tried = Counter((case.plot, case.step, case.fault) for case in cases)
    failed = Counter((case.plot, case.step, case.fault) for case in cases if case.broken)
    rows = sorted({(case.plot, case.step) for case in cases if case.step != "-"})
    width = max(len(f"{plot}: {step}") for plot, step in rows)
    lines = [" " * width + "".join(f"  {index}".rjust(8) for index in range(1, len(faults) + 1))]
    for plot, step in rows:
        cells = []
        for fault in faults:
            count, bad = tried[plot, step, fault], failed[plot, step, fault]
            cells.append(("" if not count else f"{count}" if not bad else f"{bad}!{count}").rjust(8))
        lines.append(f"{plot}: {step}".ljust(width) + "".join(cells))
    legend = [f"{index}: the call {fault}" for index, fault in enumerate(faults, 1)]
    return "\n".join([*lines, "", *legend, "a!b: of b cases, a did not hold"])
