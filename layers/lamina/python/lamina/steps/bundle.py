"""Bundle: everything that a build needs, packed for it, and the machine that it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamina.bundle import build_settings, machine, pack, sources
from lamina.definition import Definition
from lamina.errors import BuildRefused
from lamina.model import Model, ObjectKey, Variant
from lamina.steps.fetching import OwnIndexes, fetch_own

if TYPE_CHECKING:
    from lamina.gateways.store import Store


class BundleEvent(Model):
    """What the update state machine hands to Bundle. `lock` is of the Python packages, `node_lock` of npm's, if any."""

    run: str
    variant: Variant
    lock: ObjectKey
    node_lock: ObjectKey | None = None
    as_of: datetime


class Bundled(Model):
    """How to start the build: CodeBuild's source location (`bucket/key`), artifact path and environment."""

    source: str
    bucket: str
    path: str
    image: str
    environment_type: str
    compute_type: str


@dataclass(frozen=True)
class Gateways:
    """What Bundle reaches."""

    store: Store
    own: OwnIndexes


def run(event: BundleEvent, definition: Definition, builder: Mapping[str, bytes], reach: Gateways) -> Bundled:
    """Pack and store the source bundle; the same inputs give the same object.

    Args:
        builder: the builder's files by name.

    Raises:
        BuildRefused: a lock is gone, or missing; or a locked package of the definition's own index is.
        DefinitionRefused: the definition has no runtime for its packages, or names credentials that it may not have.
        IndexUnavailable: the definition's own index could not be asked.
    """
    name = event.variant.variant
    settings = build_settings(definition, event.variant)
    lock = _read(event.lock, name, reach.store)
    node_lock = None if event.node_lock is None else _read(event.node_lock, name, reach.store)
    folder = f"builds/{name}/{event.run}"
    files = sources(definition, event.variant, lock, node_lock)
    files |= fetch_own(definition, event.variant, lock, node_lock, reach.own)
    body = pack(builder, settings, files)
    key = reach.store.write(f"{folder}/source.zip", body, "application/zip")
    where = machine(definition, event.variant)
    return Bundled(
        source=f"{reach.store.bucket}/{key}",
        bucket=reach.store.bucket,
        path=f"{folder}/output",
        image=where.image,
        environment_type=where.environment_type,
        compute_type=where.compute_type,
    )


def _read(lock: ObjectKey, name: str, store: Store) -> str:
    text = store.read_text(lock)
    if text is None:
        raise BuildRefused(f"{name}: the lock {lock} is gone from the artifacts bucket; start the update again")
    return text
