"""A signal that ends work from outside, and everything that the work started."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from local.states.errors import Interrupted


class Interrupt:
    """Set once; setting it sets every child and calls every listener."""

    def __init__(self, parent: Interrupt | None = None) -> None:
        self.event = threading.Event()
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._parent = parent
        if parent is not None:
            parent._listen(self.set)

    def set(self) -> None:
        """End the work; setting twice does nothing."""
        with self._lock:
            if self.event.is_set():
                return
            self.event.set()
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()

    def check(self) -> None:
        """Raise Interrupted where the work has been ended."""
        if self.event.is_set():
            raise Interrupted

    @contextmanager
    def listener(self, call: Callable[[], None]) -> Iterator[None]:
        """Call `call` if the interrupt is set while the block runs (at once where it is set already)."""
        self._listen(call)
        try:
            yield
        finally:
            with self._lock:
                if call in self._listeners:
                    self._listeners.remove(call)

    def close(self) -> None:
        """Detach from the parent when the work is over."""
        if self._parent is not None:
            with self._parent._lock:
                if self.set in self._parent._listeners:
                    self._parent._listeners.remove(self.set)

    def _listen(self, call: Callable[[], None]) -> None:
        with self._lock:
            if not self.event.is_set():
                self._listeners.append(call)
                return
        call()
