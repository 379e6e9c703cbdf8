"""Where zips can be read from: in buckets that belong to Lambda, at addresses that are signed for their readers.

moto's S3 answers, parts of an object (`Range`) included. The buckets belong to an account of their own, so nobody sees
them in theirs. Signatures are not looked at, and do not expire; whoever reads with one is no caller of this account.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

from moto.s3.models import s3_backends
from moto.utilities.utils import get_partition

from local.lambdas.values import Archive

OWNER = "000000000001"
_SECONDS = 600


class Packages:
    """The zips of one region.

    Args:
        endpoint: the URL of the AWS endpoint, asked for each address.
    """

    def __init__(self, region: str, endpoint: Callable[[], str]) -> None:
        self._region = region
        self._endpoint = endpoint
        self._lock = threading.Lock()

    def address(self, kind: str, archive: Archive) -> str:
        """An address that opens a zip to whoever has it; `kind` tells code (`tasks`) from layers."""
        bucket, key = f"awslambda-{self._region}-{kind}", f"snapshots/{archive.digest}"
        backend = s3_backends[OWNER][get_partition(self._region)]
        with self._lock:
            if bucket not in backend.buckets:
                backend.create_bucket(bucket, self._region)
            if key not in backend.buckets[bucket].keys:
                backend.put_object(bucket, key, archive.content)
        query = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires={_SECONDS}&X-Amz-Signature={secrets.token_hex(32)}"
        return f"{self._endpoint()}/{bucket}/{key}?{query}"
