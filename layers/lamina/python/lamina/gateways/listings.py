"""What a package index lists, read directly: the pages that a resolver reads as well, for all that it does not say.

Nothing here decides; a page that cannot be had is unknown, which is not the same as a package without versions.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import urllib3
from packaging.utils import canonicalize_name

from lamina.errors import IndexUnavailable
from lamina.gateways.index import uv_environment
from lamina.gateways.web import Web
from lamina.listing import ACCEPTED, Listing, parse_simple
from lamina.origin import own
from lamina.resolution import Access

_AT_ONCE = 8
_LARGEST = 64_000_000
"""Bytes of a page that is still read; the largest of the public index has some ten million."""
_REDIRECTS = 5
_OK, _UNCHANGED, _GONE, _MOVED = 200, 304, (404, 410), (301, 302, 303, 307, 308)
_RETRIES = urllib3.Retry(
    total=2,
    connect=1,
    status_forcelist=(429, 500, 502, 503, 504),
    backoff_factor=0.2,
    respect_retry_after_header=False,
    redirect=False,
    raise_on_status=False,
)
_INDEX_URL = re.compile(r"^--index-url\s+(\S+)", re.MULTILINE)
_NO_DEFAULT = (
    "uv does not say which package index is the default: {why}; nothing was changed, what is new is unknown. "
    "Set UV_DEFAULT_INDEX"
)


class _NoAnswer(Exception):
    """An index gave no usable answer; the message says why."""


@dataclass(frozen=True)
class _Page:
    """A page as it is kept.

    Attributes:
        at: seconds since the epoch at which the index last said that it holds.
        etag: its mark there; empty if it has none.
        kind: its content type.
        body: None where the index does not have the package.
    """

    at: float
    etag: str
    kind: str
    body: bytes | None


class Listings:
    """What package indexes list.

    Pages are kept in a folder, taken as they are for a short while, and after that asked for by their ETag.

    Args:
        default: gives the URL of the index for packages that a definition has no index of its own for; it is only
            called when it is needed, and once. It may hold credentials.
        work: a folder that may be written to.
        environment: of which proxies and trust are taken; the process's own trust where it names none.
        connect: seconds until a connection must stand.
        read: seconds until an answer must have begun.
        fresh: seconds for which a page is not asked for again.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        default: Callable[[], str],
        work: Path,
        environment: Mapping[str, str] | None = None,
        *,
        connect: float = 5,
        read: float = 20,
        fresh: float = 120,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._find_default = default
        self._folder = work / "listings"
        self._web = Web(environment or {}, at_once=_AT_ONCE)
        self._timeout = urllib3.Timeout(connect=connect, read=read)
        self._fresh = fresh
        self._clock = clock
        self._parsed: dict[str, tuple[bytes, Listing]] = {}

    def of(self, names: Iterable[str], access: Access | None) -> dict[str, Listing | None]:
        """What each package has, by the names as they were given.

        A package that belongs to the definition's own index is asked for there and nowhere else: that index may not
        send Lamina on to another host either.

        Args:
            access: the definition's own index; None if it has none.

        Returns:
            None for a package whose index could not be asked, so that nobody knows; a listing without versions for
            one that its index does not have.

        Raises:
            IndexUnavailable: nobody can say which index is the default.
        """
        wanted = list(dict.fromkeys(names))
        at = {name: access if access is not None and own(access, name) else self._default for name in wanted}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = pool.map(lambda name: self._one(canonicalize_name(name), at[name], at[name] is access), wanted)
            return dict(zip(wanted, found, strict=True))

    @cached_property
    def _default(self) -> Access:
        return _open(self._find_default())

    def _one(self, name: str, index: Access, exclusive: bool) -> Listing | None:
        key = f"{index.url.rstrip('/')}/{name}/\n{index.username}:{index.password}"
        key = hashlib.sha256(key.encode()).hexdigest()[:40]
        try:
            page = self._page(key, f"{index.url.rstrip('/')}/{name}/", index, exclusive)
            if page.body is None:
                return Listing("PyPI", name, ())
            digest = hashlib.sha256(page.body).digest()
            known = self._parsed.get(key)
            if known is None or known[0] != digest:
                known = self._parsed[key] = digest, parse_simple(page.body, page.kind, name)
            return known[1]
        except (_NoAnswer, ValueError):
            return None

    def _page(self, key: str, url: str, index: Access, exclusive: bool) -> _Page:
        kept, now = _load(self._folder / key), self._clock()
        if kept is not None and 0 <= now - kept.at < self._fresh:
            return kept
        headers = {"Accept": ACCEPTED, "Accept-Encoding": "gzip"}
        if kept is not None and kept.etag:
            headers["If-None-Match"] = kept.etag
        if index.username or index.password:
            headers |= urllib3.make_headers(basic_auth=f"{index.username}:{index.password}")
        status, found, body = self._get(url, headers, exclusive)
        if status == _UNCHANGED and kept is not None:
            page = replace(kept, at=now)
        elif status in _GONE:
            page = _Page(now, "", "", None)
        elif status == _OK:
            page = _Page(now, found.get("ETag", ""), found.get("Content-Type", ""), body)
        else:
            raise _NoAnswer(f"it answered {status}")
        _save(self._folder / key, page)
        return page

    def _get(self, url: str, headers: Mapping[str, str], exclusive: bool) -> tuple[int, Mapping[str, str], bytes]:
        """The last answer, wherever the index sends: to another host without credentials, and never if exclusive."""
        headers = dict(headers)
        for _ in range(_REDIRECTS):
            parts = urlsplit(url)
            if parts.scheme not in ("https", "http"):
                raise _NoAnswer("its address is not one of the web")
            try:
                answer = self._web.to(url).request(
                    "GET", url, headers=headers, timeout=self._timeout, retries=_RETRIES, preload_content=False
                )
                body = answer.read(_LARGEST + 1, decode_content=True)
                answer.release_conn()
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _NoAnswer("it could not be reached") from error
            if len(body) > _LARGEST:
                answer.close()
                raise _NoAnswer("its page is too large")
            if answer.status not in _MOVED or not (target := answer.headers.get("Location")):
                return answer.status, answer.headers, body
            url = urljoin(url, target)
            if _origin(url) != _origin(parts.geturl()):
                if exclusive or (parts.scheme == "https" and not url.startswith("https:")):
                    raise _NoAnswer("it sends to another host")
                headers.pop("authorization", None)
        raise _NoAnswer("it sends from one address to the other")


def default_index(uv: Path, python: str, work: Path, environment: Mapping[str, str]) -> str:
    """The URL of the index that uv takes packages from where it is told nothing else, perhaps with credentials.

    Args:
        uv: the binary.
        python: an interpreter for uv to look at.
        work: a folder that may be written to.
        environment: the process environment, of which uv's own settings are passed on.

    Raises:
        IndexUnavailable: uv does not say.
    """
    try:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            (Path(folder) / "none.in").touch()
            done = subprocess.run(
                (
                    str(uv),
                    "pip",
                    "compile",
                    "none.in",
                    "--emit-index-url",
                    "--no-header",
                    "--quiet",
                    "--python",
                    python,
                ),
                cwd=folder,
                env=uv_environment(environment, work / "uv-cache"),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=30,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IndexUnavailable(_NO_DEFAULT.format(why=f"it could not be run ({type(error).__name__})")) from error
    found = _INDEX_URL.search(done.stdout)
    if found is None:
        raise IndexUnavailable(_NO_DEFAULT.format(why=done.stderr.strip()[:300] or "it names none"))
    return found[1]


def _open(url: str) -> Access:
    """An index's URL without the credentials in it, and these."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return Access(
        url=urlunsplit(parts._replace(netloc=host)),
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _load(file: Path) -> _Page | None:
    try:
        head, _, body = gzip.decompress(file.read_bytes()).partition(b"\n")
        found = json.loads(head)
        return _Page(found["at"], found["etag"], found["kind"], body if found["there"] else None)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def _save(file: Path, page: _Page) -> None:
    head = {"at": page.at, "etag": page.etag, "kind": page.kind, "there": page.body is not None}
    fresh = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
    # A folder that is full is no reason not to answer.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(gzip.compress(json.dumps(head).encode() + b"\n" + (page.body or b""), compresslevel=1))
        fresh.replace(file)
