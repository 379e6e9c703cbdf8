"""Real advisories on the real state machines: whoever tells of one, exactly the package that it is about moves."""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.replay import stage
from local.story import Story
from tests.workflow.conftest import Lamina, define, ungranted, variant

pytestmark = pytest.mark.index

ALL = {
    # layer: the newest Python with wheels of that time, what it wants, the day of its first release, the package that
    # has an advisory, the version of it that is locked, the version that fixes it.
    "http": (99, "requests\n", "2023-05-20", "requests", "2.30.0", "2.31.0"),
    "pages": (12, "jinja2\n", "2024-01-08", "jinja2", "3.1.2", "3.1.3"),
    "images": (11, "pillow\nidna\n", "2023-06-25", "pillow", "9.5.0", "10.0.1"),
}
CASES = {name: case[1:] for name, case in ALL.items() if sys.version_info.minor <= case[0]}
ABOUT = ("PYSEC-2023-74", "GHSA-h5c8-rqwp-cp95", "PYSEC-2023-175", "PYSEC-2023-227")
"""The advisories on these packages alone; the database knows more, on what they depend on."""
SECRET = "only GitHub and Lamina know this"


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    for how in ("told", "polled"):
        for name, (wanted, *_) in CASES.items():
            define(folder, f"{how}-{name}", wanted, "")
            text = (folder / f"{how}-{name}" / "layer.toml").read_text()
            (folder / f"{how}-{name}" / "layer.toml").write_text(text.replace("cooldown-days = 0", "cooldown-days = 7"))
    define(folder, "hooked", "pyjwt\n")
    define(folder, "clean", "idna\n")
    return folder


@pytest.fixture(scope="module")
def lamina(definitions: Path) -> Iterator[Lamina]:
    secret = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:hook"
    with stage(definitions, 0.5, Story(), parameters={"WebhookSecret": secret}) as ready:
        yield Lamina(ready)


@pytest.fixture(scope="module")
def released(lamina: Lamina) -> None:
    """The first release of every layer, with the database empty so that nothing is fixed on the way."""
    records, lamina.stage.osv.records = lamina.stage.osv.records, {}
    for name, (_, day, package, version, _) in CASES.items():
        order = {"layers": [f"told-{name}", f"polled-{name}"], "asOf": day, "packages": {package: version}}
        done = lamina.run("Update", order)
        assert done["status"] == "SUCCEEDED", done.get("cause")
    for order in ({"layers": ["clean"], "asOf": "2024-08-01"}, {"layers": ["hooked"], "asOf": "2022-05-01"}):
        assert lamina.run("Update", order)["status"] == "SUCCEEDED"
    lamina.stage.osv.records = records


def packages(lamina: Lamina, layer: str) -> dict[str, str]:
    """What is promoted."""
    name = variant(layer)
    promoted = int(lamina.item(f"LAYER#{name}", "STATE")["promoted"]["N"])
    item = lamina.item(f"LAYER#{name}", f"RELEASE#{promoted:08d}")
    return {package: version["S"] for package, version in item["packages"]["M"].items()}


def executions(lamina: Lamina) -> set[str]:
    machine = lamina.stage.stack.resources["Update"]
    listed = lamina.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
    return {one["executionArn"] for one in listed}


def started(lamina: Lamina, known: set[str]) -> list[dict[str, Any]]:
    """The updates that were started since, run to their end."""
    lamina.stage.cloud.bus.flush()
    return [lamina.finish(arn) for arn in sorted(executions(lamina) - known)]


def put(lamina: Lamina, detail: dict[str, Any]) -> None:
    entry = {"Source": "lamina.advisory", "DetailType": "Advisory", "Detail": json.dumps(detail)}
    assert lamina.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


@pytest.mark.parametrize("name", CASES)
def test_an_event_moves_exactly_the_package_that_it_names(lamina: Lamina, released: None, name: str) -> None:
    _, _, package, version, fixed = CASES[name]
    before, known = packages(lamina, f"told-{name}"), executions(lamina)
    assert before[package] == version

    put(lamina, {"package": package, "fixed": fixed, "id": "CVE-1", "layers": [f"told-{name}"]})
    [done] = started(lamina, known)

    assert done["status"] == "SUCCEEDED", done.get("cause")
    assert packages(lamina, f"told-{name}") == before | {package: fixed}


def test_the_same_advisory_again_and_again_starts_nothing_more(lamina: Lamina, released: None) -> None:
    known, before = executions(lamina), packages(lamina, "told-http")

    for _ in range(3):
        put(lamina, {"package": "requests", "fixed": "2.31.0", "id": "CVE-2023-32681", "layers": ["told-http"]})

    for done in started(lamina, known):
        assert (done["status"], lamina.report(done)) == ("SUCCEEDED", {})
    assert packages(lamina, "told-http") == before


def poll(lamina: Lamina) -> dict[str, Any]:
    answer: dict[str, Any] = json.load(
        lamina.client("lambda").invoke(FunctionName="lamina-poll", Payload=b"{}")["Payload"]
    )
    return answer


def test_the_regular_look_up_moves_exactly_what_has_an_advisory(lamina: Lamina, released: None) -> None:
    known, osv = executions(lamina), lamina.stage.osv
    before = {name: packages(lamina, f"polled-{name}") for name in CASES}
    records, osv.records = osv.records, {name: osv.records[name] for name in ABOUT}

    poll(lamina)
    [done] = started(lamina, known)
    osv.records = records

    assert done["status"] == "SUCCEEDED", done.get("cause")
    assert json.loads(done["input"])["detail"]["layers"] == sorted(f"polled-{name}" for name in CASES)
    assert set(lamina.report(done)) == {variant(f"polled-{name}") for name in CASES}
    for name, (_, _, package, _, fixed) in CASES.items():
        assert packages(lamina, f"polled-{name}") == before[name] | {package: fixed}


def test_a_webhook_moves_exactly_what_it_points_to(lamina: Lamina, released: None) -> None:
    lamina.client("secretsmanager").create_secret(Name="hook", SecretString=SECRET)
    vulnerability = {"package": {"ecosystem": "pip", "name": "PyJWT"}, "first_patched_version": {"identifier": "9.9"}}
    body = json.dumps(
        {
            "action": "published",
            "security_advisory": {"ghsa_id": "GHSA-ffqj-6fqr-9h24", "vulnerabilities": [vulnerability]},
        }
    )
    signature = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()

    def deliver(signed: str) -> int:
        headers = {"x-hub-signature-256": f"sha256={signed}", "x-github-event": "security_advisory"}
        event = {"version": "2.0", "headers": headers, "body": body, "isBase64Encoded": False}
        answer = lamina.client("lambda").invoke(FunctionName="lamina-webhook", Payload=json.dumps(event).encode())
        status: int = json.load(answer["Payload"])["statusCode"]
        return status

    known = executions(lamina)
    assert packages(lamina, "hooked") == {"pyjwt": "2.3.0"}
    assert deliver("0" * 64) == 401
    assert (deliver(signature), deliver(signature)) == (202, 200)
    [done] = started(lamina, known)

    assert set(lamina.report(done)) == {variant("hooked")}
    assert packages(lamina, "hooked") == {"pyjwt": "2.4.0"}


def test_the_whole_database_leaves_nothing_behind_that_has_a_fix(lamina: Lamina, released: None) -> None:
    known, clean = executions(lamina), packages(lamina, "clean")

    assert poll(lamina)["found"] > 0
    [done] = started(lamina, known)

    assert done["status"] == "SUCCEEDED", done.get("cause")
    assert poll(lamina) | {"locks": []} == {"locks": [], "found": 0, "unknown": {}, "askedFor": []}
    assert packages(lamina, "clean") == clean


def test_everything_that_was_called_is_granted(lamina: Lamina, released: None) -> None:
    assert ungranted(lamina) == set()
