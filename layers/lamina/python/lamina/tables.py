"""The tables of a `layer.toml`: every key with its type, its default and what it may be.

The models are strict (a number in quotes is not a number) and know every key, so that a typing mistake is an error
and never a silent default. `parse_tables` turns what the models say into one sentence for the person who edits the
file.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from lamina.runtimes import ARCHITECTURES, RUNTIMES


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{', '.join(repr(value) for value in twice)} stands there twice; name each once")
    return values


def _account(value: str) -> str:
    if len(value) != 12 or not value.isdecimal():
        raise ValueError(f"{value!r} is not an AWS account's number; give its 12 digits as text")
    return value


def _rising(waves: tuple[int, ...]) -> tuple[int, ...]:
    if list(waves) != sorted(set(waves)) or not all(1 <= wave <= 100 for wave in waves) or waves[-1] != 100:
        raise ValueError("must be percentages that rise and end with 100, such as [10, 50, 100]")
    return waves


Runtime = Literal["python3.9", "python3.10", "python3.11", "python3.12", "python3.13", "python3.14", "nodejs20.x",
                  "nodejs22.x", "nodejs24.x", "provided.al2", "provided.al2023"]  # fmt: skip
Architecture = Literal["x86_64", "arm64"]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], AfterValidator(_unique)]


class Table(BaseModel):
    """Base of all tables: immutable, strict about keys and types, kebab-case in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=_kebab)


class LayerTable(Table):
    """`[layer]`: who answers for it, and which variants there are."""

    description: str = ""
    owner: str = Field(min_length=1)
    runtimes: Annotated[tuple[Runtime, ...], Field(min_length=1), AfterValidator(_unique)]
    architectures: Annotated[tuple[Architecture, ...], Field(min_length=1), AfterValidator(_unique)]


class PythonTable(Table):
    """`[python]`: what goes to `python/` in the layer."""

    requirements: str
    exclude: Names = ()
    build_from_source: Names = ()


class NodejsTable(Table):
    """`[nodejs]`: what goes to `nodejs/node_modules` in the layer."""

    package: str


class EnvironmentTable(Table):
    """`[environments.<name>]`: a variant of its own with these requirements on top."""

    requirements: str


class FilesTable(Table):
    """`[files]`: a folder whose contents go into the layer as they are."""

    from_: str = Field(alias="from")


class UpdateTable(Table):
    """`[update]`: which newer versions may be taken, and when. `cooldown_days` counts days since the upload."""

    allow: Literal["patch", "minor", "major"] = "minor"
    cooldown_days: int = Field(7, ge=0, le=3650)
    security: Literal["immediate", "scheduled"] = "immediate"
    ignore: Names = ()


class VerifyTable(Table):
    """`[verify]`: what a candidate is asked before any function sees it."""

    imports: Literal["auto"] | Names = "auto"
    smoke: str | None = None


class RolloutTable(Table):
    """`[rollout]`: how a candidate reaches the fleet. Rates and shares are fractions, waves are percentages."""

    strategy: Literal["auto", "alias", "latest"] = "auto"
    alias: str = Field("live", min_length=1)
    canary: Literal["auto"] | Names = "auto"
    weight: float = Field(0.1, gt=0, lt=1)
    waves: Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_rising)] = (10, 50, 100)
    min_minutes: int = Field(5, ge=1)
    max_minutes: int = Field(30, ge=1)
    extend_minutes: int = Field(1440, ge=0)
    alpha: float = Field(0.01, gt=0, lt=0.5)
    tolerance: float = Field(0.02, gt=0, lt=1)
    on_no_traffic: Literal["hold", "promote", "rollback"] = "hold"
    alarms: Names = ()
    exclude: Names = ()
    replaces: Names = ()


class ShareTable(Table):
    """`[share]`: who else may use the layer."""

    accounts: tuple[Annotated[str, AfterValidator(_account)], ...] = ()
    organization: str = Field("", pattern=r"^(o-[a-z0-9]{10,32})?$")


class RetainTable(Table):
    """`[retain]`: how many superseded versions are kept."""

    versions: int = Field(5, ge=1)


class Tables(Table):
    """The whole of a `layer.toml`."""

    layer: LayerTable
    python: PythonTable | None = None
    nodejs: NodejsTable | None = None
    environments: dict[str, EnvironmentTable] = {}
    files: FilesTable | None = None
    update: UpdateTable = UpdateTable()
    verify: VerifyTable = VerifyTable()
    rollout: RolloutTable = RolloutTable()
    share: ShareTable = ShareTable()
    retain: RetainTable = RetainTable()


def parse_tables(body: bytes) -> Tables:
    """Parse the file.

    Raises:
        ValueError: naming the first key that is wrong, what it may be, and how many more are wrong.
    """
    try:
        data = tomllib.loads(body.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a TOML file in UTF-8: {error}; correct it there") from error
    try:
        # Strict validation takes arrays for tuples only when they come as JSON.
        return Tables.model_validate_json(json.dumps(data, allow_nan=False))
    except ValidationError as error:
        raise ValueError(_explain(error)) from error
    except (TypeError, ValueError) as error:
        raise ValueError("holds a date, infinity or NaN, which no key accepts; write text or a number") from error


def _explain(error: ValidationError) -> str:
    """The first problem in plain words, and how many more keys have one."""
    problems = error.errors(include_url=False)
    keys = {_key(problem) for problem in problems}
    # A list with a bad item is reported twice: for the item, and as a list that is too short without it.
    others = sum(not any(other.startswith(key + ".") for other in keys) for key in keys) - 1
    return _problem(problems[0]) + (f" (and {others} more to correct after it)" if others else "")


def _key(problem: ErrorDetails) -> str:
    inner = ("literal[", "function-after[", "tuple[")
    return ".".join(str(step) for step in problem["loc"] if not str(step).startswith(inner))


def _problem(problem: ErrorDetails) -> str:
    key, kind, value = _key(problem), problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        known = _known(problem["loc"][:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, 1, 0.6)
        hint = f"did you mean {close[0]!r}?" if close else f"known there: {', '.join(known)}"
        return f"unknown key {key}; {hint}"
    if kind == "missing":
        return f"{key} is missing; it is required"
    if kind == "value_error":
        return f"{key}: {problem['ctx']['error']}"
    if "literal['auto']" in problem["loc"]:
        return f"{key}: must be 'auto' or a list of names, each once, not {json.dumps(value)[:80]}"
    if key == "layer.runtimes" or key.startswith("layer.runtimes."):
        return f"{key}: {value!r} is not a runtime that Lamina knows; use one of {', '.join(RUNTIMES)}"
    if key.startswith("layer.architectures"):
        return f"{key}: {value!r} is not an architecture; use one of {', '.join(ARCHITECTURES)}"
    wish = problem["msg"][0].lower() + problem["msg"][1:]
    wish = wish.replace("input should be", "must be").replace("an object", "a table")
    return f"{key}: {wish}, not {json.dumps(value, default=str)[:80]}"


def _known(path: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at `path`, as they are spelled in the file."""
    model: Any = Tables
    for step in path:
        info = next((info for name, info in model.model_fields.items() if (info.alias or name) == step), None)
        if info is None:
            model = EnvironmentTable
            continue
        if step == "environments":
            continue
        choices = [info.annotation, *getattr(info.annotation, "__args__", ())]
        model = next(choice for choice in choices if isinstance(choice, type) and issubclass(choice, Table))
    return sorted(info.alias or name for name, info in model.model_fields.items())
