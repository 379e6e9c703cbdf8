"""Which variants share one release: what must be the same, and that every one of them comes to the same answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.definition import Definition, parse_definition, variants
from lamina.errors import IndexUnavailable, ResolutionFailed
from lamina.listing import Listed
from lamina.lock import Lock
from lamina.model import Coverage, Variant
from lamina.npmlock import parse_npm_lock
from lamina.purity import universal_files, universal_modules, universal_wheels
from lamina.resolution import Resolved
from lamina.runtimes import target
from lamina.sharing import coverage, in_words, mergeable, rectangle, relatives
from lamina.steps.circle import Circle, together

NOW = datetime(2026, 11, 20, tzinfo=UTC)
PYTHONS = ("python3.12", "python3.13")
BOTH = ("x86_64", "arm64")


def defined(
    runtimes: tuple[str, ...] = PYTHONS, more: str = "", files: Mapping[str, bytes] | None = None
) -> Definition:
    python = '[python]\nrequirements = "requirements.in"\n' if any(one.startswith("python") for one in runtimes) else ""
    layer = f'[layer]\nowner = "o"\nruntimes = {list(runtimes)}\narchitectures = {list(BOTH)}\n'
    toml = f'{layer}{python}[files]\nfrom = "f"\n'
    content = {"layer.toml": (toml + more).encode(), "requirements.in": b"idna\n", "f/python/own.py": b"A = 1\n"}
    return parse_definition("web", content | dict(files or {}))


def resolved(text: str, *, universal: bool = True) -> Resolved:
    return Resolved("PyPI", Lock.of(()), text, (), frozenset(), NOW, universal=universal)


def named(definition: Definition) -> dict[str, Variant]:
    return {one.variant.removeprefix("web-"): one for one in variants(definition)}


def listed(*wheels: str) -> Listed:
    return Listed("1.0", wheels=wheels)


X86, ARM = (target(variant) for variant in list(named(defined()).values())[:2])


@pytest.mark.parametrize(
    ("wheels", "x86", "arm"),
    [
        (("a-1.0-py3-none-any.whl",), True, True),
        (("a-1.0-py2.py3-none-any.whl",), True, True),
        (("a-1.0-py3-none-any.whl", "a-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"), False, True),
        (("a-1.0-py3-none-any.whl", "a-1.0-cp312-cp312-win_amd64.whl"), True, True),
        (("a-1.0-cp312-none-any.whl",), False, False),
        (("a-1.0-py3-none-manylinux_2_17_x86_64.whl",), False, False),
        (("a-1.0-cp39-abi3-manylinux_2_28_aarch64.whl",), False, False),
        (("nonsense.whl",), False, False),
        ((), False, False),
    ],
)
def test_a_version_is_universal_if_every_wheel_that_fits_is(wheels: tuple[str, ...], x86: bool, arm: bool) -> None:
    assert universal_wheels(listed(*wheels), X86) is x86
    assert universal_wheels(listed(*wheels), ARM) is arm


def test_what_the_index_did_not_tell_is_not_universal() -> None:
    assert not universal_wheels(None, X86)


@pytest.mark.parametrize(
    ("entry", "universal"),
    [("", True), (', "os": ["linux"]', False), (', "cpu": ["x64"]', False), (', "libc": ["glibc"]', False),
     (', "hasInstallScript": true', False)],
)  # fmt: skip
def test_npm_packages_for_some_systems_or_with_scripts_are_not_universal(entry: str, universal: bool) -> None:
    lock = (
        '{"lockfileVersion": 3, "packages": {"": {"dependencies": {"a": "1"}}, '
        f'"node_modules/a": {{"version": "1.0.0", "integrity": "sha512-x"{entry}}}}}}}'
    )

    assert universal_modules(parse_npm_lock(lock)) is universal


@pytest.mark.parametrize(
    ("path", "body", "universal"),
    [
        ("f/bin/tool", b"#!/bin/sh\n", True),
        ("f/bin/tool", b"\x7fELF\x02\x01", False),
        ("f/python/own.pyc", b"\xcb\r\r\n", False),
        ("elsewhere/tool", b"\x7fELF\x02\x01", True),
    ],
)
def test_own_files_with_machine_code_or_bytecode_are_not_universal(path: str, body: bytes, universal: bool) -> None:
    assert universal_files(defined(files={path: body})) is universal


def test_bytecode_is_for_one_python_and_proof_for_one_language() -> None:
    mixed = (*PYTHONS, "nodejs22.x", "nodejs24.x", "provided.al2023")
    with_bytecode, without = defined(mixed), defined(mixed, "[build]\nbytecode = false\n")
    of = named(with_bytecode)

    assert mergeable(with_bytecode, of["python313-x86_64"], of["python313-arm64"])
    assert not mergeable(with_bytecode, of["python312-arm64"], of["python313-arm64"])
    assert mergeable(without, of["python312-arm64"], of["python313-arm64"])
    assert mergeable(with_bytecode, of["nodejs22x-arm64"], of["nodejs24x-x86_64"])
    assert not mergeable(without, of["nodejs22x-arm64"], of["python313-arm64"])
    assert not mergeable(without, of["nodejs22x-arm64"], of["providedal2023-arm64"])


def test_an_environment_shares_with_nobody_outside_of_it() -> None:
    definition = defined(more='[environments.dev]\nrequirements = "requirements.in"\n')
    of = named(definition)

    assert [one.environment for one in relatives(definition, of["dev-python312-arm64"])] == ["dev"] * 4
    assert [one.environment for one in relatives(definition, of["python312-arm64"])] == [None] * 4


def test_a_variant_is_its_own_relative_as_it_stands() -> None:
    definition = defined()
    kept = named(definition)["python312-arm64"].model_copy(update={"snapshot": "definitions/r/web"})

    assert kept in relatives(definition, kept)


@given(st.sets(st.tuples(st.sampled_from(PYTHONS), st.sampled_from(BOTH)), min_size=1))
def test_a_release_is_for_nothing_that_its_group_has_not(chosen: set[tuple[str, str]]) -> None:
    group = [one for one in variants(defined()) if (one.runtime, one.architecture) in chosen]

    taken = rectangle(group, group[0])
    covered = coverage(taken, group[0])

    assert group[0] in taken
    assert {(r, a) for r in covered.runtimes for a in covered.architectures} == {
        (one.runtime, one.architecture) for one in taken
    }
    assert set(taken) <= set(group)
    assert set(covered.shared_by) == {one.variant for one in taken[1:]}


@given(
    st.lists(st.sampled_from(["a", "b", "impure", "fails"]), min_size=8, max_size=8),
    st.booleans(),
    st.sampled_from([None, 0, 1, 4]),
)
def test_every_member_of_a_circle_comes_to_the_same_answer(makings: list[str], bytecode: bool, led: int | None) -> None:
    definition = defined(
        ("python3.11", *PYTHONS, "python3.14"), "" if bytecode else "[build]\nbytecode = false\n"
    )  # fmt: skip
    members = variants(definition)
    makes = dict(zip((one.variant for one in members), makings, strict=True))
    circle = Circle(members, None if led is None else members[led])

    def resolve(one: Variant) -> tuple[Resolved | None, Resolved | None]:
        if makes[one.variant] == "fails":
            raise ResolutionFailed("no set of packages fits")
        return resolved(makes[one.variant], universal=makes[one.variant] != "impure"), None

    answers = {
        one: together(one, circle, definition, resolve(one), resolve)
        for one in members
        if makes[one.variant] != "fails"
    }

    for one, group in answers.items():
        assert one in group
        for other in group:
            assert answers[other] == group
            assert makes[other.variant] == makes[one.variant]
            assert len(group) == 1 or makes[other.variant] in ("a", "b")
            assert other.runtime == one.runtime or not bytecode
        if circle.leader is not None and len(group) > 1:
            assert circle.leader in group


def test_an_index_that_cannot_be_asked_about_another_variant_decides_nothing() -> None:
    definition = defined()
    members = variants(definition)

    def resolve(one: Variant) -> tuple[Resolved | None, Resolved | None]:
        raise IndexUnavailable("later")

    with pytest.raises(IndexUnavailable):
        together(members[0], Circle(members), definition, (resolved("a"), None), resolve)


def test_who_cannot_share_asks_for_nobody_else() -> None:
    definition, alone = defined(), defined(files={"f/bin/tool": b"\x7fELF"})
    members = variants(definition)

    def resolve(one: Variant) -> tuple[Resolved | None, Resolved | None]:
        raise AssertionError("nobody is to be asked")

    one = members[0]
    assert together(one, Circle(members), definition, (resolved("a", universal=False), None), resolve) == (one,)
    assert together(one, Circle((one,)), definition, (resolved("a"), None), resolve) == (one,)
    assert together(one, Circle(members), alone, (resolved("a"), None), resolve) == (one,)


@pytest.mark.parametrize(
    ("covered", "said"),
    [
        (Coverage(runtimes=("python3.13",), architectures=BOTH), "x86_64 and arm64"),
        (
            Coverage(runtimes=("nodejs22.x", "nodejs24.x"), architectures=("arm64",)),
            "nodejs22.x and nodejs24.x on arm64",
        ),
        (Coverage(runtimes=("a", "b", "c"), architectures=BOTH), "a, b and c on x86_64 and arm64"),
    ],
)
def test_what_a_release_is_for_is_said_plainly(covered: Coverage, said: str) -> None:
    assert in_words(covered) == said
