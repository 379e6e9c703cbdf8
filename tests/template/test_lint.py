"""The check of the state machines finds what it is there for, and finds nothing in ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
MACHINES = sorted((PROJECT / "statemachine").glob("*.asl.yaml"))

GOOD = """
QueryLanguage: JSONata
StartAt: Plan
States:
  Plan:
    Type: Task
    Resource: arn:${Partition}:states:::lambda:invoke
    Arguments:
      FunctionName: ${Plan}
      Payload: "{% $states.input %}"
    Next: Done
  Done:
    Type: Succeed
"""


def lint(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [str(PROJECT / "scripts/lint-states"), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.index
class TestLintStates:
    def test_our_state_machines_are_clean(self) -> None:
        assert {path.name for path in MACHINES} == {"update.asl.yaml", "rollout.asl.yaml", "rollback.asl.yaml"}
        done = lint(*MACHINES)
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr

    def test_jsonata_and_substitutions_are_understood(self, tmp_path: Path) -> None:
        good = tmp_path / "good.asl.yaml"
        good.write_text(GOOD)
        assert lint(good).returncode == 0

    @pytest.mark.parametrize(
        ("old", "new", "line", "message"),
        [
            ("Next: Done", "Next: Nowhere", 11, "must be the name of an existing state"),
            ("StartAt: Plan", "StartAt: Plans", 3, "must be the name of an existing state"),
            ("Next: Done", "End: true", 12, "cannot be reached"),
            ("Type: Succeed", "Type: Success", 13, "Value is not accepted"),
            ("Type: Task", "Comment: what it is: a plan\n    Type: Task", 6, "incomplete explicit mapping pair"),
        ],
    )
    def test_a_mistake_is_found_on_its_line(self, tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
        bad = tmp_path / "bad.asl.yaml"
        bad.write_text(GOOD.replace(old, new))

        done = lint(bad)

        assert done.returncode == 1
        assert any(found.startswith(f"{bad}:{line}:") and message in found for found in done.stdout.splitlines()), done
