"""A scenario: a piece of history to replay. Parsed once, here, with errors that say what to change.

A scenario is a folder::

    scenario.toml                     dates, speed, fleet, expectation
    layers/<name>/layer.toml, …       the layer definitions that Lamina works on
    fleet/<function>/app.py, …        the functions that use the layers
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Outcome: TypeAlias = Literal["promoted", "rolled_back", "rejected", "up_to_date", "held", "failed"]
Stage: TypeAlias = Literal["resolve", "build", "verify", "canary"]

_LANGUAGES = {
    "python": (("app.py",), "with handler(event, context)"),
    "nodejs": (("app.mjs", "app.js", "app.cjs"), "that exports handler"),
}
"""How a runtime's name begins → the file that `app.handler` may be in, and what is to be there."""


class ScenarioError(Exception):
    """A scenario that cannot be replayed; the message names the file, the key and what to do."""


class _Table(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=lambda name: name.replace("_", "-")
    )


class Group(_Table):
    """One table `[fleet.<name>]`: `count` functions with the same code, layers and traffic."""

    layers: list[str] = Field(min_length=1)
    runtime: str | None = Field(None, min_length=1)
    """One that all of the layers are for; without it, the first of these that there is code for."""
    count: int | None = Field(None, ge=1)
    per_minute: float = Field(gt=0)
    """Invocations a minute, for each function; below 1 it means one every few minutes."""
    alias: str | None = Field(None, min_length=1)
    event: dict[str, Any] = {}
    error_rate: float = Field(0.0, ge=0, le=1)
    """The share of events that are sent with `{"fail": true}`."""


class Expectation(_Table):
    """The table `[expect]`: what the replay should come to; what is not named is not compared."""

    outcome: Outcome
    caught_by: Stage | None = None
    culprits: list[str] | None = None


class _File(_Table):
    title: str
    before: dt.date
    after: dt.date
    minute_seconds: float = Field(1.0, gt=0)
    warm_up_minutes: int = Field(20, ge=0)
    force: bool = False
    fleet: dict[str, Group] = {}
    expect: Expectation | None = None


class Member(BaseModel):
    """One function of the fleet, as it is to be created and called."""

    model_config = ConfigDict(frozen=True)

    name: str
    code: Path
    """The folder that holds its code."""
    runtime: str
    architectures: tuple[str, ...]
    """What all of its layers are published for."""
    layers: tuple[str, ...]
    """Names of layer definitions, in attach order."""
    per_minute: float
    alias: str | None
    event: dict[str, Any]
    error_rate: float


class Scenario(BaseModel):
    """A scenario, ready to be replayed."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The folder's name."""
    title: str
    before: dt.date
    """The package index as of this date makes the release that the fleet starts with …"""
    after: dt.date
    """… and as of this one, the update under test."""
    minute_seconds: float
    """How long a CloudWatch minute lasts, in real seconds, unless its traffic takes longer."""
    warm_up_minutes: int
    force: bool
    """Whether the update under test rebuilds and rolls out layers in which nothing changed, too."""
    definitions: Path
    """The folder with one layer definition in each folder."""
    layers: tuple[str, ...]
    fleet: tuple[Member, ...]
    expect: Expectation | None


def load(folder: Path) -> Scenario:
    """Read the scenario in `folder`; raises `ScenarioError`."""
    path = folder / "scenario.toml"
    file = _validated(path, _toml(path, "a scenario is a folder with a scenario.toml, layers/ and fleet/"))
    if file.before > file.after:
        raise ScenarioError(f"{path}: before ({file.before}) is later than after ({file.after}); swap them")

    definitions = folder / "layers"
    layers = tuple(sorted(entry.parent.name for entry in definitions.glob("*/layer.toml")))
    if not layers:
        raise ScenarioError(f"{definitions}: no layer definition; add layers/<name>/layer.toml")
    for code in sorted((folder / "fleet").glob("*/")):
        if code.name not in file.fleet:
            raise ScenarioError(f"{path}: fleet/{code.name} is not used; add a table [fleet.{code.name}]")

    members = tuple(member for name, group in file.fleet.items() for member in _members(folder, name, group))
    twice = {member.name for member in members if sum(other.name == member.name for other in members) > 1}
    if twice:
        raise ScenarioError(f"{path}: two functions would be called {min(twice)}; rename one of their folders")
    return Scenario(
        name=folder.resolve().name,
        title=file.title,
        before=file.before,
        after=file.after,
        minute_seconds=file.minute_seconds,
        warm_up_minutes=file.warm_up_minutes,
        force=file.force,
        definitions=definitions.resolve(),
        layers=layers,
        fleet=members,
        expect=file.expect,
    )


def _members(folder: Path, name: str, group: Group) -> list[Member]:
    path, key = folder / "scenario.toml", f"[fleet.{name}]"
    code = folder / "fleet" / name
    offers = [_offer(folder, key, layer) for layer in group.layers]
    runtimes = [runtime for runtime in offers[0].runtimes if all(runtime in others.runtimes for others in offers)]
    architectures = tuple(
        arch for arch in offers[0].architectures if all(arch in others.architectures for others in offers)
    )
    if not runtimes or not architectures:
        raise ScenarioError(
            f"{path}: {key} layers {', '.join(group.layers)} have no runtime and architecture in common; "
            f"align runtimes and architectures in their layer.toml"
        )
    if group.runtime is not None and group.runtime not in runtimes:
        raise ScenarioError(
            f"{path}: {key} runtime {group.runtime!r} is not what its layers {', '.join(group.layers)} are for; "
            f"use one of {', '.join(runtimes)}"
        )
    runtime = _runtime(f"{path}: {key}", code, [group.runtime] if group.runtime else runtimes, offers)
    names = [name] if group.count is None else [f"{name}-{number}" for number in range(1, group.count + 1)]
    return [
        Member(
            name=member,
            code=code.resolve(),
            runtime=runtime,
            architectures=architectures,
            layers=tuple(group.layers),
            per_minute=group.per_minute,
            alias=group.alias,
            event=group.event,
            error_rate=group.error_rate,
        )
        for member in names
    ]


def _runtime(at: str, code: Path, runtimes: Sequence[str], offers: Sequence[_Offer]) -> str:
    """The first of the runtimes that the function's folder has code for."""
    remedies = []
    for runtime in runtimes:
        for language, (files, what) in _LANGUAGES.items():
            if not runtime.startswith(language):
                continue
            if any((code / file).is_file() for file in files):
                return runtime
            remedies.append(f"fleet/{code.name}/{files[0]} {what}")
        if runtime.startswith("provided."):
            there = any(path.is_file() for path in code.rglob("*"))
            if there and ((code / "bootstrap").is_file() or any(offer.bootstrap for offer in offers)):
                return runtime
            remedies.append(f"fleet/{code.name}/bootstrap, or any file where a layer has the bootstrap")
    if not remedies:
        raise ScenarioError(
            f"{at} would run on {runtimes[0]}; functions of scenarios are for python*, nodejs* and provided.*"
        )
    raise ScenarioError(f"{at} has no code; add {'; or '.join(dict.fromkeys(remedies))}")


@dataclass(frozen=True)
class _Offer:
    """What a layer definition is for, and whether its own files have a runtime among them."""

    runtimes: Sequence[str]
    architectures: Sequence[str]
    bootstrap: bool


def _offer(folder: Path, key: str, layer: str) -> _Offer:
    """What functions need to know of a definition. Anything else in it is Lamina's to judge."""
    path = folder / "layers" / layer / "layer.toml"
    tables = _toml(path, f"{key} in scenario.toml names the layer {layer!r}; add it, or correct the name")
    table = tables.get("layer")
    table = table if isinstance(table, dict) else {}
    offer = table.get("runtimes"), table.get("architectures", ["x86_64", "arm64"])
    for value, name in zip(offer, ("runtimes", "architectures"), strict=True):
        if not (isinstance(value, list) and value and all(isinstance(entry, str) for entry in value)):
            raise ScenarioError(f"{path}: layer.{name} must be a list of strings; {key} needs it to create functions")
    files = tables.get("files")
    place = files.get("from") if isinstance(files, dict) else None
    bootstrap = isinstance(place, str) and (path.parent / place / "bootstrap").is_file()
    runtimes, architectures = offer
    return _Offer(runtimes, architectures, bootstrap)  # type: ignore[arg-type]  # just checked


def _toml(path: Path, remedy: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ScenarioError(f"{path} does not exist: {remedy}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path} is not valid TOML: {error}") from None


_REMEDIES = {
    "missing": "is missing; add it",
    "extra_forbidden": "is not a key that scenarios have; remove it or correct its name",
}


def _validated(path: Path, content: dict[str, Any]) -> _File:
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            wrong = f"{problem['msg']}; it is {problem['input']!r}"
            lines.append(f"{path}: {key} {_REMEDIES.get(problem['type'], wrong)}")
        raise ScenarioError("\n".join(lines)) from None
