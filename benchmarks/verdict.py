"""The verdict on simulated traffic: harmless releases that it blames, harmful ones that it finds, and how soon.

`python -m benchmarks.verdict [--quick]`. No AWS; seeds are fixed. Simulated minutes (``simulated``) go through the
verdict's own code (``watching``), and through the rules by which people roll back today (``today``). Cells that have a
target say whether they met it; the exit code is 1 where one did not. The quick run has a tenth of the repetitions: it
shows the picture, with three times the error.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

from benchmarks import common, today
from benchmarks.simulated import HABITS, Count, binomial, minutes, route
from benchmarks.watching import (
    HORIZON,
    LOOKS,
    RULES,
    WEEK,
    Agreement,
    BesideTheOld,
    BesideThePast,
    Past,
    Watch,
    ask,
    blamed_with,
    rolled_back,
)

Row = dict[str, Any]

RATES = (0.0, 0.001, 0.01, 0.05)
TRAFFIC = (1, 10, 100, 1000)
WEIGHT = 0.1
FALSE = 0.01
"""Harmless releases that may be rolled back."""

PASTS = 10
"""Simulated weeks in a cell; its watches share them evenly."""

HARMS = ((0.001, 0.01), (0.01, 0.03), (0.01, 0.05), (0.05, 0.1), (0.0, 0.01))
"""(usual error rate, error rate of the harmful release)"""

OUTAGES = (0.05, 0.2, 0.5, 1.0)
"""Error rates of everything that the outage hits."""

WATCH = RULES.max_minutes


def main(quick: bool) -> int:
    """Measure and print; 1 if a target was missed or the shortcut differed from ``judge``."""
    started, scale, agreement = time.perf_counter(), 0.1 if quick else 1.0, Agreement()
    measures: dict[str, Callable[[], Iterator[Row]]] = {
        "fully broken": lambda: _broken(_times(100, scale)),
        "other harms": lambda: _harms(_times(200, scale), agreement),
        "minutes to safe": lambda: _safe(_times(40, scale)),
        "shared outage": lambda: _outages(_times(200, scale)),
        "harmless, today's rules": lambda: _todays_false_alarms(_times(500, scale)),
        "harmless": lambda: _harmless(_times(800, scale), agreement),
    }
    tables: dict[str, list[Row]] = {}
    for title, measure in measures.items():
        rows = tables[title] = list(measure())
        common.show(title, list(rows[0]), [[_short(value) for value in row.values()] for row in rows])
    missed = [f"{title}: {row}" for title, rows in tables.items() for row in rows if row.get("met") is False]
    common.emit(
        {
            "measured": "the verdict on simulated traffic",
            "alpha": RULES.alpha,
            "quick": quick,
            "minutes": {"watch": WATCH, "horizon": HORIZON, "past": WEEK},
            "compared_with_judge": vars(agreement),
            "missed": missed,
            "tables": tables,
            "seconds": round(time.perf_counter() - started, 1),
        }
    )
    return 1 if missed or agreement.different else 0


def _times(repetitions: int, scale: float) -> int:
    return max(2 * PASTS, round(repetitions * scale))


def _short(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


def _seeded(*cell: object) -> random.Random:
    return random.Random("/".join(map(str, cell)))


@lru_cache(maxsize=1)
def _pasts(rate: float, per_minute: float, habit: str = "independent") -> tuple[Past, ...]:
    """The weeks that a cell's watches share; cells that need the same ones follow each other."""
    chance = _seeded("past", rate, per_minute, habit)
    return tuple(Past(minutes(chance, WEEK, per_minute, rate, habit)) for _ in range(PASTS))


# --- harmless


def _harmless(times: int, agreement: Agreement) -> Iterator[Row]:
    """Shares of harmless releases that are rolled back, as the rule looks, and if nothing ever ended the watch."""
    for rate, per_minute, habit in product(RATES, TRAFFIC, HABITS):
        if rate == 0.0 and habit != HABITS[0]:
            continue  # nothing fails, so nothing clusters
        chance = _seeded("harmless", rate, per_minute, habit)
        alarms: dict[str, list[list[tuple[bool, bool]]]] = {}
        for week, past in enumerate(_pasts(rate, per_minute, habit)):
            here: dict[str, list[tuple[bool, bool]]] = {}
            for number in range(times // PASTS):
                for name, watch in _watches(chance, past, per_minute, rate, habit):
                    alarm = watch.first_alarm()
                    if week == number == 0 or alarm is not None:
                        agreement.check(watch, alarm)
                    here.setdefault(name, []).append((rolled_back(watch, alarm), alarm is not None))
            for name, outcomes in here.items():
                alarms.setdefault(name, []).append(outcomes)
        for name, weeks in alarms.items():
            shares = [sum(back for back, _ in outcomes) / len(outcomes) for outcomes in weeks]
            back = statistics.mean(shares)
            yield {
                "control": name,
                "errors": habit,
                "usual": rate,
                "per minute": per_minute,
                "rolled back": round(back, 5),
                "error": round(statistics.stdev(shares) / math.sqrt(PASTS), 5),
                "alarm within 4 h": round(statistics.mean(ever for outcomes in weeks for _, ever in outcomes), 5),
                "met": back <= FALSE,
            }


def _watches(
    chance: random.Random, past: Past, per_minute: float, rate: float, habit: str
) -> Iterator[tuple[str, Watch]]:
    yield "history", BesideThePast(minutes(chance, HORIZON, per_minute, rate, habit), past)
    yield "alias", BesideTheOld(*route(chance, minutes(chance, HORIZON, per_minute, rate, habit), WEIGHT), past)
    if habit in ("retried", "bursty"):
        # As if clusters stuck to the version that they began on, instead of being routed one by one.
        canary, stable = (minutes(chance, HORIZON, per_minute * part, rate, habit) for part in (WEIGHT, 1 - WEIGHT))
        yield "alias, apart", BesideTheOld(canary, stable, past)


def _todays_false_alarms(times: int) -> Iterator[Row]:
    """The same for today's rules, in the first half hour, and only where errors are independent."""
    for live, rate, per_minute in product((False, True), RATES, TRAFFIC):
        chance, rules = _seeded("today", live, rate, per_minute), today.rules(live)
        fired = dict.fromkeys(rules, 0)
        week = [] if live else minutes(chance, WEEK, per_minute, rate)
        for _ in range(times):
            canary, control = minutes(chance, WATCH, per_minute, rate), week
            if live:
                canary, control = route(chance, canary, WEIGHT)
            for name, rule in rules.items():
                fired[name] += rule(canary, control) is not None
        shares = {name: round(count / times, 4) for name, count in fired.items()}
        yield {"control": "alias" if live else "history", "usual": rate, "per minute": per_minute} | shares


# --- an outage that has nothing to do with the release


def _outages(times: int) -> Iterator[Row]:
    """Shares of harmless releases blamed for ten bad minutes that hit everything alike, from the sixth minute on.

    The past is short here, because ``judge`` itself is asked at every look.
    """
    usual, begin, length, past = 0.01, 5, 10, 240

    def bad(chance: random.Random, per_minute: float, rate: float) -> list[Count]:
        parts = ((begin, usual), (length, rate), (WATCH - begin - length, usual))
        return [count for span, level in parts for count in minutes(chance, span, per_minute, level)]

    for per_minute, rate in product(TRAFFIC, OUTAGES):
        chance = _seeded("outage", per_minute, rate)
        fleets = [[Past(minutes(chance, past, per_minute, usual)) for _ in range(4)] for _ in range(PASTS)]
        guarded = alone = live = 0
        for number in range(times):
            pasts = fleets[number % PASTS]
            watch, *guard = [BesideThePast(bad(chance, per_minute, rate), own) for own in pasts]
            alone += watch.first_alarm() is not None
            guarded += blamed_with(guard, watch, WATCH)
            beside = BesideTheOld(*route(chance, bad(chance, per_minute, rate), WEIGHT), pasts[0])
            live += beside.first_alarm() is not None
        for control, count in (("history, unguarded", alone), ("history, 3 guards", guarded), ("alias", live)):
            row = {"control": control, "outage": rate, "per minute": per_minute, "blamed": round(count / times, 4)}
            yield row | {"met": None if control == "history, unguarded" else count / times <= FALSE}


# --- harmful


def _broken(times: int) -> Iterator[Row]:
    """Median failed invocations of a canary that always fails, until the verdict is harmful."""
    cases = (("history", None, 2), ("alias, weight 10 %", 0.1, 3), ("alias, weight 50 %", 0.5, 8))
    for rate, (control, weight, target) in product(RATES, cases):
        chance = _seeded("broken", control, rate)
        one_by_one: list[float] = []
        at_random: list[float] = []
        for number in range(times):
            past = _pasts(rate, 1)[number % PASTS]
            beside = round(1 / weight) - 1 if weight else 0
            rows = [Count(beside, binomial(chance, beside, rate)) for _ in range(HORIZON)]
            together = minutes(chance, HORIZON, beside, rate) if weight else []
            for canary, stable, failed in (
                ([Count(1, 1)] * HORIZON, rows, one_by_one),
                (minutes(chance, HORIZON, 1, 1.0), together, at_random),
            ):
                watch: Watch = BesideTheOld(canary, stable, past) if weight else BesideThePast(canary, past)
                alarm = watch.first_alarm()
                failed.append(math.inf if alarm is None else sum(x for _, x in canary[:alarm]))
        median = statistics.median(one_by_one)
        yield {
            "control": control,
            "usual": rate,
            "failed, one a minute": median,
            "failed, at random": statistics.median(at_random),
            "target": target if rate == 0.0 else None,
            "met": median <= target if rate == 0.0 else None,
        }


def _harms(times: int, agreement: Agreement) -> Iterator[Row]:
    """Median invocations of a harmful canary until it is found, over the information bound, at 100 a minute."""
    per_minute = 100
    for (usual, rate), live in product(HARMS, (False, True)):
        chance, rules = _seeded("harms", live, usual, rate), today.rules(live)
        found: dict[str, list[float]] = {name: [] for name in ("verdict", *rules)}
        for number in range(times):
            past = _pasts(usual, per_minute)[number % PASTS]
            canary = minutes(chance, HORIZON, per_minute * (WEIGHT if live else 1), rate)
            stable = minutes(chance, HORIZON, per_minute * (1 - WEIGHT), usual) if live else []
            watch: Watch = BesideTheOld(canary, stable, past) if live else BesideThePast(canary, past)
            alarm = watch.first_alarm()
            if number < PASTS:
                agreement.check(watch, alarm)
            found["verdict"].append(_invocations(canary, alarm))
            for name, rule in rules.items():
                at = rule(canary, stable if live else past.newest_first)
                found[name].append(_invocations(canary, None if at is None else at + 1))
        bound = today.information_bound(RULES.alpha, rate, usual)
        medians = {name: _median(values) for name, values in found.items()}
        ratio = medians["verdict"] / bound if bound and medians["verdict"] else None
        row = {
            "control": "alias" if live else "history",
            "usual": usual,
            "harmful": rate,
            "bound": bound and round(bound),
        }
        yield row | medians | {"verdict / bound": ratio and round(ratio, 2)}


def _invocations(canary: Sequence[Count], alarm: int | None) -> float:
    return math.inf if alarm is None else sum(n for n, _ in canary[:alarm])


def _median(values: Sequence[float]) -> float | None:
    """The median, where at least half were found."""
    middle = statistics.median_high(values)
    return None if middle == math.inf else middle


# --- safe


def _safe(times: int) -> Iterator[Row]:
    """When a harmless release is found safe, and on how many invocations; None where it is not within four hours."""
    for live, rate, per_minute in product((False, True), RATES, TRAFFIC):
        chance = _seeded("safe", live, rate, per_minute)
        past = Past(minutes(chance, WEEK // 7, per_minute, rate))
        when: list[float] = []
        after: list[float] = []
        for _ in range(times):
            whole = minutes(chance, HORIZON, per_minute, rate)
            watch: Watch = BesideTheOld(*route(chance, whole, WEIGHT), past) if live else BesideThePast(whole, past)
            at = next((at for at in LOOKS if ask(watch, at).kind == "safe"), None)
            when.append(math.inf if at is None else at)
            after.append(_invocations(watch.canary, at))
        row: Row = {"control": "alias" if live else "history", "usual": rate, "per minute": per_minute}
        row |= {"minutes": _median(when), "invocations": _median(after)}
        known = not live and rate == 0.0 and per_minute == 100
        yield row | {"target": 5 if known else None, "met": row["minutes"] == 5 if known else None}


if __name__ == "__main__":
    sys.exit(main("--quick" in sys.argv[1:]))
