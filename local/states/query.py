"""JSONata as Step Functions evaluates it: `$states`, variables, the additional functions, and strict results.

Undefined is an error wherever a field's value is undefined as a whole (`States.QueryEvaluationError`), null is a
value, and a sequence of one is its one value, all as in the service.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import jsonata
from jsonata.functions import Functions
from jsonata.utils import Utils

from local.states.errors import QUERY, StateError

_OPEN, _CLOSE = "{%", "%}"
_JFunction: Any = jsonata.Jsonata.JFunction
_JLambda: Any = jsonata.Jsonata.JLambda
_HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}


def expression(value: Any) -> str | None:
    """The JSONata inside `{% … %}`, or None where the value is a literal."""
    if isinstance(value, str) and value.startswith(_OPEN) and value.endswith(_CLOSE):
        return value[len(_OPEN) : -len(_CLOSE)].strip()
    return None


def check(text: str) -> None:
    """Raise ValueError where the expression does not parse."""
    try:
        jsonata.Jsonata(text)
    except Exception as problem:
        raise ValueError(str(problem)) from problem


class Query:
    """Evaluates the fields of one state against its `$states` and the variables in reach."""

    def __init__(self, states: Mapping[str, Any], variables: Mapping[str, Any], now: Callable[[], datetime]) -> None:
        self._bindings = {"states": _to_jsonata(states), **{n: _to_jsonata(v) for n, v in variables.items()}}
        self._now = now

    def field(self, name: str, template: Any) -> Any:
        """The value of a field: expressions evaluated wherever they stand in it, everything else as it is.

        Raises:
            StateError: `States.QueryEvaluationError` naming the expression and the field.
        """
        if isinstance(template, Mapping):
            return {key: self.field(f"{name}/{key}", value) for key, value in template.items()}
        if isinstance(template, list):
            return [self.field(f"{name}[{index}]", value) for index, value in enumerate(template)]
        text = expression(template)
        return template if text is None else self._evaluate(name, text)

    def _evaluate(self, name: str, text: str) -> Any:
        try:
            compiled = jsonata.Jsonata(text)
            compiled.set_output_convert_nulls(False)
            frame = compiled.create_frame()
            for key, value in (_functions(self._now()) | self._bindings).items():
                frame.bind(key, value)
            found = compiled.evaluate(None, frame)
        except Exception as problem:
            cause = (
                f"The JSONata expression '{text}' specified for the field '{name}' threw an error during evaluation."
            )
            raise StateError(QUERY, f"{cause} {problem}") from problem
        if found is None:
            raise StateError(
                QUERY, f"The JSONata expression '{text}' specified for the field '{name}' returned nothing (undefined)."
            )
        try:
            return _from_jsonata(found)
        except TypeError as problem:
            cause = (
                f"The JSONata expression '{text}' specified for the field '{name}' returned an unsupported result type."
            )
            raise StateError(QUERY, cause) from problem


def _to_jsonata(value: Any) -> Any:
    if value is None:
        return Utils.NULL_VALUE
    if isinstance(value, Mapping):
        return {key: _to_jsonata(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_jsonata(item) for item in value]
    return value


def _from_jsonata(value: Any) -> Any:
    if value is Utils.NULL_VALUE:
        return None
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError("not a JSON number")
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return {str(key): _from_jsonata(item) for key, item in value.items()}
    if isinstance(value, Utils.RangeList):
        # The library's own iteration over a range stops one short of its end.
        return [value[index] for index in range(len(value))]
    if isinstance(value, list):
        return [_from_jsonata(item) for item in value]
    raise TypeError(f"{type(value).__name__} is not JSON")


def _functions(now: datetime) -> dict[str, Any]:
    millis = int(now.timestamp() * 1000)

    def moment(picture: Any, timezone: Any) -> Any:
        return Functions.datetime_from_millis(millis, picture, timezone)

    return {
        "now": _function(moment, "<s?s?:s>"),
        "millis": _function(lambda: millis, "<:n>"),
        "uuid": _function(lambda: str(uuid.uuid4()), "<:s>"),
        "random": _function(_random, "<n?:n>"),
        "hash": _function(_hash, "<s-s?:s>"),
        "parse": _function(lambda text: _to_jsonata(json.loads(text)), "<s-:x>"),
        "partition": _function(_partition, "<a-n:a>"),
        "range": _function(_range, "<nnn:a>"),
        "eval": _function(_no_eval, "<x?x?:x>"),
    }


def _function(implementation: Callable[..., Any], signature: str) -> Any:
    return _JFunction(_JLambda(implementation), signature)


def _random(seed: Any = None) -> float:
    return random.Random(seed).random() if seed is not None else random.random()


def _hash(text: str, algorithm: Any = None) -> str:
    if algorithm is not None and algorithm not in _HASHES:
        raise ValueError(f"$hash: unknown algorithm {algorithm!r}; known are {', '.join(_HASHES)}")
    return hashlib.new(_HASHES[algorithm or "SHA-256"], text.encode()).hexdigest()


def _partition(items: list[Any], size: int) -> list[list[Any]]:
    if size < 1:
        raise ValueError("$partition: the size must be a positive number")
    return [items[start : start + int(size)] for start in range(0, len(items), int(size))]


def _range(first: float, last: float, step: float) -> list[float]:
    if not step:
        raise ValueError("$range: the step must not be 0")
    count = math.floor((last - first) / step) + 1
    return [first + index * step for index in range(max(count, 0))]


def _no_eval(*_: Any) -> Any:
    raise ValueError("$eval is not supported by Step Functions; use $parse for JSON text")
