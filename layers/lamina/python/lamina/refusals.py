"""What policy and people rule out of the versions of a Python package, each reason in the words that are told.

Which of several reasons is told first is for those who ask: ``held`` and ``fixing``.
"""

from __future__ import annotations

from typing import TypeAlias

from packaging.version import Version

from lamina.explain import HeldKind
from lamina.resolve import Basis

Refusal: TypeAlias = tuple[HeldKind, str]
"""The kind of reason, and the reason."""


def by_ignore(basis: Basis, name: str) -> Refusal | None:
    """The package stays where it is."""
    return ("ignore", f"update.ignore in layer.toml keeps {name} where it is") if name in basis.ignored else None


def by_hold(basis: Basis, name: str, version: str) -> Refusal | None:
    """The version broke functions before."""
    for held in basis.held_back:
        if held.package == name and Version(held.version) == Version(version):
            return "held-back", f"held back since {held.since:%Y-%m-%d}: {held.reason}"
    return None


def by_allow(basis: Basis, name: str, version: str) -> Refusal | None:
    """The step is larger than allowed."""
    limit = basis.ceiling(name)
    if limit is None or Version(version) < Version(limit.removeprefix("<")):
        return None
    return "allow", f"update.allow = {basis.rules.allow!r} keeps {name} {limit}"


def by_requirement(basis: Basis, name: str, version: str) -> Refusal | None:
    """The definition asks for other versions."""
    wish = basis.specifiers.get(name)
    if wish is None or wish.contains(version, prereleases=True):
        return None
    return "requirement", f"the definition itself asks for {name}{wish}"
