"""The command `check`: options in, a table or JSON out, and an exit code."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from lamina.errors import InvalidInput, LaminaError
from lamina.inputs import parse_as_of
from local.beside import NothingThere
from local.checking import advisories, check, sources
from local.findings import show

_WIDTH = 1000
"""Columns where there is no terminal: a line for each thing, to be searched."""


def run(folder: Path, work: Path, database: str, *, as_of: str | None, target: str | None, whole: bool) -> int:
    """Check a folder.

    Args:
        work: where caches are kept.
        database: the advisory database: an address, a folder of records, or `none`.
        as_of: a date or moment, None for now.
        target: the file that JSON is written to, `-` for standard output instead of the table, None for none.
        whole: leave nothing out of the table.

    Returns:
        0; 2 where a definition was refused, an index could not be asked, or nothing could be checked.
    """
    if target not in (None, "-"):
        Path(str(target)).unlink(missing_ok=True)
    now = datetime.now(UTC)
    talk = Console(stderr=True)
    try:
        moment = now if as_of is None else parse_as_of(as_of, now)
        reach = sources(work, os.environ, advisories(database, os.environ))
        with talk.status("looking for definitions") if talk.is_terminal else nullcontext() as status:
            tell = (lambda text: None) if status is None else status.update
            report = check(folder, reach, as_of=moment, now=now, progress=tell)
    except InvalidInput as error:
        problem = str(error).partition(". Accepted ")[0].replace('"asOf"', "--as-of")
        print(f"check: {problem}", file=sys.stderr)
        return 2
    except (LaminaError, NothingThere, OSError, ValueError) as error:
        print(f"check: {error}", file=sys.stderr)
        return 2
    text = json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return report.exit_code
    if target is not None:
        Path(target).write_text(text, "utf-8")
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    show(report, console, whole=whole)
    return report.exit_code
