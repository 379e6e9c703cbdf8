"""The build's parts, each alone: zip and digest, native code, packages, bytecode, size."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from builder import archive, build, bytecode, elf, native, wheels
from builder.refusal import Refused
from builder.settings import PythonTarget, Settings
from tests.unit.elves import elf as elf_file

BUILDER = Path(__file__).parents[2] / "builder"
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
SETTINGS = Settings(
    variant="web-python311-x86_64",
    runtimes=("python3.11",),
    architecture="x86_64",
    machine=62,
    python=PythonTarget("3.11", "x86_64-manylinux_2_17"),
    nodejs=None,
    files=False,
)


def tree(root: Path, files: dict[str, bytes]) -> Path:
    for name, body in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return root


def test_the_buildspec_is_one_that_codebuild_reads() -> None:
    # A ": " in an unquoted command makes it a mapping, which CodeBuild refuses.
    spec = yaml.safe_load((BUILDER / "buildspec.yml").read_text())

    assert str(spec["version"]) == "0.2"
    commands = [command for phase in spec["phases"].values() for command in phase["commands"]]
    assert all(isinstance(command, str) for command in commands)
    assert spec["artifacts"] == {"base-directory": "output", "files": ["layer.zip", "manifest.json", "sbom.json"]}


@pytest.mark.parametrize(("machine", "name"), [(183, "arm64"), (40, "machine 40")])
def test_a_shared_object_for_another_architecture_is_refused_by_name(tmp_path: Path, machine: int, name: str) -> None:
    tree(tmp_path, {"python/fast.so": elf_file(machine)})

    with pytest.raises(Refused, match=rf"python/fast\.so is for {name}, not for x86_64"):
        native.check_native(tmp_path, SETTINGS)


def test_the_right_architecture_scripts_and_short_files_pass(tmp_path: Path) -> None:
    tree(tmp_path, {"python/tool": b"#!/bin/sh\n", "python/elf": b"\x7fELF", "python/empty": b""})
    assert not native.check_native(tmp_path, SETTINGS)

    tree(tmp_path, {"python/fast.so": elf_file(62), "python/fast.cpython-311-x86_64-linux-gnu.so": elf_file(62)})
    tree(tmp_path, {"python/any.abi3.so": elf_file(62), "python/cut.so": elf_file(62)[:40]})
    assert native.check_native(tmp_path, SETTINGS)


@given(st.binary(max_size=200))
def test_no_file_that_looks_like_a_program_stops_a_build(rest: bytes) -> None:
    with TemporaryDirectory() as folder:
        header = elf.read_elf(tree(Path(folder), {"a": b"\x7fELF\x02\x01" + rest}) / "a")
    assert header is None or 0 <= header.machine < 65536


def test_what_cannot_be_stripped_stays_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "tools" / "strip"
    tree(tmp_path, {"tools/strip": b'#!/bin/sh\ncp "${4%.so}.stripped-to" "$3"\n'})
    tool.chmod(0o755)
    body = elf_file(62) + bytes(100)
    layer = tree(tmp_path / "layer", {"a.so": body, "b.so": body, "c.so": body, "own.so": body, "d.py": b""})
    # What this strip makes of each: smaller; not mappable any more; nothing at all.
    tree(layer, {"a.stripped-to": elf_file(62), "b.stripped-to": elf_file(62, aligned=False)})
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")

    saved, note = native.strip_symbols(layer, ["own.so"])

    assert (layer / "a.so").read_bytes() == elf_file(62)
    assert {(layer / name).read_bytes() for name in ("b.so", "c.so", "own.so")} == {body}
    assert (saved.files, saved.bytes) == (1, 100)
    assert note.startswith("2 of 3 shared objects are as they came")
    assert not list(layer.glob("*.stripped"))

    monkeypatch.setenv("PATH", "/nowhere")
    assert native.strip_symbols(layer, [])[1] == "nothing was stripped: this machine has no strip (binutils)"


def test_a_layer_too_large_is_refused_with_its_ten_largest_packages(tmp_path: Path) -> None:
    tree(tmp_path, {"python/big": b"x" * 1001})
    packages = {f"p{number:02}": {"size": number * 1000} for number in range(12)}

    with pytest.raises(Refused) as refused:
        build.check_size(tmp_path, packages, replace(SETTINGS, maximum_bytes=1000))

    assert "1,001 bytes unzipped, but Lambda's limit is 1,000" in str(refused.value)
    assert "p11 11,000, p10 10,000" in str(refused.value)
    assert "p02 2,000" in str(refused.value)
    assert "p01" not in str(refused.value)
    build.check_size(tmp_path, packages, replace(SETTINGS, maximum_bytes=1001))


def test_the_digest_speaks_of_path_mode_and_content_and_not_of_time_or_compression(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        tree(root, {"python/a.py": b"a = 1\n", "python/run": b"#!/bin/sh\n"})
        (root / "python" / "run").chmod(0o700)
        (root / "python" / "link").symlink_to("a.py")
    os.utime(two / "python" / "a.py", (1, 1))
    (two / "python" / "a.py").chmod(0o600)
    same = archive.digest(list(archive.collect(one)))

    assert archive.digest(list(archive.collect(two))) == same

    (two / "python" / "a.py").chmod(0o755)
    assert archive.digest(list(archive.collect(two))) != same
    (two / "python" / "a.py").chmod(0o644)
    (two / "python" / "a.py").write_bytes(b"a = 2\n")
    assert archive.digest(list(archive.collect(two))) != same
    (two / "python" / "a.py").write_bytes(b"a = 1\n")
    (two / "python" / "a.py").rename(two / "python" / "b.py")
    assert archive.digest(list(archive.collect(two))) != same


def test_the_zip_keeps_links_and_what_may_run_and_forgets_times(tmp_path: Path) -> None:
    tree(tmp_path, {"root/b.py": b"", "root/a": b"#!/bin/sh\n", "root/\u00e9": b"x" * 1000})
    (tmp_path / "root" / "a").chmod(0o711)
    (tmp_path / "root" / "c").symlink_to("a")

    archive.write_zip(tmp_path / "x.zip", list(archive.collect(tmp_path / "root")))

    with zipfile.ZipFile(tmp_path / "x.zip") as opened:
        assert [(info.filename, oct(info.external_attr >> 16)) for info in opened.infolist()] == [
            ("a", "0o100755"),
            ("b.py", "0o100644"),
            ("c", "0o120777"),
            ("\u00e9", "0o100644"),
        ]
        assert opened.read("c") == b"a"
        assert opened.read("\u00e9") == b"x" * 1000
        assert {(info.date_time, info.create_system) for info in opened.infolist()} == {((1980, 1, 1, 0, 0, 0), 3)}
        assert opened.testzip() is None


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
def test_the_zip_is_one_that_other_programs_read(tmp_path: Path) -> None:
    entries = [archive.Entry(f"d/{number:03}", 0o100644, os.urandom(50) + bytes(number)) for number in range(50)]
    archive.write_zip(tmp_path / "x.zip", entries)

    assert subprocess.run(["unzip", "-tqq", str(tmp_path / "x.zip")]).returncode == 0


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}", fullmatch=True), st.binary(), max_size=8))
def test_the_zip_holds_its_entries_and_is_the_same_twice(files: dict[str, bytes]) -> None:
    entries = [archive.Entry(name, 0o100644, body) for name, body in sorted(files.items())]
    bodies = []
    with TemporaryDirectory() as folder:
        for name in ("one", "two"):
            archive.write_zip(Path(folder, name), entries)
            bodies.append(Path(folder, name).read_bytes())

    assert bodies[0] == bodies[1]
    with zipfile.ZipFile(io.BytesIO(bodies[0])) as opened:
        assert {info.filename: opened.read(info) for info in opened.infolist()} == files


def test_the_zip_is_the_same_on_any_number_of_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [b"small", random.Random(1).randbytes(700_000), bytes(range(256)) * 9_000, b"\x1f\x8b" + bytes(5_000)]
    entries = [archive.Entry(f"{number:03}", 0o100644, bodies[number % 4]) for number in range(40)]
    written = []
    for processors in (1, 2, 7):
        monkeypatch.setattr("builder.archive.os.cpu_count", lambda count=processors: count)
        archive.write_zip(tmp_path / f"{processors}.zip", entries)
        written.append((tmp_path / f"{processors}.zip").read_bytes())

    assert written[0] == written[1] == written[2]
    with zipfile.ZipFile(tmp_path / "7.zip") as opened:
        assert [opened.read(info) for info in opened.infolist()] == [entry.content for entry in entries]


def test_a_zip_of_very_many_files_can_be_read(tmp_path: Path) -> None:
    entries = [archive.Entry(f"{number:05}", 0o100644, b"") for number in range(70_000)]

    archive.write_zip(tmp_path / "x.zip", entries)

    with zipfile.ZipFile(tmp_path / "x.zip") as opened:
        assert len(opened.namelist()) == 70_000
        assert opened.read("69999") == b""


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/etc/passwd", "a is a symbolic link to /etc/passwd, which is outside the layer"),
        ("../../x", "a is a symbolic link to ../../x, which is outside the layer"),
        ("gone", "a is a symbolic link to gone, which is not in the layer"),
    ],
)
def test_a_link_that_leads_out_or_nowhere_is_refused(tmp_path: Path, target: str, says: str) -> None:
    tree(tmp_path, {"layer/b": b""})
    (tmp_path / "layer" / "c").symlink_to("b")
    archive.check_links(tmp_path / "layer", "web-x")
    (tmp_path / "layer" / "a").symlink_to(target)

    with pytest.raises(Refused, match=says):
        archive.check_links(tmp_path / "layer", "web-x")


def test_packages_are_described_by_what_they_installed(tmp_path: Path) -> None:
    modules = ("mypkg/__init__.py", "single.py", "_fast.cpython-311-x86_64-linux-gnu.so", "mypkg.libs/libx.so")
    record = "".join(f"{file},,\n" for file in (*modules, "../../bin/tool", "My_Package-1.2.dist-info/METADATA"))
    metadata = (
        "Metadata-Version: 2.1\nName: My_Package\nVersion: 1.2\nClassifier: License :: OSI Approved :: MIT License\n"
        "Requires-Dist: Other.Thing (>=1)\nRequires-Dist: absent; extra == 'x'\n"
    )
    tree(tmp_path, {
        "My_Package-1.2.dist-info/METADATA": metadata.encode(),
        "My_Package-1.2.dist-info/RECORD": record.encode(),
        "other_thing-2.dist-info/METADATA": b"Metadata-Version: 2.1\nName: other-thing\nVersion: 2\n",
        "other_thing-2.dist-info/RECORD": b"",
        **dict.fromkeys(modules, b"12345"),
    })  # fmt: skip

    packages = wheels.describe_wheels(tmp_path)

    assert packages["my-package"] == {
        "version": "1.2",
        "modules": ["_fast", "mypkg", "single"],
        "requires": ["other-thing"],
        "size": 20 + len(metadata),
        "license": "MIT",
    }


def test_bytecode_is_valid_in_lambda_whatever_its_source_was_called_here(tmp_path: Path) -> None:
    tree(tmp_path, {"layer/python/good.py": b"x = 1\n", "layer/python/template.py": b"{% no python %}\n"})
    settings = replace(SETTINGS, python=PythonTarget(HERE, "x86_64-manylinux_2_17"))

    assert bytecode.add_bytecode(tmp_path / "layer", settings) == (True, "")

    (compiled,) = tmp_path.rglob("*.pyc")
    # PEP 552: flags 0b01, a hash of the source that is not checked; and the path that it will have in Lambda.
    assert compiled.read_bytes()[4:8] == b"\x01\0\0\0"
    assert b"/opt/python/good.py" in compiled.read_bytes()
    assert str(tmp_path).encode() not in compiled.read_bytes()


def test_bytecode_does_not_depend_on_what_else_is_compiled(tmp_path: Path) -> None:
    # What the standard library's modules share with others is what makes the difference in one process.
    sources = {f"{name}.py": Path(module).read_bytes() for name, module in _library().items()}
    for number, folder in enumerate(("alone", "among/many/others")):
        tree(tmp_path / folder, {**sources, **{f"z{index}/a.py": b"a = 'b'\n" for index in range(number * 7)}})
        bytecode.compile_bytecode(tmp_path / folder)

    for name in sources:
        tag = sys.implementation.cache_tag
        compiled = Path("__pycache__") / f"{name.removesuffix('.py')}.{tag}.pyc"
        assert (tmp_path / "alone" / compiled).read_bytes() == (
            tmp_path / "among/many/others" / compiled
        ).read_bytes()  # fmt: skip


def _library() -> dict[str, str]:
    import argparse
    import dataclasses
    import typing

    return {module.__name__: str(module.__file__) for module in (argparse, dataclasses, typing)}
