"""A rollout step by step: the real steps, registry and store (on moto), against a Lambda in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from lamina.alarms import AlarmState
from lamina.budget import Size
from lamina.errors import InvalidInput, NothingToRestore, RolloutClosed, RolloutInProgress
from lamina.fleet import FunctionView, Scope
from lamina.gateways.registry import Layers, Runs, Table
from lamina.gateways.reports import ColdStart
from lamina.gateways.rollouts import Rollouts
from lamina.gateways.store import Store
from lamina.gateways.switch import Switch
from lamina.imports import Used
from lamina.model import Change, LayerOutcome, LayerState, LayerVersion, Outcome, Release, Variant
from lamina.rollout import EntryStatus, RolloutPolicy, RolloutStatus
from lamina.steps import attach, confirm, enroll, hold, promote, report, restore, watch
from lamina.verdict import Minute
from tests.unit.fakes import NOW, FakeFunctions, layer

VARIANT = Variant(variant="web-python313-arm64", layer="web", runtime="python3.13", architecture="arm64")
OLD, NEW = layer(VARIANT.variant, 1), layer(VARIANT.variant, 2)
LOGS = layer("logs", 4)
EXECUTION = "arn:aws:states:eu-central-1:123456789012:execution:lamina-rollout:web-v2"
ALWAYS: Callable[[], bool] = lambda: True  # noqa: E731
SCOPE = Scope(names="*", own="lamina-")


@dataclass
class FakeMetrics:
    """Minutes by the dimensions that are asked for."""

    traffic: dict[tuple[tuple[str, str], ...], list[Minute]] = field(default_factory=dict)
    slow: dict[tuple[tuple[str, str], ...], tuple[datetime, float]] = field(default_factory=dict)
    throttled: dict[tuple[tuple[str, str], ...], dict[datetime, int]] = field(default_factory=dict)

    def put(self, start: datetime, count: int, invocations: int, errors: int, **dimensions: str) -> None:
        minutes = self.traffic.setdefault(tuple(sorted(dimensions.items())), [])
        minutes += [Minute(start + timedelta(minutes=number), invocations, errors) for number in range(count)]

    def minutes(
        self, dimensions: Mapping[str, Mapping[str, str]], start: datetime, end: datetime
    ) -> dict[str, tuple[Minute, ...]]:
        return {
            key: tuple(
                m
                for m in self.traffic.get(tuple(sorted(wanted.items())), [])
                if start <= m.start < end and m.invocations
            )
            for key, wanted in dimensions.items()
        }

    def throttles(
        self, dimensions: Mapping[str, Mapping[str, str]], start: datetime, end: datetime
    ) -> dict[str, dict[datetime, int]]:
        return {
            key: {
                moment: count
                for moment, count in self.throttled.get(tuple(sorted(wanted.items())), {}).items()
                if start <= moment < end
            }
            for key, wanted in dimensions.items()
        }

    def percentiles(
        self,
        dimensions: Mapping[str, Mapping[str, str]],
        start: datetime,
        end: datetime,
        percent: int,
        period: timedelta,
    ) -> dict[str, tuple[tuple[datetime, float], ...]]:
        """What is usual is 100 ms everywhere."""
        if period != timedelta(minutes=1):
            return {key: () for key in dimensions}
        return {
            key: tuple((minute.start, 100.0) for minute in minutes)
            for key, minutes in self.minutes(dimensions, start, end).items()
        }

    def slower(
        self, limits: Mapping[str, tuple[Mapping[str, str], float]], start: datetime, end: datetime
    ) -> dict[str, tuple[Minute, ...]]:
        """Every twentieth invocation is slow, or a share of its own since a moment."""
        found = {}
        for key, (wanted, _) in limits.items():
            place = tuple(sorted(wanted.items()))
            since, share = self.slow.get(place, (end, 0.05))
            found[key] = tuple(
                Minute(m.start, m.invocations, round(m.invocations * (share if m.start >= since else 0.05)))
                for m in self.minutes({key: wanted}, start, end)[key]
            )
        return found


@dataclass
class FakeReports:
    """Cold starts, by function."""

    starts: dict[str, list[ColdStart]] = field(default_factory=dict)

    def cold_starts(
        self, function: str, since: datetime, until: datetime, version: str | None = None
    ) -> tuple[ColdStart, ...]:
        return tuple(one for one in self.starts.get(function, []) if since <= one.start < until)


@dataclass
class FakeAlarms:
    now: dict[str, AlarmState] = field(default_factory=dict)

    def states(self, names: Sequence[str]) -> dict[str, AlarmState]:
        return {name: self.now[name] for name in names if name in self.now}


@dataclass
class FakeLogs:
    messages: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def errors(
        self,
        function: str,
        since: datetime,
        version: str | None = None,
        limit: int = 100,
        until: datetime | None = None,
    ) -> tuple[str, ...]:
        # The old release, and the time before the candidate, have no errors.
        return self.messages.get(function, ()) if until is None and version != "1" else ()


@dataclass
class FakeSizes:
    """What layers and code have unzipped, by ARN and by digest; all else is unknown."""

    unzipped: dict[str, int] = field(default_factory=dict)

    def measure(self, layers: Iterable[str], code: Mapping[str, str]) -> tuple[dict[str, Size], dict[str, Size]]:
        return (
            {arn: Size(None, self.unzipped.get(arn)) for arn in layers},
            {digest: Size(None, self.unzipped.get(digest)) for digest in code},
        )


@dataclass
class FakeUsage:
    """What functions import, by name; all else is unread."""

    imports: dict[str, set[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def read(self, views: Iterable[FunctionView]) -> Used:
        self.asked = [view.name for view in views]
        return Used(
            {name: frozenset(self.imports[name]) for name in self.asked if name in self.imports},
            {name: "too large" for name in self.asked if name not in self.imports},
        )


@dataclass
class FakeExecutions:
    alive: set[str] = field(default_factory=set)
    declined: list[str] = field(default_factory=list)

    def running(self, arn: str) -> bool:
        return arn in self.alive

    def decline(self, token: str, cause: str) -> None:
        self.declined.append(token)


@dataclass
class FakePointers:
    published: dict[str, str] = field(default_factory=dict)

    def publish(self, variant: str, arn: str) -> None:
        self.published[variant] = arn


@dataclass
class FakeTopic:
    told: list[tuple[str, str]] = field(default_factory=list)

    def tell(self, subject: str, text: str) -> None:
        self.told.append((subject, text))


@dataclass
class House:
    """All gateways, and the steps as calls."""

    functions: FakeFunctions
    metrics: FakeMetrics
    logs: FakeLogs
    executions: FakeExecutions
    pointers: FakePointers
    topic: FakeTopic
    layers: Layers
    rollouts: Rollouts
    runs: Runs
    store: Store
    sizes: FakeSizes
    usage: FakeUsage
    switch: Switch
    reports: FakeReports
    alarms: FakeAlarms

    def enroll(self, rollout: str = "web-v2", policy: RolloutPolicy | None = None, **event: Any) -> enroll.Enrolled:
        given = enroll.EnrollEvent(
            rollout=rollout,
            execution=EXECUTION.replace("web-v2", rollout),
            run="run-1",
            variant=VARIANT,
            candidate=LayerVersion(version=2, arn=NEW, digest="two"),
            as_of=NOW,
            now=event.pop("now", NOW),
        )
        reach: Any = enroll.Gateways(
            self.functions,
            self.metrics,
            self.rollouts,
            self.layers,
            self.store,
            self.executions,  # type: ignore[arg-type]
            self.sizes,  # type: ignore[arg-type]
            self.usage,  # type: ignore[arg-type]
            self.reports,  # type: ignore[arg-type]
            self.alarms,  # type: ignore[arg-type]
        )
        return enroll.run(given, policy or RolloutPolicy(), "platform", event.pop("scope", SCOPE), reach)

    def attach(self, wave: int, time_left: Callable[[], bool] = ALWAYS) -> attach.Attached:
        event = attach.AttachEvent(rollout="web-v2", wave=wave, now=NOW)
        reach: Any = attach.Gateways(self.functions, self.rollouts, self.switch)  # type: ignore[arg-type]
        return attach.run(event, reach, time_left)

    def watch(self, wave: int, after: int) -> watch.Watched:
        event = watch.WatchEvent(rollout="web-v2", wave=wave, now=NOW + timedelta(minutes=after))
        reach: Any = watch.Gateways(
            self.metrics,
            self.logs,  # type: ignore[arg-type]
            self.rollouts,
            self.layers,
            self.store,
            self.switch,
            self.reports,
            self.alarms,
        )
        return watch.run(event, reach)

    def restore(self, raw: Any, execution: str = "back-1", time_left: Callable[[], bool] = ALWAYS) -> restore.Restored:
        event = restore.RestoreEvent(
            input=raw, execution=f"arn:aws:states:r:a:execution:lamina-rollback:{execution}", now=NOW
        )
        reach: Any = restore.Gateways(self.functions, self.rollouts, self.layers, self.executions)  # type: ignore[arg-type]
        return restore.run(event, reach, SCOPE, time_left)

    def confirm(self, rollout: str = "web-v2") -> confirm.Confirmed:
        event = confirm.ConfirmEvent(rollout=rollout, now=NOW)
        return confirm.run(event, confirm.Gateways(self.functions, self.rollouts))  # type: ignore[arg-type]

    def hold(self, **event: Any) -> hold.Held:
        given = hold.HoldEvent.model_validate({"now": NOW, **event}).root
        return hold.run(given, hold.Gateways(self.layers, self.rollouts))

    def promote(self, rollout: str = "web-v2") -> promote.Promoted:
        reach: Any = promote.Gateways(self.layers, self.rollouts, self.pointers)  # type: ignore[arg-type]
        return promote.run(promote.PromoteEvent(rollout=rollout, now=NOW), reach)

    def report(self, **event: Any) -> report.Reported:
        reach: Any = report.Gateways(
            self.rollouts,
            self.layers,
            self.runs,
            self.store,
            self.topic,
            "arn:rollback",  # type: ignore[arg-type]
        )
        return report.run(report.ReportEvent.model_validate({"now": NOW, **event}).root, reach)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
        dynamodb.create_table(
            TableName="registry",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        s3.create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        table = Table(dynamodb, "registry")
        built = House(
            FakeFunctions(),
            FakeMetrics(),
            FakeLogs(),
            FakeExecutions(),
            FakePointers(),
            FakeTopic(),
            Layers(table),
            Rollouts(table),
            Runs(table),
            Store(s3, "artifacts"),
            FakeSizes(),
            FakeUsage(),
            Switch(table),
            FakeReports(),
            FakeAlarms(),
        )
        changes = (Change(package="httpx", from_="0.27.2", to="0.28.0"),)
        for version, digest in ((1, "one"), (2, "two")):
            built.layers.record(
                Release(
                    variant=VARIANT.variant,
                    version=version,
                    arn=layer(VARIANT.variant, version),
                    digest=digest,
                    artifact="a",
                    manifest=f"manifest-{version}.json",
                    lock="l",
                    explanation="e",
                    packages={"httpx": "0.27.2" if version == 1 else "0.28.0", "openai": "1.55.2"},
                    changes=changes if version == 2 else (),
                    as_of=NOW,
                    created=NOW,
                    run="run-1",
                )
            )
        built.store.write_json(
            "manifest-2.json",
            {
                "variant": VARIANT.variant,
                "digest": "0" * 64,
                "sha256": "1" * 64,
                "sizes": {"zipped": 40_000, "unzipped": 100_000},
                "packages": {
                    "httpx": {"version": "0.28.0", "modules": ["httpx"], "license": "BSD-3-Clause"},
                    "openai": {"version": "1.55.2", "modules": ["openai"], "requires": ["httpx"]},
                },
            },
        )
        built.layers.save(LayerState(variant=VARIANT.variant, promoted=1))
        yield built


def fleet(house: House, latest: int = 0, alias: int = 0, per_minute: int = 60) -> None:
    for number in range(1, latest + 1):
        house.functions.add(f"plain-{number}", (LOGS, OLD))
        house.metrics.put(NOW - timedelta(minutes=200), 190, per_minute, 0, FunctionName=f"plain-{number}")
    for number in range(1, alias + 1):
        name = f"live-{number}"
        house.functions.add(name, (OLD, LOGS), "live")
        house.metrics.put(NOW - timedelta(minutes=200), 190, per_minute, 0, FunctionName=name, Resource=f"{name}:live")


def entries(house: House, rollout: str = "web-v2") -> dict[str, Any]:
    return {entry.function: entry for entry in house.rollouts.entries(rollout)}


def canary_traffic(house: House, name: str, errors: int, minutes: int = 20) -> None:
    """Every fifth invocation on the candidate or its control; `errors` per minute on the candidate."""
    common = {"FunctionName": name, "Resource": f"{name}:live"}
    house.metrics.put(NOW, minutes, 10, errors, **common, ExecutedVersion="2")
    house.metrics.put(NOW, minutes, 50, 0, **common, ExecutedVersion="1")


def test_enrolling_changes_no_function_and_twice_gives_the_same_answer(house: House) -> None:
    fleet(house, latest=3, alias=3)
    first = house.enroll()
    assert (first.fleet, first.left_alone) == (6, 0)
    assert house.functions.applied == []
    assert house.enroll() == first
    assert {entry.status for entry in entries(house).values()} == {EntryStatus.PLANNED}


def test_functions_that_may_not_be_touched_are_named_with_the_reason(house: House) -> None:
    fleet(house, latest=2, alias=2)
    house.functions.add("lamina-report", (OLD,))
    house.functions.add("batch-nightly", (OLD,))
    house.functions.add("other-team", (OLD,))
    house.functions.add("stranger", (LOGS,))
    house.functions.deploy("plain-2", state="Failed")
    house.functions.deploy("live-2", code="code-2")
    found = house.enroll(policy=RolloutPolicy(exclude=("batch-*",)), scope=Scope(names="*-*", own="lamina-"))
    alone = {name: entry.reason for name, entry in entries(house).items() if entry.status is EntryStatus.LEFT_ALONE}
    assert found.fleet == 7
    assert set(alone) == {"lamina-report", "batch-nightly", "plain-2", "live-2"}
    assert "Lamina's own" in alone["lamina-report"]
    assert "batch-*" in alone["batch-nightly"]
    assert "Failed" in alone["plain-2"]
    assert "unreleased work" in alone["live-2"]


def test_a_function_outside_the_stack_s_scope_is_left_alone(house: House) -> None:
    fleet(house, latest=1)
    house.enroll(scope=Scope(names="app-*", own="lamina-"))
    assert "FunctionNames" in entries(house)["plain-1"].reason


def test_a_function_that_would_burst_is_left_alone_and_what_is_unknown_goes_on(house: House) -> None:
    fleet(house, latest=2, alias=1)
    house.functions.deploy("plain-1", code="large")
    house.sizes.unzipped = {"large": 262_000_000, NEW: 100_000, LOGS: 44_001}

    found = house.enroll()

    assert (found.fleet, found.left_alone) == (3, 1)
    of = entries(house)
    assert of["plain-1"].status is EntryStatus.LEFT_ALONE
    assert of["plain-1"].reason == (
        "its code (262,000,000 bytes) and layers would be 262,144,001 bytes unzipped, 1 over Lambda's limit of "
        "262,144,000: logs:4 44,001 bytes, web-python313-arm64:2 100,000 bytes"
    )
    assert of["plain-2"].status is of["live-1"].status is EntryStatus.PLANNED
    assert "is unknown: the size of its code could not be read" in of["plain-2"].reason


def test_a_second_rollout_of_the_variant_is_refused_while_the_first_is_under_way(house: House) -> None:
    fleet(house, latest=1)
    house.enroll()
    with pytest.raises(RolloutInProgress, match=r"web-v2 has been under way.*rollback"):
        house.enroll("web-v3")


def test_a_lock_left_by_a_dead_execution_that_opened_nothing_is_taken_over(house: House) -> None:
    from lamina.rollout import Lock

    fleet(house, latest=1)
    house.executions.alive = {"alive"}
    house.rollouts.acquire(VARIANT.variant, Lock(rollout="ghost", execution="alive", since=NOW))
    with pytest.raises(RolloutInProgress):
        house.enroll()
    house.executions.alive = set()
    assert house.enroll().fleet == 1
    lock = house.rollouts.lock(VARIANT.variant)
    assert lock is not None
    assert lock.rollout == "web-v2"


def test_wave_by_wave_to_the_promotion(house: House) -> None:
    fleet(house, latest=2, alias=4)
    found = house.enroll()
    for wave in range(found.waves):
        done = house.attach(wave)
        assert done.pending == 0
    assert done.last
    for name in ("live-1", "live-4"):
        assert house.functions.serving(name, "live") == (NEW, LOGS)
    assert house.functions.latest["plain-1"].layers == (LOGS, NEW)
    house.promote()
    assert house.layers.state(VARIANT.variant).promoted == 2
    assert house.pointers.published == {VARIANT.variant: NEW}
    assert house.rollouts.lock(VARIANT.variant) is None
    assert house.restore({"rollout": "web-v2", "cause": {"kind": "error", "text": "late"}}).rollout is None


def test_attach_comes_back_for_what_it_had_no_time_for(house: House) -> None:
    fleet(house, latest=4)
    house.enroll(policy=RolloutPolicy(canary=("plain-1", "plain-2", "plain-3", "plain-4")))
    budget = iter([True, True, False, False])
    first = house.attach(0, lambda: next(budget))
    assert (first.attached, first.pending) == (2, 2)
    second = house.attach(0)
    assert (second.attached, second.pending) == (4, 0)
    assert len(house.functions.applied) == 4


def test_harm_on_an_alias_is_seen_blamed_and_put_back(house: House) -> None:
    fleet(house, alias=4)
    house.enroll()
    house.attach(0)
    first = next(name for name, entry in entries(house).items() if entry.wave == 0)
    canary_traffic(house, first, errors=10)
    house.logs.messages[first] = (
        "[ERROR] TypeError: Client.__init__() got an unexpected keyword argument 'proxies'\rTraceback (most recent "
        'call last):\r\xa0\xa0File "/var/task/app.py", line 6, in handler\r\xa0\xa0\xa0\xa0client = openai.OpenAI()\r'
        '\xa0\xa0File "/opt/python/openai/_base_client.py", line 856, in __init__\r'
        "\xa0\xa0\xa0\xa0self._client = http_client or SyncHttpxClientWrapper(",
    )
    seen = house.watch(0, after=9)
    assert (seen.decision, seen.kind, seen.culprits) == ("rollback", "harmful", ("httpx",))
    assert seen.ln_e >= seen.threshold
    assert house.watch(0, after=9) == seen
    done = house.restore({"rollout": "web-v2", "cause": {"kind": seen.kind, "text": seen.reason}})
    assert (done.pending, done.unrestored) == (0, 0)
    assert house.confirm().unrestored == 0
    assert house.hold(rollout="web-v2", cause={"kind": "harmful", "text": "x"}).held_back == {"httpx": "0.28.0"}
    for name in house.functions.latest:
        assert house.functions.serving(name, "live") == (OLD, LOGS)
    state = house.layers.state(VARIANT.variant)
    assert (state.promoted, [(held.package, held.version) for held in state.held_back]) == (1, [("httpx", "0.28.0")])
    rollout = house.rollouts.get("web-v2")
    assert rollout is not None
    assert rollout.status is RolloutStatus.ROLLED_BACK
    assert house.rollouts.lock(VARIANT.variant) is None


def test_clean_minutes_lead_to_the_next_wave_and_too_few_to_patience(house: House) -> None:
    fleet(house, alias=4, per_minute=600)
    house.enroll()
    house.attach(0)
    first = next(name for name, entry in entries(house).items() if entry.wave == 0)
    canary_traffic(house, first, errors=0, minutes=60)
    assert house.watch(0, after=3).decision == "wait"
    assert house.watch(0, after=40).decision == "advance"


def test_no_traffic_is_not_good_news(house: House) -> None:
    fleet(house, latest=1, per_minute=0)
    house.enroll()
    house.attach(0)
    assert house.watch(0, after=40).decision == "wait"
    assert house.watch(0, after=1500).decision == "hold"
    rollout = house.rollouts.get("web-v2")
    assert rollout is not None
    assert rollout.status is RolloutStatus.HELD
    assert house.enroll("web-v3").supersedes == "web-v2"


def test_a_step_that_comes_after_the_rollback_changes_nothing(house: House) -> None:
    fleet(house, latest=3)
    house.enroll()
    house.attach(0)
    house.restore({"rollout": "web-v2", "cause": {"kind": "stopped", "text": "a person stopped it"}})
    with pytest.raises(RolloutClosed):
        house.attach(1)
    with pytest.raises(RolloutClosed):
        house.watch(0, after=5)
    with pytest.raises(RolloutClosed):
        house.promote()
    assert house.layers.state(VARIANT.variant).promoted == 1
    assert all(view.layers == (LOGS, OLD) for view in house.functions.latest.values())


def test_the_recovery_rule_s_event_puts_a_stopped_rollout_back_and_a_second_one_finds_nothing(house: House) -> None:
    fleet(house, latest=2, alias=2)
    house.enroll()
    house.attach(0)
    event = {"source": "aws.states", "detail": {"executionArn": EXECUTION, "status": "ABORTED"}}
    done = house.restore(event)
    assert done.rollout == "web-v2"
    assert house.confirm().unrestored == 0
    house.hold(rollout="web-v2", cause={"kind": "stopped", "text": done.cause})
    assert house.restore(event, "back-2").rollout is None
    assert house.layers.state(VARIANT.variant).held_back == ()


def test_restore_comes_back_for_what_it_had_no_time_for(house: House) -> None:
    fleet(house, latest=4)
    house.enroll(policy=RolloutPolicy(canary=("plain-1", "plain-2", "plain-3", "plain-4")))
    house.attach(0)
    request = {"rollout": "web-v2", "cause": {"kind": "error", "text": "x"}}
    budget = iter([True, False, False])
    assert house.restore(request, time_left=lambda: next(budget)).pending == 3
    assert house.restore(request).pending == 0
    assert house.confirm().unrestored == 0


def test_a_person_brings_the_fleet_to_an_older_release(house: House) -> None:
    fleet(house, latest=2, alias=2)
    for wave in range(house.enroll().waves):
        house.attach(wave)
    house.promote()
    done = house.restore({"layer": VARIANT.variant, "version": 1})
    assert (done.rollout, done.target, done.pending) == ("back-1", 1, 0)
    assert house.confirm("back-1").unrestored == 0
    house.promote("back-1")
    assert house.layers.state(VARIANT.variant).promoted == 1
    assert house.functions.serving("live-1", "live") == (OLD, LOGS)
    assert house.functions.latest["plain-1"].layers == (LOGS, OLD)
    assert house.restore({"layer": VARIANT.variant, "version": 1}).rollout is None


def test_a_person_s_rollback_of_a_rollout_under_way_puts_it_back(house: House) -> None:
    fleet(house, latest=2)
    house.enroll()
    house.attach(0)
    with pytest.raises(InvalidInput, match="is under way"):
        house.restore({"layer": VARIANT.variant, "version": 1})
    assert house.restore({"layer": VARIANT.variant}).rollout == "web-v2"
    assert all(view.layers == (LOGS, OLD) for view in house.functions.latest.values())


def test_a_rollback_that_makes_no_sense_says_so(house: House) -> None:
    with pytest.raises(NothingToRestore, match="no release of it was ever promoted"):
        house.restore({"layer": "nobody-python313-arm64"})
    with pytest.raises(InvalidInput, match=r"no release 9.*There are: 1, 2"):
        house.restore({"layer": VARIANT.variant, "version": 9})


def test_a_rejection_holds_back_what_failed(house: House) -> None:
    held = house.hold(run="run-1", variant=VARIANT.variant, version=2, culprits=["httpx"], reason="cannot be imported")
    assert held.held_back == {"httpx": "0.28.0"}
    assert house.layers.state(VARIANT.variant).held_back[0].reason == "cannot be imported"


def test_harm_without_a_suspect_holds_back_the_whole_update_only_if_a_live_control_saw_it(house: House) -> None:
    fleet(house, latest=2)
    house.enroll()
    house.attach(0)
    first = next(name for name, entry in entries(house).items() if entry.wave == 0)
    house.metrics.put(NOW + timedelta(minutes=3), 6, 60, 60, FunctionName=first)
    seen = house.watch(0, after=14)
    assert (seen.decision, seen.culprits) == ("rollback", ())
    house.restore({"rollout": "web-v2", "cause": {"kind": "harmful", "text": seen.reason}})
    assert house.hold(rollout="web-v2", cause={"kind": "harmful", "text": "x"}).held_back == {}


def test_the_run_s_report_takes_the_registry_s_word_for_a_stopped_rollout(house: House) -> None:
    fleet(house, latest=2)
    house.enroll()
    house.attach(0)
    house.restore({"rollout": "web-v2", "cause": {"kind": "stopped", "text": "a person stopped it"}})
    house.hold(rollout="web-v2", cause={"kind": "stopped", "text": "x"})
    assert house.report(rollout="web-v2").all_well is False
    said = LayerOutcome(variant=VARIANT.variant, outcome=Outcome.FAILED, rollout="web-v2", candidate=2)
    done = house.report(run="run-1", outcomes=[said.to_json()])
    assert done.all_well is False
    written = house.store.read_json("reports/run-1/report.json")
    assert written["outcomes"][0]["outcome"] == "rolled_back"
    assert written["outcomes"][0]["caughtBy"] is None
    page = house.store.read_text(f"reports/run-1/{VARIANT.variant}.html")
    assert page is not None
    assert "a person stopped it" in page
    assert [subject for subject, _ in house.topic.told] == [
        f"Lamina: {VARIANT.variant} rolled back",
        f"Lamina: {VARIANT.variant} ROLLED BACK",
    ]


def test_a_day_without_news_tells_nobody(house: House) -> None:
    said = LayerOutcome(variant=VARIANT.variant, outcome=Outcome.UP_TO_DATE)
    assert house.report(run="run-1", outcomes=[said.to_json()]).all_well
    assert house.topic.told == []


def test_a_function_that_cannot_be_put_back_is_told_of_with_the_commands(house: House) -> None:
    fleet(house, latest=1)
    house.enroll()
    house.attach(0)
    from lamina.errors import Refused

    def refuse(change: object) -> None:
        raise Refused("Lambda refused the change (InvalidParameterValueException): no such layer")

    house.functions.before_apply = refuse
    done = house.restore({"rollout": "web-v2", "cause": {"kind": "error", "text": "x"}})
    assert done.unrestored == 1
    checked = house.confirm()
    assert checked.unrestored == 1
    assert "aws lambda update-function-configuration --function-name plain-1" in checked.text
    house.hold(rollout="web-v2", cause={"kind": "error", "text": "x"}, unrestored=1)
    house.report(rollout="web-v2")
    assert "aws lambda update-function-configuration" in house.topic.told[0][1]


def test_a_function_that_does_not_settle_keeps_no_other_from_being_put_back(house: House) -> None:
    fleet(house, latest=2)
    house.enroll()
    house.attach(0)
    house.attach(1)
    house.functions.deploy("plain-1", update="InProgress")
    house.functions.slow.add(("plain-1", None, None))

    done = house.restore({"rollout": "web-v2", "cause": {"kind": "error", "text": "x"}})

    assert (done.restored, done.unrestored, done.pending) == (1, 1, 0)
    assert "has not taken effect" in entries(house)["plain-1"].reason
    assert house.functions.latest["plain-2"].layers == (LOGS, OLD)


def test_a_rollback_that_died_before_its_lock_was_free_frees_it_when_it_is_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet(house, latest=1)
    house.enroll()
    house.attach(0)
    cause = {"rollout": "web-v2", "cause": {"kind": "error", "text": "x"}}
    house.restore(cause)
    with monkeypatch.context() as patch, pytest.raises(TimeoutError):
        patch.setattr(Rollouts, "release", lambda *_: (_ for _ in ()).throw(TimeoutError()))
        house.hold(**cause)
    assert house.rollouts.lock(VARIANT.variant) is not None

    house.hold(**cause)

    assert house.rollouts.lock(VARIANT.variant) is None


def test_two_rollbacks_of_one_rollout_at_once_come_to_one_end(house: House) -> None:
    fleet(house, latest=2)
    house.enroll()
    house.attach(0)
    mine = house.restore({"layer": VARIANT.variant})
    theirs = house.restore({"rollout": "web-v2", "cause": {"kind": "error", "text": "Watch failed"}})
    assert mine.rollout == theirs.rollout == "web-v2"
    for _ in range(2):
        assert house.confirm().unrestored == 0
        house.hold(rollout="web-v2", cause={"kind": "error", "text": "x"})
    rollout = house.rollouts.get("web-v2")
    assert rollout is not None
    assert (rollout.status, rollout.cause) == (RolloutStatus.ROLLED_BACK, "a person asked for the rollback")
    assert house.restore({"layer": VARIANT.variant}, "back-2").target == 1


def test_a_layer_that_stops_being_shared_takes_over_the_functions_that_it_is_for(house: House) -> None:
    shared = layer("web-python313-x86_64", 7)
    house.functions.add("plain-1", (LOGS, shared))
    release = house.layers.release(VARIANT.variant, 2)
    assert release is not None
    house.layers.record(release.model_copy(update={"replaces": ("web-python313-x86_64",)}))

    house.enroll()

    assert entries(house)["plain-1"].replaced == shared
    found = house.rollouts.get("web-v2")
    assert found is not None
    assert found.policy.replaces == ("web-python313-x86_64",)
