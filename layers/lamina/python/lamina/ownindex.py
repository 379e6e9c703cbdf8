"""What a source bundle takes along from an index of the definition's own, since builds have no credentials.

That is every locked package that belongs there: a build installs these from the bundle and all others from the default
index, so that it never asks anybody for a private name.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from lamina.listing import File
from lamina.lock import Lock, Pin
from lamina.npmlock import NodeLock, package_of
from lamina.origin import belongs, own
from lamina.resolution import Access
from lamina.runtimes import Target
from lamina.wheels import target_tags

MOST_BYTES = 200_000_000
"""Bytes that these packages may have together. They are held in memory; a layer that any function could attach is
smaller than that when it is packed."""

_ALGORITHMS = ("sha512", "sha384", "sha256", "sha1")
"""What npm's integrities are made with, the strongest first."""


def own_pins(lock: Lock, access: Access) -> tuple[Pin, ...]:
    """The Python packages of a lock that belong to the definition's own index."""
    return tuple(pin for pin in lock.pins.values() if own(access, pin.name))


def own_node_pins(lock: NodeLock, access: Access) -> tuple[Pin, ...]:
    """The npm packages of a lock that belong to the definition's own registry, under their names there, each once.

    What lies in another package's archive has no hash, and comes with that.
    """
    pins = (Pin(package_of(key), pin.version, pin.hashes) for key, pin in lock.pins.items() if pin.hashes)
    return tuple(dict.fromkeys(pin for pin in pins if belongs(pin.name, access)))


def fitting(files: Iterable[File], pin: Pin, target: Target) -> tuple[File, ...]:
    """The wheels among an index's files that the lock may mean and that run on the target.

    Of a file whose hash the index does not tell, only its contents will.
    """
    tags, wanted = target_tags(target), Version(pin.version)
    found = []
    for file in files:
        try:
            _, version, _, named = parse_wheel_filename(file.name)
        except InvalidWheelFilename:
            continue
        told = not file.sha256 or f"sha256:{file.sha256}" in pin.hashes
        if version == wanted and told and not tags.isdisjoint(named) and not {"/", "\\"} & set(file.name):
            found.append(file)
    return tuple(dict.fromkeys(found))


def intact(body: bytes, hashes: Sequence[str]) -> bool:
    """Whether a file is the locked one.

    Args:
        hashes: of the lock, `sha256:<hex>` for each file that may be installed, or npm's integrities
            (`sha512-<base64>`), of which only the strongest kind counts.
    """
    if any(stated.startswith("sha256:") for stated in hashes):
        return f"sha256:{hashlib.sha256(body).hexdigest()}" in hashes
    for algorithm in _ALGORITHMS:
        stated = [value.partition("?")[0] for value in hashes if value.startswith(f"{algorithm}-")]
        if stated:
            digest = base64.b64encode(hashlib.new(algorithm, body, usedforsecurity=False).digest()).decode()
            return f"{algorithm}-{digest}" in stated
    return False
