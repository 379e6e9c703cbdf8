"""What people have to say in a rollout, as values."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.control import LOOK_AGAIN, Decision, Pause, gate, held_up, needs_approval, onward
from lamina.errors import InvalidInput
from lamina.inputs import parse_input
from lamina.model import LayerVersion, Reason
from lamina.rollout import Rollout, RolloutPolicy, Wave
from lamina.steering import Steering
from tests.unit.fakes import NOW

VARIANT = "web-python313-arm64"
CANARY, REST, COMPLETE = (
    Wave(name="canary", count=1, percent=25),
    Wave(name="wave 1", count=3, percent=100),
    Wave(name="complete", count=0, percent=100),
)
SHUT, OPEN = "Sun 00:00-01:00 UTC", "daily 00:00-24:00 UTC"


def rollout(*, waves: tuple[Wave, ...] = (CANARY, REST, COMPLETE), reason: str = "schedule", **more: Any) -> Rollout:
    policy = RolloutPolicy(**{name: more.pop(name) for name in list(more) if name in RolloutPolicy.model_fields})
    return Rollout(
        rollout="web-v2",
        variant=VARIANT,
        layer="web",
        run="run-1",
        execution="arn",
        candidate=LayerVersion(version=2, arn="arn:2"),
        opened=NOW,
        as_of=NOW,
        reason=Reason.model_validate({"kind": reason}),
        waves=waves,
        policy=policy,
        **more,
    )


rollouts = st.builds(
    rollout,
    waves=st.sampled_from([(), (CANARY,), (CANARY, COMPLETE), (CANARY, REST), (CANARY, REST, COMPLETE)]),
    reason=st.sampled_from(["schedule", "advisory"]),
    paused=st.sampled_from(["", "paused"]),
    promote_now=st.booleans(),
    windows=st.sampled_from([(), (SHUT,), (OPEN,), (SHUT, OPEN)]),
    security_ignores_windows=st.booleans(),
    approval=st.sampled_from(["none", "first", "last"]),
)
switches = st.sampled_from(["", "everything is paused"])
decisions: st.SearchStrategy[Decision] = st.sampled_from(get_args(Decision))


@given(decision=decisions, one=rollouts, wave=st.integers(0, 3), switch=switches)
def test_harm_is_put_back_whatever_people_say(decision: Decision, one: Rollout, wave: int, switch: str) -> None:
    found, barred = onward(decision, one, wave, switch, NOW)

    if decision in ("rollback", "restore"):
        assert (found, barred.stands) == (decision, False)
    else:
        assert found not in ("rollback", "restore")


@given(decision=decisions, one=rollouts, wave=st.integers(0, 3), switch=switches)
def test_whatever_is_paused_goes_neither_forward_nor_to_its_end(
    decision: Decision, one: Rollout, wave: int, switch: str
) -> None:
    if not held_up(one, switch):
        return
    found, _ = onward(decision, one, wave, switch, NOW)
    before = gate(one, wave, switch, NOW, approved=True)

    assert found in ("wait", "rollback", "restore")
    assert before.wait == LOOK_AGAIN
    assert before.why == (switch or one.paused)


@given(decision=decisions, one=rollouts, wave=st.integers(0, 3))
def test_what_is_promoted_at_once_waits_for_nothing_but_a_pause(decision: Decision, one: Rollout, wave: int) -> None:
    now = one.model_copy(update={"promote_now": True, "paused": ""})

    assert not gate(now, wave, "", NOW, approved=False).stands
    assert onward(decision, now, wave, "", NOW)[0] in ("advance", "rollback", "restore")


@given(one=rollouts, wave=st.integers(0, 3), switch=switches, approved=st.booleans())
def test_what_stands_before_a_wave_is_a_wait_with_a_reason_or_a_question(
    one: Rollout, wave: int, switch: str, approved: bool
) -> None:
    found = gate(one, wave, switch, NOW, approved=approved)

    assert found.stands == bool(found.wait or found.ask)
    assert bool(found.wait) == bool(found.why)
    assert 0 <= found.wait <= LOOK_AGAIN
    assert not (found.ask and approved)
    assert not (found.ask and found.wait)


@given(one=rollouts, wave=st.integers(0, 3), switch=switches)
def test_a_watch_that_lets_a_wave_have_its_turn_finds_its_gate_open(one: Rollout, wave: int, switch: str) -> None:
    if wave >= len(one.waves) or onward("advance", one, wave, switch, NOW)[0] != "advance":
        return

    assert not gate(one, wave + 1, switch, NOW, approved=True).stands


@pytest.mark.parametrize(
    ("windows", "reason", "ignores", "waits"),
    [
        ((), "schedule", True, False),
        ((SHUT,), "schedule", True, True),
        ((SHUT, OPEN), "schedule", True, False),
        ((SHUT,), "advisory", True, False),
        ((SHUT,), "advisory", False, True),
    ],
)
def test_a_wave_waits_for_a_window_and_security_need_not(
    windows: tuple[str, ...], reason: str, ignores: bool, waits: bool
) -> None:
    one = rollout(windows=windows, reason=reason, security_ignores_windows=ignores)

    assert bool(gate(one, 0, "", NOW, approved=False).wait) is waits
    assert onward("advance", one, 0, "", NOW)[0] == ("wait" if waits else "advance")
    # The promotion changes no function, and what is undecided does not wait for anything.
    assert onward("advance", one, 2, "", NOW)[0] == "advance"
    assert not gate(one, 3, "", NOW, approved=False).stands
    assert onward("hold", one, 0, "", NOW)[0] == "hold"


def test_a_wait_ends_when_the_window_opens() -> None:
    soon = NOW + timedelta(seconds=100)
    one = rollout(windows=(f"daily {soon + timedelta(minutes=1):%H:%M}-23:59 UTC",))
    opens = (soon + timedelta(minutes=1)).replace(second=0, microsecond=0)

    found = gate(one, 0, "", NOW, approved=False)

    assert 0 <= found.wait - (opens - NOW).total_seconds() < 1
    assert f"{opens:%Y-%m-%d %H:%M} UTC" in found.why


@pytest.mark.parametrize(
    ("approval", "waves", "asked"),
    [
        ("none", (CANARY, REST), None),
        ("first", (CANARY, REST), 0),
        ("first", (), None),
        ("last", (CANARY, REST), 1),
        ("last", (CANARY, REST, COMPLETE), 1),
        ("last", (CANARY, COMPLETE), 1),
        ("last", (CANARY,), 0),
    ],
)
def test_a_person_is_asked_before_the_first_wave_or_before_the_last_that_attaches(
    approval: str, waves: tuple[Wave, ...], asked: int | None
) -> None:
    one = rollout(waves=waves, approval=approval)

    assert needs_approval(one) == asked
    assert [number for number in range(4) if gate(one, number, "", NOW, approved=False).ask] == (
        [] if asked is None else [asked]
    )


def test_a_pause_says_who_since_when_why_and_how_to_go_on() -> None:
    pause = Pause(by="stop-it", since=NOW, reason="trade fair")

    assert f"since {NOW:%Y-%m-%d %H:%M} UTC by the execution stop-it: trade fair." in pause.of(VARIANT)
    assert f'{{"rollout": "resume", "layer": "{VARIANT}"}}' in pause.of(VARIANT)
    assert '{"paused": false}' in pause.everywhere()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"rollout": "pause", "layer": VARIANT}, Steering(action="pause", variant=VARIANT)),
        (
            {"rollout": "resume", "layer": VARIANT, "reason": " all\nis well "},
            Steering(action="resume", variant=VARIANT, reason="all is well"),
        ),
        ({"rollout": "promote", "layer": VARIANT}, Steering(action="promote", variant=VARIANT)),
        ({"paused": True, "reason": "fair"}, Steering(action="pause", reason="fair")),
        ({"paused": False}, Steering(action="resume")),
    ],
)
def test_people_steer_with_small_inputs(raw: dict[str, Any], expected: Steering) -> None:
    assert parse_input(raw, NOW) == expected
    assert parse_input({**raw, "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID": "arn"}, NOW) == expected


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"rollout": "stop", "layer": VARIANT}, '"pause", "resume" and "promote", not \'stop\''),
        ({"rollout": "pause"}, '"rollout" needs "layer"'),
        ({"rollout": "pause", "layer": [VARIANT]}, '"rollout" needs "layer"'),
        ({"rollout": "pause", "layers": ["web"]}, '"layers" does not go together with "rollout"'),
        ({"rollout": "pause", "layer": VARIANT, "reason": 3}, '"reason" must be a text'),
        ({"paused": "yes"}, '"paused" must be true or false'),
        ({"paused": True, "layer": VARIANT}, '"layer" does not go together with "paused"'),
        ({"layers": ["web"], "paused": True}, '"layers" does not go together with "paused"'),
        ({"layer": VARIANT}, "did you mean 'layers'"),
        ({"pause": VARIANT}, "unknown key 'pause'"),
    ],
)
def test_what_does_not_steer_is_refused_with_what_does(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_input(raw, NOW)

    assert said in str(caught.value)
    assert '{"rollout": "pause"}' in str(caught.value)
    assert "rollback" in str(caught.value)
