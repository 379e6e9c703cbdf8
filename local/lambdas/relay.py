"""Starts the ``bootstrap`` of a function or a layer as Lambda does, and stands between it and the Runtime API.

A custom runtime is a program that nobody here wrote, so what `bootstrap.py` does inside a Python process happens around
this one: it gets exactly the variables that Lambda sets, it sees the ARN that was invoked and the deadline, and its
calls leave the marks in the log that tell the end of the initialisation, and an error from a value that looks like one.
Every request is handed on to the emulator unchanged. Standard library only; runs in the execution environment.
"""

import http.client
import json
import os
import random
import signal
import socketserver
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

MARK = "\x1e"  # begins a line that is for the local Lambda and not for the log
_HANDED_ON = ("content-type", "lambda-runtime-function-error-type", "lambda-runtime-function-response-mode")


def main() -> None:
    """Start the first of the bootstraps that there is, and end as it ends."""
    began = time.monotonic()
    setup: dict[str, Any] = json.loads(os.environ["LAMINA_SETUP"])
    emulator = os.environ["AWS_LAMBDA_RUNTIME_API"]
    program = next((path for path in setup["bootstraps"] if os.path.isfile(path)), "")  # noqa: PTH113
    if not program:
        _refuse(emulator, "Couldn't find valid bootstrap(s): [" + " ".join(setup["bootstraps"]) + "]")
    server = _Server(("127.0.0.1", 0), _Relay)
    server.setup, server.emulator, server.began = setup, emulator, began
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**setup["environment"], "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_address[1]}"}
    try:
        child = subprocess.Popen([program], env=environment, cwd=setup["cwd"])
    except OSError as error:
        _refuse(emulator, f"fork/exec {program}: {(error.strerror or 'exec format error').lower()}")
    server.child = child.pid
    threading.Thread(target=_outlive_nobody, args=(os.getppid(),), daemon=True).start()
    status = child.wait()
    _mark(f"exit {status}")
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)


def _outlive_nobody(emulator: int) -> None:
    """End everything of this runtime once the emulator is gone: a bootstrap that nobody answers asks for ever."""
    while os.getppid() == emulator:
        time.sleep(0.25)
    os.killpg(os.getpgrp(), signal.SIGKILL)


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    setup: dict[str, Any]
    emulator: str
    began: float
    child = 0
    initialised = False


class _Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        if self.path.endswith("/invocation/next") and not self.server.initialised:
            self.server.initialised = True
            now = time.monotonic()
            _mark(f"init {now} {(now - self.server.began) * 1000:.2f}")
        self._hand_on(b"")

    def do_POST(self) -> None:
        body = self._body()
        if "/invocation/" in self.path:
            _mark(f"memory {_peak(self.server.child)}")
        if self.path.endswith("/error"):
            _mark("error")
        self._hand_on(body)

    def _hand_on(self, body: bytes) -> None:
        upstream = http.client.HTTPConnection(self.server.emulator)
        headers = {name: value for name in _HANDED_ON if (value := self.headers.get(name))}
        upstream.request(self.command, self.path, body or None, headers)
        answer = upstream.getresponse()
        content = answer.read()
        sent = {name: value for name, value in answer.getheaders() if name.lower() not in ("content-length", "date")}
        if "Lambda-Runtime-Aws-Request-Id" in sent:
            sent = _completed(sent, self.server.setup)
        self.send_response(answer.status)
        for name, value in sent.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            continue  # trailers
        return b"".join(parts)

    def log_message(self, format: str, *arguments: Any) -> None:
        return  # what is printed here would be the function's log


def _completed(sent: dict[str, str], setup: dict[str, Any]) -> dict[str, str]:
    """An event's headers as Lambda sends them: qualifier, deadline and trace are not the emulator's business."""
    packed = json.loads(sent.pop("Lambda-Runtime-Client-Context", "") or "{}")
    qualifier = f":{packed['qualifier']}" if packed.get("qualifier") else ""
    sent["Lambda-Runtime-Invoked-Function-Arn"] = setup["arn"] + qualifier
    sent["Lambda-Runtime-Deadline-Ms"] = str(int((time.time() + setup["timeout"]) * 1000))
    sent["Lambda-Runtime-Trace-Id"] = (
        f"Root=1-{int(time.time()):08x}-{random.getrandbits(96):024x};Parent={random.getrandbits(64):016x};Sampled=0"
    )
    if packed.get("context"):
        sent["Lambda-Runtime-Client-Context"] = packed["context"]
    return sent


def _refuse(emulator: str, reason: str) -> None:
    """Tell that the runtime cannot start, and end."""
    body = json.dumps({"errorType": "Runtime.InvalidEntrypoint", "errorMessage": reason})
    upstream = http.client.HTTPConnection(emulator)
    headers = {"Lambda-Runtime-Function-Error-Type": "Runtime.InvalidEntrypoint"}
    upstream.request("POST", "/2018-06-01/runtime/init/error", body, headers)
    upstream.getresponse().read()
    os._exit(1)


def _peak(process: int) -> int:
    """The most memory in MB that a process has held so far."""
    try:
        with open(f"/proc/{process}/status") as status:  # noqa: PTH123
            return next((int(line.split()[1]) >> 10 for line in status if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def _mark(text: str) -> None:
    os.write(1, f"{MARK}{text}\n".encode())


if __name__ == "__main__":
    main()
