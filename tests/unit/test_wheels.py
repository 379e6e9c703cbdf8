"""Which wheels run on a target."""

from __future__ import annotations

import pytest

from lamina.listing import Listed
from lamina.runtimes import Target
from lamina.wheels import has_wheel, misfit

OLD = Target("3.11", "x86_64-manylinux_2_17", 62)
NEW = Target("3.13", "aarch64-manylinux_2_28", 183)


@pytest.mark.parametrize(
    ("file", "target", "runs"),
    [
        ("x-1-py3-none-any.whl", OLD, True),
        ("x-1-py2.py3-none-any.whl", NEW, True),
        ("x-1-py2-none-any.whl", NEW, False),
        ("x-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", OLD, True),
        ("x-1-cp311-cp311-manylinux2014_x86_64.whl", OLD, True),
        ("x-1-cp311-cp311-manylinux1_x86_64.whl", OLD, True),
        ("x-1-cp311-cp311-linux_x86_64.whl", OLD, True),
        ("x-1-cp37-abi3-manylinux_2_12_x86_64.whl", OLD, True),
        ("x-1-cp313-abi3-manylinux_2_17_x86_64.whl", OLD, False),
        ("x-1-cp311-cp311-manylinux_2_28_x86_64.whl", OLD, False),
        ("x-1-cp311-cp311-manylinux_2_17_aarch64.whl", OLD, False),
        ("x-1-cp312-cp312-manylinux_2_17_x86_64.whl", OLD, False),
        ("x-1-cp313-cp313-manylinux_2_28_aarch64.whl", NEW, True),
        ("x-1-cp313-cp313-manylinux_2_34_aarch64.whl", NEW, False),
        ("x-1-cp313-cp313t-manylinux_2_28_aarch64.whl", NEW, False),
        ("x-1-cp313-cp313-musllinux_1_2_aarch64.whl", NEW, False),
        ("x-1-cp311-cp311-win_amd64.whl", OLD, False),
        ("not a wheel.whl", OLD, False),
    ],
)
def test_a_wheel_runs_where_interpreter_library_and_processor_agree(file: str, target: Target, runs: bool) -> None:
    assert has_wheel(Listed("1", wheels=(file,)), target) is runs


@pytest.mark.parametrize(
    ("entry", "from_source", "kind"),
    [
        (Listed("1", wheels=("x-1-py3-none-any.whl",), requires=">=3.9"), False, None),
        (Listed("1", wheels=("x-1-py3-none-any.whl",), requires=">=3.11.4"), False, None),
        (Listed("1", wheels=("x-1-py3-none-any.whl",), requires=">=3.12"), False, "runtime"),
        (Listed("1", wheels=("x-1-py3-none-any.whl",), requires="<3.11"), False, "runtime"),
        (Listed("1", wheels=("x-1-py3-none-any.whl",), requires="nonsense"), False, None),
        (Listed("1", source=True), False, "platform"),
        (Listed("1", source=True), True, None),
        (Listed("1"), True, "platform"),
    ],
)
def test_what_does_not_run_is_told_apart(entry: Listed, from_source: bool, kind: str | None) -> None:
    found = misfit(entry, OLD, from_source=from_source)

    assert (found and found[0]) == kind
