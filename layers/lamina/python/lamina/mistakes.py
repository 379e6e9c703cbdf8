"""What is wrong with a `layer.toml`, in one sentence for the person who edits it."""

from __future__ import annotations

import difflib
import json
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lamina.runtimes import ARCHITECTURES, RUNTIMES

_INNER = ("literal[", "function-after[", "tuple[")
"""Steps of a problem's path that speak of the models, not of the file."""


def in_words(error: ValidationError, tables: type[BaseModel]) -> str:
    """The first problem in plain words, and how many more keys have one.

    Args:
        error: what the models found.
        tables: the model of the whole file.
    """
    # A typing mistake in a key is why another one is missing: it comes first, in whichever order they are found.
    problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    keys = {_key(problem) for problem in problems}
    # A list with a bad item is reported twice: for the item, and as a list that is too short without it.
    others = sum(not any(other.startswith(key + ".") for other in keys) for key in keys) - 1
    return _problem(problems[0], tables) + (f" (and {others} more to correct after it)" if others else "")


def known_keys(tables: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at `path`, as they are spelled in the file."""
    keys = _fields(tables)
    model = tables
    for step in path:
        annotation = keys.get(str(step))
        # A table of named tables has one model for whatever name comes next.
        model = _model(annotation) or model
        keys = _fields(model)
    return sorted(keys)


def _key(problem: ErrorDetails) -> str:
    return ".".join(str(step) for step in problem["loc"] if not str(step).startswith(_INNER))


def _problem(problem: ErrorDetails, tables: type[BaseModel]) -> str:
    key, kind, value = _key(problem), problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        known = known_keys(tables, problem["loc"][:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, 1, 0.6)
        hint = f"did you mean {close[0]!r}?" if close else f"known there: {', '.join(known)}"
        return f"unknown key {key}; {hint}"
    if kind == "missing":
        return f"{key} is missing; it is required"
    if kind == "value_error":
        return f"{key}: {problem['ctx']['error']}"
    if "literal['auto']" in problem["loc"]:
        return f"{key}: must be 'auto' or a list of names, each once, not {json.dumps(value)[:80]}"
    if key.startswith("layer.runtimes.") or (key == "layer.runtimes" and isinstance(value, str)):
        return f"{key}: {value!r} is not a runtime that Lamina knows; use one of {', '.join(RUNTIMES)}"
    if key.startswith("layer.architectures."):
        return f"{key}: {value!r} is not an architecture; use one of {', '.join(ARCHITECTURES)}"
    if kind == "too_short":
        return f"{key}: is empty; name at least one"
    if kind == "string_too_short":
        return f"{key}: is empty; write a text"
    wish = problem["msg"][0].lower() + problem["msg"][1:]
    wish = wish.replace("input should be", "must be").replace("an object", "a table").replace("valid array", "list")
    return f"{key}: {wish}, not {json.dumps(value, default=str)[:80]}"


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def _model(annotation: Any) -> type[BaseModel] | None:
    choices = [annotation, *getattr(annotation, "__args__", ())]
    return next((choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel)), None)
