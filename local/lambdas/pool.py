"""The execution environments of all functions: started when needed, used one at a time, ended when outdated or idle."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from local.lambdas.environment import Blueprint, Environment
from local.lambdas.sandbox import Sandbox


class Pools:
    """Environments by the serial number of the release that they run. Thread safe.

    This machine runs at most `per_release` environments of one release and `total` in all. An invocation beyond that
    waits for one to come free, and an idle environment of another release makes room, the longest unused first.
    """

    def __init__(self, sandbox: Sandbox, folder: Path, *, per_release: int, total: int) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self._per_release = per_release
        self._total = total
        self._condition = threading.Condition()
        self._idle: dict[int, list[Environment]] = {}
        self._count: dict[int, int] = {}
        self._retired: set[int] = set()
        self._names = itertools.count(1)
        self._closed = False

    @contextmanager
    def environment(self, serial: int, blueprint: Callable[[], Blueprint]) -> Iterator[tuple[Environment, bool]]:
        """An environment for one invocation, and whether it is a new one. It is ended if the block raises.

        The caller closes it when it broke; it is then not used again.
        """
        environment = self._take(serial)
        cold = environment is None
        try:
            if environment is None:
                environment = Environment(self._sandbox, blueprint(), self._folder / f"{next(self._names)}")
            yield environment, cold
        except BaseException:
            if environment is not None:
                environment.close()
            raise
        finally:
            self._give_back(serial, environment)

    def retire(self, serial: int) -> None:
        """End a release's environments: the idle ones now, the busy ones when their invocation is done."""
        with self._condition:
            self._retired.add(serial)
            idle = self._idle.pop(serial, [])
            self._count[serial] = self._count.get(serial, 0) - len(idle)
            self._condition.notify_all()
        for environment in idle:
            environment.close()

    def close(self) -> None:
        """Start and lend no more environments. Their processes end with the sandbox."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _take(self, serial: int) -> Environment | None:
        """An idle environment, or None as the permission to start one."""
        with self._condition:
            while not self._closed:
                idle = self._idle.get(serial, [])
                while idle:
                    if (environment := idle.pop()).alive():
                        return environment
                    self._count[serial] -= 1
                    environment.close()
                count = self._count.get(serial, 0)
                if count < self._per_release and (sum(self._count.values()) < self._total or self._make_room()):
                    self._count[serial] = count + 1
                    return None
                self._condition.wait()
        raise RuntimeError("the local Lambda has been closed")

    def _make_room(self) -> bool:
        found = min(((idle[0].last_used, serial) for serial, idle in self._idle.items() if idle), default=None)
        if found is None:
            return False
        self._idle[found[1]].pop(0).close()
        self._count[found[1]] -= 1
        return True

    def _give_back(self, serial: int, environment: Environment | None) -> None:
        with self._condition:
            lasts = environment is not None and environment.usable and not environment.worn()
            keep = lasts and serial not in self._retired and not self._closed
            if keep and environment is not None:
                self._idle.setdefault(serial, []).append(environment)
            else:
                self._count[serial] -= 1
            self._condition.notify_all()
        if not keep and environment is not None:
            environment.close()
