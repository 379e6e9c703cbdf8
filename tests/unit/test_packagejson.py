"""The package.json of a definition: what is taken from it, and what is refused with which words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lamina.definition import Definition, parse_definition, variants
from lamina.errors import DefinitionRefused
from lamina.packagejson import node_major, read_package_json

TOML = """
[layer]
owner = "o"
runtimes = {runtimes}
architectures = ["arm64"]
[python]
requirements = "requirements.in"
[nodejs]
package = "package.json"
"""


def definition(package: object, runtimes: str = '["nodejs22.x", "python3.13"]') -> Definition:
    body = package if isinstance(package, str) else json.dumps(package)
    whole = {"dependencies": {"express": "1"}}
    content = {"layer.toml": TOML.format(runtimes=runtimes).encode(), "requirements.in": b"flask\n"}
    parsed = parse_definition("web", {**content, "package.json": json.dumps(whole).encode()})
    return replace(parsed, content={**parsed.content, "package.json": body.encode()})


def test_only_what_belongs_into_a_layer_is_used() -> None:
    package_json = read_package_json(
        definition(
            {
                "name": "of-theirs",
                "scripts": {"postinstall": "rm -rf /"},
                "dependencies": {"qs": "^6.0.0", "express": "^5.0.0", "sharp": "1"},
                "optionalDependencies": {"sharp": "^0.33.0"},
                "devDependencies": {"vitest": "git+https://host/vitest.git"},
                "overrides": {"ms": "2.1.3", "express": {"qs": "$qs"}},
                "engines": {"node": ">=20"},
            }
        )
    )

    assert package_json.document() == {
        "name": "web",
        "version": "0.0.0",
        "private": True,
        "dependencies": {"express": "^5.0.0", "qs": "^6.0.0"},
        "optionalDependencies": {"sharp": "^0.33.0"},
        "overrides": {"ms": "2.1.3", "express": {"qs": "$qs"}},
        "engines": {"node": ">=20"},
    }
    assert package_json.wanted == ("express@^5.0.0", "qs@^6.0.0", "sharp@^0.33.0")


def test_overrides_that_repeat_a_dependency_follow_its_range() -> None:
    package_json = read_package_json(
        definition(
            {"dependencies": {"qs": "^6.0.0", "ms": "2"}, "overrides": {"qs": "^6.0.0", "ms": {".": "2", "a": "1"}}}
        )
    )

    assert package_json.document({"qs": "6.1.0", "ms": "2.1.0"})["overrides"] == {
        "qs": "$qs",
        "ms": {".": "$ms", "a": "1"},
    }
    assert package_json.document()["overrides"] == {"qs": "^6.0.0", "ms": {".": "2", "a": "1"}}


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "must be an object"),
        ({}, "names no package"),
        ({"devDependencies": {"a": "1"}}, "names no package"),
        ({"dependencies": ["a"]}, "dependencies must be an object"),
        ({"dependencies": {"a": 1}}, "dependencies.a: must be a range"),
        ({"dependencies": {"../a": "1"}}, "'../a' is not the name of an npm package"),
        ({"dependencies": {"a": "latest"}}, "dependencies.a: 'latest' is not a range"),
        ({"dependencies": {"a": "git+https://host/a.git"}}, "'git+https://host/a.git' is not a range"),
        ({"dependencies": {"a": "github:b/a"}}, "'github:b/a' is not a range"),
        ({"dependencies": {"a": "file:../a"}}, "'file:../a' is not a range"),
        ({"dependencies": {"a": "https://host/a.tgz"}}, "'https://host/a.tgz' is not a range"),
        ({"dependencies": {"a": "workspace:*"}}, "'workspace:*' is not a range"),
        ({"dependencies": {"a": "npm:b@^1"}}, "under another name"),
        ({"optionalDependencies": {"a": "next"}}, "optionalDependencies.a: 'next'"),
        ({"dependencies": {"a": "1"}, "workspaces": ["packages/*"]}, "workspaces: a layer is made of"),
        ({"dependencies": {"a": "1"}, "overrides": ["b"]}, "overrides: must be an object"),
        ({"dependencies": {"a": "1"}, "overrides": {"b": {"c": "file:c"}}}, "overrides.b.c: 'file:c' is not a range"),
        ({"dependencies": {"a": "1"}, "overrides": {"b": "$c"}}, "overrides.b: '$c' refers to a package"),
        ({"dependencies": {"a": "1"}, "engines": "20"}, "engines must be an object"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_current_is_refused_by_file_and_key(package: object, words: str) -> None:
    with pytest.raises(DefinitionRefused) as caught:
        read_package_json(definition(package))

    assert str(caught.value).startswith("layers/web/package.json: ")
    assert words in str(caught.value)


def test_node_is_the_variants_own_or_the_newest_named() -> None:
    both = definition({"dependencies": {"a": "1"}}, '["nodejs20.x", "python3.13", "nodejs22.x"]')

    assert {variant.runtime: node_major(both, variant) for variant in variants(both)} == {
        "nodejs20.x": 20, "python3.13": 22, "nodejs22.x": 22,
    }  # fmt: skip


def test_without_any_node_nothing_can_be_chosen() -> None:
    named = definition({"dependencies": {"a": "1"}})
    table = named.tables.layer.model_copy(update={"runtimes": ("python3.13",)})
    nowhere = replace(named, tables=named.tables.model_copy(update={"layer": table}))

    with pytest.raises(DefinitionRefused, match="names no Node"):
        node_major(nowhere, variants(nowhere)[0])
