"""The package index, asked through uv: the only module that runs it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import canonicalize_name

from lamina.errors import LaminaError, ResolutionFailed
from lamina.lock import from_pylock
from lamina.resolve import OUTPUT, Answer, Question, command

_PASSED_ON = re.compile(r"UV_.*|SSL_CERT_(FILE|DIR)|(HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy|HOME|PATH|LANG|TMPDIR")
_YANKED = re.compile(r"^warning: `([A-Za-z0-9._-]+)==\S+` is yanked", re.MULTILINE)
_NO_SOLUTION = 1
"""uv's exit status when it asked the index and no set of packages fits; anything else means that it could not ask."""


class IndexUnavailable(LaminaError):
    """The package index gave no usable answer: what is new is unknown, which is not the same as nothing."""


class Index:
    """A package index behind uv.

    Args:
        uv: the uv binary.
        python: an interpreter for uv to look at.
        work: a folder that may be written to; uv's cache lives in it.
        environment: the process environment, of which trust, proxy and uv's own settings are passed on.
        timeout: seconds a resolution may take.
    """

    def __init__(
        self, uv: Path, python: str, work: Path, environment: Mapping[str, str], *, timeout: float = 240
    ) -> None:
        self._uv = uv
        self._python = python
        self._work = work
        self._environment = uv_environment(environment, work / "uv-cache")
        self._timeout = timeout

    def resolve(self, question: Question) -> Answer:
        """Ask for the newest set of packages that fits.

        Raises:
            ResolutionFailed: no set of packages fits.
            IndexUnavailable: the index, or uv itself, could not be asked.
        """
        with tempfile.TemporaryDirectory(dir=self._work) as name:
            folder = Path(name)
            for file, text in question.files().items():
                (folder / file).write_text(text)
            try:
                done = subprocess.run(
                    command(question, str(self._uv), self._python),
                    cwd=folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=self._timeout,
                )
            except subprocess.TimeoutExpired as error:
                raise IndexUnavailable(
                    f"{question.variant}: no answer from the package index within {self._timeout:.0f} s; "
                    "nothing was changed, what is new is unknown. The next run asks again"
                ) from error
            if done.returncode == _NO_SOLUTION:
                raise ResolutionFailed(
                    f"{question.variant}: no set of packages fits, nothing was changed. {plain_words(done.stderr)}"
                )
            if done.returncode != 0:
                raise IndexUnavailable(
                    f"{question.variant}: the package index could not be asked; nothing was changed, what is new is "
                    f"unknown. The next run asks again. {plain_words(done.stderr)}"
                )
            yanked = frozenset(canonicalize_name(match) for match in _YANKED.findall(done.stderr))
            try:
                return Answer(from_pylock((folder / OUTPUT).read_text()), yanked)
            except ValueError as error:
                raise ResolutionFailed(f"{question.variant}: {error}; nothing was changed") from error


def uv_environment(environment: Mapping[str, str], cache: Path) -> dict[str, str]:
    """What uv is told: trust, proxies and its own settings of the process, and where its cache may live.

    The system's certificates are trusted unless `UV_SYSTEM_CERTS` says otherwise, so that an index behind a
    company's own authority works as it does for everything else on the machine.
    """
    passed = {name: value for name, value in environment.items() if _PASSED_ON.fullmatch(name)}
    defaults = {"UV_SYSTEM_CERTS": "1", "UV_CACHE_DIR": str(cache), "HOME": str(cache.parent)}
    return defaults | passed | {"UV_PYTHON_DOWNLOADS": "never"}


def find_uv(work: Path) -> Path:
    """The uv binary: that of the Python package `uv` wherever it is installed, else the one on the search path.

    A layer built by `sam build` holds the package's scripts where the wheel has them, and not executable; such a
    binary is copied to `work` first.

    Raises:
        IndexUnavailable: there is none.
    """
    spec = importlib.util.find_spec("uv")
    candidates: list[Path] = []
    for package in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(package).parent
        candidates += [root / "bin" / "uv", *sorted(root.glob("uv-*.data/scripts/uv"))]
        # A virtual environment has lib/python3.x/site-packages/uv, and bin/uv beside lib.
        candidates += [parent / "bin" / "uv" for parent in list(root.parents)[1:3]]
    if (found := shutil.which("uv")) is not None:
        candidates.append(Path(found))
    for candidate in candidates:
        if candidate.is_file():
            return candidate if candidate.stat().st_mode & stat.S_IXUSR else _executable_copy(candidate, work / "uv")
    raise IndexUnavailable("uv is not installed beside this function; add the resolver layer to it")


def _executable_copy(binary: Path, copy: Path) -> Path:
    if not copy.is_file() or copy.stat().st_size != binary.stat().st_size:
        fresh = copy.with_suffix(".new")
        shutil.copyfile(binary, fresh)
        fresh.chmod(0o755)
        fresh.replace(copy)
    return copy


def plain_words(stderr: str) -> str:
    """uv's explanation as one paragraph, in terms of layer definitions rather than of uv's options."""
    kept: list[str] = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", stderr).splitlines():
        text = line.strip()
        if not text or text.startswith(("warning:", "Resolved ", "error: No solution found")):
            continue
        kept.append(re.sub(r"^(error|cause):\s*", "", text).replace("hint: ", "Hint: "))
    words = " ".join(kept)
    words = re.sub(r" Consider using `exclude-newer-package`[^.]*\.", "", words)
    words = words.replace("filtered by `exclude-newer`", "filtered by the cooldown")
    words = re.sub(r" \(i\.e\., with `--no-build`\)", "", words)
    words = words.replace("building from source is disabled for all packages", "only wheels are taken")
    return words[:1500]
