"""Layers of own files, for a language and for none, from the definition to the fleet: the short form of every-kind."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

import pytest

from local.replay import replay
from local.scenario import Scenario, load
from local.story import Story
from tests.workflow.conftest import RUNTIME

# A build gets its tools from there.
pytestmark = pytest.mark.index

WHOLE = Path(__file__).parents[2] / "scenarios" / "every-kind"
KEPT = {"sums": "native", "answer": "shell"}
"""Function to its layer: native code that Python loads, and a runtime for functions in shell."""


@pytest.fixture
def few(tmp_path: Path) -> Scenario:
    """Two of the scenario's layers, with one function each, watched for as short as can be judged."""
    folder = tmp_path / "few"
    for function, layer in KEPT.items():
        shutil.copytree(WHOLE / "fleet" / function, folder / "fleet" / function)
        shutil.copytree(WHOLE / "layers" / layer, folder / "layers" / layer)
        toml = folder / "layers" / layer / "layer.toml"
        text = toml.read_text().replace('"python3.11"', f'"{RUNTIME}"')
        toml.write_text(text.replace("tolerance = 0.05", "tolerance = 0.3\nweight = 0.5\nwaves = [100]"))
    text = (WHOLE / "scenario.toml").read_text()
    head, *tables = re.split(r"(?m)^(?=\[)", text)
    kept = [table for table in tables if table.startswith(("[expect]", *(f"[fleet.{name}]" for name in KEPT)))]
    head = head.replace("minute-seconds = 1.0", "minute-seconds = 0.5")
    head = head.replace("warm-up-minutes = 10", "warm-up-minutes = 3")
    (folder / "scenario.toml").write_text(head + "".join(kept).replace("per-minute = 15", "per-minute = 30"))
    return load(folder)


def test_own_files_for_python_and_for_no_language_are_built_proven_and_promoted(few: Scenario, tmp_path: Path) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the scenario's native code is for x86_64")

    done = replay(few, Story(), reports=tmp_path / "reports")

    assert (done.differences, done.broken) == ([], [])
    result = done.result
    assert [layer.outcome for layer in result.layers.values()] == ["promoted"] * len(KEPT)
    assert all(function.candidate_attached for function in result.functions.values())
    # Both are called before, meanwhile and after, and no call fails.
    traffic = result.to_json()["traffic"]
    assert traffic["on_candidate"] > 0
    assert traffic["errors"] == 0
