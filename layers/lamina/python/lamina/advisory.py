"""Security advisories as EventBridge delivers them: findings of Amazon Inspector and Lamina's own event.

Lamina's own is for whoever knows of a vulnerability: source `lamina.advisory`, any detail-type, and as detail
`{"package": "requests", "fixed": "2.32.0", "id": "CVE-2024-35195", "layers": ["web"]}`; `id` and `layers` may be left
out. A finding must be ACTIVE and have a fix: Lamina acts by taking the fix, and has nothing to do otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from lamina.errors import InvalidInput
from lamina.model import Advisory, Model

INSPECTOR = "aws.inspector2"
OWN = "lamina.advisory"
PYTHON_MANAGERS = frozenset({"PIP", "PIPENV", "POETRY", "PYTHONPKG", "UV"})


class AdvisoryEvent(Model):
    """What an advisory event asks for; `layers` is empty for every layer that is affected."""

    advisories: tuple[Advisory, ...]
    layers: tuple[str, ...] = ()
    text: str


def parse_event(event: Mapping[str, Any]) -> AdvisoryEvent:
    """Read an EventBridge event.

    Raises:
        InvalidInput: the event is of another source, malformed, not active, or has no fix.
    """
    source, detail = event.get("source"), event.get("detail")
    if source not in (INSPECTOR, OWN):
        raise InvalidInput(f"an event of source {source!r} starts no update; accepted are {INSPECTOR} and {OWN}")
    if not isinstance(detail, dict):
        raise InvalidInput(f'the {source} event has no "detail" object; send the event as EventBridge delivers it')
    return _finding(event, detail) if source == INSPECTOR else _own(detail)


def _own(detail: Mapping[str, Any]) -> AdvisoryEvent:
    shape = '{"package": "requests", "fixed": "2.32.0", "id": "CVE-2024-35195", "layers": ["web"]}'
    for key in detail:
        if key not in ("package", "fixed", "id", "layers"):
            raise InvalidInput(f"{OWN}: unknown key {key!r} in detail; expected is {shape}")
    package, name = detail.get("package"), detail.get("id", "")
    if not isinstance(package, str) or not package:
        raise InvalidInput(f'{OWN}: detail needs "package", the name of a package; expected is {shape}')
    if not isinstance(name, str):
        raise InvalidInput(f'{OWN}: "id" must be a text such as "CVE-2024-35195"; expected is {shape}')
    layers = detail.get("layers", [])
    if not isinstance(layers, list) or not all(isinstance(layer, str) for layer in layers):
        raise InvalidInput(f'{OWN}: "layers" must be a list of layer names; expected is {shape}')
    fixed = detail.get("fixed")
    if fixed is None:
        raise InvalidInput(f'{OWN}: {package} has no "fixed" version, so there is nothing to update to')
    advisory = Advisory(id=name or f"advisory on {package}", package=canonicalize_name(package), fixed=_version(fixed))
    return AdvisoryEvent(advisories=(advisory,), layers=tuple(layers), text=_text((advisory,)))


def _finding(event: Mapping[str, Any], detail: Mapping[str, Any]) -> AdvisoryEvent:
    if event.get("detail-type") != "Inspector2 Finding":
        raise InvalidInput(
            f"{INSPECTOR}: a {event.get('detail-type')!r} event starts no update; only 'Inspector2 Finding' does"
        )
    name = str(detail.get("title") or detail.get("findingArn") or "a finding")
    if detail.get("status") != "ACTIVE":
        raise InvalidInput(f"{INSPECTOR}: {name} is {detail.get('status')!r}; only ACTIVE findings start an update")
    vulnerability = detail.get("packageVulnerabilityDetails")
    if not isinstance(vulnerability, dict):
        raise InvalidInput(f"{INSPECTOR}: {name} is about no package (type {detail.get('type')!r}); nothing to update")
    packages = vulnerability.get("vulnerablePackages")
    rows = [row for row in packages if isinstance(row, dict)] if isinstance(packages, list) else []
    python = [row for row in rows if str(row.get("packageManager", "")).upper() in PYTHON_MANAGERS]
    if not python:
        managers = sorted({str(row.get("packageManager")) for row in rows})
        raise InvalidInput(f"{INSPECTOR}: {name} names no Python package (package managers: {managers or 'none'})")
    identity = str(vulnerability.get("vulnerabilityId") or name)
    advisories = {
        (package, fix): Advisory(id=identity, package=package, fixed=fix)
        for row in python
        if (package := canonicalize_name(str(row.get("name", ""))))
        and (fix := _fix(str(row.get("version", "")), str(row.get("fixedInVersion") or ""))) is not None
    }
    if not advisories:
        raise InvalidInput(f"{INSPECTOR}: {identity} has no fixed version yet, so there is nothing to update to")
    found = tuple(advisories[key] for key in sorted(advisories))
    return AdvisoryEvent(advisories=found, text=_text(found))


def _fix(current: str, fixed: str) -> str | None:
    """The lowest fixed version above `current`; Inspector lists one for each maintained branch."""
    found = [Version(text) for text in re.split(r"[,\s]+", fixed) if _is_version(text)]
    above = [version for version in found if not _is_version(current) or version > Version(current)]
    return str(min(above)) if above else None


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _version(value: object) -> str:
    if not isinstance(value, str) or not _is_version(value):
        raise InvalidInput(f'{OWN}: "fixed" must be the version that fixes it, such as "2.32.0", not {value!r}')
    return str(Version(value))


def _text(advisories: tuple[Advisory, ...]) -> str:
    return "; ".join(f"{advisory.id}: {advisory.package} is fixed in {advisory.fixed}" for advisory in advisories)
