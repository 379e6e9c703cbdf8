"""Leaves out what a function never reads: the rules are in prune.toml, this carries them out.

Two things are more than patterns. Tests stay if anything outside of them refers to them, and of native code that
packages ship for several platforms only Lambda's stays.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.mentions import mentioned_in_javascript, mentioned_in_python
from builder.settings import Settings
from builder.tree import files_below

RULES = Path(__file__).with_name("prune.toml")
OTHER_PLATFORMS = "other platforms"
_EXTENSION = re.compile(r"(?P<stem>.+)\.cpython-(?P<tag>\d+[a-z]*)-(?P<platform>.+)\.so")


@dataclass(frozen=True)
class Rule:
    """One rule; see prune.toml."""

    reason: str
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    unless_used: bool = False


@dataclass
class Removed:
    """How much a reason took."""

    files: int = 0
    bytes: int = 0


def read_rules(place: str, *, everything: bool) -> list[Rule]:
    """The rules for `python` or `nodejs`; without `everything` only those that always hold."""
    return [
        Rule(rule["reason"], tuple(rule.get("folders", ())), tuple(rule.get("files", ())),
             rule.get("unless-used", False))
        for rule in tomllib.loads(RULES.read_text())["rule"]
        if rule["in"] == place and (everything or rule.get("always", False))
    ]  # fmt: skip


def prune(root: Path, settings: Settings) -> dict[str, Removed]:
    """Prune what was installed; how much each reason took.

    Args:
        root: the layer, which holds packages alone as yet.
    """
    removed: dict[str, Removed] = {}
    for place, folder, mentioned in (
        ("python", root / "python", mentioned_in_python),
        ("nodejs", root / "nodejs" / "node_modules", mentioned_in_javascript),
    ):
        if not folder.is_dir():
            continue
        for path in list(_other_platforms(folder, settings)):
            _remove(path, removed.setdefault(OTHER_PLATFORMS, Removed()))
        names = files_below(folder)
        for rule in read_rules(place, everything=settings.prune):
            names = _apply(rule, folder, names, mentioned, removed.setdefault(rule.reason, Removed()))
    return {reason: total for reason, total in sorted(removed.items()) if total.files}


def _apply(
    rule: Rule,
    folder: Path,
    names: list[str],
    mentioned: Callable[[Path, frozenset[str]], Callable[[Path], bool]],
    total: Removed,
) -> list[str]:
    """Carry out one rule on the files `names`; those that are left."""
    gone: tuple[str, ...] = ()
    if rule.folders:
        wanted = _pattern(rule.folders)
        found = [name for name in _folders_of(names) if wanted.search(f"/{name}")]
        if rule.unless_used and found:
            is_mentioned = mentioned(folder, frozenset(rule.folders))
            found = [name for name in found if not is_mentioned(folder / name)]
        for name in found:
            # One inside another is gone with it.
            if not name.startswith(gone):
                _remove(folder / name, total)
                gone = (*gone, f"{name}/")
    left = [name for name in names if not name.startswith(gone)] if gone else names
    if rule.files:
        wanted = _pattern(rule.files)
        out = {name for name in left if wanted.search(f"/{name}")}
        for name in sorted(out):
            _remove(folder / name, total)
        left = [name for name in left if name not in out]
    return left


def _pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Finds what patterns name, in paths that begin with "/"."""
    parts = [f"{'^' if pattern.startswith('/') else ''}/{_wild(pattern.lstrip('/'))}$" for pattern in patterns]
    return re.compile("|".join(parts))


def _wild(pattern: str) -> str:
    return "".join("[^/]*" if letter == "*" else re.escape(letter) for letter in pattern)


def _folders_of(names: list[str]) -> list[str]:
    """The folders that files are in, sorted: each before those inside of it."""
    found: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return sorted(found)


def _remove(path: Path, total: Removed) -> None:
    if path.is_dir() and not path.is_symlink():
        for name in files_below(path):
            total.files, total.bytes = total.files + 1, total.bytes + (path / name).lstat().st_size
        shutil.rmtree(path)
    else:
        total.files, total.bytes = total.files + 1, total.bytes + path.lstat().st_size
        path.unlink()


def _other_platforms(folder: Path, settings: Settings) -> Iterator[Path]:
    """Native code for other machines beside the one for this: npm's `prebuilds/`, and extensions for other Pythons."""
    if settings.nodejs is not None:
        for prebuilds in sorted(folder.rglob("prebuilds")):
            here = f"linux-{settings.nodejs.cpu}"
            yield from (path for path in sorted(prebuilds.iterdir()) if path.is_dir() and not _serves(path.name, here))
            yield from sorted(path for path in prebuilds.glob(f"{here}/*") if "musl" in path.name.split("."))
    if settings.python is not None:
        for path in sorted(folder.rglob("*.cpython-*.so")):
            match = _EXTENSION.fullmatch(path.name)
            if match and match["tag"] != settings.python.tag:
                ours = f"{match['stem']}.cpython-{settings.python.tag}-{match['platform']}.so"
                if path.with_name(ours).is_file():
                    yield path


def _serves(prebuild: str, here: str) -> bool:
    """Whether a folder of prebuilds, `linux-x64` or `darwin-x64+arm64`, is for this machine."""
    system, _, processors = prebuild.partition("-")
    wanted_system, _, wanted = here.partition("-")
    return system == wanted_system and wanted in processors.split("+")
