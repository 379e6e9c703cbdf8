"""The template and the state machines, parsed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from samcli.yamlhelper import yaml_parse

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def template() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return parsed


@pytest.fixture(scope="session")
def machines() -> dict[str, dict[str, Any]]:
    return {
        path.name.split(".")[0]: yaml.safe_load(path.read_text())
        for path in sorted((ROOT / "statemachine").glob("*.asl.yaml"))
    }
