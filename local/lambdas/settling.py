"""Changes that take a while: each is finished some real time after it was asked for, in order."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

_LOG = logging.getLogger(__name__)


class Settler:
    """Calls back `seconds` (or a multiple) after each `later`, from one thread; at once where `seconds` is 0."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._condition = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def later(self, action: Callable[[], None], times: float = 1.0) -> None:
        """Have `action` done when the time has passed; `times` that for what takes longer than most."""
        if self.seconds <= 0:
            action()
            return
        with self._condition:
            heapq.heappush(self._due, (time.monotonic() + self.seconds * times, next(self._serial), action))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="lambda-settling", daemon=True)
                self._thread.start()
            self._condition.notify()

    def close(self) -> None:
        """Drop what is not finished yet."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._condition:
                while not self._closed and (not self._due or self._due[0][0] > time.monotonic()):
                    self._condition.wait(max(0.0, self._due[0][0] - time.monotonic()) if self._due else None)
                if self._closed:
                    return
                *_, action = heapq.heappop(self._due)
            try:
                action()
            except Exception:  # one listener's mistake must not leave all later changes in progress
                _LOG.exception("a change could not be finished")
