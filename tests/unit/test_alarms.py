"""Alarms that a definition names: which veto, and which blame nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lamina.alarms import MISSING, AlarmState, State, consult, states_of

OPENED = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
RED = AlarmState("ALARM", OPENED + timedelta(minutes=7), "Threshold Crossed: 3 datapoints")


def test_a_change_from_ok_to_alarm_is_a_veto_that_names_alarm_and_times() -> None:
    found = consult({"api-5xx": "OK"}, {"api-5xx": RED}, OPENED)
    (veto,) = found.vetoes
    assert "api-5xx went from OK to ALARM at 2026-11-01 12:07 UTC" in veto
    assert "opened at 2026-11-01 12:00 UTC" in veto
    assert "Threshold Crossed" in veto


@pytest.mark.parametrize("before", ["ALARM", "INSUFFICIENT_DATA", MISSING])
def test_an_alarm_that_was_not_ok_before_blames_nobody(before: str) -> None:
    found = consult({"api-5xx": before}, {"api-5xx": RED}, OPENED)
    assert (found.vetoes, found.missing) == ((), ())
    assert "blames nobody" in found.notes[0]


def test_one_that_was_red_before_may_veto_once_it_was_ok_in_between() -> None:
    remembered = states_of(("api-5xx",), {"api-5xx": RED})
    for state, vetoes in (("ALARM", 0), ("OK", 0), ("INSUFFICIENT_DATA", 0), ("ALARM", 1)):
        found = consult(remembered, {"api-5xx": AlarmState(_state(state))}, OPENED)
        assert len(found.vetoes) == vetoes
        remembered = dict(found.remembered)
    assert remembered == {"api-5xx": "OK"}


def test_no_data_is_unknown_and_said_to_be() -> None:
    found = consult({"api-5xx": "OK"}, {"api-5xx": AlarmState("INSUFFICIENT_DATA")}, OPENED)
    assert found.vetoes == ()
    assert "api-5xx has insufficient data, so it is unknown" in found.notes[0]


def test_an_alarm_that_does_not_exist_is_told_of() -> None:
    before = states_of(("api-5xx", "latency"), {"latency": AlarmState("OK")})
    assert before == {"api-5xx": MISSING, "latency": "OK"}
    found = consult(before, {"latency": AlarmState("OK")}, OPENED)
    (missing,) = found.missing
    assert "api-5xx" in missing
    assert "does not exist" in missing
    assert "Create it, or correct the name" in missing


def _state(name: str) -> State:
    return {"OK": "OK", "ALARM": "ALARM"}.get(name, "INSUFFICIENT_DATA")  # type: ignore[return-value]
