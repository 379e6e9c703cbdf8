"""The probe's own code, run as it is: a real interpreter imports a folder of made-up packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROBE = Path(__file__).parents[2] / "functions" / "verify" / "probe" / "probe.py"
CALL = """
import json, sys
sys.path.insert(0, {folder!r})
import probe
probe.STALLED_S = 1.0
class Context:
    def get_remaining_time_in_millis(self):
        return {milliseconds}
print(json.dumps(probe.handler({event!r}, Context())))
"""


def package(root: Path, name: str, **modules: str) -> None:
    """A distribution with a package of its name and these modules in it."""
    info = root / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (root / name).mkdir()
    for module, code in ({"__init__": ""} | modules).items():
        (root / name / f"{module}.py").write_text(code)


def probe(layer: Path, *packages: str, modules: tuple[str, ...] = (), milliseconds: int = 60_000) -> dict[str, Any]:
    event = {"packages": list(packages), "modules": list(modules)}
    call = CALL.format(folder=str(PROBE.parent), event=event, milliseconds=milliseconds)
    done = subprocess.run(
        [sys.executable, "-c", call], env={"PYTHONPATH": str(layer)}, capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def failures(answer: dict[str, Any]) -> dict[str, str]:
    return {failure["module"]: failure["type"] for failure in answer["failures"]}


def test_every_module_is_imported_and_each_failure_is_told_with_its_traceback(tmp_path: Path) -> None:
    package(tmp_path, "good", a="print('noise on standard output')", __main__="raise SystemExit('never run')")
    package(tmp_path, "bad", b="import good.nothing", c="raise KeyboardInterrupt")

    answer = probe(tmp_path, "good", "bad", "not-there", modules=("json",))

    assert failures(answer) == {"bad.b": "ModuleNotFoundError", "bad.c": "KeyboardInterrupt"}
    assert (answer["modules"], answer["imported"], answer["failed"], answer["untried"]) == (6, 4, 2, 0)
    first = answer["failures"][0]
    assert first["message"] == "No module named 'good.nothing'"
    assert f'File "{tmp_path}/bad/b.py", line 1' in first["traceback"]


def test_modules_of_a_package_that_fails_are_not_counted_against_it_one_by_one(tmp_path: Path) -> None:
    package(tmp_path, "broken", __init__="1 / 0", a="", b="")

    answer = probe(tmp_path, "broken")

    assert failures(answer) == {"broken": "ZeroDivisionError"}
    assert (answer["skipped"], answer["untried"]) == (2, 0)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("import os; os._exit(3)", "InterpreterEnded"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "InterpreterEnded"),
        ("import threading; threading.Event().wait()", "ImportStalled"),
        ("import sys; sys.exit(3)", "SystemExit"),
    ],
)
def test_a_module_that_takes_its_interpreter_along_costs_no_other(tmp_path: Path, code: str, kind: str) -> None:
    package(tmp_path, "wild", a="", b=code, c="")

    answer = probe(tmp_path, "wild")

    assert failures(answer) == {"wild.b": kind}
    assert answer["imported"] == 3


def test_a_probe_out_of_time_says_how_much_it_did_not_try(tmp_path: Path) -> None:
    package(tmp_path, "slow", a="import time; time.sleep(0.7)", b="import time; time.sleep(60)", c="")

    answer = probe(tmp_path, "slow", milliseconds=6_500)

    assert (answer["failures"], answer["untried"]) == ([], 2)


def test_the_answer_stays_far_below_what_lambda_returns(tmp_path: Path) -> None:
    package(tmp_path, "many", **{f"m{number}": f"raise ValueError('x' * 50_000 + '{number}')" for number in range(500)})

    answer = probe(tmp_path, "many")

    assert (answer["failed"], len(answer["failures"])) == (500, 400)
    assert len(json.dumps(answer)) < 4_000_000
