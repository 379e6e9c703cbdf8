"""Change windows, held against a clock on the wall that is looked at every minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.tables import parse_tables
from lamina.windows import DAYS, opening, parse

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns"]


def at(text: str, zone: str = "Europe/Berlin") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("Mon-Fri 09:00-16:00 Europe/Berlin", "2026-11-20 09:00", True),
        ("Mon-Fri 09:00-16:00 Europe/Berlin", "2026-11-20 08:59", False),
        ("Mon-Fri 09:00-16:00 Europe/Berlin", "2026-11-20 16:00", False),
        ("Mon-Fri 09:00-16:00 Europe/Berlin", "2026-11-21 12:00", False),
        ("Fri-Mon 09:00-16:00 Europe/Berlin", "2026-11-22 12:00", True),
        ("Mon,Wed,Sat 09:00-16:00 Europe/Berlin", "2026-11-21 12:00", True),
        ("daily 00:00-24:00 Europe/Berlin", "2026-11-21 23:59", True),
        ("Sat 22:00-04:00 Europe/Berlin", "2026-11-22 03:59", True),
        ("Sat 22:00-04:00 Europe/Berlin", "2026-11-21 03:59", False),
        ("Sun 22:00-04:00 Europe/Berlin", "2026-11-23 03:00", True),
        ("Fri 09:00-10:00 UTC", "2026-11-20 10:30", True),
    ],
)
def test_a_window_is_open_when_the_clock_there_shows_a_time_in_it(text: str, moment: str, expected: bool) -> None:
    assert parse(text).open_at(at(moment)) is expected


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("Mon-Fri 09:00-16:00 Europe/Berlin", "2026-11-20 17:00", "2026-11-23 09:00"),
        ("Mon-Fri 09:00-16:00 Europe/Berlin", "2026-11-20 12:34:56", "2026-11-20 12:34:56"),
        # The clock goes from 02:00 to 03:00: what lies between does not open, what lasts longer opens at 03:00.
        ("daily 02:00-03:00 Europe/Berlin", "2026-03-29 01:30", "2026-03-30 02:00"),
        ("daily 02:30-03:30 Europe/Berlin", "2026-03-29 01:30", "2026-03-29 03:00"),
        ("Sun 02:00-03:00 Europe/Berlin", "2026-03-28 12:00", "2026-04-05 02:00"),
        # The clock goes from 03:00 back to 02:00.
        ("daily 02:30-02:45 Europe/Berlin", "2026-10-25 01:00", "2026-10-25 02:30"),
    ],
)
def test_the_next_opening_is_by_the_clock_there(text: str, moment: str, expected: str) -> None:
    assert parse(text).opens(at(moment)) == at(expected)


def test_a_clock_that_is_set_back_opens_a_window_twice() -> None:
    window = parse("daily 02:30-02:45 Europe/Berlin")

    assert window.opens(at("2026-10-25 02:50")) == at("2026-10-25 02:30") + timedelta(hours=1)


@st.composite
def windows(draw: st.DrawFn) -> str:
    parts = draw(
        st.one_of(
            st.just(["daily"]),
            st.lists(st.sampled_from(DAYS), min_size=1, max_size=3),
            st.builds(lambda a, b: [f"{a}-{b}"], st.sampled_from(DAYS), st.sampled_from(DAYS)),
        )
    )
    start = draw(st.integers(0, 1439))
    end = draw(st.integers(1, 1440).filter(lambda minute: minute != start))
    clock = [f"{minute // 60:02d}:{minute % 60:02d}" for minute in (start, end)]
    return f"{','.join(parts)} {'-'.join(clock)} {draw(st.sampled_from(ZONES))}"


def moments() -> st.SearchStrategy[datetime]:
    """Minutes of 2026, most of them near a change of some zone's clock."""
    changes = [(3, 8), (3, 28), (3, 29), (4, 4), (4, 5), (10, 3), (10, 24), (10, 25), (10, 31), (11, 1)]
    day = st.one_of(
        st.sampled_from([datetime(2026, month, day, tzinfo=UTC) for month, day in changes]),
        st.integers(0, 364).map(lambda number: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)),
    )
    return st.builds(lambda one, minute: one + timedelta(minutes=minute), day, st.integers(0, 1439))


def minutes(start: datetime, days: int) -> Iterator[datetime]:
    for number in range(days * 1440):
        yield start + timedelta(minutes=number)


@settings(deadline=None, max_examples=150)
@given(text=windows(), moment=moments())
def test_the_next_opening_is_the_first_minute_in_which_the_window_is_open(text: str, moment: datetime) -> None:
    window = parse(text)

    found = window.opens(moment)

    assert found == next(minute for minute in minutes(moment, 15) if window.open_at(minute))


@settings(deadline=None, max_examples=150)
@given(texts=st.lists(windows(), max_size=3), moment=moments(), seconds=st.integers(0, 59))
def test_of_several_windows_the_first_to_open_counts_and_none_is_always(
    texts: list[str], moment: datetime, seconds: int
) -> None:
    moment += timedelta(seconds=seconds)

    found = opening(texts, moment)

    assert found >= moment
    assert opening(texts, found) == found
    assert found == moment or not any(parse(text).open_at(moment) for text in texts)
    if not texts:
        assert found == moment


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Mon-Fri 9-16 Europe/Berlin", "write days, hours and time zone"),
        ("Mon-Fri 09:00-16:00", "write days, hours and time zone"),
        ("mon 09:00-16:00 UTC", "write days, hours and time zone"),
        ("Mon 09:00-25:00 UTC", "write days, hours and time zone"),
        ("Mon 24:00-02:00 UTC", "write days, hours and time zone"),
        ("Mon 09:00-16:00 Europe/Berlyn", "no time zone 'Europe/Berlyn'"),
        ("Mon 09:00-16:00 Europe/../../x", "write days, hours and time zone"),
        ("Mon 09:00-16:00 Europe", "no time zone 'Europe'"),
        ("Mon 09:00-09:00 UTC", "for a whole day write 00:00-24:00"),
    ],
)
def test_what_is_no_window_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(text)


def test_a_definition_with_such_a_window_names_its_key() -> None:
    head = '[layer]\nowner = "a"\nruntimes = ["python3.13"]\narchitectures = ["arm64"]\n[rollout]\n'

    assert parse_tables(f'{head}windows = ["daily 00:00-06:00 UTC"]\n'.encode()).rollout.windows
    with pytest.raises(ValueError, match=r"rollout\.windows\.0: 'Mo 9-5' is not a window"):
        parse_tables(f'{head}windows = ["Mo 9-5"]\n'.encode())
