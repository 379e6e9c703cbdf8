"""Lambda's limit for a function's code and all its layers together: what would be over it with another layer version.

Lambda refuses a configuration over the limit, so what a function has now is below it. A size that is not known is
never guessed: it counts for nothing where a sum is said to be over the limit, and for the most that its zip can hold
where one is said to be below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lamina.bundle import MAXIMUM_BYTES
from lamina.layerlist import split
from lamina.model import LayerArn
from lamina.zipsize import MOST_INFLATION


@dataclass(frozen=True)
class Size:
    """Bytes of a zip and of what is in it; None where unknown."""

    zipped: int | None = None
    unzipped: int | None = None

    @property
    def most(self) -> int | None:
        """The most that it can be unzipped."""
        if self.unzipped is not None:
            return self.unzipped
        return None if self.zipped is None else self.zipped * MOST_INFLATION


@dataclass(frozen=True)
class Load:
    """What a function would have to carry: its code and its layers, in their order."""

    code: Size = Size()
    layers: Mapping[LayerArn, Size] = field(default_factory=dict)

    @property
    def known(self) -> int:
        """Bytes unzipped, without what is not known."""
        return sum(size.unzipped or 0 for size in (self.code, *self.layers.values()))


class Fit(StrEnum):
    """Whether a load is within the limit."""

    FITS = "fits"
    BURSTS = "bursts"
    UNKNOWN = "unknown"


def no_larger(before: Size, after: Size) -> bool:
    """Whether one layer version in the place of another cannot take any function over the limit."""
    return before.unzipped is not None and after.unzipped is not None and after.unzipped <= before.unzipped


def fit(load: Load) -> Fit:
    """Whether a load is within the limit, as far as its sizes tell."""
    if load.known > MAXIMUM_BYTES:
        return Fit.BURSTS
    most = [size.most for size in (load.code, *load.layers.values())]
    if None not in most and sum(part or 0 for part in most) <= MAXIMUM_BYTES:
        return Fit.FITS
    return Fit.UNKNOWN


def too_large(load: Load) -> str:
    """Why a load that bursts cannot be carried, with its numbers."""
    least = "at least " if _missing(load) else ""
    layers = ", ".join(f"{_short(arn)} {_bytes(size)}" for arn, size in load.layers.items())
    return (
        f"its code ({_bytes(load.code)}) and layers would be {least}{load.known:,} bytes unzipped, "
        f"{load.known - MAXIMUM_BYTES:,} over Lambda's limit of {MAXIMUM_BYTES:,}: {layers}"
    )


def not_known(load: Load) -> str:
    """What is not known of a load that may burst."""
    return (
        f"whether its code and layers stay below Lambda's limit of {MAXIMUM_BYTES:,} bytes unzipped is unknown: the "
        f"size of {' and of '.join(_missing(load))} could not be read"
    )


def _missing(load: Load) -> list[str]:
    code = ["its code"] if load.code.unzipped is None else []
    return code + [_short(arn) for arn, size in load.layers.items() if size.unzipped is None]


def _bytes(size: Size) -> str:
    return "unknown" if size.unzipped is None else f"{size.unzipped:,} bytes"


def _short(arn: LayerArn) -> str:
    layer, version = split(arn)
    return f"{layer.rsplit(':', 1)[1]}:{version}"
