"""Change windows: when a candidate may be attached to further functions, by the clock on a wall somewhere.

A window is written as days, hours and a time zone: `Mon-Fri 09:00-16:00 Europe/Berlin`, `Sat,Sun 22:00-04:00 UTC`,
`daily 00:00-06:00 America/New_York`. It is open whenever the clock there shows a time in it; one that ends the next
morning belongs to the day on which it begins. A clock that is set forward skips what is between, one that is set
back shows it twice. Pure: moments come and go as aware datetimes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EXAMPLE = "Mon-Fri 09:00-16:00 Europe/Berlin"
_DAY = "(Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
PATTERN = rf"^(daily|{_DAY}(-{_DAY})?(,{_DAY}(-{_DAY})?)*) {_CLOCK}-({_CLOCK}|24:00) [A-Za-z][A-Za-z0-9_+/-]*$"
_HORIZON = 15
"""Days in which every window opens: even one of an hour a week that a change of the clock skips once."""


@dataclass(frozen=True)
class Window:
    """Days of the week (0 is Monday) on which it begins, first and last minute of the day, and where that is.

    `end` is the minute at which it is shut again; not after `start` it is that of the next day.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: ZoneInfo

    def open_at(self, moment: datetime) -> bool:
        """Whether the clock there shows a time in it."""
        there = moment.astimezone(self.zone)
        minute, today = there.hour * 60 + there.minute, there.weekday()
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        return (today in self.days and minute >= self.start) or ((today - 1) % 7 in self.days and minute < self.end)

    def opens(self, moment: datetime) -> datetime:
        """The first moment from this one on at which it is open (UTC)."""
        moment = moment.astimezone(UTC)
        if self.open_at(moment):
            return moment
        return min(one for one in self._beginnings(moment) if one > moment and self.open_at(one))

    def _beginnings(self, moment: datetime) -> Iterator[datetime]:
        """Every moment at which it may begin to be open: at its hour, or where the clock there is changed."""
        first = moment.astimezone(self.zone).date()
        before = moment
        for number in range(_HORIZON):
            day = first + timedelta(days=number)
            clock = time(self.start // 60, self.start % 60)
            for fold in (0, 1):
                yield datetime.combine(day, clock.replace(fold=fold), self.zone).astimezone(UTC)
            after = before + timedelta(days=1)
            if _offset(before, self.zone) != _offset(after, self.zone):
                yield _changed(before, after, self.zone)
            before = after


def parse(text: str) -> Window:
    """Read a window.

    Raises:
        ValueError: it is not one; the message says what is wrong and what to write.
    """
    if re.fullmatch(PATTERN, text) is None:
        raise ValueError(f"{text!r} is not a window; write days, hours and time zone, such as {EXAMPLE!r}")
    days, hours, zone = text.split(" ")
    try:
        where = ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{text!r}: there is no time zone {zone!r}; write one such as Europe/Berlin or UTC") from error
    start, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in hours.split("-"))
    if start == end:
        raise ValueError(f"{text!r} begins and ends at the same time; for a whole day write 00:00-24:00")
    return Window(frozenset(_days(days)), start, end, where)


def opening(windows: Iterable[str], moment: datetime) -> datetime:
    """The first moment from this one on at which one of the windows is open: this one, where none is given."""
    return min((parse(text).opens(moment) for text in windows), default=moment)


def _days(text: str) -> Iterator[int]:
    for part in ("Mon-Sun" if text == "daily" else text).split(","):
        first, _, last = part.partition("-")
        start, end = DAYS.index(first), DAYS.index(last or first)
        yield from ((start + number) % 7 for number in range((end - start) % 7 + 1))


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()


def _changed(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The minute between two moments at which the clock there is changed."""
    low, high = before.replace(second=0, microsecond=0), after
    old = _offset(low, zone)
    while high - low > timedelta(minutes=1):
        middle = low + timedelta(minutes=(high - low) // timedelta(minutes=2))
        low, high = (middle, high) if _offset(middle, zone) == old else (low, middle)
    return high.replace(second=0, microsecond=0)
