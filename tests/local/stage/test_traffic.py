"""Traffic: the same in every run, none of it lost on a slow machine, never the end of a replay."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.clock import Clock
from local.scenario import Outage
from local.traffic import Source, Traffic, fails, shots
from local.troubles import Troubles

ORIGIN = datetime(2024, 1, 1, 12, 0, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    error: str | None = None


class Engine:
    """Answers every invocation, after `seconds` of real time, and remembers when it started on the virtual clock."""

    def __init__(self, clock: Clock, seconds: float = 0.0) -> None:
        self.clock = clock
        self.seconds = seconds
        self.seen: dict[str, list[tuple[datetime, str | None, bytes]]] = defaultdict(list)
        self.busy: Counter[str] = Counter()
        self.crowded = False
        self.lock = threading.Lock()

    def invoke(self, function: str, qualifier: str | None, payload: bytes) -> Reply:
        with self.lock:
            self.seen[function].append((self.clock.now(), qualifier, payload))
            self.busy[function] += 1
            self.crowded |= self.busy[function] > 1
        time.sleep(self.seconds)
        with self.lock:
            self.busy[function] -= 1
        return Reply(error="Unhandled" if json.loads(payload).get("fail") else None)


def source(name: str = "api", per_minute: float = 6, error_rate: float = 0.0, alias: str | None = None) -> Source:
    return Source(name, alias, per_minute, error_rate, {"text": "hi"})


def delivered(minutes: int, sources: list[Source], seconds: float = 0.0, minute_seconds: float = 0.02) -> Engine:
    clock = Clock(minute_seconds, ORIGIN)
    engine = Engine(clock, seconds)
    traffic = Traffic(engine, clock, sources)
    traffic.start()
    traffic.wait_minutes(minutes)
    traffic.stop()
    return engine


def per_minute(engine: Engine, function: str) -> Counter[datetime]:
    return Counter(moment.replace(second=0, microsecond=0) for moment, _, _ in engine.seen[function])


def test_two_runs_send_the_same_events_in_the_same_order() -> None:
    sources = [source("a", 7, 0.1), source("b", 3, 0.5)]

    first, second = (delivered(5, sources) for _ in range(2))

    for name, count in (("a", 35), ("b", 15)):
        assert [entry[2] for entry in first.seen[name][:count]] == [entry[2] for entry in second.seen[name][:count]]


def test_in_minutes_of_trouble_a_function_fails_as_often_as_the_trouble_says_or_as_ever() -> None:
    troubles = Troubles(
        [
            Outage("start", 1, 2, frozenset({"a"}), 0.5),
            Outage("canary", 0, 1, frozenset({"a", "b"}), 1.0),
        ]
    )
    clock = Clock(0.02, ORIGIN)
    engine = Engine(clock)
    traffic = Traffic(
        engine, clock, [source("a", 10), source("b", 10, 0.2), source("c", 10)], trouble=troubles.error_rate
    )
    troubles.begin("canary", 4)
    troubles.begin("canary", 6)  # only the first time counts
    traffic.start()
    traffic.wait_minutes(6)
    traffic.stop()

    def failing(name: str) -> list[int]:
        asked = [json.loads(payload).get("fail", False) for _, _, payload in engine.seen[name]]
        return [sum(asked[start : start + 10]) for start in range(0, 60, 10)]

    assert failing("a") == [0, 5, 5, 0, 10, 0]
    assert failing("b") == [2, 2, 2, 2, 10, 2]
    assert failing("c") == [0] * 6


def test_a_minute_waits_for_its_traffic_however_slow_the_machine_is() -> None:
    # GIVEN minutes of a millisecond and functions that take longer than that for a single answer
    engine = delivered(6, [source("a", 6), source("b", 6)], seconds=0.002, minute_seconds=0.001)

    # THEN every whole minute has all of its invocations, and none started in another
    for name in ("a", "b"):
        counts = per_minute(engine, name)
        assert [counts[minute] for minute in sorted(counts)][:6] == [6] * 6


def test_a_function_has_one_invocation_in_flight() -> None:
    engine = delivered(4, [source(str(number), 10) for number in range(12)], seconds=0.001)

    assert not engine.crowded


def test_an_alias_is_called_by_its_name_and_the_event_is_sent_as_it_stands() -> None:
    engine = delivered(1, [source("a", alias="live"), source("b")])

    assert {(qualifier, payload) for _, qualifier, payload in engine.seen["a"]} == {("live", b'{"text": "hi"}')}
    assert {qualifier for _, qualifier, _ in engine.seen["b"]} == {None}


def test_rare_callers_do_not_make_time_run_away() -> None:
    clock = Clock(0.01, ORIGIN)
    traffic = Traffic(Engine(clock), clock, [source(per_minute=0.25)])
    traffic.start()
    traffic.wait_minutes(8)
    traffic.stop()

    assert traffic.counts()["api"].answered == 2
    assert (clock.now() - ORIGIN).total_seconds() >= 8 * 60


def test_a_pause_lets_the_clock_run_and_sends_nothing() -> None:
    clock = Clock(0.01, ORIGIN)
    engine = Engine(clock)
    traffic = Traffic(engine, clock, [source()])
    traffic.start()
    traffic.wait_minutes(2)
    traffic.pause()
    clock.sleep(120)
    before = len(engine.seen["api"])
    clock.sleep(600)
    assert len(engine.seen["api"]) == before

    traffic.resume()
    traffic.wait_minutes(2)
    traffic.stop()
    assert len(engine.seen["api"]) > before


class Refusing:
    def __init__(self, failure: Exception | None) -> None:
        self.failure = failure
        self.calls = 0

    def invoke(self, function: str, qualifier: str | None, payload: bytes) -> Reply:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        return Reply(status=429)


@pytest.mark.parametrize("failure", [None, RuntimeError("an environment died")])
def test_what_lambda_does_not_take_is_counted_and_the_traffic_goes_on(failure: Exception | None) -> None:
    clock = Clock(0.01, ORIGIN)
    engine = Refusing(failure)
    traffic = Traffic(engine, clock, [source(per_minute=3)])
    traffic.start()
    traffic.wait_minutes(2)
    traffic.stop()

    counts = traffic.counts()["api"]
    assert counts.refused == engine.calls >= 6
    assert (counts.answered, counts.errors) == (0, 0)


def test_function_errors_are_counted() -> None:
    clock = Clock(0.01, ORIGIN)
    traffic = Traffic(Engine(clock), clock, [source(per_minute=10, error_rate=0.5)])
    traffic.start()
    traffic.wait_minutes(4)
    traffic.stop()

    counts = traffic.counts()["api"]
    assert counts.errors == pytest.approx(counts.answered / 2, abs=1)


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 100), st.integers(0, 10_000))
def test_the_share_of_failing_events_is_exact_over_any_hundred(twentieths: int, name: int, block: int) -> None:
    asked = Source(f"f{name}", None, 1, twentieths / 20, {})

    assert sum(fails(asked, 20 * block + number) for number in range(100)) == 5 * twentieths


@settings(deadline=None)
@given(st.floats(0.05, 90), st.integers(0, 500))
def test_a_minute_has_its_share_of_the_rate_and_all_of_it_inside(rate: float, minute: int) -> None:
    asked = Source("f", None, rate, 0.3, {})
    plan = [len(shots(asked, number)) for number in range(minute, minute + 20)]

    assert abs(sum(plan) - 20 * rate) <= 1
    offsets = [shot.offset.total_seconds() for shot in shots(asked, minute)]
    assert offsets == sorted(offsets)
    assert all(0 <= offset < 60 for offset in offsets)
