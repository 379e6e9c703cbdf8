"""The bill of materials: valid, the same every time, with licenses and hashes."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from builder.licenses import node_license
from builder.sbom import make_sbom
from tests.unit.test_build import SETTINGS, tree

DIGEST = hashlib.sha512(b"x").digest()
LOCK = f"my-pkg==1.0 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n    # uploaded 2024\n"
NODE_LOCK = {
    "packages": {
        "": {},
        "node_modules/qs": {"version": "6.0.0", "integrity": "sha512-" + base64.b64encode(DIGEST).decode()},
        "node_modules/@s/a": {"version": "1.0.0"},
    }
}
MANIFEST: dict[str, Any] = {
    "digest": "c" * 64,
    "packages": {
        "my-pkg": {"version": "1.0", "license": "Apache-2.0 OR MIT", "requires": ["other"]},
        "other": {"version": "2!1.0+local", "license": "BSD 3-clause, as it were", "requires": []},
        "silent": {"version": "1", "license": "", "requires": []},
    },
    "nodePackages": {
        "qs": {"version": "6.0.0", "license": "BSD-3-Clause", "requires": ["@s/a"]},
        "@s/a": {"version": "1.0.0", "license": "MIT", "requires": []},
        "@s/a/node_modules/qs": {"version": "5.0.0", "license": "MIT", "requires": []},
        "same@npm:qs": {"version": "4.0.0", "license": "", "requires": []},
    },
}


def sbom(folder: Path) -> str:
    tree(folder, {
        "lock.txt": LOCK.encode(),
        "package-lock.json": json.dumps(NODE_LOCK).encode(),
        "layer/bin/tool": b"#!/bin/sh\n",
    })  # fmt: skip
    return make_sbom(folder, folder / "layer", MANIFEST, ["bin/tool"], SETTINGS)


def test_it_names_every_package_with_its_license_and_hashes(tmp_path: Path) -> None:
    document = json.loads(sbom(tmp_path))

    found = {component["bom-ref"]: component for component in document["components"]}
    assert found["pkg:pypi/my-pkg"] == {
        "type": "library",
        "bom-ref": "pkg:pypi/my-pkg",
        "name": "my-pkg",
        "version": "1.0",
        "hashes": [{"alg": "SHA-256", "content": "a" * 64}, {"alg": "SHA-256", "content": "b" * 64}],
        "licenses": [{"expression": "Apache-2.0 OR MIT"}],
        "purl": "pkg:pypi/my-pkg@1.0",
    }
    assert found["pkg:pypi/other"]["licenses"] == [{"license": {"name": "BSD 3-clause, as it were"}}]
    assert found["pkg:pypi/other"]["purl"] == "pkg:pypi/other@2%211.0%2Blocal"
    assert "licenses" not in found["pkg:pypi/silent"]
    assert found["pkg:npm/qs"]["hashes"] == [{"alg": "SHA-512", "content": DIGEST.hex()}]
    assert (found["pkg:npm/@s/a"]["group"], found["pkg:npm/@s/a"]["name"]) == ("@s", "a")
    assert found["pkg:npm/@s/a"]["purl"] == "pkg:npm/%40s/a@1.0.0"
    assert found["pkg:npm/@s/a/node_modules/qs"]["purl"] == "pkg:npm/qs@5.0.0"
    assert found["pkg:npm/same@npm:qs"]["purl"] == "pkg:npm/qs@4.0.0"
    assert found["file:bin/tool"]["hashes"][0]["content"] == hashlib.sha256(b"#!/bin/sh\n").hexdigest()
    edges = {edge["ref"]: edge["dependsOn"] for edge in document["dependencies"]}
    assert edges["pkg:pypi/my-pkg"] == ["pkg:pypi/other"]
    assert edges["pkg:npm/qs"] == ["pkg:npm/@s/a"]
    assert set(edges[SETTINGS.variant]) == found.keys()


def test_it_is_the_same_every_time_and_names_neither_times_nor_addresses(tmp_path: Path) -> None:
    text = sbom(tmp_path / "one")

    assert sbom(tmp_path / "two") == text
    assert "timestamp" not in text
    assert str(tmp_path) not in text


def test_it_is_valid(tmp_path: Path) -> None:
    schema = pytest.importorskip("cyclonedx.schema")
    validation = pytest.importorskip("cyclonedx.validation.json")

    assert validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(sbom(tmp_path)) is None


@pytest.mark.parametrize(
    ("package", "license_"),
    [
        ({"license": "MIT"}, "MIT"),
        ({"license": {"type": "ISC", "url": "u"}}, "ISC"),
        ({"licenses": [{"type": "MIT"}, {"type": "Apache2"}]}, "MIT OR Apache2"),
        ({}, ""),
    ],
)
def test_npm_states_licenses_in_several_ways(package: dict[str, Any], license_: str) -> None:
    assert node_license(package) == license_
