"""Build images on one machine: a folder whose `python` and `pip`, or `node` and `npm`, are the image's."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_IMAGE = re.compile(r"^aws/codebuild/amazonlinux-(x86_64|aarch64)-lambda-standard:(python|nodejs)(\d+(?:\.\d+)?)$")
_SYSTEM = "/usr/local/bin:/usr/bin:/bin"
_PIP = "#!{python}\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"
_LOCK = threading.Lock()


class ImageError(Exception):
    """An image that this machine cannot stand in for."""


class Images:
    """Makes a private image for each build out of a cached one.

    `find_python("python3.13")` gives that runtime's interpreter, or raises LookupError saying what to do.
    """

    def __init__(self, cache: Path, find_python: Callable[[str], Path]) -> None:
        self._cache = cache
        self._find_python = find_python

    def make(self, image: str, folder: Path) -> str:
        """Build the image's tools under `folder` (not there yet); returns the PATH of a build.

        Raises:
            ImageError: for an unknown image, or where this machine lacks the runtime.
        """
        found = _IMAGE.match(image)
        if found is None:
            raise ImageError(
                f"the image {image} is not known here; known are the lambda-standard images of Amazon Linux"
            )
        if found[2] == "nodejs":
            return self._node(found[3], folder)
        return self._python(found[3], folder)

    def _python(self, version: str, folder: Path) -> str:
        try:
            interpreter = self._find_python(f"python{version}")
        except LookupError as problem:
            raise ImageError(str(problem)) from problem
        site = Path("lib") / f"python{version}" / "site-packages"
        with _LOCK:
            template = self._cache / f"python{version}"
            if not (template / site / "pip").is_dir():
                shutil.rmtree(template, ignore_errors=True)
                _run(str(interpreter), "-m", "venv", str(template))
        _run(str(interpreter), "-m", "venv", "--without-pip", str(folder))
        for package in (template / site).glob("pip*"):
            shutil.copytree(package, folder / site / package.name)
        for name in ("pip", "pip3", f"pip{version}"):
            script = folder / "bin" / name
            script.write_text(_PIP.format(python=folder / "bin" / "python"))
            script.chmod(0o755)
        return f"{folder / 'bin'}:{_SYSTEM}"

    def _node(self, major: str, folder: Path) -> str:
        node = shutil.which("node")
        version = _run(node, "--version") if node else ""
        if not version.startswith(f"v{major}."):
            raise ImageError(f"Node.js {major} is not installed on this machine ({version.strip() or 'none is'})")
        bin_folder = folder / "bin"
        bin_folder.mkdir(parents=True)
        for name in ("node", "npm", "npx"):
            tool = shutil.which(name)
            if tool:
                (bin_folder / name).symlink_to(tool)
        # Amazon Linux has a Python of its own whatever the runtime; any version of this machine stands in for it.
        interpreter = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        for name in ("python", "python3"):
            (bin_folder / name).symlink_to(interpreter)
        return f"{bin_folder}:{_SYSTEM}"


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    except subprocess.CalledProcessError as problem:
        raise ImageError(f"{' '.join(command)} failed: {problem.stderr[-500:]}") from problem
