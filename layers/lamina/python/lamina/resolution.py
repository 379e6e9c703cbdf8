"""What a check asks of a package manager, and what it gets back: the same shapes for every ecosystem."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from lamina.definition import Definition
from lamina.explain import ExplainedChange, Held
from lamina.lock import Lock
from lamina.model import Advisory, Ecosystem, HeldBack, Variant


@dataclass(frozen=True)
class Access:
    """How to reach a package index.

    Attributes:
        url: of the index (PEP 503 root) or of the npm registry.
        username: empty where nobody is asked.
        password: the token or password that goes with it.
        packages: patterns of the packages that are there and nowhere else; empty if it is the only index.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """What is wanted for one variant from one ecosystem.

    Attributes:
        current: the promoted release's lock; None before the first release.
        previously_wanted: the requirements that `current` was made from.
        as_of: the moment whose package index counts (aware UTC).
        packages: normalized name to the exact version that a person asked for.
        fixes: advisories that `current` has and that a version fixes.
        security: the update is for `fixes` alone: everything else stays where it is, as far as that is possible.
        held_back: versions that broke functions before.
        access: the definition's own index; None for the package manager's default.
    """

    definition: Definition
    variant: Variant
    current: Lock | None
    as_of: datetime
    previously_wanted: tuple[str, ...] = ()
    packages: dict[str, str] = field(default_factory=dict)
    fixes: tuple[Advisory, ...] = ()
    security: bool = False
    held_back: tuple[HeldBack, ...] = ()
    access: Access | None = None


@dataclass(frozen=True)
class Resolved:
    """An accepted answer, explained.

    Attributes:
        text: the lock as it is kept.
        wanted: what the definition asked for, as it writes it.
        direct: names that the definition itself requires.
        cutoff: uploads from this moment on were too young to be taken.
        universal: whether everything in the lock is the same on every architecture, as far as the index tells.
        notes: what a reader should know of how the answer came about, in whole sentences.
    """

    ecosystem: Ecosystem
    lock: Lock
    text: str
    wanted: tuple[str, ...]
    direct: frozenset[str]
    cutoff: datetime
    changes: tuple[ExplainedChange, ...] = ()
    held: tuple[Held, ...] = ()
    notes: tuple[str, ...] = ()
    universal: bool = False
