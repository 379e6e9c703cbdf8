"""Whether anything refers to a folder of tests, without running any of it."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from builder.tree import files_below

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_SCRIPTS = frozenset({".js", ".cjs", ".mjs"})


def mentioned_in_python(root: Path, names: frozenset[str]) -> Callable[[Path], bool]:
    """Says of a folder below `root` whether a module outside of all folders with these names imports it."""
    # Most files are seen to import nothing of the kind without being parsed.
    either = "|".join(sorted(names)).encode()
    anywhere = re.compile(rb"(?:" + either + rb")\b")
    word = re.compile(rb"(?:\.|\bimport\b[^#\n]*\b|^\s+)(?:" + either + rb")\b", re.MULTILINE)
    used: set[str] = set()
    for name in files_below(root):
        if not name.endswith(".py") or not names.isdisjoint((parts := tuple(name.split("/")))[:-1]):
            continue
        body = (root / name).read_bytes()
        if anywhere.search(body) and word.search(body):
            used.update(_imports(body, parts))

    def mentioned(folder: Path) -> bool:
        module = ".".join(folder.relative_to(root).parts)
        return any(name == module or name.startswith(f"{module}.") for name in used)

    return mentioned


def mentioned_in_javascript(root: Path, names: frozenset[str]) -> Callable[[Path], bool]:
    """Says of a folder below `root` whether its package refers to a path that leads into it, outside of such folders.

    That is a text such as `'../test/helper'`, or an entry point in package.json.
    """

    def mentioned(folder: Path) -> bool:
        owner = next(parent for parent in folder.parents if (parent / "package.json").is_file() or parent == root)
        path = re.compile(rb"[\"'`][^\"'`\n]*/" + re.escape(folder.name).encode() + rb"(?:/[^\"'`\n]*)?[\"'`]")
        if any(folder.name in text.split("/") for text in _entry_points(owner / "package.json")):
            return True
        return any(
            path.search(other.read_bytes())
            for other in owner.rglob("*")
            if other.suffix in _SCRIPTS and other.is_file() and names.isdisjoint(other.relative_to(owner).parts[:-1])
        )

    return mentioned


def _entry_points(manifest: Path) -> Iterator[str]:
    """All paths that a package.json offers to others."""
    package = json.loads(manifest.read_text(encoding="utf-8-sig")) if manifest.is_file() else {}
    pending = [package.get(key) for key in ("main", "module", "browser", "bin", "exports", "imports")]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            pending.extend(value.values() if isinstance(value, dict) else value)


def _imports(body: bytes, parts: tuple[str, ...]) -> Iterator[str]:
    """Full names of all modules, and of what is taken from them, that a file imports or names in a text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(body)
    except (SyntaxError, ValueError):
        return
    package = parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *((node.module,) if node.module else ())))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            yield node.value
