"""uv's command line: a question as files and options, and what its messages give away."""

from __future__ import annotations

import re
from datetime import datetime

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from lamina.lock import Lock
from lamina.resolution import Access
from lamina.resolve import Question

REQUIREMENTS, CONSTRAINTS, EXCLUDES, OUTPUT = "layer.in", "floor.txt", "exclude.txt", "pylock.toml"

_INDEX = "lamina"
"""The name under which a definition's own index gets its credentials."""

_NOT_SAID = ("warning:", "Resolved ", "error: No solution found", "DEBUG ", "WARN ")
_YANKED = re.compile(r"^warning: `([A-Za-z0-9._-]+)==\S+` is yanked", re.MULTILINE)
_UNTIMED = re.compile(r"^warning: `(\S+)` is missing an upload date", re.MULTILINE)
_ORIGIN = re.compile(r"^(\S+)==\S+.*\n\s+# from (\S+)$", re.MULTILINE)


def files(question: Question) -> dict[str, str]:
    """The files that `command` names, by name."""
    found = {
        REQUIREMENTS: "".join(f"{line}\n" for line in question.asked),
        CONSTRAINTS: "".join(f"{line}\n" for line in question.constraints),
        EXCLUDES: "".join(f"{name}\n" for name in question.exclude),
    }
    if question.preferred:
        # uv keeps the versions that it finds in the file it is to write, as far as they fit.
        packages = (
            f'\n[[packages]]\nname = "{name}"\nversion = "{version}"\n' for name, version in question.preferred.items()
        )
        found[OUTPUT] = 'lock-version = "1.0"\ncreated-by = "lamina"\n' + "".join(packages)
    return found


def command(question: Question, uv: str, python: str) -> tuple[str, ...]:
    """The command that answers the question, run in a folder that holds `files(question)`.

    Args:
        uv: path of the uv binary.
        python: path of an interpreter; it need not be the target's, since markers follow the target.
    """
    options = [
        *_target(question, python),
        *("--constraints", CONSTRAINTS),
        *("--excludes", EXCLUDES),
        *("--exclude-newer", _rfc3339(question.cutoff)),
        *(
            part
            for name, moment in question.cutoffs.items()
            for part in ("--exclude-newer-package", f"{name}={'false' if moment is None else _rfc3339(moment)}")
        ),
        *("--format", "pylock.toml"),
        *("--no-header", "--no-progress", "--color", "never"),
        *("--output-file", OUTPUT),
    ]
    return (uv, "pip", "compile", REQUIREMENTS, *options)


def origins_command(question: Question, uv: str, python: str) -> tuple[str, ...]:
    """The command that says which index each package of `pinned` is taken from."""
    options = [
        *_target(question, python),
        *("--no-deps", "--emit-index-annotation", "--no-annotate"),
        *("--no-header", "--no-progress", "--color", "never"),
    ]
    return (uv, "pip", "compile", REQUIREMENTS, *options)


def pinned(lock: Lock) -> str:
    """The requirements that ask for a lock and for nothing else."""
    return "".join(f"{pin.name}=={pin.version}\n" for pin in lock.pins.values())


def origins(output: str) -> dict[str, str]:
    """Package to the URL of the index that it comes from, in what `origins_command` prints."""
    return {canonicalize_name(name): url for name, url in _ORIGIN.findall(output)}


def credentials(access: Access | None) -> dict[str, str]:
    """The environment variables from which uv takes the credentials of a definition's own index."""
    if access is None or not (access.username or access.password):
        return {}
    return {
        f"UV_INDEX_{_INDEX.upper()}_USERNAME": access.username,
        f"UV_INDEX_{_INDEX.upper()}_PASSWORD": access.password,
    }


def yanked(stderr: str) -> frozenset[str]:
    """Packages whose chosen version is withdrawn, from uv's warnings."""
    return frozenset(canonicalize_name(name) for name in _YANKED.findall(stderr))


def untimed(stderr: str) -> frozenset[str]:
    """Packages of which files were left out because the index does not say when they came, from uv's warnings."""
    return frozenset(name for file in _UNTIMED.findall(stderr) if (name := _package(file)))


def plain_words(stderr: str) -> str:
    """uv's explanation as one paragraph, in terms of layer definitions rather than of uv's options."""
    kept: list[str] = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", stderr).splitlines():
        text = line.strip()
        if not text or text.startswith(_NOT_SAID):
            continue
        kept.append(re.sub(r"^(error|cause):\s*", "", text).replace("hint: ", "Hint: "))
    words = " ".join(kept)
    words = re.sub(r" Consider using `exclude-newer-package`[^.]*\.", "", words)
    words = words.replace("filtered by `exclude-newer`", "filtered by the cooldown")
    words = re.sub(r" \(i\.e\., with `--no-build`\)", "", words)
    words = words.replace("building from source is disabled for all packages", "only wheels are taken")
    return words[:1500]


def _target(question: Question, python: str) -> tuple[str, ...]:
    return (
        *("--python", python),
        *("--python-version", question.target.python),
        *("--python-platform", question.target.platform),
        *("--only-binary", ":all:"),
        *(part for name in question.forced for part in ("--no-binary", name)),
        *_index(question.access),
    )


def _index(access: Access | None) -> tuple[str, ...]:
    if access is None:
        return ()
    if access.packages:
        return ("--index", f"{_INDEX}={access.url}", "--index-strategy", "first-index")
    return ("--default-index", f"{_INDEX}={access.url}")


def _package(file: str) -> str | None:
    try:
        parse = parse_wheel_filename if file.endswith(".whl") else parse_sdist_filename
        return parse(file)[0]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None


def _rfc3339(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}Z"
