"""Two pieces of history, one after the other: an update that goes out, and one that is put back."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from local import pythons
from local.fleet import host_architecture
from local.replay import replay
from local.scenario import Scenario, load
from local.story import choose

GOOD, INCIDENT = "requests-2.32", "httpx-0.28"
WARM_UP = 12
"""Minutes of traffic before each update: enough for a baseline, few enough to keep watching."""

# What these scenarios' packages had wheels for at the time, the scenarios' own first.
_RUNTIMES = ("python3.11", "python3.12", "python3.13")


def demo(scenarios: Path, reports: Path) -> int:
    """Replay both; 0 if both came out as history did. Reports go to a folder of the scenario's name in `reports`."""
    as_expected = True
    pages: dict[str, Path] = {}
    with tempfile.TemporaryDirectory(prefix="lamina-demo-") as work:
        for name in (GOOD, INCIDENT):
            scenario = _short(load(fitting(scenarios / name, Path(work))))
            with choose() as story:
                done = replay(scenario, story, reports=reports / name)
            done.check()
            as_expected &= not done.differences
            pages[name] = done.pages[0]
    print("The reports, for a browser:")
    for name, page in pages.items():
        print(f"  {name:15} {page}")
    print("\nNext: make replay SCENARIO=scenarios/numpy-1.24, or make serve and the AWS CLI; README.md has more.")
    return 0 if as_expected else 1


def fitting(scenario: Path, work: Path) -> Path:
    """The scenario, or a copy of it in `work` for a Python and an architecture that this machine has.

    Raises:
        InterpreterMissing: this machine has none of the Pythons that the demo's packages were made for.
    """
    runtime, architecture = _available(), host_architecture()
    swaps = {f'"{_RUNTIMES[0]}"': f'"{runtime}"', '"x86_64"': f'"{architecture}"'}
    if all(old == new for old, new in swaps.items()):
        return scenario
    print(f"{scenario.name} ran on {_RUNTIMES[0]} and x86_64; here it is replayed on {runtime} and {architecture}.")
    copy = work / scenario.name
    shutil.copytree(scenario, copy)
    for definition in copy.glob("layers/*/layer.toml"):
        text = definition.read_text("utf-8")
        for old, new in swaps.items():
            text = text.replace(old, new)
        definition.write_text(text, "utf-8")
    return copy


def _available() -> str:
    missing = None
    for runtime in _RUNTIMES:
        try:
            pythons.find(runtime)
        except pythons.InterpreterMissing as error:
            missing = missing or error
        else:
            return runtime
    assert missing is not None
    raise missing


def _short(scenario: Scenario) -> Scenario:
    return scenario.model_copy(update={"warm_up_minutes": min(scenario.warm_up_minutes, WARM_UP)})
