"""Fixes of advisories: which versions would fix each, which of these policy lets in, and how long they wait.

A fix is asked for at the lowest version that has it: the least that has to change. If a version that fixes it is past
the cooldown anyway, the ordinary update brings it; only if none is does `security = "immediate"` make an exception,
for that one version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from packaging.version import Version

from lamina.explain import Held, HeldKind
from lamina.listing import Listed, Listing
from lamina.model import Advisory
from lamina.refusals import Refusal, by_allow, by_hold, by_ignore, by_requirement
from lamina.resolve import Basis
from lamina.wheels import arrival, misfit


@dataclass(frozen=True)
class Fix:
    """A fix that may be taken.

    Attributes:
        versions: that have it and may be taken, lowest first, of those past the cooldown if there are any; empty where
            the index could not be asked.
        early: none of them is past the cooldown, so that taking one is an exception.
    """

    advisory: Advisory
    versions: tuple[str, ...]
    early: bool

    @property
    def package(self) -> str:
        """The package that it is in."""
        return self.advisory.package

    @property
    def lowest(self) -> str:
        """The condition that takes the least there is to take."""
        return f"=={self.versions[0]}" if self.versions else self.most

    @property
    def least(self) -> str:
        """The condition for an ordinary update: no more than the lowest version where that is an exception."""
        return self.lowest if self.early else self.most

    @property
    def most(self) -> str:
        """The condition that any version with the fix meets."""
        return f">={self.advisory.fixed}"


@dataclass(frozen=True)
class Choice:
    """Fixes to take, and those to leave out with the reasons."""

    fixes: tuple[Fix, ...]
    untaken: tuple[Held, ...]
    forbidden: bool
    """Whether policy, not time alone, keeps one of `untaken`."""


def choose(basis: Basis, advisories: tuple[Advisory, ...], listings: Mapping[str, Listing | None]) -> Choice:
    """What to do about advisories that the current lock has.

    Args:
        advisories: at most one for each package.
        listings: what the index has of each package; None where it could not be asked.
    """
    fixes: list[Fix] = []
    untaken: list[Held] = []
    forbidden = False
    for advisory in sorted(advisories, key=lambda advisory: advisory.package):
        pin = basis.pins.get(advisory.package)
        if pin is None or advisory.fixed is None or advisory.package in basis.exact:
            continue
        if Version(pin.version) >= Version(advisory.fixed):
            continue
        listing = listings.get(advisory.package)
        found = _known(basis, advisory, listing) if listing is not None else _unknown(basis, advisory)
        if isinstance(found, Fix):
            fixes.append(found)
        else:
            untaken.append(found)
            forbidden = forbidden or found.kind != "cooldown"
    return Choice(tuple(fixes), tuple(untaken), forbidden)


def newest(basis: Basis, package: str, listing: Listing) -> Listed | None:
    """The newest version above the current one that an ordinary update may bring, other packages aside."""
    pin = basis.pins.get(package)
    return next(
        (
            entry
            for entry in reversed(_there(basis, listing))
            if (pin is None or Version(entry.version) > Version(pin.version))
            and not _young(basis, package, entry)
            and _refusal(basis, package, entry) is None
        ),
        None,
    )


def remedy(basis: Basis, held: Held) -> str:
    """What a person can do about a fix that policy keeps out."""
    by_name = f'start an update with "packages": {{"{held.package}": "{held.version}"}}'
    return {
        "allow": f"allow a larger step (update.allow in layer.toml), or {by_name}",
        "ignore": f"remove {held.package} from update.ignore in layer.toml, or {by_name}",
        "requirement": "change that requirement in the definition",
        "held-back": by_name + " if it is to be tried again",
        "runtime": "move the layer to a newer runtime",
        "platform": "move the layer to a newer runtime, or name the package in python.build-from-source",
        "other": "the next update looks again",
    }.get(held.kind, by_name)


def _known(basis: Basis, advisory: Advisory, listing: Listing) -> Fix | Held:
    name, fixed = advisory.package, str(advisory.fixed)
    fixing = [entry for entry in _there(basis, listing) if Version(entry.version) >= Version(fixed)]
    refused = {entry.version: _refusal(basis, name, entry) for entry in fixing}
    allowed = [entry for entry in fixing if refused[entry.version] is None]
    if not fixing:
        return _held(advisory, fixed, "other", "the index does not have it")
    if not allowed:
        # Of all reasons, the one that the lowest version meets says best what stands in the way.
        kind, why = refused[fixing[0].version] or ("other", "")
        return _held(advisory, fixing[0].version, kind, why)
    early = all(_young(basis, name, entry) for entry in allowed)
    if early and basis.rules.security == "scheduled":
        first = allowed[0]
        came = arrival(first, basis.target, from_source=name in basis.from_source)
        until = None if came is None else came + timedelta(days=basis.rules.cooldown_days)
        return _held(advisory, first.version, "cooldown", 'update.security = "scheduled" lets it wait', until)
    taken = allowed if early else [entry for entry in allowed if not _young(basis, name, entry)]
    return Fix(advisory, tuple(entry.version for entry in taken), early)


def _unknown(basis: Basis, advisory: Advisory) -> Fix | Held:
    name, fixed = advisory.package, str(advisory.fixed)
    refusal = by_ignore(basis, name) or by_allow(basis, name, fixed)
    if refusal is not None:
        return _held(advisory, fixed, *refusal)
    if basis.rules.security == "scheduled":
        return _held(advisory, fixed, "cooldown", "when it was uploaded is unknown: the index could not be asked")
    return Fix(advisory, (), early=True)


def _there(basis: Basis, listing: Listing) -> list[Listed]:
    """The versions that are there and not withdrawn, lowest first."""
    return [entry for entry in listing.before(basis.as_of).versions if entry.yanked is None]


def _young(basis: Basis, name: str, entry: Listed) -> bool:
    came = arrival(entry, basis.target, from_source=name in basis.from_source)
    return came is not None and came >= basis.cutoff


def _refusal(basis: Basis, name: str, entry: Listed) -> Refusal | None:
    if Version(entry.version).is_prerelease and name not in basis.prereleases:
        return "other", "it is a pre-release"
    return (
        by_ignore(basis, name)
        or by_allow(basis, name, entry.version)
        or by_requirement(basis, name, entry.version)
        or by_hold(basis, name, entry.version)
        or misfit(entry, basis.target, from_source=name in basis.from_source)
    )


def _held(advisory: Advisory, version: str, kind: HeldKind, why: str, until: datetime | None = None) -> Held:
    return Held(
        package=advisory.package,
        version=version,
        kind=kind,
        why=f"fixes {advisory.id}, but {why}",
        until=until,
    )
