"""Letter case and types between Step Functions' Pascal case and an SDK call, by botocore's service models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from local.states.errors import RUNTIME, StateError
from local.states.history import compact, iso


def pascal(name: str) -> str:
    """`startBuild` → `StartBuild`."""
    return name[:1].upper() + name[1:]


def to_request(value: Any, shape: Any, where: str = "") -> Any:
    """Arguments as botocore wants them.

    Raises:
        StateError: `States.Runtime` for a field that the API does not have, as the service does.
    """
    kind = shape.type_name
    if kind == "structure" and isinstance(value, Mapping):
        members = {pascal(name): (name, member) for name, member in shape.members.items()}
        request = {}
        for key, item in value.items():
            if key not in members:
                raise StateError(RUNTIME, f"The field '{where}{key}' is not supported; known are {', '.join(members)}.")
            name, member = members[key]
            request[name] = to_request(item, member, f"{where}{key}.")
        return request
    if kind == "list" and isinstance(value, list):
        return [to_request(item, shape.member, where) for item in value]
    if kind == "map" and isinstance(value, Mapping):
        return {key: to_request(item, shape.value, where) for key, item in value.items()}
    if kind == "string" and not isinstance(value, str) and value is not None:
        return compact(value)
    if kind == "blob":
        return (value if isinstance(value, str) else compact(value)).encode()
    return value


def to_result(value: Any, shape: Any, *, epoch: bool) -> Any:
    """An SDK's answer as a task's result: Pascal case, JSON types; timestamps as epoch ms or ISO 8601 text."""
    if shape is None:
        return {}
    kind = shape.type_name
    if kind == "structure" and isinstance(value, Mapping):
        return {
            pascal(name): to_result(value[name], member, epoch=epoch)
            for name, member in shape.members.items()
            if name in value
        }
    if kind == "list" and isinstance(value, list):
        return [to_result(item, shape.member, epoch=epoch) for item in value]
    if kind == "map" and isinstance(value, Mapping):
        return {key: to_result(item, shape.value, epoch=epoch) for key, item in value.items()}
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000) if epoch else iso(value)
    if hasattr(value, "read"):
        value = value.read()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value


def json_or_text(text: str) -> Any:
    """A payload: JSON where it is JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text
