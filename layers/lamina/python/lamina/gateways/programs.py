"""Programs that layers bring along, as files that can be run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def runnable(binary: Path, copy: Path) -> Path:
    """The program, or an executable copy of it where an archive left it without the right to be run.

    Args:
        copy: where the copy goes; one that is there already is used again.
    """
    if os.access(binary, os.X_OK):
        return binary
    if not copy.is_file() or copy.stat().st_size != binary.stat().st_size:
        fresh = copy.with_suffix(".new")
        shutil.copyfile(binary, fresh)
        fresh.chmod(0o755)
        fresh.replace(copy)
    return copy
