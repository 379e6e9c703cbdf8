"""Values of the verdict as JSON data."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime


def camel(name: str) -> str:
    """A field's name as it is in JSON."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def plain(value: object) -> object:
    """A value as JSON data: dataclasses by their fields, tuples as lists, moments in ISO form, numbers short."""
    if is_dataclass(value) and not isinstance(value, type):
        return {camel(field.name): plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value
