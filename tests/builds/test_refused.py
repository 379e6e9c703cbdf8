"""What must not be published: every bad input ends its build with one line that names it, and leaves no output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builds.workshop import HERE, Built, Workshop
from tests.unit.elves import elf

WANTED = {"requirements.in": b"acme"}
ACME = {"acme/__init__.py": b"x = 1\n"}
KEY_ID, SECRET = "AKIA" + "IYZ23456ABCDEFGH"[:16], "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzKEY"[:40]


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def node(shop: Workshop, **settings: object) -> Built:
    wanted = {"dependencies": {name: "1.0.0" for name in shop.packages}}
    with shop.serving():
        return shop.build({"package.json": json.dumps(wanted).encode()}, **settings)


def test_too_large_names_the_largest_packages(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", {**ACME, "acme/data.bin": b"x" * 5000})
    shop.wheel("small", "1.0", {"small.py": b""})

    said = shop.build(WANTED, maximumBytes=4000).refused()

    assert "bytes unzipped, but Lambda's limit is 4,000" in said
    assert "The largest: acme 5," in said


def test_a_shared_object_for_another_architecture(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", {"acme/fast.so": elf(183)})

    assert "python/acme/fast.so is for arm64, not for x86_64" in shop.build(WANTED).refused()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("acme/fast.cpython-38-x86_64-linux-gnu.so", f"is for Python 3.8, not for {HERE.removeprefix('python')}"),
        ("acme/fast.cpython-313t-x86_64-linux-gnu.so", "is for Python 3.13, without its global lock, not for"),
        ("acme/fast.abi3-x86_64-linux-musl.so", "is for the C library musl, which Lambda does not have"),
    ],
)
def test_a_shared_object_for_another_abi(shop: Workshop, name: str, says: str) -> None:
    shop.wheel("acme", "1.0", {name: elf(62)})

    said = shop.build(WANTED).refused()

    assert f"python/{name} {says}" in said


def test_a_program_for_another_c_library(shop: Workshop) -> None:
    files = {"files/bin/tool": elf(62, interpreter="/lib/ld-musl-x86_64.so.1")}

    assert "bin/tool is for the C library musl" in shop.build(files).refused()


def test_a_link_that_leads_out(shop: Workshop) -> None:
    folder = shop.bundle({"files/bin/tool": b"#!/bin/sh\n"})
    (folder / "files" / "bin" / "shell").symlink_to("/bin/sh")

    said = shop.run(folder).refused()

    assert "[files] bin/shell is a symbolic link to /bin/sh, which is outside the folder" in said


def test_a_path_that_leads_out(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", {**ACME, "../../evil.py": b"boom"})

    assert "a package has a file ../../evil.py, which is outside" in shop.build(WANTED).refused()
    assert not list(shop.root.rglob("evil.py"))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA" + "a" * 48 + "\n", "a private key"),
        (f"id = '{KEY_ID}'\nkey = '{SECRET}'\n", "an AWS access key"),
        ("token: ghp_" + "a1B2" * 9, "a GitHub token"),
    ],
)
def test_a_credential(shop: Workshop, body: str, what: str) -> None:
    said = shop.build({"files/python/settings.py": f"# one\n{body}".encode()}).refused()

    assert f"[files] python/settings.py, line 2, looks like {what}. Whoever may use" in said
    assert body.strip() not in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("files/mine/__init__.py", "mine/ is a Python package outside python/"),
        ("files/mine.py", "mine.py is a Python module outside python/"),
    ],
)
def test_a_python_package_outside_python(shop: Workshop, path: str, says: str) -> None:
    said = shop.build({path: b""}).refused()

    assert says in said
    assert "move it to python/mine" in said


def test_two_packages_with_a_file_of_one_name(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", {**ACME, "shared/util.py": b"a = 1\n", "shared/same.py": b""})
    shop.wheel("other", "2.0", {"shared/util.py": b"a = 2\n", "shared/same.py": b""})

    said = shop.build(WANTED).refused()

    assert "python/shared/util.py is in acme 1.0 and, with other contents, in other 2.0" in said


def test_packages_may_share_a_file_that_is_the_same_or_is_left_out(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", {**ACME, "shared/__init__.py": b"", "tests/conftest.py": b"a = 1\n"})
    shop.wheel("other", "2.0", {"shared/__init__.py": b"", "tests/conftest.py": b"a = 2\n"})

    assert shop.build(WANTED).status == 0


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("python/acme/__init__.py", "would overwrite python/acme/__init__.py of acme 1.0"),
        ("python/acme", "would overwrite python/acme of acme 1.0"),
        ("python/acme/__init__.py/deeper.py", "would overwrite python/acme/__init__.py of acme 1.0"),
    ],
)
def test_an_own_file_in_the_place_of_a_packages(shop: Workshop, path: str, says: str) -> None:
    shop.wheel("acme", "1.0", ACME)

    assert f"[files] {path} {says}" in shop.build({**WANTED, f"files/{path}": b"mine"}).refused()


def test_an_extension_that_lambda_cannot_start(shop: Workshop) -> None:
    said = shop.build({"files/extensions/watcher": b"import os\n"}).refused()

    assert "[files] extensions/watcher is neither a program nor a script that begins with '#!'" in said


def test_a_corrupted_wheel(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", ACME, spoil=True)

    said = shop.build(WANTED).refused()

    assert "the locked packages cannot be installed" in said
    assert "acme" in said


def test_a_wheel_with_another_hash(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", ACME)
    shop.lock = shop.lock[:-5] + "0000\n"

    said = shop.build(WANTED).refused()

    assert "acme" in said
    assert "hash" in said.lower()


def test_a_package_that_the_bundle_brings_along_is_held_against_its_hash_too(shop: Workshop) -> None:
    body = b"not the locked one"
    shop.wheel("acme", "1.0", ACME)
    shop.node_package("acme", {"index.js": b""})
    folder = shop.bundle(WANTED, "python")
    (folder / "wheels").mkdir()
    (folder / "wheels" / "acme-1.0-py3-none-any.whl").write_bytes(body)

    # The one on the index's shelf would do, but a private package comes from the bundle or not at all.
    assert "acme" in shop.run(folder).refused()

    folder = shop.bundle({"package.json": b'{"dependencies": {"acme": "1.0.0"}}'}, "node")
    (folder / "npm" / "acme").mkdir(parents=True)
    (folder / "npm" / "acme" / "1.0.0.tgz").write_bytes(body)
    with shop.serving():
        assert "acme" in shop.run(folder).refused()


def test_a_wheel_that_vanished(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", ACME)
    (shop.root / "wheels" / "acme-1.0-py3-none-any.whl").unlink()

    said = shop.build(WANTED).refused()

    assert "the locked packages cannot be installed" in said
    assert "acme" in said


def test_a_lock_without_hashes(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", ACME)
    shop.lock = "acme==1.0\n"

    assert "hash" in shop.build(WANTED).refused().lower()


def test_a_package_that_must_be_built_is_only_built_if_it_is_named(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", ACME)
    (shop.root / "wheels" / "acme-1.0-py3-none-any.whl").rename(shop.root / "wheels" / "acme-1.0.tar.gz")

    assert "acme" in shop.build(WANTED).refused()


@pytest.mark.parametrize(
    ("manifest", "files", "runs"),
    [
        ({"scripts": {"postinstall": "touch ../../written"}}, {}, "postinstall: 'touch ../../written'"),
        ({}, {"binding.gyp": b"{}"}, "install: 'node-gyp rebuild'"),
    ],
    ids=["a script", "a build file"],
)
def test_an_install_script_of_npm_is_not_run(
    shop: Workshop, manifest: dict[str, object], files: dict[str, bytes], runs: str
) -> None:
    shop.node_package("acme", {"index.js": b"", **files}, **manifest)

    built = node(shop)

    assert f"acme 1.0.0 wants to run a script when it is installed ({runs})" in built.refused()
    assert "nodejs.without-scripts" in built.error
    assert not list(shop.root.rglob("written"))

    told = {"nodejs": {"version": "22", "cpu": "x64", "withoutScripts": ["acme"]}}
    wanted = {"dependencies": {"acme": "1.0.0"}}
    with shop.serving():
        again = shop.build({"package.json": json.dumps(wanted).encode()}, "again", **told)
    assert again.status == 0, again.error
    assert not list(shop.root.rglob("written"))


def test_an_npm_package_with_another_hash_is_named(shop: Workshop) -> None:
    shop.node_package("acme", {"index.js": b""})
    shop.node_package("other", {"index.js": b""})
    shop.packages["acme"]["integrity"] = shop.packages["other"]["integrity"]

    said = node(shop).refused()

    assert "the locked npm packages cannot be installed: " in said
    assert "acme 1.0.0" in said
    assert "sha512" in said


def test_an_npm_package_that_vanished(shop: Workshop) -> None:
    shop.node_package("acme", {"index.js": b""})
    (shop.root / "registry" / "acme.tgz").unlink()

    said = node(shop).refused()

    assert "the locked npm packages cannot be installed: " in said
    assert "acme" in said


def test_native_code_of_npm_for_another_architecture(shop: Workshop) -> None:
    shop.node_package("acme", {"build/fast.node": elf(183)})

    assert "nodejs/node_modules/acme/build/fast.node is for arm64, not for x86_64" in node(shop).refused()


def test_a_build_without_its_tools_says_which_phase_did_not_run(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.wheel("acme", "1.0", ACME)
    folder = shop.bundle(WANTED)
    (folder / ".tools" / "bin").mkdir(parents=True)
    (folder / ".tools" / "bin" / "uv").symlink_to("/nowhere")

    assert shop.run(folder).refused() == "uv is missing: the install phase of buildspec.yml did not run"
