"""Publish: a built layer becomes a layer version, once, however often the step is tried."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamina import digest
from lamina.bundle import Manifest
from lamina.definition import Definition
from lamina.errors import BuildRefused
from lamina.explain import Explanation
from lamina.model import LayerVersion, Model, ObjectKey, Reason, Release, Variant

if TYPE_CHECKING:
    from lamina.gateways.layers import LayerVersions
    from lamina.gateways.registry import Layers
    from lamina.gateways.store import Store


class PublishEvent(Model):
    """What the update state machine hands to Publish; `path` is the build's output, `build_log` where its log is."""

    run: str
    variant: Variant
    path: str
    build_log: str = ""
    lock: ObjectKey
    node_lock: ObjectKey | None = None
    explanation: ObjectKey
    summary: str = ""
    as_of: datetime
    now: datetime
    force: bool = False
    reason: Reason = Reason()


class Published(Model):
    """The version to prove and roll out; `unchanged` if the promoted release holds the same and nothing was done."""

    candidate: LayerVersion
    unchanged: bool


@dataclass(frozen=True)
class Gateways:
    """What Publish reaches."""

    versions: LayerVersions
    layers: Layers
    store: Store


def run(event: PublishEvent, definition: Definition, reach: Gateways) -> Published:
    """Publish the build, share it and record the release, unless the promoted release has the same contents.

    Raises:
        BuildRefused: the build left no output, or Lambda holds other bytes than the build promised.
    """
    name = event.variant.variant
    artifact, manifest_key = f"{event.path}/layer.zip", f"{event.path}/manifest.json"
    manifest = Manifest.model_validate(_read(reach.store, manifest_key, name))
    promoted = reach.layers.promoted(name)
    if promoted is not None and promoted.digest == manifest.digest and not event.force:
        same = LayerVersion(version=promoted.version, arn=promoted.arn, digest=promoted.digest)
        return Published(candidate=same, unchanged=True)
    explanation = Explanation.model_validate(_read(reach.store, event.explanation, name))
    candidate = _publish_once(event, definition, manifest, promoted, reach)
    share = definition.tables.share
    reach.versions.share(name, candidate.version, share.accounts, share.organization)
    if reach.layers.release(name, candidate.version) is None:
        release = Release(
            variant=name,
            version=candidate.version,
            arn=candidate.arn,
            digest=candidate.digest,
            artifact=artifact,
            manifest=manifest_key,
            sbom=f"{event.path}/sbom.json",
            build_log=event.build_log,
            lock=event.lock,
            node_lock=event.node_lock,
            explanation=event.explanation,
            packages=explanation.packages,
            node_packages=explanation.node_packages,
            changes=tuple(change.change() for change in explanation.changes),
            summary=event.summary or explanation.summary,
            reason=event.reason,
            as_of=event.as_of,
            created=event.now,
            run=event.run,
        )
        reach.layers.record(release)
    return Published(candidate=candidate, unchanged=False)


def _publish_once(
    event: PublishEvent, definition: Definition, manifest: Manifest, promoted: Release | None, reach: Gateways
) -> LayerVersion:
    """The version that this run publishes: found if an earlier attempt made it, made otherwise."""
    name, mark = event.variant.variant, digest.mark(manifest.digest, event.run)
    published = next((row for row in reach.versions.versions(name) if row.description.endswith(mark)), None)
    if published is None:
        published = reach.versions.publish(
            name,
            bucket=reach.store.bucket,
            key=f"{event.path}/layer.zip",
            description=digest.describe(_story(event.summary, promoted), manifest.digest, event.run),
            runtimes=(event.variant.runtime,),
            architectures=(event.variant.architecture,),
            license_info=definition.tables.layer.license,
        )
    expected, found = digest.code_sha256(manifest.sha256), reach.versions.code_sha256(name, published.version)
    if found != expected:
        raise BuildRefused(
            f"{name}: version {published.version} holds other bytes (CodeSha256 {found}) than the build promised "
            f"({expected}); it was not released and is attached nowhere. Start the update again"
        )
    return LayerVersion(version=published.version, arn=published.arn, digest=manifest.digest)


def _story(summary: str, promoted: Release | None) -> str:
    return summary if promoted is None else f"since version {promoted.version}: {summary}"


def _read(store: Store, key: ObjectKey, variant: str) -> object:
    value = store.read_json(key)
    if value is None:
        raise BuildRefused(f"{variant}: {key} is missing from the artifacts bucket; start the update again")
    return value
