"""What all tests share: what a test that needs the package index does without it, and which are left out at first."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest


@functools.cache
def index_answers() -> bool:
    """Whether uv, set up as it is on this machine, can resolve a package from its index."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--no-cache", "--no-deps", "--quiet", "-"]
    environment = {"UV_SYSTEM_CERTS": "1"} | os.environ
    try:
        return subprocess.run(command, input=b"pip\n", env=environment, capture_output=True, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked `long` unless LONG=1 asks for them; pytest counts them as deselected."""
    if os.environ.get("LONG") == "1":
        return
    left_out = [item for item in items if item.get_closest_marker("long") is not None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `index` where the index does not answer; in continuous integration, fail it."""
    if item.get_closest_marker("index") is None or index_answers():
        return
    message = "needs the package index, which does not answer through uv"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
