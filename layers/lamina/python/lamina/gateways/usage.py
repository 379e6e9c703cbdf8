"""What the functions of a fleet import, read from their code packages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from lamina.fleet import FunctionView, Scope, outside, users_of
from lamina.gateways.packages import Packages, Unreadable
from lamina.imports import Used, imported_modules
from lamina.model import FunctionName, LayerArn
from lamina.rollout import RolloutPolicy

if TYPE_CHECKING:
    from lamina.gateways.functions import Functions

MOST_PACKAGES = 200
LARGEST_PACKAGE = 50_000_000
"""Bytes, zipped."""

AT_ONCE = 4
LONGEST = 180.0
"""Seconds for the whole fleet: no package is begun after that. The smallest come first."""


class Usage:
    """Reads the code of the functions that a rollout would reach.

    Args:
        functions: lists functions, and says where their code is.
        packages: reads zips.
        scope: the functions that this installation may change; no others are read.
        clock: seconds that rise.
    """

    def __init__(
        self, functions: Functions, packages: Packages, scope: Scope, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._functions = functions
        self._packages = packages
        self._scope = scope
        self._clock = clock

    def imported(self, candidate: LayerArn, policy: RolloutPolicy) -> Used:
        """What the functions import that have some version of the candidate's layer, or of one that it replaces.

        Code that several functions share is read once.
        """
        users = users_of(tuple(self._functions.all()), candidate, policy)
        by_code: dict[str, list[FunctionView]] = {}
        for view in sorted(users, key=lambda view: (view.code_size or 0, view.name)):
            if outside(view.name, policy, self._scope) is None:
                by_code.setdefault(view.code, []).append(view)
        until = self._clock() + LONGEST
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="usage") as pool:
            answers = list(pool.map(partial(self._read, until), range(len(by_code)), by_code.values()))
        modules: set[str] = set()
        unread: dict[FunctionName, str] = {}
        for views, answer in zip(by_code.values(), answers, strict=True):
            if isinstance(answer, str):
                unread |= {view.name: answer for view in views}
            else:
                modules |= answer
        read = sum(map(len, by_code.values())) - len(unread)
        return Used(frozenset(modules), read, dict(sorted(unread.items())))

    def _read(self, until: float, number: int, views: Sequence[FunctionView]) -> frozenset[str] | str:
        """What a package imports, or why that is not known."""
        view = views[0]
        if number >= MOST_PACKAGES:
            return f"the fleet has more than {MOST_PACKAGES} packages of code"
        if view.code_size is not None and view.code_size > LARGEST_PACKAGE:
            return f"its code package has {view.code_size:,} bytes, and {LARGEST_PACKAGE:,} are read at most"
        if self._clock() > until:
            return f"the others took more than {LONGEST:.0f} s"
        try:
            package = self._functions.package(view.name)
            if package is None:
                return "it is gone, or has no code package"
            return imported_modules(self._packages.whole(package.location, LARGEST_PACKAGE))
        except Unreadable as error:
            return f"its code package: {error}"
        except ClientError as error:
            return f"Lambda did not say where its code is ({error.response['Error']['Code']})"
        except BotoCoreError as error:
            return f"Lambda did not say where its code is ({type(error).__name__})"
