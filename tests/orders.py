"""A Python layer as tests order it: a definition with one variant, and what is locked so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from lamina.definition import Definition, parse_definition, variants
from lamina.lock import Lock, Pin
from lamina.resolution import Order


def python_layer(update: str = "", *, wants: str = "flask\n", python: str = "") -> Definition:
    """A definition for Python 3.13 on arm64 with a cooldown of seven days.

    Args:
        update: more lines of its `[update]`, and tables after that.
        wants: its requirements.
        python: more lines of its `[python]`.
    """
    toml = f"""
    [layer]
    owner = "o"
    runtimes = ["python3.13"]
    architectures = ["arm64"]
    [python]
    requirements = "requirements.in"
    {python}
    [update]
    cooldown-days = 7
    {update}
    """
    return parse_definition("web", {"layer.toml": toml.encode(), "requirements.in": wants.encode()})


def order_of(definition: Definition, current: Lock | None, as_of: datetime, **more: Any) -> Order:
    """An order for the definition's variant."""
    return Order(definition, variants(definition)[0], current, as_of, **more)


def pins(current: Mapping[str, tuple[str, datetime | None]]) -> Iterable[Pin]:
    """Package to version and when that was uploaded, as pins without hashes."""
    return [Pin(name, version, (), uploaded) for name, (version, uploaded) in current.items()]
