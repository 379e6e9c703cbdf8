"""Which modules a function's code imports, read from its code package without running any of it.

Python is parsed; JavaScript is searched for `require("…")`, `import … from "…"` and `import("…")` with plain strings,
which also finds some in comments: a name too many costs one import that is tried. What code computes is not found, so
the answer is what functions use at least. A code package is strangers' work: sizes are bounded, and files that cannot
be read or parsed are skipped.
"""

from __future__ import annotations

import ast
import io
import lzma
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lamina.model import FunctionName

READER = 1
"""Raised whenever the same package is read in another way, so that nothing older counts as its answer."""

MOST_FILES = 5_000
LARGEST_FILE = 1_000_000
LARGEST_SUM = 50_000_000
"""Bytes, unzipped: larger files are skipped, and nothing is read beyond the sum."""

MOST_MODULES = 20_000

_JAVASCRIPT = re.compile(
    r"""(?:\brequire(?:\.resolve)?\s*\(\s*|\bimport\s*\(\s*|\bfrom\s*|\bimport\s*)
        (?P<quote>["'])(?P<name>[@\w][^"'\\\s]{0,200})(?P=quote)""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Used:
    """What each function imports, and by name why that is not known of the others."""

    by_function: Mapping[FunctionName, frozenset[str]] = field(default_factory=dict)
    unread: Mapping[FunctionName, str] = field(default_factory=dict)

    @property
    def modules(self) -> frozenset[str]:
        """What any of them imports."""
        return frozenset().union(*self.by_function.values())

    @property
    def functions(self) -> int:
        """How many functions were read."""
        return len(self.by_function)

    @property
    def unknown(self) -> str:
        """What is not known, in words; empty where everything is."""
        if not self.unread:
            return ""
        name, why = next(iter(self.unread.items()))
        rest = f" and {len(self.unread) - 1} more" if len(self.unread) > 1 else ""
        return f"what {name}{rest} import{'' if rest else 's'} is unknown ({why})"


def imported_modules(package: bytes) -> frozenset[str]:
    """The modules that the Python and JavaScript files of a code package import.

    Python: absolute names with all above them, so that `from a.b import c` gives `a`, `a.b` and `a.b.c`, where the last
    may be a module or something in one.
    JavaScript: as written, without `node:`, without paths: `@scope/name/part`.

    Args:
        package: a zip. Anything else has no modules.
    """
    found: set[str] = set()
    for name, text in _sources(package):
        found.update(_python(text) if name.endswith(".py") else _javascript(text))
        if len(found) > MOST_MODULES:
            break
    return frozenset(sorted(found)[:MOST_MODULES])


def _sources(package: bytes) -> Iterator[tuple[str, str]]:
    left = LARGEST_SUM
    try:
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            entries = [
                entry
                for entry in archive.infolist()
                if PurePosixPath(entry.filename).suffix in (".py", ".js", ".mjs", ".cjs")
                and entry.file_size <= LARGEST_FILE
            ]
            # What lies deeper is mostly a package that the function brings along itself.
            entries.sort(key=lambda entry: (entry.filename.count("/"), entry.filename))
            for entry in entries[:MOST_FILES]:
                left -= entry.file_size
                if left < 0:
                    return
                try:
                    with archive.open(entry) as file:
                        # A header may understate the size.
                        body = file.read(LARGEST_FILE + 1)
                except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, RuntimeError, ValueError, EOFError):
                    continue
                if len(body) <= LARGEST_FILE:
                    yield entry.filename, body.decode("utf-8", errors="replace")
    except (zipfile.BadZipFile, OSError, ValueError):
        return


def _python(text: str) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from _with_parents(node.module)
            # Whether a name is a module or something in one is for the probe to find out.
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and node.args and _is_import(node.func):
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                name = first.value
                if name and all(part.isidentifier() for part in name.split(".")):
                    yield from _with_parents(name)


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _is_import(function: ast.expr) -> bool:
    """`__import__(…)`, `import_module(…)` and `importlib.import_module(…)`."""
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("__import__", "import_module")


def _javascript(text: str) -> Iterator[str]:
    for match in _JAVASCRIPT.finditer(text):
        if not match["name"].startswith("node:"):
            yield match["name"]
