"""Opens a page in headless Chromium, if the machine has one."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--enable-logging=stderr",
)  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """What the browser made of a page: lines of its console, the picture's size, and how many rows of it differ."""

    console: tuple[str, ...]
    width: int
    height: int
    rows: int


def chromium() -> str | None:
    """Where this machine has Chromium, if it has."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


def open_page(page: Path, folder: Path, width: int = 1200, height: int = 1600) -> Opened:
    """Open the page and take a picture of it; skips the test on a machine without Chromium."""
    browser = chromium()
    if browser is None:
        pytest.skip(f"needs Chromium, of which this machine has none ({', '.join(_NAMES)})")
    picture = folder / f"{page.stem}.png"
    command = [
        browser, *_QUIET, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}",
        f"--screenshot={picture}", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert picture.is_file(), done.stderr[-2000:]
    console = tuple(line for line in done.stderr.splitlines() if re.search(r":CONSOLE[:(]", line))
    return Opened(console, *_look(picture.read_bytes()))


def _look(png: bytes) -> tuple[int, int, int]:
    """Width, height and the number of different rows of pixels, which is one for an empty page."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, data, size = 8, b"", (0, 0)
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
        elif kind == b"IDAT":
            data += body
        at += 12 + length
    rows = zlib.decompress(data)
    stride = len(rows) // size[1]
    return *size, len({rows[number * stride : (number + 1) * stride] for number in range(size[1])})
