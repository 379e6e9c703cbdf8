"""JSONata as Step Functions has it, and definitions that it would refuse."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.states import definition
from local.states.errors import InvalidDefinition, StateError
from local.states.query import Query

NOW = datetime(2026, 11, 21, 8, 30, 15, 250_000, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _evaluate(text: str, data: Any = None, **variables: Any) -> Any:
    return Query({"input": data, "context": {}}, variables, lambda: NOW).field("Output", f"{{% {text} %}}")


@given(JSON)
def test_a_value_goes_through_unchanged(value: Any) -> None:
    assert Query({"input": {"v": value}}, {}, lambda: NOW).field("Output", "{% $states.input.v %}") == value
    assert Query({"input": {}}, {"v": value}, lambda: NOW).field("Output", {"in": "{% $v %}"}) == {"in": value}


@pytest.mark.parametrize(
    ("text", "data", "expected"),
    [
        ("$states.input.a", {"a": None}, None),
        ("$type($states.input.a)", {"a": None}, "null"),
        ("$exists($states.input.a)", {}, False),
        ("{'a': $states.input.gone, 'b': null}", {}, {"b": None}),
        ("[$states.input.gone]", {}, []),
        ("$states.input[x=1]", [{"x": 1}, {"x": 2}], {"x": 1}),
        ("$states.input[x=1][]", [{"x": 1}, {"x": 2}], [{"x": 1}]),
        ("$states.input.x", [{"x": 1}, {"x": 2}], [1, 2]),
        ("4 / 2", {}, 2),
        ("[1..4]", {}, [1, 2, 3, 4]),
        ("$merge([$states.input, {'b': null}])", {"a": None}, {"a": None, "b": None}),
        ("$now()", {}, "2026-11-21T08:30:15.250Z"),
        ("$millis()", {}, int(NOW.timestamp() * 1000)),
        ("$partition([1..5], 2)", {}, [[1, 2], [3, 4], [5]]),
        ("$range(1, 10, 3)", {}, [1, 4, 7, 10]),
        ("$range(3, 1, -1)", {}, [3, 2, 1]),
        ("$hash('a', 'MD5')", {}, "0cc175b9c0f1b6a831c399e269772661"),
        ("$parse('{\"a\": [null, 1]}')", {}, {"a": [None, 1]}),
        ("$length($uuid())", {}, 36),
        ("$random(7) = $random(7)", {}, True),
    ],
)
def test_expressions(text: str, data: Any, expected: Any) -> None:
    assert _evaluate(text, data) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$states.input.gone", "returned nothing (undefined)"),
        ("$", "returned nothing (undefined)"),
        ("$nobody", "returned nothing (undefined)"),
        ("function($x) { $x }", "unsupported result type"),
        ("1 + 'a'", "threw an error"),
        ("$error('no such layer')", "no such layer"),
        ("$nobody(1)", "threw an error"),
        ("$eval('1')", "$parse"),
    ],
)
def test_what_gives_no_value_is_an_evaluation_error(text: str, words: str) -> None:
    with pytest.raises(StateError) as problem:
        _evaluate(text, {})
    assert problem.value.error == "States.QueryEvaluationError"
    assert "'Output'" in problem.value.cause
    assert words in problem.value.cause


@pytest.mark.parametrize(
    ("names", "error", "from_task", "expected"),
    [
        (["States.ALL"], "InvalidInput", True, True),
        (["States.ALL"], "States.DataLimitExceeded", True, False),
        (["States.DataLimitExceeded"], "States.DataLimitExceeded", True, True),
        (["States.ALL"], "States.Runtime", True, False),
        (["States.TaskFailed"], "InvalidInput", True, True),
        (["States.TaskFailed"], "States.Timeout", True, False),
        (["States.TaskFailed"], "Custom", False, False),
        (["States.Timeout", "Other"], "States.Timeout", True, True),
    ],
)
def test_names_in_error_equals(names: list[str], error: str, from_task: bool, expected: bool) -> None:
    assert StateError(error, from_task=from_task).matches(names) is expected


def _machine(**states: Any) -> str:
    return json.dumps({"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states})


def _inner(**states: Any) -> dict[str, Any]:
    return {"StartAt": next(iter(states)), "States": states}


TASK = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "INVALID_JSON"),
        (json.dumps({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}), "QueryLanguage"),
        (_machine(A={"Type": "Pass", "Next": "B"}), "'B' does not exist"),
        (_machine(A={"Type": "Pass", "End": True}, B={"Type": "Pass", "End": True}), "no state leads here"),
        (_machine(A={"Type": "Pass"}), "needs either Next or End"),
        (_machine(A={"Type": "Pass", "End": True, "Result": 1}), "/Result"),
        (_machine(A={**TASK, "Parameters": {}}), "/Parameters"),
        (_machine(A={**TASK, "Arguments": "{% $states.result %}"}), "$states.result exists"),
        (_machine(A={**TASK, "Output": "{% $states.errorOutput %}"}), "$states.errorOutput exists"),
        (_machine(A={**TASK, "Output": "{% 1 + %}"}), "/Output"),
        (_machine(A={**TASK, "Output": "{% 1 %} and more"}), "nothing around it"),
        (_machine(A={**TASK, "Assign": {"states": 1}}), "'states' is not a variable's name"),
        (_machine(A={**TASK, "TimeoutSeconds": 0}), "TimeoutSeconds"),
        (_machine(A={**TASK, "Retry": [{"ErrorEquals": ["States.ALL", "X"]}]}), "must stand alone"),
        (_machine(A={**TASK, "Catch": [{"ErrorEquals": ["X"]}]}), "a catcher needs one"),
        (_machine(A={"Type": "Choice", "Choices": [{"Next": "A"}]}), "needs Condition and Next"),
        (_machine(A={"Type": "Wait", "End": True}), "Seconds or Timestamp"),
        (
            _machine(A={"Type": "Map", "End": True, "Assign": {"x": 1},
                        "ItemProcessor": _inner(B={"Type": "Pass", "Assign": {"x": 2}, "End": True})}),
            "inner scopes cannot assign",
        ),
        (
            _machine(A={"Type": "Map", "End": True, "ItemProcessor": _inner(A={"Type": "Pass", "End": True})}),
            "another state has the same name",
        ),
        (
            _machine(A={"Type": "Map", "End": True, "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED"}, **_inner(B={"Type": "Pass", "End": True})}}),
            "only INLINE",
        ),
    ],
)  # fmt: skip
def test_definitions_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidDefinition) as problem:
        definition.load(text)
    assert words in str(problem.value)
