"""The pages in a real browser: they open without a script error, and there is something to see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lamina.page import render_rollout, render_run
from tests.browser import open_page
from tests.unit.test_page import EVIL, PAGE, RUN

pytestmark = pytest.mark.browser

PAGES = {
    "rollout": lambda: render_rollout(PAGE),
    "hostile": lambda: render_rollout(replace(PAGE, summary=EVIL, reason=EVIL, run=EVIL)),
    "run": lambda: render_run(RUN),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_a_script_error(name: str, tmp_path: Path) -> None:
    page = tmp_path / f"{name}.html"
    page.write_text(PAGES[name]())
    opened = open_page(page, tmp_path)
    assert opened.console == ()
    assert (opened.width, opened.height) == (1200, 1600)
    assert opened.rows > 100


def test_the_browser_s_console_is_really_read(tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text("<!doctype html><title>broken</title><script>nothing.there()</script>")
    assert any("nothing is not defined" in line for line in open_page(page, tmp_path).console)
