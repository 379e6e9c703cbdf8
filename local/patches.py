"""Replaces attributes of modules and classes, and puts every one of them back."""

from __future__ import annotations

from typing import Any

_MISSING = object()


class Patches:
    """What was replaced, in order; `undo` restores it in reverse."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, value: Any) -> Any:
        """Set `owner.name`; returns what stood there before, or None where nothing did."""
        before = vars(owner).get(name, _MISSING)
        self._done.append((owner, name, before))
        setattr(owner, name, value)
        return None if before is _MISSING else before

    def undo(self) -> None:
        """Restore everything; a second call does nothing."""
        while self._done:
            owner, name, before = self._done.pop()
            if before is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
