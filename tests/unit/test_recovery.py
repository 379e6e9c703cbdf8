from __future__ import annotations

from typing import Any

import pytest

from lamina.errors import InvalidInput
from lamina.recovery import ReturnTo, UndoRollout, parse


def test_a_person_names_a_variant_and_perhaps_a_version() -> None:
    assert parse({"layer": "web-python313-arm64"}) == ReturnTo("web-python313-arm64", None)
    assert parse({"layer": "web-python313-arm64", "version": 12}) == ReturnTo("web-python313-arm64", 12)


def test_the_rollout_s_own_request_is_understood() -> None:
    raw = {
        "rollout": "web-v2",
        "cause": {"kind": "harmful", "text": "why"},
        "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID": "arn",
    }
    assert parse(raw) == UndoRollout("web-v2", "harmful", "why")


@pytest.mark.parametrize(("status", "kind"), [("ABORTED", "stopped"), ("TIMED_OUT", "stopped"), ("FAILED", "error")])
def test_an_execution_that_ended_badly_names_its_rollout(status: str, kind: str) -> None:
    arn = "arn:aws:states:eu-central-1:123456789012:execution:lamina-rollout:web-v2-abc"
    event = {
        "version": "0",
        "source": "aws.states",
        "detail-type": "Step Functions Execution Status Change",
        "detail": {"executionArn": arn, "status": status},
    }
    request = parse(event)
    assert isinstance(request, UndoRollout)
    assert (request.rollout, request.kind) == ("web-v2-abc", kind)
    assert status in request.text


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (None, "must be a JSON object"),
        ([], "must be a JSON object"),
        ("web", "must be a JSON object"),
        ({}, "lacks 'layer'"),
        ({"layer": ""}, "lacks 'layer'"),
        ({"layer": 3}, "lacks 'layer'"),
        ({"layers": ["web"]}, "unknown key 'layers'"),
        ({"layer": "web", "version": "12"}, "number of a layer version"),
        ({"layer": "web", "version": 0}, "number of a layer version"),
        ({"layer": "web", "version": True}, "number of a layer version"),
        ({"layer": "web", "version": None}, "number of a layer version"),
        ({"layer": "web", "force": True}, "unknown key 'force'"),
        ({"rollout": "web-v2"}, "Lamina's own use"),
        ({"source": "aws.states", "detail": {}}, "executionArn"),
    ],
)
def test_anything_else_is_refused_and_says_what_is_accepted(raw: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse(raw)
