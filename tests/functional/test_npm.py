"""Resolving with the real npm, against a registry of invented packages on this machine."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from lamina.definition import parse_definition, variants
from lamina.errors import IndexUnavailable, ResolutionFailed
from lamina.gateways.npm import Npm
from lamina.gateways.packuments import Packuments
from lamina.gateways.registry import Sightings, Table
from lamina.model import Advisory, HeldBack
from lamina.npmlock import parse_npm_lock
from lamina.resolution import Access, Order, Resolved
from lamina.steps.resolve_nodejs import NodeGateways, resolve_nodejs
from tests.functional.registry import Registry, served

AS_OF = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
LONG_AGO, YESTERDAY = "2026-01-01", "2026-11-19"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with served(Registry()) as server:
        yield server


@pytest.fixture
def reach(registry: Registry, tmp_path: Path) -> NodeGateways:
    return gateways(registry, tmp_path)


def gateways(registry: Registry, work: Path) -> NodeGateways:
    packuments = Packuments(lambda: registry.url, work, {}, fresh=0, pause=lambda seconds: None)
    return NodeGateways(Npm(work, os.environ), packuments)


def solve(asked: Order, reach: NodeGateways) -> Resolved:
    return resolve_nodejs(asked, reach, dry_run=False, now=asked.as_of)


class Memory:
    """A table of documents that are gone in the end."""

    def __init__(self) -> None:
        self.documents: dict[tuple[str, str], Any] = {}

    def get(self, pk: str, sk: str) -> Any:
        return self.documents.get((pk, sk))

    def put(self, pk: str, sk: str, document: Any) -> None:
        self.documents[pk, sk] = document


def order(
    dependencies: dict[str, str],
    current: Resolved | None = None,
    *,
    update: str = "",
    runtime: str = "nodejs22.x",
    package: dict[str, Any] | None = None,
    **more: Any,
) -> Order:
    toml = f"""
    [layer]
    owner = "o"
    runtimes = ["{runtime}"]
    architectures = ["arm64"]
    [nodejs]
    package = "package.json"
    [update]
    {update}
    """
    body = json.dumps({"dependencies": dependencies, **(package or {})})
    definition = parse_definition("web", {"layer.toml": toml.encode(), "package.json": body.encode()})
    lock = parse_npm_lock(current.text) if current else None
    return Order(definition, variants(definition)[0], lock, **{"as_of": AS_OF, **more})


def held(found: Resolved) -> dict[tuple[str, str], str]:
    return {(entry.package, entry.version): entry.kind for entry in found.held}


def fix(package: str, fixed: str) -> tuple[Advisory, ...]:
    return (Advisory(id="GHSA-1", ecosystem="npm", package=package, fixed=fixed),)


def test_a_first_lock_has_the_newest_that_is_old_enough(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO, {"qs": "^6.0.0"}).add("web", "1.1.0", YESTERDAY)
    registry.add("qs", "6.1.0", LONG_AGO).add("qs", "6.2.0", "2026-06-01").add("qs", "7.0.0", "2026-06-02")

    found = solve(order({"web": "^1.0.0"}), reach)

    assert found.lock.packages == {"web": "1.0.0", "qs": "6.2.0"}
    assert held(found) == {("web", "1.1.0"): "cooldown", ("qs", "7.0.0"): "conflict"}
    assert found.held[1].until == datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
    assert found.lock.pins["qs"].uploaded == datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
    assert (found.direct, found.wanted) == (frozenset({"web"}), ("web@^1.0.0",))


def test_the_lock_names_no_place_and_is_the_same_each_time(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO, {"qs": "^6.0.0"}, engines={"node": ">=4"}).add("qs", "6.1.0", LONG_AGO)

    first = solve(order({"web": "^1.0.0"}), reach)
    again = solve(order({"web": "^1.0.0"}, first), reach)

    assert "127.0.0.1" not in first.text and "resolved" not in first.text
    assert json.loads(first.text)["packages"][""] == {
        "name": "web", "version": "0.0.0", "dependencies": {"web": "^1.0.0"},
    }  # fmt: skip
    assert again.text == first.text
    assert again.changes == ()


def test_an_update_stays_within_what_is_allowed_and_asked(registry: Registry, reach: NodeGateways) -> None:
    for version in ("1.2.0", "1.2.9", "1.9.0", "2.0.0"):
        registry.add("web", version, LONG_AGO)
    first = solve(order({"web": "1.2.0"}), reach)

    minor = solve(order({"web": ">=1"}, first), reach)
    patch = solve(order({"web": "1 - 2"}, first, update='allow = "patch"'), reach)
    major = solve(order({"web": "^1.2.0 || ^2.0.0"}, first, update='allow = "major"'), reach)

    assert [found.lock.packages["web"] for found in (patch, minor, major)] == ["1.2.9", "1.9.0", "2.0.0"]
    assert held(minor) == {("web", "2.0.0"): "allow"}


@pytest.mark.parametrize("wanted", ["^1.0.0", "*", ">=1"])
def test_nothing_goes_back_whatever_the_cooldown_or_the_tag_says(
    registry: Registry, reach: NodeGateways, wanted: str
) -> None:
    registry.add("web", "1.0.0", LONG_AGO, {"qs": wanted}).add("qs", "1.0.0", LONG_AGO).add("qs", "1.5.0", YESTERDAY)
    young = solve(order({"web": "^1.0.0", "qs": wanted}, update="cooldown-days = 0"), reach)
    registry.packages["qs"]["dist-tags"]["latest"] = "1.0.0"
    registry.packages["qs"]["versions"]["1.5.0"]["deprecated"] = "use 1.0.0"

    later = solve(order({"web": "^1.0.0", "qs": wanted}, young, update="cooldown-days = 300"), reach)

    assert young.lock.packages == later.lock.packages == {"web": "1.0.0", "qs": "1.5.0"}
    assert later.notes == ("qs 1.5.0 is deprecated by its authors: use 1.0.0",)


def test_a_deprecated_version_is_not_taken_if_there_is_another(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO).add("web", "1.1.0", LONG_AGO, deprecated="broken")

    found = solve(order({"web": "^1.0.0"}), reach)

    assert found.lock.packages == {"web": "1.0.0"}
    assert held(found) == {("web", "1.1.0"): "withdrawn"}


def test_a_version_whose_needs_are_too_young_gives_way_to_an_older_one(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO, {"qs": "^1.0.0"}).add("web", "1.1.0", "2026-11-01", {"qs": "^1.2.0"})
    registry.add("qs", "1.0.0", LONG_AGO).add("qs", "1.2.0", YESTERDAY)

    found = solve(order({"web": "^1.0.0"}), reach)

    assert found.lock.packages == {"web": "1.0.0", "qs": "1.0.0"}
    entry = next(entry for entry in found.held if entry.package == "web")
    assert (entry.version, entry.why) == ("1.1.0", "it needs qs ^1.2.0, of which nothing may be taken yet")


def test_a_version_that_would_take_another_package_back_is_left_out(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO, {"qs": "^1.0.0"}).add("qs", "1.0.0", LONG_AGO).add("qs", "1.2.0", LONG_AGO)
    first = solve(order({"web": "^1.0.0"}), reach)
    registry.add("web", "1.1.0", "2026-11-01", {"qs": "1.0.0"})

    found = solve(order({"web": "^1.0.0"}, first), reach)

    assert found.lock.packages == {"web": "1.0.0", "qs": "1.2.0"}
    assert held(found) == {("web", "1.1.0"): "conflict"}


def test_a_peer_that_does_not_fit_gives_way(registry: Registry, reach: NodeGateways) -> None:
    registry.add("core", "18.0.0", LONG_AGO).add("core", "19.0.0", LONG_AGO)
    registry.add("dom", "18.0.0", LONG_AGO, peerDependencies={"core": "^18.0.0"})
    registry.add("dom", "19.0.0", LONG_AGO, peerDependencies={"core": "^19.0.0"})

    found = solve(order({"core": "^18.0.0", "dom": ">=18"}), reach)

    assert found.lock.packages == {"core": "18.0.0", "dom": "18.0.0"}


def test_copies_of_a_package_are_pins_of_their_own(registry: Registry, reach: NodeGateways) -> None:
    registry.add("ms", "1.0.0", LONG_AGO).add("ms", "2.0.0", LONG_AGO)
    registry.add("web", "1.0.0", LONG_AGO, {"ms": "^1.0.0"})
    first = solve(order({"web": "^1.0.0"}), reach)

    found = solve(order({"web": "^1.0.0", "ms": "^2.0.0"}, first, update='allow = "major"'), reach)

    assert found.lock.packages == {"ms": "2.0.0", "web": "1.0.0", "web/node_modules/ms": "1.0.0"}


def test_what_stays_at_the_top_does_not_move_for_a_newcomer(registry: Registry, reach: NodeGateways) -> None:
    registry.add("ms", "1.0.0", LONG_AGO).add("ms", "2.0.0", LONG_AGO)
    registry.add("web", "1.0.0", LONG_AGO, {"ms": "^2.0.0"}).add("alpha", "1.0.0", LONG_AGO, {"ms": "^1.0.0"})
    first = solve(order({"web": "^1.0.0"}), reach)

    found = solve(order({"web": "^1.0.0", "alpha": "1"}, first), reach)

    assert found.lock.packages == {
        "alpha": "1.0.0", "alpha/node_modules/ms": "1.0.0", "ms": "2.0.0", "web": "1.0.0",
    }  # fmt: skip


def test_a_copy_under_another_name_says_which_package_it_is(registry: Registry, reach: NodeGateways) -> None:
    registry.add("width", "4.0.0", LONG_AGO).add("web", "1.0.0", LONG_AGO, {"width-cjs": "npm:width@^4.0.0"})

    found = solve(order({"web": "^1.0.0"}), reach)

    assert found.lock.packages == {"web": "1.0.0", "width-cjs@npm:width": "4.0.0"}


def test_packages_for_other_platforms_are_locked_but_no_pins(registry: Registry, reach: NodeGateways) -> None:
    names = {
        "native-linux-arm64": ("linux", "arm64"),
        "native-linux-x64": ("linux", "x64"),
        "native-mac": ("darwin", "arm64"),
    }
    for name, (system, cpu) in names.items():
        registry.add(name, "1.0.0", LONG_AGO, os=[system], cpu=[cpu])
    registry.add("native", "1.0.0", LONG_AGO, optionalDependencies=dict.fromkeys(names, "1.0.0"))

    found = solve(order({"native": "^1.0.0"}), reach)
    again = solve(order({"native": "^1.0.0"}, found), reach)

    assert found.lock.packages == {"native": "1.0.0", "native-linux-arm64": "1.0.0"}
    assert "node_modules/native-linux-x64" in json.loads(found.text)["packages"]
    assert again.changes == ()


def test_a_newer_node_is_not_asked_of_the_runtime(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO).add("web", "1.1.0", LONG_AGO, engines={"node": ">=22"})

    found = solve(order({"web": "^1.0.0"}, runtime="nodejs20.x"), reach)

    assert found.lock.packages == {"web": "1.0.0"}
    assert held(found) == {("web", "1.1.0"): "runtime"}


def test_held_back_and_ignored_versions_stay_out(registry: Registry, reach: NodeGateways) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        registry.add("web", version, LONG_AGO).add("qs", version, LONG_AGO)
    first = solve(order({"web": "1.0.0", "qs": "1.0.0"}), reach)
    back = HeldBack(ecosystem="npm", package="web", version="1.2.0", since=AS_OF, reason="breaks api-1")

    found = solve(order({"web": "^1.0.0", "qs": "^1.0.0"}, first, update='ignore = ["qs"]', held_back=(back,)), reach)

    assert found.lock.packages == {"web": "1.1.0", "qs": "1.0.0"}
    assert held(found) == {("web", "1.2.0"): "held-back", ("qs", "1.2.0"): "ignore"}


def test_a_security_update_moves_the_fix_alone_and_does_not_wait(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO, {"qs": "^1.0.0"}).add("qs", "1.0.0", LONG_AGO)
    first = solve(order({"web": "^1.0.0"}), reach)
    registry.add("web", "1.1.0", "2026-06-01", {"qs": "^1.0.0"})
    registry.add("qs", "1.0.1", "2026-11-18").add("qs", "1.0.2", YESTERDAY)

    found = solve(order({"web": "^1.0.0"}, first, fixes=fix("qs", "1.0.1"), security=True), reach)

    assert [(change.package, change.from_, change.to) for change in found.changes] == [("qs", "1.0.0", "1.0.1")]


def test_a_scheduled_fix_waits(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO)
    first = solve(order({"web": "^1.0.0"}), reach)
    registry.add("web", "1.0.1", "2026-11-18")

    found = solve(order({"web": "^1.0.0"}, first, fixes=fix("web", "1.0.1"), update='security = "scheduled"'), reach)

    assert found.changes == ()
    assert held(found) == {("web", "1.0.1"): "cooldown"}


def test_an_exact_parent_comes_along_with_a_fix(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO, {"qs": "1.0.0"}).add("qs", "1.0.0", LONG_AGO)
    first = solve(order({"web": "^1.0.0"}), reach)
    registry.add("web", "1.1.0", "2026-11-18", {"qs": "1.0.1"}).add("qs", "1.0.1", "2026-11-18")
    registry.add("web", "1.2.0", YESTERDAY, {"qs": "1.0.1"})

    alone = solve(order({"web": "^1.0.0"}, first, fixes=fix("qs", "1.0.1"), security=True), reach)
    ordinary = solve(order({"web": "^1.0.0"}, first, fixes=fix("qs", "1.0.1")), reach)

    assert alone.lock.packages == ordinary.lock.packages == {"web": "1.1.0", "qs": "1.0.1"}
    assert alone.notes == ("web 1.1.0 was taken before its cooldown: the fix of qs needs it.",)


@pytest.mark.parametrize(
    ("wanted", "fixed", "remedy"),
    [
        ("^1.0.0", "2.0.0", "package.json asks for"),
        (">=1", "2.0.0", "update.allow"),
        (">=1", "1.0.9", "no such version"),
    ],
)
def test_a_fix_that_cannot_be_taken_fails_a_security_update_alone(
    registry: Registry, reach: NodeGateways, wanted: str, fixed: str, remedy: str
) -> None:
    registry.add("web", "1.0.0", LONG_AGO)
    first = solve(order({"web": wanted}), reach)
    if fixed == "2.0.0":
        registry.add("web", fixed, LONG_AGO)

    found = solve(order({"web": wanted}, first, fixes=fix("web", fixed)), reach)
    with pytest.raises(ResolutionFailed, match=remedy):
        solve(order({"web": wanted}, first, fixes=fix("web", fixed), security=True), reach)

    assert found.changes == ()
    assert remedy in found.held[0].why


def test_a_security_update_without_an_npm_fix_asks_nobody(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO)
    first = solve(order({"web": "^1.0.0"}), reach)
    registry.add("web", "1.1.0", LONG_AGO)

    assert solve(order({"web": "^1.0.0"}, first, security=True), reach).text == first.text


def test_an_exact_version_is_taken_whatever_its_age(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO, {"qs": "^1.0.0"}).add("qs", "1.0.0", LONG_AGO)
    first = solve(order({"web": "^1.0.0"}), reach)
    for version in ("1.1.0", "1.2.0"):
        registry.add("web", version, YESTERDAY, {"qs": "^1.0.0"}).add("qs", version, YESTERDAY)

    found = solve(order({"web": "^1.0.0"}, first, packages={"web": "1.1.0", "qs": "1.1.0"}), reach)

    assert found.lock.packages == {"web": "1.1.0", "qs": "1.1.0"}
    with pytest.raises(ResolutionFailed, match="never goes back"):
        solve(order({"web": "^1.0.0"}, found, packages={"web": "1.0.0"}), reach)
    with pytest.raises(ResolutionFailed, match=r"package\.json asks for"):
        solve(order({"web": "^1.0.0"}, first, packages={"web": "2.0.0"}), reach)


def test_a_removed_dependency_takes_its_own_along(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO, {"qs": "^1.0.0"}).add("qs", "1.0.0", LONG_AGO).add("ms", "1.0.0", LONG_AGO)
    first = solve(order({"web": "^1.0.0", "ms": "1"}), reach)

    found = solve(order({"ms": "1"}, first, previously_wanted=first.wanted), reach)

    assert found.lock.packages == {"ms": "1.0.0"}


def test_overrides_hold(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", LONG_AGO, {"qs": "1.0.0"}).add("qs", "1.0.0", LONG_AGO).add("qs", "1.1.0", LONG_AGO)
    first = solve(order({"web": "^1.0.0"}), reach)

    found = solve(order({"web": "^1.0.0"}, first, package={"overrides": {"qs": "^1.1.0", "web": "^1.0.0"}}), reach)

    assert found.lock.packages == {"web": "1.0.0", "qs": "1.1.0"}


def test_a_registry_without_dates_keeps_what_is_locked(registry: Registry, reach: NodeGateways) -> None:
    registry.add("web", "1.0.0", "")
    first = solve(order({"web": "^1.0.0"}), reach)
    registry.add("web", "1.1.0", "")

    found = solve(order({"web": "^1.0.0"}, first), reach)
    at_once = solve(order({"web": "^1.0.0"}, first, update="cooldown-days = 0"), reach)

    assert (found.changes, at_once.lock.packages) == ((), {"web": "1.1.0"})
    assert "does not say when versions of web came" in found.notes[0]
    assert held(found) == {("web", "1.1.0"): "other"}


def test_a_registry_without_dates_has_a_cooldown_from_the_first_look(registry: Registry, reach: NodeGateways) -> None:
    # GIVEN a registry that Lamina has looked at, and a version that it saw for the first time the day after
    remembering = replace(reach, sightings=Sightings(cast(Table, Memory())))
    registry.add("web", "1.0.0", "")
    first = solve(order({"web": "^1.0.0"}), remembering)
    registry.add("web", "1.1.0", "")
    seen = AS_OF + timedelta(days=1)

    # WHEN it is looked at on that day, and again when a week is over
    young = solve(order({"web": "^1.0.0"}, first, as_of=seen), remembering)
    later = solve(order({"web": "^1.0.0"}, first, as_of=seen + timedelta(days=7, seconds=1)), remembering)

    # THEN the version waits until then, and the explanation says since when it counts
    assert (first.lock.packages, young.changes) == ({"web": "1.0.0"}, ())
    assert [(held.version, held.kind, held.until) for held in young.held] == [
        ("1.1.0", "cooldown", seen + timedelta(days=7))
    ]
    assert "counts from when Lamina first saw each version" in young.notes[0]
    assert later.lock.packages == {"web": "1.1.0"}
    assert later.changes[0].uploaded is None


@pytest.mark.parametrize(
    "where", ["git+https://127.0.0.1:1/qs.git", "http://127.0.0.1:1/qs.tgz", "acme/qs", "file:../qs"]
)
def test_a_version_that_leads_out_of_the_registry_is_not_taken(
    registry: Registry, reach: NodeGateways, where: str
) -> None:
    registry.add("web", "1.0.0", LONG_AGO).add("web", "1.1.0", LONG_AGO, {"qs": where})

    found = solve(order({"web": "^1.0.0"}), reach)

    assert found.lock.packages == {"web": "1.0.0"}
    assert held(found) == {("web", "1.1.0"): "other"}
    with pytest.raises(ResolutionFailed, match="outside of the registry; nothing was changed"):
        solve(order({"web": "1.1.0"}), reach)


def test_a_package_that_nobody_has_is_named(registry: Registry, reach: NodeGateways) -> None:
    with pytest.raises(ResolutionFailed, match="has no package wbe; nothing was changed"):
        solve(order({"wbe": "^1.0.0"}), reach)


# -- private registries


@pytest.fixture
def private() -> Iterator[Registry]:
    with served(Registry(password="hush")) as server:
        yield server.add("@acme/lib", "1.0.0", LONG_AGO, {"qs": "^1.0.0"})


def scoped(private: Registry, password: str = "hush") -> Access:
    return Access(private.url, password=password, packages=("@acme",))


def test_a_scope_is_asked_for_at_its_registry_and_nowhere_else(
    registry: Registry, private: Registry, reach: NodeGateways
) -> None:
    registry.add("qs", "1.0.0", LONG_AGO).add("@acme/lib", "9.9.9", LONG_AGO)
    private.add("qs", "9.9.9", LONG_AGO)

    found = solve(order({"@acme/lib": ">=1"}, access=scoped(private)), reach)

    assert found.lock.packages == {"@acme/lib": "1.0.0", "qs": "1.0.0"}
    assert set(private.asked) == {"@acme/lib"} and set(registry.asked) == {"qs"}
    assert registry.authorizations == {""}
    assert "hush" not in found.text + repr(found)


@pytest.mark.parametrize("status", [401, 403, 500, 503, 200])
def test_a_private_registry_that_fails_is_unknown_and_never_replaced(
    registry: Registry, private: Registry, reach: NodeGateways, status: int
) -> None:
    registry.add("qs", "1.0.0", LONG_AGO).add("@acme/lib", "9.9.9", LONG_AGO)
    private.faults["@acme/lib"] = status

    with pytest.raises(IndexUnavailable, match=r"asked for @acme/lib|answer about @acme/lib") as caught:
        solve(order({"@acme/lib": ">=1"}, access=scoped(private)), reach)

    assert "@acme/lib" not in registry.asked
    assert "hush" not in str(caught.value)


def test_a_private_registry_that_does_not_have_it_is_not_replaced_either(
    registry: Registry, private: Registry, reach: NodeGateways
) -> None:
    registry.add("@acme/other", "9.9.9", LONG_AGO)

    with pytest.raises(ResolutionFailed, match="has no package @acme/other"):
        solve(order({"@acme/other": ">=1"}, access=scoped(private)), reach)

    assert registry.asked == []


def test_wrong_credentials_say_where_to_look(private: Registry, reach: NodeGateways) -> None:
    with pytest.raises(IndexUnavailable, match=r"answered 401.*nodejs\.registry in layer\.toml") as caught:
        solve(order({"@acme/lib": "1"}, access=scoped(private, "wrong-word")), reach)

    assert "wrong-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("username", "expected"),
    [("", "Bearer hush"), ("aws", "Bearer hush"), ("__token__", "Bearer hush"), ("ci", "Basic Y2k6aHVzaA==")],
)
def test_tokens_and_passwords_are_sent_as_npm_sends_them(
    registry: Registry, tmp_path: Path, username: str, expected: str
) -> None:
    registry.add("@acme/lib", "1.0.0", LONG_AGO)
    access = Access(registry.url, username, "hush", ("@acme",))

    Packuments(lambda: "http://127.0.0.1:9/", tmp_path, {}).read("@acme/lib", access)

    assert registry.authorizations == {expected}


def test_credentials_do_not_follow_to_another_host(registry: Registry, private: Registry, tmp_path: Path) -> None:
    registry.add("@acme/lib", "1.0.0", LONG_AGO)
    private.moved["@acme/lib"] = f"{registry.url}@acme/lib"

    found = Packuments(lambda: registry.url, tmp_path, {}).read("@acme/lib", scoped(private))

    assert found is not None
    assert (private.authorizations, registry.authorizations) == ({"Bearer hush"}, {""})


def test_a_registry_without_scopes_takes_the_place_of_the_default(
    registry: Registry, private: Registry, reach: NodeGateways
) -> None:
    private.add("qs", "1.0.0", LONG_AGO)

    found = solve(order({"@acme/lib": "1"}, access=replace(scoped(private), packages=())), reach)

    assert found.lock.packages == {"@acme/lib": "1.0.0", "qs": "1.0.0"}
    assert registry.asked == []


def test_a_private_archive_is_fetched_with_the_registrys_credentials(
    registry: Registry, private: Registry, reach: NodeGateways
) -> None:
    """npm looks into a package that brings others along."""
    inside = {
        "package/package.json": {"name": "@acme/kit", "version": "1.0.0", "bundleDependencies": ["qs"]},
        "package/node_modules/qs/package.json": {"name": "qs", "version": "1.0.0"},
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in inside.items():
            entry, body = tarfile.TarInfo(name), json.dumps(content).encode()
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    private.archives["@acme/kit-1.0.0"] = buffer.getvalue()
    private.add("@acme/kit", "1.0.0", LONG_AGO, {"qs": "1.0.0"}, bundleDependencies=["qs"])

    found = solve(order({"@acme/kit": "1"}, access=scoped(private)), reach)

    assert found.lock.packages == {"@acme/kit": "1.0.0", "@acme/kit/node_modules/qs": "1.0.0"}


# -- the gateways themselves


def test_npm_is_told_nothing_but_where_to_ask(registry: Registry, tmp_path: Path) -> None:
    """Settings and secrets of the process stay away from a resolution."""
    (tmp_path / ".npmrc").write_text("min-release-age=9000\n//127.0.0.1/:_authToken=secret\n")
    environment = {**os.environ, "HOME": str(tmp_path), "npm_config_before": "2020-01-01", "AWS_SECRET_ACCESS_KEY": "s"}
    registry.add("web", "1.0.0", LONG_AGO)
    packuments = Packuments(lambda: registry.url, tmp_path, {})

    found = solve(order({"web": "1"}), NodeGateways(Npm(tmp_path, environment), packuments))

    assert found.lock.packages == {"web": "1.0.0"}


def test_the_default_registry_is_npms_own_setting(tmp_path: Path) -> None:
    npm = Npm(tmp_path, {**os.environ, "npm_config_registry": "http://127.0.0.1:9/npm/"})

    assert npm.registry() == "http://127.0.0.1:9/npm/"


def test_what_was_read_is_asked_for_again_only_after_a_while(registry: Registry, tmp_path: Path) -> None:
    registry.add("web", "1.0.0", LONG_AGO)
    now = [0.0]
    packuments = Packuments(lambda: registry.url, tmp_path, {}, fresh=60, clock=lambda: now[0])

    packuments.read("web", None)
    packuments.read("web", None)
    assert registry.asked == ["web"]
    now[0] = 61
    registry.add("web", "1.1.0", LONG_AGO)
    found = packuments.read("web", None)

    assert found is not None and set(found.versions) == {"1.0.0", "1.1.0"}


def test_a_registry_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    packuments = Packuments(lambda: "http://127.0.0.1:9/", tmp_path, {}, pause=lambda seconds: None)

    with pytest.raises(IndexUnavailable, match="could not be reached"):
        packuments.read("web", None)


def test_npm_that_never_ends_is_unknown(registry: Registry, tmp_path: Path) -> None:
    endless = tmp_path / "endless"
    endless.write_text("#!/bin/sh\nexec sleep 60\n")
    endless.chmod(0o755)
    hanging = replace(gateways(registry, tmp_path), npm=Npm(tmp_path, {}, program=(str(endless),), timeout=0.2))

    with pytest.raises(IndexUnavailable, match="no answer from npm"):
        solve(order({"web": "1"}), hanging)


def test_npm_that_cannot_run_is_unknown(registry: Registry, tmp_path: Path) -> None:
    broken = replace(gateways(registry, tmp_path), npm=Npm(tmp_path, {}, program=(str(tmp_path / "none"),)))

    with pytest.raises(IndexUnavailable, match="npm cannot be run"):
        solve(order({"web": "1"}), broken)
