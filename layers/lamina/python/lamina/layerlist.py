"""Edits of a function's list of layers: one entry changes, everything else stays where it is.

Lambda merges layers into ``/opt`` in the order of the list, later ones over earlier ones, so an edit that moved
an entry could change what a function imports.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lamina.model import LayerArn


def split(arn: LayerArn) -> tuple[str, int]:
    """An ARN's layer (without its version) and its version.

    Raises:
        ValueError: `arn` is not a layer version's ARN.
    """
    parts = arn.split(":")
    if len(parts) != 8 or parts[5] != "layer" or not parts[7].isdigit():
        raise ValueError(f"not the ARN of a layer version: {arn!r}")
    return ":".join(parts[:7]), int(parts[7])


def name_of(arn: LayerArn) -> str:
    """The layer's name in the ARN of a version of it."""
    return split(arn)[0].rsplit(":", 1)[1]


def find(layers: Sequence[LayerArn], candidate: LayerArn, replaces: Collection[str] = ()) -> LayerArn | None:
    """The entry whose place `candidate` takes: a version of the same layer, or one that it `replaces`.

    The same layer goes first: Lambda refuses two versions of one layer on a function.

    Args:
        replaces: names of layers in the candidate's own account and region, or whole ARNs without a version.
    """
    family, _ = split(candidate)
    home = family.rpartition(":")[0]
    own = [arn for arn in layers if split(arn)[0] == family]
    meant = {*replaces, *(f"{home}:{name}" for name in replaces)}
    older = [arn for arn in layers if split(arn)[0] in meant]
    return next(iter([*own, *older]), None)


def lookalike(layers: Sequence[LayerArn], candidate: LayerArn, replaces: Collection[str] = ()) -> LayerArn | None:
    """An entry that is called like the candidate, or like one that it replaces, in another account or region."""
    home = split(candidate)[0].rpartition(":")[0]
    names = {name_of(candidate), *replaces}
    return next((arn for arn in layers if name_of(arn) in names and split(arn)[0].rpartition(":")[0] != home), None)


def swap(layers: Sequence[LayerArn], old: LayerArn, new: LayerArn) -> tuple[LayerArn, ...]:
    """`layers` with `new` where `old` stood; all other entries and their order as they were.

    Raises:
        ValueError: `old` is not in the list.
    """
    if old not in layers:
        raise ValueError(f"{old} is not attached")
    return tuple(new if arn == old else arn for arn in layers)
