"""A CodeBuild buildspec (version 0.2), read strictly: what would be ignored here is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

PHASES = ("install", "pre_build", "build", "post_build")
_TOP = {"version", "env", "phases", "artifacts"}
_ENV = {"shell", "variables", "parameter-store"}
_PHASE = {"commands", "finally", "on-failure"}
_ARTIFACTS = {"files", "base-directory", "name", "discard-paths", "exclude-paths"}


class BuildspecError(Exception):
    """A buildspec that CodeBuild would fail to read."""


@dataclass(frozen=True)
class Phase:
    """Commands of a phase; `finally_` runs whether they succeed or not; `abort` ends the build where they fail."""

    commands: list[str]
    finally_: list[str]
    abort: bool


@dataclass(frozen=True)
class Buildspec:
    """What a build is to do. `artifacts` is None where the buildspec has no such section."""

    shell: str = "sh"
    variables: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    phases: Mapping[str, Phase] = field(default_factory=dict)
    artifacts: Mapping[str, Any] | None = None


def parse(text: str) -> Buildspec:
    """Read a buildspec.

    Raises:
        BuildspecError: naming the key that is wrong.
    """
    try:
        spec = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise BuildspecError(f"YAML_FILE_ERROR: {problem}") from problem
    if not isinstance(spec, dict):
        raise BuildspecError("YAML_FILE_ERROR: the buildspec must be a mapping")
    if str(spec.get("version")) != "0.2":
        raise BuildspecError(f"YAML_FILE_ERROR: version must be 0.2, not {spec.get('version')!r}")
    _known("", spec, _TOP)
    environment = spec.get("env") or {}
    _known("env/", environment, _ENV)
    if environment.get("shell", "sh") not in ("sh", "bash", "/bin/sh", "/bin/bash"):
        raise BuildspecError(f"YAML_FILE_ERROR: env/shell {environment['shell']!r} is not available here")
    phases = spec.get("phases") or {}
    _known("phases/", phases, set(PHASES))
    if not phases:
        raise BuildspecError("YAML_FILE_ERROR: phases is required")
    artifacts = spec.get("artifacts")
    if artifacts is not None:
        _known("artifacts/", artifacts, _ARTIFACTS)
        if not artifacts.get("files"):
            raise BuildspecError("YAML_FILE_ERROR: artifacts/files is required")
    return Buildspec(
        shell=environment.get("shell", "sh"),
        variables={name: str(value) for name, value in (environment.get("variables") or {}).items()},
        parameters=environment.get("parameter-store") or {},
        phases={name: _phase(name, phases[name] or {}) for name in PHASES if name in phases},
        artifacts=artifacts,
    )


def _phase(name: str, phase: Any) -> Phase:
    _known(f"phases/{name}/", phase, _PHASE)
    lists = []
    for key in ("commands", "finally"):
        commands = phase.get(key, [])
        commands = [commands] if isinstance(commands, str) else commands
        if not isinstance(commands, list) or not all(isinstance(command, str) for command in commands):
            raise BuildspecError(f"YAML_FILE_ERROR: phases/{name}/{key}: every command must be a string; quote it")
        lists.append(commands)
    return Phase(
        lists[0],
        lists[1],
        phase.get("on-failure", "ABORT" if name in ("install", "pre_build") else "CONTINUE") == "ABORT",
    )


def _known(where: str, mapping: Any, known: set[str]) -> None:
    if not isinstance(mapping, dict):
        raise BuildspecError(f"YAML_FILE_ERROR: {where} must be a mapping")
    for key in sorted(set(mapping) - known, key=str):
        raise BuildspecError(f"YAML_FILE_ERROR: {where}{key} is not supported here")
