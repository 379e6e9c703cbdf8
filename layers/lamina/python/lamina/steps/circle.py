"""The variants that share one release, or may: read from the registry, and told from what each would be made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamina.definition import Definition
from lamina.errors import DefinitionRefused, ResolutionFailed
from lamina.model import HeldBack, LayerState, Release, Variant
from lamina.purity import universal_files
from lamina.resolution import Resolved
from lamina.sharing import mergeable, rectangle, relatives

if TYPE_CHECKING:
    from lamina.gateways.registry import Layers

Resolves = Callable[[Variant], tuple[Resolved | None, Resolved | None]]
"""What a variant would have of Python and npm packages, on the terms of the circle."""


@dataclass(frozen=True)
class Circle:
    """The variants whose next release may be one and the same.

    Attributes:
        members: in the definition's order, the variant that is checked among them.
        leader: the one that publishes; None before the first release, and for a variant that is alone.
        release: what their functions have; None before the first release.
        held_back: what any of them holds back: one release for all has none of it.
        left: the layer that the variant's functions have without its being theirs any more; empty for none.
    """

    members: tuple[Variant, ...]
    leader: Variant | None = None
    release: Release | None = None
    held_back: tuple[HeldBack, ...] = ()
    left: str = ""


def find_circle(variant: Variant, definition: Definition, state: LayerState, layers: Layers) -> Circle:
    """With whom a variant shares its release, or may share its first.

    A variant with a release of its own stays with it: it publishes for others only if it did so before.

    Args:
        state: the variant's own.
    """
    family = relatives(definition, variant)
    if state.promoted is not None:
        release = layers.release(variant.variant, state.promoted)
        return _led(variant, release, variant, state, family, layers)
    if len(family) == 1:
        return Circle(family, held_back=state.held_back)
    shared = layers.shared(variant.variant)
    if shared is None:
        return _unreleased(variant, state, family, layers)
    theirs = layers.state(shared.leader)
    release = None if theirs.promoted is None else layers.release(shared.leader, theirs.promoted)
    leader = next((one for one in family if one.variant == shared.leader), None)
    if leader is not None and release is not None and variant.variant in release.shared_by:
        return _led(leader, release, variant, state, family, layers, theirs)
    return Circle(
        members=(variant,),
        release=layers.release(shared.leader, shared.version),
        held_back=_all_held((state, theirs)),
        left=shared.leader,
    )


def together(
    variant: Variant,
    circle: Circle,
    definition: Definition,
    own: tuple[Resolved | None, Resolved | None],
    resolve: Resolves,
) -> tuple[Variant, ...]:
    """The members of the circle for which one release would do, the leader first among equals; itself alone if none.

    Every member comes to the same answer: each looks at all of them in the same way.

    Args:
        own: what the variant itself would have.

    Raises:
        IndexUnavailable: a package index could not be asked.
    """
    mine = _makings(own)
    if len(circle.members) == 1 or mine is None or not universal_files(definition):
        return (variant,)
    makings = {variant.variant: mine} | {
        one.variant: _makings_of(one, resolve) for one in circle.members if one.variant != variant.variant
    }
    center = circle.leader or variant
    same = [
        one
        for one in circle.members
        if makings[one.variant] == makings[center.variant] and mergeable(definition, center, one)
    ]
    group = rectangle(same, center) if makings[center.variant] is not None else (center,)
    return group if variant.variant in {one.variant for one in group} else (variant,)


def _led(
    leader: Variant,
    release: Release | None,
    variant: Variant,
    state: LayerState,
    family: tuple[Variant, ...],
    layers: Layers,
    leaders: LayerState | None = None,
) -> Circle:
    """The circle of a leader's release; `state` is that of `variant`, `leaders` the leader's if that is another."""
    known = {variant.variant: state} | ({} if leaders is None else {leader.variant: leaders})
    shared_by = release.shared_by if release is not None else ()
    states = {
        one: known.get(one.variant) or layers.state(one.variant)
        for one in family
        if one.variant in (leader.variant, *shared_by)
    }
    members = {one: found for one, found in states.items() if one == leader or found.promoted is None}
    return Circle(tuple(members), leader, release, _all_held(tuple(members.values())))


def _unreleased(variant: Variant, state: LayerState, family: tuple[Variant, ...], layers: Layers) -> Circle:
    """The circle of the variants that have nothing yet, neither of their own nor with others."""
    states = {one: state if one.variant == variant.variant else layers.state(one.variant) for one in family}
    free = {
        one: found
        for one, found in states.items()
        if one.variant == variant.variant or (found.promoted is None and layers.shared(one.variant) is None)
    }
    return Circle(tuple(free), held_back=_all_held(tuple(free.values())))


def _all_held(states: tuple[LayerState, ...]) -> tuple[HeldBack, ...]:
    found = {(held.ecosystem, held.package, held.version): held for state in states for held in state.held_back}
    return tuple(found.values())


def _makings_of(variant: Variant, resolve: Resolves) -> tuple[str, ...] | None:
    try:
        return _makings(resolve(variant))
    except (DefinitionRefused, ResolutionFailed):
        # It has troubles of its own, which its own check tells of.
        return None


def _makings(resolved: tuple[Resolved | None, Resolved | None]) -> tuple[str, ...] | None:
    """The locks, if everything in them is the same on every architecture."""
    answers = [answer for answer in resolved if answer is not None]
    return tuple(answer.text for answer in answers) if all(answer.universal for answer in answers) else None
