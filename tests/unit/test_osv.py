"""Advisories in the OSV format: which versions they are about, which version ends them, and what cannot be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from lamina.osv import Affected, Pin, Unreadable, affected, in_force, judge, pins_of
from local.osv import RECORDS

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def record(*events: dict[str, str], identity: str = "PYSEC-1", package: str = "p", **more: Any) -> dict[str, Any]:
    ecosystem = more.pop("ecosystem", "PyPI")
    kind = more.pop("type", "ECOSYSTEM")
    ranges = more.pop("ranges", [{"type": kind, "events": list(events)}] if events else [])
    entry = {"package": {"ecosystem": ecosystem, "name": package}, "ranges": ranges, **more.pop("entry", {})}
    return {"id": identity, "modified": "2024-01-01T00:00:00Z", "affected": [entry], **more}


def real(identity: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDS / "PyPI" / f"{identity}.json").read_text())
    return found


def fix(advisory: dict[str, Any], version: str, package: str = "p", ecosystem: Any = "PyPI") -> str | None:
    """The fixed version, `-` where there is none, None for a version that the advisory is not about."""
    found = affected(advisory, Pin(ecosystem, package, version))
    return None if found is None else found.fixed or "-"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([{"introduced": "0"}, {"fixed": "2.0"}], {"0.1": "2.0", "1.9.9": "2.0", "2.0": None, "2.0rc1": "2.0"}),
        ([{"introduced": "1.0"}, {"fixed": "2.0"}], {"0.9": None, "1.0": "2.0", "1.0rc1": None, "3.0": None}),
        ([{"introduced": "0"}], {"0.1": "-", "99": "-"}),
        ([{"introduced": "1"}, {"last_affected": "1.5"}], {"0.9": None, "1": "-", "1.5": "-", "1.5.1": None}),
        ([{"introduced": "2"}, {"last_affected": "2"}], {"1": None, "2": "-", "2.1": None}),
        # Each branch has its own fix, in whatever order the events stand.
        (
            [{"introduced": "2.0.0"}, {"fixed": "2.0.6"}, {"introduced": "0"}, {"fixed": "1.26.17"}],
            {"1.26.16": "1.26.17", "1.26.17": None, "2.0.0": "2.0.6", "2.0.6": None, "2.1": None},
        ),
        # A fix that another range calls affected is none.
        (
            [{"introduced": "1"}, {"fixed": "1.5"}, {"introduced": "1.5"}, {"fixed": "1.6"}],
            {"1.2": "1.6", "1.5": "1.6", "1.6": None},
        ),
        ([{"introduced": "0"}, {"limit": "2.0"}, {"fixed": "3.0"}], {"1.0": "3.0", "2.0": None}),
        ([{"introduced": "0"}, {"limit": "*"}, {"fixed": "3.0"}], {"2.0": "3.0"}),
        ([{"introduced": "1!0"}, {"fixed": "1!2"}], {"2024.1": None, "1!1": "1!2"}),
    ],
)
def test_a_range_says_which_versions_are_affected_and_where_that_ends(
    events: list[dict[str, str]], expected: dict[str, str | None]
) -> None:
    assert {version: fix(record(*events), version) for version in expected} == expected


def test_a_listed_version_is_affected_however_it_is_written_and_ranges_of_commits_say_nothing() -> None:
    commits = {"type": "GIT", "repo": "r", "events": [{"introduced": "0"}, {"fixed": "abc"}]}
    listed = record(ranges=[commits], entry={"versions": ["1.0", "not a version"]})

    assert (fix(listed, "1.0.0"), fix(listed, "1.1")) == ("-", None)


def test_two_entries_for_a_package_count_together() -> None:
    advisory = record({"introduced": "0"}, {"fixed": "1.5"})
    advisory["affected"] += record({"introduced": "1.4"}, {"fixed": "1.7"})["affected"]

    assert [fix(advisory, version) for version in ("1.0", "1.4", "1.5", "1.7")] == ["1.7", "1.7", "1.7", None]


def test_names_are_compared_as_the_ecosystem_does() -> None:
    python = record({"introduced": "0"}, {"fixed": "2"}, package="Flask_Login")
    node = record({"introduced": "0"}, {"fixed": "2.0.0"}, package="JSONStream", ecosystem="npm", type="SEMVER")

    assert fix(python, "1", "flask-login") == "2"
    assert fix(node, "1.0.0", "JSONStream", "npm") == "2.0.0"
    assert fix(node, "1.0.0", "jsonstream", "npm") is None
    assert fix(node, "1.0.0", "JSONStream", "PyPI") is None


def test_npm_versions_are_semantic_versions() -> None:
    advisory = record(
        {"introduced": "0"}, {"fixed": "4.17.21"}, package="lodash", ecosystem="npm", type="SEMVER"
    )  # fmt: skip

    assert fix(advisory, "4.17.21-rc.1", "lodash", "npm") == "4.17.21"
    assert fix(advisory, "4.17.9", "lodash", "npm") == "4.17.21"
    assert fix(advisory, "4.17.100", "lodash", "npm") is None


@pytest.mark.parametrize(
    ("advisory", "says"),
    [
        (record({"introduced": "x.y"}), "'x.y' is not a version of PyPI"),
        (record({"fixed": "1.0"}), "does not say where it begins"),
        (record({"introduced": "0"}, {"mended": "1.0"}), "an event 'mended', which is not known"),
        (record(ranges=[{"type": "ORDER", "events": []}]), "of no known type"),
        (record(ranges=["0 to 1"]), "of no known type"),
        (record(ranges=[{"type": "ECOSYSTEM", "events": ["0"]}]), "an event that is none"),
        (record(), "it names no versions"),
        (record(ranges=[{"type": "GIT", "events": []}]), "it names no versions"),
    ],
)
def test_what_cannot_be_read_is_neither_affected_nor_clean(advisory: dict[str, Any], says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        affected(advisory, Pin("PyPI", "p", "1.0"))

    advice = judge([advisory], [Pin("PyPI", "p", "1.0")], NOW)
    assert advice.findings == ()
    assert f"PYSEC-1 could not be held against p 1.0: {says.split(',')[0][:10]}"[:40] in advice.unknown


def test_a_range_that_cannot_be_read_takes_nothing_from_one_that_can_but_its_fix() -> None:
    advisory = record(
        ranges=[
            {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]},
            {"type": "ECOSYSTEM", "events": [{"introduced": "bad"}]},
        ]
    )

    assert affected(advisory, Pin("PyPI", "p", "1.0")) == Affected(None)
    with pytest.raises(Unreadable):
        affected(advisory, Pin("PyPI", "p", "2.0"))


@pytest.mark.parametrize(
    "broken",
    [None, 7, "GHSA", [], {}, {"id": 5}, {"id": "X", "affected": 3}, {"id": "X", "affected": [None, {"package": "p"}]}],
)
def test_no_record_is_so_bad_that_the_others_are_lost(broken: object) -> None:
    advice = judge([broken, record({"introduced": "0"}, {"fixed": "2.0"})], [Pin("PyPI", "p", "1.0")], NOW)

    assert [finding.fixed for finding in advice.findings] == ["2.0"]
    readable = isinstance(broken, dict) and isinstance(broken.get("id"), str)
    assert bool(advice.unknown) is not readable


def test_withdrawn_records_and_those_of_later_days_are_left_out() -> None:
    def found(advisory: dict[str, Any], as_of: datetime) -> int:
        return len(judge([advisory], [Pin("PyPI", "p", "1.0")], as_of).findings)

    events = ({"introduced": "0"}, {"fixed": "2.0"})
    published = record(*events, published="2024-05-20T12:00:00Z")
    assert found(published, datetime(2024, 5, 20, 11, 59, tzinfo=UTC)) == 0
    assert found(published, datetime(2024, 5, 20, 12, tzinfo=UTC)) == 1
    assert found(record(*events, published="2024-05-20T12:00:00"), datetime(2024, 5, 20, 12, tzinfo=UTC)) == 1
    assert found(record(*events, published="2020-01-01T00:00:00Z", withdrawn="2024-01-01T00:00:00Z"), NOW) == 0
    # No date is no reason to call a lock clean.
    assert found(record(*events), datetime(2001, 1, 1, tzinfo=UTC)) == 1
    assert in_force({"published": "yesterday"}, NOW)


def test_aliases_are_one_finding_with_the_name_of_a_record_and_the_highest_fix() -> None:
    events = ({"introduced": "0"}, {"fixed": "2.0"})
    records = [
        record(*events, identity="PYSEC-1", aliases=["CVE-1"], details="Long.  \n story"),
        record({"introduced": "0"}, {"fixed": "2.1"}, identity="GHSA-1", aliases=["CVE-1"]),
        record(*events, identity="CVE-1"),
        record(*events, identity="PYSEC-9", aliases=["CVE-9", 5]),
    ]

    first, second = judge(records, [Pin("PyPI", "p", "1.0")], NOW).findings

    assert (first.id, first.aliases, first.fixed, first.summary) == (
        "GHSA-1",
        ("CVE-1", "PYSEC-1"),
        "2.1",
        "Long. story",
    )
    assert (second.id, second.aliases, second.fixed) == ("PYSEC-9", ("CVE-9",), "2.0")


@given(st.permutations(["PYSEC-2023-74", "PYSEC-2018-28", "PYSEC-2023-227", "PYSEC-2023-175", "PYSEC-2022-42979"]))
def test_the_order_of_records_does_not_matter(order: list[str]) -> None:
    pins = [Pin("PyPI", "pillow", "9.1.0"), Pin("PyPI", "requests", "2.19.0")]

    assert judge(map(real, order), pins, NOW) == judge(map(real, sorted(order)), reversed(pins), NOW)


def test_every_copy_of_an_npm_package_is_looked_at_once() -> None:
    lock = {
        "npm": {"b": "1.0.0", "a/node_modules/b": "2.0.0", "c/node_modules/b": "2.0.0", "a/node_modules/@s/x": "3.0.0"}
    }

    assert pins_of(lock) == (Pin("npm", "@s/x", "3.0.0"), Pin("npm", "b", "1.0.0"), Pin("npm", "b", "2.0.0"))  # type: ignore[arg-type]
    assert pins_of({"PyPI": {"Flask_Login": "1"}}) == (Pin("PyPI", "flask-login", "1"),)


@pytest.mark.parametrize(
    ("package", "version", "names", "fixed"),
    [
        ("requests", "2.30.0", {"PYSEC-2023-74", "GHSA-j8r2-6x86-q33q"}, {"2.31.0"}),
        ("jinja2", "3.1.2", {"GHSA-h5c8-rqwp-cp95", "CVE-2024-22195"}, {"3.1.3"}),
        ("pillow", "9.5.0", {"PYSEC-2023-175", "PYSEC-2023-227", "CVE-2023-44271"}, {"10.0.0", "10.0.1"}),
        ("urllib3", "1.26.17", {"PYSEC-2023-212"}, {"1.26.18"}),
        ("urllib3", "2.0.6", {"PYSEC-2023-212"}, {"2.0.7"}),
        ("urllib3", "2.0.7", set(), set()),
        ("aiohttp", "3.8.1", {"PYSEC-2023-246"}, {"3.8.5", "3.8.6", "3.9.0", "3.9.2", "3.8.2"}),
    ],
)
def test_real_advisories(package: str, version: str, names: set[str], fixed: set[str]) -> None:
    records = [json.loads(path.read_text()) for path in sorted(Path(RECORDS).glob("*/*.json"))]

    advice = judge(records, [Pin("PyPI", package, version)], NOW)

    said = {name for finding in advice.findings for name in (finding.id, *finding.aliases)}
    assert names <= said
    assert {finding.fixed for finding in advice.findings} <= fixed
    assert "PYSEC-2022-43059" not in said, "it is withdrawn"
    assert advice.unknown == ""


VERSIONS = st.builds(lambda parts: ".".join(map(str, parts)), st.lists(st.integers(0, 4), min_size=1, max_size=3))


@st.composite
def intervals(draw: st.DrawFn) -> list[tuple[str, str | None]]:
    """Disjoint intervals [introduced, fixed), the last of them perhaps open."""
    cuts = sorted({Version(version) for version in draw(st.lists(VERSIONS, min_size=1, max_size=6))})
    pairs = [(str(low), str(high)) for low, high in zip(cuts[::2], cuts[1::2], strict=False)]
    return pairs + ([(str(cuts[-1]), None)] if len(cuts) % 2 else [])


@given(intervals(), VERSIONS, st.randoms())
def test_a_version_is_affected_if_it_lies_in_an_interval_and_its_fix_lies_in_none(
    bounds: list[tuple[str, str | None]], version: str, random: Any
) -> None:
    events = [{"introduced": low} for low, _ in bounds] + [{"fixed": high} for _, high in bounds if high]
    random.shuffle(events)

    def inside(text: str) -> bool:
        return any(
            Version(low) <= Version(text) and (not high or Version(text) < Version(high)) for low, high in bounds
        )

    found = fix(record(*events), version)

    assert (found is not None) == inside(version)
    if found is not None:
        ends = sorted(Version(high) for _, high in bounds if high and Version(high) > Version(version))
        assert found == (str(ends[0]) if ends else "-")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.sampled_from(["0", "1.0", "ECOSYSTEM", "PyPI", "p"]) | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "affected", "package", "name", "ecosystem", "ranges", "events", "introduced", "fixed", "type", "versions", "aliases", "published", "withdrawn"]), inner, max_size=5), max_leaves=20))  # fmt: skip  # noqa: E501
def test_whatever_a_database_says_is_no_accident(raw: object) -> None:
    entry = {"package": {"ecosystem": "PyPI", "name": "p"}, "ranges": raw}

    judge([raw, {"id": "X", "affected": raw}, {"id": "Y", "affected": [entry]}], [Pin("PyPI", "p", "1.0")], NOW)
