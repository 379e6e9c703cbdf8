"""Which of the packages that changed a function's code uses: those it imports, and all that these require."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from lamina.bundle import BuiltNodePackage, BuiltPackage, Manifest
from lamina.model import Change
from lamina.questions import Language, top_name

_ECOSYSTEM = {"python": "PyPI", "nodejs": "npm"}


def usable(changes: Iterable[Change], of: Language) -> frozenset[str]:
    """Names of the changed packages that code in this language can import."""
    return frozenset(change.package for change in changes if change.ecosystem == _ECOSYSTEM.get(of))


def used(modules: Collection[str], of: Language, *manifests: Manifest) -> frozenset[str]:
    """Names of the packages that code uses which imports these modules.

    Args:
        modules: as `imports.imported_modules` gives them.
        of: the code's language.
        manifests: the candidate's, and that of the release before it, which may have what was removed since.
    """
    owners: dict[str, set[str]] = {}
    needs: dict[str, set[str]] = {}
    for manifest in manifests:
        for name, package in _packages(manifest, of).items():
            needs.setdefault(name, set()).update(package.requires)
            for module in _importable(name, package):
                owners.setdefault(module, set()).add(name)
    found: set[str] = set()
    edge = {name for module in modules for name in owners.get(top_name(module, of), ())}
    while edge:
        found |= edge
        edge = {need for name in edge for need in needs.get(name, ())} - found
    return frozenset(found)


def _packages(manifest: Manifest, of: Language) -> Mapping[str, BuiltPackage | BuiltNodePackage]:
    if of == "python":
        return manifest.packages
    return manifest.node_packages if of == "nodejs" else {}


def _importable(name: str, package: BuiltPackage | BuiltNodePackage) -> tuple[str, ...]:
    if isinstance(package, BuiltPackage):
        return package.modules
    # A copy below another package is that package's own; an alias is imported by the name of its place.
    return () if "/node_modules/" in name else (name.partition("@npm:")[0],)
