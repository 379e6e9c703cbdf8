"""Which changed packages a function's imports lead to."""

from __future__ import annotations

from typing import Any

import pytest

from lamina.affected import usable, used
from lamina.bundle import Manifest
from lamina.model import Change


def manifest(**parts: Any) -> Manifest:
    return Manifest.model_validate(
        {"variant": "v", "digest": "a" * 64, "sha256": "b" * 64, "sizes": {"zipped": 1, "unzipped": 2}, **parts}
    )


PYTHON = manifest(
    packages={
        "openai": {"version": "1", "modules": ["openai"], "requires": ["httpx", "pydantic"]},
        "httpx": {"version": "2", "modules": ["httpx"], "requires": ["anyio", "httpx"]},
        "anyio": {"version": "3", "modules": ["anyio"]},
        "google-auth": {"version": "1", "modules": ["google"]},
        "protobuf": {"version": "1", "modules": ["google"], "requires": ["anyio"]},
    }
)
BEFORE = manifest(packages={"httpcore": {"version": "1", "modules": ["httpcore"]}, "openai": {"version": "0"}})
NODE = manifest(
    nodePackages={
        "express": {"version": "4", "requires": ["express/node_modules/qs"]},
        "express/node_modules/qs": {"version": "6"},
        "qs": {"version": "5"},
        "@aws/one": {"version": "1"},
        "old@npm:lodash": {"version": "1"},
    }
)


@pytest.mark.parametrize(
    ("modules", "found"),
    [
        ({"httpx", "httpx._client"}, {"httpx", "anyio"}),
        ({"openai.types"}, {"openai", "httpx", "anyio", "pydantic"}),
        ({"google.auth"}, {"google-auth", "protobuf", "anyio"}),
        ({"json", "boto3"}, set()),
        ({"httpcore"}, {"httpcore"}),
        (set(), set()),
    ],
)
def test_python_imports_lead_to_packages_and_all_that_these_require(modules: set[str], found: set[str]) -> None:
    assert used(modules, "python", PYTHON, BEFORE) == found


@pytest.mark.parametrize(
    ("modules", "found"),
    [
        ({"express"}, {"express", "express/node_modules/qs"}),
        ({"qs"}, {"qs"}),
        ({"@aws/one/deep"}, {"@aws/one"}),
        ({"old"}, {"old@npm:lodash"}),
        ({"fs"}, set()),
    ],
)
def test_javascript_imports_lead_to_places(modules: set[str], found: set[str]) -> None:
    assert used(modules, "nodejs", NODE) == found


def test_without_a_language_nothing_is_known_to_be_used() -> None:
    assert used({"httpx"}, "provided", PYTHON) == frozenset()


def test_only_changes_in_the_variant_s_own_language_can_be_used() -> None:
    changes = (Change(package="httpx"), Change(ecosystem="npm", package="qs"))
    assert usable(changes, "python") == {"httpx"}
    assert usable(changes, "nodejs") == {"qs"}
    assert usable(changes, "provided") == frozenset()
