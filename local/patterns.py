"""EventBridge's event patterns and input transformers, as rules apply them.

moto's own matcher takes a rule without a pattern for one that matches everything, and does not look into arrays of
objects; security findings are full of these.
"""

from __future__ import annotations

import ipaddress
import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

_MISSING = object()
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, "=": operator.eq, ">=": operator.ge, ">": operator.gt,
}  # fmt: skip
_FILTERS = frozenset(
    {"prefix", "suffix", "equals-ignore-case", "anything-but", "exists", "numeric", "cidr", "wildcard"}
)
_PLACEHOLDER = re.compile(r"<([A-Za-z0-9_.-]+)>")
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]|\['([^']+)'\]")


def check(pattern: Any, where: str = "") -> None:
    """Raise ValueError, naming the place, where a pattern is not one that EventBridge takes."""
    if not isinstance(pattern, Mapping) or not pattern:
        raise ValueError(f"Event pattern is not valid. Reason: {where or 'the pattern'} must be an object with fields")
    for key, value in pattern.items():
        at = f"{where}.{key}" if where else key
        if key == "$or":
            for option in value:
                check(option, at)
        elif isinstance(value, Mapping):
            check(value, at)
        elif not isinstance(value, list) or not value:
            raise ValueError(f'Event pattern is not valid. Reason: "{at}" must be an object or an array')
        else:
            for wanted in value:
                if isinstance(wanted, list) or (isinstance(wanted, Mapping) and not set(wanted) <= _FILTERS):
                    raise ValueError(f'Event pattern is not valid. Reason: Unrecognized match type in "{at}": {wanted}')


def matches(pattern: Mapping[str, Any], event: Any) -> bool:
    """Whether an event has, for each field of the pattern, one of the wanted values; arrays match by any element."""
    if isinstance(event, list):
        return any(matches(pattern, element) for element in event)
    for key, wanted in pattern.items():
        if key == "$or":
            if not any(matches(option, event) for option in wanted):
                return False
            continue
        found = event.get(key, _MISSING) if isinstance(event, Mapping) else _MISSING
        if isinstance(wanted, Mapping):
            # A nested pattern also meets a field that is not there: its `exists: false` may hold.
            if not matches(wanted, {} if found is _MISSING else found):
                return False
        elif not _one_of(wanted, found):
            return False
    return True


def _one_of(wanted: list[Any], found: Any) -> bool:
    values = found if isinstance(found, list) else [found]
    for want in wanted:
        if isinstance(want, Mapping):
            (name, argument), *_ = want.items()
            if name == "exists":
                if (found is not _MISSING and not isinstance(found, Mapping)) == argument:
                    return True
            elif found is not _MISSING and any(_filter(name, argument, value) for value in values):
                return True
        elif any(_same(want, value) for value in values):
            return True
    return False


def _same(want: Any, value: Any) -> bool:
    return bool(want == value) and isinstance(want, bool) == isinstance(value, bool)


def _filter(name: str, argument: Any, value: Any) -> bool:
    if name == "anything-but":
        if isinstance(argument, Mapping):
            (inner, inner_argument), *_ = argument.items()
            options = inner_argument if isinstance(inner_argument, list) else [inner_argument]
            return not any(_filter(inner, option, value) for option in options)
        return not any(_same(option, value) for option in (argument if isinstance(argument, list) else [argument]))
    if name == "numeric":
        pairs = zip(argument[::2], argument[1::2], strict=True)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and all(_COMPARE[sign](value, bound) for sign, bound in pairs)
    if not isinstance(value, str):
        return False
    text: str = value
    if isinstance(argument, Mapping):
        argument, text = argument["equals-ignore-case"].lower(), text.lower()
    match name:
        case "prefix":
            return text.startswith(argument)
        case "suffix":
            return text.endswith(argument)
        case "equals-ignore-case":
            return text.lower() == str(argument).lower()
        case "wildcard":
            return re.fullmatch(re.escape(argument).replace(r"\*", ".*"), text, re.DOTALL) is not None
    return _in_network(argument, text)


def _in_network(network: str, value: str) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(network)
    except ValueError:
        return False


def target_input(target: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """The text that a target gets: its constant Input, a part of the event, a transformed event, or the event."""
    if "Input" in target:
        return str(target["Input"])
    if "InputPath" in target:
        return json.dumps(_at(target["InputPath"], event))
    if "InputTransformer" not in target:
        return json.dumps(event)
    transformer = target["InputTransformer"]
    values = {name: _at(path, event) for name, path in transformer.get("InputPathsMap", {}).items()}
    values |= {
        "aws.events.event": {key: value for key, value in event.items() if key != "detail"},
        "aws.events.event.json": event,
        "aws.events.event.ingestion-time": event["time"],
    }
    template: str = transformer["InputTemplate"]

    def fill(found: re.Match[str]) -> str:
        if found[1] not in values:
            return found[0]
        value = values[found[1]]
        quoted = template[: found.start()].count('"') % 2 == 1
        if quoted and isinstance(value, str):
            return json.dumps(value)[1:-1]
        return json.dumps(json.dumps(value))[1:-1] if quoted else json.dumps(value)

    return _PLACEHOLDER.sub(fill, template)


def _at(path: str, event: Any) -> Any:
    """What a simple JSON path (`$.detail.items[0].name`) leads to; null where it leads nowhere."""
    for name, index, quoted in _STEP.findall(path[1:]):
        if index:
            event = event[int(index)] if isinstance(event, list) and int(index) < len(event) else None
        else:
            event = event.get(name or quoted) if isinstance(event, Mapping) else None
    return event
