"""One variant's check, warm, against `pip-compile --upgrade --generate-hashes` on the same requirements.

`python -m benchmarks.check [rounds]`. Both sides resolve to the newest versions with hashes, with caches that are
warm; they take turns, and what is compared are medians of the same run. Lamina's side is the whole of its Python
resolution: listings of every package, uv, acceptance, and the explanation of what was held.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import common
from lamina.definition import Definition
from lamina.model import Variant
from lamina.resolution import Order, Resolved
from lamina.steps.resolve_python import PythonGateways, resolve_python

TIMED = 5
TARGET = 0.25


def main(rounds: int) -> None:
    """Measure and print."""
    rows = []
    with common.python_gateways() as gateways, TemporaryDirectory() as folder:
        for name, requirements in list(common.requirement_sets().items())[:TIMED]:
            source = Path(folder) / f"{name}.in"
            source.write_text("\n".join(requirements))
            definition = common.definition(name, requirements)
            variant = common.only_variant(definition)

            first = _check(definition, variant, gateways, None)
            ours, theirs = [], []
            again, compile_ = partial(_check, definition, variant, gateways, first), partial(_pip_compile, source)
            compile_()
            for _ in range(rounds):
                ours.append(_seconds(again))
                theirs.append(_seconds(compile_))
            ratio = statistics.median(ours) / statistics.median(theirs)
            rows.append(
                {
                    "set": name,
                    "packages": len(first.lock.pins),
                    "lamina_seconds": round(statistics.median(ours), 3),
                    "pip_compile_seconds": round(statistics.median(theirs), 3),
                    "ratio": round(ratio, 3),
                }
            )
    common.show(
        f"One variant, warm, against pip-compile (target: at most {TARGET})",
        ["set", "packages", "Lamina s", "pip-compile s", "ratio"],
        [list(row.values()) for row in rows],
    )
    common.emit({"measured": "median seconds of one check, warm", "rounds": rounds, "target": TARGET, "sets": rows})


def _check(definition: Definition, variant: Variant, gateways: PythonGateways, current: Resolved | None) -> Resolved:
    now = datetime.now(UTC)
    lock = current.lock if current else None
    order = Order(definition, variant, lock, now, previously_wanted=current.wanted if current else ())
    return resolve_python(order, gateways, dry_run=True, now=now)


def _pip_compile(source: Path) -> None:
    command = [sys.executable, "-m", "piptools", "compile", "--upgrade", "--generate-hashes", "--quiet",
               "--strip-extras", "--output-file", str(source.with_suffix(".txt")), str(source)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "COLUMNS": "80"})


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
