"""How the runtimes of each language are started: variables, command line, and what their programs are told besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.lambdas.runtimes import Runtime

_OFF = {
    # What Lambda switches off in a version of Node.js, unless NODE_OPTIONS asks for it.
    "20": ("require-module",),
    "22": ("require-module", "detect-module"),
}


@dataclass(frozen=True)
class Places:
    """Where the environment sees its folders: Lambda's own places, or this machine's where it allows no mounts."""

    task: str  # the function's code
    opt: str  # the layers
    own: str  # the runtime
    home: str  # writable


def variables(runtime: Runtime, at: Places, handler: str) -> dict[str, str]:
    """The variables that Lambda sets and a function may override."""
    common = {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": f"/usr/local/bin:/usr/bin:/bin:{at.opt}/bin",
        "LD_LIBRARY_PATH": f"{at.task}:{at.task}/lib:{at.opt}/lib",
        "HOME": at.home,
        "TMPDIR": at.home,
        "LAMBDA_TASK_ROOT": at.task,
        "LAMBDA_RUNTIME_DIR": at.own,
        "_HANDLER": handler,
    }
    if runtime.kind == "provided":
        return common
    common["PATH"] = f"{at.own if runtime.kind == 'nodejs' else runtime.interpreter.parent}:{common['PATH']}"
    if runtime.kind == "nodejs":
        modules = (f"{at.opt}/nodejs/node{runtime.version}/node_modules", f"{at.opt}/nodejs/node_modules")
        return common | {"NODE_PATH": ":".join((*modules, f"{at.own}/node_modules", at.own, at.task))}
    return common | {"PYTHONPATH": at.own, "PYTHONNOUSERSITE": "1"}


def details(runtime: Runtime, at: Places, environment: Mapping[str, str]) -> dict[str, Any]:
    """What `bootstrap.py`, `bootstrap.mjs` or `relay.py` is told besides the variables."""
    if runtime.kind == "nodejs":
        return {"node": int(runtime.version)}
    if runtime.kind == "provided":
        return {"bootstraps": [f"{at.task}/bootstrap", f"{at.opt}/bootstrap"]}
    return {
        "path": [
            at.task,
            f"{at.opt}/python/lib/python{runtime.version}/site-packages",
            f"{at.opt}/python",
            *(path for path in environment["PYTHONPATH"].split(":") if path != at.own),
        ]
    }


def command(runtime: Runtime, at: Places, environment: Mapping[str, str]) -> list[str]:
    """The command line that the emulator starts as the runtime."""
    interpreter = str(runtime.interpreter)
    if runtime.kind == "nodejs":
        wishes = environment.get("NODE_OPTIONS", "")
        off = [name for name in _OFF.get(runtime.version, ()) if f"--experimental-{name}" not in wishes]
        return [f"{at.own}/node", *(f"--no-experimental-{name}" for name in off), f"{at.own}/bootstrap.mjs"]
    if runtime.kind == "provided":
        return [interpreter, "-I", "-S", f"{at.own}/relay.py"]
    return [interpreter, "-S", "-s", f"{at.own}/bootstrap.py"]
