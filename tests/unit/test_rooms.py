"""The rooms of the house: who may import what. Read from the source, so that nothing has to run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAMINA = ROOT / "layers/lamina/python/lamina"
DOMAIN = sorted(path for path in LAMINA.rglob("*.py") if "gateways" not in path.parts)
GATEWAYS = sorted((LAMINA / "gateways").glob("*.py"))
HANDLERS = sorted((ROOT / "functions").rglob("*.py"))
BUILDER = sorted((ROOT / "builder").glob("*.py"))
LOCAL = sorted((ROOT / "local").rglob("*.py"))

CHECK = frozenset({"beside.py", "check.py", "checking.py", "findings.py", "schema.py"})
"""What runs Lamina's own code on this machine, and needs no AWS for it."""

AWS = ("boto3", "botocore", "mypy_boto3")
STAND_INS = ("local", "moto", "samcli", "awslambdaric", "tests")


def imports(path: Path, *, at_runtime: bool = True) -> Iterator[str]:
    """Modules that a file imports; with `at_runtime` without those that only a type checker sees."""

    def walk(nodes: list[ast.stmt]) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, ast.If) and at_runtime and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from walk(node.orelse)
                continue
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module or ""
            for field in ("body", "orelse", "finalbody"):
                yield from walk(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from walk(handler.body)

    yield from walk(ast.parse(path.read_text()).body)


def named(modules: Iterator[str], packages: tuple[str, ...]) -> list[str]:
    return [name for name in modules if any(name == one or name.startswith((f"{one}.", f"{one}_")) for one in packages)]


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOMAIN, ids=short)
def test_the_domain_reaches_neither_aws_nor_environment_nor_clock(path: Path) -> None:
    assert not named(imports(path), AWS)
    assert not [name for name in imports(path) if name.startswith("lamina.gateways")]
    text = path.read_text()
    tree = ast.parse(text)
    calls = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for forbidden in ("os.environ", "os.getenv", "datetime.now", "datetime.utcnow", "date.today", "time.time"):
        assert forbidden not in calls, f"{short(path)} uses {forbidden}"


@pytest.mark.parametrize("path", GATEWAYS, ids=short)
def test_gateways_get_their_clients_and_read_no_environment(path: Path) -> None:
    calls = {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert "boto3.client" not in calls
    assert "os.environ" not in calls


@pytest.mark.parametrize("path", [*DOMAIN, *GATEWAYS, *HANDLERS, *BUILDER], ids=short)
def test_production_code_knows_no_stand_in_and_no_other_handler(path: Path) -> None:
    assert not named(imports(path, at_runtime=False), (*STAND_INS, "functions", "app"))


@pytest.mark.parametrize("path", LOCAL, ids=short)
def test_the_stand_in_runs_handlers_and_never_imports_them(path: Path) -> None:
    assert not named(imports(path, at_runtime=False), ("functions", "app", "tests"))


@pytest.mark.parametrize("path", LOCAL, ids=short)
def test_what_stands_in_for_aws_knows_nothing_of_lamina_and_check_nothing_of_the_stand_in(path: Path) -> None:
    if path.name not in CHECK:
        assert not named(imports(path, at_runtime=False), ("lamina",))
        return
    assert not named(imports(path, at_runtime=False), (*AWS, "moto"))
    own = [name for name in imports(path, at_runtime=False) if name.startswith("local")]
    assert {f"{name.removeprefix('local.')}.py" for name in own} <= CHECK


def test_there_is_something_to_look_at() -> None:
    assert len(DOMAIN) > 20
    assert len(GATEWAYS) > 8
    assert len(HANDLERS) > 12
    assert len(LOCAL) > 20
