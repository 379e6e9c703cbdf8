"""The command line: exit codes, the JSON file, and errors that a person can read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local import __main__ as command
from local.pythons import InterpreterMissing
from local.registry import ReplayFailed
from local.replay import Replay
from local.results import Flow, Layer, Result

SCENARIOS = Path(__file__).parents[3] / "scenarios"
RESULT = Result({"web": Layer("promoted", None, None, 2)}, {}, Flow(), {"total": 1.0}, {})


def replaying(monkeypatch: pytest.MonkeyPatch, answer: Replay | Exception) -> None:
    def replay(*_: Any, **__: Any) -> Replay:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("local.replay.replay", replay)


def run(*arguments: str) -> int:
    return command.main(["replay", str(SCENARIOS / "httpx-0.28"), "--quiet", *arguments])


@pytest.mark.parametrize(("differences", "code"), [([], 0), (["outcome: expected promoted, was held"], 1)])
def test_as_expected_or_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, differences: list[str], code: int) -> None:
    replaying(monkeypatch, Replay(RESULT, differences, [], []))

    assert run("--json", str(tmp_path / "result.json")) == code
    assert json.loads((tmp_path / "result.json").read_text()) == RESULT.to_json()


def test_a_broken_promise_fails_the_replay_and_names_the_function(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replaying(monkeypatch, Replay(RESULT, [], ["chat-2 serves [llm:2]; it should be [llm:1]"], []))

    assert run("--json", str(tmp_path / "result.json")) == 2
    assert "chat-2 serves [llm:2]" in capsys.readouterr().err
    assert (tmp_path / "result.json").exists()


@pytest.mark.parametrize("error", [ReplayFailed("release 1 was not made"), InterpreterMissing("no python3.11 here")])
def test_a_replay_that_fails_says_why_and_leaves_no_old_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    (tmp_path / "result.json").write_text("{}")
    replaying(monkeypatch, error)

    assert run("--json", str(tmp_path / "result.json")) == 2
    assert capsys.readouterr().err == f"replay: {error}\n"
    assert not (tmp_path / "result.json").exists()


def test_a_folder_that_is_no_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["replay", str(tmp_path)]) == 2
    assert "scenario.toml does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["replay"], ["fly"], ["serve", "--minute-seconds", "0"]])
def test_a_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err
