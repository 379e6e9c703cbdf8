"""Bundle: everything that a build needs, packed for it, and the machine that it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamina.bundle import build_settings, machine, pack
from lamina.definition import Definition
from lamina.errors import BuildRefused
from lamina.model import Model, ObjectKey, Variant

if TYPE_CHECKING:
    from lamina.gateways.store import Store


class BundleEvent(Model):
    """What the update state machine hands to Bundle."""

    run: str
    variant: Variant
    lock: ObjectKey
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


def run(event: BundleEvent, definition: Definition, builder: Mapping[str, bytes], reach: Gateways) -> Bundled:
    """Pack and store the source bundle; the same inputs give the same object.

    Args:
        builder: the builder's files by name.

    Raises:
        BuildRefused: the lock is gone.
        DefinitionRefused: the variant has a source that this version of Lamina cannot build.
    """
    name = event.variant.variant
    lock = reach.store.read_text(event.lock)
    if lock is None:
        raise BuildRefused(f"{name}: the lock {event.lock} is gone from the artifacts bucket; start the update again")
    folder = f"builds/{name}/{event.run}"
    body = pack(builder, lock, build_settings(definition, event.variant))
    key = reach.store.write(f"{folder}/source.zip", body, "application/zip")
    where = machine(event.variant)
    return Bundled(
        source=f"{reach.store.bucket}/{key}",
        bucket=reach.store.bucket,
        path=f"{folder}/output",
        image=where.image,
        environment_type=where.environment_type,
        compute_type=where.compute_type,
    )
