"""Requirements files: what a team wants of Python, loosely, one requirement to a line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from lamina.errors import DefinitionRefused


def parse_requirements(text: str, where: str) -> tuple[Requirement, ...]:
    """The requirements of a `requirements.in`: one to a line, `#` begins a comment, `\\` continues a line.

    Raises:
        DefinitionRefused: a line is an option, a URL or path, not a requirement at all, or names a package twice.
    """
    found: dict[tuple[str, str], int] = {}
    result: list[Requirement] = []
    for number, line in _logical_lines(text):
        at = f"{where}, line {number}"
        if line.startswith("-"):
            raise DefinitionRefused(
                f"{at}: {re.split(r'[ =]', line)[0]!r} is an option of pip; list the packages themselves, and name an "
                "index of their own under [python.index] in layer.toml"
            )
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            reason = _shown(str(error).splitlines()[0])
            raise DefinitionRefused(
                f"{at}: {_shown(line)!r} is not a requirement ({reason}); write for example requests>=2.31"
            ) from error
        if requirement.url is not None:
            raise DefinitionRefused(
                f"{at}: {_shown(line)!r} points to a file, which has no newer versions; name the package and its "
                "versions"
            )
        key = (canonicalize_name(requirement.name), str(requirement.marker or ""))
        if key in found:
            raise DefinitionRefused(
                f"{at}: {key[0]} is already required in line {found[key]}; write one line with all its conditions"
            )
        found[key] = number
        result.append(requirement)
    return tuple(result)


def _shown(text: str) -> str:
    """The text without credentials that an address in it may hold."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    pending, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        start = start if pending else number
        line = pending + re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        if line.endswith("\\"):
            pending = line[:-1]
            continue
        pending = ""
        if line.strip():
            yield start, line.strip()
    if pending.strip():
        yield start, pending.strip()
