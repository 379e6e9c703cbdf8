"""The parts by themselves: rules, archives, interpreters, runtimes, and that nothing outlives its owner."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local import pythons
from local.lambdas import rules, runtimes
from local.lambdas.environment import Blueprint, Environment
from local.lambdas.files import BadArchive, Files, unzipped_size
from local.lambdas.pool import Pools
from local.lambdas.sandbox import Sandbox, SandboxError
from local.lambdas.settling import Settler
from tests.local.lambdas.lab import packed

# -- rules


@given(st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_a_weight_is_the_probability_of_the_additional_version(weight: float, draw: float) -> None:
    assert rules.choose_version("1", {"2": weight}, draw) == ("2" if draw < weight else "1")
    assert rules.choose_version("1", {}, draw) == "1"


@given(st.integers(0, rules.MAX_UNZIPPED), st.lists(st.integers(0, rules.MAX_UNZIPPED), max_size=5))
def test_sizes_are_refused_exactly_above_the_limit(code: int, layers: list[int]) -> None:
    if code + sum(layers) <= rules.MAX_UNZIPPED:
        rules.check_size(code, layers)
    else:
        with pytest.raises(rules.Refused, match=str(code + sum(layers))):
            rules.check_size(code, layers)


def test_a_revision_is_checked_only_when_sent() -> None:
    rules.check_revision(None, "a")
    rules.check_revision("a", "a")
    with pytest.raises(rules.Refused) as caught:
        rules.check_revision("b", "a")
    assert (caught.value.code, caught.value.status) == ("PreconditionFailedException", 412)


# -- archives


def test_an_archive_is_unpacked_once_and_its_size_is_of_its_files(tmp_path: Path) -> None:
    archive = packed({"a/b.txt": "12345", "c": b"\0" * 1000})
    files = Files(tmp_path)
    assert unzipped_size(archive) == 1005
    assert files.unpacked(archive) == files.unpacked(archive)
    assert (files.unpacked(archive) / "a/b.txt").read_text() == "12345"


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out"])
def test_an_archive_cannot_write_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), "x")
    with pytest.raises(BadArchive, match="out"):
        Files(tmp_path / "files").unpacked(buffer.getvalue())
    assert [path.name for path in tmp_path.rglob("*")].count("out") == 0


def test_layers_that_disagree_about_folders_and_files_are_merged(tmp_path: Path) -> None:
    files = Files(tmp_path)
    folder, file = packed({"x/inner": "1", "both/a": "a"}), packed({"x": "2", "both/b": "b"})
    assert (files.merged([folder, file]) / "x").read_text() == "2"
    assert (files.merged([file, folder]) / "x/inner").read_text() == "1"
    assert sorted(path.name for path in (files.merged([folder, file]) / "both").iterdir()) == ["a", "b"]
    assert list(files.merged([]).iterdir()) == []


def test_content_is_shared_among_threads(tmp_path: Path) -> None:
    archive, found = packed({str(n): str(n) for n in range(200)}), set()
    threads = [threading.Thread(target=lambda: found.add(Files(tmp_path).merged([archive]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1 and len(list(found.pop().iterdir())) == 200


# -- interpreters and runtimes


def test_the_interpreter_of_a_runtime_is_found() -> None:
    version = "{}.{}".format(*sys.version_info)
    found = pythons.find(f"python{version}")
    answer = subprocess.check_output([str(found), "-c", "import sys; print(sys.prefix == sys.base_prefix)"], text=True)
    assert answer.strip() == "True"  # the interpreter itself, not a virtual environment's


def test_a_missing_interpreter_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python3.99"  # what pyenv's shims do for versions that are not selected
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(pythons.InterpreterMissing) as caught:
        pythons.find("python3.99")
    assert all(text in str(caught.value) for text in ("python3.99", str(broken), "uv python install 3.99"))
    with pytest.raises(ValueError, match="nodejs"):
        pythons.find("nodejs22.x")


@pytest.mark.index
def test_a_runtime_is_installed_once_however_many_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path))
    runtimes._python.cache_clear()
    script = "import sys; from local.lambdas import runtimes; print(runtimes.get(sys.argv[1]).folder)"
    name = "python{}.{}".format(*sys.version_info)
    try:
        asked = [
            subprocess.Popen([sys.executable, "-c", script, name], stdout=subprocess.PIPE, text=True) for _ in range(2)
        ]
        folders = {process.communicate()[0].strip() for process in asked}
    finally:
        runtimes._python.cache_clear()
    (folder,) = folders
    assert [path.name for path in tmp_path.iterdir()] == [Path(folder).name]
    assert (Path(folder) / "awslambdaric").is_dir() and (Path(folder) / "boto3").is_dir()
    assert os.access(Path(folder) / "aws-lambda-rie", os.X_OK)
    assert list(Path(folder).glob("boto3/__pycache__/session.*.pyc"))


# -- processes


@pytest.mark.parametrize("namespaces", [True, False])
def test_children_of_an_environment_end_with_it(tmp_path: Path, namespaces: bool) -> None:
    sandbox = Sandbox(tmp_path, namespaces=namespaces)
    try:
        script = "setsid sleep 98765 & (sleep 98765 & sleep 98765) & echo ready; wait"
        if not sandbox.namespaces:
            script = script.replace("setsid ", "")
        pid = sandbox.start(
            ["/bin/sh", "-c", script],
            env={"PATH": os.defpath, "SLEEPERS": str(tmp_path)},
            cwd="/",
            output=tmp_path / "out",
            mounts=[] if sandbox.namespaces else None,
        )
        _until(lambda: len(_with_environment(str(tmp_path))) >= 4)
        sandbox.kill(pid)
        assert sandbox.wait(pid, 10)
        _until(lambda: not _with_environment(str(tmp_path)))
    finally:
        sandbox.close()
    with pytest.raises(SandboxError):
        sandbox.start(["/bin/true"], env={}, cwd="/", output=tmp_path / "out", mounts=None)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("namespaces", [True, False])
def test_everything_ends_with_the_process_that_started_it(
    tmp_path: Path, namespaces: bool, how: signal.Signals
) -> None:
    script = f"""
import sys, time
from pathlib import Path
from local.lambdas.sandbox import Sandbox
work = Path({str(tmp_path)!r})
sandbox = Sandbox(work, namespaces={namespaces})
mounts = [] if sandbox.namespaces else None
sandbox.start(["/bin/sh", "-c", "sleep 98765 & wait"], env={{"PATH": "/bin:/usr/bin", "SLEEPERS": str(work)}},
              cwd="/", output=work / "out", mounts=mounts)
print("ready", flush=True)
time.sleep(60)
"""
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout and owner.stdout.readline() == "ready\n"
    _until(lambda: len(_with_environment(str(tmp_path))) >= 2)
    owner.send_signal(how)
    owner.wait()
    _until(lambda: not _with_environment(str(tmp_path)))


def test_an_environment_that_cannot_start_says_why(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, namespaces=False)
    nowhere = runtimes.Runtime("python3.13", "3.13", tmp_path / "python", tmp_path / "nowhere")
    blueprint = Blueprint("f", "$LATEST", "arn", "a.b", 3, 128, nowhere, tmp_path, tmp_path, "stream", {})
    try:
        with pytest.raises(SandboxError, match="No such file"):
            Environment(sandbox, blueprint, tmp_path / "environment")
    finally:
        sandbox.close()


def test_idle_environments_make_room_for_others(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    runtime = runtimes.get("python{}.{}".format(*sys.version_info))
    code = Files(tmp_path).unpacked(packed({"app.py": "def handler(event, context): return 1"}))
    empty = Files(tmp_path).merged([])
    pools = Pools(sandbox, tmp_path / "environments", per_release=2, total=2)
    cold: Counter[int] = Counter()
    blueprint = Blueprint("f", "1", "arn", "app.handler", 3, 128, runtime, code, empty, "stream", {})
    try:
        for serial in (1, 2, 1, 2, 3, 2, 1):  # the third pushes out the one that was idle longest
            with pools.environment(serial, lambda: blueprint) as (environment, new):
                assert environment.invoke(b"{}").payload == b"1"
                cold[serial] += new
        assert cold == {1: 2, 2: 1, 3: 1}
        pools.retire(2)
        with pools.environment(4, lambda: blueprint) as (_, new):
            assert new
    finally:
        pools.close()
        sandbox.close()


def test_changes_settle_in_order_and_one_that_fails_does_not_stop_the_rest() -> None:
    settler, done = Settler(0.01), []

    def fail() -> None:
        raise ValueError("a listener's mistake")

    try:
        for action in (lambda: done.append(1), fail, lambda: done.append(2)):
            settler.later(action)
        _until(lambda: done == [1, 2])
    finally:
        settler.close()


def _with_environment(text: str) -> list[int]:
    """Living processes that were started with `text` in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"SLEEPERS={text}".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def _until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.01)
