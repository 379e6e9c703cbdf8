"""Locks: the exact, hashed set of packages of a variant, as the text that an installer takes.

::

    requests==2.32.3 \\
        --hash=sha256:70761cfe03c773ceb22aa2f671b4757976145175cdfca038c02654d061d6dcc6
        # uploaded 2024-05-29T15:37:47Z

The comment is the moment from which the pinned files were there, so that a later resolution knows a pin's age.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from packaging.utils import canonicalize_name

from lamina.model import Change

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)\s*\\?$")
_HASH = re.compile(r"^--hash=(sha256:[0-9a-f]{64})\s*\\?$")
_UPLOADED = re.compile(r"^# uploaded (\S+)$")


@dataclass(frozen=True)
class Pin:
    """One package at one version.

    Attributes:
        name: normalized.
        hashes: `sha256:<hex>` of each file that may be installed, sorted.
        uploaded: when the last of these files was uploaded (aware UTC); None where the index does not say.
    """

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    uploaded: datetime | None = None


@dataclass(frozen=True)
class Lock:
    """All packages of a variant, by normalized name, in order of their names."""

    pins: Mapping[str, Pin]

    @classmethod
    def of(cls, pins: Iterable[Pin]) -> Lock:
        """A lock of these pins."""
        return cls({pin.name: pin for pin in sorted(pins, key=lambda pin: pin.name)})

    @property
    def packages(self) -> dict[str, str]:
        """Package to version."""
        return {name: pin.version for name, pin in self.pins.items()}

    def render(self) -> str:
        """The lock as requirements with hashes, the same text for the same pins."""
        return "".join(_render(pin) for pin in self.pins.values())


def parse_lock(text: str) -> Lock:
    """Read a rendered lock; annotations of other tools are ignored.

    Raises:
        ValueError: a line is neither a pin, nor a hash, nor a comment.
    """
    pins: list[Pin] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if match := _PIN.match(line):
            pins.append(Pin(canonicalize_name(match[1]), match[2]))
        elif pins and (match := _HASH.match(line)):
            last = pins[-1]
            pins[-1] = Pin(last.name, last.version, (*last.hashes, match[1]), last.uploaded)
        elif pins and (match := _UPLOADED.match(line)):
            last = pins[-1]
            pins[-1] = Pin(last.name, last.version, last.hashes, datetime.fromisoformat(match[1]))
        elif line and not line.startswith("#"):
            raise ValueError(f"line {number} of the lock is not a pin with hashes: {line!r}")
    return Lock.of(pins)


def from_pylock(text: str) -> Lock:
    """The lock in a resolver's `pylock.toml` (PEP 751), without its URLs: an index is a matter of configuration.

    Raises:
        ValueError: a package has no version or no file with a SHA-256 hash.
    """
    return Lock.of(_from_pylock(package) for package in tomllib.loads(text).get("packages", ()))


def diff(old: Mapping[str, str], new: Mapping[str, str], direct: Collection[str] = ()) -> tuple[Change, ...]:
    """What moves between two sets of packages, by name.

    Args:
        old: package to version before; empty for a first release.
        new: package to version after.
        direct: packages that the definition itself requires.
    """
    return tuple(
        Change(package=name, from_=old.get(name), to=new.get(name), direct=name in direct)
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def _render(pin: Pin) -> str:
    lines = [f"{pin.name}=={pin.version}", *(f"    --hash={value}" for value in pin.hashes)]
    uploaded = "" if pin.uploaded is None else f"    # uploaded {pin.uploaded:%Y-%m-%dT%H:%M:%SZ}\n"
    return " \\\n".join(lines) + "\n" + uploaded


def _from_pylock(package: Mapping[str, Any]) -> Pin:
    name, version = canonicalize_name(package["name"]), package.get("version")
    files = list(_files(package))
    hashes = sorted({f"sha256:{file['hashes']['sha256']}" for file in files if "sha256" in file.get("hashes", {})})
    if version is None or not hashes:
        raise ValueError(f"the resolver gave no exact version with a SHA-256 hash for {name}")
    moments = [file["upload-time"] for file in files if "upload-time" in file]
    return Pin(name, version, tuple(hashes), max(moments).astimezone(UTC) if moments else None)


def _files(package: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from package.get("wheels", ())
    if "sdist" in package:
        yield package["sdist"]
