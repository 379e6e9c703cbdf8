"""A small npm registry of invented packages on this machine, which can refuse and fail like a real one."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote


@dataclass
class Registry:
    """Packages by name; `password`, if set, is demanded as a bearer token; `faults` are statuses by package,
    `moved` where it is instead."""

    packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    archives: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    password: str = ""
    url: str = ""
    asked: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)

    def add(self, name: str, version: str, when: str, needs: Mapping[str, str] | None = None, **more: Any) -> Registry:
        """Publish a version; `when` is a day, or empty for a registry that does not say."""
        document = self.packages.setdefault(name, {"name": name, "dist-tags": {}, "versions": {}, "time": {}})
        digest = base64.b64encode(hashlib.sha512(f"{name}@{version}".encode()).digest()).decode()
        archive = self.archives.get(f"{name}-{version}")
        if archive is not None:
            digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
        document["versions"][version] = {
            "name": name,
            "version": version,
            "dependencies": dict(needs or {}),
            "dist": {"integrity": f"sha512-{digest}", "tarball": f"{self.url}-/archives/{name}-{version}"},
            **more,
        }
        if when:
            document["time"][version] = f"{when}T12:00:00.000Z"
        if "-" not in version:
            document["dist-tags"]["latest"] = version
        return self

    def answer(self, path: str, authorization: str) -> tuple[int, bytes]:
        """Status and body."""
        name = unquote(path).lstrip("/")
        self.asked.append(name)
        self.authorizations.add(authorization)
        if self.password and authorization != f"Bearer {self.password}":
            return 401, b"{}"
        if (status := self.faults.get(name)) is not None:
            return status, b"{}" if status != 200 else b"not a packument"
        if name in self.moved:
            return 302, b""
        if name.startswith("-/archives/"):
            return 200, self.archives[name.removeprefix("-/archives/")]
        return (200, json.dumps(self.packages[name]).encode()) if name in self.packages else (404, b"{}")


@contextmanager
def served(registry: Registry) -> Iterator[Registry]:
    """The registry on a free port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = registry.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", registry.moved[unquote(self.path).lstrip("/")])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.url = f"http://127.0.0.1:{server.server_port}/"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
