"""History repeats itself: the four scenarios, on the real template, with the real packages."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from local.pythons import InterpreterMissing, find
from local.replay import Replay, replay
from local.scenario import load
from local.story import Story
from tests.browser import chromium, open_page

SCENARIOS = Path(__file__).parents[3] / "scenarios"

pytestmark = pytest.mark.index

Replaying: TypeAlias = Callable[[str], Replay]


def children() -> set[str]:
    """Process ids of this process's children."""
    return {pid for tasks in Path("/proc/self/task").glob("*/children") for pid in tasks.read_text().split()}


@pytest.fixture
def replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replaying]:
    """Replays a scenario and checks what holds for each: as expected, promises kept, nothing left behind."""
    with tempfile.TemporaryDirectory(prefix="stage-") as scratch:
        monkeypatch.setattr(tempfile, "tempdir", scratch)
        before = children()

        def run(name: str) -> Replay:
            scenario = load(SCENARIOS / name)
            try:
                find(scenario.fleet[0].runtime)
            except InterpreterMissing as missing:
                pytest.skip(str(missing))
            done = replay(scenario, Story(), reports=tmp_path / "reports")
            assert done.differences == []
            assert done.broken == []
            assert children() <= before
            assert list(Path(scratch).iterdir()) == []
            for page in done.pages:
                assert page.read_text().lower().startswith("<!doctype html>")
                if chromium():
                    opened = open_page(page, tmp_path)
                    assert opened.console == ()
                    assert opened.rows > 100
            return done

        yield run


def test_httpx_0_28_is_rolled_back_by_the_canary(replayed: Replaying) -> None:
    value = replayed("httpx-0.28").result.to_json()

    layer = value["layers"]["llm-python311-x86_64"]
    assert (layer["before"]["packages"]["httpx"], layer["candidate"]["packages"]["httpx"]) == ("0.27.2", "0.28.0")
    assert layer["promoted"] == layer["before"]["version"]
    assert value["held_back"] == {"httpx": "0.28.0"}
    touched = [function for function in value["functions"].values() if function["candidate_attached"]]
    assert 0 < len(touched) < len(value["functions"])
    assert value["traffic"]["errors"] == value["traffic"]["errors_on_candidate"] == value["traffic"]["on_candidate"] > 0


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


def test_requests_2_32_is_promoted_although_one_function_has_its_usual_errors(replayed: Replaying) -> None:
    value = replayed("requests-2.32").result.to_json()

    layer = value["layers"]["web-python311-x86_64"]
    assert layer["promoted"] == layer["candidate"]["version"]
    assert value["held_back"] == {}
    for function in value["functions"].values():
        assert function["candidate_attached"]
        assert [arn.rsplit(":", 1)[1] for arn in function["after"]] == [str(layer["promoted"])]
