"""What is in a layer, as a CycloneDX 1.6 document: the same text for the same contents."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from builder.settings import Settings
from builder.wheels import normalize

_NAMESPACE = uuid.UUID("0b6f2c7e-52a5-5c0e-9d55-6a1d2f0c7b11")
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_EXPRESSION = re.compile(r"\(?[A-Za-z0-9.+-]+\)?(?: (?:AND|OR|WITH) \(?[A-Za-z0-9.+-]+\)?)*")
_ALGORITHMS = {"sha1": "SHA-1", "sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}


def make_sbom(folder: Path, root: Path, manifest: Mapping[str, Any], own: list[str], settings: Settings) -> str:
    """The document.

    Args:
        folder: the source bundle, with the locks that the hashes are from.
        root: the layer.
        manifest: the build's manifest.
        own: the paths of the definition's own files.
    """
    components = [
        *_python(manifest["packages"], _python_hashes(folder / "lock.txt")),
        *_nodejs(manifest["nodePackages"], _npm_hashes(folder / "package-lock.json")),
        *(_file(root / name, name) for name in own),
    ]
    subject = {
        "type": "library",
        "bom-ref": settings.variant,
        "name": settings.variant,
        "version": manifest["digest"][:12],
        "properties": [
            {"name": "lamina:architecture", "value": settings.architecture},
            *({"name": "lamina:runtime", "value": runtime} for runtime in settings.runtimes),
        ],
    }
    requires = {**_edges("pkg:pypi/", manifest["packages"]), **_edges("pkg:npm/", manifest["nodePackages"])}
    references = [component["bom-ref"] for component in components]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, settings.variant + manifest['digest'])}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "lamina"}]},
            "component": subject,
        },
        "components": components,
        "dependencies": [
            {"ref": settings.variant, "dependsOn": references},
            *({"ref": name, "dependsOn": requires[name]} for name in references if requires.get(name)),
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _python(packages: Mapping[str, Any], hashes: Mapping[str, list[dict[str, str]]]) -> list[dict[str, Any]]:
    return [
        _component(f"pkg:pypi/{name}", f"pkg:pypi/{name}@{quote(package['version'])}", name, package, hashes.get(name))
        for name, package in sorted(packages.items())
    ]


def _nodejs(packages: Mapping[str, Any], hashes: Mapping[str, list[dict[str, str]]]) -> list[dict[str, Any]]:
    components = []
    for place, package in sorted(packages.items()):
        name = place.rpartition("@npm:")[2] if "@npm:" in place else place.rpartition("/node_modules/")[2]
        purl = f"pkg:npm/{quote(name)}@{quote(package['version'])}"
        where = place.rpartition("@npm:")[0] if "@npm:" in place else place
        components.append(_component(f"pkg:npm/{place}", purl, name, package, hashes.get(where)))
    return components


def _component(
    reference: str, purl: str, name: str, package: Mapping[str, Any], hashes: list[dict[str, str]] | None
) -> dict[str, Any]:
    scope, _, plain = name.rpartition("/")
    component: dict[str, Any] = {"type": "library", "bom-ref": reference}
    component |= {"group": scope, "name": plain} if scope else {"name": name}
    component |= {"version": package["version"]}
    component |= {"hashes": hashes} if hashes else {}
    component |= {"licenses": [_license(package["license"])]} if package["license"] else {}
    return component | {"purl": purl}


def _license(text: str) -> dict[str, Any]:
    """An SPDX expression if it can be one; any other text is only a license's name."""
    return {"expression": text} if _EXPRESSION.fullmatch(text) else {"license": {"name": text}}


def _file(path: Path, name: str) -> dict[str, Any]:
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": [{"alg": "SHA-256", "content": content}],
    }  # fmt: skip


def _edges(prefix: str, packages: Mapping[str, Any]) -> dict[str, list[str]]:
    return {prefix + name: [prefix + other for other in package["requires"]] for name, package in packages.items()}


def _python_hashes(lock: Path) -> dict[str, list[dict[str, str]]]:
    """Package to the hashes of the files that may be installed for it."""
    found: dict[str, list[dict[str, str]]] = {}
    current = ""
    for line in lock.read_text().splitlines() if lock.is_file() else ():
        if match := _PIN.match(line):
            current = normalize(match[1])
        found.setdefault(current, []).extend({"alg": "SHA-256", "content": value} for value in _HASH.findall(line))
    return found


def _npm_hashes(lock: Path) -> dict[str, list[dict[str, str]]]:
    """Place of a copy to the hashes of its archive."""
    found: dict[str, list[dict[str, str]]] = {}
    for path, entry in json.loads(lock.read_text())["packages"].items() if lock.is_file() else ():
        parts = [part.partition("-") for part in entry.get("integrity", "").split()]
        found[path.removeprefix("node_modules/")] = [
            {"alg": _ALGORITHMS[name], "content": base64.b64decode(value).hex()}
            for name, _, value in parts
            if name in _ALGORITHMS
        ]
    return found
