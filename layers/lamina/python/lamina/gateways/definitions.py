"""Where definitions are read from: the folder that is deployed with the stack, a place in S3, a run's own copies.

A run keeps a copy of every definition from S3 that it works on, so that all its steps see the same one, and so that
only the steps that look for definitions have rights on that place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from lamina.collected import Collected, from_snapshot, merge, snapshot
from lamina.definition import DEFINITION, Definition, Refusal, parse_definition
from lamina.errors import DefinitionRefused
from lamina.model import ObjectKey, Variant

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from lamina.gateways.store import Store

MOST_FILES = 1_000
LARGEST_FOLDER = 10_000_000
"""Files and bytes that one definition in S3 may have: it is read into memory and copied."""
MOST_OBJECTS = 20_000
"""Objects that the place may hold altogether."""

_THREADS = 8
_LOCATION = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
_DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "403"})
_GONE = frozenset({"NoSuchKey", "PreconditionFailed", "404", "412"})


def read_folders(root: Path) -> dict[str, dict[str, bytes]]:
    """List the folders of `root` that hold a `layer.toml`, each as its files by path relative to it.

    A symbolic link that leads out of its folder is not followed.
    """
    return {marker.parent.name: _files(marker.parent) for marker in sorted(root.glob(f"*/{DEFINITION}"))}


def read_folder(folder: Path) -> dict[str, bytes]:
    """One folder's files by path relative to it; nothing if it holds no `layer.toml`."""
    return _files(folder) if (folder / DEFINITION).is_file() else {}


class Library:
    """All definitions there are.

    Args:
        folder: where those deployed with the stack are.
        location: the place of others, `s3://bucket/prefix/`; empty for none.
        client: for that place.
    """

    def __init__(self, folder: Path, location: str, client: S3Client) -> None:
        self._folder = folder
        self._location = location
        self._client = client

    def collect(self) -> Collected:
        """Read them all; what cannot be read is said and leaves the others alone."""
        deployed = read_folders(self._folder)
        if not self._location:
            return Collected(deployed)
        return merge(deployed, read_location(self._client, self._location))


class Definitions:
    """The definition of a variant, as the run that works on it sees it.

    Args:
        folder: where those deployed with the stack are.
        store: the artifacts bucket, where runs keep copies of the others.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store

    def of(self, variant: Variant) -> Definition:
        """Read and parse the variant's definition.

        Raises:
            DefinitionRefused: it is not there, or cannot be used.
        """
        if variant.snapshot is None:
            return parse_definition(variant.layer, read_folder(self._folder / variant.layer))
        body = self._store.read(variant.snapshot)
        if body is None:
            raise DefinitionRefused(
                f"{variant.variant}: the run's copy of its definition is gone from the artifacts bucket "
                f"({variant.snapshot}); nothing was changed. Start the update again"
            )
        return from_snapshot(body)

    def keep(self, definition: Definition, run: str) -> ObjectKey:
        """Keep a copy of a definition for a run, and give back its key."""
        key = f"definitions/{run}/{definition.name}.json"
        return self._store.write(key, snapshot(definition), "application/json")


def read_location(client: S3Client, location: str) -> Collected:
    """Read the definitions below a place in S3: `<prefix>/<name>/layer.toml` and the files beside each."""
    match = _LOCATION.fullmatch(location)
    if match is None:
        return Collected({}, location=location, silent=f"{location}: is not a place in S3, such as s3://bucket/layers/")
    bucket, prefix = match[1], (match[2] or "").strip("/")
    place = _Place(client, bucket, f"{prefix}/" if prefix else "")
    try:
        found = list(place.objects())
    except (ClientError, BotoCoreError) as error:
        return Collected({}, location=location, silent=_unreadable(location, error))
    if len(found) > MOST_OBJECTS:
        words = f"{location}: holds more than {MOST_OBJECTS} objects; no layer defined there was looked at. Keep only"
        return Collected({}, location=location, silent=f"{words} definitions and their files below it")
    folders: dict[str, Mapping[str, bytes]] = {}
    refusals: list[Refusal] = []
    for name, files in groupby(found, key=lambda one: one.folder):
        objects = list(files)
        if not any(one.path == DEFINITION for one in objects):
            continue
        try:
            folders[name] = place.read(name, objects)
        except DefinitionRefused as refused:
            refusals.append(Refusal(layer=name, message=str(refused)))
    places = {name: place.address(name) for name in folders}
    return Collected(folders, places, tuple(refusals), location)


@dataclass(frozen=True)
class _Object:
    folder: str
    path: str
    key: str
    size: int
    etag: str


class _Place:
    """A bucket and a prefix."""

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def address(self, name: str) -> str:
        """A folder's address, for messages."""
        return f"s3://{self._bucket}/{self._prefix}{name}"

    def objects(self) -> Iterator[_Object]:
        """All objects in folders, by key; a few more than there may be at most, if there are more."""
        count = 0
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        for page in pages:
            for entry in page.get("Contents", ()):
                folder, slash, path = entry["Key"].removeprefix(self._prefix).partition("/")
                # Consoles make empty objects whose keys end with / to show folders.
                if folder and slash and path and not (path.endswith("/") and not entry["Size"]):
                    yield _Object(folder, path, entry["Key"], entry["Size"], entry["ETag"])
                    count += 1
            if count > MOST_OBJECTS:
                return

    def read(self, name: str, objects: list[_Object]) -> dict[str, bytes]:
        """A folder's files, exactly as they were listed.

        Raises:
            DefinitionRefused: it is too large, a name leads out of it, or it could not be read.
        """
        where = self.address(name)
        size = sum(one.size for one in objects)
        if len(objects) > MOST_FILES or size > LARGEST_FOLDER:
            raise DefinitionRefused(
                f"{where}: has {len(objects)} files with {size} bytes, more than the {MOST_FILES} files or "
                f"{LARGEST_FOLDER} bytes that a definition in S3 may have; keep what is large elsewhere"
            )
        for one in objects:
            if not _inside(one.path):
                raise DefinitionRefused(
                    f"{where}: the object {one.key!r} has a name that leads out of its folder; delete or rename it"
                )
        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                return dict(zip((one.path for one in objects), pool.map(self._body, objects), strict=True))
        except (ClientError, BotoCoreError) as error:
            raise DefinitionRefused(_unreadable(where, error)) from error

    def _body(self, one: _Object) -> bytes:
        return self._client.get_object(Bucket=self._bucket, Key=one.key, IfMatch=one.etag)["Body"].read()


def _files(folder: Path) -> dict[str, bytes]:
    inside = folder.resolve()
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.resolve().is_relative_to(inside)
    }


def _inside(path: str) -> bool:
    parts: Iterable[str] = path.split("/")
    return path.isprintable() and "\\" not in path and not any(part in ("", ".", "..") for part in parts)


def _unreadable(where: str, error: ClientError | BotoCoreError) -> str:
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
    remedy = "the next run reads it again"
    if code in _DENIED:
        remedy = "allow Lamina s3:ListBucket and s3:GetObject there (and kms:Decrypt, if it is encrypted with a key)"
    elif code in _GONE:
        remedy = "it was changed while it was read; the next run reads it again"
    elif code == "NoSuchBucket":
        remedy = "correct the stack's parameter DefinitionsLocation"
    return f"{where}: could not be read ({code}); nothing of it was changed, what is defined there is unknown; {remedy}"
