"""The artifacts bucket: bundles, locks, manifests, histories, reports."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Store:
    """Reads and writes objects of one bucket; a missing object is None, never an empty value."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def read(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is no such object."""
        try:
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return None

    def write(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        """Store the object and give back its key."""
        self._client.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type)
        return key

    def version(self, key: str) -> str | None:
        """The id of the object's newest version; None if the bucket keeps no versions."""
        return self._client.head_object(Bucket=self.bucket, Key=key).get("VersionId")

    def sha256(self, key: str) -> str:
        """The SHA-256 of the object's bytes, hex."""
        found = hashlib.sha256()
        for chunk in self._client.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(1 << 20):
            found.update(chunk)
        return found.hexdigest()

    def read_text(self, key: str) -> str | None:
        """The object's text (UTF-8), or None."""
        body = self.read(key)
        return None if body is None else body.decode()

    def write_text(self, key: str, text: str, content_type: str = "text/plain; charset=utf-8") -> str:
        """Store text as UTF-8."""
        return self.write(key, text.encode(), content_type)

    def read_json(self, key: str) -> Any:
        """The object's JSON value, or None."""
        body = self.read(key)
        return None if body is None else json.loads(body)

    def write_json(self, key: str, value: object) -> str:
        """Store a JSON value, its keys sorted, so that equal values are equal objects."""
        return self.write(key, json.dumps(value, indent=1, sort_keys=True).encode(), "application/json")
