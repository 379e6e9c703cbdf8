"""Policy: which versions may be taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from lamina.lock import Pin
from lamina.model import HeldBack
from lamina.policy import ceiling, constraints, cutoff, withheld, young
from lamina.versions import Kind, kind_of_change

NOW = datetime(2026, 11, 20, tzinfo=UTC)
KINDS: tuple[Kind, ...] = ("patch", "minor", "major")
versions = st.builds(
    lambda a, b, c, tail: f"{a}.{b}.{c}{tail}",
    st.integers(0, 12),
    st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from(["", ".post1", "rc1", "+cpu"]),
)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("2.31.0", "2.31.1", "patch"),
        ("2.31.0", "2.31.0.post1", "patch"),
        ("2.31.0", "2.32.0", "minor"),
        ("1.9", "2.0", "major"),
        ("0.27.2", "0.28.0", "minor"),
        ("2023.7.22", "2024.6.2", "minor"),
        ("1!1.0", "2!1.0", "major"),
    ],
)
def test_a_step_is_as_big_as_the_first_number_that_differs(old: str, new: str, kind: str) -> None:
    assert kind_of_change("PyPI", old, new) == kind


@pytest.mark.parametrize(
    ("version", "allow", "limit"),
    [
        ("2.31.0", "patch", "<2.32"),
        ("2.31.0", "minor", "<3"),
        ("2.31.0", "major", None),
        ("1!2.3", "minor", "<1!3"),
        ("2024.6.2", "minor", None),
        ("2024.6.2", "patch", "<2024.7"),
    ],
)
def test_the_ceiling_follows_what_is_allowed(version: str, allow: Kind, limit: str | None) -> None:
    assert ceiling(version, allow) == limit


@given(versions, versions, st.sampled_from(KINDS))
def test_a_direct_requirement_never_goes_back_and_never_further_than_allowed(old: str, new: str, allow: Kind) -> None:
    # GIVEN the constraint line for a direct requirement at `old`
    (line,) = constraints({"x": Pin("x", old)}, direct={"x"}, allow=allow, frozen=(), free=(), held_back=())

    # WHEN some version satisfies it
    if Version(new) in SpecifierSet(line.removeprefix("x"), prereleases=True):
        # THEN it is no downgrade, and the step is within what policy allows
        assert Version(new) >= Version(Version(old).public)
        assert KINDS.index(kind_of_change("PyPI", old, new)) <= KINDS.index(allow)


def test_transitive_packages_have_a_floor_and_no_ceiling() -> None:
    pins = {"httpx": Pin("httpx", "0.27.2"), "torch": Pin("torch", "2.4.0+cpu")}

    assert constraints(pins, direct=(), allow="patch", frozen=(), free=(), held_back=()) == (
        "httpx>=0.27.2",
        "torch>=2.4.0",
    )


def test_frozen_packages_stay_free_ones_are_left_out_and_held_back_versions_are_excluded() -> None:
    pins = {name: Pin(name, "1.0") for name in ("asked", "direct", "ignored")}
    held = [
        HeldBack(package="direct", version="1.1", since=NOW, reason="broke it"),
        HeldBack(package="ignored", version="1.0", since=NOW, reason="is what there is"),
        HeldBack(package="elsewhere", version="3", since=NOW, reason="broke it"),
    ]

    assert constraints(pins, direct={"direct"}, allow="minor", frozen={"ignored"}, free={"asked"}, held_back=held) == (
        "direct!=1.1",
        "direct>=1.0,<2",
        "elsewhere!=3",
        "ignored==1.0",
    )


def test_as_large_steps_are_held_back_with_the_version_that_did_harm_unless_they_came_later() -> None:
    bad = HeldBack(package="x", version="2.2.1", above="1.26.15", as_of=NOW, since=NOW, reason="broke it")
    later = NOW + timedelta(days=1)
    there = [
        *(("1.26.15", NOW), ("1.26.18", NOW), ("1.27.0", NOW), ("2.0.0", NOW), ("2.0.1", later), ("2.1.0", None)),
        *(("2.2.1", NOW), ("2.2.2", NOW), ("3.0.0", NOW)),
    ]

    found = withheld([bad], {"x": there, "y": [("2.0.0", NOW)]})

    assert [held.version for held in found] == ["2.2.1", "2.0.0", "2.1.0"]
    assert found[1].reason == "it is as large a step as 2.2.1, which did harm: broke it"
    assert withheld([bad.model_copy(update={"above": None})], {"x": there}) == (bad.model_copy(update={"above": None}),)


@given(st.lists(versions, max_size=8), versions, versions)
def test_nothing_that_was_there_before_and_nothing_newer_is_ever_withheld(
    there: list[str], above: str, version: str
) -> None:
    bad = HeldBack(package="x", version=version, above=above, as_of=NOW, since=NOW, reason="broke it")

    others = withheld([bad], {"x": [(one, NOW) for one in [*there, "nonsense"]]})[1:]

    assert all(Version(above) < Version(held.version) < Version(version) for held in others)


def test_the_cooldown_is_exact_to_the_moment() -> None:
    assert cutoff(datetime(2024, 7, 2, 6, 30, tzinfo=UTC), 7) == datetime(2024, 6, 25, 6, 30, tzinfo=UTC)


def test_a_pin_that_the_cooldown_would_hide_is_young() -> None:
    pins = {
        "old": Pin("old", "1", uploaded=NOW - timedelta(seconds=2)),
        "edge": Pin("edge", "1", uploaded=NOW - timedelta(milliseconds=300)),
        "new": Pin("new", "1", uploaded=NOW + timedelta(days=1)),
        "unknown": Pin("unknown", "1"),
    }

    assert young(pins, NOW) == {"edge", "new"}
