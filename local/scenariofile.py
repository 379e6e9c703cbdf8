"""scenario.toml as it is written: its tables and keys, and what is said of one that is wrong."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Outcome: TypeAlias = Literal["promoted", "rolled_back", "rejected", "up_to_date", "held", "failed"]
Stage: TypeAlias = Literal["resolve", "build", "verify", "canary"]
Anchor: TypeAlias = Literal["start", "update", "canary"]

LIMIT_MB = 250
"""What a function's code and layers may come to, unzipped, in MB of 2^20 bytes."""


class ScenarioError(Exception):
    """A scenario that cannot be replayed; the message names the file, the key and what to do."""


class _Table(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=lambda name: name.replace("_", "-")
    )


class Group(_Table):
    """One table `[fleet.<name>]`: `count` functions with the same code, layers and traffic."""

    layers: list[str] | None = Field(None, min_length=1)
    """Names of layer definitions; every function but an image has some."""
    runtime: str | None = Field(None, min_length=1)
    """One that all of the layers are for; without it, the first of these that there is code for."""
    count: int | None = Field(None, ge=1)
    per_minute: float | None = Field(None, ge=0)
    """Invocations a minute, for each function; below 1 it means one every few minutes."""
    alias: str | None = Field(None, min_length=1)
    event: dict[str, Any] = {}
    error_rate: float = Field(0.0, ge=0, le=1)
    """The share of events that are sent with `{"fail": true}`."""
    invocations_per_environment: int | None = Field(None, ge=1)
    """After how many invocations an execution environment is ended, so that the next one starts cold."""
    unreleased: bool = False
    """Whether its code was changed after the version behind its alias was published."""
    provisioned_concurrency: int | None = Field(None, ge=1)
    snap_start: bool = False
    fill_mb: float | None = Field(None, gt=0, le=LIMIT_MB)
    """What its code, padded with zeros, and the layers of release 1 come to, unzipped, in MB of 2^20 bytes."""
    package: Literal["zip", "image"] = "zip"
    state: Literal["Active", "Inactive", "Failed"] = "Active"
    tags: dict[str, str] = {}

    @property
    def called(self) -> bool:
        """Whether anybody calls its functions: an image cannot be run here, nor what is not active."""
        return self.package == "zip" and self.state == "Active"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.package == "image":
            for key in ("layers", "runtime", "fill_mb"):
                if getattr(self, key) is not None:
                    raise ValueError(f'{_kebab(key)} is nothing that a function with package = "image" has; remove it')
        elif self.layers is None:
            raise ValueError("layers is missing; add it")
        if self.per_minute is None and self.called:
            raise ValueError("per-minute is missing; add it")
        if self.alias is None:
            for key in ("unreleased", "provisioned_concurrency", "snap_start"):
                if getattr(self, key):
                    raise ValueError(f"{_kebab(key)} is about the version behind an alias; add alias")
        return self


class Trouble(_Table):
    """One table `[[trouble]]`: minutes in which functions fail, whatever release they have."""

    after: Anchor = "canary"
    """What its minutes are counted from: the traffic's start, the update's, or the first function on the candidate."""
    from_minute: int = Field(0, ge=0)
    minutes: int = Field(ge=1)
    functions: list[str] | None = Field(None, min_length=1)
    """Tables under `[fleet]`, or single functions; without it all of the fleet."""
    error_rate: float = Field(1.0, gt=0, le=1)


class Expectation(_Table):
    """The table `[expect]`: what the replay should come to; what is not named is not compared."""

    outcome: Outcome
    caught_by: Stage | None = None
    culprits: list[str] | None = None
    held_back: dict[str, str] | None = None
    """Package to version."""
    then: Outcome | None = None
    """What became of the rest of the update, once its culprits were held back."""
    next: Outcome | None = None
    """How the update of `next-day` ended."""
    layers: dict[str, Outcome] = {}
    """Layer definition to the outcome of all of its variants."""
    left_alone: dict[str, str] = {}
    """Function, or table under `[fleet]`, to words of the reason why it did not get the candidate."""
    says: list[str] = []
    """Words that one of the reports has."""


class ScenarioFile(_Table):
    """The whole of it."""

    title: str
    before: dt.date
    after: dt.date
    next_day: dt.date | None = None
    minute_seconds: float = Field(1.0, gt=0)
    warm_up_minutes: int = Field(20, ge=0)
    force: bool = False
    fleet: dict[str, Group] = {}
    trouble: list[Trouble] = []
    expect: Expectation | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.before > self.after:
            raise ValueError(f"before ({self.before}) is later than after ({self.after}); swap them")
        if self.next_day is not None and self.next_day < self.after:
            raise ValueError(f"next-day ({self.next_day}) is earlier than after ({self.after}); choose a later one")
        if self.next_day is None and self.expect is not None and self.expect.next is not None:
            raise ValueError("expect.next needs a second update; add next-day")
        return self


def read_file(path: Path) -> ScenarioFile:
    """Read scenario.toml; raises `ScenarioError`."""
    try:
        return ScenarioFile.model_validate(
            read_toml(path, "a scenario is a folder with a scenario.toml, layers/ and fleet/")
        )
    except ValidationError as error:
        raise ScenarioError("\n".join(f"{path}: {_in_words(problem)}" for problem in error.errors())) from None


def read_toml(path: Path, remedy: str) -> dict[str, Any]:
    """The tables of a file; raises `ScenarioError`, with the remedy where there is none."""
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


def _in_words(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "value_error":
        sentence = str(problem["ctx"]["error"])
        return f"{key}.{sentence}" if key else sentence
    wrong = f"{problem['msg']}; it is {problem['input']!r}"
    return f"{key} {_REMEDIES.get(problem['type'], wrong)}"


def _kebab(name: str) -> str:
    return name.replace("_", "-")
