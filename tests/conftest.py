"""What all tests share: what a test that needs the package index does without it."""

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


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `index` where the index does not answer; in continuous integration, fail it."""
    if item.get_closest_marker("index") is None or index_answers():
        return
    message = "needs the package index, which does not answer through uv"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
