"""Code packages and layers as Lambda keeps them: zips behind addresses that it signs for a few minutes.

Such an address opens its zip to whoever has it, so none is part of an error or a log.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import urllib3

from lamina.zipsize import TAIL, locate, unzipped

if TYPE_CHECKING:
    from lamina.gateways.web import Web

LARGEST_TABLE = 16_000_000
"""Bytes of a table of contents that are read at most: more than 100,000 files."""

_CHUNK = 1_000_000
_SLOWEST = 60.0
_TIMEOUT = urllib3.Timeout(connect=5, read=15)
_RETRIES = urllib3.Retry(total=2, redirect=0, status_forcelist=(500, 502, 503, 504), backoff_factor=0.3)
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Unreadable(Exception):
    """A zip that cannot be read, and why, as the end of a sentence."""


class Packages:
    """Reads zips by their addresses.

    Args:
        web: the connections.
        clock: seconds that rise.
    """

    def __init__(self, web: Web, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._web = web
        self._clock = clock

    def unzipped(self, location: str) -> int:
        """Bytes of all files in a zip, of which only the table of contents is read: mostly one request, else two.

        Raises:
            Unreadable: it cannot be had in parts, or is no zip.
        """
        tail, total = self._part(location, f"bytes=-{TAIL}", TAIL)
        contents = locate(tail, total)
        if contents is None:
            raise Unreadable("it is no zip")
        first = total - len(tail)
        if contents.start >= first:
            table = tail[contents.start - first :][: contents.length]
        elif contents.length > LARGEST_TABLE:
            raise Unreadable(f"its table of contents has {contents.length:,} bytes")
        else:
            last = contents.start + contents.length - 1
            table, _ = self._part(location, f"bytes={contents.start}-{last}", contents.length)
        size = unzipped(table, contents.files)
        if size is None:
            raise Unreadable("its table of contents makes no sense")
        return size

    def whole(self, location: str, most: int) -> bytes:
        """A zip of at most so many bytes.

        Raises:
            Unreadable: it is larger, or cannot be downloaded.
        """
        return self._get(location, {}, 200, most)[0]

    def _part(self, location: str, span: str, most: int) -> tuple[bytes, int]:
        """Some bytes, and how many there are in all."""
        body, told = self._get(location, {"Range": span}, 206, most)
        found = _RANGE.fullmatch(told)
        if found is None or int(found[2]) - int(found[1]) + 1 != len(body):
            raise Unreadable("its server sent another part than it was asked for")
        return body, int(found[3])

    def _get(self, location: str, headers: dict[str, str], expected: int, most: int) -> tuple[bytes, str]:
        until = self._clock() + _SLOWEST
        try:
            answer = self._web.to(location).request(
                "GET", location, headers=headers, timeout=_TIMEOUT, retries=_RETRIES, preload_content=False
            )
            try:
                if answer.status != expected:
                    raise Unreadable(f"its server answered {answer.status}")
                body = bytearray()
                for chunk in answer.stream(_CHUNK, decode_content=False):
                    body += chunk
                    if len(body) > most:
                        raise Unreadable(f"it has more than {most:,} bytes")
                    if self._clock() > until:
                        raise Unreadable(f"its download took more than {_SLOWEST:.0f} s")
                return bytes(body), answer.headers.get("Content-Range", "")
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            # The error's own words hold the address.
            raise Unreadable(f"it could not be downloaded ({type(error).__name__})") from None
