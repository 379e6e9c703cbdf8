"""Which index a package belongs to."""

from __future__ import annotations

import pytest

from lamina.errors import ResolutionFailed
from lamina.origin import check_origins, own
from lamina.resolution import Access

OWN, DEFAULT = "https://packages.example.com/simple/", "https://index.example.org/simple"
SOME = Access(OWN, packages=("acme-*", "Secret_Sauce"))


@pytest.mark.parametrize(
    ("access", "package", "belongs"),
    [
        (None, "requests", False),
        (Access(OWN), "requests", True),
        (SOME, "acme-core", True),
        (SOME, "Acme_Core", True),
        (SOME, "secret.sauce", True),
        (SOME, "requests", False),
        (SOME, "acme", False),
    ],
)
def test_a_package_belongs_where_the_patterns_say(access: Access | None, package: str, belongs: bool) -> None:
    assert own(access, package) is belongs


def test_packages_from_where_they_belong_are_fine() -> None:
    check_origins("v", SOME, {"acme-core": OWN.rstrip("/"), "requests": DEFAULT})


def test_a_name_that_the_default_index_has_too_is_refused_with_both_named() -> None:
    with pytest.raises(ResolutionFailed, match="acme-core belongs to https://packages") as refused:
        check_origins("web-python311-x86_64", SOME, {"acme-core": DEFAULT})

    assert DEFAULT in str(refused.value)
    assert str(refused.value).startswith("web-python311-x86_64: refused what the resolver found, nothing was changed")


def test_an_own_index_does_not_shadow_the_default_one() -> None:
    with pytest.raises(ResolutionFailed, match="requests would come from https://packages"):
        check_origins("v", SOME, {"requests": OWN})
