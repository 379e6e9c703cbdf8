"""Builds a layer from its locks and files: exactly these packages, for the layer's machine, on any host.

`python -m builder.build` in a source bundle: `build.json` says what to build, `lock.txt`, `package-lock.json` with its
`package.json`, and `files/` are what it is built from. It leaves `output/layer.zip`, `output/manifest.json` and
`output/sbom.json`. The same bundle gives the same bytes, wherever and whenever. Standard library only, besides uv and
npm, which the install phase brings.

A build that must not be published ends with exit status 1 and one line that begins with `build refused:`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from builder import npm, wheels
from builder.archive import check_links, collect, digest, write_zip
from builder.bytecode import add_bytecode
from builder.native import check_native, link_duplicates, strip_symbols
from builder.own import copy_files, extensions, own_files, own_modules
from builder.pruning import Removed, prune
from builder.refusal import Refused
from builder.sbom import make_sbom
from builder.settings import Settings, read_settings
from builder.tree import size


def main(folder: Path) -> None:
    """Build what `folder` describes.

    Raises:
        Refused: see the module.
    """
    settings = read_settings(folder / "build.json")
    root, output = folder / "layer", folder / "output"
    for place in (root, output):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    own = own_files(folder / "files", settings)
    removed, notes = install(folder, root, own, settings)
    packages, node_packages = describe(root)
    check_links(root, settings.variant)
    native = check_native(root, settings)
    pure = not (native or _depends(folder, root, settings))
    check_size(root, {**packages, **node_packages}, settings)
    bytecode, why = add_bytecode(root, settings)
    entries = list(collect(root))
    write_zip(output / "layer.zip", entries)
    body = (output / "layer.zip").read_bytes()
    manifest: dict[str, Any] = {
        "variant": settings.variant,
        "digest": digest(entries),
        "sha256": hashlib.sha256(body).hexdigest(),
        "sizes": {"zipped": len(body), "unzipped": sum(len(entry.content) for entry in entries)},
        "packages": packages,
        "nodePackages": node_packages,
        "ownModules": own_modules(own),
        "removed": {reason: asdict(total) for reason, total in removed.items()},
        "bytecode": bytecode,
        "bytecodeWhy": why,
        "pure": pure,
        "extensions": extensions(own),
        "bootstrap": "bootstrap" in own,
        "notes": notes,
    }
    (output / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))
    (output / "sbom.json").write_text(make_sbom(folder, root, manifest, own, settings))
    tell(manifest)


def install(folder: Path, root: Path, own: list[str], settings: Settings) -> tuple[dict[str, Removed], list[str]]:
    """Put everything into the layer: packages, pruned, then the definition's own files as they are.

    Returns:
        What was left out, by reason, and what a reader of the manifest should know.

    Raises:
        Refused: see the modules.
    """
    python, modules = root / "python", root / "nodejs" / "node_modules"
    if settings.python is not None:
        wheels.install_wheels(folder, python, settings.python, settings.variant)
    if settings.nodejs is not None:
        npm.install_packages(folder, modules.parent, settings.nodejs, settings.variant)
    removed, notes = prune(root, settings), []
    wheels.check_overwrites(python, settings.variant)
    wheels.rewrite_records(python)
    owners = {**wheels.owners_of_wheels(python), **npm.owners_of_packages(modules)} if own else {}
    copy_files(folder / "files", root, own, owners, settings)
    if settings.prune:
        removed["duplicate libraries"] = link_duplicates(root, own)
    if settings.strip:
        removed["debug symbols"], note = strip_symbols(root, own)
        notes += [note] if note else []
    return {reason: total for reason, total in removed.items() if total.files}, notes


def describe(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The packages for Python and those for Node.js, as the manifest has them."""
    return wheels.describe_wheels(root / "python"), npm.describe_packages(root / "nodejs" / "node_modules")


def check_size(root: Path, packages: Mapping[str, Any], settings: Settings) -> None:
    """Refuse a layer that no function could attach.

    Raises:
        Refused: with the ten largest packages.
    """
    limit, total = settings.maximum_bytes, size(root)
    if total <= limit:
        return
    largest = sorted(packages.items(), key=lambda item: (-item[1]["size"], item[0]))[:10]
    listed = ", ".join(f"{name} {package['size']:,}" for name, package in largest) or "there are only own files"
    raise Refused(
        f"{settings.variant}: {total:,} bytes unzipped, but Lambda's limit is {limit:,} for a function and all its "
        f"layers; split the layer or drop a package. The largest: {listed}"
    )


def tell(manifest: Mapping[str, Any]) -> None:
    """Say in the build's log what came out."""
    sizes, count = manifest["sizes"], len(manifest["packages"]) + len(manifest["nodePackages"])
    print(
        f"built {manifest['variant']}: {count} packages, {sizes['unzipped']:,} bytes unzipped, {sizes['zipped']:,} "
        f"zipped, digest {manifest['digest'][:12]}"
    )
    for reason, total in manifest["removed"].items():
        print(f"left out: {reason}, {total['files']:,} files, {total['bytes']:,} bytes")
    for note in (manifest["bytecodeWhy"], *manifest["notes"]):
        if note:
            print(f"note: {note}")


def _depends(folder: Path, root: Path, settings: Settings) -> bool:
    """Whether the choice of packages itself depends on the machine or the Python."""
    return wheels.depends_on_platform(root / "python") or (
        settings.nodejs is not None and npm.depends_on_processor(folder / "package-lock.json")
    )


if __name__ == "__main__":
    try:
        main(Path.cwd())
    except Refused as refused:
        print(f"build refused: {refused}", file=sys.stderr)
        sys.exit(1)
