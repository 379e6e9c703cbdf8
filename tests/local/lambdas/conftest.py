"""The local Lambda under test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.local.lambdas.lab import Cloud, running


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A running local Lambda."""
    with running(tmp_path_factory.mktemp("lambda")) as found:
        yield found


@pytest.fixture(scope="module", params=["mounts", "paths"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A running local Lambda: with private mounts, and with search paths as on machines that do not allow them."""
    with running(tmp_path_factory.mktemp(request.param), namespaces=request.param == "mounts") as found:
        yield found
