"""The package index, asked through uv: the only module that runs it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lamina import uv
from lamina.errors import IndexUnavailable as IndexUnavailable
from lamina.errors import ResolutionFailed
from lamina.gateways.programs import runnable
from lamina.lock import Lock, from_pylock
from lamina.resolution import Access
from lamina.resolve import Answer, Question

_PASSED_ON = re.compile(r"UV_.*|SSL_CERT_(FILE|DIR)|(HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy|HOME|PATH|LANG|TMPDIR")
_OTHER_INDEXES = frozenset({"UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX_STRATEGY", "UV_NO_INDEX"})
"""Settings that would bring packages from somewhere else than a definition with an index of its own says."""

_DENIED = re.compile(r"(401) Unauthorized|(403) Forbidden")
_NO_SOLUTION = 1
"""uv's exit status when it asked the index and no set of packages fits; anything else means that it could not ask."""


class Unsolved(ResolutionFailed):
    """No set of packages fits, of those that the resolver was let see.

    `untimed` are packages of which it left files out because the index does not say when they came.
    """

    def __init__(self, message: str, untimed: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.untimed = untimed


class Index:
    """A package index behind uv.

    Args:
        binary: the uv binary.
        python: an interpreter for uv to look at.
        work: a folder that may be written to; uv's cache lives in it.
        environment: the process environment, of which trust, proxy and uv's own settings are passed on.
        timeout: seconds a resolution may take.
    """

    def __init__(
        self, binary: Path, python: str, work: Path, environment: Mapping[str, str], *, timeout: float = 240
    ) -> None:
        self._uv = str(binary)
        self._python = python
        self._work = work
        self._environment = uv_environment(environment, work / "uv-cache")
        self._timeout = timeout

    def resolve(self, question: Question) -> Answer:
        """Ask for the newest set of packages that fits.

        Raises:
            Unsolved: no set of packages fits.
            ResolutionFailed: the answer is none that an installer could be held to.
            IndexUnavailable: the index, or uv itself, could not be asked.
        """
        with tempfile.TemporaryDirectory(dir=self._work) as name:
            folder = Path(name)
            for file, text in uv.files(question).items():
                (folder / file).write_text(text)
            done = self._run(question, uv.command(question, self._uv, self._python), folder)
            try:
                lock = from_pylock((folder / uv.OUTPUT).read_text())
            except ValueError as error:
                raise ResolutionFailed(f"{question.variant}: {error}; nothing was changed") from error
            return Answer(lock, uv.yanked(done.stderr), uv.untimed(done.stderr))

    def origins(self, question: Question, lock: Lock) -> dict[str, str]:
        """Which index each package of a lock is from: package to URL.

        Raises:
            IndexUnavailable: the index, or uv itself, could not be asked.
        """
        with tempfile.TemporaryDirectory(dir=self._work) as name:
            folder = Path(name)
            (folder / uv.REQUIREMENTS).write_text(uv.pinned(lock))
            done = self._run(question, uv.origins_command(question, self._uv, self._python), folder)
            return uv.origins(done.stdout)

    def _run(self, question: Question, command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        access = question.access
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=_reaching(self._environment, access),
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
        denied = _DENIED.search(done.stderr)
        if done.returncode == 0 and (access is None or denied is None):
            return done
        words = uv.plain_words(done.stderr)
        if access is not None and access.password:
            words = words.replace(access.password, "***")
        if denied is not None:
            own = f"the index {access.url} of [python.index] in layer.toml" if access else "the package index"
            raise IndexUnavailable(
                f"{question.variant}: {own} refused Lamina ({denied[1] or denied[2]}); nothing was changed, what is "
                f"new is unknown. Check its credentials and what they permit. {words}"
            )
        if done.returncode == _NO_SOLUTION:
            raise Unsolved(
                f"{question.variant}: no set of packages fits, nothing was changed. {words}", uv.untimed(done.stderr)
            )
        raise IndexUnavailable(
            f"{question.variant}: the package index could not be asked; nothing was changed, what is new is "
            f"unknown. The next run asks again. {words}"
        )


def _reaching(environment: Mapping[str, str], access: Access | None) -> dict[str, str]:
    if access is None:
        return dict(environment)
    kept = {name: value for name, value in environment.items() if name not in _OTHER_INDEXES}
    # Where a name is refused, uv goes on as if it did not exist, and may well end with an older set of packages: only
    # its log tells.
    return kept | uv.credentials(access) | {"RUST_LOG": "uv_client::registry_client=debug"}


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
            return runnable(candidate, work / "uv")
    raise IndexUnavailable("uv is not installed beside this function; add the resolver layer to it")
