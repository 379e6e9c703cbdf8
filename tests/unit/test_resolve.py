"""Resolving: what the resolver is asked, and which of its answers no update may bring."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from lamina.definition import Definition
from lamina.errors import ResolutionFailed
from lamina.explain import explained
from lamina.lock import Lock, Pin
from lamina.model import Change, HeldBack
from lamina.resolution import Order
from lamina.resolve import Answer, Approach, Question, accept, ask, basis
from lamina.uv import OUTPUT, command, files
from tests.orders import order_of, python_layer

NOW = datetime(2026, 11, 20, 6, 30, tzinfo=UTC)
OLD = NOW - timedelta(days=100)
PYTHON = 'exclude = ["Boto3", "botocore"]\nbuild-from-source = ["docopt"]'


def definition(update: str = "", wants: str = "flask>=2\nrequests[socks]\n") -> Definition:
    return python_layer(update, wants=wants, python=PYTHON)


def lock(**packages: str) -> Lock:
    return Lock.of(Pin(name, version, (), OLD) for name, version in packages.items())


CURRENT = lock(flask="2.2.2", requests="2.31.0", werkzeug="2.3.7")


def order(
    current: Lock | None = CURRENT,
    *,
    of: Definition | None = None,
    packages: dict[str, str] | None = None,
    held_back: tuple[HeldBack, ...] = (),
) -> Order:
    return order_of(of or definition(), current, NOW, packages=packages or {}, held_back=held_back)


def question(
    current: Lock | None = CURRENT,
    approach: Approach | None = None,
    *,
    of: Definition | None = None,
    packages: dict[str, str] | None = None,
    held_back: tuple[HeldBack, ...] = (),
) -> Question:
    return ask(basis(order(current, of=of, packages=packages, held_back=held_back)), approach or Approach())


def options(asked: Question, name: str) -> list[str]:
    line = command(asked, "/opt/uv", "/python")
    return [line[index + 1] for index, part in enumerate(line) if part == name]


def test_the_command_names_target_moment_and_wheels_only() -> None:
    asked = question(None)

    assert command(asked, "/opt/uv", "/python")[:4] == ("/opt/uv", "pip", "compile", "layer.in")
    assert options(asked, "--python-version") == ["3.13"]
    assert options(asked, "--python-platform") == ["aarch64-manylinux_2_28"]
    assert options(asked, "--only-binary") == [":all:"]
    assert options(asked, "--no-binary") == []
    assert options(asked, "--exclude-newer") == ["2026-11-13T06:30:00.000000Z"]
    assert files(asked) == {
        "layer.in": "flask>=2\nrequests[socks]\n",
        "floor.txt": "",
        "exclude.txt": "boto3\nbotocore\n",
    }


def test_a_package_without_a_wheel_is_built_where_the_definition_permits_it() -> None:
    assert options(question(None, Approach(forced=frozenset({"docopt"}))), "--no-binary") == ["docopt"]


def test_every_current_pin_is_a_floor_and_only_direct_requirements_have_a_ceiling() -> None:
    assert question().constraints == ("flask>=2.2.2,<3", "requests>=2.31.0,<3", "werkzeug>=2.3.7")


def test_a_fix_is_a_requirement_and_does_not_wait_for_the_cooldown() -> None:
    asked = question(CURRENT, Approach(fixes={"werkzeug": "==2.3.8"}, at_once=frozenset({"werkzeug"})))

    assert asked.asked == ("flask>=2", "requests[socks]", "werkzeug==2.3.8")
    assert options(asked, "--exclude-newer-package") == ["werkzeug=2026-11-20T06:30:00.000000Z"]


def test_what_a_fix_needs_comes_along_at_its_version_alone() -> None:
    asked = question(CURRENT, Approach(fixes={"flask": "==2.2.5"}, along={"werkzeug": "2.3.8"}))

    assert "werkzeug==2.3.8" in asked.constraints
    assert options(asked, "--exclude-newer-package") == ["werkzeug=2026-11-20T06:30:00.000000Z"]


def test_pins_that_are_to_stay_if_they_can_are_what_the_resolver_finds_in_its_output() -> None:
    asked = question(CURRENT, Approach(keep=True))

    found = tomllib.loads(files(asked)[OUTPUT])
    assert {package["name"]: package["version"] for package in found["packages"]} == CURRENT.packages


def test_a_pin_that_must_stay_is_exact_unless_its_fix_is_asked_for() -> None:
    stay = Approach(stay=frozenset({"flask", "werkzeug"}), fixes={"werkzeug": "==2.3.8"})

    asked = question(CURRENT, stay)

    assert asked.constraints == ("flask==2.2.2", "requests>=2.31.0,<3", "werkzeug>=2.3.7")


def test_a_package_without_upload_times_is_exempt_and_its_fresh_versions_are_left_out() -> None:
    approach = Approach(timeless=frozenset({"flask"}), unseen={"flask": {"2.3.0", "2.2.2"}})

    asked = question(CURRENT, approach)

    assert options(asked, "--exclude-newer-package") == ["flask=false"]
    assert [line for line in asked.constraints if "!=" in line] == ["flask!=2.3.0"]


def test_without_a_cooldown_for_others_everything_up_to_the_moment_counts() -> None:
    assert options(question(CURRENT, Approach(hurry=True)), "--exclude-newer") == ["2026-11-20T06:30:00.000000Z"]


def test_an_ignored_package_stays() -> None:
    asked = question(of=definition('ignore = ["Werkzeug"]\n'))

    assert "werkzeug==2.3.7" in asked.constraints


def test_an_exact_version_overrides_policy_cooldown_and_hold_for_its_package_alone() -> None:
    held = HeldBack(package="flask", version="3.0.1", since=NOW, reason="broke it")

    asked = question(packages={"flask": "3.0.1"}, held_back=(held,))

    assert asked.asked[-1] == "flask==3.0.1"
    assert asked.constraints == ("requests>=2.31.0,<3", "werkzeug>=2.3.7")
    assert options(asked, "--exclude-newer-package") == ["flask=2026-11-20T06:30:00.000000Z"]


def test_an_exact_version_of_a_stranger_does_not_become_part_of_the_layer() -> None:
    asked = question(packages={"pillow": "10.0.0"})

    assert asked.asked == ("flask>=2", "requests[socks]")
    assert "pillow==10.0.0" in asked.constraints


def test_an_exact_version_below_the_current_one_is_refused() -> None:
    with pytest.raises(ResolutionFailed, match=r"requests 2\.30\.0 was asked for, but .* has 2\.31\.0"):
        question(packages={"requests": "2.30.0"})


def test_a_pin_younger_than_the_cooldown_stays_where_it_is_and_stays_visible() -> None:
    young = Lock.of([*CURRENT.pins.values(), Pin("idna", "3.7", (), NOW - timedelta(days=2))])

    asked = question(young)

    assert "idna==3.7" in asked.constraints
    assert options(asked, "--exclude-newer-package") == ["idna=2026-11-20T06:30:00.000000Z"]


def test_a_pin_younger_than_the_moment_itself_can_still_be_seen() -> None:
    tomorrow = Lock.of([Pin("flask", "2.2.2", (), NOW + timedelta(days=1))])

    assert options(question(tomorrow), "--exclude-newer-package") == ["flask=2026-11-21T06:30:01.000000Z"]


def test_held_back_versions_are_excluded() -> None:
    held = HeldBack(package="werkzeug", version="3.0.0", since=NOW, reason="flask cannot be imported")

    assert "werkzeug!=3.0.0" in question(held_back=(held,)).constraints


def test_packages_that_are_left_to_the_runtime_have_no_floor() -> None:
    assert not any("boto" in line for line in question(lock(flask="2.2.2", boto3="1.34.0")).constraints)


def test_a_good_answer_is_accepted() -> None:
    better = lock(flask="2.3.0", requests="2.32.3", werkzeug="2.3.8")

    assert accept(question(), Answer(better), CURRENT) == better


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(lock(flask="2.2.2", requests="2.31.0", werkzeug="0.1")), "werkzeug 2.3.7 to 0.1 would go back"),
        (Answer(lock(flask="2.2.2", requests="2.31.0")), "werkzeug would vanish although nothing else moves"),
        (Answer(lock(flask="2.2.2", requests="2.32.0rc1", werkzeug="2.3.7")), "requests 2.32.0rc1 would be a pre-rel"),
        (
            Answer(lock(flask="2.2.2", requests="2.32.0", werkzeug="2.3.7"), frozenset({"requests"})),
            "requests 2.32.0 was withdrawn by its authors",
        ),
    ],
)
def test_what_a_resolver_may_answer_and_no_update_may_bring_is_refused(answer: Answer, says: str) -> None:
    with pytest.raises(ResolutionFailed) as refused:
        accept(question(), answer, CURRENT, ("flask>=2", "requests[socks]"))

    assert str(refused.value).startswith("web-python313-arm64: refused what the resolver found, nothing was changed: ")
    assert says in str(refused.value)


def test_a_dependency_may_go_when_what_needed_it_moves_or_is_not_wanted_any_more() -> None:
    moved = lock(flask="2.3.0", requests="2.31.0")
    unwanted = lock(flask="2.2.2", werkzeug="2.3.7")

    assert accept(question(), Answer(moved), CURRENT, ("flask>=2", "requests[socks]")) == moved
    assert accept(question(of=definition(wants="flask>=2\n")), Answer(unwanted), CURRENT, ("flask>=2", "requests"))


def test_a_pre_release_that_the_team_asks_for_or_has_is_accepted() -> None:
    asked = question(of=definition(wants="flask>=3.0rc1\n"))
    there = lock(flask="2.2.2", requests="2.31.0rc1", werkzeug="2.3.7")

    assert accept(asked, Answer(lock(flask="3.0rc1")), None)
    assert accept(question(there), Answer(there), there)


def test_a_withdrawn_version_that_is_there_already_does_not_stop_the_rest() -> None:
    better = lock(flask="2.3.0", requests="2.31.0", werkzeug="2.3.7")

    assert accept(question(), Answer(better, frozenset({"requests"})), CURRENT) == better


def test_changes_say_what_moved_how_far_and_since_when_it_was_there() -> None:
    new = Lock.of([Pin("flask", "2.3.0", (), OLD), Pin("requests", "2.31.1"), Pin("blinker", "1.8")])

    changes = explained("PyPI", CURRENT, new, {"flask"}, NOW)

    assert [(change.package, change.kind, change.uploaded, change.age_days) for change in changes] == [
        ("blinker", "new", None, None),
        ("flask", "minor", OLD, 100),
        ("requests", "patch", None, None),
        ("werkzeug", "removed", None, None),
    ]
    assert changes[1].change() == Change(package="flask", from_="2.2.2", to="2.3.0", direct=True)


names = st.lists(st.sampled_from(["flask", "requests", "werkzeug", "idna"]), unique=True)


@given(
    current=st.dictionaries(
        st.sampled_from(["flask", "requests", "werkzeug", "idna"]), st.sampled_from(["1.0", "2.3.7", "3.1"])
    ),
    answer=st.dictionaries(
        st.sampled_from(["flask", "requests", "werkzeug", "idna"]), st.sampled_from(["0.9", "1.0", "2.3.7", "3.1"])
    ),
    yanked=names,
)
def test_whatever_the_resolver_answers_nothing_accepted_goes_back_or_was_withdrawn(
    current: dict[str, str], answer: dict[str, str], yanked: list[str]
) -> None:
    before = lock(**current)
    try:
        taken = accept(question(before), Answer(lock(**answer), frozenset(yanked)), before).packages
    except ResolutionFailed:
        return
    for name, version in taken.items():
        assert name not in current or Version(version) >= Version(current[name])
        assert current.get(name) == version or name not in yanked
