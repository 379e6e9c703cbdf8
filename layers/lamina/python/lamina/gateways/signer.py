"""AWS Signer: signs an object of a bucket that keeps versions, and leaves the result beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from lamina.errors import SigningFailed
from lamina.model import ObjectKey

if TYPE_CHECKING:
    from mypy_boto3_signer import SignerClient

_PAUSE = 2.0
"""Seconds between two looks at a job."""
_LOOKS = 100
_REMEDIES = {
    "AccessDeniedException": "put the profile's ARN into the stack's parameter SigningProfiles",
    "ResourceNotFoundException": "create the profile in this account and region, or correct layer.signing-profile",
    "ValidationException": "look at the profile in AWS Signer: it must be active and for AWS Lambda",
}


@dataclass(frozen=True)
class Signed:
    """The signed object, in the same bucket, and the job that made it."""

    job: str
    key: ObjectKey


class Signer:
    """Signing jobs in this account and region.

    Args:
        wait: waits so many seconds.
    """

    def __init__(self, client: SignerClient, *, wait: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._wait = wait

    def sign(self, profile: str, *, bucket: str, key: ObjectKey, version: str, prefix: str, token: str) -> Signed:
        """Have an object signed and wait until it is.

        Args:
            profile: name of the signing profile.
            version: of the object.
            prefix: what the signed object's key is to begin with, in the same bucket.
            token: the same for the same order, so that an order that is repeated is not carried out twice.

        Raises:
            SigningFailed: it was not; the message names the profile, the reason and a remedy.
        """
        try:
            job = self._client.start_signing_job(
                source={"s3": {"bucketName": bucket, "key": key, "version": version}},
                destination={"s3": {"bucketName": bucket, "prefix": prefix}},
                profileName=profile,
                clientRequestToken=token,
            )["jobId"]
            return self._signed(job, profile)
        except ClientError as error:
            problem = error.response["Error"]
            code = problem.get("Code", "")
            remedy = _REMEDIES.get(code, "look into AWS Signer")
            raise SigningFailed(_failed(profile, f"{code}: {problem.get('Message', '')}", remedy)) from error

    def _signed(self, job: str, profile: str) -> Signed:
        for _ in range(_LOOKS):
            seen = self._client.describe_signing_job(jobId=job)
            if seen["status"] == "Succeeded":
                return Signed(job, seen["signedObject"]["s3"]["key"])
            if seen["status"] == "Failed":
                reason = seen.get("statusReason", "no reason given")
                raise SigningFailed(_failed(profile, f"job {job} failed: {reason}", f"look at signing job {job}"))
            self._wait(_PAUSE)
        waited = f"job {job} was not done after {_PAUSE * _LOOKS:.0f} s"
        raise SigningFailed(_failed(profile, waited, f"look at signing job {job}"))


def _failed(profile: str, reason: str, remedy: str) -> str:
    return (
        f"AWS Signer did not sign with the profile {profile}: {reason.strip()}. Nothing was published. To mend it, "
        f"{remedy}; then start the update again"
    )
