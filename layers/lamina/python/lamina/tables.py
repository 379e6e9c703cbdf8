"""The tables of a `layer.toml`: every key with its type, its default and what it may be.

The models are strict (a number in quotes is not a number) and know every key, so that a typing mistake is an error
and never a silent default. `parse_tables` turns what the models say into one sentence for the person who edits the
file; the JSON Schema that is made from them says the same to an editor.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lamina.mistakes import in_words
from lamina.shapes import (
    Account,
    Address,
    Architectures,
    Names,
    Organization,
    Patterns,
    Profile,
    Repository,
    Runtimes,
    Scopes,
    Secret,
    Waves,
    Windows,
)


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class Table(BaseModel):
    """Base of all tables: immutable, strict about keys and types, kebab-case in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=_kebab)


class LayerTable(Table):
    """`[layer]`: who answers for it, and which variants there are."""

    description: str = Field("", description="What the layer is for, in a sentence.")
    owner: str = Field(min_length=1, description="Who answers for it: a team or an address.")
    runtimes: Runtimes = Field(
        min_length=1, description="The Lambda runtimes that it is built for; one variant for each."
    )
    architectures: Architectures = Field(
        min_length=1, description="The processors that it is built for; one variant for each."
    )
    license: str = Field(
        "",
        max_length=512,
        description="License of the layer as a whole, an SPDX expression or an address; shown by Lambda.",
    )
    signing_profile: Profile = Field(
        "", description="Profile in AWS Signer that every version is signed with. Left out: versions are not signed."
    )


class SourceTable(Table):
    """Base of the tables that name an index of the definition's own: by its address, or as CodeArtifact's."""

    url: Address | None = Field(None, description="Address of the index, encrypted (https) and without credentials.")
    codeartifact: Repository | None = Field(
        None, description="ARN of a repository in AWS CodeArtifact; Lamina gets itself a token for it."
    )
    secret: Secret | None = Field(
        None,
        description="ARN of the secret in Secrets Manager that has the credentials: "
        '{"username": ..., "password": ...}, {"token": ...}, or a token as plain text.',
    )

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.codeartifact is None):
            both = "has both url and codeartifact; remove one"
            none = "needs url, or codeartifact with a repository's ARN; add one"
            raise ValueError(none if self.url is None else both)
        if self.codeartifact is not None and self.secret is not None:
            raise ValueError("codeartifact needs no secret, since Lamina gets itself a token; remove secret")
        return self


_ONE_ADDRESS: dict[str, Any] = {
    "oneOf": [
        {"required": ["url"], "not": {"required": ["codeartifact"]}},
        {"required": ["codeartifact"], "not": {"anyOf": [{"required": ["url"]}, {"required": ["secret"]}]}},
    ]
}


class IndexTable(SourceTable):
    """`[python.index]`: an index of the definition's own, instead of the default one or beside it."""

    model_config = ConfigDict(json_schema_extra=_ONE_ADDRESS)

    packages: Patterns = Field(
        (),
        description="Names or patterns of the packages that are there, and are never looked for elsewhere; all others "
        "come from the default index. Left out: every package is taken from there.",
    )


class RegistryTable(SourceTable):
    """`[nodejs.registry]`: an npm registry of the definition's own, instead of the default one or beside it."""

    model_config = ConfigDict(json_schema_extra=_ONE_ADDRESS)

    scopes: Scopes = Field(
        (),
        description="Scopes whose packages are there, and are never looked for elsewhere; all others come from the "
        "default registry. Left out: every package is taken from there.",
    )


class PythonTable(Table):
    """`[python]`: what goes to `python/` in the layer."""

    requirements: str = Field(description="File in the folder with the requirements, one to a line.")
    exclude: Names = Field((), description="Packages that are left to the runtime.")
    build_from_source: Names = Field((), description="Packages that may be built from source; others may not.")
    index: IndexTable | None = Field(None, description="An index of the definition's own.")


class NodejsTable(Table):
    """`[nodejs]`: what goes to `nodejs/node_modules` in the layer."""

    package: str = Field(description="File in the folder, a package.json, whose dependencies are wanted.")
    without_scripts: Names = Field(
        (), description="Packages that work although their install scripts are not run: builds never run any."
    )
    registry: RegistryTable | None = Field(None, description="An npm registry of the definition's own.")


class EnvironmentTable(Table):
    """`[environments.<name>]`: a variant of its own with these requirements on top."""

    requirements: str = Field(description="File in the folder with the requirements on top of [python]'s.")


class FilesTable(Table):
    """`[files]`: a folder whose contents go into the layer as they are."""

    from_: str = Field(alias="from", description="Folder in the definition's folder.")


class BuildTable(Table):
    """`[build]`: what becomes of installed packages on their way into the layer."""

    prune: bool = Field(True, description="Leave out what a function never reads: tests, headers, stubs, caches.")
    strip: bool = Field(False, description="Take from shared objects the symbols that only a debugger reads.")
    bytecode: bool = Field(True, description="Add Python byte code, without which every cold start compiles anew.")


class UpdateTable(Table):
    """`[update]`: which newer versions may be taken, and when."""

    allow: Literal["patch", "minor", "major"] = Field(
        "minor", description="The largest step that a required package may take."
    )
    cooldown_days: int = Field(
        7, ge=0, le=3650, description="Days since its upload that a version must have been there before it is taken."
    )
    security: Literal["immediate", "scheduled"] = Field(
        "immediate", description="Whether the fix of an advisory is taken at once, or waits like everything else."
    )
    ignore: Names = Field((), description="Packages that stay at their version.")


class VerifyTable(Table):
    """`[verify]`: what a candidate is asked before any function sees it."""

    imports: Literal["auto"] | Names = Field("auto", description="Modules to import; auto for all that it has.")
    smoke: str | None = Field(None, description="File in the folder with a handler(event, context) to run.")


class RolloutTable(Table):
    """`[rollout]`: how a candidate reaches the fleet. Rates and shares are fractions, waves are percentages."""

    strategy: Literal["auto", "alias", "latest"] = Field(
        "auto", description="Whether functions are moved through their alias or at $LATEST; auto looks at each."
    )
    alias: str = Field("live", min_length=1, description="Name of the alias through which functions are called.")
    canary: Literal["auto"] | Names = Field("auto", description="Functions that get the candidate first; auto chooses.")
    weight: float = Field(0.1, gt=0, lt=1, description="Share of an alias's traffic that the candidate gets at first.")
    waves: Waves = Field(
        (10, 50, 100), min_length=1, description="Percent of the fleet that has the candidate after each wave."
    )
    min_minutes: int = Field(5, ge=1, description="Minutes that each wave is watched at least.")
    max_minutes: int = Field(30, ge=1, description="Minutes after which each wave is judged.")
    extend_minutes: int = Field(1440, ge=0, description="Minutes that an undecided watch may go on.")
    alpha: float = Field(0.01, gt=0, lt=0.5, description="Probability of ever rolling back a harmless release.")
    tolerance: float = Field(0.02, gt=0, lt=1, description="An added error rate up to this may be called safe.")
    on_no_traffic: Literal["hold", "promote", "rollback"] = Field(
        "hold", description="What becomes of a candidate that nobody calls."
    )
    alarms: Names = Field((), description="CloudWatch alarms that veto.")
    latency: Literal["hold", "ignore"] = Field(
        "hold", description="Whether slower calls and cold starts, and more throttling, hold a candidate."
    )
    windows: Windows = Field(
        (),
        description="When functions may get a candidate, such as Mon-Fri 09:00-16:00 Europe/Berlin; none: at any time.",
    )
    security_ignores_windows: bool = Field(
        True, description="Whether an update that an advisory started waits for no window."
    )
    approval: Literal["none", "first", "last"] = Field(
        "none", description="Whether a person is asked, before the first functions get a candidate or before the last."
    )
    approval_hours: int = Field(
        72, ge=1, le=168, description="Hours after which a question that nobody answered counts as a no."
    )
    bisect: bool = Field(
        False, description="Whether an update that did harm, with no package suspected, is tried again in halves."
    )
    exclude: Names = Field((), description="Names or patterns of functions that are never touched.")
    replaces: Names = Field((), description="Older layers whose functions are taken over.")


class ShareTable(Table):
    """`[share]`: who else may use the layer."""

    accounts: tuple[Account, ...] = Field((), description="Numbers of AWS accounts.")
    organization: Organization = Field("", description="Id of an AWS organization.")


class RetainTable(Table):
    """`[retain]`: what is kept."""

    versions: int = Field(5, ge=1, description="How many superseded versions are kept.")


class Tables(Table):
    """A layer that Lamina keeps current: the whole of a `layer.toml`."""

    layer: LayerTable
    python: PythonTable | None = None
    nodejs: NodejsTable | None = None
    environments: dict[str, EnvironmentTable] = {}
    files: FilesTable | None = None
    build: BuildTable = BuildTable()
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
        raise ValueError(in_words(error, Tables)) from error
    except (TypeError, ValueError) as error:
        raise ValueError("holds a date, infinity or NaN, which no key accepts; write text or a number") from error
