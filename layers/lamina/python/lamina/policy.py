"""What may be taken: which versions policy allows for each package, as constraints for the resolver.

Every current pin becomes a floor, so that no cooldown and no conflict can ever turn an update into a downgrade.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from packaging.version import Version

from lamina.lock import Pin
from lamina.model import HeldBack
from lamina.versions import Kind, is_calendar, kind_of_change, older, valid


def ceiling(version: str, allow: Kind) -> str | None:
    """The constraint (`<2`) that keeps a package within what `allow` permits from `version`; None for no limit."""
    current = Version(version)
    epoch = f"{current.epoch}!" if current.epoch else ""
    if allow == "patch":
        return f"<{epoch}{current.major}.{current.minor + 1}"
    if allow == "major" or is_calendar(current):
        return None
    return f"<{epoch}{current.major + 1}"


def constraints(
    pins: Mapping[str, Pin],
    *,
    direct: Collection[str],
    allow: Kind,
    frozen: Collection[str],
    free: Collection[str],
    held_back: Collection[HeldBack],
) -> tuple[str, ...]:
    """The constraints for the resolver, one to a line, sorted.

    Args:
        pins: the current lock; empty for a layer's first, which policy leaves free.
        direct: packages that the definition itself requires: `allow` is for them.
        allow: the largest step a direct requirement may make.
        frozen: packages that stay exactly where they are.
        free: packages whose version is asked for by name, so that neither floor nor ceiling is needed.
        held_back: versions that broke functions before. A version that is in the lock already stays possible.
    """
    lines = []
    for name, pin in pins.items():
        if name in free:
            continue
        if name in frozen:
            lines.append(f"{name}=={pin.version}")
            continue
        limit = ceiling(pin.version, allow) if name in direct else None
        lines.append(f"{name}>={Version(pin.version).public}" + (f",{limit}" if limit else ""))
    for held in held_back:
        current = pins.get(held.package)
        if held.package not in free and (current is None or current.version != held.version):
            lines.append(f"{held.package}!={held.version}")
    return tuple(sorted(set(lines)))


def withheld(
    held_back: Iterable[HeldBack], versions: Mapping[str, Iterable[tuple[str, datetime | None]]]
) -> tuple[HeldBack, ...]:
    """The held-back versions, and those that are held back with them.

    That is what lies on the way to them, and is as large a step: where 1.4 to 2.3 did harm, 2.2 is no better guess, but
    1.5 is no guess at all. What came after them is offered, since it may be the repair.

    Args:
        versions: package to its versions and when each came; None where nobody says, which counts as early.
    """
    found: list[HeldBack] = []
    for held in held_back:
        found.append(held)
        why = f"it is as large a step as {held.version}, which did harm: {held.reason}"
        found += [
            held.model_copy(update={"version": version, "reason": why})
            for version, came in versions.get(held.package, ())
            if (came is None or held.as_of is None or came <= held.as_of) and _on_the_way(held, version)
        ]
    return tuple(found)


def _on_the_way(held: HeldBack, version: str) -> bool:
    above, ecosystem = held.above, held.ecosystem
    return (
        above is not None
        and valid(ecosystem, version)
        and older(ecosystem, above, version)
        and older(ecosystem, version, held.version)
        and kind_of_change(ecosystem, above, version) == kind_of_change(ecosystem, above, held.version)
    )


def cutoff(as_of: datetime, cooldown_days: int) -> datetime:
    """The moment before which a release must have been uploaded to be taken."""
    return as_of - timedelta(days=cooldown_days)


def young(pins: Mapping[str, Pin], limit: datetime) -> frozenset[str]:
    """Packages whose current pin is younger than the cooldown permits, so that the resolver would not see it.

    They came in by exception (a fix, an exact version, a cooldown that was shorter then); anything newer is younger
    still, so they stay where they are. Indexes state upload times to the second or finer: a second is the margin.
    """
    margin = timedelta(seconds=1)
    return frozenset(name for name, pin in pins.items() if pin.uploaded is not None and pin.uploaded + margin >= limit)
