"""Which variants of a definition one release can be for, because each of them would be the same.

A release says which runtimes and which architectures it is compatible with, which means each with each: a group of
variants that share one is therefore never L-shaped.
"""

from __future__ import annotations

from collections.abc import Sequence

from lamina.definition import Definition, python_target, variants
from lamina.model import Coverage, Variant
from lamina.questions import language


def relatives(definition: Definition, variant: Variant) -> tuple[Variant, ...]:
    """The variants of the same environment, in the definition's order; the variant itself is always among them."""
    found = {one.variant: one for one in variants(definition) if one.environment == variant.environment}
    return tuple((found | {variant.variant: variant}).values())


def mergeable(definition: Definition, one: Variant, other: Variant) -> bool:
    """Whether what is built for one variant can serve another, provided that their packages are the same.

    Bytecode is for one version of Python. Functions in another language are never asked to do with what was proven in
    this one alone.
    """
    if language(one.runtime) != language(other.runtime):
        return False
    if definition.tables.python is None or not definition.tables.build.bytecode:
        return True
    return python_target(definition, one).runtime == python_target(definition, other).runtime


def rectangle(group: Sequence[Variant], around: Variant) -> tuple[Variant, ...]:
    """The group if it is each of some runtimes on each of some architectures, else those with one variant's runtime."""
    runtimes, architectures = ({getattr(one, key) for one in group} for key in ("runtime", "architecture"))
    if len(group) == len(runtimes) * len(architectures):
        return tuple(group)
    return tuple(one for one in group if one.runtime == around.runtime)


def coverage(group: Sequence[Variant], leader: Variant, replaces: tuple[str, ...] = ()) -> Coverage:
    """What a leader's release is for, that the whole group shares.

    Args:
        group: the leader among them.
        replaces: layers whose functions the release takes over.
    """
    return Coverage(
        runtimes=tuple(dict.fromkeys(one.runtime for one in group)),
        architectures=tuple(dict.fromkeys(one.architecture for one in group)),
        shared_by=tuple(one.variant for one in group if one.variant != leader.variant),
        replaces=replaces,
    )


def in_words(covered: Coverage) -> str:
    """What a shared release is for: `x86_64 and arm64`, `nodejs22.x and nodejs24.x on arm64`."""
    architectures = _listed(covered.architectures)
    return architectures if len(covered.runtimes) == 1 else f"{_listed(covered.runtimes)} on {architectures}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
