"""The combined budget: what is said of a load holds whatever the unknown sizes turn out to be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lamina.budget import Fit, Load, Size, fit, no_larger, not_known, too_large
from lamina.bundle import MAXIMUM_BYTES
from lamina.zipsize import MOST_INFLATION
from tests.unit.fakes import layer

LIMIT = 262_144_000
ARNS = [layer(name, number) for number, name in enumerate(("web", "logs", "data", "tools", "more"), 1)]


@st.composite
def truths(draw: st.DrawFn) -> Load:
    """What there really is: every size known, and no zip that holds more than a zip can."""
    sizes = []
    for _ in range(draw(st.integers(1, 6))):
        unzipped = draw(st.one_of(st.integers(0, LIMIT), st.integers(0, 1000)))
        zipped = draw(st.integers(-(-unzipped // MOST_INFLATION), unzipped + 200))
        sizes.append(Size(zipped, unzipped))
    return Load(sizes[0], dict(zip(ARNS, sizes[1:], strict=False)))


@st.composite
def seen(draw: st.DrawFn) -> tuple[Load, Load]:
    """What there is, and as much of it as is known."""
    truth = draw(truths())

    def veil(size: Size) -> Size:
        return draw(st.sampled_from([size, Size(size.zipped), Size(), Size(None, size.unzipped)]))

    return truth, Load(veil(truth.code), {arn: veil(size) for arn, size in truth.layers.items()})


@given(truths())
def test_where_all_is_known_the_sum_decides(truth: Load) -> None:
    total = sum(size.unzipped or 0 for size in (truth.code, *truth.layers.values()))
    assert fit(truth) is (Fit.FITS if total <= LIMIT else Fit.BURSTS)


@given(seen())
def test_what_is_said_of_a_part_holds_for_the_whole(both: tuple[Load, Load]) -> None:
    truth, known = both
    if (said := fit(known)) is not Fit.UNKNOWN:
        assert fit(truth) is said


@given(seen())
def test_knowing_more_never_turns_an_answer_around(both: tuple[Load, Load]) -> None:
    truth, known = both
    more = replace(known, code=truth.code)
    if fit(known) is not Fit.UNKNOWN:
        assert fit(more) is fit(known)


@given(seen(), st.integers(0, LIMIT), st.integers(0, LIMIT))
def test_what_is_no_larger_takes_nothing_over_the_limit(both: tuple[Load, Load], before: int, after: int) -> None:
    truth, _ = both
    old, new = Size(None, before), Size(None, after)
    assume(no_larger(old, new))
    assume(fit(Load(truth.code, {**truth.layers, "old": old})) is Fit.FITS)
    assert fit(Load(truth.code, {**truth.layers, "old": new})) is Fit.FITS


@given(st.one_of(st.none(), st.integers(0, LIMIT)), st.integers(0, LIMIT))
def test_an_unknown_size_is_never_taken_for_a_small_one(zipped: int | None, other: int) -> None:
    assert not no_larger(Size(zipped), Size(None, other))
    assert not no_larger(Size(None, other), Size(zipped))


@pytest.mark.parametrize(("code", "expected"), [(MAXIMUM_BYTES - 10, Fit.FITS), (MAXIMUM_BYTES - 9, Fit.BURSTS)])
def test_the_limit_itself_is_allowed(code: int, expected: Fit) -> None:
    assert fit(Load(Size(1, code), {ARNS[0]: Size(1, 10)})) is expected


def test_a_reason_names_the_numbers_and_the_layers() -> None:
    load = Load(Size(1, 260_000_000), {ARNS[0]: Size(1, 4_000_000), ARNS[1]: Size(1, 1_000)})
    assert too_large(load) == (
        "its code (260,000,000 bytes) and layers would be 264,001,000 bytes unzipped, 1,857,000 over Lambda's limit of "
        "262,144,000: web:1 4,000,000 bytes, logs:2 1,000 bytes"
    )


def test_a_reason_says_what_is_not_known() -> None:
    load = Load(Size(9_999_999), {ARNS[0]: Size(1, LIMIT + 1), ARNS[1]: Size()})
    assert fit(load) is Fit.BURSTS
    assert "its code (unknown) and layers would be at least 262,144,001 bytes" in too_large(load)
    load = Load(Size(9_999_999), {ARNS[0]: Size(1, 10), ARNS[1]: Size()})
    assert fit(load) is Fit.UNKNOWN
    assert not_known(load).endswith("is unknown: the size of its code and of logs:2 could not be read")
