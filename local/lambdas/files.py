"""Unpacked code and layers on disk: each content once, each list of layers merged once."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import tempfile
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO


class BadArchive(ValueError):
    """A zip that Lambda would refuse: unreadable, or with names that leave its folder."""


def unzipped_size(archive: bytes) -> int:
    """Bytes of all files in a zip, as Lambda counts them towards its limit; raises BadArchive."""
    return sum(entry.file_size for entry in _open(archive).infolist())


class Files:
    """Folders under `root`: ``content/<digest>`` per zip, ``opt/<digest>`` per ordered list of layers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._content = root / "content"
        self._merged = root / "opt"
        for folder in (self._content, self._merged):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()

    def unpacked(self, archive: bytes) -> Path:
        """The folder with the files of a zip, with its modes and symbolic links; raises BadArchive."""
        target = self._content / hashlib.sha256(archive).hexdigest()
        with self._lock:
            if not target.exists():
                _in_one_step(target, lambda folder: _extract(archive, folder))
        return target

    def merged(self, archives: Sequence[bytes]) -> Path:
        """The folder that shows the zips on top of each other, as ``/opt`` does: of equal names the later wins."""
        layers = [self.unpacked(archive) for archive in archives]
        if len(layers) == 1:
            return layers[0]
        target = self._merged / hashlib.sha256("\n".join(layer.name for layer in layers).encode()).hexdigest()
        with self._lock:
            if not target.exists():
                _in_one_step(target, lambda folder: _lay_over(layers, folder))
        return target


def extensions_in(layers: Path) -> tuple[str, ...]:
    """Names of the external extensions that layers bring: every file in ``extensions/`` itself."""
    folder = layers / "extensions"
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_file())) if folder.is_dir() else ()


def _in_one_step(target: Path, fill: Callable[[Path], None]) -> None:
    """Fill a temporary folder beside `target`, then give it the name: nobody ever sees half of it."""
    temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        temporary.chmod(0o755)
        fill(temporary)
        temporary.rename(target)
    except OSError:
        if not target.exists():  # another process that shares the folder may have been first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _open(archive: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(archive))
    except zipfile.BadZipFile as error:
        raise BadArchive(
            f"Could not unzip uploaded file. Please check your file, then try to upload again. ({error})"
        ) from None


def _extract(archive: bytes, folder: Path) -> None:
    with _open(archive) as opened:
        for entry in opened.infolist():
            name = PurePosixPath(entry.filename)
            if name.is_absolute() or ".." in name.parts:
                raise BadArchive(f"the zip holds {entry.filename!r}, which lies outside of it")
            target = folder / name
            mode = entry.external_attr >> 16
            if entry.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            elif stat.S_ISLNK(mode):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(opened.read(entry).decode())
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as source, target.open("wb") as sink:
                    _copy(source, sink)
                # Lambda sees to it that everything can be read; executables must have been packed as such.
                target.chmod((mode & 0o777) | 0o444)


def _copy(source: IO[bytes], sink: IO[bytes]) -> None:
    """Copy a file; long runs of zeros take no room on the disk."""
    while chunk := source.read(1 << 20):
        if chunk.count(0) == len(chunk):
            sink.seek(len(chunk), os.SEEK_CUR)
        else:
            sink.write(chunk)
    sink.truncate()


def _lay_over(layers: Sequence[Path], folder: Path) -> None:
    steps = [(layer, *step) for layer in layers for step in os.walk(layer)]
    for layer, place, folders, files in steps:
        below = folder / Path(place).relative_to(layer)
        if below.is_symlink() or not below.is_dir():
            _remove(below)
            below.mkdir()
        for name in [*files, *(name for name in folders if Path(place, name).is_symlink())]:
            source, target = Path(place, name), below / name
            _remove(target)
            if source.is_symlink():
                target.symlink_to(source.readlink())
            else:
                target.hardlink_to(source)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
