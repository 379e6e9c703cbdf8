"""Why newer versions were not taken: every one of them once, and never one that might have been."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.version import Version

from lamina.explain import Held
from lamina.held import held
from lamina.listing import Listed, Listing
from lamina.lock import Lock, Pin
from lamina.model import HeldBack
from lamina.resolve import Approach, Basis, ask, basis
from lamina.wheels import has_wheel, misfit
from tests.orders import order_of, pins, python_layer

NOW = datetime(2026, 11, 20, tzinfo=UTC)
DAY = timedelta(days=1)
OLD, YOUNG = NOW - 30 * DAY, NOW - 2 * DAY
ANY, ARM, GLIBC_34 = (
    "flask-1-py3-none-any.whl",
    "flask-1-cp313-cp313-manylinux_2_17_aarch64.whl",
    "flask-1-cp313-cp313-manylinux_2_34_aarch64.whl",
)


def facts(
    update: str = "",
    *,
    wants: str = "flask\n",
    python: str = "",
    current: Mapping[str, tuple[str, datetime]] | None = None,
    held_back: tuple[HeldBack, ...] = (),
    packages: Mapping[str, str] | None = None,
) -> Basis:
    layer = python_layer(update, wants=wants, python=python)
    there = {"flask": ("2.2.2", OLD), "jinja2": ("3.1.2", OLD)} if current is None else current
    return basis(order_of(layer, Lock.of(pins(there)), NOW, packages=dict(packages or {}), held_back=held_back))


def entry(
    version: str, uploaded: datetime | None = OLD, *wheels: str, requires: str = "", yanked: str | None = None
) -> Listed:
    files = wheels or (ANY,)
    arrivals = () if uploaded is None else (uploaded,) * len(files)
    return Listed(version, uploaded, yanked, requires, files, True, arrivals)


def told(of: Basis, *entries: Listed, package: str = "flask", taken: str = "2.2.2") -> list[Held]:
    lock = Lock.of([Pin(package, taken, (), OLD)])
    return list(held(of, lock, {package: Listing("PyPI", package, entries)}, {}))


@pytest.mark.parametrize(
    ("of", "version", "kind", "why"),
    [
        (facts(packages={"flask": "2.2.2"}), entry("2.2.5"), "other", "2.2.2 was asked for by name"),
        (facts('ignore = ["Flask"]'), entry("2.2.5"), "ignore", "update.ignore in layer.toml keeps flask where it is"),
        (facts(), entry("2.2.5", requires=">=3.14"), "runtime", "it needs Python >=3.14"),
        (
            facts(),
            entry("2.2.5", OLD, GLIBC_34),
            "platform",
            "it has no wheel for Python 3.13 on aarch64-manylinux_2_28",
        ),
        (
            facts(held_back=(HeldBack(package="flask", version="2.2.5.0", since=OLD, reason="breaks web-orders"),)),
            entry("2.2.5"),
            "held-back",
            "held back since 2026-10-21: breaks web-orders",
        ),
        (facts('allow = "patch"'), entry("2.3.0"), "allow", "update.allow = 'patch' keeps flask <2.3"),
        (facts(wants="flask<2.2.4\n"), entry("2.2.5"), "requirement", "the definition itself asks for flask<2.2.4"),
        (facts(), entry("2.2.5", YOUNG), "cooldown", "its cooldown of 7 days has not ended"),
        (facts(), entry("2.2.5"), "conflict", "it does not go together with other packages of the layer"),
    ],
)
def test_each_reason_is_told_in_its_own_words(of: Basis, version: Listed, kind: str, why: str) -> None:
    (found,) = told(of, entry("2.2.2"), version)

    assert (found.package, found.version, found.kind, found.why) == ("flask", version.version, kind, why)
    assert found.more == 0


def test_of_several_reasons_the_one_that_lasts_longest_is_told() -> None:
    of = facts('allow = "patch"', wants="flask<2.3\n")
    young = entry("2.3.0", YOUNG)

    assert told(of, young)[0].kind == "allow"
    assert told(of, entry("2.3.0", YOUNG, GLIBC_34))[0].kind == "platform"
    assert told(facts('ignore = ["flask"]'), entry("2.3.0", YOUNG, GLIBC_34))[0].kind == "ignore"
    assert told(facts(wants="flask<2.3\n"), young)[0].kind == "requirement"


def test_the_newest_stands_for_all_with_the_same_reason() -> None:
    of = facts(wants="flask<2.3\n")
    versions = [entry("2.3.0"), entry("3.0.0", requires=">=3.14"), entry("2.4.0"), entry("3.1", requires=">=3.15")]

    found = told(of, *sorted(versions, key=lambda listed: Version(listed.version)))

    assert [(one.version, one.kind, one.more) for one in found] == [("2.4.0", "requirement", 1), ("3.1", "runtime", 1)]
    assert found[1].why == "it needs Python >=3.15"


def test_each_release_that_waits_has_its_own_day() -> None:
    found = told(facts(), entry("2.2.3", YOUNG - DAY), entry("2.2.4", YOUNG), entry("2.2.5"))

    assert [(one.version, one.kind, one.until) for one in found] == [
        ("2.2.3", "cooldown", YOUNG + 6 * DAY),
        ("2.2.4", "cooldown", YOUNG + 7 * DAY),
        ("2.2.5", "conflict", None),
    ]


def test_the_cooldown_ends_to_the_second() -> None:
    at_the_limit, past_it = entry("2.2.3", NOW - 7 * DAY), entry("2.2.4", NOW - 7 * DAY - timedelta(microseconds=1))

    assert [one.kind for one in told(facts(), at_the_limit, past_it)] == ["cooldown", "conflict"]


def test_the_cooldown_counts_from_the_wheel_that_the_target_needs() -> None:
    late = Listed("2.2.5", OLD, None, "", (GLIBC_34, ARM), True, (OLD, YOUNG))
    later = Listed("2.2.6", OLD, None, "", (GLIBC_34, ARM), True, (OLD, NOW + DAY))

    assert [(one.kind, one.until) for one in told(facts(), late, later)] == [
        ("cooldown", YOUNG + 7 * DAY),
        ("platform", None),
    ]


def test_what_may_come_from_source_does_not_wait_for_a_wheel() -> None:
    of = facts(python='build-from-source = ["flask"]')

    assert told(of, entry("2.2.5", YOUNG, GLIBC_34))[0].kind == "cooldown"


def test_withdrawn_future_older_and_unwanted_versions_are_not_told() -> None:
    assert not told(
        facts(),
        entry("2.2.1"),
        entry("2.2.2"),
        entry("2.2.2+cpu"),
        entry("2.2.5", yanked=""),
        entry("2.2.6", NOW),
        entry("2.3.0rc1"),
        entry("2.3.0.dev1"),
    )


def test_pre_releases_are_told_where_they_were_asked_for_or_are_what_there_is() -> None:
    asked = facts(wants="flask>=2.3.0rc1\n")

    assert [one.version for one in told(asked, entry("2.3.0rc2", YOUNG))] == ["2.3.0rc2"]
    assert [one.version for one in told(facts(), entry("2.3.0rc2", YOUNG), taken="2.3.0rc1")] == ["2.3.0rc2"]


def test_the_ceiling_is_for_the_definitions_own_packages() -> None:
    assert told(facts(), entry("4.0"), package="jinja2", taken="3.1.2")[0].kind == "conflict"


def test_a_package_that_came_early_stays_until_its_own_cooldown_has_ended() -> None:
    of = facts(current={"flask": ("2.2.2", YOUNG)})

    (found,) = told(of, entry("2.2.5"))

    assert (found.kind, found.until) == ("cooldown", YOUNG + 7 * DAY)
    assert found.why == "flask stays at 2.2.2 until that is 7 days old"
    assert told(of, entry("2.2.6"), taken="2.2.5")[0].kind == "conflict"


def test_where_the_index_gives_no_times_the_first_look_counts() -> None:
    lock = Lock.of([Pin("flask", "2.2.2")])
    listing = Listing("PyPI", "flask", (entry("2.2.4", None), entry("2.2.5", None)))

    found = held(facts(), lock, {"flask": listing}, {"flask": {"2.2.5": YOUNG}})

    assert [(one.version, one.kind, one.until) for one in found] == [
        ("2.2.4", "conflict", None),
        ("2.2.5", "cooldown", YOUNG + 7 * DAY),
    ]


def test_of_what_is_unknown_nothing_is_claimed() -> None:
    lock = Lock.of([Pin("flask", "2.2.2"), Pin("jinja2", "3.1.2")])

    assert held(facts(), lock, {"flask": None}, {}) == ()


VERSIONS = ["2.1.0", "2.2.2", "2.2.3", "2.2.4", "2.3.0rc1", "2.3.0", "2.4.0", "3.0.0", "2.2.2+cpu"]
moments = st.sampled_from([OLD, NOW - 7 * DAY, NOW - 7 * DAY - timedelta(seconds=2), YOUNG, NOW, NOW + DAY])


@st.composite
def listed(draw: st.DrawFn, version: str) -> Listed:
    files = draw(
        st.lists(st.tuples(st.sampled_from([ANY, ARM, GLIBC_34]), moments), min_size=1, unique_by=lambda f: f[0])
    )
    return Listed(
        version,
        min(moment for _, moment in files),
        draw(st.sampled_from([None, None, None, "broken"])),
        draw(st.sampled_from(["", "", ">=3.9", ">=3.14"])),
        tuple(name for name, _ in files),
        True,
        tuple(moment for _, moment in files),
    )


listings = st.lists(st.sampled_from(VERSIONS), unique=True).flatmap(
    lambda versions: st.tuples(*(listed(version) for version in sorted(versions, key=Version)))
)
rules = st.builds(
    lambda allow, ignore, wants, pinned, moment, back, exact: facts(
        f'allow = "{allow}"\n' + ('ignore = ["flask"]' if ignore else ""),
        wants=wants,
        current={"flask": (pinned, moment)} if pinned else {},
        held_back=tuple(HeldBack(package="flask", version=version, since=OLD, reason="broke it") for version in back),
        packages={"flask": exact} if exact else {},
    ),
    st.sampled_from(["patch", "minor", "major"]),
    st.booleans(),
    st.sampled_from(["flask\n", "flask<3\n", "flask!=2.2.4\n", "flask>=2.3.0rc1\n"]),
    st.sampled_from([None, "2.2.2", "2.2.3"]),
    st.sampled_from([OLD, YOUNG]),
    st.frozensets(st.sampled_from(["2.2.4", "2.4.0"])),
    st.sampled_from([None, None, "2.4.0"]),
)


def visible(of: Basis, there: tuple[Listed, ...]) -> list[str]:
    """What a resolver may choose from that is asked what Lamina asks, lowest first."""
    question = ask(of, Approach())
    wishes = [Requirement(line) for line in (*question.asked, *question.constraints)]
    cutoff = question.cutoffs.get("flask", question.cutoff)
    assert cutoff is not None
    found = []
    for one in there:
        seen = one.before(cutoff)
        version = Version(one.version)
        if (
            has_wheel(seen, of.target)
            and misfit(seen, of.target, from_source=False) is None
            and one.yanked is None
            and (not version.is_prerelease or "flask" in of.prereleases)
            and all(wish.specifier.contains(version, prereleases=True) for wish in wishes if wish.name == "flask")
        ):
            found.append(one.version)
    return found


@given(rules, listings)
def test_every_newer_version_is_told_once(of: Basis, there: tuple[Listed, ...]) -> None:
    # WHEN the package stays where it is
    pin = of.pins.get("flask", Pin("flask", "2.2.2", (), OLD))
    found = held(of, Lock.of([pin]), {"flask": Listing("PyPI", "flask", there)}, {})

    # THEN every release that was there by then is counted, once
    newer = [
        one.version
        for one in there
        if one.yanked is None
        and one.uploaded is not None
        and one.uploaded < NOW
        and Version(Version(one.version).public) > Version(pin.version)
        and (not Version(one.version).is_prerelease or "flask" in of.prereleases)
    ]
    assert sum(1 + one.more for one in found) == len(newer)
    assert {one.version for one in found} <= set(newer)
    assert all((one.until is not None) == (one.kind == "cooldown") for one in found)
    assert all(one.until is None or one.until > NOW - timedelta(seconds=1) for one in found)
    assert [Version(one.version) for one in found] == sorted(Version(one.version) for one in found)
    assert held(of, Lock.of([pin]), {"flask": Listing("PyPI", "flask", there)}, {}) == found


@given(rules, listings)
def test_a_version_that_could_have_been_taken_is_never_said_to_be_held_by_policy(
    of: Basis, there: tuple[Listed, ...]
) -> None:
    # GIVEN the version that a resolver takes of those that it is let see, with no other package in the way
    choice = visible(of, there)
    pin = of.pins.get("flask", Pin("flask", "2.1.0", (), OLD))
    taken = Pin("flask", choice[-1], (), OLD) if choice and choice[-1] != pin.version else pin
    if Version(taken.version) < Version(pin.version):
        return

    # WHEN it is explained
    found = held(of, Lock.of([taken]), {"flask": Listing("PyPI", "flask", there)}, {})

    # THEN each version that is told was out of its sight, and no other package is blamed
    assert not {one.version for one in found} & set(choice)
    assert "conflict" not in {one.kind for one in found}
