"""What the functions of a fleet import, read from their code packages."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from lamina.fleet import FunctionView, Scope, outside, users_of
from lamina.gateways.packages import Packages, Unreadable
from lamina.imports import READER, Used, imported_modules
from lamina.model import FunctionName, LayerArn
from lamina.rollout import RolloutPolicy

if TYPE_CHECKING:
    from lamina.gateways.functions import Functions
    from lamina.gateways.store import Store

MOST_PACKAGES = 200
LARGEST_PACKAGE = 50_000_000
"""Bytes, zipped."""

LARGEST_SUM = 2_000_000_000
"""Bytes, zipped, of all packages together."""

AT_ONCE = 4
LONGEST = 180.0
"""Seconds for the whole fleet: no package is begun after that."""


class Usage:
    """Reads the code of functions, each package once: what was found is kept under the digest of the code.

    Args:
        functions: lists functions, and says where their code is.
        packages: reads zips.
        store: keeps what was found.
        scope: the functions that this installation may change; no others are read.
        clock: seconds that rise.
    """

    def __init__(
        self,
        functions: Functions,
        packages: Packages,
        store: Store,
        scope: Scope,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._functions = functions
        self._packages = packages
        self._store = store
        self._scope = scope
        self._clock = clock

    def imported(self, candidate: LayerArn, policy: RolloutPolicy) -> Used:
        """What the functions import that have some version of the candidate's layer, or of one that it replaces.

        The smallest packages are read first.
        """
        users = users_of(tuple(self._functions.all()), candidate, policy)
        mine = [view for view in users if outside(view.name, policy, self._scope) is None]
        return self.read(sorted(mine, key=lambda view: (view.code_size or 0, view.name)))

    def read(self, views: Iterable[FunctionView]) -> Used:
        """What these functions import, the first of them first, as far as number, bytes and time allow."""
        by_code: dict[str, list[FunctionView]] = {}
        for view in views:
            by_code.setdefault(view.code, []).append(view)
        sizes = [min(one[0].code_size or LARGEST_PACKAGE, LARGEST_PACKAGE) for one in by_code.values()]
        until = self._clock() + LONGEST
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="usage") as pool:
            read = partial(self._read, until)
            answers = list(pool.map(read, range(len(by_code)), accumulate(sizes), by_code.values()))
        known: dict[FunctionName, frozenset[str]] = {}
        unread: dict[FunctionName, str] = {}
        for same, answer in zip(by_code.values(), answers, strict=True):
            for view in same:
                if isinstance(answer, str):
                    unread[view.name] = answer
                else:
                    known[view.name] = answer
        return Used(dict(sorted(known.items())), dict(sorted(unread.items())))

    def _read(self, until: float, number: int, sum_: int, views: Sequence[FunctionView]) -> frozenset[str] | str:
        """What a package imports, or why that is not known."""
        view = views[0]
        key = _key(view.code)
        kept = self._store.read_json(key) if key else None
        if isinstance(kept, list) and all(isinstance(module, str) for module in kept):
            return frozenset(kept)
        if view.code_size is not None and view.code_size > LARGEST_PACKAGE:
            return f"its code package has {view.code_size:,} bytes, and {LARGEST_PACKAGE:,} are read at most"
        if number >= MOST_PACKAGES:
            return f"the fleet has more than {MOST_PACKAGES} packages of code"
        if sum_ > LARGEST_SUM:
            return f"the fleet's packages of code have more than {LARGEST_SUM:,} bytes"
        if self._clock() > until:
            return f"the others took more than {LONGEST:.0f} s"
        found = self._download(view)
        if key and not isinstance(found, str):
            self._store.write_json(key, sorted(found))
        return found

    def _download(self, view: FunctionView) -> frozenset[str] | str:
        try:
            package = self._functions.package(view.name)
            if package is None:
                return "it is gone, or has no code package"
            if package.code != view.code:
                return "its code was replaced meanwhile"
            return imported_modules(self._packages.whole(package.location, LARGEST_PACKAGE))
        except Unreadable as error:
            return f"its code package: {error}"
        except ClientError as error:
            return f"Lambda did not say where its code is ({error.response['Error']['Code']})"
        except BotoCoreError as error:
            return f"Lambda did not say where its code is ({type(error).__name__})"


def _key(code: str) -> str | None:
    """Where in the bucket it is kept what code with this digest (SHA-256 as base64) imports."""
    try:
        digest = base64.b64decode(code, validate=True)
    except binascii.Error:
        return None
    return f"imports/{READER}/{digest.hex()}.json" if len(digest) == 32 else None
