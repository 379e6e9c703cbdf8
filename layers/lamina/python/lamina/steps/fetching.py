"""Fetching what a definition's own indexes have of its locks, with the credentials that a build will never see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamina.definition import DEFINITION, Definition, python_target
from lamina.errors import BuildRefused
from lamina.lock import Pin, parse_lock
from lamina.model import Variant
from lamina.npmlock import parse_npm_lock
from lamina.ownindex import MOST_BYTES, fitting, intact, own_node_pins, own_pins
from lamina.resolution import Access
from lamina.runtimes import target

if TYPE_CHECKING:
    from lamina.gateways.packuments import Packuments
    from lamina.gateways.wheelhouse import Wheelhouse
    from lamina.steps.resolving import Opens


@dataclass(frozen=True)
class OwnIndexes:
    """How the indexes that definitions name are reached."""

    credentials: Opens
    wheels: Wheelhouse
    packuments: Packuments


def fetch_own(
    definition: Definition, variant: Variant, lock: str, node_lock: str | None, reach: OwnIndexes
) -> dict[str, bytes]:
    """The locked files of the definition's own indexes, by path in the bundle.

    These paths are `wheels/<file>` and `npm/<package>/<version>.tgz`.

    Args:
        lock: the Python lock's text.
        node_lock: the package-lock.json; None where there is none.

    Raises:
        BuildRefused: a locked file is gone, is another one now or is not for the variant; or all are too large.
        DefinitionRefused: the definition names credentials that it may not have.
        IndexUnavailable: an index could not be asked.
    """
    tables = definition.tables
    fetched: dict[str, bytes] = {}
    if tables.python is not None and tables.python.index is not None:
        _Python(definition, variant, reach.credentials.of(tables.python.index, variant), reach.wheels).fetch(
            lock, fetched
        )
    if tables.nodejs is not None and tables.nodejs.registry is not None and node_lock is not None:
        _Nodejs(definition, variant, reach.credentials.of(tables.nodejs.registry, variant), reach.packuments).fetch(
            node_lock, fetched
        )
    return fetched


@dataclass(frozen=True)
class _Python:
    definition: Definition
    variant: Variant
    access: Access
    wheels: Wheelhouse

    def fetch(self, lock: str, fetched: dict[str, bytes]) -> None:
        """Put the wheels to what was fetched."""
        for pin in own_pins(parse_lock(lock), self.access):
            fetched |= self._of(pin, _room(fetched, self.definition, self.variant))

    def _of(self, pin: Pin, room: int) -> dict[str, bytes]:
        name = self.variant.variant
        listed = self.wheels.files(name, pin.name, self.access)
        found: dict[str, bytes] = {}
        for file in fitting(listed, pin, target(python_target(self.definition, self.variant))):
            body = self.wheels.fetch(name, file, self.access, room - sum(map(len, found.values())))
            if body is not None and intact(body, pin.hashes):
                found[f"wheels/{file.name}"] = body
        if not found:
            sources = any(file.name.endswith((".tar.gz", ".zip")) for file in listed)
            hint = (
                "it has its sources, but what these need to be built is in no lock and builds cannot ask that index: "
                "publish a wheel there"
                if sources
                else "start the update again, which then takes what is there now"
            )
            raise BuildRefused(
                f"{name}: {self.access.url} has no wheel of {pin.name} {pin.version} with a locked hash that runs "
                f"there; nothing was built; {hint}"
            )
        return found


@dataclass(frozen=True)
class _Nodejs:
    definition: Definition
    variant: Variant
    access: Access
    packuments: Packuments

    def fetch(self, lock: str, fetched: dict[str, bytes]) -> None:
        """Put the packages to what was fetched."""
        for pin in own_node_pins(parse_npm_lock(lock, self.variant.architecture), self.access):
            fetched[f"npm/{pin.name}/{pin.version}.tgz"] = self._of(pin)
            _room(fetched, self.definition, self.variant)

    def _of(self, pin: Pin) -> bytes:
        packument = self.packuments.read(pin.name, self.access)
        dist = packument.versions.get(pin.version, {}).get("dist") if packument is not None else None
        address = dist.get("tarball") if isinstance(dist, dict) else None
        if not isinstance(address, str):
            raise BuildRefused(
                f"{self.variant.variant}: {self.access.url} has no {pin.name} {pin.version} any more, which is locked; "
                "nothing was built; start the update again, which then takes what is there now"
            )
        body = self.packuments.fetch(address, pin.name, self.access)
        if not intact(body, pin.hashes):
            raise BuildRefused(
                f"{self.variant.variant}: {self.access.url} has another {pin.name} {pin.version} than the locked one: "
                "its hash differs; nothing was built; find out who changed it"
            )
        return body


def _room(fetched: dict[str, bytes], definition: Definition, variant: Variant) -> int:
    """Bytes that there is still room for."""
    room = MOST_BYTES - sum(map(len, fetched.values()))
    if room < 0:
        raise BuildRefused(
            f"{definition.folder}/{DEFINITION}: {variant.variant}: the packages of its own index have more than the "
            f"{MOST_BYTES:,} bytes that a build takes along; split the layer"
        )
    return room
