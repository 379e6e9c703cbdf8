"""CloudFormation's intrinsic functions, resolved against parameters and the resources created so far."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.deploy.errors import DeployError

_SUB = re.compile(r"\$\{(!?)([^}]+)\}")
NO_VALUE = object()


@dataclass
class Created:
    """A resource that exists: what Ref gives, and what GetAtt gives by attribute."""

    ref: str
    attributes: dict[str, str] = field(default_factory=dict)


class Resolver:
    """Resolves templates; `pseudo` holds AWS::Region and its like, with every parameter's value beside them."""

    def __init__(self, values: Mapping[str, Any], mappings: Mapping[str, Any], conditions: Mapping[str, Any]) -> None:
        self.created: dict[str, Created] = {}
        self._values = values
        self._mappings = mappings
        self._conditions = conditions
        self._known: dict[str, bool] = {}

    def condition(self, name: str) -> bool:
        """Whether a condition of the template holds."""
        if name not in self._conditions:
            raise DeployError(f"Conditions: {name!r} is not defined")
        if name not in self._known:
            self._known[name] = bool(self._logic(self._conditions[name]))
        return self._known[name]

    def resolve(self, value: Any, where: str) -> Any:
        """A value with every intrinsic replaced; keys and elements that are AWS::NoValue are gone.

        Raises:
            DeployError: naming the place and the reference that leads nowhere.
        """
        if isinstance(value, Mapping):
            if len(value) == 1:
                (name, argument), *_ = value.items()
                if name in ("Ref", "Condition") or name.startswith("Fn::"):
                    return self._function(name, argument, where)
            found = {key: self.resolve(item, f"{where}.{key}") for key, item in value.items()}
            return {key: item for key, item in found.items() if item is not NO_VALUE}
        if isinstance(value, list):
            items = [self.resolve(item, f"{where}[{index}]") for index, item in enumerate(value)]
            return [item for item in items if item is not NO_VALUE]
        return value

    def _function(self, name: str, argument: Any, where: str) -> Any:
        if name == "Ref":
            return self._ref(argument, where)
        if name == "Fn::GetAtt":
            parts = argument.split(".", 1) if isinstance(argument, str) else argument
            return self._attribute(parts[0], ".".join(str(self.resolve(part, where)) for part in parts[1:]), where)
        if name == "Fn::Sub":
            return self._sub(argument, where)
        if name == "Fn::If":
            return self.resolve(argument[1] if self.condition(argument[0]) else argument[2], where)
        if name in ("Fn::Equals", "Fn::Not", "Fn::And", "Fn::Or", "Condition"):
            return self._logic({name: argument})
        arguments = self.resolve(argument, where)
        if name == "Fn::Join":
            return str(arguments[0]).join(str(part) for part in arguments[1])
        if name == "Fn::Select":
            return arguments[1][int(arguments[0])]
        if name == "Fn::Split":
            return str(arguments[1]).split(arguments[0])
        if name == "Fn::FindInMap":
            try:
                return self._mappings[arguments[0]][arguments[1]][arguments[2]]
            except KeyError as problem:
                raise DeployError(f"{where}: the mapping {arguments} has no {problem}") from problem
        if name == "Fn::ToJsonString":
            return json.dumps(arguments)
        raise DeployError(f"{where}: the intrinsic {name} is not supported here")

    def _ref(self, name: str, where: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self._values:
            return self._values[name]
        if name in self.created:
            return self.created[name].ref
        raise DeployError(f"{where}: Ref {name!r} leads to nothing that exists")

    def _attribute(self, name: str, attribute: str, where: str) -> str:
        if name not in self.created:
            raise DeployError(f"{where}: GetAtt {name}.{attribute} leads to nothing that exists")
        attributes = self.created[name].attributes
        if attribute not in attributes:
            raise DeployError(f"{where}: {name} has no attribute {attribute!r} here; it has {', '.join(attributes)}")
        return attributes[attribute]

    def _sub(self, argument: Any, where: str) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else (argument[0], self.resolve(argument[1], where))

        def fill(found: re.Match[str]) -> str:
            literal, name = found.groups()
            if literal:
                return "${" + name + "}"
            if name in own:
                return str(own[name])
            if "." in name:
                resource, attribute = name.split(".", 1)
                return self._attribute(resource, attribute, where)
            return str(self._ref(name, where))

        return _SUB.sub(fill, text)

    def _logic(self, value: Any) -> Any:
        if not isinstance(value, Mapping) or len(value) != 1:
            return self.resolve(value, "Conditions")
        (name, argument), *_ = value.items()
        if name == "Condition":
            return self.condition(argument)
        if name == "Fn::Equals":
            left, right = (self.resolve(side, "Conditions") for side in argument)
            return str(left) == str(right)
        if name == "Fn::Not":
            return not self._logic(argument[0])
        if name == "Fn::And":
            return all(self._logic(part) for part in argument)
        if name == "Fn::Or":
            return any(self._logic(part) for part in argument)
        return self.resolve(value, "Conditions")


def references(value: Any) -> Iterator[str]:
    """The logical IDs and parameters that a value refers to."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "Ref" and isinstance(item, str):
                yield item
            elif key == "Fn::GetAtt":
                yield item.split(".", 1)[0] if isinstance(item, str) else item[0]
            elif key == "Fn::Sub":
                text = item if isinstance(item, str) else item[0]
                yield from (name.split(".", 1)[0] for literal, name in _SUB.findall(text) if not literal)
                yield from references(item[1] if isinstance(item, list) else {})
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
