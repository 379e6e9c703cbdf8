"""What people ask of a rollout, step by step: the real steps and registry (on moto), against a Lambda in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import boto3
import pytest

from lamina.control import Pause
from lamina.errors import InvalidInput, RolloutClosed
from lamina.gateways.registry import Layers, Runs, Table
from lamina.gateways.switch import Switch
from lamina.inputs import Known, KnownVariant
from lamina.model import LayerState, Release
from lamina.rollout import EntryStatus, RolloutPolicy, RolloutStatus
from lamina.steering import Steering
from lamina.steps import ask, attach, report, steer
from tests.functional.conftest import Cloud
from tests.functional.test_rollout_steps import ALWAYS, NEW, VARIANT, House, fleet, house
from tests.unit.fakes import NOW

__all__ = ["house"]
LAYER = VARIANT.variant


@dataclass
class FakeExecutions:
    approved: list[str] = field(default_factory=list)

    def approve(self, token: str) -> None:
        self.approved.append(token)


@dataclass
class People:
    """A house, and what people can do in it."""

    house: House
    executions: FakeExecutions = field(default_factory=FakeExecutions)

    def steer(self, action: str | None, layer: str | None = LAYER, name: str = "by-hand") -> steer.Steered:
        steering = Steering.model_validate({"action": action, "variant": layer, "reason": "because"})
        event = steer.SteerEvent(steering=steering, execution=f"arn:aws:states:r:a:execution:update:{name}", now=NOW)
        reach: Any = steer.Gateways(self.house.rollouts, self.house.runs, self.house.switch, self.executions)  # type: ignore[arg-type]
        return steer.run(event, reach)

    def ask(self, token: str, rollout: str = "web-v2") -> ask.Asked:
        reported: Any = report.Gateways(
            self.house.rollouts,
            self.house.layers,
            self.house.runs,
            self.house.store,
            self.house.topic,  # type: ignore[arg-type]
            "arn:rollback",
        )
        reach: Any = ask.Gateways(reported, self.executions, "eu-central-1")  # type: ignore[arg-type]
        return ask.run(ask.AskEvent(rollout=rollout, wave=0, token=token, now=NOW), reach)

    def attach(self, rollout: str = "web-v2", wave: int = 0, **event: Any) -> attach.Attached:
        reach: Any = attach.Gateways(self.house.functions, self.house.rollouts, self.house.switch)  # type: ignore[arg-type]
        given = attach.AttachEvent.model_validate({"rollout": rollout, "wave": wave, "now": NOW, **event})
        return attach.run(given, reach, ALWAYS)

    def hold(self) -> None:
        """What Watch does where there was too little to go on."""
        rollout = self.house.rollouts.get("web-v2")
        assert rollout is not None
        held = {"status": RolloutStatus.HELD, "cause": "too little", "cause_kind": "undecided"}
        self.house.rollouts.save(rollout.model_copy(update=held), RolloutStatus.OPEN)


@pytest.fixture
def people(house: House) -> People:
    house.runs.open("run-1", {"variants": [VARIANT.to_json()], "execution": "e", "started": NOW.isoformat()})
    house.runs.keep_known(Known(variants={LAYER: KnownVariant(layer="web", waits=False)}, refused={}))
    return People(house)


def with_candidate(house: House) -> set[str]:
    return {name for name, view in house.functions.latest.items() if NEW in view.layers}


def test_a_paused_rollout_attaches_nothing_until_it_is_resumed(people: People) -> None:
    fleet(people.house, latest=2)
    people.house.enroll()

    said = people.steer("pause")
    held_up = people.attach()

    assert with_candidate(people.house) == set()
    assert held_up.pending > 0
    assert held_up.wait_seconds == 600
    assert not held_up.watching
    assert "because" in held_up.why and '{"rollout": "resume"' in held_up.why
    assert said.text.startswith(held_up.why)
    assert people.steer("pause").text == said.text

    people.steer("resume")
    assert people.attach().pending == 0
    assert "was not paused" in people.steer("resume").text


def test_what_a_step_was_at_when_a_person_spoke_does_not_silence_the_person(people: People) -> None:
    fleet(people.house, latest=2)
    people.house.enroll()
    read_before = people.house.rollouts.get("web-v2")
    assert read_before is not None

    people.steer("promote")
    people.steer("pause")
    saved = people.house.rollouts.save(read_before.model_copy(update={"summary": "later"}), RolloutStatus.OPEN)

    stored = people.house.rollouts.get("web-v2")
    assert saved == stored
    assert stored is not None
    assert stored.summary == "later"
    assert "because" in stored.paused
    assert not stored.promote_now

    people.steer("promote")
    people.house.rollouts.save(saved, RolloutStatus.OPEN)
    stored = people.house.rollouts.get("web-v2")
    assert stored is not None
    assert stored.promote_now
    assert "because" in stored.promoted_by


def test_what_was_begun_is_brought_to_its_end_in_a_pause_and_watched(people: People) -> None:
    fleet(people.house, latest=4)
    people.house.enroll(policy=RolloutPolicy(canary=("app-1", "app-2")))
    names = sorted(e.function for e in people.house.rollouts.entries("web-v2") if e.wave == 0)
    entry = next(e for e in people.house.rollouts.entries("web-v2") if e.function == names[0])
    begun = entry.model_copy(update={"status": EntryStatus.ATTACHING})
    people.house.rollouts.note("web-v2", begun, RolloutStatus.OPEN)

    people.steer("pause")
    held_up = people.attach()

    assert with_candidate(people.house) == {names[0]}
    assert (held_up.attached, held_up.pending, held_up.watching) == (1, len(names) - 1, True)


def test_a_paused_rollout_is_put_back_all_the_same(people: People) -> None:
    fleet(people.house, latest=2)
    people.house.enroll()
    people.attach()
    assert with_candidate(people.house)

    people.steer("pause")
    people.steer("pause", layer=None)
    people.house.restore({"layer": LAYER})
    people.house.confirm()
    people.house.hold(rollout="web-v2", cause={"kind": "person", "text": "by hand"})

    assert with_candidate(people.house) == set()
    with pytest.raises(InvalidInput, match="no rollout of it is under way"):
        people.steer("resume")
    with pytest.raises(RolloutClosed):
        people.attach()


def test_the_switch_stops_every_rollout_and_the_promotion(people: People) -> None:
    fleet(people.house, latest=1)
    people.house.enroll()

    assert "Updates do nothing" in people.steer("pause", layer=None).text
    assert people.attach().wait_seconds == 600
    after = people.attach(wave=9)
    assert (after.last, after.wait_seconds, after.watching) == (True, 600, True)
    assert "Everything is paused" in people.steer("promote").text

    assert people.steer("resume", layer=None).text == "Everything goes on."
    assert people.house.switch.paused() == ""
    assert people.attach().pending == 0
    assert people.attach(wave=9).wait_seconds == 0


def test_what_is_promoted_at_once_asks_nobody_and_waits_for_no_window(people: People) -> None:
    fleet(people.house, latest=1)
    day = f"{NOW + timedelta(days=2):%a}"
    people.house.enroll(policy=RolloutPolicy(approval="first", windows=(f"{day} 00:00-01:00 UTC",)))

    assert people.attach().ask_seconds == 72 * 3600
    assert people.attach(approved=True).wait_seconds == 600
    assert people.ask("token-1").told
    people.steer("promote")

    assert people.executions.approved == ["token-1"]
    assert people.attach().pending == 0


def test_a_question_is_sent_once_for_each_token_with_the_commands_that_answer_it(people: People) -> None:
    fleet(people.house, latest=2)
    people.house.enroll(policy=RolloutPolicy(approval="first", approval_hours=5))

    assert people.ask("token-1").told
    assert not people.ask("token-1").told
    assert people.ask("token-2").told

    assert [subject for subject, _ in people.house.topic.told] == [f"Lamina: {LAYER} version 2 waits for approval"] * 2
    text = people.house.topic.told[0][1]
    until = NOW + timedelta(hours=5)
    for said in (
        "aws stepfunctions send-task-success --region eu-central-1",
        "aws stepfunctions send-task-failure --region eu-central-1",
        "--task-token 'token-1'",
        "--task-output '{}'",
        "--error Declined",
        f"before {until:%Y-%m-%d %H:%M} UTC",
        "0 of 2 functions have it",
        "Report: s3://artifacts/reports/run-1/",
    ):
        assert said in text


def test_a_rollout_that_is_put_back_waits_for_no_answer(people: People) -> None:
    fleet(people.house, latest=1)
    people.house.enroll(policy=RolloutPolicy(approval="first"))
    people.ask("token-1")

    people.house.restore({"layer": LAYER})

    assert people.house.executions.declined == ["token-1"]
    with pytest.raises(RolloutClosed):
        people.ask("token-2")


def test_nobody_is_asked_what_a_person_has_said_already(people: People) -> None:
    fleet(people.house, latest=1)
    people.house.enroll(policy=RolloutPolicy(approval="first"))
    people.steer("promote")

    assert not people.ask("token-1").told
    assert people.executions.approved == ["token-1"]
    assert people.house.topic.told == []


@pytest.mark.parametrize("action", ["promote", "resume"])
def test_a_held_rollout_goes_on_as_another_with_its_journal_and_its_lock(people: People, action: str) -> None:
    fleet(people.house, latest=4)
    people.house.enroll()
    people.attach()
    canaries = with_candidate(people.house)
    people.hold()

    steered = people.steer(action)

    assert steered.start is not None
    name = steered.start.name
    assert steered.start.input["variant"] == VARIANT.to_json()
    assert people.steer(action) == steered, "a repeated step starts the same execution"
    old, new = people.house.rollouts.get("web-v2"), people.house.rollouts.get(name)
    assert old is not None and new is not None
    assert old.status is RolloutStatus.CONTINUED
    assert (new.status, new.continues, new.promote_now) == (RolloutStatus.OPEN, "web-v2", action == "promote")
    assert new.execution == old.execution.replace("web-v2", name)
    lock = people.house.rollouts.lock(LAYER)
    assert lock is not None
    assert (lock.rollout, lock.execution) == (name, new.execution)
    assert people.house.enroll(name).waves == len(old.waves)
    assert people.attach(name).attached == len(canaries)

    people.house.restore({"rollout": name, "cause": {"kind": "person", "text": "no"}})
    assert with_candidate(people.house) == set()


def test_a_held_rollout_that_somebody_put_back_meanwhile_does_not_go_on(people: People) -> None:
    fleet(people.house, latest=2)
    people.house.enroll()
    people.attach()
    people.hold()
    held = people.house.rollouts.get("web-v2")
    assert held is not None
    people.house.restore({"layer": LAYER})

    assert not people.house.rollouts.hand_over(held, held.model_copy(update={"rollout": "web-v2-next"}))
    assert people.house.rollouts.get("web-v2-next") is None
    with pytest.raises(InvalidInput, match="no rollout of it is under way"):
        people.steer("promote")


@pytest.mark.parametrize(
    ("layer", "said"),
    [(LAYER, "no rollout of it is under way, so nothing was changed."), ("web", f"Known variants: {LAYER}")],
)
def test_what_cannot_be_steered_is_refused(people: People, layer: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        people.steer("pause", layer=layer)


def test_a_held_rollout_is_not_paused_but_the_person_learns_what_can_be_done(people: People) -> None:
    fleet(people.house, latest=1)
    people.house.enroll()
    people.hold()

    with pytest.raises(InvalidInput, match='Say "resume" to look at it again, "promote"'):
        people.steer("pause")


def plan(cloud: Cloud, raw: object, run: str) -> dict[str, Any]:
    arn = f"arn:aws:states:eu-central-1:123456789012:execution:update:{run}"
    return cloud.handler("plan")({"input": raw, "execution": arn, "now": NOW.isoformat()})


def test_while_everything_is_paused_an_update_ends_with_its_plan(cloud: Cloud) -> None:
    toml = (
        '[layer]\nowner = "a"\nruntimes = ["python3.13"]\narchitectures = ["arm64"]\n[python]\nrequirements = "r.in"\n'
    )
    cloud.define("web", toml, r_in="idna\n")
    table = Table(boto3.client("dynamodb"), cloud.registry)
    Switch(table).turn(Pause(by="freeze", since=NOW, reason="trade fair"))
    locked = {"idna": "3.4"}
    Layers(table).save(LayerState(variant=LAYER, promoted=1))
    release = {"variant": LAYER, "version": 1, "arn": "a", "digest": "d", "artifact": "a", "manifest": "m", "lock": "l"}
    more = {"explanation": "e", "packages": locked, "as_of": NOW, "created": NOW, "run": "run-1"}
    Layers(table).record(Release.model_validate(release | more))
    advisory = {"source": "lamina.advisory", "detail": {"package": "idna", "id": "PYSEC-2024-60", "fixed": "3.7"}}

    scheduled, urgent = plan(cloud, {}, "daily"), plan(cloud, advisory, "urgent")
    dry = plan(cloud, {"dryRun": True}, "dry")

    for stopped in (scheduled, urgent):
        assert stopped["variants"] == []
        assert "trade fair" in stopped["paused"]
    assert (dry["paused"], len(dry["variants"])) == ("", 1)
    # The fix is nobody's yet: after the pause an update can claim it.
    Switch(table).turn(None)
    assert len(plan(cloud, advisory, "later")["variants"]) == 1


def test_an_input_that_steers_is_recorded_and_plans_nothing(cloud: Cloud) -> None:
    planned = plan(cloud, {"rollout": "pause", "layer": LAYER, "reason": "fair"}, "by-hand")

    assert planned["steering"] == {"action": "pause", "variant": LAYER, "reason": "fair"}
    assert planned["variants"] == []
    recorded = Runs(Table(boto3.client("dynamodb"), cloud.registry)).get("by-hand")
    assert recorded is not None
    assert recorded["steering"] == planned["steering"]
