"""A package index of a definition's own: the wheels themselves, fetched with its credentials."""

from __future__ import annotations

from collections.abc import Mapping

import urllib3

from lamina.errors import BuildRefused, IndexUnavailable
from lamina.gateways.web import Web
from lamina.listing import ACCEPTED, File, parse_files
from lamina.resolution import Access

_RETRIES = urllib3.Retry(
    total=5,
    connect=2,
    read=2,
    redirect=3,
    status=3,
    status_forcelist=(429, 500, 502, 503, 504),
    backoff_factor=0.5,
    respect_retry_after_header=False,
    raise_on_status=False,
)
"""A redirect to another host is followed without credentials: what comes of it is held against the lock."""
_LARGEST_PAGE = 64_000_000
_GONE = (404, 410)


class Wheelhouse:
    """Reads package indexes that definitions name.

    Args:
        environment: the process environment, of which proxies and trust are taken.
        timeout: seconds until a connection must stand, and that a server may be silent.
    """

    def __init__(self, environment: Mapping[str, str], *, timeout: float = 30) -> None:
        self._web = Web(environment, at_once=1)
        self._timeout = timeout

    def files(self, variant: str, package: str, access: Access) -> tuple[File, ...]:
        """What the index has of a package; nothing if it does not have it.

        Raises:
            IndexUnavailable: the index gave no usable answer.
        """
        address = f"{access.url.rstrip('/')}/{package}/"
        found = self._get(variant, address, access, {"Accept": ACCEPTED}, _LARGEST_PAGE)
        if found is None:
            return ()
        kind, body = found
        try:
            return parse_files(body, kind, package, address)
        except ValueError as error:
            raise IndexUnavailable(
                f"{variant}: {access.url} gave no usable answer about {package} ({error}); nothing was changed. The "
                "next run asks again"
            ) from error

    def fetch(self, variant: str, file: File, access: Access, most: int) -> bytes | None:
        """A file's contents; None if it is not there.

        Args:
            most: bytes that there is room for.

        Raises:
            BuildRefused: it is larger than that.
            IndexUnavailable: it could not be fetched.
        """
        found = self._get(variant, file.url, access, {}, most)
        return None if found is None else found[1]

    def _get(
        self, variant: str, url: str, access: Access, headers: Mapping[str, str], most: int
    ) -> tuple[str, bytes] | None:
        """Content type and body; None for what is not there."""
        own = (
            urllib3.make_headers(basic_auth=f"{access.username}:{access.password}")
            if (access.username or access.password) and _origin(url) == _origin(access.url)
            else {}
        )
        where = f"{variant}: {url.partition('?')[0]}"
        try:
            answer = self._web.to(url).request(
                "GET",
                url,
                headers={**headers, **own},
                timeout=self._timeout,
                retries=_RETRIES,
                preload_content=False,
            )
            body = answer.read(most + 1, decode_content=True)
            answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise IndexUnavailable(
                f"{where} could not be read ({type(error).__name__}); nothing was changed. The next run asks again"
            ) from error
        if answer.status in _GONE:
            return None
        if answer.status != 200:
            hint = " Look at python.index in layer.toml and at the secret that it names." if answer.status < 404 else ""
            raise IndexUnavailable(
                f"{where} answered {answer.status}; nothing was changed.{hint} The next run asks again"
            )
        if len(body) > most:
            answer.close()
            raise BuildRefused(f"{where} is larger than the {most:,} bytes that are left for a build's own packages")
        return answer.headers.get("Content-Type", ""), body


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib3.util.parse_url(url)
    return parts.scheme or "", parts.host, parts.port or {"http": 80, "https": 443}.get(parts.scheme or "")
