"""Source bundles and what marks a published version."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina import digest
from lamina.bundle import BUILDER_FILES, build_settings, machine, pack
from lamina.definition import parse_definition
from lamina.model import Variant
from lamina.runtimes import PYTHONS, target

BUILDER = {name: name.encode() for name in BUILDER_FILES}
REPOSITORY = Path(__file__).parents[2]


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
    where = machine(variant(runtime, architecture))

    assert target(variant(runtime, architecture)).platform == platform
    assert where.image == f"aws/codebuild/amazonlinux-{image}"
    assert (where.environment_type, where.compute_type) == (f"{environment}_LAMBDA_CONTAINER", "BUILD_LAMBDA_4GB")


def test_a_bundle_holds_all_that_a_build_needs_and_has_the_same_bytes_every_time() -> None:
    toml = b"""
    [layer]
    owner = "o"
    runtimes = ["python3.13"]
    architectures = ["arm64"]
    [python]
    requirements = "r.in"
    build-from-source = ["docopt"]
    """
    settings = build_settings(parse_definition("web", {"layer.toml": toml, "r.in": b"docopt"}), variant())

    body = pack(BUILDER, "docopt==0.6.2\n", settings)

    assert body == pack(dict(reversed(BUILDER.items())), "docopt==0.6.2\n", settings)
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.namelist() == ["build.json", "build.py", "buildspec.yml", "lock.txt", "requirements.txt"]
        assert archive.read("lock.txt") == b"docopt==0.6.2\n"
        assert json.loads(archive.read("build.json")) == {
            "variant": "web-x",
            "python": "3.13",
            "platform": "aarch64-manylinux_2_28",
            "machine": 183,
            "fromSource": ["docopt"],
        }
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_builder_ships_what_a_bundle_needs_and_installs_what_resolves() -> None:
    for name in BUILDER_FILES:
        assert (REPOSITORY / "builder" / name).is_file()
    resolver = (REPOSITORY / "layers/dependencies/resolver.txt").read_text()
    assert (REPOSITORY / "builder" / "requirements.txt").read_text() == resolver


def test_the_locks_that_ship_are_hashed_and_name_no_index() -> None:
    for lock in ("requirements.txt", "resolver.txt"):
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
