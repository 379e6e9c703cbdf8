"""What npm is shown of a registry: of each package only the versions that policy would take.

npm takes the newest version that it sees and that fits. Left alone with a date it goes back to older versions
without a word (`--before`), and it knows neither ceilings nor versions that are held back; so each of these rules is
a matter of what it sees.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import semver

from lamina.errors import IndexUnavailable
from lamina.noderange import needs_newer_node
from lamina.npmlock import needs
from lamina.versions import is_prerelease, valid

_KEPT = ("name", "version", "dependencies", "optionalDependencies", "peerDependencies", "peerDependenciesMeta",
         "bundleDependencies", "bundledDependencies", "bin", "os", "cpu", "libc", "license", "hasInstallScript",
         "hasShrinkwrap", "_hasShrinkwrap", "deprecated", "engines", "dist")  # fmt: skip
_SHOWN = frozenset(_KEPT) - {"engines", "deprecated"}


LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""When a version came that was there already when Lamina first looked."""


@dataclass(frozen=True)
class Packument:
    """All that a registry says of one package.

    Attributes:
        versions: what each version needs.
        uploaded: when each version came; empty for a registry that does not say.
        latest: the version that its authors recommend.
        first_seen: for such a registry, when Lamina first saw each version, without those that were there at its first
            look; None where nobody remembers.
    """

    name: str
    versions: Mapping[str, Mapping[str, Any]]
    uploaded: Mapping[str, datetime]
    latest: str | None
    first_seen: Mapping[str, datetime] | None = None

    def came(self, version: str) -> datetime | None:
        """When a version came, or was first seen; None where that is not known."""
        if self.uploaded or self.first_seen is None:
            return self.uploaded.get(version)
        return self.first_seen.get(version, LONG_AGO)


@dataclass
class Source:
    """Where a resolution has its packuments from; each is asked for once.

    Args:
        read: gives a package's packument, None if there is no such package.
        fetch: gives a package's archive, by its address.

    Attributes:
        seen: the packuments that were asked for, kept from run to run.
        failed: the first thing that could not be asked.
    """

    read: Callable[[str], Packument | None]
    fetch: Callable[[str, str], bytes]
    seen: dict[str, Packument] = field(default_factory=dict)
    failed: IndexUnavailable | None = None
    missing: set[str] = field(default_factory=set)

    def packument(self, name: str) -> Packument | None:
        """A packument, asked for once."""
        if name not in self.seen and name not in self.missing:
            found = self.read(name)
            if found is None:
                self.missing.add(name)
            else:
                self.seen[name] = found
        return self.seen.get(name)


@dataclass(frozen=True)
class Rules:
    """Which versions of a package may be seen; one that leads out of the registry never is.

    Attributes:
        cutoff: uploads from this moment on are not shown.
        cutoffs: packages with a cutoff of their own.
        pins: package to the versions that the current lock has, which are always shown.
        still: packages of which nothing else is shown.
        exact: package to the version that was asked for by name; it takes the place of its major version's pins.
        hidden: single versions that are not shown, unless they are pinned.
        node: the major version of Node.js that packages must do with.
        undated: whether versions are shown of which nobody says when they came. A registry that never says so is
            taken at its word for a package that is not in the lock yet, since nothing else could be done.
    """

    cutoff: datetime
    node: int
    cutoffs: Mapping[str, datetime] = field(default_factory=dict)
    pins: Mapping[str, frozenset[str]] = field(default_factory=dict)
    still: frozenset[str] = frozenset()
    exact: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[tuple[str, str]] = frozenset()
    undated: bool = False


def parse_packument(body: bytes, name: str) -> Packument:
    """Read a registry's document on one package, in its full form.

    Raises:
        ValueError: it is no such document.
    """
    document = json.loads(body)
    if not isinstance(document, dict) or not isinstance(document.get("versions"), dict):
        raise ValueError("it does not list versions")
    versions = {
        version: {key: metadata[key] for key in _KEPT if key in metadata}
        for version, metadata in document["versions"].items()
        if isinstance(metadata, dict) and valid("npm", version)
    }
    times = document.get("time")
    uploaded = {}
    for version, moment in (times if isinstance(times, dict) else {}).items():
        if version in versions and isinstance(moment, str) and (parsed := _moment(moment)) is not None:
            uploaded[version] = parsed
    tags = document.get("dist-tags")
    latest = tags.get("latest") if isinstance(tags, dict) else None
    return Packument(name, versions, uploaded, latest if latest in versions else None)


def visible(packument: Packument, rules: Rules) -> list[str]:
    """The versions that are shown, oldest first."""
    return sorted((version for version in packument.versions if _shown(packument, version, rules)), key=npm_order)


def offered(packument: Packument, rules: Rules) -> dict[str, Any]:
    """The document that npm is given.

    Which Node.js a package is for is decided here, for the layer's runtime and not for the Node.js that npm runs on.
    A version that the lock has is never shown as deprecated: npm would take an older one instead.
    """
    shown = visible(packument, rules)
    pins = rules.pins.get(packument.name, frozenset())
    versions = {}
    for version in shown:
        metadata = packument.versions[version]
        versions[version] = {key: value for key, value in metadata.items() if key in _SHOWN}
        if metadata.get("deprecated") and version not in pins:
            versions[version]["deprecated"] = str(metadata["deprecated"])
    latest = _latest(packument, shown, pins)
    return {
        "name": packument.name,
        "dist-tags": {} if latest is None else {"latest": latest},
        "versions": versions,
    }


def _shown(packument: Packument, version: str, rules: Rules) -> bool:
    name = packument.name
    if leads_elsewhere(packument.versions[version]):
        return False
    pinned = version in rules.pins.get(name, ())
    if (exact := rules.exact.get(name)) is not None:
        return version == exact or (pinned and npm_order(version).major != npm_order(exact).major)
    if pinned or name in rules.still:
        return pinned
    if (name, version) in rules.hidden or needs_newer_node(engines_of(packument.versions[version]), rules.node):
        return False
    came = packument.came(version)
    if came is None:
        return rules.undated or (not packument.uploaded and name not in rules.pins)
    return came < rules.cutoffs.get(name, rules.cutoff)


def _latest(packument: Packument, shown: list[str], pins: frozenset[str]) -> str | None:
    """The `latest` of what is shown: npm prefers it where it fits, so it must not be older than a pin."""
    bound = None if packument.latest is None else npm_order(packument.latest)
    stable = [version for version in shown if not is_prerelease("npm", version)] or shown
    within = [version for version in stable if bound is None or npm_order(version) <= bound]
    return max([*within[-1:], *(version for version in stable if version in pins)], key=npm_order, default=None)


def leads_elsewhere(metadata: Mapping[str, Any]) -> bool:
    """Whether a version needs something from a repository, an address or a folder, which no registry vouches for."""
    return any(
        (":" in wanted or "/" in wanted) and not wanted.startswith("npm:") for wanted in needs(metadata).values()
    )


def engines_of(metadata: Mapping[str, Any]) -> str:
    """Which Node.js a version says that it is for; empty for any."""
    engines = metadata.get("engines")
    node = engines.get("node", "") if isinstance(engines, dict) else ""
    return node if isinstance(node, str) else ""


@cache
def npm_order(version: str) -> semver.Version:
    """A version as what it is sorted by."""
    return semver.Version.parse(version)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
