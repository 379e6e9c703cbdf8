"""GitHub's webhooks about vulnerabilities: whether one is genuine, and which advisory and packages it points to.

What a delivery says of versions is not read: which version fixes a vulnerability is for the advisory database to say.
The events are `security_advisory` and `dependabot_alert`, as in GitHub's webhook reference.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lamina.advisory import ECOSYSTEMS
from lamina.model import Ecosystem
from lamina.osv import name_in

LARGEST = 1_000_000
"""Bytes that a delivery may have. GitHub's own limit is higher, but for events that are of no use here."""
ACTIONS: Mapping[str, frozenset[str]] = {
    "security_advisory": frozenset({"published", "updated"}),
    "dependabot_alert": frozenset({"created", "reopened", "reintroduced", "auto_reopened"}),
}
"""Events that may start an update, with the actions that do."""

_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})")
_IDENTITY = re.compile(r"(GHSA(-[0-9a-z]{4}){3}|CVE-\d{4}-\d{4,12})")


class Malformed(ValueError):
    """A genuine delivery that is not what GitHub's reference says."""


@dataclass(frozen=True)
class Notice:
    """A delivery that may start an update: the advisory's names, and the packages that it is said to be about."""

    names: frozenset[str]
    packages: frozenset[tuple[Ecosystem, str]]


@dataclass(frozen=True)
class Ignored:
    """A delivery that asks for nothing, and why."""

    why: str


def genuine(secret: str, body: bytes, signature: str) -> bool:
    """Whether `signature`, the header X-Hub-Signature-256, is that of these very bytes; never with an empty secret."""
    found = _SIGNATURE.fullmatch(signature)
    if not secret or found is None:
        return False
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, found[1])


def parse(kind: str, body: bytes) -> Notice | Ignored:
    """Read a genuine delivery.

    Args:
        kind: the header X-GitHub-Event, which is not signed: the body must be of that kind too.
        body: as it was delivered.

    Raises:
        Malformed: it is not JSON, or lacks what its kind has.
    """
    if kind == "ping":
        return Ignored("pong")
    if kind not in ACTIONS:
        return Ignored(f"events of kind {kind[:50]!r} start no update")
    try:
        given = json.loads(body)
    except ValueError as error:
        raise Malformed("the body is not JSON; choose the content type application/json for the webhook") from error
    if not isinstance(given, dict):
        raise Malformed("the body must be a JSON object")
    holder = given if kind == "security_advisory" else _object(given, "alert")
    advisory = _object(holder, "security_advisory")
    action = given.get("action")
    if not isinstance(action, str):
        raise Malformed('"action" is missing')
    if action not in ACTIONS[kind]:
        return Ignored(f"a {kind} that is {action[:50]!r} starts no update")
    if advisory.get("withdrawn_at"):
        return Ignored("the advisory is withdrawn")
    rows = advisory.get("vulnerabilities") if kind == "security_advisory" else [_object(holder, "dependency")]
    packages = _packages(rows)
    if not packages:
        return Ignored("it is about no package of PyPI or npm")
    return Notice(_names(advisory), packages)


def _names(advisory: Mapping[str, Any]) -> frozenset[str]:
    identifiers = advisory.get("identifiers")
    listed = [row.get("value") for row in identifiers if isinstance(row, dict)] if isinstance(identifiers, list) else []
    names = {name for name in (advisory.get("ghsa_id"), advisory.get("cve_id"), *listed) if isinstance(name, str)}
    known = frozenset(name for name in names if _IDENTITY.fullmatch(name))
    if not known:
        raise Malformed('the advisory has neither a "ghsa_id" nor a "cve_id"')
    return known


def _packages(rows: object) -> frozenset[tuple[Ecosystem, str]]:
    if not isinstance(rows, list):
        raise Malformed('the advisory has no "vulnerabilities"')
    found: set[tuple[Ecosystem, str]] = set()
    for row in rows:
        package = _object(row, "package")
        name, ecosystem = package.get("name"), package.get("ecosystem")
        if not isinstance(name, str) or not isinstance(ecosystem, str):
            raise Malformed('a "package" lacks its "name" or its "ecosystem"')
        known = ECOSYSTEMS.get(ecosystem.lower())
        if known is not None:
            found.add((known, name_in(known, name)))
    return frozenset(found)


def _object(given: object, key: str) -> Mapping[str, Any]:
    found = given.get(key) if isinstance(given, dict) else None
    if not isinstance(found, dict):
        raise Malformed(f'"{key}" is missing, or is not an object')
    return found
