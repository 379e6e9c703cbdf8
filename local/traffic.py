"""Steady traffic for a fleet, minute by minute on the virtual clock, the same in every run.

Who is called when, and which events ask to fail, depends on the function's name alone. The clock is held at the end
of the minute under delivery until its last answer is in: a slow machine gets longer minutes, not thinner traffic.
"""

from __future__ import annotations

import json
import math
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, Protocol

from local.clock import Clock

_MINUTE = timedelta(minutes=1)
# The last moment that still belongs to a minute: an invocation that starts while the clock is held counts there.
_INSIDE = timedelta(milliseconds=1)


class Answer(Protocol):
    """What the traffic wants to know of an invocation."""

    @property
    def status(self) -> int: ...
    @property
    def error(self) -> str | None: ...


class Engine(Protocol):
    """Whatever runs functions."""

    def invoke(self, function: str, qualifier: str | None, payload: bytes) -> Answer: ...


@dataclass(frozen=True)
class Source:
    """One function's callers: `per_minute` invocations, the share `error_rate` of them with `{"fail": true}`."""

    function: str
    qualifier: str | None
    per_minute: float
    error_rate: float
    event: dict[str, Any]


@dataclass(frozen=True)
class Counts:
    """What became of a source's invocations: answered (of these with a function error), or not taken by Lambda."""

    answered: int = 0
    errors: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Shot:
    """One invocation to come, `offset` into its minute."""

    offset: timedelta
    source: Source
    payload: bytes


def shots(source: Source, minute: int) -> list[Shot]:
    """The source's invocations in its `minute`-th minute (from 0), in order."""
    first, last = math.floor(minute * source.per_minute), math.floor((minute + 1) * source.per_minute)
    chance = random.Random(f"{source.function} minute {minute}")
    width = 60 / max(last - first, 1)
    return [
        Shot(
            timedelta(seconds=min((number - first + chance.random()) * width, 59.9)),
            source,
            json.dumps(source.event | {"fail": True} if fails(source, number) else source.event).encode(),
        )
        for number in range(first, last)
    ]


def fails(source: Source, number: int) -> bool:
    """Whether the source's `number`-th event (from 0) asks to fail: exactly the wanted share of each run of events."""
    share = Fraction(source.error_rate).limit_denominator(1000)
    block, place = divmod(number, share.denominator)
    chance = random.Random(f"{source.function} errors {block}")
    return place in chance.sample(range(share.denominator), share.numerator)


def no_trouble(function: str, minute: int) -> float:
    """The share of a function's events that fail for want of something else in a minute: none."""
    return 0.0


class Traffic:
    """Delivers the sources' invocations until stopped. A function has one invocation in flight at a time.

    In minutes of trouble a source's error rate is at least what `trouble` says of its function and the minute (from 0).
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        sources: Sequence[Source],
        *,
        lanes: int = 8,
        trouble: Callable[[str, int], float] = no_trouble,
    ) -> None:
        self._engine = engine
        self._trouble_of = trouble
        self._clock = clock
        # A function stays in its lane, so that it needs one execution environment for each of its versions.
        self._lanes = [lane for lane in (list(sources[start::lanes]) for start in range(lanes)) if lane]
        self._stop = threading.Event()
        self._state = threading.Condition()
        self._paused = False
        self._minutes = 0
        self._counts = {source.function: Counts() for source in sources}
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """Begin with the next virtual minute."""
        self._thread.start()

    def stop(self) -> None:
        """End after the invocations in flight, and let go of the clock. Stopping twice does nothing."""
        self._stop.set()
        with self._state:
            self._state.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def pause(self) -> None:
        """Send nothing from the next minute on; the clock then runs freely."""
        with self._state:
            self._paused = True

    def resume(self) -> None:
        """Go on after a pause, with the next virtual minute."""
        with self._state:
            self._paused = False
            self._state.notify_all()

    def wait_minutes(self, minutes: int) -> None:
        """Return when that many more minutes have been delivered; raises what ended the traffic, if something did."""
        with self._state:
            goal = self._minutes + minutes
            self._state.wait_for(lambda: self._minutes >= goal or self._trouble is not None or self._stop.is_set())
        self.check()

    def check(self) -> None:
        """Raise what ended the traffic, if something did."""
        with self._state:
            if self._trouble is not None:
                raise RuntimeError("the traffic broke off") from self._trouble

    def counts(self) -> dict[str, Counts]:
        """For each function, what became of its invocations so far."""
        with self._state:
            return dict(self._counts)

    @property
    def minutes(self) -> int:
        """How many minutes have been delivered."""
        with self._state:
            return self._minutes

    def _run(self) -> None:
        try:
            with ThreadPoolExecutor(max(len(self._lanes), 1), thread_name_prefix="lane") as pool:
                while not self._stop.is_set():
                    self._deliver_until_paused(pool)
                    with self._state:
                        self._state.wait_for(lambda: not self._paused or self._stop.is_set())
        except BaseException as trouble:
            with self._state:
                self._trouble = trouble
                self._state.notify_all()

    def _deliver_until_paused(self, pool: ThreadPoolExecutor) -> None:
        start = self._clock.minute() + _MINUTE
        with self._clock.hold(start + _MINUTE - _INSIDE) as hold:
            while not self._stop.is_set() and not self._paused:
                for lane in [pool.submit(self._deliver, sources, start) for sources in self._lanes]:
                    lane.result()
                # A thin minute is over before the clock is through with it.
                self._clock.sleep_until(hold.at, self._stop)
                start += _MINUTE
                hold.move(start + _MINUTE - _INSIDE)
                with self._state:
                    self._minutes += 1
                    self._state.notify_all()

    def _deliver(self, sources: Sequence[Source], start: datetime) -> None:
        plan = [shot for source in sources for shot in shots(self._troubled(source), self._minutes)]
        for shot in sorted(plan, key=lambda shot: shot.offset):
            if not self._clock.sleep_until(start + shot.offset, self._stop):
                return
            self._count(shot.source.function, self._send(shot))

    def _troubled(self, source: Source) -> Source:
        rate = self._trouble_of(source.function, self._minutes)
        return replace(source, error_rate=rate) if rate > source.error_rate else source

    def _send(self, shot: Shot) -> Counts:
        try:
            answer = self._engine.invoke(shot.source.function, shot.source.qualifier, shot.payload)
        except Exception:
            # As a caller sees it: Lambda did not take the invocation. The minute goes on.
            return Counts(refused=1)
        if answer.status >= 300:
            return Counts(refused=1)
        return Counts(answered=1, errors=int(answer.error is not None))

    def _count(self, function: str, more: Counts) -> None:
        with self._state:
            counts = self._counts[function]
            self._counts[function] = Counts(
                counts.answered + more.answered, counts.errors + more.errors, counts.refused + more.refused
            )
