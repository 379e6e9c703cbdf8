"""Fixes of advisories: which version is taken, when, and what is said of one that is not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from lamina.fixing import Choice, Fix, choose, newest, remedy
from lamina.listing import Listed, Listing
from lamina.lock import Lock
from lamina.model import Advisory, HeldBack
from lamina.resolve import Basis, basis
from tests.orders import order_of, pins, python_layer

NOW = datetime(2026, 11, 20, tzinfo=UTC)
OLD, YOUNG = NOW - timedelta(days=30), NOW - timedelta(days=2)
ELSEWHERE = "cp313-cp313-win_amd64"
FIX = Advisory(id="CVE-1", package="flask", fixed="2.2.5")


def facts(
    update: str = "", *, wants: str = "flask\n", held_back: tuple[HeldBack, ...] = (), exact: str | None = None
) -> Basis:
    current = Lock.of(pins({"flask": ("2.2.2", OLD), "werkzeug": ("2.3.7", OLD)}))
    packages = {"flask": exact} if exact else {}
    return basis(order_of(python_layer(update, wants=wants), current, NOW, packages=packages, held_back=held_back))


def listing(*entries: Listed, package: str = "flask") -> Mapping[str, Listing | None]:
    return {package: Listing("PyPI", package, tuple(sorted(entries, key=lambda entry: Version(entry.version))))}


def entry(version: str, uploaded: datetime | None, wheel: str = "py3-none-any", yanked: str | None = None) -> Listed:
    return Listed(version, uploaded, yanked, wheels=(f"flask-{version}-{wheel}.whl",))


def chosen(of: Basis, *entries: Listed, fix: Advisory = FIX) -> Choice:
    return choose(of, (fix,), listing(*entries, package=fix.package))


def test_a_fix_that_is_past_its_cooldown_is_nothing_special() -> None:
    found = chosen(facts(), entry("2.2.5", OLD), entry("2.3.0", YOUNG))

    assert found.fixes == (Fix(FIX, ("2.2.5",), early=False),)
    assert (found.fixes[0].least, found.fixes[0].lowest) == (">=2.2.5", "==2.2.5")


def test_of_young_fixes_only_the_lowest_is_let_in() -> None:
    found = chosen(facts(), entry("2.3.0", YOUNG), entry("2.2.5", YOUNG), entry("2.2.4", YOUNG))

    assert found.fixes == (Fix(FIX, ("2.2.5", "2.3.0"), early=True),)
    assert found.fixes[0].least == "==2.2.5"


def test_a_withdrawn_a_future_and_an_unfit_version_are_not_the_fix() -> None:
    future = entry("2.2.7", NOW + timedelta(seconds=1))
    unfit = entry("2.2.6", YOUNG, ELSEWHERE)

    found = chosen(facts(), entry("2.2.5", OLD, yanked="broken"), unfit, future, entry("2.2.8", YOUNG))

    assert found.fixes[0].versions == ("2.2.8",)


@pytest.mark.parametrize(
    ("of", "entry", "kind", "says"),
    [
        (facts('ignore = ["flask"]'), entry("2.2.5", OLD), "ignore", "update.ignore in layer.toml keeps flask"),
        (facts('allow = "patch"'), entry("2.3.0", OLD), "allow", "update.allow = 'patch' keeps flask <2.3"),
        (facts(wants="flask<2.2.3\n"), entry("2.2.5", OLD), "requirement", "the definition itself asks for flask<2"),
        (facts(), entry("2.2.5", OLD, ELSEWHERE), "platform", "no wheel"),
        (facts(), entry("2.2.5rc1", OLD), "other", "the index does not have it"),
        (facts(), entry("2.3.0rc1", OLD), "other", "it is a pre-release"),
        (facts('security = "scheduled"'), entry("2.2.5", YOUNG), "cooldown", "lets it wait"),
        (
            facts(held_back=(HeldBack(package="flask", version="2.2.5", since=OLD, reason="broke it"),)),
            entry("2.2.5", OLD),
            "held-back",
            "held back since 2026-10-21: broke it",
        ),
    ],
)
def test_a_fix_that_may_not_be_taken_is_told_with_its_reason_and_a_way_out(
    of: Basis, entry: Listed, kind: str, says: str
) -> None:
    found = chosen(of, entry)

    assert found.fixes == ()
    (held,) = found.untaken
    assert (held.package, held.kind) == ("flask", kind)
    assert held.why.startswith("fixes CVE-1, but ")
    assert says in held.why
    assert remedy(of, held)
    assert found.forbidden is (kind != "cooldown")


def test_a_fix_that_waits_says_until_when() -> None:
    (held,) = chosen(facts('security = "scheduled"'), entry("2.2.5", YOUNG)).untaken

    assert held.until == YOUNG + timedelta(days=7)


@pytest.mark.parametrize(
    "fix",
    [
        Advisory(id="CVE-1", package="flask", fixed="2.2.2"),
        Advisory(id="CVE-1", package="pillow", fixed="10"),
        Advisory(id="CVE-1", package="flask", fixed=None),
    ],
)
def test_a_fix_that_is_there_already_or_concerns_nobody_changes_nothing(fix: Advisory) -> None:
    assert chosen(facts(), entry("2.2.5", OLD), fix=fix) == Choice((), (), forbidden=False)


def test_a_version_that_was_asked_for_by_name_comes_before_a_fix() -> None:
    assert chosen(facts(exact="3.0.0"), entry("2.2.5", OLD)).fixes == ()


def test_where_the_index_did_not_answer_the_fix_is_asked_for_and_policy_still_holds() -> None:
    far = Advisory(id="CVE-1", package="flask", fixed="3.0.1")

    assert choose(facts(), (FIX,), {"flask": None}).fixes == (Fix(FIX, (), early=True),)
    assert choose(facts(), (FIX,), {}).fixes[0].least == ">=2.2.5"
    assert choose(facts(), (far,), {"flask": None}).untaken[0].kind == "allow"
    assert choose(facts('security = "scheduled"'), (FIX,), {"flask": None}).untaken[0].kind == "cooldown"


def test_the_ceiling_is_for_the_definitions_own_packages() -> None:
    fix = Advisory(id="CVE-2", package="werkzeug", fixed="3.0.1")

    assert chosen(facts(), entry("3.0.1", OLD), fix=fix).fixes == (Fix(fix, ("3.0.1",), early=False),)


def test_a_version_comes_when_its_wheel_for_the_target_does() -> None:
    wheels = ("flask-2.2.5-cp313-cp313-manylinux_2_28_aarch64.whl", "flask-2.2.5-cp313-cp313-win_amd64.whl")
    late = Listed("2.2.5", OLD, wheels=wheels, arrivals=(YOUNG, OLD))
    too_late = Listed("2.2.5", OLD, wheels=wheels, arrivals=(NOW + timedelta(days=1), OLD))

    assert chosen(facts(), late).fixes == (Fix(FIX, ("2.2.5",), early=True),)
    assert chosen(facts(), too_late).untaken[0].kind == "platform"


def test_what_an_ordinary_update_may_bring_next_is_old_enough_and_within_policy() -> None:
    there = listing(entry("2.2.2", OLD), entry("2.2.5", OLD), entry("2.3.0", YOUNG), entry("3.0.0", OLD))["flask"]
    assert there is not None

    found = newest(facts(), "flask", there)

    assert found is not None
    assert found.version == "2.2.5"
    assert newest(facts('ignore = ["flask"]'), "flask", there) is None


entries = st.lists(
    st.builds(
        Listed,
        version=st.sampled_from(["2.2.2", "2.2.4", "2.2.5", "2.2.6", "2.3.0", "2.3.1rc1", "3.0.0"]),
        uploaded=st.sampled_from([OLD, YOUNG, NOW + timedelta(days=1), None]),
        yanked=st.sampled_from([None, None, ""]),
        wheels=st.sampled_from([("flask-1-py3-none-any.whl",), ("flask-1-cp313-cp313-win_amd64.whl",)]),
    ),
    unique_by=lambda entry: entry.version,
)


@given(
    entries,
    st.sampled_from(["patch", "minor", "major"]),
    st.sampled_from(["immediate", "scheduled"]),
    st.sampled_from(["flask\n", "flask<2.3\n"]),
)
def test_every_fix_is_either_taken_as_policy_permits_or_told(
    there: list[Listed], allow: str, security: str, wants: str
) -> None:
    of = facts(f'allow = "{allow}"\nsecurity = "{security}"', wants=wants)

    found = chosen(of, *there)

    assert len(found.fixes) + len(found.untaken) == 1
    for fix in found.fixes:
        versions = [Version(version) for version in fix.versions]
        assert versions == sorted(versions)
        for version in fix.versions:
            entry = next(entry for entry in there if entry.version == version)
            assert Version(version) >= Version("2.2.5")
            assert entry.yanked is None
            assert not entry.wheels[0].endswith("win_amd64.whl")
            assert entry.uploaded is None or entry.uploaded < NOW
            assert fix.early is (entry.uploaded is not None and entry.uploaded >= of.cutoff)
            assert of.specifiers["flask"].contains(version)
            assert allow == "major" or Version(version) < Version("3" if allow == "minor" else "2.3")
        assert not (fix.early and security == "scheduled")
