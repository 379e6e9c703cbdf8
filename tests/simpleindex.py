"""A package index on this machine, for what a real one does not show on demand: credentials, faults, no upload times.

with SimpleIndex(credentials=("user", "secret")) as index:
    index.add("acme-core", "1.0", requires=["requests"], uploaded=datetime(2024, 1, 1, tzinfo=UTC))
    ... index.url ...
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

JSON = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True)
class File:
    """One distribution that the index has."""

    name: str
    version: str
    body: bytes
    uploaded: datetime | None
    yanked: bool | str
    requires_python: str


@dataclass
class SimpleIndex:
    """The server; `status` answers every page of the index with that status, `broken` those of some packages alone."""

    credentials: tuple[str, str] | None = None
    status: int | None = None
    broken: dict[str, int] = field(default_factory=dict)
    files: dict[str, list[File]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(
        self,
        package: str,
        version: str,
        *,
        requires: Sequence[str] = (),
        uploaded: datetime | None = None,
        yanked: bool | str = False,
        requires_python: str = "",
        tag: str = "py3-none-any",
        modules: Mapping[str, str] | None = None,
    ) -> None:
        """Upload a wheel that holds these modules, and for the rest nothing but its metadata."""
        stem = package.replace("-", "_")
        lines = ["Metadata-Version: 2.1", f"Name: {package}", f"Version: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        lines += [f"Requires-Python: {requires_python}"] if requires_python else []
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w") as wheel:
            info = f"{stem}-{version}.dist-info"
            wheel.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
            wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
            for module, text in (modules or {}).items():
                wheel.writestr(module, text)
            wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in wheel.namelist()))
        file = File(f"{stem}-{version}-{tag}.whl", version, body.getvalue(), uploaded, yanked, requires_python)
        self.files.setdefault(package, []).append(file)

    @property
    def url(self) -> str:
        """The root of the index."""
        return f"http://127.0.0.1:{self._server.server_port}/simple"

    def __enter__(self) -> SimpleIndex:
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index._answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        folder, _, rest = request.path.strip("/").partition("/")
        package = rest.strip("/")
        if folder == "simple":
            self.asked.append(package)
        if self.credentials and request.headers.get("Authorization") != _basic(self.credentials):
            _reply(request, 401, b"", {"WWW-Authenticate": 'Basic realm="index"'})
        elif folder == "simple" and (status := self.broken.get(package, self.status)) is not None:
            _reply(request, status, b"")
        elif folder == "simple" and package in self.files:
            _reply(request, 200, self._page(package), {"Content-Type": JSON})
        elif folder == "files" and (body := self._body(rest)) is not None:
            _reply(request, 200, body)
        else:
            _reply(request, 404, b"")

    def _page(self, package: str) -> bytes:
        files = [
            {
                "filename": file.name,
                "url": f"../../files/{file.name}",
                "hashes": {"sha256": hashlib.sha256(file.body).hexdigest()},
                "yanked": file.yanked,
                **({"requires-python": file.requires_python} if file.requires_python else {}),
                **({"upload-time": f"{file.uploaded:%Y-%m-%dT%H:%M:%SZ}"} if file.uploaded else {}),
            }
            for file in self.files[package]
        ]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": package, "files": files}).encode()

    def _body(self, name: str) -> bytes | None:
        return next((file.body for files in self.files.values() for file in files if file.name == name), None)


def _basic(credentials: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(credentials).encode()).decode()


def _reply(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
