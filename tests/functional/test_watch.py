"""What one look at a rollout sees beside errors: the environment, alarms, slowness, and single functions in harm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from lamina.alarms import AlarmState
from lamina.baseline import thaw
from lamina.errors import InvalidInput, RolloutClosed
from lamina.gateways.alarms import Alarms
from lamina.gateways.reports import ColdStart
from lamina.rollout import EntryStatus, RolloutPolicy, RolloutStatus
from tests.functional.test_rollout_steps import (
    LOGS,
    NEW,
    OLD,
    VARIANT,
    House,
    canary_traffic,
    entries,
    fleet,
    house,  # noqa: F401
)
from tests.unit.fakes import NOW

MINUTE = timedelta(minutes=1)


def canaries(house: House) -> list[str]:  # noqa: F811
    return [name for name, entry in entries(house).items() if entry.wave == 0]


def traffic(house: House, names: Sequence[str], errors: int, minutes: int = 20, per_minute: int = 60) -> None:  # noqa: F811
    for name in names:
        house.metrics.put(NOW + 2 * MINUTE, minutes, per_minute, errors, FunctionName=name)


def evidence(house: House) -> dict[str, Any]:  # noqa: F811
    (look, *_) = reversed(house.rollouts.evidence("web-v2"))
    return look


@pytest.fixture
def plain(house: House) -> House:  # noqa: F811
    """Four functions on `$LATEST`, the canary attached."""
    fleet(house, latest=4)
    house.enroll(policy=RolloutPolicy(canary=("plain-1",)))
    house.attach(0)
    return house


# --- the environment


def test_an_outage_that_others_have_as_well_holds_nothing_back_and_waits(plain: House) -> None:
    traffic(plain, ["plain-1", "plain-2", "plain-3"], errors=30, minutes=6)
    seen = plain.watch(0, after=14)
    assert (seen.decision, seen.kind, seen.culprits) == ("wait", "undecided", ())
    assert "plain-2, plain-3" in seen.reason
    assert "not the release's" in seen.reason
    look = evidence(plain)["verdict"]
    assert (look["environment"], look["excluded"][0]["first"][:16]) == (True, "2026-11-01T12:02")
    traffic(plain, [], errors=0)
    for name in ("plain-1", "plain-2", "plain-3", "plain-4"):
        plain.metrics.put(NOW + 8 * MINUTE, 30, 60, 0, FunctionName=name)
    after = plain.watch(0, after=43)
    assert (after.decision, after.kind) == ("advance", "safe")
    assert plain.store.read_json("rollouts/web-v2/verdict.json")["verdict"]["functions"][0]["excluded"] >= 6


def test_harm_beside_functions_that_are_well_is_put_back_at_once(plain: House) -> None:
    traffic(plain, ["plain-1"], errors=60, minutes=2)
    traffic(plain, ["plain-2", "plain-3", "plain-4"], errors=0, minutes=2)
    seen = plain.watch(0, after=7)
    assert (seen.decision, seen.cause) == ("rollback", "harmful")


def test_an_outage_that_lasts_as_long_as_the_watch_ends_in_hold(plain: House) -> None:
    traffic(plain, ["plain-1", "plain-2", "plain-3"], errors=30, minutes=1450)
    assert plain.watch(0, after=1500).decision == "hold"
    rollout = plain.rollouts.get("web-v2")
    assert rollout is not None
    assert (rollout.status, rollout.culprits) == (RolloutStatus.HELD, ())


def test_a_function_that_gets_the_candidate_later_has_spoken_for_the_time_before(plain: House) -> None:
    """GIVEN an outage during the canary's watch, THEN it stays excused once the others have the candidate too."""
    traffic(plain, ["plain-1", "plain-2", "plain-3", "plain-4"], errors=30, minutes=6)
    for name in ("plain-1", "plain-2", "plain-3", "plain-4"):
        plain.metrics.put(NOW + 8 * MINUTE, 60, 60, 0, FunctionName=name)
    assert plain.watch(0, after=40).decision == "advance"
    for entry in plain.rollouts.entries("web-v2"):
        if entry.wave > 0:
            late = {"status": EntryStatus.ATTACHED, "attached_at": NOW + 41 * MINUTE}
            plain.rollouts.note("web-v2", entry.model_copy(update=late), RolloutStatus.OPEN)
    assert plain.watch(1, after=60).decision == "advance"


def test_left_alone_functions_speak_where_there_are_few_others(house: House) -> None:  # noqa: F811
    fleet(house, latest=2)
    house.enroll(policy=RolloutPolicy(exclude=("plain-2",)))
    house.attach(0)
    traffic(house, ["plain-1", "plain-2"], errors=30, minutes=6)
    assert entries(house)["plain-2"].status is EntryStatus.LEFT_ALONE
    assert "plain-2" in house.watch(0, after=14).reason


# --- alarms


def red(minutes: int = 6) -> AlarmState:
    return AlarmState("ALARM", NOW + minutes * MINUTE, "Threshold Crossed")


def test_an_alarm_that_turns_red_puts_the_rollout_back_and_blames_no_package(house: House) -> None:  # noqa: F811
    fleet(house, alias=4, per_minute=600)
    house.alarms.now = {"api-5xx": AlarmState("OK"), "old-news": red(-60)}
    house.enroll(policy=RolloutPolicy(alarms=("api-5xx", "old-news")))
    house.attach(0)
    canary_traffic(house, canaries(house)[0], errors=0, minutes=60)
    seen = house.watch(0, after=5)
    assert (seen.decision, "old-news was not OK before" in seen.reason) == ("wait", True)
    house.alarms.now["api-5xx"] = red()
    seen = house.watch(0, after=40)
    assert (seen.decision, seen.cause, seen.culprits) == ("rollback", "alarm", ())
    assert seen.reason.startswith("The alarm api-5xx went from OK to ALARM at 2026-11-01 12:06 UTC")
    done = house.restore({"rollout": "web-v2", "cause": {"kind": seen.cause, "text": seen.reason}})
    assert done.pending == 0
    assert house.hold(rollout="web-v2", cause={"kind": "alarm", "text": "x"}).held_back == {}
    rollout = house.rollouts.get("web-v2")
    assert rollout is not None
    assert rollout.cause_kind == "alarm"


def test_harm_that_is_seen_itself_goes_before_an_alarm(house: House) -> None:  # noqa: F811
    fleet(house, alias=4)
    house.alarms.now = {"api-5xx": AlarmState("OK")}
    house.enroll(policy=RolloutPolicy(alarms=("api-5xx",)))
    house.attach(0)
    canary_traffic(house, canaries(house)[0], errors=10)
    house.alarms.now = {"api-5xx": red()}
    seen = house.watch(0, after=9)
    assert (seen.decision, seen.cause) == ("rollback", "harmful")
    assert "api-5xx" in seen.reason


def test_an_alarm_that_does_not_exist_is_a_finding_and_never_silently_good(house: House) -> None:  # noqa: F811
    fleet(house, alias=4, per_minute=600)
    house.enroll(policy=RolloutPolicy(alarms=("typo",)))
    house.attach(0)
    canary_traffic(house, canaries(house)[0], errors=0, minutes=60)
    assert house.watch(0, after=3).decision == "wait"
    seen = house.watch(0, after=40)
    assert (seen.decision, seen.kind) == ("hold", "safe")
    assert "typo" in seen.findings[0]
    assert "does not exist" in seen.reason


def test_a_veto_that_waited_between_two_looks_is_not_forgotten(house: House) -> None:  # noqa: F811
    """GIVEN an alarm that was red when the rollout opened, THEN it vetoes once it was OK at any look in between."""
    fleet(house, alias=4)
    house.alarms.now = {"api-5xx": red(-60)}
    house.enroll(policy=RolloutPolicy(alarms=("api-5xx",)))
    house.attach(0)
    decisions = []
    for minute, state in enumerate((red(-60), AlarmState("OK"), AlarmState("INSUFFICIENT_DATA"), red())):
        house.alarms.now = {"api-5xx": state}
        decisions.append(house.watch(0, after=3 + minute).decision)
    assert decisions == ["wait", "wait", "wait", "rollback"]


def test_alarms_are_read_as_cloudwatch_has_them(house: House) -> None:  # noqa: F811
    client = boto3.client("cloudwatch")
    for name, state in (("api-5xx", "ALARM"), ("calm", "OK")):
        client.put_metric_alarm(
            AlarmName=name,
            EvaluationPeriods=1,
            ComparisonOperator="GreaterThanThreshold",
            Threshold=1,
            MetricName="Errors",
            Namespace="AWS/Lambda",
            Period=60,
            Statistic="Sum",
        )
        client.set_alarm_state(AlarmName=name, StateValue=state, StateReason="because")
    found = Alarms(client).states(("api-5xx", "calm", "nobody"))
    assert {name: one.state for name, one in found.items()} == {"api-5xx": "ALARM", "calm": "OK"}
    assert (found["api-5xx"].why, found["api-5xx"].since is not None) == ("because", True)
    assert Alarms(client).states(()) == {}


def test_composite_alarms_are_asked_for_too() -> None:
    client = boto3.client("cloudwatch", region_name="eu-central-1")
    both = {"AlarmName": "both", "StateValue": "OK", "StateTransitionedTimestamp": NOW}
    with Stubber(client) as stubbed:
        asked = {"AlarmNames": ["both"], "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
        stubbed.add_response("describe_alarms", {"CompositeAlarms": [both], "MetricAlarms": []}, asked)
        assert Alarms(client).states(("both",)) == {"both": AlarmState("OK", NOW)}


# --- slower, colder, throttled


def test_a_canary_that_only_gets_slower_is_held_and_says_so(house: House) -> None:  # noqa: F811
    fleet(house, alias=4, per_minute=600)
    house.enroll()
    house.attach(0)
    first = canaries(house)[0]
    canary_traffic(house, first, errors=0, minutes=60)
    place = {"FunctionName": first, "Resource": f"{first}:live", "ExecutedVersion": "2"}
    house.metrics.slow[tuple(sorted(place.items()))] = (NOW, 0.6)
    seen = house.watch(0, after=40)
    assert (seen.decision, seen.kind) == ("hold", "safe")
    assert "took longer than 120 ms" in seen.findings[0]
    assert seen.findings[0] in seen.reason
    rollout = house.rollouts.get("web-v2")
    assert rollout is not None
    assert (rollout.status, rollout.findings) == (RolloutStatus.HELD, seen.findings)
    assert "took longer" in rollout.cause


def test_a_definition_may_ignore_slowness(house: House) -> None:  # noqa: F811
    fleet(house, alias=4, per_minute=600)
    house.enroll(policy=RolloutPolicy(latency="ignore"))
    house.attach(0)
    first = canaries(house)[0]
    canary_traffic(house, first, errors=0, minutes=60)
    place = {"FunctionName": first, "Resource": f"{first}:live", "ExecutedVersion": "2"}
    house.metrics.slow[tuple(sorted(place.items()))] = (NOW, 0.6)
    seen = house.watch(0, after=40)
    assert (seen.decision, seen.findings) == ("advance", ())


def test_cold_starts_that_take_twice_as_long_hold_a_rollout(house: House) -> None:  # noqa: F811
    fleet(house, latest=4)
    house.reports.starts["plain-1"] = [
        ColdStart(NOW - 180 * MINUTE + number * 4 * MINUTE, 30.0, 400.0) for number in range(40)
    ]
    house.enroll(policy=RolloutPolicy(canary=("plain-1",)))
    house.attach(0)
    house.reports.starts["plain-1"] += [ColdStart(NOW + (3 + 2 * number) * MINUTE, 30.0, 800.0) for number in range(9)]
    traffic(house, ["plain-1", "plain-2"], errors=0, minutes=30)
    seen = house.watch(0, after=36)
    assert seen.decision == "hold"
    assert "9 of 9 cold starts (100.0%) initialised longer than 440 ms" in seen.reason


def test_throttling_holds_a_rollout(plain: House) -> None:
    traffic(plain, ["plain-1", "plain-2"], errors=0, minutes=30)
    place = (("FunctionName", "plain-1"),)
    plain.metrics.throttled[place] = {NOW + (3 + number) * MINUTE: 60 for number in range(20)}
    seen = plain.watch(0, after=36)
    assert seen.decision == "hold"
    assert "requests (" in seen.findings[0]


# --- one function in harm


@pytest.fixture
def crowd(house: House) -> House:  # noqa: F811
    """Eight functions behind aliases with the candidate, all as busy, of which the last is harmed."""
    fleet(house, alias=8)
    house.enroll(policy=RolloutPolicy(canary=tuple(f"live-{number}" for number in range(1, 9))))
    house.attach(0)
    for number in range(1, 9):
        canary_traffic(house, f"live-{number}", errors=10 if number == 8 else 0, minutes=60)
    return house


def test_a_single_function_in_harm_is_put_back_while_the_rest_goes_on(crowd: House) -> None:
    seen = crowd.watch(0, after=7)
    assert (seen.decision, seen.harmed) == ("restore", ("live-8",))
    assert "live-8 is harmed" in seen.reason
    request = {"rollout": "web-v2", "functions": list(seen.harmed), "cause": {"kind": "harmful", "text": seen.reason}}
    done = crowd.restore(request, "some-1")
    assert (done.rollout, done.functions, done.restored, done.pending) == ("web-v2", ("live-8",), 1, 0)
    assert crowd.confirm("web-v2").unrestored == 7
    back = entries(crowd)["live-8"]
    assert (back.status, back.reason) == (EntryStatus.RESTORED, seen.reason[:500])
    assert crowd.functions.serving("live-8", "live") == (OLD, LOGS)


def test_restoring_some_twice_changes_nothing_and_attach_passes_them_over(crowd: House) -> None:
    request = {"rollout": "web-v2", "functions": ["live-8"], "cause": {"kind": "harmful", "text": "it fails"}}
    crowd.restore(request, "some-1")
    changes = len(crowd.functions.applied)
    assert crowd.restore(request, "some-1").restored == 0
    crowd.attach(0)
    assert len(crowd.functions.applied) == changes
    rollout = crowd.rollouts.get("web-v2")
    assert rollout is not None
    assert rollout.status is RolloutStatus.OPEN
    later = crowd.watch(0, after=20)
    assert (later.decision, later.harmed) == ("advance", ())
    whole = crowd.store.read_json("rollouts/web-v2/verdict.json")["verdict"]
    told = {one["function"]: (one["kind"], one["putBack"]) for one in whole["functions"]}
    assert told["live-8"] == ("harmful", True)
    completing = crowd.attach(1)
    assert completing.last
    assert crowd.functions.serving("live-8", "live") == (OLD, LOGS)
    assert crowd.functions.serving("live-1", "live") == (NEW, LOGS)
    crowd.promote()
    assert entries(crowd)["live-8"].reason == "it fails"


def test_a_second_function_in_harm_among_few_ends_the_rollout(crowd: House) -> None:
    crowd.restore({"rollout": "web-v2", "functions": ["live-8"], "cause": {"kind": "harmful", "text": "x"}}, "some-1")
    for number in (5, 6, 7):
        place = {"FunctionName": f"live-{number}", "Resource": f"live-{number}:live", "ExecutedVersion": "2"}
        minutes = crowd.metrics.traffic[tuple(sorted(place.items()))]
        minutes[:] = [type(m)(m.start, m.invocations, 10) for m in minutes]
    assert (crowd.watch(0, after=20).decision, crowd.watch(0, after=20).cause) == ("rollback", "harmful")


def test_a_partial_restore_of_a_rollout_that_was_ended_does_nothing(crowd: House) -> None:
    crowd.restore({"rollout": "web-v2", "cause": {"kind": "stopped", "text": "a person stopped it"}})
    changes = len(crowd.functions.applied)
    request = {"rollout": "web-v2", "functions": ["live-8"], "cause": {"kind": "harmful", "text": "x"}}
    assert crowd.restore(request, "some-1").rollout is None
    assert len(crowd.functions.applied) == changes
    with pytest.raises(RolloutClosed):
        crowd.watch(0, after=20)
    with pytest.raises(InvalidInput, match="at least one"):
        crowd.restore({"rollout": "web-v2", "functions": [], "cause": {}}, "some-2")


# --- what is frozen, and what is kept


def frozen(house: House, rollout: str, *names: str) -> dict[str, Any]:  # noqa: F811
    return dict(thaw(house.store.read_json(f"rollouts/{rollout}/history.json"), names))


def test_minutes_with_an_earlier_candidate_are_no_history_and_lamina_s_own_changes_hide_none(house: House) -> None:  # noqa: F811
    fleet(house, latest=1)
    house.enroll()
    house.attach(0)
    traffic(house, ["plain-1"], errors=60, minutes=8)
    ended = NOW + 12 * MINUTE
    house.functions.clock = lambda: ended
    house.restore({"rollout": "web-v2", "cause": {"kind": "harmful", "text": "x"}})
    house.confirm()
    house.hold(rollout="web-v2", cause={"kind": "harmful", "text": "x"})
    house.metrics.put(NOW + 13 * MINUTE, 20, 60, 1, FunctionName="plain-1")
    house.enroll("web-v3", now=NOW + 40 * MINUTE)
    kept = frozen(house, "web-v3", "plain-1")["plain-1"].minutes
    assert min(m.start for m in kept) == NOW - 200 * MINUTE
    assert {m.errors for m in kept} == {0, 1}
    assert not [m for m in kept if NOW <= m.start < ended]


def test_minutes_from_before_somebody_s_deployment_are_no_history(house: House) -> None:  # noqa: F811
    fleet(house, latest=1)
    house.functions.deploy("plain-1", modified=NOW - 50 * MINUTE, code="code-2")
    house.enroll()
    kept = frozen(house, "web-v2", "plain-1")["plain-1"].minutes
    assert min(m.start for m in kept) == NOW - 50 * MINUTE


def test_every_look_keeps_its_evidence_and_the_registry_s_share_stays_small(crowd: House) -> None:
    seen = crowd.watch(0, after=7)
    assert crowd.watch(0, after=7) == seen
    (look,) = crowd.rollouts.evidence("web-v2")
    verdict = look["verdict"]
    assert {"lnE", "threshold", "canary", "control", "upper", "lower", "first", "last", "excluded"} <= verdict.keys()
    assert "functions" not in verdict
    assert len(json.dumps(look)) < 5_000
    whole = crowd.store.read_json("rollouts/web-v2/verdict.json")["verdict"]
    (one, *_) = whole["functions"]
    assert {"control", "canary", "baseline", "lnE", "upper", "lower", "first", "last", "excluded"} <= one.keys()
    assert crowd.rollouts.recent(VARIANT.variant, NOW - timedelta(days=1))[0].rollout == "web-v2"
