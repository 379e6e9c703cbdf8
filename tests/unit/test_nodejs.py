"""Resolving npm packages: what npm is asked, and which of its answers no update may bring."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.definition import parse_definition, variants
from lamina.errors import ResolutionFailed
from lamina.model import Advisory, HeldBack
from lamina.nodeanswer import (
    Trouble,
    accept_npm,
    dependents,
    gives_way,
    needed_by_a_fix,
    parents_with_fixes,
    parse_trouble,
    plain,
    setbacks,
    unfixed,
    young_others,
)
from lamina.nodejs import NodeQuestion, ask_npm, fix_cutoff, node_ceiling
from lamina.npmlock import NodeLock, parse_npm_lock
from lamina.offer import Packument
from lamina.resolution import Order
from lamina.versions import kind_of_change, older
from tests.unit.fakes import NOW

OLD = NOW - timedelta(days=100)


def lock(tree: dict[str, tuple[str, dict[str, str]]], wants: dict[str, str] | None = None) -> NodeLock:
    """A lock of places (`a/node_modules/b`), each with its version and what it needs."""
    packages: dict[str, Any] = {"": {"dependencies": wants or {name: "*" for name in tree if "/node" not in name}}}
    for place, (version, needs) in tree.items():
        packages[f"node_modules/{place}"] = {"version": version, "integrity": "sha512-a", "dependencies": needs}
    return parse_npm_lock(json.dumps({"lockfileVersion": 3, "packages": packages}))


def question(wants: dict[str, str], current: NodeLock | None = None, *, update: str = "", **more: Any) -> NodeQuestion:
    toml = f"""
    [layer]
    owner = "o"
    runtimes = ["nodejs22.x"]
    architectures = ["arm64"]
    [nodejs]
    package = "p.json"
    [update]
    {update}
    """
    body = json.dumps({"dependencies": wants}).encode()
    definition = parse_definition("web", {"layer.toml": toml.encode(), "p.json": body})
    return ask_npm(Order(definition, variants(definition)[0], current, **{"as_of": NOW, **more}))


def packument(name: str, versions: dict[str, tuple[int, dict[str, str]]]) -> Packument:
    """A package with versions, each so many days old and with what it needs."""
    return Packument(
        name,
        {version: {"dependencies": needs} for version, (_, needs) in versions.items()},
        {version: NOW - timedelta(days=days) for version, (days, _) in versions.items()},
        None,
    )


def fix(package: str, fixed: str) -> Advisory:
    return Advisory(id="GHSA-1", ecosystem="npm", package=package, fixed=fixed)


CURRENT = lock({"a": ("1.2.0", {"b": "^1.0.0"}), "b": ("1.0.0", {})}, {"a": ">=1"})


def test_a_first_lock_is_asked_for_without_limits() -> None:
    asked = question({"a": ">=1"})

    assert (asked.ranges, asked.names, asked.current) == ({}, (), None)
    assert asked.rules.cutoff == NOW - timedelta(days=7)
    assert asked.package_json.document(asked.ranges)["dependencies"] == {"a": ">=1"}


def test_an_update_has_a_ceiling_for_what_is_wanted_itself() -> None:
    asked = question({"a": ">=1", "new": "^3.0.0"}, CURRENT)

    assert asked.ranges == {"a": ">=1.0.0 <2.0.0-0"}
    assert asked.names == ("a", "b", "new")
    assert asked.rules.pins == {"a": {"1.2.0"}, "b": {"1.0.0"}}


def test_policy_becomes_what_may_be_seen() -> None:
    back = HeldBack(ecosystem="npm", package="b", version="1.1.0", since=OLD, reason="breaks")
    asked = question(
        {"a": ">=1"},
        CURRENT,
        update='ignore = ["b", "gone"]\ncooldown-days = 0',
        held_back=(back,),
        packages={"a": "1.3.0"},
    )

    assert asked.rules.still == {"b"}
    assert asked.rules.hidden == {("b", "1.1.0")}
    assert (asked.rules.exact, asked.ranges) == ({"a": "1.3.0"}, {"a": "1.3.0"})
    assert (asked.rules.cutoff, asked.rules.cutoffs, asked.rules.undated) == (NOW, {"a": NOW}, True)


@given(
    version=st.tuples(st.integers(0, 2100), st.integers(0, 9), st.integers(0, 9)),
    newer=st.tuples(st.integers(0, 2100), st.integers(0, 9), st.integers(0, 9)),
    allow=st.sampled_from(["patch", "minor", "major"]),
)
def test_a_ceiling_permits_steps_of_its_size_and_no_larger(
    version: tuple[int, int, int], newer: tuple[int, int, int], allow: Any
) -> None:
    old, new = ".".join(map(str, version)), ".".join(map(str, newer))
    if not older("npm", old, new):
        return
    limit = node_ceiling(old, allow)
    size = ["patch", "minor", "major"]
    fits = size.index(kind_of_change("npm", old, new)) <= size.index(allow)

    assert fits is (limit is None or older("npm", new, limit))


def test_a_fix_is_for_the_copies_of_its_own_major_version() -> None:
    two = lock({"a": ("1.0.0", {"b": "1"}), "a/node_modules/b": ("1.2.5", {}), "b": ("3.4.0", {})})

    assert unfixed(question({"a": "1"}, two, fixes=(fix("b", "3.5.0"),)), two) == {"b": ("3.4.0", "3.5.0")}
    assert unfixed(question({"a": "1"}, two, fixes=(fix("b", "1.2.6"),)), two) == {"b": ("1.2.5", "1.2.6")}
    assert unfixed(question({"a": "1"}, two, fixes=(fix("b", "2.0.0"),)), two) == {"b": ("1.2.5", "2.0.0")}
    done = lock({"a": ("1.0.0", {"b": "1"}), "a/node_modules/b": ("1.2.6", {}), "b": ("3.4.0", {})})
    assert unfixed(question({"a": "1"}, two, fixes=(fix("b", "1.2.6"),)), done) == {}


def test_a_fix_is_let_in_up_to_its_first_release() -> None:
    asked = question({"a": "1"}, CURRENT)
    found = packument("b", {"1.0.1": (9, {}), "1.0.2-rc.1": (4, {}), "1.0.2": (3, {}), "1.0.3": (1, {})})

    assert fix_cutoff(found, "1.0.2", asked.rules, NOW) == NOW - timedelta(days=3) + timedelta(seconds=1)
    assert fix_cutoff(found, "1.0.4", asked.rules, NOW) is None
    assert fix_cutoff(found, "1.0.3", asked.rules, NOW - timedelta(days=2)) is None
    held_back = asked.hiding(frozenset({("b", "1.0.2")}))
    assert fix_cutoff(found, "1.0.2", held_back.rules, NOW) == NOW - timedelta(days=1) + timedelta(seconds=1)


def test_a_parent_is_let_in_up_to_the_first_that_admits_the_fix() -> None:
    exact = lock({"a": ("1.2.0", {"b": "1.0.0"}), "b": ("1.0.0", {})}, {"a": "^1"})
    asked = question({"a": "^1"}, exact, fixes=(fix("b", "1.0.2"),))
    versions = {"1.2.1": (4, {"b": "1.0.1"}), "1.2.2": (3, {"b": "1.0.2"}), "1.2.3": (1, {"b": "1.0.2"})}
    moment = NOW - timedelta(days=3) + timedelta(seconds=1)

    assert parents_with_fixes(asked, exact, {"a": packument("a", versions)}) == {"a": moment}
    assert parents_with_fixes(asked, exact, {}) == {}
    new = lock({"a": ("1.2.2", {"b": "1.0.2"}), "b": ("1.0.2", {})}, {"a": "^1"})
    assert young_others(asked, new, {"a": packument("a", versions)}) == (("a", "1.2.2"),)


def test_those_that_need_a_package_are_found_up_to_the_layer() -> None:
    tree = lock(
        {"a": ("1.0.0", {"b": "1"}), "b": ("1.0.0", {"c": "1"}), "c": ("1.0.0", {}), "d": ("1.0.0", {"e": "1"})}
    )

    assert dependents(tree, frozenset({"c"})) == {"a", "b"}


def test_what_asks_for_something_missing_gives_way_unless_it_is_locked() -> None:
    asked = question({"a": ">=1"}, CURRENT).hiding(frozenset({("a", "1.9.0")}))
    needs = {"b": "^2.0.0"}
    seen = {"a": packument("a", {version: (50, needs) for version in ("1.2.0", "1.3.0", "1.4.0", "1.9.0")})}

    assert gives_way(asked, Trouble("", "b", "^2.0.0"), seen) == {("a", "1.3.0"), ("a", "1.4.0")}
    assert gives_way(asked, Trouble("", "b", "^2.0.1"), seen) == frozenset()
    peers = Trouble("", versions=(("web", "0.0.0"), ("a", "1.2.0"), ("a", "1.4.0"), ("a", "1.3.0")))
    assert gives_way(asked, peers, seen) == {("a", "1.4.0")}


def test_only_what_a_fix_needs_is_let_in_early() -> None:
    asked = question({"a": ">=1"}, CURRENT)
    seen = {"a": packument("a", {"1.3.0": (1, {"c": "^1.0.0", "d": "npm:e@^2"})})}

    assert not needed_by_a_fix(asked, Trouble("", "c", "^1.0.0"), seen)
    assert needed_by_a_fix(asked.early("a", NOW), Trouble("", "c", "^1.0.0"), seen)
    assert needed_by_a_fix(asked.early("a", NOW), Trouble("", "e", "^2"), seen)
    assert not needed_by_a_fix(asked.early("a", NOW), Trouble("", "f", "^2"), seen)


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        ("ETARGET", "No matching version found for b@^2.0.0.\nIn most cases", ("b", "^2.0.0", ())),
        ("ETARGET", "No matching version found for @s/b@>=1.0.0 <2.0.0-0.", ("@s/b", ">=1.0.0 <2.0.0-0", ())),
        ("ENOVERSIONS", "No versions available for @s/b", ("@s/b", "", ())),
        (
            "ERESOLVE",
            "While resolving: web@0.0.0\nFound: core@18.0.0\n\n"
            'Could not resolve dependency:\npeer core@"^19" from dom@19.0.0',
            ("", "", (("dom", "19.0.0"), ("web", "0.0.0"), ("core", "18.0.0"))),
        ),
    ],
)
def test_npms_errors_say_what_is_missing(code: str, words: str, expected: tuple[Any, ...]) -> None:
    trouble = parse_trouble(code, words)

    assert trouble is not None
    assert (trouble.package, trouble.wanted, trouble.versions) == expected


def test_other_errors_are_told_without_places_of_this_machine() -> None:
    assert parse_trouble("E404", "not found") is None
    assert plain("first\n\nFor a full report see:\n/tmp/x/report.txt\nsecond, or use --force\nthird") == "first third"


def test_an_older_version_is_a_setback_and_its_author_is_named() -> None:
    asked = question({"a": ">=1"}, CURRENT)
    new = lock({"a": ("1.3.0", {"b": "0.9.0"}), "b": ("0.9.0", {})}, {"a": ">=1"})

    assert setbacks(asked, new) == (("b 1.0.0 to 0.9.0",), frozenset({("a", "1.3.0")}))
    with pytest.raises(ResolutionFailed, match=r"nothing was changed: b 1\.0\.0 to 0\.9\.0 would go back"):
        accept_npm(asked, new)


def test_a_version_that_only_lies_elsewhere_is_none() -> None:
    before = lock({"x": ("1.0.0", {"b": "2"}), "b": ("2.0.0", {})}, {"x": "1"})
    after = lock(
        {"x": ("1.0.0", {"b": "2"}), "a": ("1.0.0", {"b": "1"}), "b": ("1.0.0", {}), "x/node_modules/b": ("2.0.0", {})},
        {"x": "1", "a": "1"},
    )

    assert setbacks(question({"x": "1", "a": "1"}, before), after) == ((), frozenset())


def test_a_package_that_finds_an_older_one_than_before_is_a_setback() -> None:
    before = lock(
        {"x": ("1.0.0", {"b": ">=1"}), "b": ("2.0.0", {}), "y": ("1.0.0", {"b": ">=1"})}, {"x": "1", "y": "1"}
    )
    after = lock(
        {
            "x": ("1.0.0", {"b": ">=1"}),
            "b": ("1.0.0", {}),
            "y": ("1.0.0", {"b": ">=1"}),
            "y/node_modules/b": ("2.0.0", {}),
        },
        {"x": "1", "y": "1"},
    )

    assert setbacks(question({"x": "1", "y": "1"}, before), after)[0] == ("b 2.0.0 to 1.0.0",)


def test_nothing_vanishes_for_no_reason() -> None:
    less = lock({"a": ("1.2.0", {})}, {"a": ">=1"})

    with pytest.raises(ResolutionFailed, match="b would vanish"):
        accept_npm(question({"a": ">=1"}, CURRENT), less, ("a@>=1",))
    assert accept_npm(question({"a": ">=1"}, CURRENT), less, ("a@>=1", "b@1")) is less


def test_a_prerelease_comes_only_if_it_is_asked_for() -> None:
    early = lock({"a": ("1.3.0-rc.1", {"b": "1"}), "b": ("1.0.0", {})}, {"a": ">=1"})

    with pytest.raises(ResolutionFailed, match=r"a 1\.3\.0-rc\.1 would be a pre-release"):
        accept_npm(question({"a": ">=1"}, CURRENT), early)
    assert accept_npm(question({"a": "^1.3.0-rc.0"}, CURRENT), early) is early


def test_an_exact_version_that_did_not_come_is_told() -> None:
    with pytest.raises(ResolutionFailed, match=r"b 1\.1\.0 was asked for exactly"):
        accept_npm(question({"a": ">=1"}, CURRENT, packages={"b": "1.1.0"}), CURRENT)
    assert accept_npm(question({"a": ">=1"}, CURRENT, packages={"flask": "3.0.0"}), CURRENT) is CURRENT
