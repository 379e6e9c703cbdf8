"""What is left out of a layer: each rule by what it takes and what it leaves, and tests that somebody needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder.pruning import OTHER_PLATFORMS, Removed, prune, read_rules
from builder.settings import NodeTarget
from builder.tree import files_below
from tests.unit.test_build import SETTINGS, tree

BOTH = replace(SETTINGS, nodejs=NodeTarget("22", "x64"))


def pruned(folder: Path, place: str, *files: str) -> list[str]:
    """What is left of some files."""
    inside = folder / {"python": "python", "nodejs": "nodejs/node_modules"}[place]
    tree(inside, {name: b"{}" if name.endswith(".json") else b"" for name in files})
    prune(folder, BOTH)
    return files_below(inside)


@pytest.mark.parametrize(
    ("place", "gone"),
    [
        ("python", "bin/tool"),
        ("python", ".lock"),
        ("python", "a-1.dist-info/INSTALLER"),
        ("python", "a/__pycache__/a.pyc"),
        ("python", "a/tests/test_a.py"),
        ("python", "tests/test_a.py"),
        ("python", "a/include/a.h"),
        ("python", "a/core.pyx"),
        ("python", "a/__init__.pyi"),
        ("python", "a/py.typed"),
        ("python", "LICENSE.txt"),
        ("python", "a/fast.cpython-310-x86_64-linux-gnu.so"),
        ("nodejs", ".bin/a"),
        ("nodejs", ".package-lock.json"),
        ("nodejs", "a/test/index.js"),
        ("nodejs", "@s/a/dist/index.d.ts"),
        ("nodejs", "a/dist/index.js.map"),
        ("nodejs", "a/binding.gyp"),
        ("nodejs", "a/README.md"),
        ("nodejs", "a/prebuilds/darwin-x64+arm64/a.node"),
        ("nodejs", "a/prebuilds/linux-arm64/a.node"),
        ("nodejs", "a/prebuilds/linux-x64/a.musl.node"),
    ],
)
def test_a_rule_takes(tmp_path: Path, place: str, gone: str) -> None:
    kept = ["a/fast.cpython-311-x86_64-linux-gnu.so"] if place == "python" else ["a/package.json"]

    assert pruned(tmp_path, place, gone, *kept) == kept


@pytest.mark.parametrize(
    ("place", "kept"),
    [
        ("python", "a/bin/tool"),
        ("python", "a-1.dist-info/METADATA"),
        ("python", "a-1.dist-info/entry_points.txt"),
        ("python", "a-1.dist-info/licenses/LICENSE"),
        ("python", "a/testing/__init__.py"),
        ("python", "a/tests.py"),
        ("python", "a/LICENSE.txt"),
        ("python", "a/data.csv"),
        ("python", "a/fast.cpython-310-x86_64-linux-gnu.so"),
        ("nodejs", "a/LICENSE"),
        ("nodejs", "a/test.js"),
        ("nodejs", "a/index.ts"),
        ("nodejs", "a/bin/a"),
        ("nodejs", "a/prebuilds/linux-x64/a.node"),
    ],
)
def test_the_rules_leave(tmp_path: Path, place: str, kept: str) -> None:
    # An extension for another Python alone is no left-over: the build is refused for it.
    assert pruned(tmp_path, place, kept) == [kept]


@pytest.mark.parametrize(
    "line",
    [
        b"import a.tests.helper",
        b"from a.tests import helper",
        b"from a import tests",
        b"from .tests.helper import x",
        b"from . import (\n    other,\n    tests,\n)",
        b"def f():\n    from .tests import helper",
        b"import importlib\nimportlib.import_module('a.tests.helper')",
    ],
)
def test_tests_that_something_outside_imports_stay(tmp_path: Path, line: bytes) -> None:
    files = {"a/__init__.py": line, "a/tests/helper.py": b"", "a/b/tests/c.py": b"import a.b.tests.d"}
    tree(tmp_path / "python", files)

    removed = prune(tmp_path, SETTINGS)

    assert files_below(tmp_path / "python") == ["a/__init__.py", "a/tests/helper.py"]
    assert removed["tests"] == Removed(files=1, bytes=18)


@pytest.mark.parametrize("line", [b"tests = 1", b"from .b import tests", b"# import a.tests", b"import (tests"])
def test_tests_that_are_only_spoken_of_go(tmp_path: Path, line: bytes) -> None:
    tree(tmp_path / "python", {"a/__init__.py": line, "a/tests/helper.py": b""})

    prune(tmp_path, SETTINGS)

    assert files_below(tmp_path / "python") == ["a/__init__.py"]


@pytest.mark.parametrize(
    ("script", "package", "stays"),
    [
        (b"require('./test/helper')", b"{}", True),
        (b"import x from '../a/test'", b"{}", True),
        (b"if (x === 'test') {}", b'{"scripts": {"test": "node test/all.js"}}', False),
        (b"", b'{"exports": {"./t": {"import": "./test/index.mjs"}}}', True),
        (b"", b'{"main": "./index.js"}', False),
    ],
)
def test_tests_of_npm_that_something_outside_requires_stay(
    tmp_path: Path, script: bytes, package: bytes, stays: bool
) -> None:
    modules = tree(
        tmp_path / "nodejs/node_modules",
        {"a/lib/index.js": script, "a/package.json": package, "a/test/helper.js": b""},
    )
    tree(modules, {"b/package.json": b"{}", "b/test/x.js": b""})

    prune(tmp_path, BOTH)

    assert (modules / "a/test/helper.js").exists() == stays
    assert not (modules / "b/test").exists()


def test_every_rule_has_a_place_and_what_always_holds_is_about_the_build(tmp_path: Path) -> None:
    always = {rule.reason for place in ("python", "nodejs") for rule in read_rules(place, everything=False)}

    assert always == {"programs", "installer's notes", "caches"}
    for place in ("python", "nodejs"):
        assert all(rule.folders or rule.files for rule in read_rules(place, everything=True))


def test_what_is_for_other_platforms_goes_even_if_nothing_else_does(tmp_path: Path) -> None:
    tree(tmp_path / "nodejs/node_modules", {"a/prebuilds/win32-x64/a.node": b"12", "a/README.md": b""})

    removed = prune(tmp_path, replace(BOTH, prune=False))

    assert removed == {OTHER_PLATFORMS: Removed(files=1, bytes=2)}
