"""Faults at AWS calls: what a step may meet at any of them, and how it is made to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from botocore.client import BaseClient
from botocore.exceptions import ClientError, ReadTimeoutError

from local.patches import Patches
from tests.faults.world import Killed


class Fault(StrEnum):
    """What happens at a call. The SDK's own retries are used up by then."""

    REFUSED = "fails before it takes effect"
    LOST = "takes effect, then times out"
    THROTTLED = "is throttled (429)"
    BROKEN = "is answered with 500"
    KILLED = "takes effect, then the process dies"


@dataclass(frozen=True)
class Point:
    """One AWS call of a step: the n-th of this action in it, counted from 1, in the order of the world's first run."""

    step: str
    action: str
    number: int


class Injector:
    """Counts the calls of steps and lets `decide` say what becomes of each; other calls pass.

    Use `inside` as the world's hook around steps.
    """

    def __init__(self, decide: Callable[[Point], Fault | None]) -> None:
        self._decide = decide
        self._step: str | None = None
        self._count = 0

    def inside(self, step: str | None) -> None:
        """A step begins, or (None) has ended."""
        self._step = step

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Stand between every boto3 client and AWS."""
        patches = Patches()
        original: Any = BaseClient._make_api_call

        def call(client: Any, operation: str, arguments: Any) -> Any:
            fault = None
            if self._step is not None:
                self._count += 1
                action = f"{client.meta.service_model.endpoint_prefix}:{operation}"
                fault = self._decide(Point(self._step, action, self._count))
            if fault is None:
                return original(client, operation, arguments)
            return _suffer(fault, lambda: original(client, operation, arguments), operation)

        patches.replace(BaseClient, "_make_api_call", call)
        try:
            yield
        finally:
            patches.undo()


def _suffer(fault: Fault, call: Callable[[], Any], operation: str) -> Any:
    match fault:
        case Fault.REFUSED:
            raise ReadTimeoutError(endpoint_url="https://aws.invalid")
        case Fault.THROTTLED:
            raise _error("TooManyRequestsException", "Rate exceeded", 429, operation)
        case Fault.BROKEN:
            raise _error("ServiceException", "Service unavailable", 500, operation)
        case Fault.LOST:
            call()
            raise ReadTimeoutError(endpoint_url="https://aws.invalid")
        case Fault.KILLED:
            call()
            raise Killed


def _error(code: str, text: str, status: int, operation: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation
    )
