"""The process that starts, watches and ends execution environments. Runs on its own; imports nothing of this project.

One process, one thread, started as ``python -I -S nursery.py``. Being small and single-threaded it can fork safely and
quickly, set up private namespaces with a handful of system calls, and guarantee that nothing outlives it:

* it ends everything when its standard input closes, which happens however its parent dies;
* each environment is killed by the kernel should this process die first (``PR_SET_PDEATHSIG``);
* with namespaces, an environment's first process is the init of a PID namespace, so its end is the end of all others.

Requests and answers are JSON, one a line::

    → {"start": 7, "argv": […], "env": {…}, "cwd": "/", "output": "/…/log", "mounts": […] or null}
    ← {"started": 7, "pid": 4711}            or  {"started": 7, "error": "…"}
    → {"stop": 4711}                         asks the program itself to end; nothing is answered
    → {"kill": 4711}
    ← {"exited": 4711, "status": -9}         also when it ended by itself

``mounts`` set to null runs the environment without namespaces. Otherwise they happen, in order, in a mount namespace of
the environment's own, where nothing done is seen outside. Each is ``[kind, source, target]``: ``bind`` shows a folder
read-only, ``share`` shows one writable, ``shelf`` covers the target with an empty folder that shows the same entries,
and to which new folders can be added.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_NEWNS, _NEWUSER, _NEWPID = 0x00020000, 0x10000000, 0x20000000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
# statvfs flags that a remount inside a user namespace must repeat, or it is refused: nosuid, nodev, noexec, noatime …
_KEPT_FLAGS = {2: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}


def _call(name: str, *arguments: Any) -> None:
    if getattr(_LIBC, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    _call("mount", source.encode(), target.encode(), kind.encode() if kind else None, flags, None)


def _bind(descriptor: int, target: str, *, read_only: bool) -> None:
    _mount(f"/proc/self/fd/{descriptor}", target, None, _BIND | _REC)
    if read_only:
        present = os.statvfs(target).f_flag
        kept = sum(flag for bit, flag in _KEPT_FLAGS.items() if present & bit)
        _mount("none", target, None, _REMOUNT | _BIND | _RDONLY | kept)


def _shelf(target: str) -> None:
    entries = list(Path(target).iterdir())
    links = {entry: entry.readlink() for entry in entries if entry.is_symlink()}
    folders = {entry: os.open(entry, os.O_PATH) for entry in entries if entry.is_dir() and entry not in links}
    _mount("tmpfs", target, "tmpfs", 0)
    for entry, points_to in links.items():
        entry.symlink_to(points_to)
    for entry, descriptor in folders.items():
        entry.mkdir()
        _bind(descriptor, str(entry), read_only=False)
        os.close(descriptor)


def _enter_namespaces(mounts: list[list[str]]) -> None:
    user, group = os.geteuid(), os.getegid()
    if user != 0:
        _call("unshare", _NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _call("unshare", _NEWNS | _NEWPID)
    _mount("none", "/", None, _REC | _PRIVATE)
    # Sources are opened before anything is covered: a later mount may hide where they lie.
    sources = {source: os.open(source, os.O_PATH) for kind, source, _ in mounts if kind in ("bind", "share")}
    for kind, source, target in mounts:
        if kind == "shelf":
            _shelf(target)
        else:
            Path(target).mkdir(exist_ok=True)
            _bind(sources[source], target, read_only=kind == "bind")
    for descriptor in sources.values():
        os.close(descriptor)


def _die_with(parent: int) -> None:
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() not in (parent, 0):  # a new PID namespace sees its parent as 0
        os._exit(125)


def _become(request: dict[str, Any]) -> None:
    """In the forked child: enter the namespaces, then run the command. Never returns."""
    status = 126
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        if request["background"]:
            os.nice(10)
        output = os.open(request["output"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, 64)
        if request["mounts"] is not None:
            _enter_namespaces(request["mounts"])
            inner = os.fork()
            if inner:
                _, result = os.waitpid(inner, 0)
                os._exit(os.waitstatus_to_exitcode(result) & 0xFF)
            _die_with(0)
        os.chdir(request["cwd"])
        os.execve(request["argv"][0], request["argv"], request["env"])
    except BaseException as error:
        os.write(2, f"environment not started: {error}\n".encode())
    finally:
        os._exit(status)


class Nursery:
    """The environments by the process ID of their outermost process; True where it has a PID namespace."""

    def __init__(self) -> None:
        self.environments: dict[int, bool] = {}

    def handle(self, request: dict[str, Any]) -> None:
        """Carry out one request."""
        if "start" in request:
            try:
                parent = os.getpid()
                pid = os.fork()
                if pid == 0:
                    _die_with(parent)
                    _become(request)
            except OSError as error:
                _answer({"started": request["start"], "error": str(error)})
            else:
                self.environments[pid] = request["mounts"] is not None
                _answer({"started": request["start"], "pid": pid})
        elif "stop" in request:
            self.stop(request["stop"])
        elif "kill" in request:
            self.kill(request["kill"])

    def stop(self, pid: int) -> None:
        """Ask an environment's program to end. Unknown or ended ones are ignored."""
        if pid in self.environments:
            # In a PID namespace the program is the child of the process that waits for it.
            for program in _children(pid) if self.environments[pid] else [pid]:
                os.kill(program, signal.SIGTERM)

    def kill(self, pid: int) -> None:
        """End an environment with all of its processes. Unknown or ended ones are ignored."""
        if pid not in self.environments:
            return
        if not self.environments[pid]:
            for member in _session(pid):
                os.kill(member, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)

    def reap(self) -> None:
        """Take note of the processes that have ended, orphans that came here among them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.environments.pop(pid, None) is False:
                for member in _session(pid):
                    os.kill(member, signal.SIGKILL)
            _answer({"exited": pid, "status": os.waitstatus_to_exitcode(status)})

    def end(self) -> None:
        """Kill everything and wait until it is gone."""
        for pid in list(self.environments):
            self.kill(pid)
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return


def _children(parent: int) -> list[int]:
    """The processes that a process has started and that still live."""
    try:
        return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return []


def _session(leader: int) -> list[int]:
    """The living processes of the session that `leader` began; the emulator gives its children groups of their own."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] not in (b"Z", b"X") and int(fields[3]) == leader:
                members.append(int(entry.name))
    return members


def _answer(message: dict[str, Any]) -> None:
    try:
        os.write(1, json.dumps(message).encode() + b"\n")
    except BrokenPipeError:
        return  # the parent is gone, and standard input says so too


def main() -> None:
    """Serve requests until standard input closes."""
    _call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides what it means
    awake, wake = os.pipe()
    for descriptor in (awake, wake):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    nursery, waiting = Nursery(), b""
    while True:
        ready, _, _ = select.select([0, awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
            nursery.reap()
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                nursery.handle(json.loads(line))
    nursery.end()
    sys.exit(0)


if __name__ == "__main__":
    main()
