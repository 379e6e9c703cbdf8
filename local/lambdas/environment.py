"""One execution environment: a process group that runs a function's code, one invocation at a time."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.lambdas.bootstrap import MARK
from local.lambdas.launching import Places, command, details, variables
from local.lambdas.runtimes import RUNTIME_FOLDER, Runtime
from local.lambdas.sandbox import Mount, Sandbox, SandboxError
from local.lambdas.wire import Connection, Disconnected

SHUTDOWN_SECONDS = 2.0  # how long Lambda lets extensions take after the SHUTDOWN event
INIT_SECONDS = 10.0  # Lambda's limit for the initialisation, before the function's own timeout begins
_MARK = MARK.encode()
_INVOCATIONS = "/2015-03-31/functions/function/invocations"
# The emulator's own timeout only backs ours up; ours is exact, and starts after the initialisation as in Lambda.
_BACKSTOP = 600
_PORTS = range(20000, 32000)  # below the range that systems use for outgoing connections
_LOG_LIMIT = 4 << 20
# What a company's network needs to trust its certificates is all that functions get from this machine's environment.
TRUST = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
)


@dataclass(frozen=True)
class Blueprint:
    """All that an environment is made of."""

    function: str
    version: str  # "$LATEST" or a number
    arn: str  # of the function, unqualified
    handler: str
    timeout: int  # seconds
    memory: int  # MB
    runtime: Runtime
    code: Path
    layers: Path
    log_stream: str
    variables: Mapping[str, str]  # the function's and Lambda's own, without those that depend on paths
    background: bool = False  # gives way to everything else on this machine
    lifetime: int | None = None  # invocations after which it is ended; None for as many as there are
    extensions: tuple[str, ...] = ()  # names of the programs in the layers' extensions/
    farewell: Callable[[list[str]], None] | None = None  # takes the lines that extensions print at the end


@dataclass(frozen=True)
class Outcome:
    """What one invocation came to."""

    payload: bytes
    error: str | None  # "Unhandled", as Lambda reports it
    request_id: str
    init_lines: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)  # what the function printed
    duration_ms: float = 0.0
    init_ms: float | None = None  # of a cold start
    memory_mb: int = 0  # the most that the runtime has used so far
    broken: bool = False  # the environment can run nothing more
    timed_out: bool = False


class Environment:
    """Started on construction; the first invocation initialises it. Raises SandboxError where it cannot start."""

    def __init__(self, sandbox: Sandbox, blueprint: Blueprint, folder: Path) -> None:
        self.blueprint = blueprint
        self.last_used = time.monotonic()
        self.usable = True
        self._invocations = 0
        self._memory = 0
        self._sandbox = sandbox
        self.folder = folder
        self._cold = True
        self._init_end: float | None = None
        self._read = 0
        folder.mkdir(parents=True)
        (folder / "tmp").mkdir(mode=0o777)
        trust = {name: os.environ[name] for name in TRUST if os.environ.get(name)}
        seen = [] if blueprint.runtime.kind == "nodejs" else [blueprint.runtime.interpreter]
        hidden = sandbox.can_hide(*seen, *trust.values())
        if blueprint.extensions and not hidden:
            raise SandboxError(
                f"{blueprint.function}: its layers bring extensions ({', '.join(blueprint.extensions)}), which are "
                "found at /opt only, and this machine allows no private mounts"
            )
        for attempt in range(3):
            self._port, api_port = _free_ports()
            self._pid = self._start(trust, hidden, self._port, api_port)
            self._connection = Connection(self._port, _INVOCATIONS)
            if self._connected():
                break
            self._connection.close()
            sandbox.kill(self._pid)
            if attempt == 2:
                self.usable = False
                raise SandboxError(f"{blueprint.function}: its environment did not start: {self._tail()}")
        self._log = (folder / "log").open("rb", buffering=0)

    def invoke(self, payload: bytes, qualifier: str = "", client_context: str | None = None) -> Outcome:
        """Run the handler once with a JSON `payload`; its context shows the qualifier, and the client's own context."""
        cold, self._cold = self._cold, False
        self._invocations += 1
        began = time.monotonic()
        headers = b""
        if qualifier or client_context:
            # The emulator hands nothing else of a request to the runtime; `bootstrap.py` unpacks it.
            packed = json.dumps({"qualifier": qualifier, "context": client_context}).encode()
            headers = b"X-Amz-Client-Context: %s\r\n" % base64.b64encode(packed)
        timed_out = False
        try:
            status, answer = self._connection.post(payload, headers, _Patience(self, began, cold))
        except TimeoutError:
            status, answer, timed_out = 0, b"", True
        except Disconnected:
            status, answer = 0, b""
        ended = self.last_used = time.monotonic()
        request_id, marks, init_lines, lines = self._new_output()
        init_ms = marks.get("init")
        self._memory = int(marks.get("memory", self._memory))
        if init_ms is not None and self._init_end is not None:
            if self.blueprint.extensions:  # the emulator starts them first, and Lambda counts that
                init_ms = max(init_ms, (self._init_end - began) * 1000)
            began = max(began, self._init_end)
        duration = (ended - began) * 1000
        if timed_out:
            duration = self.blueprint.timeout * 1000.0
            answer = _error(
                request_id, "Sandbox.Timedout", f"Task timed out after {self.blueprint.timeout:.2f} seconds"
            )
        elif status == 0 or not answer:
            # The emulator says nothing about what ends before it is ready.
            answer = self._ended(request_id, marks)
        elif status != 200 and b'"requestId": ""' in answer:
            answer = answer.replace(b'"requestId": ""', b'"requestId": "%s"' % request_id.encode(), 1)
        broken = status != 200
        if broken:
            self.close()
        return Outcome(
            payload=answer,
            error="Unhandled" if broken or "error" in marks else None,
            request_id=request_id,
            init_lines=init_lines,
            lines=lines,
            duration_ms=duration,
            init_ms=init_ms if init_ms is not None else (duration if cold and broken else None),
            memory_mb=self._memory,
            broken=broken,
            timed_out=timed_out,
        )

    def alive(self) -> bool:
        """Whether its processes still run."""
        return self.usable and self._sandbox.alive(self._pid)

    def worn(self) -> bool:
        """Whether it has had all the invocations that it lives for."""
        return self.blueprint.lifetime is not None and self._invocations >= self.blueprint.lifetime

    def close(self) -> None:
        """End all of its processes and remove its folder. Extensions are told before. Safe to call twice."""
        if self.usable:
            self.usable = False
            self._connection.close()
            if self.blueprint.extensions and self._sandbox.alive(self._pid):
                threading.Thread(target=self._shut_down, name="lambda-shutdown", daemon=True).start()
            else:
                self._end()

    def _shut_down(self) -> None:
        """The SHUTDOWN event for extensions, the time that Lambda gives them, and what they say in it."""
        try:
            self._sandbox.stop(self._pid)
            self._sandbox.wait(self._pid, SHUTDOWN_SECONDS)
        except SandboxError:
            return
        if hasattr(self, "_log"):
            *_, lines = self._new_output()
            if lines and self.blueprint.farewell is not None:
                self.blueprint.farewell(lines)
        self._end()

    def _end(self) -> None:
        try:
            self._sandbox.kill(self._pid)
        except SandboxError:
            return  # the sandbox was closed, and has ended everything
        if hasattr(self, "_log"):
            self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ended(self, request_id: str, marks: Mapping[str, float]) -> bytes:
        """Why an environment ended without an answer, as far as can be told from outside."""
        if marks.get("exit"):
            said = f"Runtime exited with error: exit status {marks['exit']:.0f}"
            return _error(request_id, "Runtime.ExitError", said)
        if "exit" in marks or not self.blueprint.extensions:
            return _error(request_id, "Runtime.ExitError", "Runtime exited without providing a reason")
        for name in self.blueprint.extensions:
            if not os.access(self.blueprint.layers / "extensions" / name, os.X_OK):
                denied = f"fork/exec /opt/extensions/{name}: permission denied"
                return _error(request_id, "Extension.LaunchError", denied)
        return _error(request_id, "Extension.Crash", f"an extension ended ({', '.join(self.blueprint.extensions)})")

    def _start(self, trust: Mapping[str, str], hidden: bool, port: int, api_port: int) -> int:
        blueprint, runtime = self.blueprint, self.blueprint.runtime
        task, opt = ("/var/task", "/opt") if hidden else (str(blueprint.code), str(blueprint.layers))
        own, home = (RUNTIME_FOLDER, "/tmp") if hidden else (str(runtime.folder), str(self.folder / "tmp"))
        places = Places(task, opt, own, home)
        environment = {**variables(runtime, places, blueprint.handler), **trust, **blueprint.variables}
        setup = {
            "environment": environment,
            "runtime": own,
            "cwd": task,
            "arn": blueprint.arn,
            "timeout": blueprint.timeout,
            **details(runtime, places, environment),
        }
        emulator = [f"{own}/aws-lambda-rie", "--log-level", "fatal"]
        emulator += ["--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
        emulator += ["--runtime-api-address", f"127.0.0.1:{api_port}"]
        mounts = [
            Mount("shelf", None, "/var"),
            Mount("bind", blueprint.code, "/var/task"),
            Mount("bind", runtime.folder, RUNTIME_FOLDER),
            Mount("bind", blueprint.layers, "/opt"),
            Mount("share", self.folder / "tmp", "/tmp"),
        ]
        return self._sandbox.start(
            [*emulator, *command(runtime, places, environment)],
            env=environment
            | {"AWS_LAMBDA_FUNCTION_TIMEOUT": str(blueprint.timeout + _BACKSTOP), "LAMINA_SETUP": json.dumps(setup)}
            | ({"PYTHONPATH": own} if runtime.kind == "python" else {}),
            cwd=task,
            output=self.folder / "log",
            mounts=mounts if hidden else None,
            background=blueprint.background,
        )

    def _connected(self) -> bool:
        limit = time.monotonic() + INIT_SECONDS
        pause = 0.001
        while time.monotonic() < limit and self._sandbox.alive(self._pid):
            try:
                self._connection.connect()
                return self._sandbox.alive(self._pid)  # else somebody else took the port
            except ConnectionRefusedError:
                self._sandbox.wait(self._pid, pause)
                pause = min(pause * 2, 0.02)
        return False

    def _initialised_at(self) -> float | None:
        """When the runtime asked for its first event, on the monotonic clock that all processes share."""
        if self._init_end is None:
            text = os.pread(self._log.fileno(), _LOG_LIMIT, self._read)
            if (at := text.find(_MARK + b"init ")) >= 0:
                self._init_end = float(text[at + 6 : at + 60].split(None, 1)[0])
        return self._init_end

    def _new_output(self) -> tuple[str, dict[str, float], list[str], list[str]]:
        """What was written since the last call: request ID, marks, lines of the initialisation, of the invocation."""
        parts = []
        while data := os.pread(self._log.fileno(), 1 << 20, self._read):
            parts.append(data)
            self._read += len(data)
        text = b"".join(parts)
        if self._read > _LOG_LIMIT:
            os.truncate(self.folder / "log", 0)
            self._read = 0
        start = text.find(b"START RequestId: ")
        request_id = text[start + 17 : start + 53].decode() if start >= 0 else _request_id()
        head, body = (text[:start], text[text.find(b"\n", start) + 1 :]) if start >= 0 else (b"", text)
        if (end := body.rfind(b"END RequestId: " + request_id.encode())) >= 0:
            # After END and the emulator's REPORT only an extension still has something to say.
            after = body[end:].split(b"\n", 2)[2:]
            body = body[:end] + (after[0] if after else b"")
        marks: dict[str, float] = {}
        init_lines: list[str] = []
        lines: list[str] = []
        for line in [*head.split(b"\n"), *body.split(b"\n")]:
            if not line:
                continue
            mark = line.find(_MARK)
            if mark >= 0:
                line, text_of_mark = line[:mark], line[mark + 1 :]
                name, *values = text_of_mark.split()
                marks[name.decode()] = float(values[-1]) if values else 0.0
                if name == b"init":
                    self._init_end = float(values[0])
                    init_lines, lines = [*lines, *([_text(line)] if line else [])], []
                    continue
                if not line:
                    continue
            lines.append(_text(line))
        return request_id, marks, init_lines, lines

    def _tail(self) -> str:
        log = self.folder / "log"
        return log.read_text(errors="replace")[-1000:].strip() if log.exists() else "it wrote nothing"


class _Patience:
    """How long an answer may still be waited for: the function's timeout, after up to ten seconds of initialisation."""

    def __init__(self, environment: Environment, began: float, cold: bool) -> None:
        self._environment = environment
        self._timeout = float(environment.blueprint.timeout)
        self._began = began
        self._cold = cold

    def __call__(self) -> float:
        passed = time.monotonic() - self._began
        if self._cold:
            if passed < self._timeout:  # nothing can time out earlier
                return self._timeout - passed
            if (end := self._environment._initialised_at()) is None:
                limit = INIT_SECONDS + self._timeout
                return min(0.05, limit - passed)
            passed = time.monotonic() - max(end, self._began)
        return self._timeout - passed


def _text(line: bytes) -> str:
    # The interface client writes a record's line breaks as carriage returns; CloudWatch shows them as line breaks.
    return line.decode(errors="replace").replace("\r", "\n").rstrip("\n")


def _error(request_id: str, kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {message}"}).encode()


def _request_id() -> str:
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _free_ports() -> tuple[int, int]:
    """Two ports on which nobody listens right now."""
    found: list[int] = []
    while len(found) < 2:
        port = random.choice(_PORTS)
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found[0], found[1]
