"""Every kind of layer, built from its source bundle: what is in it, with which modes, and the same bytes twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lamina.bundle import LeftOut
from tests.builds.workshop import HERE, NODE, Workshop, copy, unpack
from tests.unit.elves import elf

FILE, PROGRAM, LINK = 0o100644, 0o100755, 0o120777
PACKAGE = {"package.json": json.dumps({"dependencies": {"acme": "1.0.0"}}).encode()}


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def everything(shop: Workshop) -> dict[str, bytes]:
    """A definition with every source, and packages for it."""
    shop.wheel("acme", "1.0", {"acme/__init__.py": b"x = {'a', 'b'}\n", "acme/tests/test_a.py": b""},
               metadata=("License-Expression: MIT", "Requires-Dist: other"))  # fmt: skip
    shop.wheel("other", "2.0", {"other.py": b"import acme\n"}, metadata=("License: BSD",))
    shop.node_package("acme", {"index.js": b"module.exports = require('other')", "index.d.ts": b""}, license="MIT",
                      dependencies={"other": "1.0.0"})  # fmt: skip
    shop.node_package("other", {"index.js": b"module.exports = 42"}, license="ISC")
    return {
        "requirements.in": b"acme",
        **PACKAGE,
        "files/extensions/watcher": b"#!/bin/sh\n",
        "files/bootstrap": b"#!/bin/sh\n",
        "files/bin/tool": elf(62, interpreter="/lib64/ld-linux-x86-64.so.2"),
        "files/lib/libtool.so": elf(62),
        "files/share/script": b"#!/bin/sh\n",
        "files/share/table.csv": b"a,b\n",
        "files/python/mine/__init__.py": b"y = 1\n",
    }


def test_a_layer_of_everything(shop: Workshop) -> None:
    with shop.serving():
        built = shop.build(everything(shop))
    assert built.status == 0, built.error

    entries = built.entries()
    modes = {path: mode for path, (mode, _) in entries.items() if "dist-info" not in path and "__pycache__" not in path}
    assert modes == {
        "bin/tool": PROGRAM,
        "bootstrap": PROGRAM,
        "extensions/watcher": PROGRAM,
        "lib/libtool.so": FILE,
        "nodejs/node_modules/acme/index.js": FILE,
        "nodejs/node_modules/acme/package.json": FILE,
        "nodejs/node_modules/other/index.js": FILE,
        "nodejs/node_modules/other/package.json": FILE,
        "python/acme/__init__.py": FILE,
        "python/mine/__init__.py": FILE,
        "python/other.py": FILE,
        "share/script": PROGRAM,
        "share/table.csv": FILE,
    }
    assert {Path(path).name for path in entries if "acme-1.0.dist-info" in path} == {"METADATA", "RECORD", "WHEEL"}
    assert b"acme/tests" not in entries["python/acme-1.0.dist-info/RECORD"][1]
    assert b"acme/__init__.py" in entries["python/acme-1.0.dist-info/RECORD"][1]
    assert sum(path.endswith(".pyc") for path in entries) == 3

    manifest = built.manifest
    assert manifest.extensions == ("watcher",)
    assert manifest.bootstrap
    assert manifest.own_modules == ("mine",)
    assert (manifest.bytecode, manifest.bytecode_why) == (True, "")
    assert not manifest.pure
    assert manifest.packages["acme"].license == "MIT"
    assert manifest.packages["acme"].requires == ("other",)
    assert manifest.packages["acme"].modules == ("acme",)
    assert manifest.node_packages["acme"].requires == ("other",)
    assert manifest.node_packages["other"].license == "ISC"
    assert manifest.removed["tests"] == LeftOut(files=1, bytes=0)
    assert manifest.sizes.unzipped == sum(len(body) for _, body in entries.values())


def test_two_builds_in_two_places_at_two_times_are_byte_for_byte_the_same(shop: Workshop) -> None:
    with shop.serving():
        first = shop.run(shop.bundle(everything(shop)))
        elsewhere = copy(first.folder, shop.root / "some" / "where" / "else")
        for path in elsewhere.rglob("*"):
            os.utime(path, (time.time() - 86400 * 400,) * 2)
        second = shop.run(elsewhere)

        again = shop.run(first.folder)

    assert second.status == 0, second.error
    assert second.body == first.body
    # Once more in the same place: what is changed in the layer is never changed in the cache that it is linked to.
    assert again.body == first.body
    assert any(b"acme/tests" in record.read_bytes() for record in (first.folder / ".cache").rglob("RECORD"))
    assert second.manifest == first.manifest
    assert second.sbom == first.sbom


def test_packages_that_the_bundle_brings_along_give_the_same_layer_and_are_asked_of_nobody(shop: Workshop) -> None:
    wanted = everything(shop)
    with shop.serving():
        from_indexes = shop.run(shop.bundle(wanted, "from-indexes"))
    folder = shop.bundle(wanted, "brought")
    (folder / "wheels").mkdir()
    (shop.root / "wheels" / "acme-1.0-py3-none-any.whl").rename(folder / "wheels" / "acme-1.0-py3-none-any.whl")
    archives = shop.root / "registry"
    for name in ("acme", "other"):
        (folder / "npm" / name).mkdir(parents=True)
        (archives / f"{name}.tgz").rename(folder / "npm" / name / "1.0.0.tgz")

    # The registry is closed by now, and the index has no acme any more.
    brought = shop.run(folder)

    assert brought.status == 0, brought.error
    assert brought.body == from_indexes.body
    assert brought.sbom == from_indexes.sbom


def test_what_is_installed_can_be_used(shop: Workshop) -> None:
    with shop.serving():
        built = shop.build(everything(shop))
    opt = unpack(built, shop.root / "opt")

    python = subprocess.run(
        [sys.executable, "-c", "import other, mine; print(other.acme.x == {'a', 'b'}, mine.y)"],
        env={"PYTHONPATH": str(opt / "python")}, capture_output=True, text=True,
    )  # fmt: skip
    node = subprocess.run(
        [str(NODE / "bin" / "node"), "-p", "require('acme')"],
        env={"NODE_PATH": str(opt / "nodejs" / "node_modules")}, capture_output=True, text=True,
    )  # fmt: skip

    assert python.stdout == "True 1\n", python.stderr
    assert node.stdout == "42\n", node.stderr


def test_pure_is_what_depends_on_no_machine_and_no_python(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", {"acme/__init__.py": b""})

    assert shop.build({"requirements.in": b"acme"}, "pure").manifest.pure

    here = HERE.removeprefix("python").replace(".", "")
    shop.wheel("other", "1.0", {"other.py": b""}, tag=f"cp{here}-none-any")
    assert not shop.build({"requirements.in": b"acme\nother"}, "tagged").manifest.pure
    assert not shop.build({"files/lib/a.so": elf(62)}, "native").manifest.pure
    assert shop.build({"files/bin/a": b"#!/bin/sh\n"}, "script").manifest.pure


def test_libraries_that_are_there_twice_are_linked(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", {"acme.libs/libz.so.1": elf(62), "acme/libz.so.1": elf(62), "acme/_z.so": elf(62)})

    built = shop.build({"requirements.in": b"acme", "files/lib/libz.so.1": elf(62)})

    entries = built.entries()
    assert entries["python/acme/libz.so.1"] == (LINK, b"../acme.libs/libz.so.1")
    # Extension modules are told apart by their path, and a definition's own files stay as they are.
    assert [entries[path][0] for path in ("python/acme.libs/libz.so.1", "python/acme/_z.so", "lib/libz.so.1")] == [
        FILE, FILE, FILE,
    ]  # fmt: skip
    assert built.manifest.removed["duplicate libraries"] == LeftOut(files=1, bytes=len(elf(62)))
    assert unpack(built, shop.root / "opt").joinpath("python/acme/libz.so.1").read_bytes() == elf(62)


def test_pruning_can_be_switched_off(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", {"acme/a.pyi": b"", "acme/tests/a.py": b"", "acme/a.h": b"", "bin/x": b""})

    entries = shop.build({"requirements.in": b"acme"}, prune=False).entries()

    assert {"python/acme/a.pyi", "python/acme/tests/a.py", "python/acme/a.h"} <= entries.keys()
    assert "python/bin/x" not in entries


def test_bytecode_goes_where_it_does_not_fit_and_can_be_switched_off(shop: Workshop) -> None:
    shop.wheel("large", "1.0", {"large/__init__.py": b"".join(b"a%d = '%d'\n" % (n, n) for n in range(2000))})
    shop.wheel("small", "1.0", {"small/__init__.py": b""})
    wanted = {"requirements.in": b"large\nsmall"}
    whole = shop.build(wanted, "whole").manifest.sizes.unzipped

    tight = shop.build(wanted, "tight", maximumBytes=whole - 1)
    off = shop.build(wanted, "off", bytecode=False)

    pycs = [path for path in tight.entries() if path.endswith(".pyc")]
    assert len(pycs) == 1
    assert pycs[0].startswith("python/large/")
    assert tight.manifest.bytecode
    assert tight.manifest.bytecode_why == (
        f"the bytecode of small is left out: with it the layer would be larger than {whole - 1:,} bytes"
    )
    assert f"note: {tight.manifest.bytecode_why}" in tight.log
    assert not [path for path in off.entries() if path.endswith(".pyc")]
    assert (off.manifest.bytecode, off.manifest.bytecode_why) == (
        False, "there is no bytecode: the definition switches it off",
    )  # fmt: skip


def test_a_python_that_this_machine_does_not_speak_gets_no_bytecode(shop: Workshop) -> None:
    shop.wheel("acme", "1.0", {"acme.py": b""})
    python = {"version": "3.9", "platform": "x86_64-manylinux_2_17", "fromSource": []}

    manifest = shop.build({"requirements.in": b"acme"}, python=python).manifest

    assert not manifest.bytecode
    assert manifest.bytecode_why == (
        f"there is no bytecode: the build ran on Python {HERE.removeprefix('python')}, and it is for 3.9"
    )


@pytest.mark.index
def test_real_packages_for_another_processor(shop: Workshop) -> None:
    digest = "ac07bad82163452a6884fe8fa0963fb98c2346ba78d779ec06bd7a6262132aee"
    shop.lock = f"markupsafe==2.1.5 \\\n    --hash=sha256:{digest}\n"
    arm = {"python": {"version": "3.12", "platform": "aarch64-manylinux_2_17", "fromSource": []}}
    wanted = {"requirements.in": b"markupsafe"}

    good = shop.build(wanted, "good", machine=183, architecture="arm64", **arm)
    wrong = shop.build(wanted, "wrong", **arm)

    assert good.status == 0, good.error
    assert good.manifest.packages["markupsafe"].license == "BSD-3-Clause"
    assert "python/markupsafe/_speedups" in wrong.refused()
    assert "is for arm64, not for x86_64" in wrong.refused()
