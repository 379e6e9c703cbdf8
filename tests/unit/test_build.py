"""The build script, standing alone: what it refuses, and real builds that come out the same twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder import build
from lamina.bundle import Manifest
from lamina.gateways.index import find_uv

BUILDER = Path(__file__).parents[2] / "builder"
SETTINGS: dict[str, Any] = {
    "variant": "web-python311-x86_64",
    "python": "3.11",
    "platform": "x86_64-manylinux_2_17",
    "machine": 62,
    "fromSource": [],
}
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01" + b"\0" * 10 + (3).to_bytes(2, "little") + machine.to_bytes(2, "little")


def tree(root: Path, **files: bytes) -> Path:
    for name, body in files.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return root


def test_the_buildspec_is_one_that_codebuild_reads() -> None:
    # A ": " in an unquoted command makes it a mapping, which CodeBuild refuses.
    spec = yaml.safe_load((BUILDER / "buildspec.yml").read_text())

    assert str(spec["version"]) == "0.2"
    commands = [command for phase in spec["phases"].values() for command in phase["commands"]]
    assert all(isinstance(command, str) for command in commands)
    assert spec["artifacts"] == {"base-directory": "output", "files": ["layer.zip", "manifest.json"]}


@pytest.mark.parametrize(("machine", "name"), [(183, "arm64"), (40, "machine 40")])
def test_a_shared_object_for_another_architecture_is_refused_by_name(tmp_path: Path, machine: int, name: str) -> None:
    tree(tmp_path, python__fast_so=elf(machine))

    with pytest.raises(build.Refused, match=rf"python/fast\.so is for {name}, not for x86_64"):
        build.check_machines(tmp_path, SETTINGS)


def test_the_right_architecture_scripts_and_short_files_pass(tmp_path: Path) -> None:
    tree(tmp_path, python__fast_so=elf(62), python__tool=b"#!/bin/sh\n", python__elf=b"\x7fELF", python__empty=b"")

    build.check_machines(tmp_path, SETTINGS)


def test_a_layer_too_large_is_refused_with_its_ten_largest_packages(tmp_path: Path) -> None:
    tree(tmp_path, python__big=b"x" * 1001)
    packages = {f"p{number:02}": {"size": number * 1000} for number in range(12)}

    with pytest.raises(build.Refused) as refused:
        build.check_size(tmp_path, packages, SETTINGS | {"maximumBytes": 1000})

    assert "1,001 bytes unzipped, but Lambda's limit is 1,000" in str(refused.value)
    assert "p11 11,000, p10 10,000" in str(refused.value)
    assert "p02 2,000" in str(refused.value)
    assert "p01" not in str(refused.value)
    build.check_size(tmp_path, packages, SETTINGS | {"maximumBytes": 1001})


def test_the_digest_speaks_of_path_mode_and_content_and_not_of_time_or_compression(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        tree(root, python__a_py=b"a = 1\n", python__run=b"#!/bin/sh\n")
        (root / "python" / "run").chmod(0o700)
        (root / "python" / "link").symlink_to("a.py")
    os.utime(two / "python" / "a.py", (1, 1))
    (two / "python" / "a.py").chmod(0o600)
    same = build.digest(list(build.collect(one)))

    assert build.digest(list(build.collect(two))) == same

    (two / "python" / "a.py").chmod(0o755)
    assert build.digest(list(build.collect(two))) != same
    (two / "python" / "a.py").chmod(0o644)
    (two / "python" / "a.py").write_bytes(b"a = 2\n")
    assert build.digest(list(build.collect(two))) != same
    (two / "python" / "a.py").write_bytes(b"a = 1\n")
    (two / "python" / "a.py").rename(two / "python" / "b.py")
    assert build.digest(list(build.collect(two))) != same


def test_the_zip_keeps_links_and_what_may_run_and_forgets_times(tmp_path: Path) -> None:
    tree(tmp_path, root__b_py=b"", root__a=b"#!/bin/sh\n")
    (tmp_path / "root" / "a").chmod(0o711)
    (tmp_path / "root" / "c").symlink_to("a")

    build.write_zip(tmp_path / "x.zip", list(build.collect(tmp_path / "root")))

    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert [(info.filename, oct(info.external_attr >> 16)) for info in archive.infolist()] == [
            ("a", "0o100755"),
            ("b.py", "0o100644"),
            ("c", "0o120777"),
        ]
        assert archive.read("c") == b"a"
        assert {(info.date_time, info.create_system) for info in archive.infolist()} == {((1980, 1, 1, 0, 0, 0), 3)}


def test_packages_are_described_by_what_they_installed(tmp_path: Path) -> None:
    info = tmp_path / "My_Package-1.2.dist-info"
    modules = ("mypkg/__init__.py", "single.py", "_fast.cpython-311-x86_64-linux-gnu.so", "mypkg.libs/libx.so")
    record = "".join(f"{file},,\n" for file in (*modules, "../../bin/tool", "My_Package-1.2.dist-info/METADATA"))
    metadata = (
        "Metadata-Version: 2.1\nName: My_Package\nVersion: 1.2\n"
        "Requires-Dist: Other.Thing (>=1)\nRequires-Dist: absent; extra == 'x'\n"
    )
    other = tmp_path / "other_thing-2.dist-info"
    for folder, text, files in (
        (info, metadata, record),
        (other, "Metadata-Version: 2.1\nName: other-thing\nVersion: 2\n", ""),
    ):
        folder.mkdir()
        (folder / "METADATA").write_text(text)
        (folder / "RECORD").write_text(files)
    for name in modules:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")

    packages = build.describe(tmp_path)

    assert packages["my-package"]["version"] == "1.2"
    assert packages["my-package"]["modules"] == ["_fast", "mypkg", "single"]
    assert packages["my-package"]["requires"] == ["other-thing"]
    assert packages["my-package"]["size"] == 20 + len(metadata)


def test_bytecode_is_made_only_where_this_interpreter_speaks_the_targets(tmp_path: Path) -> None:
    tree(tmp_path, good_py=b"x = 1\n", template_py=b"{% no python %}\n")

    assert not build.compile_bytecode(tmp_path, SETTINGS | {"python": "2.7"})
    assert not list(tmp_path.rglob("*.pyc"))
    assert build.compile_bytecode(tmp_path, SETTINGS | {"python": HERE})
    (compiled,) = tmp_path.rglob("*.pyc")
    # PEP 552: flags 0b01, a hash of the source that is not checked; and the path that it will have in Lambda.
    assert compiled.read_bytes()[4:8] == b"\x01\0\0\0"
    assert b"/opt/python/good.py" in compiled.read_bytes()
    assert str(tmp_path).encode() not in compiled.read_bytes()


def bundle(folder: Path, lock: str, **settings: object) -> Path:
    folder.mkdir()
    for name in ("build.py", "buildspec.yml", "requirements.txt"):
        shutil.copy(BUILDER / name, folder)
    (folder / "lock.txt").write_text(lock)
    (folder / "build.json").write_text(json.dumps(SETTINGS | settings))
    return folder


def run_build(folder: Path) -> subprocess.CompletedProcess[str]:
    """As CodeBuild runs it: nothing in the environment but a search path, with the bundle's own tool on it."""
    tools = folder / "path"
    tools.mkdir(exist_ok=True)
    (tools / "uv").unlink(missing_ok=True)
    (tools / "uv").symlink_to(find_uv(folder))
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(folder)}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("UV_") and "INDEX" in name}
    return subprocess.run(
        [sys.executable, "build.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


IDNA = "idna==3.7 \\\n    --hash=sha256:82fee1fc78add43492d3a1898bfa6d8a904cc97d8427f683ed8e798d07761aa0\n"
MARKUPSAFE_ARM = (
    "markupsafe==2.1.5 \\\n    --hash=sha256:ac07bad82163452a6884fe8fa0963fb98c2346ba78d779ec06bd7a6262132aee\n"
)


@pytest.mark.index
def test_two_builds_in_two_places_are_byte_for_byte_the_same(tmp_path: Path) -> None:
    zips, manifests = [], []
    for name in ("here", "somewhere/else"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        folder = bundle(tmp_path / name, IDNA, python=HERE)
        done = run_build(folder)
        assert done.returncode == 0, done.stderr
        zips.append((folder / "output" / "layer.zip").read_bytes())
        manifests.append(Manifest.model_validate_json((folder / "output" / "manifest.json").read_bytes()))

    assert zips[0] == zips[1]
    assert manifests[0] == manifests[1]
    assert manifests[0].packages["idna"].modules == ("idna",)
    with zipfile.ZipFile(tmp_path / "here" / "output" / "layer.zip") as archive:
        names = archive.namelist()
    assert names == sorted(names)
    assert "python/idna-3.7.dist-info/METADATA" in names
    assert any(name.endswith(".pyc") for name in names)
    assert not [name for name in names if name.startswith("python/bin/") or name.endswith(".lock")]


@pytest.mark.index
def test_a_layer_for_another_processor_is_built_from_its_wheels(tmp_path: Path) -> None:
    for_arm = {"platform": "aarch64-manylinux_2_17", "machine": 183, "python": "3.12"}
    good = run_build(bundle(tmp_path / "arm", MARKUPSAFE_ARM, **for_arm))
    wrong = run_build(bundle(tmp_path / "wrong", MARKUPSAFE_ARM, **for_arm | {"machine": 62}))

    assert good.returncode == 0, good.stderr
    assert wrong.returncode == 1
    assert "build refused: web-python311-x86_64: python/markupsafe/_speedups" in wrong.stderr
    assert "is for arm64, not for x86_64" in wrong.stderr
    assert not list((tmp_path / "wrong" / "output").iterdir())


@pytest.mark.index
@pytest.mark.parametrize(
    ("lock", "says"),
    [
        (IDNA.replace("82fee1", "000000"), "hash"),
        (IDNA.replace("3.7", "3.7.99"), "idna"),
        ("idna==3.7\n", "hash"),
    ],
    ids=["another hash", "a version that is gone", "no hash"],
)
def test_a_lock_that_cannot_be_installed_exactly_ends_the_build_in_one_line(
    tmp_path: Path, lock: str, says: str
) -> None:
    done = run_build(bundle(tmp_path / "b", lock))

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("build refused: web-python311-x86_64: the locked packages cannot be installed: ")
    assert says in line.lower()


def test_a_build_without_its_tool_says_which_phase_did_not_run(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", IDNA)
    done = subprocess.run(
        [sys.executable, "build.py"], cwd=folder, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr == "build refused: uv is missing: the install phase of buildspec.yml did not run\n"
