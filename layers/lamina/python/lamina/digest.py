"""How a published layer version is recognized: by its zip's hash, and by a mark at the end of its description.

Lambda keeps no tags on layer versions and publishes the same zip twice without complaint. The mark, made of the
contents' digest and of the run, lets a retried step find the version that it published before it was killed.
"""

from __future__ import annotations

import base64
import hashlib

MAXIMUM_DESCRIPTION = 256
"""Lambda's limit, in characters."""


def code_sha256(hexadecimal: str) -> str:
    """A zip's SHA-256 as Lambda states it (`CodeSha256`, base64).

    Raises:
        ValueError: not a hexadecimal number.
    """
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def mark(digest: str, run: str) -> str:
    """The mark of what `run` publishes with these contents: `[<digest, 12>/<run's hash, 8>]`."""
    return f"[{digest[:12]}/{hashlib.sha256(run.encode()).hexdigest()[:8]}]"


def describe(summary: str, digest: str, run: str) -> str:
    """A layer version's description: what changed, shortened to fit, then the mark."""
    end = f" {mark(digest, run)}"
    room = MAXIMUM_DESCRIPTION - len(end)
    return (summary if len(summary) <= room else summary[: room - 3].rstrip(" ,") + "...") + end


def token(*parts: str) -> str:
    """A name for an order that a service shall carry out once, however often it is given: 64 hexadecimal digits."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
