"""Replays a scenario that comes along, and checks what must hold for each."""

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
