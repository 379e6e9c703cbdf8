"""Resolving: what the resolver is asked, and which of its answers no update may bring."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lamina.definition import Definition, parse_definition, variants
from lamina.errors import DefinitionRefused, ResolutionFailed
from lamina.explain import explain
from lamina.lock import Lock, Pin
from lamina.model import Advisory, HeldBack
from lamina.resolve import Answer, Question, accept, ask, command

NOW = datetime(2026, 11, 20, 6, 30, tzinfo=UTC)
OLD = NOW - timedelta(days=100)
TOML = """
[layer]
owner = "o"
runtimes = ["python3.13"]
architectures = ["arm64"]
[python]
requirements = "requirements.in"
exclude = ["Boto3", "botocore"]
build-from-source = ["docopt"]
[update]
cooldown-days = 7
"""


def definition(update: str = "", wants: str = "flask>=2\nrequests[socks]\n") -> Definition:
    return parse_definition("web", {"layer.toml": (TOML + update).encode(), "requirements.in": wants.encode()})


def lock(**packages: str) -> Lock:
    return Lock.of(Pin(name, version, (), OLD) for name, version in packages.items())


CURRENT = lock(flask="2.2.2", requests="2.31.0", werkzeug="2.3.7")


def question(
    current: Lock | None = CURRENT,
    *,
    of: Definition | None = None,
    packages: dict[str, str] | None = None,
    advisories: tuple[Advisory, ...] = (),
    held_back: tuple[HeldBack, ...] = (),
) -> Question:
    of = of or definition()
    return ask(
        of,
        variants(of)[0],
        current,
        as_of=NOW,
        packages=packages or {},
        advisories=advisories,
        held_back=held_back,
    )


def options(asked: Question, name: str) -> list[str]:
    line = command(asked, "/opt/uv", "/python")
    return [line[index + 1] for index, part in enumerate(line) if part == name]


def test_the_command_names_target_moment_and_wheels_only() -> None:
    asked = question(None)

    assert command(asked, "/opt/uv", "/python")[:4] == ("/opt/uv", "pip", "compile", "layer.in")
    assert options(asked, "--python-version") == ["3.13"]
    assert options(asked, "--python-platform") == ["aarch64-manylinux_2_28"]
    assert options(asked, "--only-binary") == [":all:"]
    assert options(asked, "--no-binary") == ["docopt"]
    assert options(asked, "--exclude-newer") == ["2026-11-13T06:30:00.000000Z"]
    assert asked.files() == {
        "layer.in": "flask>=2\nrequests[socks]\n",
        "floor.txt": "",
        "exclude.txt": "boto3\nbotocore\n",
    }


def test_every_current_pin_is_a_floor_and_only_direct_requirements_have_a_ceiling() -> None:
    assert question().constraints == ("flask>=2.2.2,<3", "requests>=2.31.0,<3", "werkzeug>=2.3.7")


def test_a_fix_is_a_requirement_and_does_not_wait_for_the_cooldown() -> None:
    fix = Advisory(id="CVE-1", package="werkzeug", fixed="2.3.8")

    at_once = question(advisories=(fix,))
    scheduled = question(advisories=(fix,), of=definition('security = "scheduled"\n'))

    assert at_once.asked == ("flask>=2", "requests[socks]", "werkzeug>=2.3.8")
    assert options(at_once, "--exclude-newer-package") == ["werkzeug=2026-11-20T06:30:00.000000Z"]
    assert scheduled.asked == at_once.asked
    assert options(scheduled, "--exclude-newer-package") == []


def test_a_fix_that_is_there_already_or_concerns_nobody_changes_nothing() -> None:
    there = Advisory(id="CVE-1", package="werkzeug", fixed="2.3.7")
    nobody = Advisory(id="CVE-2", package="pillow", fixed="10")

    assert question(advisories=(there, nobody)) == question()


def test_a_fix_beyond_what_policy_allows_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        ResolutionFailed, match=r"CVE-3 is fixed in flask 3\.0\.1, but update\.allow = .minor."
    ) as refused:
        question(advisories=(Advisory(id="CVE-3", package="flask", fixed="3.0.1"),))

    assert '"packages": {"flask": "3.0.1"}' in str(refused.value)


def test_an_ignored_package_stays_and_is_explained_even_with_a_fix() -> None:
    fix = Advisory(id="CVE-1", package="werkzeug", fixed="2.3.8")

    asked = question(advisories=(fix,), of=definition('ignore = ["Werkzeug"]\n'))

    assert "werkzeug==2.3.7" in asked.constraints
    assert asked.asked == ("flask>=2", "requests[socks]")
    assert [(held.package, held.version) for held in asked.held] == [("werkzeug", "2.3.7"), ("werkzeug", "2.3.8")]
    assert "fixes CVE-1" in asked.held[1].why


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
    assert [(held.package, held.why[:17]) for held in asked.held] == [("pillow", "asked for exactly")]


def test_an_exact_version_below_the_current_one_is_refused() -> None:
    with pytest.raises(ResolutionFailed, match=r"requests 2\.30\.0 was asked for, but .* has 2\.31\.0"):
        question(packages={"requests": "2.30.0"})


def test_a_pin_younger_than_the_cooldown_stays_where_it_is_and_stays_visible() -> None:
    young = Lock.of([*CURRENT.pins.values(), Pin("idna", "3.7", (), NOW - timedelta(days=2))])

    asked = question(young)

    assert "idna==3.7" in asked.constraints
    assert options(asked, "--exclude-newer-package") == ["idna=2026-11-20T06:30:00.000000Z"]


def test_held_back_versions_are_excluded_and_always_explained() -> None:
    held = HeldBack(package="werkzeug", version="3.0.0", since=NOW, reason="flask cannot be imported")

    asked = question(held_back=(held,))

    assert "werkzeug!=3.0.0" in asked.constraints
    explanation = explain(asked, CURRENT, CURRENT.packages, run="r", as_of=NOW)
    assert [(entry.package, entry.version, entry.why) for entry in explanation.held] == [
        ("werkzeug", "3.0.0", "held back since 2026-11-20: flask cannot be imported")
    ]
    assert explanation.summary == "nothing new"


def test_packages_that_are_left_to_the_runtime_have_no_floor() -> None:
    assert not any("boto" in line for line in question(lock(flask="2.2.2", boto3="1.34.0")).constraints)


def test_a_variant_without_a_buildable_source_is_refused() -> None:
    toml = TOML.replace('["python3.13"]', '["nodejs22.x"]').split("[python]")[0] + "[nodejs]\npackage = 'package.json'"
    node = parse_definition("web", {"layer.toml": toml.encode(), "package.json": b"{}"})

    with pytest.raises(DefinitionRefused, match="cannot build"):
        question(None, of=node)


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


def test_an_explanation_says_what_moved_how_far_and_since_when_it_was_there() -> None:
    new = Lock.of([Pin("flask", "2.3.0", (), OLD), Pin("requests", "2.31.1"), Pin("blinker", "1.8")])

    explanation = explain(question(), new, CURRENT.packages, run="r-1", as_of=NOW)

    assert [
        (change.package, change.from_, change.to, change.kind, change.uploaded) for change in explanation.changes
    ] == [
        ("blinker", None, "1.8", "new", None),
        ("flask", "2.2.2", "2.3.0", "minor", OLD),
        ("requests", "2.31.0", "2.31.1", "patch", None),
        ("werkzeug", "2.3.7", None, "removed", None),
    ]
    assert explanation.summary == (
        "flask 2.2.2 to 2.3.0, requests 2.31.0 to 2.31.1, blinker 1.8 is new, werkzeug 2.3.7 is gone"
    )
    assert explanation.requirements == ("flask>=2", "requests[socks]")


def test_a_first_release_and_a_long_list_are_summarized() -> None:
    many = Lock.of(Pin(f"p{number}", "1") for number in range(6))

    assert explain(question(None), many, None, run="r", as_of=NOW).summary == (
        "first release, 6 packages: p0 1, p1 1, p2 1, p3 1 and 2 more"
    )
