"""Publish: a built layer becomes a layer version, once, however often the step is tried."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamina import digest
from lamina.bundle import Manifest
from lamina.definition import Definition
from lamina.errors import BuildRefused, SigningFailed
from lamina.explain import Explanation
from lamina.model import Coverage, LayerVersion, Model, ObjectKey, Reason, Release, Variant

if TYPE_CHECKING:
    from lamina.gateways.layers import LayerVersions
    from lamina.gateways.registry import Layers
    from lamina.gateways.signer import Signer
    from lamina.gateways.store import Store


class PublishEvent(Model):
    """What the update state machine hands to Publish.

    Attributes:
        path: the build's output.
        build_log: where its log is.
        coverage: which functions the release is for; None for those of the variant alone.
    """

    run: str
    variant: Variant
    path: str
    build_log: str = ""
    lock: ObjectKey
    node_lock: ObjectKey | None = None
    explanation: ObjectKey
    summary: str = ""
    coverage: Coverage | None = None
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
    signer: Signer


@dataclass(frozen=True)
class _Zip:
    """What Lambda is given; `sha256` in hex, `job` the one that signed it if one did."""

    key: ObjectKey
    sha256: str
    job: str = ""


def run(event: PublishEvent, definition: Definition, reach: Gateways) -> Published:
    """Publish the build, share it and record the release, unless the promoted release has the same contents.

    Raises:
        BuildRefused: the build left no output, or Lambda holds other bytes than the build promised.
        SigningFailed: the definition names a signing profile, and AWS Signer did not sign with it.
    """
    name, profile = event.variant.variant, definition.tables.layer.signing_profile
    artifact, manifest_key = f"{event.path}/layer.zip", f"{event.path}/manifest.json"
    manifest = Manifest.model_validate(_read(reach.store, manifest_key, name))
    explanation = Explanation.model_validate(_read(reach.store, event.explanation, name))
    promoted = reach.layers.promoted(name)
    if (
        promoted is not None
        and (promoted.digest, promoted.signing_profile) == (manifest.digest, profile)
        and not event.force
    ):
        if promoted.sources != explanation.sources:
            # Files or options changed without changing the layer. Noted, so that the next check does not ask again.
            reach.layers.record(promoted.model_copy(update={"sources": explanation.sources}))
        same = LayerVersion(version=promoted.version, arn=promoted.arn, digest=promoted.digest)
        return Published(candidate=same, unchanged=True)
    coverage = _coverage(event, manifest)
    zipped = _signed(event, profile, manifest, reach) if profile else _Zip(artifact, manifest.sha256)
    candidate = _publish_once(event, definition, manifest.digest, zipped, coverage, promoted, reach)
    share = definition.tables.share
    reach.versions.share(name, candidate.version, share.accounts, share.organization)
    if reach.layers.release(name, candidate.version) is None:
        release = Release(
            variant=name,
            version=candidate.version,
            arn=candidate.arn,
            digest=candidate.digest,
            runtimes=coverage.runtimes,
            architectures=coverage.architectures,
            shared_by=coverage.shared_by,
            replaces=coverage.replaces,
            sources=explanation.sources,
            signing_profile=profile,
            signing_job=zipped.job,
            signed=zipped.key if profile else None,
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


def _coverage(event: PublishEvent, manifest: Manifest) -> Coverage:
    """Which functions the release is for: those of the variant alone where the build turned out not to be pure."""
    alone = Coverage(runtimes=(event.variant.runtime,), architectures=(event.variant.architecture,))
    if event.coverage is None:
        return alone
    if event.coverage.shared_by and not manifest.pure:
        return alone.model_copy(update={"replaces": event.coverage.replaces})
    return event.coverage


def _signed(event: PublishEvent, profile: str, manifest: Manifest, reach: Gateways) -> _Zip:
    """The signed zip. A step that is tried again gets the one that it had signed before."""
    name, key = event.variant.variant, f"{event.path}/layer.zip"
    if reach.store.sha256(key) != manifest.sha256:
        raise BuildRefused(
            f"{name}: {key} does not hold the bytes that the build promised; it was not signed, and nothing was "
            "published. Start the update again"
        )
    version = reach.store.version(key)
    if version is None:
        raise SigningFailed(
            f"{name}: AWS Signer signs versions of objects, and the bucket {reach.store.bucket} keeps none; nothing "
            "was published. Switch on its versioning, as the template does, then start the update again"
        )
    signed = reach.signer.sign(
        profile,
        bucket=reach.store.bucket,
        key=key,
        version=version,
        prefix=f"{event.path}/signed/",
        token=digest.token(event.run, name, profile, manifest.digest),
    )
    return _Zip(signed.key, reach.store.sha256(signed.key), signed.job)


def _publish_once(
    event: PublishEvent,
    definition: Definition,
    contents: str,
    zipped: _Zip,
    coverage: Coverage,
    promoted: Release | None,
    reach: Gateways,
) -> LayerVersion:
    """The version that this run publishes: found if an earlier attempt made it, made otherwise."""
    name, mark = event.variant.variant, digest.mark(contents, event.run)
    published = next((row for row in reach.versions.versions(name) if row.description.endswith(mark)), None)
    if published is None:
        published = reach.versions.publish(
            name,
            bucket=reach.store.bucket,
            key=zipped.key,
            description=digest.describe(_story(event.summary, promoted), contents, event.run),
            runtimes=coverage.runtimes,
            architectures=coverage.architectures,
            license_info=definition.tables.layer.license,
        )
    expected, found = digest.code_sha256(zipped.sha256), reach.versions.code_sha256(name, published.version)
    if found != expected:
        source = "what was signed is" if zipped.job else "the build promised"
        raise BuildRefused(
            f"{name}: version {published.version} holds other bytes (CodeSha256 {found}) than {source} "
            f"({expected}); it was not released and is attached nowhere. Start the update again"
        )
    return LayerVersion(version=published.version, arn=published.arn, digest=contents)


def _story(summary: str, promoted: Release | None) -> str:
    return summary if promoted is None else f"since version {promoted.version}: {summary}"


def _read(store: Store, key: ObjectKey, variant: str) -> object:
    value = store.read_json(key)
    if value is None:
        raise BuildRefused(f"{variant}: {key} is missing from the artifacts bucket; start the update again")
    return value
