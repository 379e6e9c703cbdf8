"""npm's `package-lock.json` as a lock: what it pins, where each copy lies, and which package needs which.

npm keeps several versions of one package side by side, each in the `node_modules` of what needs it. A pin's name is
that place: `qs` for the copy at the top, `express/node_modules/qs` for one that only express sees. A copy under
another name (`npm:` in its dependent's range) is called `string-width-cjs@npm:string-width`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from lamina.lock import Lock, Pin
from lamina.versions import valid

_TOP = "node_modules/"
_CPU = {"x86_64": "x64", "arm64": "arm64"}
_OLDEST_LOCKFILE = 2
_DROPPED = ("resolved", "deprecated", "funding", "engines", "dev", "devOptional")
"""What says nothing of the contents, or changes without them: left out, so that the same packages are the same text."""


@dataclass(frozen=True)
class NodeLock(Lock):
    """A lock of npm packages; `document` is the whole package-lock.json, for every platform."""

    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def render(self) -> str:
        """The package-lock.json, the same text for the same contents."""
        return json.dumps(self.document, indent=2, ensure_ascii=False) + "\n"

    def on(self, architecture: str) -> NodeLock:
        """The same lock with only those pins that are for Lambda on an architecture (`x86_64`, `arm64`)."""
        return _pinned(self.document, architecture)

    @property
    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        """Place (`node_modules/qs`, or empty for the layer itself) to entry, for every platform."""
        found: Mapping[str, Mapping[str, Any]] = self.document["packages"]
        return found


def parse_npm_lock(text: str, architecture: str | None = None, root: Mapping[str, Any] | None = None) -> NodeLock:
    """Read a package-lock.json.

    Args:
        architecture: of the layer (`x86_64`, `arm64`): packages for other platforms than Lambda's are not among the
            pins then. None for all of them.
        root: what to say of the layer itself, instead of what is written there.

    Raises:
        ValueError: it is not such a file, or it holds something other than exact, hashed packages of a registry.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not isinstance(document, dict) or not isinstance(document.get("packages"), dict):
        raise ValueError("it is not a package-lock.json of npm 7 or later; make one with npm install")
    if document.get("lockfileVersion", 0) < _OLDEST_LOCKFILE:
        raise ValueError(f"its lockfileVersion is older than {_OLDEST_LOCKFILE}; make a new one with npm install")
    entries: dict[str, dict[str, Any]] = {}
    for path, entry in sorted(document["packages"].items()):
        if path == "":
            entries[path] = dict(root) if root is not None else _without_dev(entry)
        elif not entry.get("dev"):
            _must_be_exact(path, entry)
            entries[path] = {key: value for key, value in entry.items() if key not in _DROPPED}
    head = entries.setdefault("", dict(root or {}))
    named = {"name": head["name"]} if "name" in head else {}
    whole = {**named, "lockfileVersion": 3, "requires": True, "packages": entries}
    return _pinned(whole, architecture)


def with_uploads(lock: NodeLock, uploads: Mapping[str, Mapping[str, datetime]]) -> NodeLock:
    """The lock with the moments at which its versions came; unknown where nobody says.

    Args:
        uploads: package to version to moment.
    """
    pins = {
        key: replace(pin, uploaded=uploads.get(package_of(key), {}).get(pin.version)) for key, pin in lock.pins.items()
    }
    return NodeLock(pins, lock.document)


def package_of(pin: str) -> str:
    """The package's name in the registry, of a pin's name."""
    return pin.rpartition("@npm:")[2] if "@npm:" in pin else pin.rpartition("/node_modules/")[2]


def places_of(lock: NodeLock, packages: Collection[str] | None = None) -> set[str]:
    """What npm calls the places that packages are in, their own names mostly; None for all packages."""
    return {
        path.rpartition(_TOP)[2]
        for path, entry in lock.entries.items()
        if path and (packages is None or package_of(pin_name(path, entry)) in packages)
    }


def versions_of(lock: Lock | None) -> dict[str, frozenset[str]]:
    """Package to all its versions in a lock."""
    found: dict[str, frozenset[str]] = {}
    for key, pin in (lock.pins if lock else {}).items():
        name = package_of(key)
        found[name] = found.get(name, frozenset()) | {pin.version}
    return found


def pin_name(path: str, entry: Mapping[str, Any]) -> str:
    """What the copy at a place is called as a pin."""
    plain = path.removeprefix(_TOP)
    own = plain.rpartition("/node_modules/")[2]
    return plain if entry.get("name", own) == own else f"{plain}@npm:{entry['name']}"


def needs(entry: Mapping[str, Any]) -> dict[str, str]:
    """What a package needs, by name, with the range: peers and optional ones too."""
    tables = [entry.get(key) for key in ("peerDependencies", "optionalDependencies", "dependencies")]
    # Registries pass on what authors wrote, lists and numbers included; npm makes nothing of these either.
    return {
        name: wanted
        for table in tables
        if isinstance(table, dict)
        for name, wanted in table.items()
        if isinstance(wanted, str)
    }


def located(entries: Mapping[str, Any], path: str, name: str) -> str | None:
    """Where the package at `path` finds `name`: in its own node_modules, or in those around it."""
    while True:
        place = f"{path}/{_TOP}{name}" if path else f"{_TOP}{name}"
        if place in entries:
            return place
        if not path:
            return None
        path = path[: path.rindex(_TOP)].rstrip("/")


def reached(entries: Mapping[str, Mapping[str, Any]], architecture: str | None = None) -> Iterator[str]:
    """The places that the layer itself and what it needs lead to, without what is for other platforms."""
    seen, queue = {""}, deque([""])
    while queue:
        path = queue.popleft()
        yield path
        for name in needs(entries[path]):
            place = located(entries, path, name)
            if place is not None and place not in seen and _fits(entries[place], architecture):
                seen.add(place)
                queue.append(place)


def _pinned(document: Mapping[str, Any], architecture: str | None) -> NodeLock:
    entries = document["packages"]
    pins = [_pin(path, entries[path]) for path in reached(entries, architecture) if path]
    return NodeLock({pin.name: pin for pin in sorted(pins, key=lambda pin: pin.name)}, document)


def _pin(path: str, entry: Mapping[str, Any]) -> Pin:
    integrity = entry.get("integrity")
    return Pin(pin_name(path, entry), entry["version"], tuple(integrity.split()) if integrity else ())


def _fits(entry: Mapping[str, Any], architecture: str | None) -> bool:
    if architecture is None:
        return True
    here = {"os": "linux", "cpu": _CPU[architecture], "libc": "glibc"}
    return all(_allows(entry.get(key, ()), value) for key, value in here.items())


def _allows(listed: str | list[str], value: str) -> bool:
    names = [listed] if isinstance(listed, str) else listed
    wanted = [name for name in names if not name.startswith("!")]
    return f"!{value}" not in names and (not wanted or value in wanted or "any" in wanted)


def _without_dev(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("devDependencies", "license")}


def _must_be_exact(path: str, entry: Mapping[str, Any]) -> None:
    name = path.removeprefix(_TOP)
    if entry.get("link") or not path.startswith(_TOP):
        raise ValueError(f"{name} is a folder of that project, which a layer cannot take along")
    version, resolved = entry.get("version"), entry.get("resolved", "")
    if not isinstance(version, str) or not valid("npm", version):
        raise ValueError(f"{name} has no exact version")
    if resolved.startswith(("git", "file:")) or (not entry.get("integrity") and not entry.get("inBundle")):
        raise ValueError(f"{name} {version} is not from a registry, or has no hash")
