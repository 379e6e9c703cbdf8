"""What is the same on every architecture, and may therefore be published once: wheels, npm packages, own files."""

from __future__ import annotations

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from lamina.definition import Definition
from lamina.ingredients import own_files
from lamina.listing import Listed
from lamina.npmlock import NodeLock
from lamina.runtimes import Target
from lamina.wheels import target_tags

_ANYWHERE = Tag("py3", "none", "any")
_ELF = b"\x7fELF"


def universal_wheels(entry: Listed | None, target: Target) -> bool:
    """Whether all wheels of a version that fit the target fit every other, of any Python 3.

    One wheel for everybody is not enough: where there is another for this architecture, that one is installed.

    Args:
        entry: what the index has of the version; None where that is not known.
    """
    fitting = [tags for wheel in (entry.wheels if entry else ()) if (tags := _tags(wheel)) & target_tags(target)]
    return bool(fitting) and all(_ANYWHERE in tags for tags in fitting)


def universal_modules(lock: NodeLock) -> bool:
    """Whether no npm package of a lock is for some systems only, or has a script that would compile something."""
    restricting = ("os", "cpu", "libc", "hasInstallScript")
    return not any(entry.get(key) for path, entry in lock.entries.items() if path for key in restricting)


def universal_files(definition: Definition) -> bool:
    """Whether no own file is a program or library for one architecture, or bytecode of one version of Python."""
    return not any(body.startswith(_ELF) or path.endswith(".pyc") for path, body in own_files(definition).items())


def _tags(wheel: str) -> frozenset[Tag]:
    try:
        return parse_wheel_filename(wheel)[3]
    except InvalidWheelFilename:
        return frozenset()
