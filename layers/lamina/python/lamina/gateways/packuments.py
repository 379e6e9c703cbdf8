"""npm registries, read directly: what each package has ever had, in its registry's own words."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3

from lamina.errors import IndexUnavailable
from lamina.gateways.web import Web
from lamina.offer import Packument, parse_packument
from lamina.origin import belongs
from lamina.resolution import Access

_ATTEMPTS = 3
_AT_ONCE = 16
_RETRIES = urllib3.Retry(total=3, connect=0, read=0, redirect=3, status=0, other=0)
_TOKEN_USERS = frozenset({"", "aws", "__token__", "token"})
"""User names that go with a bearer token; with any other one, name and password are sent as npm's `_auth` is."""


@dataclass(frozen=True)
class _Reply:
    status: int
    etag: str
    body: bytes


class Packuments:
    """Packuments of npm registries, kept for a few minutes and asked for by their ETag after that.

    Args:
        default: gives the address of the registry where a definition names none.
        work: a folder that may be written to.
        environment: the process environment, of which proxies and trust are taken.
        timeout: seconds for one request.
        fresh: seconds for which an answer is not asked for again.
        clock: seconds that rise.
        pause: waits for some seconds before a registry that stumbled is asked again.
    """

    def __init__(
        self,
        default: Callable[[], str],
        work: Path,
        environment: Mapping[str, str],
        *,
        timeout: float = 30,
        fresh: float = 120,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._default = default
        self._folder = work / "packuments"
        self._timeout = timeout
        self._fresh = fresh
        self._clock = clock
        self._pause = pause
        self._web = Web(environment, at_once=_AT_ONCE)

    def read(self, name: str, access: Access | None) -> Packument | None:
        """What the package's registry says of it; None if it does not have it.

        A package of one of the definition's scopes is asked for at the definition's registry and nowhere else.

        Raises:
            IndexUnavailable: the registry could not be asked, so that nobody knows.
        """
        theirs = access if access is not None and belongs(name, access) else None
        root = (theirs.url if theirs else self._default()).rstrip("/")
        url = f"{root}/{quote(name, safe='@')}"
        body = self._document(url, name, theirs)
        if body is None:
            return None
        try:
            return parse_packument(body, name)
        except ValueError as error:
            raise IndexUnavailable(
                f"the npm registry {urlsplit(root).hostname} gave no usable answer about {name} ({error}); nothing was "
                "changed, what is new is unknown. The next run asks again"
            ) from error

    def fetch(self, url: str, name: str, access: Access | None) -> bytes:
        """A package's own archive, from where its registry says that it is.

        Raises:
            IndexUnavailable: it is not there or could not be asked for.
        """
        theirs = access if access is not None and belongs(name, access) else None
        same = theirs is not None and _origin(url) == _origin(theirs.url)
        reply = self._ask(url, name, theirs if same else None, {})
        if reply.status != 200:
            raise IndexUnavailable(_words(url, name, f"answered {reply.status}"))
        return reply.body

    def _document(self, url: str, name: str, access: Access | None) -> bytes | None:
        who = f"{access.username}:{access.password}" if access else ""
        kept = self._folder / hashlib.sha256(f"{url}\n{who}".encode()).hexdigest()[:40]
        head, body = _load(kept)
        if body is not None and 0 <= self._clock() - head["at"] < self._fresh:
            return body
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if body is not None and head["etag"]:
            headers["If-None-Match"] = head["etag"]
        reply = self._ask(url, name, access, headers)
        if reply.status == 404:
            return None
        if reply.status == 304 and body is not None:
            _save(kept, {**head, "at": self._clock()}, body)
            return body
        if reply.status != 200:
            raise IndexUnavailable(_words(url, name, f"answered {reply.status}"))
        _save(kept, {"etag": reply.etag, "at": self._clock()}, reply.body)
        return reply.body

    def _ask(self, url: str, name: str, access: Access | None, headers: Mapping[str, str]) -> _Reply:
        if urlsplit(url).scheme not in ("https", "http"):
            raise IndexUnavailable(_words(url, name, "has an address that is not one of the web"))
        own = {} if access is None or not access.password else {"Authorization": _authorization(access)}
        problem = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause(0.2 * 3**attempt)
            try:
                # Redirects are followed, and credentials are left out of those to another host.
                answer = self._web.to(url).request(
                    "GET", url, headers={**headers, **own}, timeout=self._timeout, retries=_RETRIES
                )
            except (urllib3.exceptions.HTTPError, OSError) as error:
                problem = f"could not be reached ({type(error).__name__})"
                continue
            if answer.status not in (429, 500, 502, 503, 504):
                return _Reply(answer.status, answer.headers.get("ETag", ""), answer.data)
            problem = f"answered {answer.status}"
        raise IndexUnavailable(_words(url, name, problem))


def _words(url: str, name: str, problem: str) -> str:
    hint = ""
    if problem.endswith((" 401", " 403")):
        hint = " Look at nodejs.registry in layer.toml and at the secret that it names."
    return (
        f"the npm registry {urlsplit(url).hostname} {problem} when asked for {name}; nothing was changed, what is new "
        f"is unknown.{hint} The next run asks again"
    )


def _authorization(access: Access) -> str:
    if access.username in _TOKEN_USERS:
        return f"Bearer {access.password}"
    return "Basic " + base64.b64encode(f"{access.username}:{access.password}".encode()).decode()


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _load(kept: Path) -> tuple[dict[str, Any], bytes | None]:
    try:
        head, _, body = gzip.decompress(kept.read_bytes()).partition(b"\n")
        return json.loads(head), body
    except (OSError, EOFError, ValueError):
        return {}, None


def _save(kept: Path, head: Mapping[str, object], body: bytes) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    fresh = kept.with_name(f"{kept.name}.{os.getpid()}.{id(head)}")
    fresh.write_bytes(gzip.compress(json.dumps(head).encode() + b"\n" + body, compresslevel=1))
    fresh.replace(kept)
