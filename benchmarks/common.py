"""What the benchmarks share: requirement sets as definitions, and a warm way to resolve them."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from lamina.definition import Definition, parse_definition, variants
from lamina.gateways.index import Index, find_uv
from lamina.gateways.listings import Listings, default_index
from lamina.model import Variant
from lamina.steps.resolve_python import PythonGateways

HERE = Path(__file__).parent
RUNTIME = f"python3.{sys.version_info.minor}"


def requirement_sets() -> dict[str, list[str]]:
    """Requirement lines by the set's name, in the file's order."""
    return tomllib.loads((HERE / "requirements.toml").read_text())


def definition(name: str, requirements: list[str], update: str = "", runtime: str = RUNTIME) -> Definition:
    """A definition with one variant, for x86_64."""
    toml = (
        f'[layer]\nowner = "benchmarks"\nruntimes = ["{runtime}"]\narchitectures = ["x86_64"]\n'
        f'[python]\nrequirements = "requirements.in"\n[update]\n{update}\n'
    )
    return parse_definition(name, {"layer.toml": toml.encode(), "requirements.in": "\n".join(requirements).encode()})


def only_variant(wanted: Definition) -> Variant:
    """The definition's one variant."""
    (variant,) = variants(wanted)
    return variant


@contextmanager
def python_gateways() -> Iterator[PythonGateways]:
    """The real index, with caches of its own that are warm from the second resolution on, as in a warm Lambda."""
    with TemporaryDirectory(prefix="lamina-benchmark-") as work:
        folder = Path(work)
        uv = find_uv(folder)
        index = Index(uv, sys.executable, folder, os.environ)
        listings = Listings(lambda: default_index(uv, sys.executable, folder, os.environ), folder)
        yield PythonGateways(index=index, listings=listings)


def midnight(date: str) -> datetime:
    """The beginning of a day in UTC."""
    return datetime.fromisoformat(date).replace(tzinfo=UTC)


def show(title: str, columns: list[str], rows: list[list[object]]) -> None:
    """A table for people, on standard error, so that standard output stays JSON."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(stderr=True, width=None if sys.stderr.isatty() else 110).print(table)


def emit(result: object) -> None:
    """The figures, on standard output."""
    json.dump(result, sys.stdout, indent=1, default=str)
    print()
