"""The probe: imports every module of a layer in a fresh interpreter and says which ones fail.

Runs as a function of its own with the layer attached, in the layer's runtime, without any rights. Standard library
only, and for every Python that a layer may be for. In: `{"packages": [...], "modules": [...]}`, the layer's
distributions, and modules to import besides (the runtime's own SDK, which a layer can break). Out: counts and the
failures.

The imports happen in a child process: a module that ends or hangs the interpreter costs that child alone, is
reported as a failure, and the next child goes on after it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.metadata
import json
import os
import selectors
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve()
MARGIN_MS = 5_000
STALLED_S = 45.0
MOST_FAILURES = 400
LONGEST_TRACEBACK = 6_000


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Import everything there is time for."""
    began = time.monotonic()
    deadline = began + (context.get_remaining_time_in_millis() - MARGIN_MS) / 1000
    wanted = list(dict.fromkeys(discover(event.get("packages", [])) + list(event.get("modules", []))))
    results: list[dict[str, Any]] = []
    pending, skipped = wanted, 0
    while pending and time.monotonic() < deadline:
        done, pending, left_out = one_child(pending, deadline)
        results += done
        skipped += left_out
    failures = [result for result in results if "type" in result]
    return {
        "python": sys.version.split()[0],
        "modules": len(wanted),
        "imported": len(results) - len(failures),
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


def child_main() -> None:
    """Import what standard input lists; what the modules print themselves goes nowhere."""
    report = os.fdopen(os.dup(1), "w", buffering=1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    failed: set[str] = set()
    # This file's own folder is first on the path and is no part of what is probed.
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != HERE.parent]
    for module in json.load(sys.stdin):
        if any(module.startswith(parent + ".") for parent in failed):
            report.write(json.dumps({"skip": module}) + "\n")
            continue
        report.write(json.dumps({"begin": module}) + "\n")
        result: dict[str, Any] = {"module": module}
        began = time.monotonic()
        try:
            importlib.import_module(module)
        except BaseException as error:  # SystemExit and KeyboardInterrupt are failures of the module, too.
            failed.add(module)
            result["type"] = type(error).__name__
            result["message"] = str(error)[:1000]
            result["traceback"] = traceback.format_exc()[-LONGEST_TRACEBACK:]
        result["milliseconds"] = round((time.monotonic() - began) * 1000)
        report.write(json.dumps(result) + "\n")
    report.flush()
    os._exit(0)


if __name__ == "__main__":
    child_main()
