"""What npm is asked for an update of one variant, and which versions it may see.

`ask_npm` turns definition, policy and current lock into a `NodeQuestion`; a gateway runs npm, which sees of the
registry what `lamina.offer` shows it; `lamina.nodeanswer` judges what comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from lamina import policy
from lamina.errors import ResolutionFailed
from lamina.noderange import contains, parse_range
from lamina.npmlock import NodeLock, places_of, versions_of
from lamina.offer import Packument, Rules, npm_order
from lamina.packagejson import PackageJson, node_major, read_package_json
from lamina.resolution import Order
from lamina.versions import Kind, is_calendar, is_prerelease, older

Shown = tuple[str, str]
"""A package and one of its versions."""


@dataclass(frozen=True)
class NodeQuestion:
    """What npm is asked.

    Attributes:
        package_json: what the definition wants.
        ranges: direct packages to the range that npm is given instead of the written one.
        names: packages that are looked at, while others stay at their places; empty to begin anew.
        current: the lock to begin with; None for none.
        rules: which versions npm sees.
        direct: names of the packages that the definition itself wants.
        fixes: package to the versions that fix an advisory in it.
    """

    variant: str
    architecture: str
    package_json: PackageJson
    ranges: Mapping[str, str]
    names: tuple[str, ...]
    current: NodeLock | None
    rules: Rules
    direct: frozenset[str]
    fixes: Mapping[str, tuple[str, ...]]

    def wants(self, package: str) -> str:
        """The range that npm is given for a direct package."""
        return self.ranges.get(package, self.package_json.ranges[package])

    def hiding(self, versions: frozenset[Shown]) -> NodeQuestion:
        """The same question with more versions hidden."""
        return replace(self, rules=replace(self.rules, hidden=self.rules.hidden | versions))

    def early(self, package: str, cutoff: datetime) -> NodeQuestion:
        """The same question with one package's cutoff put off."""
        return replace(self, rules=replace(self.rules, cutoffs={**self.rules.cutoffs, package: cutoff}))


def ask_npm(order: Order) -> NodeQuestion:
    """What to ask npm for an update of one variant.

    Fixes of advisories have no cutoff of their own yet: that takes the registry's dates (`NodeQuestion.early`).

    Raises:
        DefinitionRefused: the package.json asks for something that a lock cannot be made of.
        ResolutionFailed: what is asked for contradicts itself.
    """
    package_json, rules = read_package_json(order.definition), order.definition.tables.update
    current = _npm_lock(order)
    pins = versions_of(current)
    direct = frozenset(package_json.ranges)
    fixes = {
        name: tuple(sorted({str(fix.fixed) for fix in order.fixes if _is_for(fix, name)}, key=npm_order))
        for name in sorted(pins.keys() - order.packages.keys())
    }
    for name, version in sorted(order.packages.items()):
        _no_older(order.variant.variant, name, version, pins.get(name, frozenset()))
    return NodeQuestion(
        variant=order.variant.variant,
        architecture=order.variant.architecture,
        package_json=package_json,
        ranges=_ranges(order, package_json, current),
        names=tuple(sorted(direct | places_of(current))) if current else (),
        current=current,
        rules=Rules(
            cutoff=policy.cutoff(order.as_of, rules.cooldown_days),
            node=node_major(order.definition, order.variant),
            cutoffs=dict.fromkeys(sorted(order.packages), order.as_of),
            pins=pins,
            still=frozenset(rules.ignore) & pins.keys() - order.packages.keys(),
            exact=dict(order.packages),
            hidden=frozenset((held.package, held.version) for held in order.held_back if held.ecosystem == "npm"),
            undated=rules.cooldown_days == 0,
        ),
        direct=direct,
        fixes={name: fixed for name, fixed in fixes.items() if fixed},
    )


def node_ceiling(version: str, allow: Kind) -> str | None:
    """The version that a package must stay below to be within what `allow` permits; None for no limit."""
    current = npm_order(version)
    if allow == "patch":
        return f"{current.major}.{current.minor + 1}.0"
    return None if allow == "major" or is_calendar(current) else f"{current.major + 1}.0.0"


def fix_cutoff(packument: Packument, fixed: str, rules: Rules, as_of: datetime) -> datetime | None:
    """Just after the upload of the lowest version that fixes; None where none is there yet.

    Args:
        fixed: the version from which on it is fixed.
        rules: whose held-back versions do not count.
        as_of: the moment whose registry counts.
    """
    name = packument.name
    fixing = [
        version
        for version in packument.versions
        if not older("npm", version, fixed)
        and not is_prerelease("npm", version)
        and (name, version) not in rules.hidden
        and (came := packument.came(version)) is not None
        and came <= as_of
    ]
    lowest = packument.came(min(fixing, key=npm_order)) if fixing else None
    return None if lowest is None else lowest + timedelta(seconds=1)


def _npm_lock(order: Order) -> NodeLock | None:
    if order.current is None:
        return None
    if isinstance(order.current, NodeLock):
        return order.current.on(order.variant.architecture)
    raise TypeError("a lock of npm packages is read by lamina.npmlock.parse_npm_lock")


def _ranges(order: Order, package_json: PackageJson, current: NodeLock | None) -> dict[str, str]:
    """What npm is given instead of the written ranges: exact versions, and what `allow` leaves of a range."""
    given: dict[str, str] = {}
    for name, written in package_json.ranges.items():
        if (exact := order.packages.get(name)) is not None:
            if contains(written, exact) is False:
                raise ResolutionFailed(
                    f"{order.variant.variant}: {name} {exact} was asked for, but package.json asks for {written!r}; "
                    "nothing was changed. Change the range there first"
                )
            given[name] = exact
        elif current is not None and name in current.pins:
            limit = node_ceiling(current.pins[name].version, order.definition.tables.update.allow)
            if limit is not None:
                given[name] = str(parse_range(written).below(limit))
    return given


def _no_older(variant: str, name: str, version: str, have: frozenset[str]) -> None:
    rivals = [pin for pin in have if npm_order(pin).major == npm_order(version).major] or have
    if have and all(older("npm", version, pin) for pin in rivals):
        raise ResolutionFailed(
            f"{variant}: {name} {version} was asked for, but the promoted release has {', '.join(sorted(rivals))}, "
            "and an update never goes back. To return to an older release, start the rollback state machine"
        )


def _is_for(fix: Any, name: str) -> bool:
    return fix.ecosystem == "npm" and fix.package == name and fix.fixed is not None
