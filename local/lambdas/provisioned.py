"""Provisioned concurrency: environments that are kept ready for a version, or for what an alias points to.

An allocation takes a while. As Lambda does, an alias that has one and is pointed to another version goes on sending all
of its callers to the version before, by a weight of 1, until the new one has its environments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local.lambdas import rules
from local.lambdas.rules import Refused

DURATION = 5.0
"""How many times as long as other changes an allocation takes."""


@dataclass
class Allocation:
    """What is wanted for one qualifier, and whether it is there; `leaving` is the version that an alias moves from."""

    requested: int
    modified: str
    ready: bool = False
    leaving: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As the API answers it."""
        there = self.requested if self.ready else 0
        return {
            "RequestedProvisionedConcurrentExecutions": self.requested,
            "AllocatedProvisionedConcurrentExecutions": there,
            "AvailableProvisionedConcurrentExecutions": there,
            "Status": "READY" if self.ready else "IN_PROGRESS",
            "LastModified": self.modified,
        }


class Provisioned:
    """The allocations of one account and region, by function and qualifier. The caller sees to one at a time.

    Args:
        later: does something when an allocation's time has passed.
    """

    def __init__(self, later: Callable[[Callable[[], None]], None]) -> None:
        self._later = later
        self._found: dict[str, dict[str, Allocation]] = {}

    def of(self, function: str) -> Mapping[str, Allocation]:
        """A function's allocations by qualifier."""
        return self._found.get(function, {})

    def put(self, function: str, qualifier: str, requested: int, modified: str) -> Allocation:
        """Begin an allocation, in the place of an earlier one."""
        allocation = self._found.setdefault(function, {})[qualifier] = Allocation(requested, modified)
        self._allocate(function, qualifier, allocation, lambda: None)
        return allocation

    def delete(self, function: str, qualifier: str | None = None) -> None:
        """End an allocation, or all of a function's; ending what is not there is fine."""
        if qualifier is None:
            self._found.pop(function, None)
        else:
            self._found.get(function, {}).pop(qualifier, None)

    def routing(
        self, function: str, alias: str, before: str, after: str, weights: Mapping[str, float]
    ) -> dict[str, float]:
        """The weights that an alias with an allocation gets, in the place of those wanted, when it is changed.

        Raises:
            Refused: it is on its way to another version, and is now to go to a third one.
        """
        allocation = self.of(function).get(alias)
        if allocation is None:
            return dict(weights)
        back = allocation.leaving is not None and after == allocation.leaving
        if allocation.leaving is not None and after != before and not back:
            raise Refused("InvalidParameterValueException", "Invalid alias configuration for Provisioned Concurrency")
        return {before: 1.0} if after != before and not weights and not back else dict(weights)

    def follow(self, function: str, alias: str, before: str, after: str, done: Callable[[], None]) -> None:
        """An alias's version or weights were changed: allocate anew.

        `done` is called when an alias that was pointed to another version may send all of its callers there.
        """
        allocation = self.of(function).get(alias)
        if allocation is None:
            return
        back = after == allocation.leaving
        leaving = before if after != before and not back else None
        fresh = Allocation(allocation.requested, allocation.modified, ready=back, leaving=leaving)
        self._found[function][alias] = fresh
        if not back:
            self._allocate(function, alias, fresh, done)

    def _allocate(self, function: str, qualifier: str, allocation: Allocation, done: Callable[[], None]) -> None:
        def settle() -> None:
            if self.of(function).get(qualifier) is allocation:
                moved, allocation.leaving = allocation.leaving is not None, None
                allocation.ready = True
                if moved:
                    done()

        self._later(settle)


def check(
    qualifier: str,
    requested: int,
    aliases: Mapping[str, tuple[str, Mapping[str, float]]],
    held: Mapping[str, Allocation],
    reserved: int | None,
) -> None:
    """Raise `Refused` for an allocation that Lambda refuses.

    Args:
        qualifier: a version or an alias that exists.
        aliases: the function's aliases, each with its version and the weights of others.
        held: the function's allocations so far.
        reserved: the function's reserved concurrency.
    """
    version, weights = aliases.get(qualifier, (qualifier, {}))
    if requested < 1:
        raise Refused(
            "ValidationException",
            f"1 validation error detected: Value '{requested}' at 'provisionedConcurrentExecutions' failed to satisfy "
            "constraint: Member must have value greater than or equal to 1",
        )
    if version == "$LATEST":
        raise _invalid("Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
    if weights:
        raise _invalid("Alias with weights can not be used with Provisioned Concurrency")
    if qualifier in aliases and version in held:
        raise Refused(
            "ResourceConflictException",
            "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version", 409,
        )  # fmt: skip
    if any(alias in held and target == version for alias, (target, _) in aliases.items() if alias != qualifier):
        raise Refused("ResourceConflictException", "Version is pointed by a Provisioned Concurrency alias", 409)
    others = sum(allocation.requested for name, allocation in held.items() if name != qualifier)
    if reserved is not None and others + requested > reserved:
        raise _invalid(
            "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
        )
    if others + requested > rules.ACCOUNT_CONCURRENCY - rules.UNRESERVED_CONCURRENCY:
        raise _invalid(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
            f"minimum value of [{rules.UNRESERVED_CONCURRENCY}]."
        )


def unknown() -> Refused:
    """There is no allocation."""
    return Refused(
        "ProvisionedConcurrencyConfigNotFoundException",
        "No Provisioned Concurrency Config found for this function", 404,
    )  # fmt: skip


def _invalid(message: str) -> Refused:
    return Refused("InvalidParameterValueException", message)
