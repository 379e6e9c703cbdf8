"""A resource's properties, taken one by one, so that one that nobody takes is an error and not a silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.deploy.errors import DeployError

_REQUIRED = object()


class Properties:
    """The resolved properties of one resource."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self.where = where
        self._left = dict(values)

    def take(self, name: str, default: Any = _REQUIRED) -> Any:
        """A property's value, or the default where it is absent.

        Raises:
            DeployError: absent, and there is no default.
        """
        if name not in self._left and default is _REQUIRED:
            raise DeployError(f"{self.where}.{name}: is required")
        return self._left.pop(name, default)

    def peek(self, name: str) -> Any:
        """A property's value, left for whoever takes it."""
        return self._left.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def rest(self) -> dict[str, Any]:
        """Everything that is left, as it is."""
        left, self._left = self._left, {}
        return left

    def api(self, shape: Any, **renamed: str) -> dict[str, Any]:
        """Everything that is left, as a botocore shape wants it; `renamed` maps a property to its API's name.

        Raises:
            DeployError: a property that the API does not have.
        """
        left = self.rest()
        return {
            _member(shape, renamed.get(name, name), self.where): to_api(
                value, shape.members[_member(shape, renamed.get(name, name), self.where)], f"{self.where}.{name}"
            )
            for name, value in left.items()
        }

    def done(self) -> None:
        """Raise DeployError where a property was not taken."""
        if self._left:
            raise DeployError(f"{self.where}: {', '.join(sorted(self._left))} is not supported here")


def to_api(value: Any, shape: Any, where: str) -> Any:
    """A CloudFormation value as botocore wants it: member names in its letter case, scalars in its types."""
    kind = shape.type_name
    if kind == "structure" and isinstance(value, Mapping):
        found = {}
        for name, item in value.items():
            member = _member(shape, name, where)
            found[member] = to_api(item, shape.members[member], f"{where}.{name}")
        return found
    if kind == "list" and isinstance(value, list):
        return [to_api(item, shape.member, where) for item in value]
    if kind == "map" and isinstance(value, Mapping):
        return {key: to_api(item, shape.value, where) for key, item in value.items()}
    if kind in ("integer", "long"):
        return int(value)
    if kind in ("float", "double"):
        return float(value)
    if kind == "boolean":
        return value if isinstance(value, bool) else str(value).lower() == "true"
    if kind == "string" and isinstance(value, bool):
        return str(value).lower()
    if kind == "string":
        return str(value)
    return value


def _member(shape: Any, name: str, where: str) -> str:
    for member in shape.members:
        if member.lower() == name.lower():
            return str(member)
    raise DeployError(f"{where}.{name}: is not supported here; known are {', '.join(shape.members)}")
