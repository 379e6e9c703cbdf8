"""npm's lock file as a lock: pins by place, for one platform, and nothing that is not exact."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lamina.npmlock import located, package_of, parse_npm_lock, places_of, versions_of, with_uploads
from tests.unit.fakes import NOW

HASH = "sha512-abc"


def entry(version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    return {"version": version, "integrity": HASH, **more}


def text(packages: dict[str, Any], **more: Any) -> str:
    return json.dumps({"name": "their-project", "lockfileVersion": 3, "requires": True, "packages": packages, **more})


TREE = {
    "": {"name": "their-project", "dependencies": {"a": "^1", "native": "1"}, "devDependencies": {"d": "1"}},
    "node_modules/a": entry(dependencies={"b": "^2", "c-cjs": "npm:c@1"}, resolved="https://a.tgz", deprecated="x"),
    "node_modules/a/node_modules/b": entry("2.0.0", dependencies={"e": "1"}),
    "node_modules/b": entry("1.5.0"),
    "node_modules/c-cjs": entry("1.1.0", name="c", peerDependencies={"b": ">=1"}),
    "node_modules/d": entry(dev=True),
    "node_modules/e": entry("1.2.0", optional=True),
    "node_modules/native": entry(optionalDependencies={"native-x64": "1", "native-arm": "1", "native-musl": "1"}),
    "node_modules/native-arm": entry(cpu=["arm64"], os=["linux"], optional=True),
    "node_modules/native-x64": entry(cpu=["x64"], os=["!win32"], optional=True, dependencies={"only-x64": "1"}),
    "node_modules/native-musl": entry(cpu=["x64"], libc=["musl"], optional=True),
    "node_modules/only-x64": entry(optional=True),
}  # fmt: skip


def test_pins_are_named_for_their_places() -> None:
    lock = parse_npm_lock(text(TREE), "arm64")

    assert lock.packages == {
        "a": "1.0.0", "a/node_modules/b": "2.0.0", "b": "1.5.0", "c-cjs@npm:c": "1.1.0", "e": "1.2.0",
        "native": "1.0.0", "native-arm": "1.0.0",
    }  # fmt: skip
    assert lock.pins["b"].hashes == (HASH,)
    assert versions_of(lock)["b"] == {"1.5.0", "2.0.0"}
    assert places_of(lock, {"c", "b"}) == {"c-cjs", "b"}


def test_the_other_platform_has_its_own_pins_of_the_same_lock() -> None:
    lock = parse_npm_lock(text(TREE))

    assert set(lock.on("x86_64").packages) - set(lock.on("arm64").packages) == {"native-x64", "only-x64"}
    assert lock.on("x86_64").render() == lock.on("arm64").render() == lock.render()
    assert {"native-arm", "native-x64", "native-musl"} <= lock.packages.keys()


def test_the_text_is_the_same_whoever_wrote_it() -> None:
    lock = parse_npm_lock(text(TREE, extra="x"))
    other = parse_npm_lock(text(dict(reversed(TREE.items()))))

    assert lock.render() == other.render() == parse_npm_lock(lock.render()).render()
    for gone in ("resolved", "deprecated", "devDependencies", "node_modules/d", "extra"):
        assert gone not in lock.render()


def test_the_layer_itself_may_be_told_anew() -> None:
    lock = parse_npm_lock(text(TREE), root={"name": "web", "dependencies": {"b": "1"}})

    assert lock.packages == {"b": "1.5.0"}
    assert json.loads(lock.render())["name"] == "web"


def test_ages_are_those_of_the_registry() -> None:
    dated = with_uploads(parse_npm_lock(text(TREE)), {"b": {"2.0.0": NOW}})

    assert dated.pins["a/node_modules/b"].uploaded == NOW
    assert dated.pins["b"].uploaded is None and dated.pins["a"].uploaded is None


@pytest.mark.parametrize(
    ("pin", "package"),
    [("qs", "qs"), ("@s/a", "@s/a"), ("@s/a/node_modules/@t/b", "@t/b"), ("a/node_modules/b-cjs@npm:@t/b", "@t/b")],
)
def test_a_pin_says_which_package_it_is(pin: str, package: str) -> None:
    assert package_of(pin) == package


def test_a_package_is_found_from_the_inside_out() -> None:
    places = dict.fromkeys(["node_modules/b", "node_modules/@s/a/node_modules/b", "node_modules/@s/a"])

    assert located(places, "node_modules/@s/a", "b") == "node_modules/@s/a/node_modules/b"
    assert located(places, "node_modules/@s/a/node_modules/b", "@s/a") == "node_modules/@s/a"
    assert located(places, "", "b") == "node_modules/b"
    assert located(places, "node_modules/b", "c") is None


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not a package-lock.json"),
        (json.dumps({"lockfileVersion": 1, "dependencies": {}}), "not a package-lock.json"),
        (text({}, lockfileVersion=1), "lockfileVersion is older"),
        (text({"node_modules/a": {"link": True, "resolved": "packages/a"}}), "a is a folder"),
        (text({"packages/a": entry()}), "packages/a is a folder"),
        (text({"node_modules/a": {"version": "latest", "integrity": HASH}}), "a has no exact version"),
        (text({"node_modules/a": {"version": "1.0.0"}}), "a 1.0.0 is not from a registry, or has no hash"),
        (text({"node_modules/a": entry(resolved="git+ssh://host/a.git#abc")}), "a 1.0.0 is not from a registry"),
    ],
)
def test_what_is_not_exact_is_no_lock(broken: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_npm_lock(broken)


def test_a_package_that_came_within_another_needs_no_hash_of_its_own() -> None:
    lock = parse_npm_lock(
        text({"": {"dependencies": {"a": "1"}}, "node_modules/a": entry(dependencies={"b": "1"}),
              "node_modules/a/node_modules/b": {"version": "1.0.0", "inBundle": True}})
    )  # fmt: skip

    assert lock.packages == {"a": "1.0.0", "a/node_modules/b": "1.0.0"}
