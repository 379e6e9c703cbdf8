"""Schedule expressions of EventBridge: rate(…), cron(…) and at(…), checked as the service checks them."""

from __future__ import annotations

import re

_RATE = re.compile(r"^rate\((\d+) (minute|hour|day)(s?)\)$")
_AT = re.compile(r"^at\(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\)$")
_CRON = re.compile(r"^cron\(([^)]*)\)$")
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
# Field of a cron expression → its lowest and highest number and the names that stand for numbers.
_FIELDS: list[tuple[str, int, int, list[str]]] = [
    ("minutes", 0, 59, []),
    ("hours", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of week", 1, 7, _DAYS),
    ("year", 1970, 2199, []),
]


def check(text: str, *, at: bool = False) -> None:
    """Raise ValueError where a schedule expression is not one; `at(…)` exists in EventBridge Scheduler only."""
    if found := _RATE.match(text):
        if int(found[1]) < 1 or (int(found[1]) == 1) == bool(found[3]):
            raise ValueError(f"{text}: a rate is rate(1 day) or rate(2 days), at least 1")
        return
    if at and _AT.match(text):
        return
    cron = _CRON.match(text)
    if cron is None:
        raise ValueError(f"{text}: must be rate(…) or cron(…)")
    fields = cron[1].split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{text}: cron takes six fields: minutes hours day-of-month month day-of-week year")
    if (fields[2] == "?") == (fields[4] == "?"):
        raise ValueError(f"{text}: exactly one of day-of-month and day-of-week must be ?")
    for field, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        if not all(_part(part, low, high, names) for part in field.split(",")):
            raise ValueError(f"{text}: {field!r} is no value for {name}")


def _part(part: str, low: int, high: int, names: list[str]) -> bool:
    if part in ("*", "?", "L", "LW"):
        return True
    value, _, step = part.partition("/")
    if step and not step.isdigit():
        return False
    value, _, nth = value.partition("#")
    if nth and nth not in "12345":
        return False
    numbers = [_number(end.rstrip("LW"), names) for end in value.split("-", 1)] if value != "*" else [low]
    return all(number is not None and low <= number <= high for number in numbers)


def _number(text: str, names: list[str]) -> int | None:
    if text.upper() in names:
        return names.index(text.upper()) + 1
    return int(text) if text.isdigit() else None
