"""The advisory database on one machine: OSV's API, on a free port of 127.0.0.1, with the records that ship here.

    with Osv() as osv:
        requests.post(f"{osv.url}/v1/querybatch", json={"queries": […]})

It answers `/v1/query`, `/v1/querybatch` and `/v1/vulns/<id>` as the service does, and refuses what the service
refuses: an advisory is found by its own id only, never by an alias. It runs the service's side, so it knows nothing of
who asks.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import semver
from packaging.version import InvalidVersion, Version

RECORDS = Path(__file__).parent / "advisories"
MOST_QUERIES = 1000

Fault: TypeAlias = Literal["", "down", "error", "short", "garbage", "lost", "endless"]
"""What goes wrong: `down` closes connections without an answer, `error` answers 500, `short` leaves out the last
result of a batch, `garbage` is not JSON, `lost` finds queries but no records, `endless` has always another page."""


class Osv:
    """A stand-in of the service; use it as a context manager.

    Args:
        records: a folder with a folder of records for each ecosystem.
        page: how many advisories one page of an answer holds.
    """

    def __init__(self, records: Path = RECORDS, *, page: int = 1000) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.page = page
        self.fault: Fault = ""
        self.asked: list[str] = []
        """Method and path of every request so far."""
        for file in sorted(records.glob("*/*.json")):
            self.add(json.loads(file.read_text()))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, record: dict[str, Any]) -> None:
        """Publish a record, or a new state of it."""
        self.records[record["id"]] = record

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to one request."""
        if self.fault == "error":
            return 500, b'{"code":13,"message":"Internal error."}'
        if self.fault == "garbage":
            return 200, b"<html>"
        status, found = self._route(method, path, body)
        return status, json.dumps(found).encode()

    def _route(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if method == "GET" and path.startswith("/v1/vulns/"):
            record = None if self.fault == "lost" else self.records.get(path.removeprefix("/v1/vulns/"))
            return (404, {"code": 5, "message": "Bug not found."}) if record is None else (200, record)
        if method != "POST" or path not in ("/v1/query", "/v1/querybatch"):
            return 404, {"code": 5, "message": "Method does not exist."}
        try:
            given = json.loads(body)
            if path == "/v1/query":
                return 200, self._found(given, whole=True)
            queries = given["queries"]
            if len(queries) > MOST_QUERIES:
                return 400, {"code": 3, "message": "Too many queries."}
            results = [self._found(query, whole=False) for query in queries]
        except (KeyError, TypeError, ValueError) as problem:
            return 400, {"code": 3, "message": f"Invalid query. {problem}"}
        return 200, {"results": results[:-1] if self.fault == "short" else results}

    def _found(self, query: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
        if unknown := sorted(set(query) - {"package", "version", "page_token"}):
            raise ValueError(f"{', '.join(unknown)} is not answered here")
        package, version = query["package"], query["version"]
        if package["ecosystem"] not in ("PyPI", "npm"):
            raise ValueError("Invalid ecosystem.")
        hits = [
            record
            for _, record in sorted(self.records.items())
            if not record.get("withdrawn") and _has(record, package["ecosystem"], package["name"], version)
        ]
        start = int(query.get("page_token") or 0)
        shown = hits[start : start + self.page]
        further = start + self.page
        result: dict[str, Any] = {}
        if shown:
            result["vulns"] = shown if whole else [{"id": one["id"], "modified": one["modified"]} for one in shown]
        if further < len(hits) or self.fault == "endless":
            result["next_page_token"] = str(further)
        return result


def _has(record: Mapping[str, Any], ecosystem: str, name: str, version: str) -> bool:
    for entry in record["affected"]:
        package = entry.get("package", {})
        if package.get("ecosystem") != ecosystem or _plain(ecosystem, package["name"]) != _plain(ecosystem, name):
            continue
        if version in entry.get("versions", ()):
            return True
        ranges = [one for one in entry.get("ranges", ()) if one["type"] != "GIT"]
        if any(_inside(list(_events(ecosystem, one)), _key(ecosystem, version)) for one in ranges):
            return True
    return False


def _inside(events: list[tuple[Any, str]], version: Any) -> bool:
    inside = False
    for at, kind in sorted(events, key=lambda event: event[0]):
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def _events(ecosystem: str, given: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    for event in given["events"]:
        for kind, text in event.items():
            yield _key(ecosystem, text), kind


def _key(ecosystem: str, version: str) -> Any:
    """Something that orders versions; what is no version comes before them all, and so does 0."""
    try:
        parsed = Version(version) if ecosystem == "PyPI" else semver.Version.parse(version)
    except (InvalidVersion, ValueError):
        return (0, Version("0") if ecosystem == "PyPI" else semver.Version(0))
    return (0 if version == "0" else 1, parsed)


def _plain(ecosystem: str, name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower() if ecosystem == "PyPI" else name


def _handler(osv: Osv) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            osv.asked.append(f"{method} {self.path}")
            if osv.fault == "down":
                self.close_connection = True
                return
            status, answer = osv.answer(method, self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing: `asked` has it."""

    return Handler
