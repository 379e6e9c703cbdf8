"""Why an npm package stays where it is, in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from lamina.explain import Held, HeldKind
from lamina.nodeanswer import unfixed
from lamina.nodejs import NodeQuestion, Shown, fix_cutoff, node_ceiling
from lamina.noderange import contains, needs_newer_node
from lamina.npmlock import NodeLock, needs, versions_of
from lamina.offer import Packument, engines_of, leads_elsewhere, npm_order
from lamina.resolution import Order
from lamina.versions import is_prerelease, older


def why_unfixed(
    order: Order, question: NodeQuestion, lock: NodeLock, seen: Mapping[str, Packument]
) -> tuple[Held, ...]:
    """What keeps each fix out that was ordered and is not in the lock, with the remedy."""
    return tuple(
        _unfixed(order, question, name, version, fixed, seen)
        for name, (version, fixed) in unfixed(question, lock).items()
    )


def no_version(order: Order, question: NodeQuestion, package: str, packument: Packument | None) -> str:
    """Why no version of a package that the definition wants may be taken."""
    written, rules = question.package_json.ranges[package], order.definition.tables.update
    start = f"{question.variant}: package.json asks for {package} {written}, and no version of it may be taken"
    fitting = [version for version in packument.versions if contains(written, version)] if packument else []
    if not fitting:
        return f"{start}: the registry has none that fits; nothing was changed. Correct the range"
    pin = question.current.pins.get(package) if question.current else None
    limit = node_ceiling(pin.version, rules.allow) if pin else None
    if pin and limit and not any(older("npm", version, limit) for version in fitting):
        return (
            f"{start}: update.allow = {rules.allow!r} keeps it below {limit} from {pin.version}; nothing was changed. "
            f'Allow a larger step in layer.toml, or start an update with "packages": {{"{package}": "{fitting[-1]}"}}'
        )
    dates = (
        sorted(packument.uploaded[version] for version in fitting if version in packument.uploaded) if packument else []
    )
    if dates and dates[0] >= question.rules.cutoff:
        due = dates[0] + timedelta(days=rules.cooldown_days)
        return f"{start} before {due:%Y-%m-%d}: all that fit are younger than the cooldown; nothing was changed"
    return (
        f"{start}: those that fit are ignored, held back, too young, for a newer Node.js, or need "
        "something from outside of the registry; nothing was changed"
    )


def why_held(
    order: Order,
    question: NodeQuestion,
    lock: NodeLock,
    seen: Mapping[str, Packument],
    left_out: Mapping[Shown, str],
) -> tuple[Held, ...]:
    """What keeps each newer version out that there is: one entry for a package and reason, and one for each cooldown.

    An update for a fix alone says so of the fixes only: that all else stays is what was asked for.

    Args:
        lock: what is taken.
        seen: what the registry has of every package in it.
        left_out: versions that could not be had, with the reason.
    """
    taken = versions_of(lock)
    names = question.fixes.keys() if order.security else taken.keys()
    unfixed_ones = why_unfixed(order, question, lock, seen)
    told = {(held.package, held.version) for held in unfixed_ones}
    found: list[Held] = [*unfixed_ones]
    for name in sorted(names & taken.keys() & seen.keys()):
        entries: dict[str, Held] = {}
        for version in _newer(order, seen[name], max(taken[name], key=npm_order)):
            kind, why, until = _reason(order, question, lock, seen[name], version, left_out)
            if (name, version) in told:
                continue
            # The newest version comes last, and takes the place of those with the same reason before it.
            key = version if kind == "cooldown" else kind
            before = entries.pop(key, None)
            more = 0 if before is None else before.more + 1
            entries[key] = _held(name, version, kind, why, until=until, more=more)
        found += entries.values()
    return tuple(found)


def _newer(order: Order, packument: Packument, taken: str) -> list[str]:
    newer = [
        version
        for version in packument.versions
        if older("npm", taken, version)
        and (not is_prerelease("npm", version) or is_prerelease("npm", taken))
        and packument.uploaded.get(version, order.as_of) <= order.as_of
    ]
    return sorted(newer, key=npm_order)


def _reason(
    order: Order,
    question: NodeQuestion,
    lock: NodeLock,
    packument: Packument,
    version: str,
    left_out: Mapping[Shown, str],
) -> tuple[HeldKind, str, datetime | None]:
    """The first reason that holds, beginning with that which will last longest."""
    name, metadata, rules = packument.name, packument.versions[version], order.definition.tables.update
    written = question.package_json.ranges.get(name)
    pin = question.current.pins.get(name) if question.current else None
    limit = node_ceiling(pin.version, rules.allow) if written is not None and pin is not None else None
    came = packument.came(version)
    if written is None and not question.package_json.overrides and not _admitted(lock, name, version):
        return "conflict", "the packages that need it ask for an older one", None
    if leads_elsewhere(metadata):
        return "other", "needs something from outside of the registry, which cannot be locked", None
    if needs_newer_node(engines_of(metadata), question.rules.node):
        return "runtime", f"needs Node.js {engines_of(metadata)}", None
    if (reason := left_out.get((name, version))) is not None:
        return "conflict", reason, None
    if (name, version) in question.rules.hidden:
        back = next(held for held in order.held_back if (held.package, held.version) == (name, version))
        return "held-back", f"held back since {back.since:%Y-%m-%d}: {back.reason}", None
    if metadata.get("deprecated"):
        return "withdrawn", f"deprecated by its authors: {' '.join(str(metadata['deprecated']).split())[:200]}", None
    if name in question.rules.exact:
        return "other", f"{question.rules.exact[name]} was asked for by name", None
    if name in question.rules.still:
        return "ignore", f"update.ignore in layer.toml keeps {name} where it is", None
    if written is not None and contains(written, version) is False:
        return "requirement", f"package.json asks for {written}", None
    if limit is not None and not older("npm", version, limit):
        return "allow", f"update.allow = {rules.allow!r} keeps {name} below {limit}", None
    if came is None:
        return "other", "the registry does not say when it came, so that its age is unknown", None
    if came >= question.rules.cutoffs.get(name, question.rules.cutoff):
        until = came + timedelta(days=rules.cooldown_days)
        return "cooldown", f"its cooldown of {rules.cooldown_days} days has not ended", until
    if packument.latest is not None and older("npm", packument.latest, version):
        return "other", f"its authors recommend {packument.latest} (the tag latest)", None
    return "conflict", "other packages of the layer ask for an older one", None


def _admitted(lock: NodeLock, name: str, version: str) -> bool:
    wishes = {wanted for entry in lock.entries.values() for need, wanted in needs(entry).items() if need == name}
    return any(contains(wanted, version) is not False for wanted in wishes)


def _held(name: str, version: str, kind: HeldKind, why: str, *, until: datetime | None = None, more: int = 0) -> Held:
    return Held(ecosystem="npm", package=name, version=version, kind=kind, why=why, until=until, more=more)


def _unfixed(
    order: Order, question: NodeQuestion, name: str, version: str, fixed: str, seen: Mapping[str, Packument]
) -> Held:
    rules = order.definition.tables.update
    ids = ", ".join(sorted({fix.id for fix in order.fixes if fix.package == name and fix.fixed == fixed}))
    start = f"{ids} is fixed in {name} {fixed}, but "
    packument = seen.get(name)
    there = fix_cutoff(packument, fixed, question.rules, order.as_of) if packument else None
    written = question.package_json.ranges.get(name)
    limit = node_ceiling(version, rules.allow) if written is not None else None

    def held(kind: HeldKind, why: str, until: datetime | None = None) -> Held:
        return _held(name, fixed, kind, start + why, until=until)

    if name in question.rules.still:
        return held("ignore", f"update.ignore in layer.toml keeps {name} {version} where it is; remove it from there")
    if there is None:
        return held("other", "no such version can be taken from the registry yet; the next check looks again")
    if rules.security != "immediate" and there > question.rules.cutoff:
        until = there + timedelta(days=rules.cooldown_days)
        return held("cooldown", f"update.security = 'scheduled' lets it wait until {until:%Y-%m-%d}", until=until)
    if written is not None and contains(written, fixed) is False:
        return held("requirement", f"package.json asks for {written}; change the range there")
    if limit is not None and not older("npm", fixed, limit):
        return held(
            "allow",
            f"update.allow = {rules.allow!r} keeps it below {limit} from {version}; allow a larger step in layer.toml, "
            f'or start an update with "packages": {{"{name}": "{fixed}"}}',
        )
    return held(
        "conflict",
        f"the packages that need {name} ask for an older one or for something that cannot be taken; {version} stays. "
        f'An entry under overrides in package.json, such as "{name}": "^{fixed}", would force it',
    )
