"""Source bundles and what marks a published version."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina import digest
from lamina.bundle import BUILDER_FILES, build_settings, machine, pack, sources
from lamina.definition import Definition, parse_definition
from lamina.errors import BuildRefused
from lamina.gateways.store import Store
from lamina.model import Variant
from lamina.runtimes import PYTHONS, target
from lamina.steps.bundle import BundleEvent, Gateways, run
from lamina.steps.fetching import OwnIndexes

BUILDER = {name: name.encode() for name in BUILDER_FILES}
REPOSITORY = Path(__file__).parents[2]
TOML = """
[layer]
owner = "o"
runtimes = ["python3.11", "python3.13", "nodejs22.x", "provided.al2023"]
architectures = ["arm64"]
[python]
requirements = "r.in"
build-from-source = ["docopt"]
[nodejs]
package = "package.json"
[files]
from = "own"
"""
CONTENT = {
    "r.in": b"docopt",
    "package.json": b'{"dependencies": {"qs": "^6.0.0"}, "devDependencies": {"x": "1"}, "scripts": {"install": "x"}}',
    "own/bin/tool": b"#!/bin/sh",
    "owner.txt": b"not a file of the layer",
}


def definition(toml: str = TOML) -> Definition:
    return parse_definition("web", {"layer.toml": toml.encode(), **CONTENT})


def variant(runtime: str = "python3.13", architecture: str = "arm64") -> Variant:
    return Variant(variant="web-x", layer="web", runtime=runtime, architecture=architecture)


@pytest.mark.parametrize(
    ("runtime", "architecture", "platform", "image", "environment"),
    [
        ("python3.13", "arm64", "aarch64-manylinux_2_28", "aarch64-lambda-standard:python3.13", "ARM"),
        ("python3.12", "x86_64", "x86_64-manylinux_2_28", "x86_64-lambda-standard:python3.12", "LINUX"),
        ("python3.11", "x86_64", "x86_64-manylinux_2_17", "x86_64-lambda-standard:python3.11", "LINUX"),
        ("python3.9", "arm64", "aarch64-manylinux_2_17", "aarch64-lambda-standard:python3.13", "ARM"),
    ],
)
def test_a_variant_is_built_for_its_own_c_library_and_on_its_own_processor(
    runtime: str, architecture: str, platform: str, image: str, environment: str
) -> None:
    where = machine(definition(), variant(runtime, architecture))

    assert target(variant(runtime, architecture)).platform == platform
    assert where.image == f"aws/codebuild/amazonlinux-{image}"
    assert (where.environment_type, where.compute_type) == (f"{environment}_LAMBDA_CONTAINER", "BUILD_LAMBDA_4GB")


@pytest.mark.parametrize("runtime", ["nodejs22.x", "provided.al2023"])
def test_python_packages_of_another_runtime_are_built_on_the_newest_python_that_is_listed(runtime: str) -> None:
    older = definition(TOML.replace('"python3.13", ', ""))

    assert machine(older, variant(runtime)).image.endswith(":python3.11")
    assert build_settings(older, variant(runtime))["python"] == {
        "version": "3.11",
        "platform": "aarch64-manylinux_2_17",
        "fromSource": ["docopt"],
    }


def test_what_is_not_for_python_is_built_on_the_default_image() -> None:
    plain = parse_definition(
        "web",
        {
            **CONTENT,
            "layer.toml": b"[layer]\nowner='o'\nruntimes=['provided.al2023']\narchitectures=['x86_64']\n"
            b"[files]\nfrom='own'\n",
        },
    )

    assert machine(plain, variant("provided.al2023", "x86_64")).image.endswith("x86_64-lambda-standard:python3.13")
    settings = build_settings(plain, variant("provided.al2023", "x86_64"))
    assert (settings["python"], settings["nodejs"], settings["files"]) == (None, None, True)
    assert sources(plain, variant("provided.al2023"), "", None) == {"files/bin/tool": b"#!/bin/sh"}


def test_a_bundle_holds_all_that_a_build_needs_and_has_the_same_bytes_every_time() -> None:
    settings = build_settings(definition(), variant())
    files = sources(definition(), variant(), "docopt==0.6.2\n", "{}")

    body = pack(BUILDER, settings, files)

    assert body == pack(dict(reversed(BUILDER.items())), settings, dict(reversed(files.items())))
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        names = archive.namelist()
        assert [name for name in names if not name.startswith("builder/")] == [
            "build.json", "buildspec.yml", "files/bin/tool", "lock.txt", "package-lock.json", "package.json",
        ]  # fmt: skip
        assert {name.removeprefix("builder/") for name in names if name.startswith("builder/")} == {
            name for name in BUILDER_FILES if name != "buildspec.yml"
        }
        assert archive.read("lock.txt") == b"docopt==0.6.2\n"
        # Only what the check looked at: neither scripts nor what is for developers.
        assert json.loads(archive.read("package.json")) == {
            "name": "web",
            "version": "0.0.0",
            "private": True,
            "dependencies": {"qs": "^6.0.0"},
        }
        assert json.loads(archive.read("build.json")) == {
            "variant": "web-x",
            "runtimes": ["python3.13"],
            "architecture": "arm64",
            "machine": 183,
            "python": {"version": "3.13", "platform": "aarch64-manylinux_2_28", "fromSource": ["docopt"]},
            "nodejs": {"version": "22", "cpu": "arm64", "withoutScripts": []},
            "files": True,
            "prune": True,
            "strip": False,
            "bytecode": True,
            "maximumBytes": 262144000,
        }
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_npm_packages_without_a_lock_are_not_built() -> None:
    with pytest.raises(BuildRefused, match=r"web-x: \[nodejs\] was added to layers/web after this update was checked"):
        sources(definition(), variant(), "", None)


def test_the_builder_ships_what_a_bundle_needs_and_installs_what_resolves() -> None:
    shipped = {path.name for path in (REPOSITORY / "builder").iterdir() if path.is_file()}
    assert shipped == set(BUILDER_FILES)
    for lock, ours in (("resolver.txt", "requirements.txt"), ("npm.txt", "npm.txt")):
        text = (REPOSITORY / "layers/dependencies" / lock).read_text()
        assert (REPOSITORY / "builder" / ours).read_text() == text


def test_the_locks_that_ship_are_hashed_and_name_no_index() -> None:
    for lock in ("requirements.txt", "resolver.txt", "npm.txt"):
        text = (REPOSITORY / "layers/dependencies" / lock).read_text()
        assert "--hash=sha256:" in text
        assert "http" not in text


def test_every_python_runtime_has_a_platform() -> None:
    for runtime in PYTHONS:
        assert target(variant(runtime)).python == runtime.removeprefix("python")


@given(st.text(max_size=400), st.from_regex(r"[0-9a-f]{64}", fullmatch=True), st.text(min_size=1, max_size=80))
def test_a_description_fits_and_ends_with_the_mark(summary: str, contents: str, run: str) -> None:
    description = digest.describe(summary, contents, run)

    assert len(description) <= 256
    assert description.endswith(digest.mark(contents, run))
    assert len(summary) > 200 or description.startswith(summary)


def test_marks_differ_with_contents_and_with_run() -> None:
    marks = {digest.mark(contents * 64, run) for contents in "ab" for run in ("r-1", "r-2")}

    assert len(marks) == 4
    assert all(re.fullmatch(r"\[[ab]{12}/[0-9a-f]{8}\]", mark) for mark in marks)


def test_a_zips_hash_is_stated_as_lambda_does() -> None:
    assert digest.code_sha256("00" * 32) == "A" * 43 + "="


class Shelf:
    """A bucket in memory, as far as Bundle needs one."""

    bucket = "artifacts"

    def __init__(self, objects: dict[str, str]) -> None:
        self.objects = objects
        self.written: dict[str, bytes] = {}

    def read_text(self, key: str) -> str | None:
        return self.objects.get(key)

    def write(self, key: str, body: bytes, content_type: str) -> str:
        self.written[key] = body
        return key


def reach(shelf: Shelf) -> Gateways:
    """The bucket alone: a definition without an index of its own needs no other gateway."""
    return Gateways(store=cast(Store, shelf), own=cast(OwnIndexes, None))


def event(**more: str) -> BundleEvent:
    fields = {"run": "r-1", "variant": variant().to_json(), "lock": "l.txt", "asOf": "2026-01-01T00:00:00Z", **more}
    return BundleEvent.model_validate(fields)


def test_bundle_packs_both_locks_and_says_how_to_build() -> None:
    shelf = Shelf({"l.txt": "docopt==0.6.2\n", "n.json": "{}"})

    bundled = run(event(nodeLock="n.json"), definition(), BUILDER, reach(shelf))

    assert bundled.source == "artifacts/builds/web-x/r-1/source.zip"
    assert bundled.path == "builds/web-x/r-1/output"
    with zipfile.ZipFile(io.BytesIO(shelf.written["builds/web-x/r-1/source.zip"])) as archive:
        assert (archive.read("lock.txt"), archive.read("package-lock.json")) == (b"docopt==0.6.2\n", b"{}")


@pytest.mark.parametrize(("objects", "gone"), [({"n.json": "{}"}, "l.txt"), ({"l.txt": ""}, "n.json")])
def test_a_lock_that_is_gone_stops_the_bundle_by_name(objects: dict[str, str], gone: str) -> None:
    shelf = Shelf(objects)

    with pytest.raises(BuildRefused, match=rf"web-x: the lock {gone} is gone from the artifacts bucket"):
        run(event(nodeLock="n.json"), definition(), BUILDER, reach(shelf))
    assert not shelf.written
