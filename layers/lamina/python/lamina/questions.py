"""What a probe function is made of: one program per language, and what it is asked about a release.

A Python or Node.js function brings Lamina's probe, which imports everything that the layer has for that language. A
runtime without a language brings a shell program that asks the dynamic linker about the layer's programs and libraries;
where the layer is the runtime itself, the function brings the definition's smoke test as its handler, or nothing, and
only has to answer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

from lamina.bundle import Manifest
from lamina.definition import Definition
from lamina.explain import Explanation
from lamina.model import Model
from lamina.runtimes import SMOKE_TESTS, is_python

RUNTIME_MODULES = ("boto3",)
"""What the Python runtime brings along and a layer can break by shadowing what it needs."""

LONGEST_INIT = 3_000
"""Characters of the list of modules that a probe function imports when it starts: Lambda allows 4 KB of variables."""

Language: TypeAlias = Literal["python", "nodejs", "provided"]

_PREFIX = re.compile(r"(python|nodejs):(.*)")


class Question(Model):
    """What a probe is asked.

    Attributes:
        packages: Python distributions by name, or npm packages by place, all of which are imported.
        modules: what is imported besides.
        smoke: the file of the function's code whose handler is run in the end; None for none.
    """

    packages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    smoke: str | None = None


@dataclass(frozen=True)
class Program:
    """A probe function: its code, and what it is invoked with.

    Attributes:
        executable: the files that Lambda runs itself.
        init: modules that are imported when the function starts, so that its initialisation can be compared.
        answers: whether it answers as Lamina's probes do; else any answer is as good as another.
    """

    handler: str
    files: Mapping[str, bytes]
    question: Question
    executable: frozenset[str] = frozenset()
    init: tuple[str, ...] = ()
    answers: bool = True


def language(runtime: str) -> Language:
    """The language of a runtime: what its functions are written in, `provided` for none."""
    if is_python(runtime):
        return "python"
    return "nodejs" if runtime.startswith("nodejs") else "provided"


def wanted_imports(definition: Definition, of: Language) -> tuple[str, ...]:
    """The names in `verify.imports` that a probe of this language tries.

    A name counts for every language of the definition, unless it begins with `python:` or `nodejs:`.
    """
    listed = definition.tables.verify.imports
    if listed == "auto" or of == "provided":
        return ()
    parts = [_PREFIX.fullmatch(name) for name in listed]
    return tuple(
        part[2] if part else name for name, part in zip(listed, parts, strict=True) if part is None or part[1] == of
    )


def smoke_test(definition: Definition, of: Language) -> tuple[str, bytes] | None:
    """The definition's smoke test under the name that it has in a probe's code; None if it is for another language."""
    path = definition.tables.verify.smoke
    if path is None or SMOKE_TESTS.get(PurePosixPath(path).suffix) != of:
        return None
    return f"smoke{PurePosixPath(path).suffix}", definition.content[str(PurePosixPath(path))]


def relevant(used: Collection[str], of: Language, *manifests: Manifest) -> frozenset[str]:
    """Those of the modules that functions import which one of the layer's packages has, or its own files."""
    own = {name for manifest in manifests for name in top_level(manifest, of)}
    return frozenset(name for name in used if top_name(name, of) in own)


def top_level(manifest: Manifest, of: Language) -> dict[str, str]:
    """What functions import of a layer: top-level name to the package that has it, empty for the layer's own files."""
    if of == "provided":
        return {}
    if of == "nodejs":
        return {place: place for place in manifest.node_packages if "/node_modules/" not in place}
    owned = {module: name for name, package in manifest.packages.items() for module in package.modules}
    return dict.fromkeys(manifest.own_modules, "") | owned


def program(
    runtime: str,
    manifest: Manifest,
    explanation: Explanation,
    definition: Definition,
    sources: Mapping[str, bytes],
    used: Collection[str] = (),
) -> Program:
    """What a release is probed with.

    Args:
        runtime: the variant's.
        manifest: the release's.
        explanation: the release's; what the team itself asked for is imported when the function starts.
        sources: Lamina's probes by file name: `probe.py`, `probe.mjs`, `probe.sh`.
        used: modules that functions import.
    """
    spoken = language(runtime)
    smoke = smoke_test(definition, spoken)
    files = dict([smoke]) if smoke else {}
    modules = (*wanted_imports(definition, spoken), *sorted(used))
    if spoken == "provided":
        question = Question(smoke=smoke[0] if smoke else None)
        if manifest.bootstrap:
            # The code must not be empty, and must not hold a bootstrap, which would take the layer's place.
            nothing = {"probe.txt": b"An empty function of Lamina's.\n"}
            handler = f"{PurePosixPath(smoke[0]).stem}.handler" if smoke else "probe.handler"
            return Program(handler, files or nothing, question, answers=False)
        files["bootstrap"] = sources["probe.sh"]
        return Program("probe.handler", files, question, executable=frozenset({"bootstrap"}))
    if spoken == "nodejs":
        packages, asked, probe = tuple(sorted(manifest.node_packages)), set(explanation.node_direct), "probe.mjs"
    else:
        packages, asked, probe = tuple(sorted(manifest.packages)), {*explanation.direct, ""}, "probe.py"
        modules = (*modules, *manifest.own_modules, *RUNTIME_MODULES)
    files[probe] = sources[probe]
    init = sorted(module for module, package in top_level(manifest, spoken).items() if package in asked)
    question = Question(packages=packages, modules=tuple(dict.fromkeys(modules)), smoke=smoke[0] if smoke else None)
    return Program("probe.handler", files, question, init=_fitting(init))


def top_name(name: str, of: Language) -> str:
    """The part of a module's name that says where it is from: `a` of `a.b`, `@scope/name` of `@scope/name/part`."""
    if of == "python":
        return name.partition(".")[0]
    parts = name.split("/")
    return "/".join(parts[:2]) if name.startswith("@") else parts[0]


def _fitting(names: list[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for name in names:
        if len(",".join([*kept, name])) <= LONGEST_INIT:
            kept.append(name)
    return tuple(kept)
