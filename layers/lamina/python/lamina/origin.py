"""Which index a package belongs to, where a definition has one of its own besides the default.

A name that two indexes have is a way for the wrong one to put its package into a layer. So each name belongs to one
index: those that match the definition's patterns to its own, all others to the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from packaging.utils import canonicalize_name

from lamina.errors import ResolutionFailed
from lamina.resolution import Access


def own(access: Access | None, package: str) -> bool:
    """Whether a package belongs to the definition's own index."""
    if access is None:
        return False
    name = canonicalize_name(package)
    return not access.packages or any(fnmatchcase(name, _normal(pattern)) for pattern in access.packages)


def belongs(name: str, access: Access) -> bool:
    """Whether an npm package is at the definition's own registry: all are, or those of its scopes (`@acme`)."""
    return not access.packages or any(
        name.startswith(f"{pattern.removesuffix('/*')}/") or fnmatchcase(name, pattern) for pattern in access.packages
    )


def check_origins(variant: str, access: Access, origins: Mapping[str, str]) -> None:
    """Refuse packages that come from the other index.

    Args:
        origins: package to the URL of the index that the resolver took it from.

    Raises:
        ResolutionFailed: naming the packages and both indexes.
    """
    here = access.url.rstrip("/")
    for name, url in sorted(origins.items()):
        there = url.rstrip("/") == here
        if own(access, name) and not there:
            raise ResolutionFailed(
                f"{variant}: refused what the resolver found, nothing was changed: {name} belongs to {here} "
                f"(python.index.packages in layer.toml), which does not have it, and {url} has a package of that "
                "name. Publish it there, or correct python.index.packages"
            )
        if there and not own(access, name):
            raise ResolutionFailed(
                f"{variant}: refused what the resolver found, nothing was changed: {name} would come from {here}, "
                "but python.index.packages in layer.toml does not name it, so it belongs to the default index. Add it "
                "there, or remove python.index.packages if that index is to serve every package"
            )


def _normal(pattern: str) -> str:
    return pattern.lower().replace("_", "-").replace(".", "-")
