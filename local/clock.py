"""Virtual time: one CloudWatch minute may last a second, or as long as its traffic needs.

Everything in the embedded AWS that has a timestamp or waits (states, metrics, logs, `LastModified`) reads this
clock. It runs at ``60 / minute_seconds`` times the speed of the wall clock, but never past a *hold*: whoever
delivers the traffic of a minute holds the clock at that minute's end until the last answer is in. A slow machine
therefore stretches minutes and loses none of their traffic, and a replay comes out the same on any machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta


class Hold:
    """A moment that the clock may not pass until the hold is moved or released."""

    def __init__(self, clock: Clock, at: datetime) -> None:
        self._clock = clock
        self.at = at

    def move(self, at: datetime) -> None:
        """Let the clock run on until `at` (aware UTC)."""
        self._clock._set_hold(self, at)

    def release(self) -> None:
        """Let the clock run freely; releasing twice does nothing."""
        self._clock._drop_hold(self)


class Clock:
    """A clock whose minutes last `minute_seconds` real seconds, starting at `origin` (aware UTC, default: now)."""

    def __init__(self, minute_seconds: float = 60.0, origin: datetime | None = None) -> None:
        if minute_seconds <= 0:
            raise ValueError(f"minute_seconds must be positive, not {minute_seconds}")
        self.minute_seconds = minute_seconds
        self._rate = 60.0 / minute_seconds
        self._virtual = origin or datetime.now(UTC)
        self._real = time.monotonic()
        self._holds: list[Hold] = []
        self._condition = threading.Condition()

    def now(self) -> datetime:
        """The virtual moment, aware UTC, never going backwards."""
        with self._condition:
            return self._now()

    def minute(self) -> datetime:
        """The start of the current virtual minute."""
        return self.now().replace(second=0, microsecond=0)

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Wait for `seconds` of virtual time; False as soon as `stop` is set."""
        return self.sleep_until(self.now() + timedelta(seconds=seconds), stop)

    def sleep_until(self, moment: datetime, stop: threading.Event | None = None) -> bool:
        """Wait until the virtual `moment` (aware UTC); False as soon as `stop` is set."""
        with self._condition:
            while (left := (moment - self._now()).total_seconds()) > 0:
                if stop is not None and stop.is_set():
                    return False
                # A held clock is woken by the hold's move; the short bound only lets `stop` be seen.
                self._condition.wait(min(max(left / self._rate, 0.0005), 0.1))
        return stop is None or not stop.is_set()

    @contextmanager
    def hold(self, at: datetime) -> Iterator[Hold]:
        """Keep the clock from passing `at` (aware UTC) while the block runs, unless the hold is moved."""
        hold = Hold(self, at)
        with self._condition:
            self._settle()
            self._holds.append(hold)
        try:
            yield hold
        finally:
            hold.release()

    def _now(self) -> datetime:
        moment = self._virtual + timedelta(seconds=(time.monotonic() - self._real) * self._rate)
        limit = min((hold.at for hold in self._holds), default=moment)
        return max(self._virtual, min(moment, limit))

    def _settle(self) -> None:
        self._virtual, self._real = self._now(), time.monotonic()

    def _set_hold(self, hold: Hold, at: datetime) -> None:
        with self._condition:
            self._settle()
            hold.at = at
            self._condition.notify_all()

    def _drop_hold(self, hold: Hold) -> None:
        with self._condition:
            self._settle()
            if hold in self._holds:
                self._holds.remove(hold)
            self._condition.notify_all()
