"""A scenario: a piece of history to replay. Parsed once, here, with errors that say what to change.

A scenario is a folder::

    scenario.toml                     dates, speed, fleet, trouble, expectation
    layers/<name>/layer.toml, …       the layer definitions that Lamina works on
    layers-after/<name>/…             files that take the place of those in layers/ for the update under test
    fleet/<function>/app.py, …        the functions that use the layers
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from local.scenariofile import Anchor, Expectation, Group, ScenarioError, Trouble, read_file, read_toml

_LANGUAGES = {
    "python": (("app.py",), "with handler(event, context)"),
    "nodejs": (("app.mjs", "app.js", "app.cjs"), "that exports handler"),
}
"""How a runtime's name begins → the file that `app.handler` may be in, and what is to be there."""

IMAGE = "provided.al2023"
"""The runtime in the name of image functions, which have none."""


class Member(BaseModel):
    """One function of the fleet, as it is to be created and called."""

    model_config = ConfigDict(frozen=True)

    name: str
    code: Path
    """The folder that holds its code; of an image nothing is read."""
    runtime: str
    architectures: tuple[str, ...]
    """What all of its layers are published for."""
    layers: tuple[str, ...]
    """Names of layer definitions, in attach order."""
    per_minute: float
    """Invocations a minute; 0 for one that nobody calls."""
    alias: str | None
    event: dict[str, Any]
    error_rate: float
    invocations_per_environment: int | None = None
    unreleased: bool = False
    provisioned_concurrency: int | None = None
    snap_start: bool = False
    fill_mb: float | None = None
    package: Literal["zip", "image"] = "zip"
    state: Literal["Active", "Inactive", "Failed"] = "Active"
    tags: dict[str, str] = {}


@dataclass(frozen=True)
class Outage:
    """Minutes in which functions fail, counted from an anchor."""

    after: Anchor
    from_minute: int
    minutes: int
    functions: frozenset[str]
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
    next_day: dt.date | None
    """… and as of this one, if any, an update after that."""
    minute_seconds: float
    """How long a CloudWatch minute lasts, in real seconds, unless its traffic takes longer."""
    warm_up_minutes: int
    force: bool
    """Whether the update under test rebuilds and rolls out layers in which nothing changed, too."""
    definitions: Path
    """The folder with one layer definition in each folder."""
    definitions_after: Path | None
    """The folder with files that take the place of the definitions' own for the update under test."""
    layers: tuple[str, ...]
    fleet: tuple[Member, ...]
    trouble: tuple[Outage, ...]
    expect: Expectation | None


def load(folder: Path) -> Scenario:
    """Read the scenario in `folder`; raises `ScenarioError`."""
    path = folder / "scenario.toml"
    file = read_file(path)
    definitions = folder / "layers"
    layers = tuple(sorted(entry.parent.name for entry in definitions.glob("*/layer.toml")))
    if not layers:
        raise ScenarioError(f"{definitions}: no layer definition; add layers/<name>/layer.toml")
    for code in sorted((folder / "fleet").glob("*/")):
        if code.name not in file.fleet:
            raise ScenarioError(f"{path}: fleet/{code.name} is not used; add a table [fleet.{code.name}]")
    groups = {name: _members(folder, name, group) for name, group in file.fleet.items()}
    members = tuple(member for group in groups.values() for member in group)
    twice = {member.name for member in members if sum(other.name == member.name for other in members) > 1}
    if twice:
        raise ScenarioError(f"{path}: two functions would be called {min(twice)}; rename one of their folders")
    return Scenario(
        name=folder.resolve().name,
        title=file.title,
        before=file.before,
        after=file.after,
        next_day=file.next_day,
        minute_seconds=file.minute_seconds,
        warm_up_minutes=file.warm_up_minutes,
        force=file.force,
        definitions=definitions.resolve(),
        definitions_after=_after(folder, layers),
        layers=layers,
        fleet=members,
        trouble=tuple(_outage(f"{path}: trouble.{at}", trouble, groups) for at, trouble in enumerate(file.trouble)),
        expect=file.expect and _resolved(path, file.expect, groups, layers),
    )


def _after(folder: Path, layers: Sequence[str]) -> Path | None:
    after = folder / "layers-after"
    if not after.is_dir():
        return None
    for found in sorted(after.iterdir()):
        if found.name not in layers:
            raise ScenarioError(f"{found}: there is no layers/{found.name} to change; correct its name")
    return after.resolve()


def _outage(at: str, trouble: Trouble, groups: dict[str, list[Member]]) -> Outage:
    names = list(groups) if trouble.functions is None else trouble.functions
    functions = frozenset(function for name in names for function in _named(f"{at}.functions", name, groups))
    return Outage(trouble.after, trouble.from_minute, trouble.minutes, functions, trouble.error_rate)


def _resolved(path: Path, expect: Expectation, groups: dict[str, list[Member]], layers: Sequence[str]) -> Expectation:
    """The expectation with single functions in the place of tables."""
    for layer in expect.layers:
        if layer not in layers:
            raise ScenarioError(f"{path}: expect.layers names {layer!r}; use one of {', '.join(layers)}")
    left_alone = {
        function: words
        for name, words in expect.left_alone.items()
        for function in _named(f"{path}: expect.left-alone", name, groups)
    }
    return expect.model_copy(update={"left_alone": left_alone})


def _named(at: str, name: str, groups: dict[str, list[Member]]) -> list[str]:
    """The functions that a name stands for: a table's, or one."""
    if name in groups:
        return [member.name for member in groups[name]]
    if any(member.name == name for members in groups.values() for member in members):
        return [name]
    raise ScenarioError(f"{at} names {name!r}, which is no function; use one of {', '.join(groups)}")


def _members(folder: Path, name: str, group: Group) -> list[Member]:
    names = [name] if group.count is None else [f"{name}-{number}" for number in range(1, group.count + 1)]
    runtime, architectures = _platform(folder, name, group)
    return [
        Member(
            name=member,
            code=(folder / "fleet" / name).resolve(),
            runtime=runtime,
            architectures=architectures,
            layers=tuple(group.layers or ()),
            per_minute=group.per_minute if group.called and group.per_minute else 0.0,
            alias=group.alias,
            event=group.event,
            error_rate=group.error_rate,
            invocations_per_environment=group.invocations_per_environment,
            unreleased=group.unreleased,
            provisioned_concurrency=group.provisioned_concurrency,
            snap_start=group.snap_start,
            fill_mb=group.fill_mb,
            package=group.package,
            state=group.state,
            tags=group.tags,
        )
        for member in names
    ]


def _platform(folder: Path, name: str, group: Group) -> tuple[str, tuple[str, ...]]:
    """The runtime of a group's functions, and the architectures that they may have."""
    if group.layers is None:
        return IMAGE, ("x86_64", "arm64")
    path, key = folder / "scenario.toml", f"[fleet.{name}]"
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
    code = folder / "fleet" / name
    return _runtime(f"{path}: {key}", code, [group.runtime] if group.runtime else runtimes, offers), architectures


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
    tables = read_toml(path, f"{key} in scenario.toml names the layer {layer!r}; add it, or correct the name")
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


__all__ = ["Expectation", "Member", "Outage", "Scenario", "ScenarioError", "load"]
