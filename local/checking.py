"""`check`: what an update would do to the definitions in a folder, found out without AWS and without changing them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lamina.definition import Definition, Refusal, variants
from lamina.errors import DefinitionRefused, IndexUnavailable, ResolutionFailed
from lamina.explain import Explanation
from lamina.gateways.advisories import Advisories
from lamina.gateways.credentials import TOKEN_USER, key_of
from lamina.gateways.index import Index, find_uv
from lamina.gateways.listings import Listings, default_index
from lamina.gateways.npm import Npm
from lamina.gateways.packuments import Packuments
from lamina.model import Advice, Ecosystem, Variant
from lamina.osv import judge, pins_of
from lamina.resolution import Access
from lamina.steps.resolve_nodejs import NodeGateways
from lamina.steps.resolve_python import PythonGateways
from lamina.steps.resolving import CheckOrder, LooksUp, Sources, check_variant
from lamina.tables import IndexTable, RegistryTable
from local.beside import beside, definitions_in

_AT_ONCE = 4
Result: TypeAlias = Literal["changed", "up_to_date", "failed", "unknown"]


@dataclass(frozen=True)
class Row:
    """What came of one variant.

    Attributes:
        outcome: `failed` where no acceptable set of packages exists, `unknown` where an index could not be asked.
        explanation: of a check that came to an end.
        message: of one that did not.
        locks: the locks beside the definition that it began with.
        notes: what a reader should know besides.
    """

    variant: Variant
    outcome: Result
    explanation: Explanation | None = None
    message: str = ""
    locks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The row for programs."""
        told = self.explanation.to_json() if self.explanation else {}
        return {
            "variant": self.variant.variant,
            "layer": self.variant.layer,
            "outcome": self.outcome,
            "locks": list(self.locks),
            "changes": told.get("changes", []),
            "held": told.get("held", []),
            "advice": told.get("advice", Advice(unknown="the check came to no end").to_json()),
            "notes": list(self.notes),
            "summary": told.get("summary", ""),
            "message": self.message,
        }


@dataclass(frozen=True)
class Report:
    """What came of a folder."""

    as_of: datetime
    rows: tuple[Row, ...]
    refused: tuple[Refusal, ...]

    @property
    def exit_code(self) -> int:
        """0, or 2 where a definition was refused or an index could not be asked."""
        return 2 if self.refused or any(row.outcome == "unknown" for row in self.rows) else 0

    def to_json(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "asOf": self.as_of.isoformat(),
            "variants": [row.to_json() for row in self.rows],
            "refused": [refusal.to_json() for refusal in self.refused],
        }


@dataclass
class FromEnvironment:
    """Credentials of private indexes from environment variables, since there is no Secrets Manager here.

    `[python.index]` has LAMINA_INDEX_USERNAME and LAMINA_INDEX_PASSWORD, `[nodejs.registry]` LAMINA_REGISTRY_USERNAME
    and LAMINA_REGISTRY_PASSWORD; a token is a password without a user name. A repository in CodeArtifact needs its
    address too: LAMINA_INDEX_URL, LAMINA_REGISTRY_URL. They are only sent where a definition names a secret or a
    repository.
    """

    environment: Mapping[str, str] = field(repr=False)

    def of(self, table: IndexTable | RegistryTable, variant: Variant) -> Access:
        """How to reach the index that a definition names.

        Raises:
            IndexUnavailable: a variable is not set.
        """
        prefix = "LAMINA_INDEX" if isinstance(table, IndexTable) else "LAMINA_REGISTRY"
        packages = table.packages if isinstance(table, IndexTable) else table.scopes
        if table.url is not None and table.secret is None:
            return Access(table.url, packages=packages)
        url = table.url or self.environment.get(f"{prefix}_URL", "")
        password = self.environment.get(f"{prefix}_PASSWORD", "")
        user = TOKEN_USER if table.codeartifact is None else "aws"
        if not url or not password:
            wanted = f"{prefix}_PASSWORD" if url else f"{prefix}_URL and {prefix}_PASSWORD"
            raise IndexUnavailable(
                f"{variant.variant}: {key_of(table)} asks for credentials; set {wanted} and check again"
            )
        return Access(url, self.environment.get(f"{prefix}_USERNAME") or user, password, packages)


@dataclass(frozen=True)
class Records:
    """An advisory database in a folder: records in the OSV format, one to a JSON file."""

    folder: Path

    def look_up(self, pins: Mapping[Ecosystem, Mapping[str, str]], as_of: datetime) -> Advice:
        """What the records say of these packages and versions as of a moment."""
        try:
            records = [json.loads(path.read_bytes()) for path in sorted(self.folder.rglob("*.json"))]
        except (OSError, ValueError) as error:
            return Advice(unknown=f"the records in {self.folder} cannot be read ({error})")
        if not records:
            return Advice(unknown=f"there are no records in {self.folder}")
        return judge(records, pins_of(pins), as_of)


class Nobody:
    """No advisory database, as was asked for."""

    def look_up(self, pins: Mapping[Ecosystem, Mapping[str, str]], as_of: datetime) -> Advice:
        """That nobody knows."""
        return Advice(unknown="no advisory database was asked")


def advisories(named: str, environment: Mapping[str, str]) -> LooksUp:
    """The advisory database that `--advisories` names: an address, a folder, or `none`.

    Raises:
        ValueError: it is neither.
    """
    if named == "none":
        return Nobody()
    if named.startswith(("http://", "https://")):
        return Advisories(named, environment, connect=3, read=10)
    if Path(named).is_dir():
        return Records(Path(named))
    raise ValueError(f"--advisories {named}: is neither an address, nor a folder with records, nor none")


def sources(work: Path, environment: Mapping[str, str], database: LooksUp) -> Sources:
    """Package managers and registries as they are set up on this machine.

    Args:
        work: where caches are kept.
    """
    work.mkdir(parents=True, exist_ok=True)
    uv, npm = find_uv(work), Npm(work, environment)
    return Sources(
        python=PythonGateways(
            index=Index(uv, sys.executable, work, environment),
            listings=Listings(lambda: default_index(uv, sys.executable, work, environment), work, environment),
        ),
        nodejs=NodeGateways(npm=npm, packuments=Packuments(npm.registry, work, environment)),
        advisories=database,
        credentials=FromEnvironment(environment),
    )


def check(
    root: Path,
    reach: Sources,
    *,
    as_of: datetime,
    now: datetime,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Check the definitions of a folder.

    Args:
        as_of: the moment whose package index counts (aware UTC).
        now: the moment of the check.
        progress: is told what goes on.

    Raises:
        NothingThere: there is no definition.
    """
    definitions, refused = definitions_in(root)
    work = [(definition, variant) for definition in definitions for variant in variants(definition)]
    order = CheckOrder(run="check", as_of=as_of, now=now, dry_run=True)
    with ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1)) as pool:
        asked = {pool.submit(_check, definition, variant, order, reach): variant for definition, variant in work}
        progress(f"checking {len(work)} variants")
        for number, done in enumerate(as_completed(asked), 1):
            progress(f"checked {asked[done].variant} ({number} of {len(work)})")
        results = [one.result() for one in asked]
    rows = tuple(result for result in results if isinstance(result, Row))
    late = {result for result in results if isinstance(result, Refusal)}
    return Report(as_of, rows, (*refused, *sorted(late, key=lambda refusal: (refusal.layer, refusal.message))))


def _check(definition: Definition, variant: Variant, order: CheckOrder, reach: Sources) -> Row | Refusal:
    found = beside(definition, variant)
    try:
        explained = check_variant(variant, definition, found.current, order, reach).explanation
    except DefinitionRefused as error:
        return Refusal(layer=variant.layer, message=str(error))
    except (ResolutionFailed, IndexUnavailable) as error:
        outcome: Result = "failed" if isinstance(error, ResolutionFailed) else "unknown"
        return Row(variant, outcome, message=str(error), locks=found.files, notes=found.notes)
    return Row(
        variant,
        "changed" if explained.changes else "up_to_date",
        explained,
        locks=found.files,
        notes=(*found.notes, *explained.notes),
    )
