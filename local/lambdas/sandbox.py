"""Starts and ends groups of processes, in private namespaces where the machine allows them.

The host's side of `nursery.py`. Nothing here touches the host's file system or mounts: what an environment sees at
``/opt``, ``/var/task``, ``/var/runtime`` and ``/tmp`` exists in its own mount namespace only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PATIENCE = 20.0  # seconds for one fork; far more than a busy machine takes
_HIDDEN = ("/opt", "/tmp", "/var/task", "/var/runtime")


class SandboxError(RuntimeError):
    """An environment could not be started."""


@dataclass(frozen=True)
class Mount:
    """``bind`` shows `source` read-only at `target`, ``share`` writable; ``shelf`` lets `target` have new folders."""

    kind: str
    source: Path | None
    target: str

    def wire(self) -> list[str]:
        """As the nursery reads it."""
        return [self.kind, str(self.source) if self.source else "", self.target]


class Sandbox:
    """A nursery and the environments it looks after. Thread safe.

    Args:
        folder: for the nursery's own log.
        namespaces: False forbids them; environments then find everything through search paths.
    """

    def __init__(self, folder: Path, *, namespaces: bool = True) -> None:
        self._log = (folder / "nursery.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True,
            env={"PATH": os.defpath}, cwd="/",
        )  # fmt: skip
        self._condition = threading.Condition()
        self._number = 0
        self._started: dict[int, dict[str, Any]] = {}
        self._alive: set[int] = set()
        self._reader = threading.Thread(target=self._listen, name="sandbox", daemon=True)
        self._reader.start()
        self.namespaces = namespaces and self._try_namespaces(folder)

    def can_hide(self, *needed: str | Path) -> bool:
        """Whether an environment's mounts leave `needed` (interpreter, certificates) visible."""
        paths = [Path(path).resolve() for path in needed] + [Path(path).absolute() for path in needed]
        return self.namespaces and not any(path.is_relative_to(hidden) for path in paths for hidden in _HIDDEN)

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        output: Path,
        mounts: Sequence[Mount] | None,
        background: bool = False,
    ) -> int:
        """Start a command as an environment of its own; returns the process ID that `kill` and `alive` take.

        In the `background` it gives way to everything else on this machine.
        """
        with self._condition:
            self._number += 1
            number = self._number
            request = {
                "start": number, "argv": list(argv), "env": dict(env), "cwd": cwd, "output": str(output),
                "mounts": None if mounts is None else [mount.wire() for mount in mounts],
                "background": background,
            }  # fmt: skip
            self._send(request)
            if not self._condition.wait_for(lambda: number in self._started, _PATIENCE):
                raise SandboxError("the nursery process does not answer; see nursery.log")
            answer = self._started.pop(number)
        if "error" in answer:
            raise SandboxError(f"no process could be started: {answer['error']}")
        return int(answer["pid"])

    def kill(self, pid: int) -> None:
        """End an environment and all of its processes; returns before they are gone."""
        with self._condition:
            if pid in self._alive:
                self._send({"kill": pid})

    def stop(self, pid: int) -> None:
        """Ask an environment's emulator to end, which tells its extensions; `wait` for it, then `kill`."""
        with self._condition:
            if pid in self._alive:
                self._send({"stop": pid})

    def alive(self, pid: int) -> bool:
        """Whether an environment's outermost process still runs."""
        with self._condition:
            return pid in self._alive

    def wait(self, pid: int, seconds: float) -> bool:
        """Wait for an environment's end; False if it lives longer than that."""
        with self._condition:
            return self._condition.wait_for(lambda: pid not in self._alive, seconds)

    def close(self) -> None:
        """End all environments and the nursery, and wait until they are gone. A second call does nothing."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
            self._process.wait()
            self._reader.join()
            if self._process.stdout:
                self._process.stdout.close()
            self._log.close()

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise SandboxError("the local Lambda has been closed") from error

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            message = json.loads(line)
            with self._condition:
                if "started" in message:
                    self._started[message["started"]] = message
                    if "pid" in message:
                        self._alive.add(message["pid"])
                else:
                    self._alive.discard(message["exited"])
                self._condition.notify_all()
        with self._condition:
            self._alive.clear()
            self._condition.notify_all()

    def _try_namespaces(self, folder: Path) -> bool:
        """Whether the mounts of an environment work here, found out by making them."""
        if not (sys.platform == "linux" and Path("/opt").is_dir() and Path("/var").is_dir()):
            return False
        with tempfile.TemporaryDirectory(dir=folder, prefix="probe-") as probe:
            source = Path(probe)
            (source / "seen").touch()
            mounts = [Mount("shelf", None, "/var"), Mount("bind", source, "/var/task"), Mount("bind", source, "/opt")]
            mounts += [Mount("share", source, "/tmp")]
            test = "test -e /opt/seen && test -e /var/task/seen && ! touch /opt/new && touch /tmp/done"
            pid = self.start(
                ["/bin/sh", "-c", test], env={"PATH": os.defpath}, cwd="/", output=source / "log", mounts=mounts
            )
            if not self.wait(pid, _PATIENCE):
                self.kill(pid)
            return (source / "done").exists()
