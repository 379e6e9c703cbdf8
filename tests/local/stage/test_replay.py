"""History repeats itself: four pieces of it, on the real template, with the real packages."""

from __future__ import annotations

import pytest

from tests.local.stage.conftest import Replaying

pytestmark = pytest.mark.index


def test_httpx_0_28_is_rolled_back_by_the_canary(replayed: Replaying) -> None:
    value = replayed("httpx-0.28").result.to_json()

    layer = value["layers"]["llm-python311-x86_64"]
    assert (layer["before"]["packages"]["httpx"], layer["candidate"]["packages"]["httpx"]) == ("0.27.2", "0.28.0")
    assert layer["promoted"] == layer["before"]["version"]
    assert value["held_back"] == {"httpx": "0.28.0"}
    touched = [function for function in value["functions"].values() if function["candidate_attached"]]
    assert 0 < len(touched) < len(value["functions"])
    assert value["traffic"]["errors"] == value["traffic"]["errors_on_candidate"] == value["traffic"]["on_candidate"] > 0


@pytest.mark.long
def test_numpy_1_24_is_rolled_back_on_latest_and_the_usual_errors_blame_nobody(replayed: Replaying) -> None:
    value = replayed("numpy-1.24").result.to_json()

    assert value["held_back"] == {
        "numpy": value["layers"]["science-python311-x86_64"]["candidate"]["packages"]["numpy"]
    }
    assert {name for name, function in value["functions"].items() if function["candidate_attached"]} == {
        "scoring-1",
        "summary-1",
    }
    assert value["traffic"]["errors"] > value["traffic"]["errors_on_candidate"] > 0


def test_werkzeug_3_0_is_rejected_before_any_function_is_touched(replayed: Replaying) -> None:
    value = replayed("werkzeug-3.0").result.to_json()

    assert not any(function["candidate_attached"] for function in value["functions"].values())
    assert not any(action.startswith("lambda:Update") for action in value["aws_calls"])
    assert value["traffic"]["on_candidate"] == value["traffic"]["errors"] == 0


@pytest.mark.long
def test_requests_2_32_is_promoted_although_one_function_has_its_usual_errors(replayed: Replaying) -> None:
    value = replayed("requests-2.32").result.to_json()

    layer = value["layers"]["web-python311-x86_64"]
    assert layer["promoted"] == layer["candidate"]["version"]
    assert value["held_back"] == {}
    for function in value["functions"].values():
        assert function["candidate_attached"]
        assert [arn.rsplit(":", 1)[1] for arn in function["after"]] == [str(layer["promoted"])]
