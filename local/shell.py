"""One shell that runs commands one after another and keeps its variables and folder between them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO


class Shell:
    """A bash in a process group of its own; output of every command goes to `log`."""

    def __init__(self, folder: Path, environment: Mapping[str, str], scratch: Path, log: IO[bytes]) -> None:
        self._scratch = scratch
        self._count = 0
        self._answers, answers = os.pipe()
        self._fd = answers
        self._process = subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc", "-s"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(answers,),
            start_new_session=True,
        )
        os.close(answers)

    def run(self, command: str) -> int:
        """Run one command, which may have many lines; returns its exit status.

        A command that leaves the shell (`exit 3`, a kill) ends the shell too; see `alive`.
        """
        self._count += 1
        script = self._scratch / f"command-{self._count}.sh"
        script.write_text(command + "\n")
        assert self._process.stdin is not None
        line = f". {script} </dev/null {self._fd}>&-; echo $? >&{self._fd}\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return self._process.wait()
        answer = b""
        while not answer.endswith(b"\n"):
            chunk = os.read(self._answers, 16)
            if not chunk:
                status = self._process.wait()
                return status if status > 0 else 128 - status if status < 0 else 0
            answer += chunk
        return int(answer)

    @property
    def alive(self) -> bool:
        """Whether the shell is still there to take a command."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the shell and everything in its process group."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def close(self) -> None:
        """Kill what is left and let go of the pipes."""
        self.kill()
        self._process.wait()
        if self._process.stdin is not None:
            # There may be bytes left for a shell that is gone already.
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        os.close(self._answers)
