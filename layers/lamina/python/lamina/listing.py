"""What a package index lists: every version of a package, when it came, and for whom it is.

`parse_simple` reads an index's page on one package in both of its forms: JSON (PEP 691, PEP 700) and HTML (PEP 503,
with the attributes of PEP 592 and of "Requires-Python" metadata, and with the upload times that some indexes add).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Literal
from urllib.parse import unquote, urljoin

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from lamina.model import Ecosystem
from lamina.versions import parse, valid

JSON_PAGE = "application/vnd.pypi.simple.v1+json"
HTML_PAGE = "application/vnd.pypi.simple.v1+html"
ACCEPTED = f"{JSON_PAGE}, {HTML_PAGE};q=0.2, text/html;q=0.01"
"""What to ask an index for (PEP 691). Some give upload times only to those who ask for one of the newer forms."""


@dataclass(frozen=True)
class Listed:
    """One version of a package.

    Attributes:
        uploaded: when its first file was there (aware UTC); None where the index does not say so of all its files.
        yanked: why its authors withdrew it, an empty text if they gave no reason; None if they did not. A version of
            which some files are left is not withdrawn.
        requires: the interpreters that it is for, as it says itself (`>=3.9`, `>=18`); empty for all.
        wheels: file names of its wheels; empty for npm.
        source: whether it can be built from source.
        arrivals: when each of `wheels` was uploaded, in their order; empty where the index does not say.
    """

    version: str
    uploaded: datetime | None = None
    yanked: str | None = None
    requires: str = ""
    wheels: tuple[str, ...] = ()
    source: bool = False
    arrivals: tuple[datetime, ...] = ()

    def before(self, moment: datetime) -> Listed:
        """The version with those of its wheels that were there before a moment."""
        if all(arrival < moment for arrival in self.arrivals):
            return self
        kept = [pair for pair in zip(self.wheels, self.arrivals, strict=True) if pair[1] < moment]
        return replace(self, wheels=tuple(name for name, _ in kept), arrivals=tuple(arrival for _, arrival in kept))


@dataclass(frozen=True)
class Listing:
    """All versions of a package, oldest version first; what is no version of its ecosystem is left out."""

    ecosystem: Ecosystem
    package: str
    versions: tuple[Listed, ...]

    def find(self, version: str) -> Listed | None:
        """The entry of one version, however it is written."""
        exact = next((entry for entry in self.versions if entry.version == version), None)
        if exact is not None or not valid(self.ecosystem, version):
            return exact
        wanted = parse(self.ecosystem, version)
        return next((entry for entry in self.versions if parse(self.ecosystem, entry.version) == wanted), None)

    def before(self, moment: datetime) -> Listing:
        """What there was before a moment: later versions and later wheels are left out, the undated are kept.

        That a version was withdrawn is told as of today: no index says since when.
        """
        return replace(
            self,
            versions=tuple(
                entry.before(moment) for entry in self.versions if entry.uploaded is None or entry.uploaded < moment
            ),
        )


@dataclass(frozen=True)
class File:
    """Where a file of a package is: its name, its whole address, its SHA-256 (hex), empty where the page has none."""

    name: str
    url: str
    sha256: str


@dataclass(frozen=True)
class _File:
    """One file as a page lists it; `moment`, `requires` and `href` as they are written there."""

    name: str
    moment: str | None
    yanked: bool | str
    requires: str
    href: str = ""
    sha256: str = ""


def parse_simple(body: bytes, content_type: str, package: str) -> Listing:
    """Read an index's page on one package.

    Files whose names are none of that package's wheels or source distributions are left out.

    Args:
        content_type: as the index answered it, with or without parameters.
        package: its name in any spelling.

    Raises:
        ValueError: it is no such page, but perhaps somebody asking to log in.
    """
    name = canonicalize_name(package)
    return _listing(name, _files(body, content_type, name))


def parse_files(body: bytes, content_type: str, package: str, address: str) -> tuple[File, ...]:
    """The files that a page lists, as `parse_simple` reads it.

    Args:
        address: of the page, which its links may be relative to.

    Raises:
        ValueError: it is no such page.
    """
    name = canonicalize_name(package)
    return tuple(
        File(file.name, urljoin(address, file.href), file.sha256)
        for file in _files(body, content_type, name)
        if file.href and _version(file.name, name) is not None
    )


def _files(body: bytes, content_type: str, name: str) -> list[_File]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind in (JSON_PAGE, "application/json"):
        return list(_json_files(body))
    if kind in (HTML_PAGE, "text/html", ""):
        files = _html_files(body)
        # A page of an index that lists nothing of the package cannot be told from any other page.
        if not any(canonicalize_name(file.name).startswith(name) for file in files):
            raise ValueError("it does not list files of that package")
        return files
    raise ValueError(f"its answer is {kind}, which is no page of a package index")


def _listing(name: str, files: Iterable[_File]) -> Listing:
    versions: dict[Version, list[tuple[Literal["wheel", "source"], _File]]] = {}
    for file in files:
        if (found := _version(file.name, name)) is not None:
            kind, version = found
            versions.setdefault(version, []).append((kind, file))
    return Listing("PyPI", name, tuple(_listed(version, versions[version]) for version in sorted(versions)))


def _listed(version: Version, files: list[tuple[Literal["wheel", "source"], _File]]) -> Listed:
    moments = {file.name: _moment(file.moment) for _, file in files}
    known = [moment for moment in moments.values() if moment is not None]
    complete = len(known) == len(moments)
    wheels = tuple(sorted({file.name for kind, file in files if kind == "wheel"}))
    reasons = [file.yanked for _, file in files]
    gone = [reason is not False for reason in reasons]
    return Listed(
        version=str(version),
        uploaded=min(known) if complete else None,
        yanked=next((reason for reason in reasons if reason and isinstance(reason, str)), "") if all(gone) else None,
        requires=next((file.requires for _, file in files if file.requires), ""),
        wheels=wheels,
        source=any(kind == "source" for kind, _ in files),
        arrivals=tuple(moment for wheel in wheels if (moment := moments[wheel]) is not None) if complete else (),
    )


def _version(file: str, package: str) -> tuple[Literal["wheel", "source"], Version] | None:
    try:
        if file.endswith(".whl"):
            name, version, *_ = parse_wheel_filename(file)
        else:
            name, version = parse_sdist_filename(file)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    return ("wheel" if file.endswith(".whl") else "source", version) if name == package else None


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _json_files(body: bytes) -> Iterator[_File]:
    document = json.loads(body)
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, list):
        raise ValueError('its answer has no "files"')
    for file in files:
        if not isinstance(file, dict) or not isinstance(name := file.get("filename"), str):
            continue
        moment, yanked, requires = file.get("upload-time"), file.get("yanked", False), file.get("requires-python")
        url, hashes = file.get("url"), file.get("hashes")
        sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
        yield _File(
            name=name,
            moment=moment if isinstance(moment, str) else None,
            # An empty text is no withdrawal here, unlike an empty attribute in HTML.
            yanked=yanked.strip() if isinstance(yanked, str) and yanked else bool(yanked),
            requires=requires.strip() if isinstance(requires, str) else "",
            href=url if isinstance(url, str) else "",
            sha256=sha256.lower() if isinstance(sha256, str) else "",
        )


def _html_files(body: bytes) -> list[_File]:
    reader = _Anchors()
    reader.feed(body.decode(errors="replace"))
    reader.close()
    return reader.files


class _Anchors(HTMLParser):
    """Collects the files that a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[_File] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element."""
        found = dict(attrs)
        if tag == "base":
            self.base = self.base or found.get("href") or ""
        if tag != "a":
            return
        reason, href = found.get("data-yanked"), found.get("href") or ""
        digest = re.search(r"#(?:.*&)?sha256=([0-9a-fA-F]{64})", href)
        self.files.append(
            _File(
                name=unquote(re.split(r"[?#]", href, maxsplit=1)[0].rpartition("/")[2]),
                moment=found.get("data-upload-time"),
                yanked=(reason or "").strip() if "data-yanked" in found else False,
                requires=(found.get("data-requires-python") or "").strip(),
                href=urljoin(self.base, href.partition("#")[0]),
                sha256=digest[1].lower() if digest else "",
            )
        )
