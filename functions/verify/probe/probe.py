"""The probe: imports every module of a layer in a fresh interpreter and says which ones fail.

Runs as a function of its own with the layer attached, in the layer's runtime, without any rights. Standard library
only, and for every Python that a layer may be for. In: `{"packages": [...], "modules": [...], "smoke": "smoke.py"}`:
the layer's distributions; modules to import besides, such as the runtime's own SDK, which a layer can break; the file
beside this one whose `handler({}, context)` is run in the end, if any. Out: counts, the failures, and the names of all
modules that the layer has. Programs and libraries in `/opt/bin` and `/opt/lib` are looked at too: the dynamic linker
says whether it finds all that they need.

The imports happen in a child process: a module that ends or hangs the interpreter costs that child alone, is
reported as a failure, and the next child goes on after it.

When the function starts it imports what `LAMINA_INIT` lists, as a function that uses the layer would, so that the time
that Lambda measures for the initialisation means something. How it ends is of no interest there.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import selectors
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

HERE = Path(__file__).resolve()
OPT = Path("/opt")
LINKERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
SMOKE_S = 60.0
CONTEXT = (
    "function_name", "function_version", "invoked_function_arn", "memory_limit_in_mb", "aws_request_id",
    "log_group_name", "log_stream_name",
)  # fmt: skip
MARGIN_MS = 5_000
STALLED_S = 45.0
MOST_FAILURES = 400
MOST_NAMES = 20_000
LONGEST_TRACEBACK = 6_000


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Import everything there is time for."""
    began = time.monotonic()
    end = began + (context.get_remaining_time_in_millis() - MARGIN_MS) / 1000
    smoke = event.get("smoke")
    deadline = max(began, end - SMOKE_S) if smoke else end
    wanted = list(dict.fromkeys(discover(event.get("packages", [])) + list(event.get("modules", []))))
    results: list[dict[str, Any]] = []
    pending, skipped = wanted, 0
    while pending and time.monotonic() < deadline:
        done, pending, left_out = one_child(pending, deadline)
        results += done
        skipped += left_out
    failures = [result for result in [*results, *natives(deadline)] if "type" in result]
    return {
        "version": sys.version.split()[0],
        "modules": len(wanted),
        "names": wanted[:MOST_NAMES],
        "smoke": smoke_test(smoke, context, end) if smoke else None,
        "imported": sum("type" not in result for result in results),
        "skipped": skipped,
        "untried": len(pending),
        "failed": len(failures),
        "failures": failures[:MOST_FAILURES],
        "milliseconds": round((time.monotonic() - began) * 1000),
    }


def discover(packages: list[str]) -> list[str]:
    """All modules below the folders that hold these distributions, parents before what is in them."""
    roots = set()
    for name in packages:
        # One that is missing is no import failure: its modules, if any, are found beside the others'.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            roots.add(Path(str(importlib.metadata.distribution(name).locate_file(""))).resolve())
    return sorted({module for root in roots for module in modules_below(root)})


def modules_below(root: Path) -> Iterator[str]:
    """Names of all modules in a folder of packages; `__main__` is a program, not a module to import."""
    suffixes = sorted(importlib.machinery.all_suffixes(), key=len, reverse=True)
    for folder, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if name.isidentifier() and name != "__pycache__")
        parts = list(Path(folder).relative_to(root).parts)
        for file in files:
            suffix = next((suffix for suffix in suffixes if file.endswith(suffix)), None)
            stem = file[: -len(suffix)] if suffix else ""
            if suffix == ".pyc" or not stem.isidentifier() or stem == "__main__":
                continue
            name = ".".join(parts if stem == "__init__" else [*parts, stem])
            if name:
                yield name


def one_child(modules: list[str], deadline: float) -> tuple[list[dict[str, Any]], list[str], int]:
    """Import modules in a child until it is through, stalls or dies: (results, what is left, how many it skipped)."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    child = subprocess.Popen(
        [sys.executable, str(HERE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd="/tmp",
    )
    assert child.stdin is not None and child.stdout is not None
    # A child that died at once breaks the pipe; the loop below sees the end of its output.
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(json.dumps(modules).encode())
        child.stdin.close()
    results: list[dict[str, Any]] = []
    skipped, position, stalled = 0, 0, False
    current: str | None = None
    for line in lines_of(child.stdout, deadline):
        if line is None:
            stalled = True
            break
        message = json.loads(line)
        if "begin" in message:
            current = message["begin"]
            position = modules.index(current, position)
        elif "skip" in message:
            skipped, position = skipped + 1, modules.index(message["skip"], position) + 1
        else:
            results.append(message)
            current, position = None, position + 1
    child.kill()
    code = child.wait()
    child.stdout.close()
    if stalled and time.monotonic() >= deadline:
        return results, modules[position:], skipped
    if current is not None:
        results.append(ended(current, code, stalled))
        position += 1
    elif position == 0 and not results and not skipped:
        results.append(ended(modules[0], code, stalled))
        position = 1
    return results, modules[position:], skipped


def natives(deadline: float) -> Iterator[dict[str, Any]]:
    """Programs and libraries of the layer that need a library which is not there."""
    linker = next((path for path in LINKERS if os.access(path, os.X_OK)), None)
    for path in sorted(path for folder in ("bin", "lib") for path in (OPT / folder).rglob("*")):
        if linker is None or time.monotonic() >= deadline:
            return
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        # It lists what it finds and what not, and runs nothing.
        traced = dict(os.environ, LD_TRACE_LOADED_OBJECTS="1")
        asked = subprocess.run([linker, str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=traced)
        lines = asked.stdout.decode(errors="replace").splitlines()
        if missing := [line.strip() for line in lines if "not found" in line]:
            name = path.relative_to(OPT).as_posix()
            yield {"module": name, "type": "LibraryMissing", "message": "; ".join(missing)[:1000]}


def smoke_test(name: str, context: Any, end: float) -> dict[str, Any]:
    """What came of a smoke test, run in a fresh interpreter of its own."""
    told = {field: getattr(context, field, "") for field in CONTEXT}
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    patience = max(end - time.monotonic(), 1.0)
    command = [sys.executable, str(HERE), name, json.dumps([told, patience])]
    result = {"module": name}
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd="/tmp", timeout=patience
        )
    except subprocess.TimeoutExpired:
        return result | {"type": "SmokeStalled", "message": f"did not return within {patience:.0f} s"}
    if done.returncode != 0 or not done.stdout:
        how = f"ended the interpreter with status {done.returncode}"
        return result | {"type": "InterpreterEnded", "message": how}
    return result | json.loads(done.stdout)


def ended(module: str, code: int, stalled: bool) -> dict[str, Any]:
    """The failure of a module that took its interpreter along."""
    how = f"did not return within {STALLED_S:.0f} s" if stalled else f"ended the interpreter with status {code}"
    kind = "ImportStalled" if stalled else "InterpreterEnded"
    return {"module": module, "type": kind, "message": how, "traceback": "", "milliseconds": 0}


def lines_of(stream: IO[bytes], deadline: float) -> Iterator[bytes | None]:
    """The child's lines; None once it says nothing for too long or time is up."""
    waiting, rest = selectors.DefaultSelector(), b""
    waiting.register(stream, selectors.EVENT_READ)
    try:
        while True:
            patience = min(STALLED_S, deadline - time.monotonic())
            if patience <= 0 or not waiting.select(patience):
                yield None
                return
            chunk = os.read(stream.fileno(), 65536)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
    finally:
        waiting.close()


def own_output() -> IO[str]:
    """Standard output for the report alone: what modules print themselves goes nowhere from here on.

    This file's own folder, the first on the path, is no part of what is probed and is taken off it.
    """
    report = os.fdopen(os.dup(1), "w", buffering=1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != HERE.parent]
    return report


def failure_of(error: BaseException) -> dict[str, Any]:
    """An error as it is reported."""
    return {
        "type": type(error).__name__,
        "message": str(error)[:1000],
        "traceback": traceback.format_exc()[-LONGEST_TRACEBACK:],
    }


def smoke_main(name: str, told: dict[str, Any], seconds: float) -> None:
    """Run the handler of a smoke test once."""
    report, began = own_output(), time.monotonic()
    left = lambda: max(int((began + seconds - time.monotonic()) * 1000), 0)  # noqa: E731
    result: dict[str, Any] = {}
    try:
        spec = importlib.util.spec_from_file_location("smoke", HERE.with_name(name))
        assert spec is not None and spec.loader is not None
        module = sys.modules["smoke"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.handler({}, SimpleNamespace(**told, get_remaining_time_in_millis=left))
    except BaseException as error:
        result = failure_of(error)
    report.write(json.dumps(result | {"milliseconds": round((time.monotonic() - began) * 1000)}))
    report.flush()
    os._exit(0)


def import_name(name: str) -> None:
    """Import a module; `a.b` may also be the b of `from a import b`, which need not be a module."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        parent, _, last = name.rpartition(".")
        if error.name != name or not hasattr(sys.modules.get(parent), last):
            raise


def child_main() -> None:
    """Import what standard input lists."""
    report = own_output()
    failed: set[str] = set()
    for module in json.load(sys.stdin):
        if any(module.startswith(parent + ".") for parent in failed):
            report.write(json.dumps({"skip": module}) + "\n")
            continue
        report.write(json.dumps({"begin": module}) + "\n")
        result: dict[str, Any] = {"module": module}
        began = time.monotonic()
        try:
            import_name(module)
        except BaseException as error:  # SystemExit and KeyboardInterrupt are failures of the module, too.
            failed.add(module)
            result |= failure_of(error)
        result["milliseconds"] = round((time.monotonic() - began) * 1000)
        report.write(json.dumps(result) + "\n")
    report.flush()
    os._exit(0)


if __name__ != "__main__":
    for listed in filter(None, os.environ.pop("LAMINA_INIT", "").split(",")):
        with contextlib.suppress(BaseException):
            importlib.import_module(listed)
elif len(sys.argv) > 2:
    smoke_main(sys.argv[1], *json.loads(sys.argv[2]))
else:
    child_main()
