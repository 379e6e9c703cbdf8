"""What npm is shown of a registry: what must always and what must never be among it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.offer import Packument, Rules, npm_order, offered, parse_packument, visible

START = datetime(2026, 1, 1, tzinfo=UTC)

versions = st.builds(
    lambda a, b, c, pre: f"{a}.{b}.{c}{pre}", *[st.integers(0, 3)] * 3, st.sampled_from(["", "", "", "-rc.1"])
)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "engines": st.sampled_from([{"node": ">=22"}, {"node": ">=18"}, {"node": "<=6"}, "18", []]),
        "deprecated": st.just("old"),
        "dependencies": st.sampled_from([{"b": "^1"}, {"b": "github:b/b"}, [], {"b": 1}]),
    },
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Packument, Rules]:
    published = draw(st.dictionaries(versions, metadata, min_size=1, max_size=8))
    names = sorted(published)
    days = draw(st.lists(st.none() | st.integers(0, 100), min_size=len(names), max_size=len(names)))
    uploaded = {name: START + timedelta(days=day) for name, day in zip(names, days, strict=True) if day is not None}
    some = st.frozensets(st.sampled_from(names), max_size=3)
    rules = Rules(
        cutoff=START + timedelta(days=draw(st.integers(0, 100))),
        node=20,
        pins={"a": draw(some)},
        still=draw(st.sampled_from([frozenset(), frozenset(["a"])])),
        hidden=frozenset(("a", version) for version in draw(some)),
        exact=draw(st.sampled_from([{}, {}, {"a": names[0]}])),
        undated=draw(st.booleans()),
    )
    return Packument("a", published, uploaded, draw(st.none() | st.sampled_from(names))), rules


@given(situations())
def test_what_is_shown_is_pinned_or_may_be_taken(situation: tuple[Packument, Rules]) -> None:
    packument, rules = situation
    for version in visible(packument, rules):
        pinned, metadata = version in rules.pins["a"], packument.versions[version]
        assert metadata.get("dependencies") != {"b": "github:b/b"}
        if rules.exact:
            assert version == rules.exact["a"] or pinned
        elif not pinned:
            assert not rules.still
            assert ("a", version) not in rules.hidden
            assert metadata.get("engines") != {"node": ">=22"}
            if version in packument.uploaded:
                assert packument.uploaded[version] < rules.cutoff
            else:
                assert rules.undated


@given(situations())
def test_a_pin_can_always_be_kept_and_is_never_unattractive(situation: tuple[Packument, Rules]) -> None:
    packument, rules = situation
    document = offered(packument, rules)
    for version in rules.pins["a"]:
        if not rules.exact and packument.versions[version].get("dependencies") != {"b": "github:b/b"}:
            assert "deprecated" not in document["versions"][version]
            stable = "-" not in version
            if stable:
                assert npm_order(document["dist-tags"]["latest"]) >= npm_order(version)


@given(situations())
def test_the_latest_is_among_what_is_shown(situation: tuple[Packument, Rules]) -> None:
    packument, rules = situation
    document = offered(packument, rules)

    assert set(document["dist-tags"].values()) <= document["versions"].keys()
    assert list(document["versions"]) == visible(packument, rules)
    assert not any("engines" in metadata for metadata in document["versions"].values())


def test_the_latest_is_not_newer_than_the_authors_say() -> None:
    document = {"versions": {"1.0.0": {}, "2.0.0": {}}, "dist-tags": {"latest": "1.0.0"},
                "time": {"1.0.0": "2026-01-01T00:00:00Z", "2.0.0": "2026-01-02T00:00:00Z"}}  # fmt: skip
    packument = parse_packument(json.dumps(document).encode(), "a")

    shown = offered(packument, Rules(cutoff=START + timedelta(days=9), node=20))

    assert list(shown["versions"]) == ["1.0.0", "2.0.0"]
    assert shown["dist-tags"] == {"latest": "1.0.0"}


def test_a_registrys_document_is_read_with_care() -> None:
    document = {
        "versions": {"1.0.0": {"name": "a", "scripts": {}, "engines": {"node": ">=18"}}, "one": {}, "2.0.0": None},
        "dist-tags": {"latest": "3.0.0"},
        "time": {"created": "2025-01-01T00:00:00Z", "1.0.0": "2026-01-01T00:00:00.000Z", "2.0.0": "soon"},
    }
    packument = parse_packument(json.dumps(document).encode(), "a")

    assert packument == Packument("a", {"1.0.0": {"name": "a", "engines": {"node": ">=18"}}}, {"1.0.0": START}, None)


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"versions": []}'])
def test_what_is_no_packument_is_said_so(body: bytes) -> None:
    with pytest.raises(ValueError):
        parse_packument(body, "a")
