"""The demo on a machine that has not the Python of the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from local import demo, pythons
from local.scenario import load

SCENARIO = Path(__file__).parents[3] / "scenarios" / demo.INCIDENT


def has(monkeypatch: pytest.MonkeyPatch, *runtimes: str, architecture: str = "x86_64") -> None:
    def find(runtime: str) -> Path:
        if runtime not in runtimes:
            raise pythons.InterpreterMissing(f"no {runtime} here")
        return Path("python")

    monkeypatch.setattr(pythons, "find", find)
    monkeypatch.setattr(demo, "host_architecture", lambda: architecture)


def test_the_scenario_itself_where_its_python_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    has(monkeypatch, "python3.11", "python3.13")

    assert demo.fitting(SCENARIO, tmp_path) == SCENARIO


def test_a_copy_for_another_python_and_machine_and_a_note(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    has(monkeypatch, "python3.13", "python3.12", architecture="arm64")

    scenario = load(demo.fitting(SCENARIO, tmp_path))

    assert {(member.runtime, member.architectures) for member in scenario.fleet} == {("python3.12", ("arm64",))}
    assert "here it is replayed on python3.12 and arm64" in capsys.readouterr().out
    assert load(SCENARIO).fleet[0].runtime == "python3.11"


def test_without_any_fitting_python_the_error_names_the_scenarios_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    has(monkeypatch, "python3.14")

    with pytest.raises(pythons.InterpreterMissing, match=r"no python3\.11 here"):
        demo.fitting(SCENARIO, tmp_path)
