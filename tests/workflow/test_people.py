"""People have a say in rollouts: pauses, promotion at once, the switch, approvals and change windows."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from local.fleet import create, sources
from local.scenario import Member
from local.states.history import StateEvent
from local.traffic import Traffic
from tests.workflow.conftest import ARCHITECTURE, RUNTIME, Crew, Lamina, define, ungranted, variant

pytestmark = pytest.mark.index

BEFORE, AFTER = "2023-06-01", "2024-06-01"
OFTEN = "min-minutes = 1\nmax-minutes = 5\ntolerance = 0.2\n"
SHORT = ", ".join(f'"daily {hour:02d}:{at}0-{hour:02d}:{at}4 UTC"' for hour in range(24) for at in (0, 3))
POLICIES = {
    "tiny": "min-minutes = 20\nmax-minutes = 60\ntolerance = 0.2\n",
    "slow": "min-minutes = 300\nmax-minutes = 3000\n",
    "asked": f'{OFTEN}approval = "first"\napproval-hours = 1\n',
    "late": f'{OFTEN}windows = [{SHORT}]\napproval = "last"\n',
    "idle": "min-minutes = 1\nmax-minutes = 1\nextend-minutes = 2\n",
}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    for name, policy in POLICIES.items():
        define(folder, name, "idna\n", f"[rollout]\n{policy}")
    return folder


@pytest.fixture(scope="module")
def versions(lamina: Lamina) -> dict[str, str]:
    """The first release of every layer."""
    first = lamina.run("Update", {"asOf": BEFORE})
    assert first["status"] == "SUCCEEDED", first.get("cause")
    listed = {name: variant(name) for name in POLICIES}
    client = lamina.client("lambda")
    return {
        named: client.list_layer_versions(LayerName=named)["LayerVersions"][0]["LayerVersionArn"]
        for named in listed.values()
    }


@pytest.fixture(scope="module")
def fleet(lamina: Lamina, versions: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """A function behind an alias and one on `$LATEST`, which have traffic, and one that nobody calls."""
    code = tmp_path_factory.mktemp("code")
    (code / "app.py").write_text("import idna\n\n\ndef handler(event, context):\n    return idna.__version__\n")
    busy = tuple(name for name in POLICIES if name != "idle")
    members = [
        Member(
            name=name,
            runtime=RUNTIME,
            architectures=(ARCHITECTURE,),
            layers=layers,
            code=code,
            per_minute=60,
            alias=alias,
            event={},
            error_rate=0.0,
        )
        for name, layers, alias in (("app-1", busy, "live"), ("job-1", busy, None), ("app-idle", ("idle",), None))
    ]
    create(lamina.client("lambda"), lamina.client("iam"), members, versions)
    cloud = lamina.stage.cloud
    made = Crew(members[:2], Traffic(cloud.lambdas, cloud.clock, sources(members[:2])))
    made.traffic.start()
    made.traffic.wait_minutes(10)
    yield made
    made.traffic.stop()


class Seen:
    """What the rollouts' executions do, and the first moment at which something happens in one."""

    def __init__(self, lamina: Lamina) -> None:
        self.events: list[StateEvent] = []
        self._machine = lamina.stage.stack.resources["Rollout"].rsplit(":", 1)[-1]
        self._news = threading.Condition()
        lamina.stage.cloud.on_state.append(self._look)

    def _look(self, event: StateEvent) -> None:
        if event.machine == self._machine:
            with self._news:
                self.events.append(event)
                self._news.notify_all()

    def wait(self, state: str, kind: str = "entered", times: int = 1) -> StateEvent:
        """The n-th time from now on."""
        with self._news:
            start = len(self.events)

            def found() -> list[StateEvent]:
                return [event for event in self.events[start:] if (event.state, event.kind) == (state, kind)]

            assert self._news.wait_for(lambda: len(found()) >= times, 180), f"{state} was not {kind}"
            return found()[times - 1]

    def of(self, execution: str, state: str) -> list[Any]:
        """What a state of the execution gave, each time."""
        return [
            event.data
            for event in self.events
            if (event.execution_arn, event.state, event.kind) == (execution, state, "exited")
        ]


@pytest.fixture
def seen(lamina: Lamina) -> Iterator[Seen]:
    made = Seen(lamina)
    yield made
    lamina.stage.cloud.on_state.remove(made._look)


def steer(lamina: Lamina, **order: Any) -> dict[str, Any]:
    """Start an update that steers, and give back its answer."""
    done = lamina.run_beside("Update", order)
    assert done["status"] == "SUCCEEDED", done.get("cause")
    answer: dict[str, Any] = json.loads(done["output"])
    return answer


def update(lamina: Lamina, layer: str) -> str:
    return lamina.start("Update", {"layers": [layer], "asOf": AFTER, "force": True})


def outcome(lamina: Lamina, execution: dict[str, Any], layer: str) -> dict[str, Any]:
    row: dict[str, Any] = lamina.report(execution)[variant(layer)]
    return row


def newest(lamina: Lamina, layer: str) -> str:
    listed = lamina.client("lambda").list_layer_versions(LayerName=variant(layer))["LayerVersions"]
    arn: str = max(listed, key=lambda version: version["Version"])["LayerVersionArn"]
    return arn


def test_a_paused_rollout_is_watched_and_goes_no_further_until_it_is_resumed(
    lamina: Lamina, fleet: Crew, seen: Seen
) -> None:
    started = update(lamina, "tiny")
    execution = seen.wait("Wait").execution_arn
    paused = steer(lamina, rollout="pause", layer=variant("tiny"), reason="trade fair")
    assert "trade fair" in paused["message"]
    seen.wait("Watch", "exited", times=3)
    looks = [look for look in seen.of(execution, "Watch") if "trade fair" in look["reason"]]
    assert {look["decision"] for look in looks} == {"wait"}
    assert {look["wave"] for look in looks} == {"canary"}

    assert "goes on" in steer(lamina, rollout="resume", layer=variant("tiny"))["message"]
    done = lamina.finish(started)

    assert outcome(lamina, done, "tiny")["outcome"] == "promoted"
    for member in fleet.members:
        assert newest(lamina, "tiny") in lamina.layers_of(member.name, member.alias)


def test_what_is_promoted_now_waits_no_longer(lamina: Lamina, fleet: Crew, seen: Seen) -> None:
    started = update(lamina, "slow")
    execution = seen.wait("Watch").execution_arn
    steered = steer(lamina, rollout="promote", layer=variant("slow"), reason="we need it today")
    assert steered["rollout"] == execution.rsplit(":", 1)[1]

    done = lamina.finish(started)

    assert outcome(lamina, done, "slow")["outcome"] == "promoted"
    looks = seen.of(execution, "Watch")
    assert [look["decision"] for look in looks][-2:] == ["advance", "advance"]
    assert len({look["wave"] for look in looks if look["decision"] == "advance"}) >= 2
    assert "we need it today" in lamina.item(f"ROLLOUT#{steered['rollout']}", "ROLLOUT")["promotedBy"]["S"]


def test_while_everything_is_paused_only_a_dry_run_does_anything(lamina: Lamina, fleet: Crew) -> None:
    before = lamina.client("lambda").list_layer_versions(LayerName=variant("tiny"))["LayerVersions"]
    assert "Everything is paused" in steer(lamina, paused=True, reason="freeze")["message"]

    scheduled = lamina.finish(lamina.stage.cloud.fire("lamina-schedule"))
    person = lamina.run("Update", {"layers": ["tiny"], "force": True, "asOf": AFTER})
    dry = lamina.run("Update", {"layers": ["tiny"], "dryRun": True, "asOf": AFTER})

    for stopped in (scheduled, person):
        told = json.loads(stopped["output"])
        assert (stopped["status"], told["outcome"]) == ("SUCCEEDED", "paused")
        assert "freeze" in told["message"] and '{"paused": false}' in told["message"]
    assert variant("tiny") in lamina.report(dry)
    assert steer(lamina, paused=False)["message"] == "Everything goes on."
    assert lamina.client("lambda").list_layer_versions(LayerName=variant("tiny"))["LayerVersions"] == before


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [("yes", "promoted", ""), ("no", "rolled_back", "not before Monday"), ("none", "rolled_back", "within 1 hours")],
)
def test_a_person_is_asked_before_the_first_function_gets_it(
    lamina: Lamina, fleet: Crew, seen: Seen, answer: str, expected: str, said: str
) -> None:
    before = {member.name: lamina.layers_of(member.name, member.alias) for member in fleet.members}
    started = update(lamina, "asked")
    asked = seen.wait("Ask", "waiting")
    token = asked.data["Payload"]["token"]
    assert {member.name: lamina.layers_of(member.name, member.alias) for member in fleet.members} == before

    states = lamina.client("stepfunctions")
    if answer == "yes":
        states.send_task_success(taskToken=token, output="{}")
    if answer == "no":
        states.send_task_failure(taskToken=token, error="Declined", cause="not before Monday")
    done = lamina.finish(started)

    row = outcome(lamina, done, "asked")
    assert row["outcome"] == expected
    assert said in row["message"]
    assert lamina.lock("asked") is None
    after = {member.name: lamina.layers_of(member.name, member.alias) for member in fleet.members}
    assert (after == before) is (expected != "promoted")


# A window of four virtual minutes is two real seconds, which a busy machine misses again and again.
@pytest.mark.long
def test_every_wave_waits_for_a_change_window_and_the_last_for_a_person(
    lamina: Lamina, fleet: Crew, seen: Seen
) -> None:
    started = update(lamina, "late")
    question = seen.wait("Ask", "waiting")
    having = [member.name for member in fleet.members if newest(lamina, "late") in lamina.layers_of(member.name)]
    assert len(having) == 1
    token = question.data["Payload"]["token"]
    lamina.client("stepfunctions").send_task_success(taskToken=token, output="{}")
    done = lamina.finish(started)
    # What the canary did while nobody had answered is looked at before anything else is done.
    entered = [event.state for event in seen.events if event.kind == "entered" and event.state]
    assert entered[entered.index("Ask") + 1 :][:2] == ["Approved?", "Watch"]

    row = outcome(lamina, done, "late")
    assert row["outcome"] == "promoted"
    asked = attaching(lamina, row["rollout"])
    barred = [answer for _, answer in asked if answer["waitSeconds"]]
    # To be safe takes longer than a window lasts, so that no two waves go out in the same one.
    assert all("No change window" in answer["why"] and not answer["attached"] for answer in barred)
    moments = {answer["wave"]: moment for moment, answer in asked if answer["attached"]}
    assert set(moments) == {"canary", "wave 1", "complete"}
    assert all(moment.minute % 30 < 4 for moment in moments.values())
    assert len({(moment.hour, moment.minute // 30) for moment in moments.values()}) == 3


def attaching(lamina: Lamina, rollout: str) -> list[tuple[datetime, dict[str, Any]]]:
    """Every call of Attach in a rollout: the moment that it was told, and its answer."""
    arn = lamina.stage.stack.resources["Rollout"].replace(":stateMachine:", ":execution:") + f":{rollout}"
    history = lamina.client("stepfunctions").get_execution_history(executionArn=arn, maxResults=1000)["events"]
    calls: list[tuple[datetime, dict[str, Any]]] = []
    moment: datetime | None = None
    for event in history:
        if event["type"] == "TaskScheduled":
            given = json.loads(event["taskScheduledEventDetails"]["parameters"])
            attaches = given.get("FunctionName", "").endswith(":lamina-attach")
            moment = datetime.fromisoformat(given["Payload"]["now"]) if attaches else None
        if event["type"] == "TaskSucceeded" and moment is not None:
            calls.append((moment, json.loads(event["taskSucceededEventDetails"]["output"])["Payload"]))
    return calls


def test_what_was_held_is_promoted_by_another_execution(lamina: Lamina, fleet: Crew) -> None:
    held = lamina.finish(update(lamina, "idle"))
    assert outcome(lamina, held, "idle")["outcome"] == "held"

    steered = steer(lamina, rollout="promote", layer=variant("idle"))
    lamina.stage.watcher.wait_quiet(120)

    assert lamina.layers_of("app-idle") == [newest(lamina, "idle")]
    assert lamina.item(f"ROLLOUT#{steered['rollout']}", "ROLLOUT")["status"] == {"S": "promoted"}
    assert lamina.item(f"LAYER#{variant('idle')}", "STATE")["promoted"]["N"] == newest(lamina, "idle").split(":")[-1]
    assert lamina.lock("idle") is None


def test_what_cannot_be_steered_is_refused(lamina: Lamina, versions: dict[str, str]) -> None:
    done = lamina.run("Update", {"rollout": "pause", "layer": variant("tiny")})

    assert (done["status"], done["error"]) == ("FAILED", "InvalidInput")
    assert "no rollout of it is under way" in done["cause"]


def test_nothing_was_done_all_along_that_the_template_does_not_grant(lamina: Lamina, fleet: Crew) -> None:
    callers = {call.caller for call in lamina.stage.cloud.calls.all() if call.caller.startswith("lamina-")}
    assert len(callers) > 10
    assert ungranted(lamina) == set()
