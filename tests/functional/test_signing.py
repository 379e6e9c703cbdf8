"""Publish with a signing profile.

moto has no signing jobs: a stand-in behind the real client does what AWS Signer does, to objects in moto's S3, and
botocore itself checks every call against the service's model before the stand-in sees it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import pytest

from lamina.errors import BuildRefused, SigningFailed
from lamina.gateways.registry import Layers, Table
from lamina.gateways.signer import Signer
from lamina.model import LayerState, Release

from .conftest import NOW, Cloud, Context

NAME = "web-python311-x86_64"
BODY = b"PK-not-really"
TOML = """
[layer]
owner = "web"
runtimes = ["python3.11"]
architectures = ["x86_64"]
[python]
requirements = "requirements.in"
"""


@dataclass
class Notary:
    """Signing jobs by id, as AWS Signer keeps them.

    Attributes:
        looks: how often a job is looked at before it is done.
        fails: the reason that every job fails for; empty if none does.
    """

    profiles: frozenset[str] = frozenset({"layers"})
    looks: int = 2
    fails: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    waited: list[float] = field(default_factory=list)

    def client(self) -> Any:
        """A client of AWS Signer whose calls end here."""
        client = boto3.client("signer")
        for operation, answer in (("StartSigningJob", self._start), ("DescribeSigningJob", self._describe)):
            client.meta.events.register(f"provide-client-params.signer.{operation}", self._keep(operation))
            client.meta.events.register(f"before-call.signer.{operation}", self._short_cut(operation, answer))
        return client

    def _keep(self, operation: str) -> Callable[..., None]:
        def keep(params: Mapping[str, Any], **_: object) -> None:
            self._params = params

        return keep

    def _short_cut(self, operation: str, answer: Callable[[Mapping[str, Any]], Any]) -> Callable[..., Any]:
        def short_cut(**_: object) -> Any:
            found = answer(self._params)
            return SimpleNamespace(status_code=400 if "Error" in found else 200), found

        return short_cut

    def _start(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if asked["profileName"] not in self.profiles:
            return {"Error": {"Code": "ResourceNotFoundException", "Message": "no such profile"}}
        if (known := self.tokens.get(asked["clientRequestToken"])) is not None:
            return {"jobId": known}
        source, target = asked["source"]["s3"], asked["destination"]["s3"]
        s3 = boto3.client("s3")
        assert s3.get_bucket_versioning(Bucket=source["bucketName"])["Status"] == "Enabled"
        body = s3.get_object(Bucket=source["bucketName"], Key=source["key"], VersionId=source["version"])["Body"].read()
        job = f"job-{len(self.jobs) + 1}"
        key = f"{target['prefix']}{job}.zip"
        if not self.fails:
            s3.put_object(Bucket=target["bucketName"], Key=key, Body=body + b" signed with " + job.encode())
        self.jobs[job] = {"bucketName": target["bucketName"], "key": key, "looks": self.looks}
        self.tokens[asked["clientRequestToken"]] = job
        return {"jobId": job}

    def _describe(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        job = self.jobs[asked["jobId"]]
        job["looks"] -= 1
        if job["looks"] >= 0:
            return {"status": "InProgress"}
        if self.fails:
            return {"status": "Failed", "statusReason": self.fails}
        return {"status": "Succeeded", "signedObject": {"s3": {"bucketName": job["bucketName"], "key": job["key"]}}}


@dataclass
class Press:
    """The handler of Publish, with a build to publish."""

    cloud: Cloud
    notary: Notary
    module: ModuleType

    def define(self, more: str = 'signing-profile = "layers"\n') -> None:
        self.cloud.define("web", TOML.replace("[python]", f"{more}[python]"), requirements_in="acme\n")

    def built(self, run: str = "r-1", *, body: bytes = BODY, sha256: str | None = None) -> dict[str, Any]:
        """The event for a build whose contents are always the same."""
        path = f"builds/{NAME}/{run}/output"
        self.cloud.write(f"{path}/layer.zip", body)
        manifest = {"variant": NAME, "digest": "a" * 64, "sizes": {"zipped": 1, "unzipped": 1},
                    "sha256": sha256 or hashlib.sha256(BODY).hexdigest()}  # fmt: skip
        self.cloud.write(f"{path}/manifest.json", manifest)
        explained = {"variant": NAME, "run": run, "asOf": NOW, "cutoff": NOW, "requirements": [], "exclude": [],
                     "direct": [], "packages": {}, "changes": [], "held": [], "summary": "s",
                     "sources": {"own files": run}}  # fmt: skip
        variant = {"variant": NAME, "layer": "web", "runtime": "python3.11", "architecture": "x86_64"}
        return {"run": run, "variant": variant, "path": path, "lock": "l", "asOf": NOW, "now": NOW,
                "explanation": self.cloud.write(f"explanations/{run}.json", explained)}  # fmt: skip

    def publish(self, event: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.module.handler(dict(event), Context())
        return answer

    def release(self, version: int = 1) -> Release:
        found = layers().release(NAME, version)
        assert found is not None
        return found


def layers() -> Layers:
    return Layers(Table(boto3.client("dynamodb"), "registry"))


def published() -> list[int]:
    return [row["Version"] for row in boto3.client("lambda").list_layer_versions(LayerName=NAME)["LayerVersions"]]


@pytest.fixture
def press(cloud: Cloud) -> Iterator[Press]:
    boto3.client("s3").put_bucket_versioning(Bucket="artifacts", VersioningConfiguration={"Status": "Enabled"})
    notary = Notary()
    module: Any = cloud.module("publish")
    module.REACH = replace(module.REACH, signer=Signer(notary.client(), wait=notary.waited.append))
    press = Press(cloud, notary, module)
    press.define()
    yield press


def test_what_lambda_gets_is_what_was_signed_and_the_release_says_so(press: Press) -> None:
    event = press.built()

    candidate = press.publish(event)["candidate"]

    release, signed = press.release(), f"{event['path']}/signed/job-1.zip"
    assert (release.signing_profile, release.signing_job, release.signed) == ("layers", "job-1", signed)
    assert (release.artifact, release.digest, candidate["digest"]) == (f"{event['path']}/layer.zip", "a" * 64, "a" * 64)
    held = boto3.client("lambda").get_layer_version(LayerName=NAME, VersionNumber=1)["Content"]["CodeSha256"]
    assert held == base64.b64encode(hashlib.sha256(press.cloud.read(signed)).digest()).decode()
    assert press.cloud.read(signed) != BODY
    assert press.notary.waited == [2.0, 2.0]


def test_a_publish_that_was_killed_signs_and_publishes_nothing_twice(press: Press) -> None:
    event = press.built()
    first = press.publish(event)
    boto3.client("dynamodb").delete_item(
        TableName="registry", Key={"pk": {"S": f"LAYER#{NAME}"}, "sk": {"S": "RELEASE#00000001"}}
    )

    again = press.publish(event)

    assert again == first
    assert (list(press.notary.jobs), published()) == (["job-1"], [1])
    assert press.release().signing_job == "job-1"


def test_the_same_contents_signed_differently_are_published_once_more_and_otherwise_not(press: Press) -> None:
    press.define("")
    press.publish(press.built("r-1"))
    layers().save(LayerState(variant=NAME, promoted=1))

    press.define()
    signed = press.publish(press.built("r-2"))
    layers().save(LayerState(variant=NAME, promoted=2))
    same = press.publish(press.built("r-3"))

    assert (press.release(1).signed, signed["unchanged"], signed["candidate"]["version"]) == (None, False, 2)
    assert (same["unchanged"], same["candidate"]["version"], published()) == (True, 2, [2, 1])
    # What the third run was built from gave the same layer: that is noted, so that nobody asks again.
    assert press.release(2).sources == {"own files": "r-3"}


@pytest.mark.parametrize(
    ("notary", "says"),
    [
        ({"fails": "it is not a zip"},
         r"profile layers: job job-1 failed: it is not a zip\. Nothing was published.*look at signing job job-1"),
        ({"profiles": frozenset()},
         "profile layers: ResourceNotFoundException: no such profile.*correct layer.signing-profile"),
        ({"looks": 1000}, "profile layers: job job-1 was not done after 200 s.*start the update again"),
    ],
)  # fmt: skip
def test_what_cannot_be_signed_is_not_published(press: Press, notary: dict[str, Any], says: str) -> None:
    for name, value in notary.items():
        setattr(press.notary, name, value)

    with pytest.raises(SigningFailed, match=says):
        press.publish(press.built())

    assert (published(), layers().release(NAME, 1)) == ([], None)


def test_other_bytes_than_the_build_promised_are_not_even_signed(press: Press) -> None:
    with pytest.raises(BuildRefused, match="does not hold the bytes that the build promised; it was not signed"):
        press.publish(press.built(sha256="f" * 64))

    assert (press.notary.jobs, published()) == ({}, [])


def test_a_bucket_without_versions_cannot_be_signed_from(press: Press) -> None:
    boto3.client("s3").delete_bucket(Bucket=_emptied("artifacts"))
    boto3.client("s3").create_bucket(
        Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )

    with pytest.raises(SigningFailed, match="the bucket artifacts keeps none"):
        press.publish(press.built())


def _emptied(bucket: str) -> str:
    s3 = boto3.client("s3")
    for row in s3.list_object_versions(Bucket=bucket).get("Versions", []):
        s3.delete_object(Bucket=bucket, Key=row["Key"], VersionId=row["VersionId"])
    return bucket
