"""Security advisories as EventBridge delivers them: findings of Amazon Inspector and Lamina's own event.

Lamina's own is for whoever knows of a vulnerability: source `lamina.advisory`, any detail-type, and as detail
`{"package": "requests", "fixed": "2.32.0", "id": "CVE-2024-35195", "ecosystem": "PyPI", "layers": ["web"]}`, of which
`package` and `fixed` are needed, or several at once, `{"advisories": [{…}, {…}], "layers": ["web"], "text": "why"}`.
A `version` beside `fixed` means locks with exactly that version. A finding must be ACTIVE and have a fix: Lamina acts
by taking the fix, and has nothing to do otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from lamina.errors import InvalidInput
from lamina.model import Advisory, Ecosystem, Model
from lamina.osv import Pin, name_in, pins_of
from lamina.versions import older, parse, valid

INSPECTOR = "aws.inspector2"
OWN = "lamina.advisory"
DETAIL_TYPE = "Advisory"
"""The detail-type of the events that Lamina itself puts; it accepts any."""
MANAGERS: Mapping[str, Ecosystem] = {
    **dict.fromkeys(("PIP", "PIPENV", "POETRY", "PYTHONPKG", "UV"), "PyPI"),
    **dict.fromkeys(("NODEPKG", "NPM", "PNPM", "YARN"), "npm"),
}
"""Inspector's words for where a package is from."""
ECOSYSTEMS: Mapping[str, Ecosystem] = {"pypi": "PyPI", "pip": "PyPI", "npm": "npm"}
"""What advisories call an ecosystem, in small letters."""
MOST = 500
"""How many advisories one event may hold."""
_EVENT_BYTES = 100_000
_SHAPE = '{"package": "requests", "fixed": "2.32.0", "id": "CVE-2024-35195", "layers": ["web"]}'
_ONE = ("package", "fixed", "id", "ecosystem", "version")
_MANY = ("advisories", "layers", "text")
_NAMES: Mapping[Ecosystem, re.Pattern[str]] = {
    "PyPI": re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?"),
    "npm": re.compile(r"(?=.{1,214}$)(@[A-Za-z0-9~-][A-Za-z0-9._~-]*/)?[A-Za-z0-9~-][A-Za-z0-9._~-]*"),
}
_LAYER_ARN = re.compile(r"arn:[a-z-]+:lambda:[a-z0-9-]+:\d{12}:layer:([A-Za-z0-9_-]{1,140})(:\d+)?")
_LONGEST = {"id": 200, "text": 1000}
_SHOWN = 5


class AdvisoryEvent(Model):
    """What an advisory event asks for.

    Attributes:
        layers: layer definitions that are meant; empty for every one that is affected.
        found_in: names of the Lambda layers that the vulnerability was found in; empty where that is not known.
    """

    advisories: tuple[Advisory, ...]
    layers: tuple[str, ...] = ()
    found_in: tuple[str, ...] = ()
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


def affecting(
    advisories: Iterable[Advisory], lock: Mapping[Ecosystem, Mapping[str, str]] | Sequence[Pin]
) -> tuple[Advisory, ...]:
    """The advisories that a lock is affected by, in the order given.

    Where an advisory comes once for each maintained branch, only the lowest fix above the locked version counts.

    Args:
        lock: for each ecosystem, package to version, or the pins themselves.
    """
    pins = pins_of(lock) if isinstance(lock, Mapping) else lock
    chosen: dict[tuple[str, Pin], Advisory] = {}
    for advisory in advisories:
        for pin in pins:
            if not _affects(advisory, pin):
                continue
            best = chosen.get((advisory.id, pin))
            if best is None or older(advisory.ecosystem, str(advisory.fixed), str(best.fixed)):
                chosen[advisory.id, pin] = advisory
    return tuple(dict.fromkeys(chosen.values()))


def own_details(advisories: Sequence[Advisory], layers: Sequence[str], text: str) -> Iterator[dict[str, Any]]:
    """The details of the events that tell of these advisories, none too big for EventBridge or for a state's input.

    Args:
        layers: layer definitions that are meant.
        text: why, for people.
    """
    rows: list[dict[str, Any]] = []
    size = 0
    for advisory in dict.fromkeys(advisories):
        row = {key: value for key, value in advisory.to_json().items() if value is not None}
        length = len(json.dumps(row)) + 2
        if rows and (size + length > _EVENT_BYTES or len(rows) == MOST):
            yield {"advisories": rows, "layers": list(layers), "text": text}
            rows, size = [], 0
        rows.append(row)
        size += length
    if rows:
        yield {"advisories": rows, "layers": list(layers), "text": text}


def in_words(advisories: Sequence[Advisory]) -> str:
    """What the advisories ask for, the first few of them in full."""
    shown = [f"{advisory.id}: {advisory.package} is fixed in {advisory.fixed}" for advisory in advisories[:_SHOWN]]
    more = len(advisories) - _SHOWN
    return "; ".join(shown) + (f" and {more} more" if more > 0 else "")


def _affects(advisory: Advisory, pin: Pin) -> bool:
    if (advisory.ecosystem, advisory.package) != (pin.ecosystem, pin.package) or advisory.fixed is None:
        return False
    if advisory.version is not None and advisory.version != pin.version:
        return False
    # A locked version that cannot be compared is not known to be beyond the fix.
    return not valid(pin.ecosystem, pin.version) or older(pin.ecosystem, pin.version, advisory.fixed)


def _own(detail: Mapping[str, Any]) -> AdvisoryEvent:
    several = "advisories" in detail
    known = _MANY if several else (*_ONE, "layers", "text")
    for key in detail:
        if key not in known:
            if several and key in _ONE:
                raise InvalidInput(f'{OWN}: {key!r} belongs inside an entry of "advisories", not beside it')
            raise InvalidInput(f"{OWN}: unknown key {key!r} in detail; expected is {_SHAPE}")
    layers = detail.get("layers", [])
    if not isinstance(layers, list) or not all(isinstance(layer, str) for layer in layers):
        raise InvalidInput(f'{OWN}: "layers" must be a list of layer names; expected is {_SHAPE}')
    if several:
        rows = detail["advisories"]
        if not isinstance(rows, list) or not rows:
            raise InvalidInput(f'{OWN}: "advisories" must be a list of at least one object such as {_SHAPE}')
        if len(rows) > MOST:
            raise InvalidInput(f'{OWN}: "advisories" holds {len(rows)} entries, more than {MOST}; send several events')
        found = tuple(dict.fromkeys(_entry(row, f"advisories[{index}]: ") for index, row in enumerate(rows)))
    else:
        found = (_entry({key: value for key, value in detail.items() if key in _ONE}, ""),)
    text = _text(detail, "text", "why the update is made")
    return AdvisoryEvent(advisories=found, layers=tuple(layers), text=text or in_words(found))


def _entry(row: object, at: str) -> Advisory:
    """One advisory of Lamina's own event; `at` is where it stands in the event, for messages."""
    if not isinstance(row, dict):
        raise InvalidInput(f"{OWN}: {at}must be an object such as {_SHAPE}")
    for key in row:
        if key not in _ONE:
            raise InvalidInput(f"{OWN}: {at}unknown key {key!r}; an entry has {', '.join(_ONE)}")
    package = row.get("package")
    if not isinstance(package, str) or not package:
        raise InvalidInput(f'{OWN}: {at}detail needs "package", the name of a package; expected is {_SHAPE}')
    named = row.get("ecosystem", "PyPI")
    ecosystem = ECOSYSTEMS.get(named.lower()) if isinstance(named, str) else None
    if ecosystem is None:
        raise InvalidInput(
            f'{OWN}: {at}"ecosystem" {named!r} is not one that layers are made of; '
            f"known are {' and '.join(get_args(Ecosystem))}, and PyPI is meant without it"
        )
    if not _NAMES[ecosystem].fullmatch(package):
        raise InvalidInput(f'{OWN}: {at}"package" {package[:100]!r} cannot be the name of a package of {ecosystem}')
    identity = _text(row, "id", '"CVE-2024-35195"', at)
    if row.get("fixed") is None:
        raise InvalidInput(f'{OWN}: {at}{package} has no "fixed" version, so there is nothing to update to')
    fixed = _version(row, "fixed", ecosystem, f'{OWN}: {at}"fixed" must be the version that fixes it')
    version = None
    if row.get("version") is not None:
        version = _version(
            row, "version", ecosystem, f'{OWN}: {at}"version" must be the locked version it was found in'
        )
        if not older(ecosystem, version, fixed):
            raise InvalidInput(f'{OWN}: {at}{package} {version} is not older than {fixed}, the "fixed" version')
    return Advisory(
        id=identity or f"advisory on {package}",
        ecosystem=ecosystem,
        package=name_in(ecosystem, package),
        version=version,
        fixed=fixed,
    )


def _text(given: Mapping[str, Any], key: str, such: str, at: str = "") -> str:
    value = given.get(key, "")
    if not isinstance(value, str):
        raise InvalidInput(f'{OWN}: {at}"{key}" must be a text such as {such}; expected is {_SHAPE}')
    if len(value) > _LONGEST[key] or not value.isprintable():
        raise InvalidInput(f'{OWN}: {at}"{key}" must be one line of at most {_LONGEST[key]} characters')
    return value


def _version(row: Mapping[str, Any], key: str, ecosystem: Ecosystem, problem: str) -> str:
    value = row[key]
    if not isinstance(value, str) or len(value) > 100 or not valid(ecosystem, value):
        raise InvalidInput(f'{problem}, such as "2.32.0", not {str(value)[:100]!r}')
    return str(parse(ecosystem, value))


def _finding(event: Mapping[str, Any], detail: Mapping[str, Any]) -> AdvisoryEvent:
    if event.get("detail-type") != "Inspector2 Finding":
        raise InvalidInput(
            f"{INSPECTOR}: a {event.get('detail-type')!r} event starts no update; only 'Inspector2 Finding' does"
        )
    name = _brief(detail.get("title") or detail.get("findingArn") or "a finding")
    if detail.get("status") != "ACTIVE":
        raise InvalidInput(f"{INSPECTOR}: {name} is {detail.get('status')!r}; only ACTIVE findings start an update")
    vulnerability = detail.get("packageVulnerabilityDetails")
    if not isinstance(vulnerability, dict):
        raise InvalidInput(f"{INSPECTOR}: {name} is about no package (type {detail.get('type')!r}); nothing to update")
    packages = vulnerability.get("vulnerablePackages")
    rows = [row for row in packages if isinstance(row, dict)] if isinstance(packages, list) else []
    ours = [(ecosystem, row) for row in rows if (ecosystem := _ecosystem(row)) is not None]
    if not ours:
        managers = sorted({_brief(row.get("packageManager")) for row in rows})[:_SHOWN]
        raise InvalidInput(
            f"{INSPECTOR}: {name} names no Python or npm package (package managers: {managers or 'none'})"
        )
    identity = _brief(vulnerability.get("vulnerabilityId") or name)
    found: dict[Advisory, None] = {}
    layers: set[str | None] = set()
    for ecosystem, row in ours:
        package = str(row.get("name", ""))
        fixed = _fix(ecosystem, str(row.get("version", "")), str(row.get("fixedInVersion") or ""))
        if fixed is not None and _NAMES[ecosystem].fullmatch(package):
            advisory = Advisory(id=identity, ecosystem=ecosystem, package=name_in(ecosystem, package), fixed=fixed)
            found[advisory] = None
            arn = _LAYER_ARN.fullmatch(str(row.get("sourceLambdaLayerArn")))
            layers.add(arn[1] if arn else None)
    if not found:
        raise InvalidInput(f"{INSPECTOR}: {identity} has no fixed version yet, so there is nothing to update to")
    advisories = tuple(sorted(found, key=lambda one: (one.ecosystem, one.package, str(one.fixed))))
    named = sorted(layer for layer in layers if layer is not None)
    return AdvisoryEvent(
        advisories=advisories, found_in=() if None in layers else tuple(named), text=in_words(advisories)
    )


def _brief(name: object) -> str:
    return " ".join(str(name).split())[: _LONGEST["id"]]


def _ecosystem(row: Mapping[str, Any]) -> Ecosystem | None:
    return MANAGERS.get(str(row.get("packageManager", "")).upper())


def _fix(ecosystem: Ecosystem, current: str, fixed: str) -> str | None:
    """The lowest fixed version above `current`; Inspector lists one for each maintained branch."""
    best: str | None = None
    for text in re.split(r"[,\s]+", fixed):
        if not valid(ecosystem, text) or (valid(ecosystem, current) and not older(ecosystem, current, text)):
            continue
        if best is None or older(ecosystem, text, best):
            best = str(parse(ecosystem, text))
    return best
