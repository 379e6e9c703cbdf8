"""What is held back, for how long, and whether the rest of an update goes on: the real registry, on moto."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lamina.errors import InvalidInput
from lamina.gateways.logs import Logs
from lamina.gateways.registry import Item, Layers, Runs, Table
from lamina.gateways.rollouts import Rollouts
from lamina.gateways.store import Store
from lamina.model import Change, HeldBack, LayerState, LayerVersion, Release
from lamina.rollout import Rollout, RolloutStatus
from lamina.steps import report
from lamina.steps.suspecting import Witness, culprits_among, find_suspects

from .conftest import NOW, Cloud
from .test_supply import TOML, plan_event

NAME = "web-python311-x86_64"
MOMENT = datetime.fromisoformat(NOW)
HTTPX = Change(package="httpx", from_="0.27.2", to="0.28.0", direct=True)
ANYIO = Change(package="anyio", from_="4.6.2", to="4.7.0")
NESTED = Change(ecosystem="npm", package="express/node_modules/qs", from_="6.10.0", to="6.11.0")


def arn(version: int) -> str:
    return f"arn:aws:lambda:eu-central-1:123456789012:layer:{NAME}:{version}"


def table() -> Table:
    return Table(boto3.client("dynamodb"), "registry")


def layers() -> Layers:
    return Layers(table())


def release(version: int, *changes: Change, manifest: str = "manifest.json") -> Release:
    made = Release(
        variant=NAME, version=version, arn=arn(version), digest=f"{version}", artifact="a", manifest=manifest, lock="l",
        explanation="e", packages={}, changes=changes, as_of=MOMENT, created=MOMENT, run="daily-1",
    )  # fmt: skip
    layers().record(made)
    return made


def rolled(name: str, version: int = 2, **more: Any) -> Rollout:
    """A rollout that has just been put back for harm that its functions' history speaks of, and is not closed yet."""
    made = Rollout.model_validate(
        {
            "rollout": name, "variant": NAME, "layer": "web", "run": "daily-1", "execution": "x",
            "candidate": LayerVersion(version=version, arn=arn(version)), "baseline": 1,
            "status": RolloutStatus.ROLLING_BACK, "opened": MOMENT, "as_of": MOMENT, "cause_kind": "harmful",
            "cause": "too many errors", "verdict": {"unattributed": True},
        }
        | more
    )  # fmt: skip
    assert Rollouts(table()).create(made)
    return made


@pytest.fixture
def hold(cloud: Cloud) -> Any:
    layers().save(LayerState(variant=NAME, promoted=1))
    release(1)
    handler = cloud.handler("hold")
    return lambda rollout: handler({"rollout": rollout, "cause": {"kind": "x", "text": "y"}, "now": NOW})["heldBack"]


def held_back() -> list[tuple[str, str, str]]:
    return [(held.ecosystem, held.package, held.version) for held in layers().state(NAME).held_back]


# --- holding back


def test_a_culprit_is_held_back_where_it_came_from(hold: Any) -> None:
    release(2, HTTPX, NESTED)
    rolled("first", culprits=("express/node_modules/qs",))
    assert hold("first") == {"qs": "6.11.0"}
    assert held_back() == [("npm", "qs", "6.11.0")]


@pytest.mark.parametrize(
    "weak",
    [{}, {"cause_kind": "alarm", "verdict": {"unattributed": False}}],
    ids=["harm that only history speaks of", "an alarm"],
)
def test_what_cannot_be_attributed_holds_back_nothing_at_first_and_the_whole_update_the_second_time(
    hold: Any, weak: Mapping[str, Any]
) -> None:
    release(2, HTTPX, ANYIO)
    rolled("first", **weak)
    assert hold("first") == hold("first") == {}
    # The same packages as another version of the layer; and other packages, which are no second time.
    release(3, ANYIO, HTTPX)
    release(4, HTTPX)
    rolled("other", 4, **weak)
    assert hold("other") == {}
    rolled("second", 3, **weak)
    assert hold("second") == hold("second") == {"httpx": "0.28.0", "anyio": "4.7.0"}
    assert sorted(held_back()) == [("PyPI", "anyio", "4.7.0"), ("PyPI", "httpx", "0.28.0")]


def test_an_alarm_blames_nobody_at_first_even_where_errors_point_at_a_package(hold: Any) -> None:
    release(2, HTTPX, ANYIO)
    rolled("first", cause_kind="alarm", culprits=("httpx",))
    assert hold("first") == {}
    rolled("second", cause_kind="alarm", culprits=("httpx",))
    assert hold("second") == {"httpx": "0.28.0"}


def test_a_second_rollback_whose_closing_was_interrupted_holds_back_the_same_when_it_is_done_again(hold: Any) -> None:
    release(2, HTTPX)
    rolled("first")
    hold("first")
    second = rolled("second")
    assert hold("second") == {"httpx": "0.28.0"}
    Rollouts(table()).save(second, RolloutStatus.ROLLED_BACK)
    assert hold("second") == {"httpx": "0.28.0"}
    assert held_back() == [("PyPI", "httpx", "0.28.0")]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"verdict": {"unattributed": False}}, {"httpx": "0.28.0", "anyio": "4.7.0"}),
        ({"culprits": ("anyio",)}, {"anyio": "4.7.0"}),
        ({"verdict": {"unattributed": False}, "baseline": None}, {}),
        ({"cause_kind": "error", "culprits": ("anyio",)}, {}),
        ({"cause_kind": "person", "culprits": ("anyio",)}, {}),
        ({"culprits": ("nobody",)}, {}),
    ],
    ids=["live control", "suspect", "first release", "error", "person", "not a change"],
)
def test_who_is_held_back(hold: Any, more: Mapping[str, Any], expected: Mapping[str, str]) -> None:
    release(2, HTTPX, ANYIO, Change(package="six", from_="1.16.0"))
    rolled("first", **more)
    assert hold("first") == expected


def test_holding_back_leaves_alone_what_was_promoted_meanwhile(hold: Any) -> None:
    release(2, HTTPX)

    class Meanwhile(Table):
        """Promotes version 2, and holds back another package, right after the state was read for the first time."""

        reads = 0

        def get(self, pk: str, sk: str) -> Item | None:
            found = super().get(pk, sk)
            self.reads += 1
            if self.reads == 1:
                other = HeldBack(package="idna", version="3.7", since=MOMENT, reason="x")
                layers().save(LayerState(variant=NAME, promoted=2, held_back=(other,)))
            return found

    mine = HeldBack(package="httpx", version="0.28.0", since=MOMENT, reason="x")
    Layers(Meanwhile(boto3.client("dynamodb"), "registry")).hold_back(NAME, (mine,))
    state = layers().state(NAME)
    assert (state.promoted, [entry.package for entry in state.held_back]) == (2, ["idna", "httpx"])


# --- going on


def proceed(cloud: Cloud, attempt: int = 1, packages: Mapping[str, str] | None = None, **outcome: Any) -> Any:
    said = {"variant": NAME, "outcome": "failed", **outcome}
    event = {"run": "daily-1", "attempt": attempt, "outcome": said, "packages": dict(packages or {})}
    return cloud.handler("proceed")(event)


def test_the_rest_goes_on_once_the_culprit_is_held_back_and_nothing_is_attached(cloud: Cloud) -> None:
    rolled("first", status=RolloutStatus.ROLLED_BACK, culprits=("httpx",), held_back={"httpx": "0.28.0"})
    assert proceed(cloud, rollout="first") == {"again": True, "without": {"httpx": "0.28.0"}, "why": ""}
    assert proceed(cloud, 2, rollout="first")["again"] is False
    assert proceed(cloud, packages={"httpx": "0.28.0"}, rollout="first")["why"].endswith("this version of httpx")
    assert proceed(cloud, packages={"httpx": "0.27.0", "anyio": "4"}, rollout="first")["again"] is True


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"status": RolloutStatus.FAILED}, "its rollout is failed, not rolled back"),
        ({"status": RolloutStatus.ROLLING_BACK}, "its rollout is rolling back"),
        ({"cause_kind": "error"}, "not put back for the harm"),
        ({"cause_kind": "person"}, "not put back for the harm"),
        ({"cause_kind": "alarm"}, "not put back for the harm"),
        ({"culprits": ()}, "no package in particular"),
        ({"held_back": {}}, "the same candidate would come again"),
    ],
)
def test_otherwise_it_does_not(cloud: Cloud, more: Mapping[str, Any], why: str) -> None:
    good = {"status": RolloutStatus.ROLLED_BACK, "culprits": ("httpx",), "held_back": {"httpx": "0.28.0"}}
    rolled("first", **(good | more))
    answer = proceed(cloud, rollout="first")
    assert answer["again"] is False and answer["without"] == {}
    assert why in answer["why"]


def test_a_rejection_goes_on_without_what_failed_its_proof(cloud: Cloud) -> None:
    held = {"werkzeug": "3.0.0"}
    assert proceed(cloud, outcome="rejected", heldBack=held, culprits=["werkzeug"])["without"] == held
    assert proceed(cloud, outcome="rejected", heldBack={})["again"] is False
    assert proceed(cloud, rollout="never-began")["why"] == "its rollout never began"


# --- letting go


@pytest.fixture
def plan(cloud: Cloud) -> Any:
    cloud.define("web", TOML, requirements_in="flask\n")
    entries = [
        HeldBack(package=package, version=version, since=MOMENT, reason="broke it")
        for package, version in (("zope.interface", "7.0"), ("zope.interface", "7.1"), ("flask", "3.0.0"))
    ]
    layers().save(LayerState(variant=NAME, promoted=None, held_back=tuple(entries)))
    return cloud.handler("plan")


def test_a_person_lets_a_package_go_and_a_retried_step_finds_it_gone(plan: Any) -> None:
    event = plan_event({"layers": ["web"], "release": ["Zope-Interface"]})
    first = plan(event)
    assert first["reason"]["text"] == "layers web; zope-interface no longer held back"
    assert plan(event) == first
    state = layers().state(NAME)
    assert [(held.package, held.version) for held in state.held_back] == [("flask", "3.0.0")]
    assert [(gone.version, gone.by, gone.at) for gone in state.released] == [
        ("7.0", "daily-1", MOMENT),
        ("7.1", "daily-1", MOMENT),
    ]


def test_what_was_let_go_may_be_held_back_again(plan: Any) -> None:
    plan(plan_event({"layers": ["web"], "release": ["flask"]}))
    flask = HeldBack(package="flask", version="3.0.0", since=MOMENT, reason="again")
    layers().hold_back(NAME, (flask,))
    assert [held.reason for held in layers().state(NAME).held_back if held.package == "flask"] == ["again"]


def test_letting_go_of_what_is_not_held_back_changes_nothing_and_says_what_is(plan: Any) -> None:
    before = layers().state(NAME)
    with pytest.raises(
        InvalidInput, match=r"no version of requests is held back in .*flask 3\.0\.0, zope\.interface 7"
    ):
        plan(plan_event({"layers": ["web"], "release": ["flask", "requests"]}))
    assert layers().state(NAME) == before
    assert Runs(table()).get("daily-1") is None


# --- suspecting


@dataclass
class Said:
    """Log lines with their moments, by function, or by function and version."""

    lines: dict[str, list[tuple[datetime, str]]] = field(default_factory=dict)

    def errors(
        self,
        function: str,
        since: datetime,
        version: str | None = None,
        limit: int = 100,
        until: datetime | None = None,
    ) -> tuple[str, ...]:
        there = self.lines.get(f"{function}:{version}" if version else function, [])
        return tuple(line for at, line in there if since <= at and (until is None or at < until))


def broken(message: str) -> str:
    return (
        f"[ERROR] AttributeError: {message}\rTraceback (most recent call last):\r"
        '\xa0\xa0File "/var/task/app.py", line 3, in handler\r\xa0\xa0\xa0\xa0thing.grab()\n'
    )


def suspected(cloud: Cloud, said: Said, *witnesses: Witness, **more: Any) -> tuple[str, ...]:
    store = Store(boto3.client("s3"), "artifacts")
    rollout = rolled("first", **more)
    witnesses = witnesses or tuple(Witness(name, MOMENT) for name in said.lines)
    logs: Any = said
    return culprits_among(find_suspects(rollout, witnesses, logs, layers(), store))


def test_an_error_without_a_frame_in_the_layer_is_read_with_what_that_function_imports(cloud: Cloud) -> None:
    release(2, HTTPX, ANYIO)
    later = MOMENT + timedelta(minutes=3)
    imports = cloud.write("rollouts/first/imports.json", {"a": ["httpx", "httpx.Client", "json"], "b": ["anyio"]})
    said = Said({"a": [(later, broken("'Client' object has no attribute 'grab'"))], "b": []})
    assert suspected(cloud, said, imports=imports) == ("httpx",)


def test_without_the_imports_it_suspects_nobody(cloud: Cloud) -> None:
    release(2, HTTPX, ANYIO)
    said = Said({"a": [(MOMENT + timedelta(minutes=3), broken("'Client' object has no attribute 'grab'"))]})
    assert suspected(cloud, said) == ()


OLD, NEW = broken("httpx.Client 4711 is gone"), broken("anyio.run 3 is gone")


def test_errors_that_a_function_had_before_convict_nobody(cloud: Cloud) -> None:
    release(2, HTTPX, ANYIO)
    later, earlier = MOMENT + timedelta(minutes=3), MOMENT - timedelta(hours=2)
    said = Said({"a": [(earlier, OLD.replace("4711", "12")), (later, OLD), (later, NEW)]})
    assert suspected(cloud, said) == ("anyio",)


def test_what_was_said_just_before_may_have_been_said_on_the_candidate(cloud: Cloud) -> None:
    release(2, HTTPX, ANYIO)
    said = Said({"a": [(MOMENT - timedelta(seconds=50), NEW), (MOMENT + timedelta(minutes=3), NEW)]})
    assert suspected(cloud, said) == ("anyio",)


def test_before_a_second_attempt_the_first_one_s_errors_are_not_the_usual_ones(cloud: Cloud) -> None:
    release(2, HTTPX, ANYIO)
    said = Said({"a": [(MOMENT - timedelta(minutes=20), NEW), (MOMENT + timedelta(minutes=3), NEW)]})
    assert suspected(cloud, said, attempt=2) == ("anyio",)


def test_errors_of_the_old_version_beside_it_convict_nobody(cloud: Cloud) -> None:
    release(2, HTTPX, ANYIO)
    later = MOMENT + timedelta(minutes=3)
    said = Said({"a:7": [(later, OLD)], "a:8": [(later, OLD), (later, NEW)]})
    assert suspected(cloud, said, Witness("a", MOMENT, "8", "7"), attempt=2) == ("anyio",)


def test_modules_and_requirements_that_only_the_old_release_had_are_known(cloud: Cloud) -> None:
    cloud.write("old.json", {"packages": {"six": {"modules": ["six"]}, "httpx": {"requires": ["six"]}}})
    cloud.write("new.json", {"packages": {"httpx": {"modules": ["httpx"]}, "anyio": {"modules": ["anyio"]}}})
    release(1, manifest="old.json")
    release(2, HTTPX, ANYIO, Change(package="six", from_="1.16.0"), manifest="new.json")
    gone = "[ERROR] Runtime.ImportModuleError: Unable to import module 'app': No module named 'six'\r"
    assert suspected(cloud, Said({"a": [(MOMENT + timedelta(minutes=1), gone)]})) == ("httpx",)


def test_npm_packages_are_suspected_by_the_manifest_s_places(cloud: Cloud) -> None:
    cloud.write("new.json", {"nodePackages": {"express": {"requires": ["express/node_modules/qs"]}, "qs": {},
                                              "express/node_modules/qs": {}}})  # fmt: skip
    release(2, NESTED, manifest="new.json")
    log = (
        '2024-07-01T12:00:00.000Z\t5b1a\tERROR\tInvoke Error \t{"errorType": "TypeError", "errorMessage": "x", '
        '"stack": ["TypeError: x", "    at parse (/opt/nodejs/node_modules/express/node_modules/qs/lib/parse.js:1:2)"]}'
    )
    found = suspected(cloud, Said({"a": [(MOMENT + timedelta(minutes=1), log)]}))
    assert found == ("express/node_modules/qs",)


class Pages:
    """CloudWatch Logs with so many pages of one message each, which then fails."""

    def __init__(self, count: int, error: str) -> None:
        self.count, self.error, self.asked = count, error, 0

    def get_paginator(self, name: str) -> Pages:
        return self

    def paginate(self, **arguments: Any) -> Iterator[Any]:
        for number in range(self.count):
            self.asked += 1
            yield {"events": [{"message": str(number), "logStreamName": f"2024/07/01/[{number % 2}]abc"}]}
        raise ClientError({"Error": {"Code": self.error}}, "FilterLogEvents")


@pytest.mark.parametrize("error", ["ResourceNotFoundException", "AccessDeniedException", "ThrottlingException"])
def test_a_log_that_cannot_be_read_further_tells_what_it_has_told(error: str) -> None:
    client: Any = Pages(3, error)
    assert Logs(client).errors("a", MOMENT) == ("0", "1", "2")
    assert Logs(Pages(3, error)).errors("a", MOMENT, "1") == ("1",)  # type: ignore[arg-type]


def test_a_log_is_read_no_longer_than_a_watch_can_wait() -> None:
    client: Any = Pages(10_000, "")
    assert len(Logs(client).errors("a", MOMENT, limit=5)) == client.asked == 5
    assert len(Logs(client).errors("a", MOMENT, limit=1000)) < 100


# --- telling


@dataclass
class Told:
    told: list[tuple[str, str]] = field(default_factory=list)

    def tell(self, subject: str, text: str) -> None:
        self.told.append((subject, text))


def concluded(cloud: Cloud, then: Mapping[str, Any]) -> tuple[dict[str, Any], Told, report.Reported]:
    """The run's report on a first attempt that was rolled back, with what became of the rest."""
    layers().save(LayerState(variant=NAME, promoted=3))
    ended = {"status": RolloutStatus.ROLLED_BACK, "culprits": ("httpx",), "held_back": {"httpx": "0.28.0"}}
    rolled("first", **ended)
    topic: Any = Told()
    reach = report.Gateways(
        Rollouts(table()), layers(), Runs(table()), Store(boto3.client("s3"), "artifacts"), topic, "arn:rollback"
    )
    said = {"variant": NAME, "outcome": "failed", "rollout": "first", "candidate": 2, "then": {"variant": NAME, **then}}
    event = report.ReportEvent.model_validate({"run": "daily-1", "outcomes": [said], "now": NOW}).root
    done = report.run(event, reach)
    written = reach.store.read_json("reports/daily-1/report.json")
    return written["outcomes"][0], topic, done


EXPLANATION = {
    "variant": NAME, "run": "daily-1/2", "as_of": NOW, "cutoff": NOW, "requirements": [], "exclude": [], "direct": [],
    "packages": {}, "held": [], "summary": "anyio 4.6.2 to 4.6.3",
    "changes": [{"package": "anyio", "from": "4.6.2", "to": "4.6.3", "kind": "patch"}],
}  # fmt: skip


def test_the_outcome_is_the_first_proposal_s_and_the_rest_is_told_beside_it(cloud: Cloud) -> None:
    key = cloud.write(f"explanations/{NAME}/daily-1/2.json", EXPLANATION)
    rolled("rest", 3, status=RolloutStatus.PROMOTED, attempt=2, cause="", cause_kind="")
    row, topic, done = concluded(
        cloud,
        {"outcome": "promoted", "rollout": "rest", "candidate": 3, "summary": "anyio 4.6.2 to 4.6.3",
         "explanation": key},
    )  # fmt: skip
    assert (row["outcome"], row["caughtBy"], row["culprits"], row["candidate"]) == (
        "rolled_back",
        "canary",
        ["httpx"],
        2,
    )
    assert (row["heldBack"], row["promoted"]) == ({"httpx": "0.28.0"}, 3)
    then = row["then"]
    assert (then["outcome"], then["changed"], then["candidate"]) == ("promoted", {"anyio": ["4.6.2", "4.6.3"]}, 3)
    assert (row["report"], then["report"]) == (f"reports/daily-1/{NAME}.html", f"reports/daily-1/{NAME}-2.html")
    ((subject, text),) = topic.told
    assert subject == f"Lamina: {NAME} ROLLED BACK, the rest promoted"
    assert "The rest (anyio 4.6.2 to 4.6.3) was tried again as version 3: promoted." in text
    assert done.all_well is False
    page = cloud.read("reports/daily-1/index.html").decode()
    assert f'href="{NAME}.html"' in page and f'href="{NAME}-2.html"' in page


def test_nothing_left_to_update_is_no_rest(cloud: Cloud) -> None:
    row, topic, _ = concluded(cloud, {"outcome": "up_to_date", "promoted": 1, "summary": "nothing new"})
    assert (row["outcome"], row["then"]) == ("rolled_back", None)
    assert "nothing is left to update" in row["message"]
    assert topic.told[0][0] == f"Lamina: {NAME} ROLLED BACK"


def test_a_rest_that_does_harm_as_well_is_told_with_its_own_culprit(cloud: Cloud) -> None:
    rolled("rest", 3, status=RolloutStatus.ROLLED_BACK, attempt=2, culprits=("anyio",), held_back={"anyio": "4.7.0"})
    row, topic, _ = concluded(cloud, {"outcome": "failed", "rollout": "rest", "candidate": 3})
    assert (row["culprits"], row["then"]["culprits"]) == (["httpx"], ["anyio"])
    assert row["then"]["outcome"] == "rolled_back"
    assert (
        "tried again as version 3: ROLLED BACK. Caused by anyio. Held back from now on: anyio 4.7.0."
        in topic.told[0][1]
    )


# --- halves


def test_harm_without_a_suspect_is_tried_in_halves_where_the_definition_says_so(hold: Any, cloud: Cloud) -> None:
    halves = {"policy": {"bisect": True}, "verdict": {"unattributed": False}}
    release(2, HTTPX, ANYIO, NESTED)
    rolled("first", **halves)
    assert hold("first") == {"anyio": "4.7.0", "qs": "6.11.0"}
    assert hold("first") == {"anyio": "4.7.0", "qs": "6.11.0"}, "told again, it is the same"
    proceed = cloud.handler("proceed")
    said = {"variant": NAME, "outcome": "rolled_back", "rollout": "first"}
    assert proceed({"run": "daily-1", "attempt": 1, "outcome": said})["again"]

    release(3, HTTPX)
    rolled("second", version=3, **halves)
    assert hold("second") == {"httpx": "0.28.0"}
    assert held_back() == [("PyPI", "httpx", "0.28.0")], "the others are cleared"
    assert hold("second") == {"httpx": "0.28.0"}


def test_a_promoted_half_is_cleared_and_the_other_is_halved(hold: Any) -> None:
    release(2, HTTPX, ANYIO, NESTED)
    rolled("first", policy={"bisect": True}, verdict={"unattributed": False})
    hold("first")
    layers().record(release(3, HTTPX).model_copy(update={"packages": {"httpx": "0.28.0"}}))
    (_, _, state), *_ = layers().promotion(NAME, 3, "second")
    assert [entry["package"] for entry in state["suspects"]] == ["anyio", "qs"]
    assert [entry["package"] for entry in state["heldBack"]] == ["qs"]
