"""What an index lists, asked over HTTP: caches, credentials, redirects and everything that may go wrong."""

from __future__ import annotations

import base64
import functools
import gzip
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lamina.errors import IndexUnavailable
from lamina.gateways.index import find_uv
from lamina.gateways.listings import Listings, default_index
from lamina.listing import JSON_PAGE, Listing
from lamina.resolution import Access

NOTHING: Mapping[str, str] = {}


@dataclass
class Answers:
    """A server on this machine that gives prepared answers and remembers what it was asked."""

    pages: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    first: dict[str, list[int]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """The root of its index."""
        return f"http://127.0.0.1:{self.port}/simple/"

    def has(self, package: str, *versions: str, etag: str = "") -> None:
        """List wheels of these versions."""
        files = ", ".join(f'{{"filename": "{package}-{version}-py3-none-any.whl"}}' for version in versions)
        headers = {"Content-Type": JSON_PAGE, **({"ETag": etag} if etag else {})}
        self.pages[f"/simple/{package}/"] = (200, headers, f'{{"files": [{files}]}}'.encode())

    def answers(self, path: str, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer this at a path."""
        self.pages[path] = (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)

    def paths(self) -> list[str]:
        """What it was asked for so far."""
        return [path for path, _ in self.asked]


@contextmanager
def serving() -> Iterator[Answers]:
    """Run such a server."""
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answers.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, headers, body = answers.pages.get(self.path, (404, {}, b""))
            if answers.first.get(self.path):
                status, headers, body = answers.first[self.path].pop(0), {}, b""
            if "ETag" in headers and self.headers.get("If-None-Match") == headers["ETag"]:
                status, body = 304, b""
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    answers.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield answers
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def index() -> Iterator[Answers]:
    with serving() as answers:
        yield answers


@pytest.fixture
def other() -> Iterator[Answers]:
    with serving() as answers:
        yield answers


class Clock:
    """Seconds that pass when told so."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


def reading(index: Answers, work: Path, clock: Clock | None = None, **settings: float) -> Listings:
    return Listings(lambda: index.url, work, NOTHING, clock=clock or Clock(), **settings)


def versions(listing: Listing | None) -> list[str] | None:
    return None if listing is None else [entry.version for entry in listing.versions]


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def test_packages_are_asked_for_by_their_normal_names_and_told_by_the_given_ones(
    index: Answers, tmp_path: Path
) -> None:
    index.has("acme", "1.0", "1.1")

    found = reading(index, tmp_path).of(["Acme", "none.such", "Acme"], None)

    assert {name: versions(listing) for name, listing in found.items()} == {"Acme": ["1.0", "1.1"], "none.such": []}
    assert sorted(index.paths()) == ["/simple/acme/", "/simple/none-such/"]
    assert all("vnd.pypi.simple.v1+json" in headers["accept"] for _, headers in index.asked)
    assert all("authorization" not in headers for _, headers in index.asked)


def test_compressed_pages_and_html_are_read(index: Answers, tmp_path: Path) -> None:
    page = b'<a href="acme-1.0-py3-none-any.whl">acme-1.0-py3-none-any.whl</a>'
    index.answers("/simple/acme/", 200, gzip.compress(page), Content_Type="text/html", Content_Encoding="gzip")

    assert versions(reading(index, tmp_path).of(["acme"], None)["acme"]) == ["1.0"]


def test_a_page_is_kept_for_a_while_and_then_asked_for_by_its_mark(index: Answers, tmp_path: Path) -> None:
    # GIVEN a page that was read once
    clock = Clock()
    index.has("acme", "1.0", etag='"a"')
    reading(index, tmp_path, clock).of(["acme"], None)

    # WHEN it is wanted again soon, and by another process
    clock.at += 119
    assert versions(reading(index, tmp_path, clock).of(["acme"], None)["acme"]) == ["1.0"]
    assert len(index.asked) == 1

    # THEN nothing is asked; later the index is, whether it changed
    clock.at += 2
    listings = reading(index, tmp_path, clock)
    assert versions(listings.of(["acme"], None)["acme"]) == ["1.0"]
    assert [headers.get("if-none-match") for _, headers in index.asked] == [None, '"a"']

    # AND a new version is seen as soon as it is asked again
    index.has("acme", "1.0", "1.1", etag='"b"')
    clock.at += 119
    assert versions(listings.of(["acme"], None)["acme"]) == ["1.0"]
    clock.at += 2
    assert versions(listings.of(["acme"], None)["acme"]) == ["1.0", "1.1"]


def test_a_clock_that_was_set_back_does_not_keep_pages_for_ever(index: Answers, tmp_path: Path) -> None:
    clock = Clock()
    index.has("acme", "1.0")
    reading(index, tmp_path, clock).of(["acme"], None)
    clock.at -= 1

    reading(index, tmp_path, clock).of(["acme"], None)

    assert len(index.asked) == 2


@pytest.mark.parametrize(
    "damage", [b"", b"not gzip", gzip.compress(b"{}\n", mtime=0), gzip.compress(b"[1]\nx", mtime=0)]
)
def test_a_damaged_cache_is_none(index: Answers, tmp_path: Path, damage: bytes) -> None:
    index.has("acme", "1.0")
    reading(index, tmp_path).of(["acme"], None)
    (kept,) = (tmp_path / "listings").iterdir()
    kept.write_bytes(damage)

    assert versions(reading(index, tmp_path).of(["acme"], None)["acme"]) == ["1.0"]


def test_a_folder_that_cannot_be_written_costs_the_cache_and_nothing_else(index: Answers, tmp_path: Path) -> None:
    index.has("acme", "1.0")
    (tmp_path / "listings").write_text("a file where a folder should be")

    assert versions(reading(index, tmp_path).of(["acme"], None)["acme"]) == ["1.0"]


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 502, 503])
def test_an_index_that_refuses_or_fails_is_unknown_and_not_empty(index: Answers, tmp_path: Path, status: int) -> None:
    index.answers("/simple/acme/", status)
    index.has("requests", "2.0")

    found = reading(index, tmp_path).of(["acme", "requests"], None)

    assert found["acme"] is None
    assert versions(found["requests"]) == ["2.0"]


@pytest.mark.parametrize("status", [404, 410])
def test_a_package_that_the_index_does_not_have_has_no_versions(index: Answers, tmp_path: Path, status: int) -> None:
    index.answers("/simple/acme/", status)

    assert versions(reading(index, tmp_path).of(["acme"], None)["acme"]) == []


def test_a_passing_failure_is_tried_again(index: Answers, tmp_path: Path) -> None:
    index.has("acme", "1.0")
    index.first["/simple/acme/"] = [503, 429]

    assert versions(reading(index, tmp_path).of(["acme"], None)["acme"]) == ["1.0"]
    assert len(index.asked) == 3


def test_a_page_that_cannot_be_read_is_unknown(index: Answers, tmp_path: Path) -> None:
    index.answers("/simple/acme/", 200, b"<html>Please log in</html>", Content_Type="text/html")
    index.answers("/simple/beta/", 200, b'{"files": 3}', Content_Type=JSON_PAGE)

    assert reading(index, tmp_path).of(["acme", "beta"], None) == {"acme": None, "beta": None}


def test_an_index_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    with serving() as gone:
        url = gone.url

    for address in (url, "file:///srv/wheels"):
        assert Listings(functools.partial(str, address), tmp_path, NOTHING).of(["acme"], None) == {"acme": None}


def test_an_index_that_says_nothing_is_unknown_when_its_time_is_up(tmp_path: Path) -> None:
    silent = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    try:
        listings = Listings(lambda: f"http://127.0.0.1:{silent.server_port}/simple", tmp_path, NOTHING, read=0.05)

        assert listings.of(["acme"], None) == {"acme": None}
    finally:
        silent.server_close()


def test_the_definitions_own_packages_are_asked_for_at_its_own_index_alone(
    index: Answers, other: Answers, tmp_path: Path
) -> None:
    index.has("acme-core", "9.9")
    other.has("requests", "9.9")
    other.has("acme-core", "1.0")
    index.has("requests", "2.0")
    access = Access(other.url, "reader", "top:secret", ("acme-*",))

    found = reading(index, tmp_path).of(["requests", "acme.core", "acme-gone"], access)

    assert {name: versions(listing) for name, listing in found.items()} == {
        "requests": ["2.0"],
        "acme.core": [],
        "acme-gone": [],
    }
    assert index.paths() == ["/simple/requests/"]
    assert sorted(other.paths()) == ["/simple/acme-core/", "/simple/acme-gone/"]
    assert {headers["authorization"] for _, headers in other.asked} == {basic("reader", "top:secret")}
    assert "authorization" not in index.asked[0][1]


def test_an_index_without_patterns_has_every_package_and_nobody_asks_for_the_default(
    other: Answers, tmp_path: Path
) -> None:
    other.has("requests", "9.9")

    def unknown() -> str:
        raise AssertionError("the default index is of no interest")

    assert versions(Listings(unknown, tmp_path, NOTHING).of(["requests"], Access(other.url))["requests"]) == ["9.9"]


def test_what_one_user_may_see_is_not_kept_for_another(other: Answers, tmp_path: Path) -> None:
    other.has("acme", "1.0")
    reading(other, tmp_path).of(["acme"], Access(other.url, "reader", "secret"))
    other.answers("/simple/acme/", 403)

    assert reading(other, tmp_path).of(["acme"], Access(other.url, "stranger", "secret")) == {"acme": None}


def test_credentials_in_the_default_indexs_address_are_sent_and_not_kept(index: Answers, tmp_path: Path) -> None:
    index.has("acme", "1.0")
    url = index.url.replace("http://", "http://reader:top%3Asecret@")

    Listings(lambda: url, tmp_path, NOTHING).of(["acme"], None)

    assert index.asked[0][1]["authorization"] == basic("reader", "top:secret")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_a_redirect_on_the_same_host_is_followed_with_credentials(other: Answers, tmp_path: Path) -> None:
    other.has("acme", "1.0")
    other.answers("/old/acme/", 301, Location="/simple/acme/")
    access = Access(other.url.replace("/simple/", "/old"), "reader", "secret")

    assert versions(reading(other, tmp_path).of(["acme"], access)["acme"]) == ["1.0"]
    assert [headers["authorization"] for _, headers in other.asked] == [basic("reader", "secret")] * 2


def test_an_own_index_that_sends_elsewhere_is_not_followed(index: Answers, other: Answers, tmp_path: Path) -> None:
    index.has("acme", "9.9")
    other.answers("/simple/acme/", 302, Location=f"{index.url}acme/")

    assert reading(index, tmp_path).of(["acme"], Access(other.url, "reader", "secret")) == {"acme": None}
    assert index.asked == []


def test_the_default_index_may_send_elsewhere_but_not_credentials(
    index: Answers, other: Answers, tmp_path: Path
) -> None:
    other.has("acme", "1.0")
    index.answers("/simple/acme/", 307, Location=f"{other.url}acme/")
    url = index.url.replace("http://", "http://reader:secret@")

    assert versions(Listings(lambda: url, tmp_path, NOTHING).of(["acme"], None)["acme"]) == ["1.0"]
    assert "authorization" not in other.asked[0][1]


def test_a_redirect_without_end_is_unknown(index: Answers, tmp_path: Path) -> None:
    index.answers("/simple/acme/", 302, Location="/simple/acme/")

    assert reading(index, tmp_path).of(["acme"], None) == {"acme": None}


def test_a_proxy_is_used_unless_the_host_is_excepted(index: Answers, other: Answers, tmp_path: Path) -> None:
    # GIVEN a proxy, which is asked for whole addresses
    index.has("acme", "1.0")
    proxy = f"http://user:word@127.0.0.1:{other.port}"
    other.answers(f"{index.url}acme/", 200, b'{"files": []}', Content_Type=JSON_PAGE)

    by_proxy = Listings(lambda: index.url, tmp_path / "a", {"HTTP_PROXY": proxy}).of(["acme"], None)
    without = Listings(lambda: index.url, tmp_path / "b", {"http_proxy": proxy, "no_proxy": "127.0.0.1"}).of(
        ["acme"], None
    )

    assert (versions(by_proxy["acme"]), versions(without["acme"])) == ([], ["1.0"])
    assert other.asked[0][1]["proxy-authorization"] == basic("user", "word")
    assert len(index.asked) == 1


def test_uv_says_which_index_is_the_default(tmp_path: Path) -> None:
    environment = {**os.environ, "UV_DEFAULT_INDEX": "https://reader:secret@packages.example.com/simple"}

    found = default_index(find_uv(tmp_path), sys.executable, tmp_path, environment)

    assert found == "https://reader:secret@packages.example.com/simple"


def test_a_uv_that_does_not_say_leaves_everything_unknown(tmp_path: Path) -> None:
    with pytest.raises(IndexUnavailable, match="could not be run"):
        default_index(tmp_path / "none", sys.executable, tmp_path, NOTHING)
    with pytest.raises(IndexUnavailable, match="which package index is the default"):
        default_index(Path("/bin/true"), sys.executable, tmp_path, NOTHING)
