"""Why newer versions of Python packages were not taken, each with the first reason that holds.

The reasons come in the order in which a person would have to remove them: what keeps the package where it is, what
the runtime cannot run, what was found to break functions, what policy and the definition rule out, what time alone
will let in; and for what is left, that other packages do not go together with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from packaging.version import Version

from lamina import policy
from lamina.explain import Held, HeldKind
from lamina.listing import Listed, Listing
from lamina.lock import Lock
from lamina.refusals import by_allow, by_hold, by_ignore, by_requirement
from lamina.resolve import Basis
from lamina.wheels import arrival, misfit


class _Reason(NamedTuple):
    kind: HeldKind
    why: str
    until: datetime | None = None


def held(
    basis: Basis,
    lock: Lock,
    listings: Mapping[str, Listing | None],
    first_seen: Mapping[str, Mapping[str, datetime]],
) -> tuple[Held, ...]:
    """What an ordinary update left, by package and then by version.

    Each version that is newer than the one in the lock and was there at `basis.as_of` counts once: in an entry of its
    own while its cooldown lasts, else in the entry of its package and reason, which names the newest and says how many
    more there are. Withdrawn versions are not told, nor pre-releases of a package whose releases were wanted; and
    nothing is told of a package that the index did not answer about. An update for fixes alone leaves the rest on
    purpose: there is nothing to ask about it here.

    Args:
        lock: what was taken.
        listings: what the index has of each package of the lock; None where it could not be asked.
        first_seen: package to version to when Lamina first saw it, where the index does not say when it came.
    """
    found: list[Held] = []
    for name, pin in sorted(lock.pins.items()):
        listing = listings.get(name)
        if listing is None:
            continue
        entries: dict[str, Held] = {}
        for entry in _newer(basis, name, pin.version, listing):
            kind, why, until = _reason(basis, lock, name, entry, first_seen.get(name, {}))
            # The newest version comes last, and takes the place of those with the same reason before it.
            key = entry.version if kind == "cooldown" else kind
            before = entries.pop(key, None)
            entries[key] = Held(
                package=name,
                version=entry.version,
                kind=kind,
                why=why,
                until=until,
                more=0 if before is None else before.more + 1,
            )
        found += entries.values()
    return tuple(found)


def _newer(basis: Basis, name: str, taken: str, listing: Listing) -> list[Listed]:
    early = name in basis.prereleases or Version(taken).is_prerelease
    return [
        entry
        for entry in listing.before(basis.as_of).versions
        if entry.yanked is None
        and _release(entry.version) > _release(taken)
        and (early or not Version(entry.version).is_prerelease)
    ]


def _release(version: str) -> Version:
    """The version without what tells builds of it apart: `2.4.0+cu121` is not newer than `2.4.0+cpu`."""
    return Version(Version(version).public)


def _reason(basis: Basis, lock: Lock, name: str, entry: Listed, first_seen: Mapping[str, datetime]) -> _Reason:
    rules, days = basis.rules, timedelta(days=basis.rules.cooldown_days)
    asked = basis.exact.get(name) or basis.elsewhere.get(name)
    if asked is not None:
        return _Reason("other", f"{asked} was asked for by name")
    from_source = name in basis.from_source
    refusal = (
        by_ignore(basis, name)
        or misfit(entry, basis.target, from_source=from_source)
        or by_hold(basis, name, entry.version)
        or by_allow(basis, name, entry.version)
        or by_requirement(basis, name, entry.version)
    )
    if refusal is not None:
        return _Reason(*refusal)
    came = arrival(entry, basis.target, from_source=from_source) or first_seen.get(entry.version)
    if came is not None and came >= basis.cutoff:
        return _Reason("cooldown", f"its cooldown of {rules.cooldown_days} days has not ended", came + days)
    pin = basis.pins.get(name)
    if (
        pin is not None
        and pin.uploaded is not None
        and policy.young({name: pin}, basis.cutoff)
        and _release(pin.version) == _release(lock.pins[name].version)
    ):
        why = f"{name} stays at {pin.version} until that is {rules.cooldown_days} days old"
        return _Reason("cooldown", why, pin.uploaded + days)
    return _Reason("conflict", "it does not go together with other packages of the layer")
