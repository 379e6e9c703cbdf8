"""npm's own past: what npm does by itself with a date, and what comes of it here."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lamina.definition import parse_definition, variants
from lamina.errors import IndexUnavailable
from lamina.gateways.npm import Npm, find_npm
from lamina.gateways.packuments import Packuments
from lamina.model import Advisory
from lamina.npmlock import parse_npm_lock
from lamina.resolution import Order, Resolved
from lamina.steps.resolve_nodejs import NodeGateways, resolve_nodejs

pytestmark = pytest.mark.index

EXPRESS = {"express": "^4.18.0"}


@pytest.fixture(scope="module")
def reach(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeGateways]:
    """The registry that npm is set up for on this machine."""
    work = tmp_path_factory.mktemp("npm")
    npm = Npm(work, os.environ)
    packuments = Packuments(npm.registry, work, os.environ, fresh=3600)
    try:
        packuments.read("express", None)
    except IndexUnavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    yield NodeGateways(npm, packuments)


def order(
    dependencies: dict[str, str], as_of: str, current: Resolved | None = None, update: str = "", **more: Any
) -> Order:
    toml = f"""
    [layer]
    owner = "o"
    runtimes = ["nodejs20.x"]
    architectures = ["x86_64"]
    [nodejs]
    package = "package.json"
    [update]
    {update}
    """
    body = json.dumps({"dependencies": dependencies}).encode()
    definition = parse_definition("web", {"layer.toml": toml.encode(), "package.json": body})
    moment = datetime.fromisoformat(as_of).replace(tzinfo=UTC)
    lock = parse_npm_lock(current.text) if current else None
    return Order(definition, variants(definition)[0], lock, moment, **more)


def solve(asked: Order, reach: NodeGateways) -> Resolved:
    return resolve_nodejs(asked, reach, dry_run=True, now=asked.as_of)


@pytest.fixture(scope="module")
def september(reach: NodeGateways) -> Resolved:
    """A lock from before express 4.20."""
    return solve(order(EXPRESS, "2024-09-01"), reach)


def versions(text: str) -> dict[str, str]:
    return parse_npm_lock(text).packages


def test_npm_by_itself_goes_back_without_a_word_and_lamina_does_not(
    reach: NodeGateways, september: Resolved, tmp_path: Path
) -> None:
    newer = solve(order(EXPRESS, "2024-10-01", september, "cooldown-days = 0"), reach)
    (tmp_path / "package.json").write_text(json.dumps({"name": "web", "version": "0.0.0", "dependencies": EXPRESS}))
    (tmp_path / "package-lock.json").write_text(newer.text)
    by_itself = subprocess.run(
        (*find_npm(tmp_path), "update", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund",
         "--omit-lockfile-registry-resolved", "--before=2024-09-01"),
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    here = solve(order(EXPRESS, "2024-10-01", newer, "cooldown-days = 30"), reach)

    assert by_itself.returncode == 0
    assert versions((tmp_path / "package-lock.json").read_text())["express"] == "4.19.2"
    assert versions(newer.text)["express"] > "4.19.2"
    assert here.text == newer.text
    assert here.changes == ()


def test_a_fix_takes_along_what_stands_in_its_way_and_nothing_else(reach: NodeGateways, september: Resolved) -> None:
    """CVE-2024-45296 in path-to-regexp 0.1.7: express up to 4.19 asks for exactly that version."""
    advisory = Advisory(id="GHSA-9wv6-86v2-598j", ecosystem="npm", package="path-to-regexp", fixed="0.1.10")
    wanted = order(EXPRESS, "2024-09-25", september, "cooldown-days = 30", fixes=(advisory,), security=True)

    found = solve(wanted, reach)

    assert september.lock.packages["path-to-regexp"] == "0.1.7"
    moved = {change.package: change.to for change in found.changes}
    assert (moved["path-to-regexp"], moved["express"]) == ("0.1.10", "4.20.0")
    # What express 4.20.0 asks for exactly, with what that brings; all else stays.
    needs = {"body-parser", "encodeurl", "finalhandler", "merge-descriptors", "qs", "send", "serve-static"}
    assert {name.split("/")[0] for name in moved} <= needs | {"express", "path-to-regexp"}
    assert any(note.startswith("express 4.20.0 was taken before its cooldown") for note in found.notes)


def test_the_cooldown_of_each_release_is_told_with_its_date(reach: NodeGateways, september: Resolved) -> None:
    found = solve(order(EXPRESS, "2024-10-01", september, "cooldown-days = 30"), reach)

    waiting = {entry.version: entry for entry in found.held if (entry.package, entry.kind) == ("express", "cooldown")}
    assert "4.20.0" in waiting
    until = waiting["4.20.0"].until
    assert until is not None and datetime(2024, 10, 1, tzinfo=UTC) < until < datetime(2024, 11, 1, tzinfo=UTC)
    assert found.changes == ()


def test_a_step_across_a_major_version_is_a_persons_decision(reach: NodeGateways, september: Resolved) -> None:
    both = {"express": "^4.18.0 || ^5.0.0"}

    minor = solve(order(both, "2025-06-01", september), reach)
    major = solve(order(both, "2025-06-01", september, 'allow = "major"'), reach)

    assert minor.lock.packages["express"].startswith("4.21.")
    assert ("express", "allow") in {(entry.package, entry.kind) for entry in minor.held}
    assert major.lock.packages["express"].startswith("5.")


def test_native_packages_are_pinned_for_the_layers_architecture(reach: NodeGateways) -> None:
    found = solve(order({"esbuild": "^0.25.0"}, "2025-06-01"), reach)

    assert set(found.lock.packages) == {"esbuild", "@esbuild/linux-x64"}
    assert "node_modules/@esbuild/darwin-arm64" in json.loads(found.text)["packages"]
