"""Whole resolutions with uv against an index on this machine: what cannot be had of a public one on demand."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lamina.definition import parse_definition, variants
from lamina.errors import IndexUnavailable, ResolutionFailed
from lamina.gateways.index import Index, find_uv
from lamina.gateways.listings import Listings
from lamina.lock import Lock, Pin
from lamina.model import Advisory
from lamina.resolution import Access, Order, Resolved
from lamina.steps.resolve_python import PythonGateways, resolve_python
from tests.simpleindex import SimpleIndex

NOW = datetime(2026, 11, 20, 6, tzinfo=UTC)
OLD, YOUNG = NOW - timedelta(days=30), NOW - timedelta(days=2)
FIX = Advisory(id="CVE-1", package="app", fixed="1.1")


@pytest.fixture
def served() -> Iterator[SimpleIndex]:
    with SimpleIndex() as index:
        index.add("app", "1.0", uploaded=OLD, requires=["helper>=1"])
        index.add("helper", "1.0", uploaded=OLD)
        index.add("other", "1.0", uploaded=OLD)
        index.add("other", "1.1", uploaded=OLD)
        yield index


def solve(
    served: SimpleIndex,
    work: Path,
    current: Mapping[str, str],
    *,
    wants: str = "app\nother\n",
    security: bool = False,
    fixes: tuple[Advisory, ...] = (FIX,),
    access: Access | None = None,
) -> Resolved:
    definition = parse_definition(
        "web",
        {
            "layer.toml": b'[layer]\nowner = "o"\nruntimes = ["python3.13"]\narchitectures = ["arm64"]\n'
            b'[python]\nrequirements = "requirements.in"\n[update]\ncooldown-days = 7\n',
            "requirements.in": wants.encode(),
        },
    )
    lock = Lock.of(Pin(name, version, (), OLD) for name, version in current.items()) if current else None
    order = Order(
        definition,
        variants(definition)[0],
        lock,
        NOW,
        fixes=fixes,
        security=security,
        access=access or Access(served.url),
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    index = Index(find_uv(work), sys.executable, work, environment | {"UV_HTTP_RETRIES": "0"})
    return resolve_python(
        order, PythonGateways(index, Listings(lambda: served.url, work, fresh=0)), dry_run=True, now=NOW
    )


CURRENT = {"app": "1.0", "helper": "1.0", "other": "1.0"}


@pytest.mark.parametrize(("security", "other"), [(True, "1.0"), (False, "1.1")])
def test_a_fix_that_needs_a_young_package_brings_it_along_and_says_so(
    served: SimpleIndex, tmp_path: Path, security: bool, other: str
) -> None:
    # GIVEN a fix of yesterday that needs a helper of yesterday; there are newer ones of both
    for version in ("1.1", "1.2"):
        served.add("app", version, uploaded=YOUNG, requires=["helper>=2"])
    served.add("helper", "2.0", uploaded=YOUNG)

    found = solve(served, tmp_path, CURRENT, security=security)

    assert found.lock.packages == {"app": "1.1", "helper": "2.0", "other": other}
    assert found.notes == (
        "app did not wait for its cooldown to end: the update fixes CVE-1.",
        "helper 2.0 was taken before its cooldown ended: the fix of CVE-1 in app needs it.",
    )


def test_a_fix_that_needs_too_many_young_packages_is_left_out_and_fails_a_security_update(
    served: SimpleIndex, tmp_path: Path
) -> None:
    needs = [f"new-{letter}" for letter in "abcd"]
    for name in needs:
        served.add(name, "1.0", uploaded=YOUNG)
    served.add("app", "1.1", uploaded=YOUNG, requires=["helper", *needs])

    found = solve(served, tmp_path, CURRENT)

    assert found.lock.packages == {"app": "1.0", "helper": "1.0", "other": "1.1"}
    assert [(held.package, held.version, held.kind) for held in found.held][:1] == [("app", "1.1", "conflict")]
    assert "more than 3 other packages before their cooldown ended: new-a 1.0" in found.held[0].why
    with pytest.raises(ResolutionFailed, match=r"none of the fixes can be taken.*: app 1\.1 fixes CVE-1"):
        solve(served, tmp_path, CURRENT, security=True)


def test_a_new_requirement_comes_at_its_newest_with_a_security_update_and_not_at_its_lowest(
    served: SimpleIndex, tmp_path: Path
) -> None:
    served.add("app", "1.1", uploaded=YOUNG, requires=["helper"])
    for version in ("0.1", "0.9"):
        served.add("added", version, uploaded=OLD)

    found = solve(served, tmp_path, CURRENT, wants="app\nother\nadded\n", security=True)

    assert found.lock.packages == {"added": "0.9", "app": "1.1", "helper": "1.0", "other": "1.0"}


def test_an_index_without_upload_times_is_resolved_all_the_same_and_says_what_is_unknown(tmp_path: Path) -> None:
    # GIVEN three packages that need each other in a row, none with an upload time, so that uv alone sees none of them
    with SimpleIndex() as undated:
        undated.add("app", "1.0", requires=["middle"])
        undated.add("middle", "1.0", requires=["last"])
        undated.add("last", "1.0")
        undated.add("last", "1.1")

        found = solve(undated, tmp_path, {}, wants="app\n", fixes=())

    assert found.lock.packages == {"app": "1.0", "last": "1.1", "middle": "1.0"}
    assert found.notes == (
        "The index does not say when files of app, last, middle were uploaded: their cooldown cannot be told, and is "
        "not waited for.",
    )


def test_a_public_package_that_the_own_index_has_too_is_refused(served: SimpleIndex, tmp_path: Path) -> None:
    with pytest.raises(ResolutionFailed, match=r"helper would come from http://127.*python\.index\.packages"):
        solve(served, tmp_path, {}, wants="app\n", access=Access(served.url, packages=("app",)))


def test_an_own_index_that_refuses_a_package_further_down_is_unavailable(served: SimpleIndex, tmp_path: Path) -> None:
    served.add("app", "1.1", uploaded=OLD, requires=["denied"])
    served.broken = {"denied": 403}

    with pytest.raises(IndexUnavailable, match=r"refused Lamina \(403\); nothing was changed, what is new is unknown"):
        solve(served, tmp_path, CURRENT, fixes=())


def test_a_name_of_its_own_that_the_own_index_has_not_is_looked_for_nowhere_else(
    served: SimpleIndex, tmp_path: Path
) -> None:
    # GIVEN somebody who published a package under a private name in the default index
    served.add("acme-kit", "9.9", uploaded=OLD)
    with SimpleIndex() as own:
        own.add("acme-other", "1.0", uploaded=OLD)
        access = Access(own.url, packages=("acme-*",))

        # WHEN a definition wants it, or a lock has it
        with pytest.raises(ResolutionFailed, match=r"has no acme-kit, .*looked for nowhere else"):
            solve(served, tmp_path, {}, wants="acme-kit\nother\n", access=access)

    # THEN the default index was not even asked
    assert not [path for path in served.asked if "acme" in path]
