"""Finding the one change that did harm, where no error names it: half of what may have done it is tried at a time.

Of the changes that a harmful candidate had, one half is held back for a trial and the other half is offered. If that
does harm as well, the culprit is among what was offered; once it is promoted, what was offered is cleared. Either way
fewer remain, until one does: it is held back like any culprit. Every trial is a whole rollout, with its canaries.
"""

from __future__ import annotations

from collections.abc import Mapping

from lamina.model import Ecosystem, HeldBack, LayerState


def after_harm(state: LayerState, moved: tuple[HeldBack, ...]) -> LayerState:
    """What is suspected and held back after a candidate did harm.

    Args:
        moved: the candidate's changes, as they would be held back.
    """
    offered = {_named(entry) for entry in moved}
    still = tuple(entry for entry in state.suspects if _named(entry) in offered)
    # Harm without any of the suspects is a new matter.
    return _split(state, still or moved)


def after_promotion(state: LayerState, packages: Mapping[Ecosystem, Mapping[str, str]]) -> LayerState:
    """What is suspected and held back once a release is promoted; what it has is innocent.

    Args:
        packages: what the release has, package to version.
    """
    if not state.suspects:
        return state
    return _split(
        state,
        tuple(
            entry
            for entry in state.suspects
            if packages.get(entry.ecosystem, {}).get(entry.package) != entry.version
        ),
    )  # fmt: skip


def without(state: LayerState, gone: tuple[HeldBack, ...]) -> LayerState:
    """The state when a person lets versions go: neither held back nor suspected any more."""
    names = {_named(entry) for entry in gone}
    return state.model_copy(
        update={
            "held_back": tuple(entry for entry in state.held_back if _named(entry) not in names),
            "suspects": tuple(entry for entry in state.suspects if _named(entry) not in names),
        }
    )


def _split(state: LayerState, suspects: tuple[HeldBack, ...]) -> LayerState:
    kept = tuple(entry for entry in state.held_back if not entry.trial)
    if len(suspects) <= 1:
        return state.model_copy(update={"held_back": kept + suspects, "suspects": ()})
    trial = tuple(entry.model_copy(update={"trial": True}) for entry in suspects[len(suspects) // 2 :])
    return state.model_copy(update={"held_back": kept + trial, "suspects": suspects})


def _named(entry: HeldBack) -> tuple[str, str, str]:
    return entry.ecosystem, entry.package, entry.version
