"""Reads a state machine's definition and refuses what the service would refuse.

Only JSONata machines of type STANDARD are known: JSONPath fields, distributed maps, activities and heartbeats are
refused by name, never ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from local.states import query
from local.states.errors import InvalidDefinition
from local.states.tokens import PATTERN

_COMMON = frozenset({"Type", "Comment", "QueryLanguage"})
_GOES_ON = frozenset({"Next", "End"})
_GUARDED = frozenset({"Retry", "Catch"})
_FIELDS: dict[str, frozenset[str]] = {
    "Task": _COMMON | _GOES_ON | _GUARDED | {"Resource", "Arguments", "Output", "Assign", "TimeoutSeconds"},
    "Pass": _COMMON | _GOES_ON | {"Output", "Assign"},
    "Wait": _COMMON | _GOES_ON | {"Seconds", "Timestamp", "Output", "Assign"},
    "Choice": _COMMON | {"Choices", "Default", "Output", "Assign"},
    "Succeed": _COMMON | {"Output"},
    "Fail": _COMMON | {"Error", "Cause"},
    "Parallel": _COMMON | _GOES_ON | _GUARDED | {"Branches", "Arguments", "Output", "Assign"},
    "Map": _COMMON
    | _GOES_ON
    | _GUARDED
    | {"Items", "ItemSelector", "ItemProcessor", "MaxConcurrency", "Output", "Assign"},
}
_TOP = frozenset({"Comment", "QueryLanguage", "StartAt", "States", "TimeoutSeconds", "Version"})
_PROCESSOR = frozenset({"ProcessorConfig", "Comment", "StartAt", "States"})
_RETRIER = frozenset(
    {"Comment", "ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds", "JitterStrategy"}
)
_CATCHER = frozenset({"Comment", "ErrorEquals", "Next", "Output", "Assign"})
_RULE = frozenset({"Comment", "Condition", "Next", "Output", "Assign"})
_HAS_RESULT = ("Task", "Parallel", "Map")
_RESULT = re.compile(r"\$states\s*\.\s*(result|errorOutput)\b")
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,79}$")
_MAX_BYTES = 1_048_576


def load(text: str) -> dict[str, Any]:
    """The definition as JSON, checked.

    Raises:
        InvalidDefinition: with every fault found, each with the path to it.
    """
    if len(text.encode()) > _MAX_BYTES:
        raise InvalidDefinition("the definition is larger than 1 MiB")
    try:
        definition = json.loads(text)
    except ValueError as problem:
        raise InvalidDefinition(f"INVALID_JSON_DESCRIPTION: {problem}") from problem
    if not isinstance(definition, dict):
        raise InvalidDefinition("SCHEMA_VALIDATION_FAILED: the definition must be an object")
    faults = list(_unknown("", definition, _TOP))
    if definition.get("QueryLanguage") != "JSONata":
        faults.append("/QueryLanguage: only JSONata machines can be run here")
    faults += _timeout("", definition)
    faults += _machine("", definition, frozenset(), set())
    if faults:
        raise InvalidDefinition("SCHEMA_VALIDATION_FAILED: " + "; ".join(faults))
    return definition


def _machine(path: str, machine: Mapping[str, Any], outer: frozenset[str], names: set[str]) -> Iterator[str]:
    states = machine.get("States")
    if not isinstance(states, dict) or not states:
        yield f"{path}/States: a machine needs at least one state"
        return
    if machine.get("StartAt") not in states:
        yield f"{path}/StartAt: {machine.get('StartAt')!r} is not one of the states"
    reached = {machine.get("StartAt")}
    own = frozenset(name for state in states.values() if isinstance(state, dict) for name in _assigned(state))
    for name in sorted(own & outer):
        yield f"{path}/States: the variable {name!r} is assigned in an outer scope too; inner scopes cannot assign it"
    for name, state in states.items():
        where = f"{path}/States/{name}"
        if len(name) > 80:
            yield f"{where}: a state's name has at most 80 characters"
        if name in names:
            yield f"{where}: another state has the same name"
        names.add(name)
        if not isinstance(state, dict) or state.get("Type") not in _FIELDS:
            yield f"{where}/Type: must be one of {', '.join(_FIELDS)}"
            continue
        reached.update(_targets(state))
        yield from _state(where, state, states)
        for inner_path, inner in _inner(where, state):
            yield from _machine(inner_path, inner, outer | own, names)
    for name in sorted(set(states) - reached):
        yield f"{path}/States/{name}: no state leads here (MISSING_TRANSITION_TARGET)"


def _state(where: str, state: Mapping[str, Any], states: Mapping[str, Any]) -> Iterator[str]:
    kind: str = state["Type"]
    yield from _unknown(where, state, _FIELDS[kind])
    if state.get("QueryLanguage", "JSONata") != "JSONata":
        yield f"{where}/QueryLanguage: only JSONata states can be run here"
    if kind not in ("Choice", "Succeed", "Fail") and ("Next" in state) == (state.get("End") is True):
        yield f"{where}: needs either Next or End: true"
    for target in _targets(state):
        if target not in states:
            yield f"{where}: the state {target!r} does not exist (MISSING_TRANSITION_TARGET)"
    for name in _assigned(state):
        if not _VARIABLE.match(name) or name == "states":
            yield f"{where}/Assign: {name!r} is not a variable's name"
    if kind == "Task":
        if not isinstance(state.get("Resource"), str):
            yield f"{where}/Resource: a Task needs one"
        yield from _timeout(where, state)
        if str(state.get("Resource")).endswith(f".{PATTERN}") and not _passes_token(state.get("Arguments")):
            yield f"{where}/Arguments: nobody is given $states.context.Task.Token, so nobody can ever answer"
    if kind == "Wait" and ("Seconds" in state) == ("Timestamp" in state):
        yield f"{where}: needs either Seconds or Timestamp"
    if kind == "Choice":
        rules = state.get("Choices")
        if not isinstance(rules, list) or not rules:
            yield f"{where}/Choices: needs at least one rule"
        for index, rule in enumerate(rules or []):
            yield from _unknown(f"{where}/Choices[{index}]", rule, _RULE)
            if "Next" not in rule or "Condition" not in rule:
                yield f"{where}/Choices[{index}]: needs Condition and Next"
    if kind == "Map" and not isinstance(state.get("ItemProcessor"), dict):
        yield f"{where}/ItemProcessor: a Map needs one"
    if kind == "Map" and isinstance(state.get("ItemProcessor"), dict):
        yield from _unknown(f"{where}/ItemProcessor", state["ItemProcessor"], _PROCESSOR)
        if state["ItemProcessor"].get("ProcessorConfig", {"Mode": "INLINE"}) != {"Mode": "INLINE"}:
            yield f"{where}/ItemProcessor/ProcessorConfig: only INLINE maps can be run here"
    if kind == "Parallel" and not (isinstance(state.get("Branches"), list) and state["Branches"]):
        yield f"{where}/Branches: a Parallel needs at least one"
    yield from _guards(where, state)
    yield from _expressions(where, state, kind)


def _guards(where: str, state: Mapping[str, Any]) -> Iterator[str]:
    for field, known in (("Retry", _RETRIER), ("Catch", _CATCHER)):
        for index, guard in enumerate(state.get(field, [])):
            at = f"{where}/{field}[{index}]"
            yield from _unknown(at, guard, known)
            errors = guard.get("ErrorEquals")
            if not isinstance(errors, list) or not errors:
                yield f"{at}/ErrorEquals: needs at least one name"
            elif "States.ALL" in errors and (len(errors) > 1 or index != len(state[field]) - 1):
                yield f"{at}/ErrorEquals: States.ALL must stand alone, and last"
            if field == "Catch" and "Next" not in guard:
                yield f"{at}/Next: a catcher needs one"


def _expressions(where: str, state: Mapping[str, Any], kind: str) -> Iterator[str]:
    own = {key: value for key, value in state.items() if key not in ("ItemProcessor", "Branches")}
    for path, text in _walk(where, own):
        inside = query.expression(text)
        if inside is None:
            if "{%" in text and text.lstrip().startswith("{%"):
                yield f"{path}: an expression begins with '{{%' and ends with '%}}', with nothing around it"
            continue
        try:
            query.check(inside)
        except ValueError as problem:
            yield f"{path}: {problem}"
        for name in _RESULT.findall(inside):
            in_catch = f"{where}/Catch" in path
            in_output = path.startswith((f"{where}/Output", f"{where}/Assign"))
            if name == "errorOutput" and not in_catch:
                yield f"{path}: $states.errorOutput exists in a Catch's Output and Assign only"
            if name == "result" and not (in_output and kind in _HAS_RESULT):
                yield f"{path}: $states.result exists in the Output and Assign of Task, Map and Parallel only"


def _walk(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(f"{path}/{key}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(f"{path}[{index}]", item)


def _passes_token(arguments: Any) -> bool:
    return any("$states.context.Task.Token" in text for _, text in _walk("", arguments))


def _targets(state: Mapping[str, Any]) -> Iterator[str]:
    for holder in (state, *state.get("Choices", []), *state.get("Catch", [])):
        if "Next" in holder:
            yield holder["Next"]
    if "Default" in state:
        yield state["Default"]


def _assigned(state: Mapping[str, Any]) -> Iterator[str]:
    for holder in (state, *state.get("Choices", []), *state.get("Catch", [])):
        yield from holder.get("Assign", {})


def _inner(where: str, state: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(state.get("ItemProcessor"), dict):
        yield f"{where}/ItemProcessor", state["ItemProcessor"]
    for index, branch in enumerate(state.get("Branches", [])):
        yield f"{where}/Branches[{index}]", branch


def _unknown(where: str, holder: Mapping[str, Any], known: frozenset[str]) -> Iterator[str]:
    for field in sorted(set(holder) - known):
        yield f"{where}/{field}: this field is not supported here"


def _timeout(where: str, holder: Mapping[str, Any]) -> Iterator[str]:
    seconds = holder.get("TimeoutSeconds", 1)
    if query.expression(seconds) is None and (isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 1):
        yield f"{where}/TimeoutSeconds: must be a positive whole number"


def resources(machine: Mapping[str, Any]) -> Iterator[str]:
    """Every Task's Resource, also inside maps and branches."""
    for state in machine["States"].values():
        if state["Type"] == "Task":
            yield state["Resource"]
        for _, inner in _inner("", state):
            yield from resources(inner)
