"""Functions that want care, enrolled, attached and put back through the real gateways on a Lambda that runs here."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lamina.errors import Refused, Unsettled
from lamina.fleet import FunctionView, Scope
from lamina.gateways.functions import Functions
from lamina.gateways.packages import Packages
from lamina.gateways.registry import Layers, Table
from lamina.gateways.rollouts import Rollouts
from lamina.gateways.sizes import Sizes
from lamina.gateways.store import Store
from lamina.gateways.switch import Switch
from lamina.gateways.usage import Usage
from lamina.gateways.web import Web
from lamina.model import Change, LayerState, LayerVersion, Release, Variant
from lamina.rollout import Entry, EntryStatus, RolloutPolicy, RolloutStatus
from lamina.steps import attach, enroll
from lamina.steps.changing import put_back
from lamina.verdict import Minute
from local.lambdas.backend import find_backend
from tests.local.lambdas.lab import Cloud, running

NAME = "web-python312-x86_64"
VARIANT = Variant(variant=NAME, layer="web", runtime="python3.12", architecture="x86_64")
NOW = datetime(2024, 11, 27, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=9)
FOREIGN = "arn:aws:lambda:eu-central-1:210987654321:layer:web-python312-x86_64:5"
SNAPSHOTS = {"ApplyOn": "PublishedVersions"}


@dataclass
class Traffic:
    """Sixty invocations in each of the last hundred minutes, more of who is named; nothing slow, cold or alarming."""

    more: dict[str, int] = field(default_factory=dict)

    def minutes(
        self, dimensions: Mapping[str, Mapping[str, str]], start: datetime, end: datetime
    ) -> dict[str, tuple[Minute, ...]]:
        moments = [NOW - timedelta(minutes=number) for number in range(105, 5, -1)]
        return {key: tuple(Minute(moment, self.more.get(key, 60), 0) for moment in moments) for key in dimensions}

    def throttles(self, dimensions: Iterable[str], *rest: Any) -> dict[str, dict[datetime, int]]:
        return {key: {} for key in dimensions}

    def percentiles(self, dimensions: Iterable[str], *rest: Any) -> dict[str, tuple[()]]:
        return dict.fromkeys(dimensions, ())

    slower = percentiles

    def cold_starts(self, *asked: Any) -> tuple[()]:
        return ()

    def states(self, alarms: Iterable[str]) -> dict[str, Any]:
        return {}


@dataclass
class Lab:
    """The cloud with Lamina's table and bucket, two releases of a layer, and the steps as calls."""

    cloud: Cloud
    old: str
    new: str
    names: str
    traffic: Traffic = field(default_factory=Traffic)

    def __post_init__(self) -> None:
        self.api = self.cloud.client("lambda")
        self.functions = Functions(self.api, sleep=lambda seconds: time.sleep(seconds / 20))
        table = Table(self.cloud.client("dynamodb"), self.names)
        self.layers, self.rollouts, self.switch = Layers(table), Rollouts(table), Switch(table)
        self.store = Store(self.cloud.client("s3"), self.names)

    def add(self, name: str, code: str = "import json", alias: bool = False, **settings: Any) -> str:
        self.cloud.function(
            code, name, **{"Runtime": "python3.12", "Layers": [self.old], "Architectures": ["x86_64"], **settings}
        )
        if alias:
            self.cloud.settled(name, self.api.publish_version(FunctionName=name)["Version"])
            self.api.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
        return name

    def stored(self, name: str) -> Any:
        return find_backend(self.cloud.engine.account, self.cloud.engine.region).find(name)

    def scope(self) -> Scope:
        return Scope(names=f"{self.names}-*", own="lamina-")

    def enroll(self, **policy: Any) -> enroll.Enrolled:
        packages = Packages(Web({}, at_once=8))
        sizes = Sizes(self.api, self.functions, packages)
        reach: Any = enroll.Gateways(
            self.functions, self.traffic, self.rollouts, self.layers, self.store, None, sizes,
            Usage(self.functions, packages, self.store, self.scope()), self.traffic, self.traffic,
        )  # type: ignore[arg-type]  # fmt: skip
        event = enroll.EnrollEvent(
            rollout=self.names, execution=f"arn:{self.names}", run="run-1", variant=VARIANT,
            candidate=LayerVersion(version=2, arn=self.new), as_of=NOW, now=NOW,
        )  # fmt: skip
        return enroll.run(event, RolloutPolicy(**policy), "platform", self.scope(), reach)

    def attach(self, wave: int, now: datetime = NOW) -> attach.Attached:
        reach = attach.Gateways(self.functions, self.rollouts, self.switch)
        return attach.run(attach.AttachEvent(rollout=self.names, wave=wave, now=now), reach, lambda: True)

    def journal(self) -> dict[str, Entry]:
        return {entry.function.removeprefix(f"{self.names}-"): entry for entry in self.rollouts.entries(self.names)}

    def alias(self, name: str) -> tuple[str, dict[str, float]]:
        found = self.functions.alias(name, "live")
        assert found is not None
        return found.version, dict(found.weights)

    def layers_of(self, name: str, qualifier: str | None = None) -> tuple[str, ...]:
        found = self.functions.read(name, qualifier)
        assert found is not None
        return found.layers


def release(lab: Lab, version: int, arn: str, **more: Any) -> None:
    packages = {
        "httpx": {"version": str(version), "modules": ["httpx"], "requires": ["anyio"]},
        "anyio": {"version": str(version), "modules": ["anyio"]},
        "idna": {"version": str(version), "modules": ["idna"]},
    }
    manifest = {
        "variant": NAME, "digest": "a" * 64, "sha256": "b" * 64, "sizes": {"zipped": 1, "unzipped": 9},
        "packages": packages,
    }  # fmt: skip
    key = lab.store.write_json(f"manifest-{version}.json", manifest)
    lab.layers.record(
        Release(
            variant=NAME,
            version=version,
            arn=arn,
            digest="a" * 64,
            artifact="a",
            manifest=key,
            lock="l",
            explanation="e",
            packages={},
            as_of=NOW,
            created=NOW,
            run="run-1",
            **more,
        )
    )


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("lambda"), update_seconds=0.1) as found:
        yield found


@pytest.fixture
def lab(cloud: Cloud, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A fleet of its own for each test: functions, table and bucket begin with its name."""
    names = f"app-{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}"
    keys = ("pk", "sk")
    cloud.client("dynamodb").create_table(
        TableName=names,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    cloud.client("s3").create_bucket(Bucket=names, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    built = Lab(cloud, *(cloud.layer({"python/a.py": f"A = {n}"}, NAME) for n in (1, 2)), names)
    release(built, 1, built.old)
    changes = (Change(package="httpx", from_="1", to="2"), Change(package="anyio", from_="1", to="2"))
    release(built, 2, built.new, runtimes=("python3.12",), architectures=("x86_64",), changes=changes)
    built.layers.save(LayerState(variant=NAME, promoted=1))
    yield built
    for name in [view.name for view in built.functions.all() if view.name.startswith(names)]:
        built.api.delete_function(FunctionName=name)


def add_all(lab: Lab, names: Iterable[str], **settings: Any) -> list[str]:
    return [lab.add(f"{lab.names}-{name}", **settings) for name in names]


def test_whatever_is_not_touched_is_named_with_the_reason(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    at = lab.names
    monkeypatch.setattr(enroll, "WAITED", 1)
    [asleep, failed, busy, foreign, plain] = add_all(lab, ["asleep", "failed", "busy", "foreign", "plain"])
    lab.stored(asleep).state = "Inactive"
    lab.stored(failed).state = "Failed"
    lab.stored(busy).update_status = "InProgress"
    lab.stored(foreign).layers = [{"Arn": FOREIGN, "CodeSize": 9}]
    lab.add(f"{at}-arm", Architectures=["arm64"])
    lab.add(f"{at}-older", Runtime="python3.11")
    lab.add(f"{at}-excluded")
    lab.add(f"{at}-unreleased", alias=True)
    lab.api.update_function_configuration(FunctionName=f"{at}-unreleased", Timeout=9)
    lab.cloud.settled(f"{at}-unreleased")
    own = lab.add(f"{at}-own", alias=True)
    lab.api.put_provisioned_concurrency_config(FunctionName=own, Qualifier="1", ProvisionedConcurrentExecutions=2)
    lab.api.create_function(
        FunctionName=f"{at}-picture", Role=lab.cloud.role, PackageType="Image",
        Code={"ImageUri": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app:1"},
    )  # fmt: skip
    five = [lab.cloud.layer({"data": b"x"}) for _ in range(4)]
    lab.add(f"{at}-five", Layers=[*five[:2], lab.old, *five[2:]])

    found = lab.enroll(exclude=("*-excluded",))

    reasons = {name: entry.reason for name, entry in lab.journal().items() if entry.status is EntryStatus.LEFT_ALONE}
    said = {
        "asleep": "its state is Inactive",
        "failed": "its state is Failed (The function could not get",
        "busy": "somebody else is changing it",
        "foreign": "its layer 'web-python312-x86_64' is another one, of account 210987654321 in eu-central-1",
        "arm": "its architecture is arm64, and this release is for x86_64",
        "older": "its runtime is python3.11, and this release is for python3.12",
        "excluded": "excluded by the layer's definition",
        "unreleased": "unreleased work, which publishing would release",
        "own": "version 1 behind its alias 'live' has provisioned concurrency of its own (2)",
        "picture": "it is made of a container image, which cannot have layers",
    }
    assert {name: reasons.get(name, "")[: len(text)] for name, text in said.items()} == said
    assert reasons.keys() == said.keys()
    assert (found.fleet, found.left_alone) == (12, 10)
    planned = {name for name, entry in lab.journal().items() if entry.status is EntryStatus.PLANNED}
    assert planned == {"five", "plain"}
    for wave in range(found.waves):
        assert lab.attach(wave).pending == 0
    assert lab.layers_of(f"{at}-five") == (*five[:2], lab.new, *five[2:])
    assert lab.layers_of(plain) == (lab.new,)


def test_canaries_use_what_changed_and_the_critical_go_last(lab: Lab) -> None:
    at = lab.names
    lab.add(f"{at}-busy", "import json")
    lab.add(f"{at}-user", "import httpx\nhttpx.get")
    lab.add(f"{at}-deep", "from anyio import run")
    lab.add(f"{at}-idle", "import idna")
    lab.add(f"{at}-pay", "import httpx", Tags={"lamina:critical": "true"})
    lab.traffic.more = {f"{at}-busy": 6000, f"{at}-pay": 6000}

    found = lab.enroll()

    assert found.canaries == (f"{at}-user",)
    rollout = lab.rollouts.get(at)
    assert rollout is not None and rollout.imports is not None
    assert lab.store.read_json(rollout.imports) == {
        f"{at}-busy": [], f"{at}-deep": ["anyio", "anyio.run"], f"{at}-idle": ["idna"], f"{at}-pay": ["httpx"],
        f"{at}-user": ["httpx"],
    }  # fmt: skip
    assert "Its code uses anyio and httpx, which changed." in rollout.canary_reason
    assert rollout.canary_reason.endswith(f"{at}-pay is tagged as critical and goes last.")
    waves = {name: entry.wave for name, entry in lab.journal().items()}
    assert waves["pay"] == max(waves.values())
    assert {entry.runtime for entry in lab.journal().values()} == {"python3.12"}
    # What a package of code imports is kept under its digest.
    digest = base64.b64decode(lab.stored(f"{at}-deep").code_sha_256).hex()
    assert lab.store.read_json(f"imports/1/{digest}.json") == ["anyio", "anyio.run"]


def test_a_snapshot_is_waited_for_and_makes_no_unreleased_work(lab: Lab) -> None:
    name = lab.add(f"{lab.names}-snap", alias=True, SnapStart=SNAPSHOTS)
    assert lab.enroll().left_alone == 0
    done = lab.attach(0)
    assert (done.attached, done.pending) == (1, 0)
    assert lab.alias(name) == ("1", {"2": 0.1})
    assert lab.stored(f"{name}:2").state == "Active"


def test_a_snapshot_that_takes_longer_than_a_call_is_finished_by_the_next_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = lab.add(f"{lab.names}-snap", alias=True, SnapStart=SNAPSHOTS)
    plain = lab.add(f"{lab.names}-plain", alias=True)
    lab.enroll(canary=(name, plain))
    settle, read, slow = lab.functions.settle, lab.functions.read, True

    def settle_slowly(of: str, version: str | None = None, alias: str | None = None, seconds: int = 300) -> None:
        if slow and (of, version) == (name, "2"):
            raise Unsettled(of, version)
        settle(of, version, alias, seconds)

    def read_too_early(of: str, qualifier: str | None = None) -> FunctionView | None:
        found = read(of, qualifier)
        return replace(found, state="Pending") if found and slow and (of, qualifier) == (name, "2") else found

    monkeypatch.setattr(lab.functions, "settle", settle_slowly)
    monkeypatch.setattr(lab.functions, "read", read_too_early)
    assert [(done.attached, done.pending) for done in (lab.attach(0), lab.attach(0))] == [(1, 1), (1, 1)]
    assert lab.alias(name) == ("1", {})
    assert lab.journal()["snap"].after is not None
    slow = False
    lab.cloud.settled(name, "2")
    done = lab.attach(0, LATER)
    assert (done.attached, done.pending) == (2, 0)
    assert lab.alias(name) == ("1", {"2": 0.1})
    assert lab.journal()["snap"].attached_at == LATER
    assert lab.journal()["plain"].attached_at != LATER


def test_provisioned_concurrency_moves_along_with_its_alias_and_back(lab: Lab) -> None:
    name = lab.add(f"{lab.names}-kept", alias=True)
    plain = lab.add(f"{lab.names}-plain")
    lab.api.put_provisioned_concurrency_config(FunctionName=name, Qualifier="live", ProvisionedConcurrentExecutions=2)
    found = lab.enroll(canary=(name, plain))
    assert lab.journal()["kept"].provisioned == 2

    lab.attach(0)
    assert lab.alias(name) == ("1", {"2": 0.1})
    assert lab.functions.provisioned(name)["live"].status == "READY"  # type: ignore[index]
    last = lab.attach(found.waves - 1)
    assert (last.last, last.pending) == (True, 0)
    assert lab.alias(name) == ("2", {})
    assert lab.functions.provisioned(name)["live"].status == "READY"  # type: ignore[index]
    assert {entry.status for entry in lab.journal().values()} == {EntryStatus.COMPLETED, EntryStatus.ATTACHED}

    for entry in lab.journal().values():
        assert put_back(entry, lab.new, lab.functions).status is EntryStatus.RESTORED
    assert lab.alias(name) == ("1", {})
    assert lab.layers_of(name) == lab.layers_of(plain) == (lab.old,)


def test_a_canary_that_lambda_refuses_is_replaced_by_the_next_in_line(lab: Lab) -> None:
    [signed, other, last] = add_all(lab, ["signed", "other", "pay"])
    lab.api.tag_resource(Resource=lab.stored(last).function_arn, Tags={"lamina:critical": "true"})
    lab.enroll(canary=(signed,))
    real = lab.functions.apply

    def refuse(change: Any) -> str | None:
        if change.function == signed:
            raise Refused("Lambda refused the change (CodeVerificationFailedException): the layer is not signed")
        return real(change)

    lab.functions.apply = refuse  # type: ignore[method-assign]
    first = lab.attach(0)
    assert (first.attached, first.left_alone, first.pending) == (0, 1, 1)
    second = lab.attach(0)
    assert (second.attached, second.left_alone, second.pending) == (1, 1, 0)
    assert lab.layers_of(other) == (lab.new,)
    assert lab.layers_of(signed) == lab.layers_of(last) == (lab.old,)
    assert "CodeVerificationFailedException" in lab.journal()["signed"].reason


def test_many_images_are_named_up_to_a_number(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enroll, "MOST_IMAGES", 1)
    lab.add(f"{lab.names}-plain")
    for number in (1, 2):
        lab.api.create_function(
            FunctionName=f"{lab.names}-image-{number}", Role=lab.cloud.role, PackageType="Image",
            Code={"ImageUri": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app:1"},
        )  # fmt: skip
    assert lab.enroll().left_alone == 1
    rollout = lab.rollouts.get(lab.names)
    assert rollout is not None and rollout.status is RolloutStatus.OPEN
    assert "2 functions are made of images and are left alone" in rollout.canary_reason


# -- what Lambda says, read by the gateway


class Answers:
    """A client whose answers are given."""

    def __init__(self, real: Any, **answers: Any) -> None:
        self._real, self._answers = real, answers

    def __getattr__(self, name: str) -> Any:
        if name not in self._answers:
            return getattr(self._real, name)
        return lambda **arguments: json.loads(json.dumps(self._answers[name]))


def told(lab: Lab, more: Mapping[str, Any], **configuration: Any) -> Functions:
    said = {"Configuration": {"FunctionName": "a", "FunctionArn": "arn:a", **configuration}, **more}
    return Functions(Answers(lab.api, get_function=said))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "tags"),
    [
        ({}, {}),
        ({"Tags": {"a": "b"}}, {"a": "b"}),
        ({"TagsError": {"ErrorCode": "AccessDeniedException", "Message": "no"}}, None),
    ],
)
def test_tags_that_lambda_does_not_show_are_unknown(
    lab: Lab, more: dict[str, Any], tags: dict[str, str] | None
) -> None:
    found = told(lab, more).read("a")
    assert found is not None and found.tags == tags


def test_a_snapshot_alone_makes_no_other_configuration(lab: Lab) -> None:
    views = [
        told(lab, {}, SnapStart={"ApplyOn": apply, "OptimizationStatus": status}).read("a")
        for apply, status in (("PublishedVersions", "Off"), ("PublishedVersions", "On"), ("None", "Off"))
    ]
    latest, version, without = (view.fingerprint for view in views if view)
    assert latest == version != without


def test_code_that_is_not_base64_has_no_place_to_be_kept(lab: Lab) -> None:
    from lamina.gateways import usage

    digest = base64.b64encode(b"\xff" * 32).decode()
    assert usage._key(digest) == f"imports/1/{'ff' * 32}.json"
    assert usage._key("code-1") is usage._key("YQ==") is None


def test_a_function_that_is_gone_keeps_nothing_ready(lab: Lab) -> None:
    assert Functions(lab.api).provisioned("nobody-at-all") == {}
