"""Layers built by Lamina against the recipe that everyone uses: `pip install -r … -t python/ && zip -r`.

`python -m benchmarks.build [rounds]`. For each set and each architecture both sides build the same lock for Python 3.13
from the same index, first without and then with what they have downloaded before (cold, warm), taking turns; medians
of the same run are compared. Cold, Lamina's side includes getting its tool, as the install phase of a build does. The
recipe cross-builds with pip's own options.

What they make is unpacked and mounted read-only as a function has it, and the set is imported in fresh processes. An
archive keeps the times of its files, and the recipe's bytecode counts only where an unpacked source has the very time
that it had when it was compiled. Whether Lambda keeps these times is not documented, so both ways are measured.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import common
from lamina.bundle import BUILDER_FILES, build_settings, pack, sources
from lamina.definition import parse_definition, variants
from lamina.gateways.index import find_uv
from lamina.runtimes import ARCHITECTURES, PYTHONS
from local.pythons import find

RUNTIME = "python3.13"
BUILDER = Path(__file__).parents[1] / "builder"
HERE = os.uname().machine
TARGETS = {"build": 0.5, "zip": 1.0, "import": 0.5}
IMPORTS = 7


@dataclass
class Side:
    """What one side took and made: seconds by temperature, the zips' hashes, and the last zip itself."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"cold": [], "warm": []})
    hashes: set[str] = field(default_factory=set)
    zip: Path = Path()

    def take(self, temperature: str, work: Callable[[], Path]) -> None:
        """Time one build."""
        started = time.perf_counter()
        self.zip = work()
        self.seconds[temperature].append(time.perf_counter() - started)
        self.hashes.add(hashlib.sha256(self.zip.read_bytes()).hexdigest())


def main(rounds: int) -> None:
    """Measure and print."""
    python, rows = find(RUNTIME), []
    for name, wanted in tomllib.loads((common.HERE / "layers.toml").read_text()).items():
        for architecture in ARCHITECTURES:
            with TemporaryDirectory(prefix="lamina-benchmark-") as folder:
                rows.append(measure(name, wanted, architecture, python, Path(folder), rounds))
    common.show(
        f"A layer, against pip install and zip -r (targets: build {TARGETS['build']}, zip {TARGETS['zip']}, "
        f"import {TARGETS['import']})",
        ["set", "architecture", "cold", "warm", "zip", "import, times lost", "import, times kept", "same twice"],
        [[row["set"], row["architecture"], *row["ratios"].values(), row["lamina"]["rebuild_is_identical"]]
         for row in rows],
    )  # fmt: skip
    common.emit({"measured": "medians of one run, Lamina's divided by the recipe's", "rounds": rounds,
                 "targets": TARGETS, "sets": rows})  # fmt: skip


def measure(
    name: str, wanted: dict[str, list[str]], architecture: str, python: Path, work: Path, rounds: int
) -> dict[str, Any]:
    """One set for one architecture."""
    lock = resolve(wanted["requirements"], architecture, python, work)
    ours, theirs = Side(), Side()
    for number in range(rounds):
        for temperature in ("cold", "warm"):
            place = work / f"{temperature}-{number}"
            caches = work / f"caches-{number}"
            ours.take(temperature, partial(lamina, name, architecture, lock, python, place / "a", caches))
            theirs.take(temperature, partial(recipe, architecture, lock, python, place / "b", caches))
    imports: dict[str, list[float | None]] = {"lost": [None, None], "kept": [None, None]}
    if ARCHITECTURES[architecture] == HERE:
        for kept in imports:
            layers = [unpack(side.zip, work / kept / str(index), kept == "kept") for index, side in
                      enumerate((ours, theirs))]  # fmt: skip
            imports[kept] = list(import_seconds(wanted["imports"], layers, python))
    medians = {
        key: (statistics.median(ours.seconds[key]), statistics.median(theirs.seconds[key])) for key in ours.seconds
    }
    return {
        "set": name,
        "architecture": architecture,
        "lamina": _figures(ours, medians, imports, 0),
        "recipe": _figures(theirs, medians, imports, 1),
        "ratios": {
            **{key: round(mine / other, 2) for key, (mine, other) in medians.items()},
            "zip": round(ours.zip.stat().st_size / theirs.zip.stat().st_size, 2),
            **{f"import_{key}": _ratio(*pair) for key, pair in imports.items()},
        },
    }


def resolve(requirements: list[str], architecture: str, python: Path, work: Path) -> Path:
    """One lock for both sides."""
    lock = work / "lock.txt"
    command = [str(find_uv(work)), "pip", "compile", "-", "--python", str(python), "--python-version", RUNTIME[6:],
               "--python-platform", f"{ARCHITECTURES[architecture]}-{PYTHONS[RUNTIME]}", "--only-binary", ":all:",
               "--generate-hashes", "--no-header", "--no-annotate", "--quiet", "--output-file", str(lock)]  # fmt: skip
    subprocess.run(command, input="\n".join(requirements), text=True, check=True, stdout=subprocess.DEVNULL,
                   env={"UV_SYSTEM_CERTS": "1", **os.environ})  # fmt: skip
    return lock


def lamina(name: str, architecture: str, lock: Path, python: Path, place: Path, caches: Path) -> Path:
    """Build as CodeBuild does: unpack the source bundle, get the tool, run the build."""
    toml = (f'[layer]\nowner = "benchmarks"\nruntimes = ["{RUNTIME}"]\narchitectures = ["{architecture}"]\n'
            '[python]\nrequirements = "r.in"\n')  # fmt: skip
    definition = parse_definition(name, {"layer.toml": toml.encode(), "r.in": b"any"})
    (variant,) = variants(definition)
    files = {file: (BUILDER / file).read_bytes() for file in BUILDER_FILES}
    body = pack(files, build_settings(definition, variant), sources(definition, variant, lock.read_text(), None))
    place.mkdir(parents=True)
    (place / "source.zip").write_bytes(body)
    with zipfile.ZipFile(place / "source.zip") as archive:
        archive.extractall(place)
    tools = caches / "tools"
    if not tools.is_dir():
        command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:",
                   "--require-hashes", "--no-compile", "--no-cache-dir", "--target", str(tools), "-r",
                   "builder/requirements.txt"]  # fmt: skip
        subprocess.run(command, cwd=place, check=True, capture_output=True)
    (place / ".tools").symlink_to(tools)
    environment = {**os.environ, "UV_CACHE_DIR": str(caches / "uv"), "UV_SYSTEM_CERTS": "1"}
    subprocess.run([str(python), "-m", "builder.build"], cwd=place, env=environment, check=True, capture_output=True)
    return place / "output" / "layer.zip"


def recipe(architecture: str, lock: Path, python: Path, place: Path, caches: Path) -> Path:
    """What everyone does."""
    place.mkdir(parents=True)
    versions = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
    platforms = [part for tag in versions for part in ("--platform", f"{tag}_{ARCHITECTURES[architecture]}")]
    command = [str(python), "-m", "pip", "install", "--quiet", "-r", str(lock), "-t", "python/", *platforms,
               "--only-binary=:all:", "--cache-dir", str(caches / "pip")]  # fmt: skip
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    subprocess.run(["zip", "-q", "-r", "layer.zip", "python"], cwd=place, check=True)
    return place / "layer.zip"


def unpack(layer: Path, folder: Path, keep_times: bool) -> Path:
    """Unpack a layer, with the times that its archive states or with those of this moment."""
    folder.mkdir(parents=True)
    subprocess.run(["unzip", "-q", str(layer), "-d", str(folder)], check=True)
    if not keep_times:
        for path in folder.rglob("*"):
            os.utime(path, follow_symlinks=False)
    return folder / "python"


def import_seconds(modules: list[str], layers: list[Path], python: Path) -> list[float]:
    """Median seconds to import all modules, by layer; the layers take turns, and nothing is ever written to them."""
    program = f"import time; t = time.perf_counter(); import {', '.join(modules)}; print(time.perf_counter() - t)"
    taken: list[list[float]] = [[] for _ in layers]
    for _ in range(IMPORTS):
        for number, layer in enumerate(layers):
            # The folder stands for /opt/python, which no function can write to.
            environment = {"PYTHONPATH": str(layer), "PYTHONDONTWRITEBYTECODE": "1"}
            done = subprocess.run([str(python), "-c", program], env=environment, check=True, capture_output=True)
            taken[number].append(float(done.stdout))
    return [statistics.median(seconds) for seconds in taken]


def _figures(
    side: Side, medians: dict[str, tuple[float, float]], imports: dict[str, list[float | None]], which: int
) -> dict[str, Any]:
    return {
        **{f"{key}_seconds": round(pair[which], 2) for key, pair in medians.items()},
        "zip_bytes": side.zip.stat().st_size,
        **{f"import_seconds_times_{key}": _rounded(pair[which]) for key, pair in imports.items()},
        "rebuild_is_identical": len(side.hashes) == 1,
    }


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else round(ours / theirs, 2)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


if __name__ == "__main__":
    if shutil.which("zip") is None or shutil.which("unzip") is None:
        sys.exit("the recipe needs zip and unzip; install them first")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
