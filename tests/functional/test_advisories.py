"""The advisory database through its gateway, and Plan, Poll and Webhook on it: what is unknown is never clean."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import boto3
import pytest

from lamina.definition import load_definitions
from lamina.gateways.advisories import Advisories
from lamina.gateways.definitions import read_folders
from lamina.gateways.registry import Claims, Layers, Notices, Runs, Table
from lamina.inputs import known
from lamina.model import Advisory, Release
from local.osv import Fault, Osv
from tests.functional.conftest import Cloud, Context

MOMENT = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
STARTED = datetime.now(UTC).isoformat()
"""The moment that updates start; Poll goes by the clock, so that this must too."""
LOCK: Any = {"PyPI": {"requests": "2.30.0", "jinja2": "3.1.3", "idna": "3.10"}, "npm": {"left-pad": "1.3.0"}}
ORDERLESS = {"type": "GIT", "repo": "r", "events": [{"introduced": "0"}]}
TOML = """
[layer]
owner = "tests"
runtimes = ["python3.13"]
architectures = ["x86_64", "arm64"]
[python]
requirements = "requirements.in"
"""


@pytest.fixture
def osv() -> Iterator[Osv]:
    with Osv() as running:
        yield running


# --- the gateway ----------------------------------------------------------------------------------------------------


def test_a_lock_is_looked_up_in_one_query_and_each_record_is_read_once(osv: Osv) -> None:
    database = Advisories(osv.url)

    advice = database.look_up(LOCK, MOMENT)

    assert [(one.id, one.package, one.version, one.fixed) for one in advice.findings] == [
        ("PYSEC-2023-74", "requests", "2.30.0", "2.31.0")
    ]
    assert advice.unknown == ""
    assert osv.asked == ["POST /v1/querybatch", "GET /v1/vulns/PYSEC-2023-74"]
    assert database.look_up(LOCK, MOMENT) == advice
    assert osv.asked[2:] == ["POST /v1/querybatch"]


def test_a_record_that_was_modified_is_read_again(osv: Osv) -> None:
    database = Advisories(osv.url)
    database.look_up(LOCK, MOMENT)

    osv.add(osv.records["PYSEC-2023-74"] | {"withdrawn": "2026-01-01T00:00:00Z", "modified": "2026-01-01T00:00:00Z"})
    osv.add({**osv.records["PYSEC-2023-74"], "id": "PYSEC-X", "withdrawn": None, "summary": "new"})

    assert [one.id for one in database.look_up(LOCK, MOMENT).findings] == ["PYSEC-X"]


def test_advisories_of_later_days_are_left_out(osv: Osv) -> None:
    advice = Advisories(osv.url).look_up(LOCK, datetime(2023, 5, 26, tzinfo=UTC))

    assert (advice.findings, advice.unknown) == ((), "")


def test_answers_on_several_pages_are_read_to_their_end() -> None:
    with Osv(page=3) as osv:
        advice = Advisories(osv.url).look_up({"PyPI": {"pillow": "6.0.0"}}, MOMENT)

        assert osv.asked.count("POST /v1/querybatch") > 5
        assert len(advice.findings) == sum(path.startswith("GET") for path in osv.asked) > 15
        assert advice.unknown == ""


def test_locks_of_many_packages_are_asked_about_in_batches_that_the_database_takes(osv: Osv) -> None:
    many = {f"package-{number}": "1.0" for number in range(1500)}

    advice = Advisories(osv.url).look_up({"PyPI": many | {"requests": "2.30.0"}}, MOMENT)

    assert (len(advice.findings), advice.unknown) == (1, "")
    assert osv.asked.count("POST /v1/querybatch") == 2


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("error", "could not be asked about idna 3.10, jinja2 3.1.3, requests 2.30.0, left-pad 1.3.0: it answered 500"),
        ("garbage", "left-pad 1.3.0: its answer is not JSON"),
        ("short", "left-pad 1.3.0: it answered 3 of 4 queries"),
        ("endless", "its answer has more than 20 pages"),
        ("lost", "the record of PYSEC-2023-74 could not be read: it answered 404"),
        ("down", "it could not be reached"),
    ],
)
def test_whatever_is_missing_from_an_answer_is_unknown(osv: Osv, fault: str, says: str) -> None:
    osv.fault = cast(Fault, fault)
    advice = Advisories(osv.url).look_up(LOCK, MOMENT)

    assert says in advice.unknown
    # What is known in spite of it is told.
    assert len(advice.findings) == (1 if fault == "endless" else 0)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({}, 'its answer has no "results"'),
        ({"results": [7]}, "its answer cannot be read"),
        ({"results": [{"vulns": "PYSEC-1"}]}, "its answer cannot be read"),
        ({"results": [{"vulns": [{"id": "../../x"}]}]}, "names an advisory in a way that cannot be read"),
        ({"results": [{"next_page_token": "a"}]}, "the same page again"),
        ({"results": [{"vulns": [{"id": "X-1"}]}]}, "the record of X-1 could not be read: it is called None"),
        ([], "its answer is not a JSON object"),
    ],
)
def test_an_answer_of_the_wrong_form_is_unknown(answer: object, says: str) -> None:
    with canned(lambda path: answer) as url:
        advice = Advisories(url).look_up({"PyPI": {"a": "1"}}, MOMENT)

    assert advice.findings == ()
    assert says in advice.unknown


def test_a_record_that_cannot_be_evaluated_is_unknown_by_name() -> None:
    record = {"id": "X-1", "affected": [{"package": {"ecosystem": "PyPI", "name": "a"}, "ranges": []}]}
    with canned(lambda path: record if "X-1" in path else {"results": [{"vulns": [{"id": "X-1"}]}]}) as url:
        advice = Advisories(url).look_up({"PyPI": {"a": "1"}}, MOMENT)

    assert advice.unknown == "X-1 could not be held against a 1: it names no versions"


def test_a_database_that_is_not_there_is_not_waited_for_again_and_again(osv: Osv) -> None:
    clock = [0.0]
    osv.fault = "down"
    database = Advisories(osv.url, now=lambda: clock[0])
    first = database.look_up(LOCK, MOMENT).unknown
    asked = len(osv.asked)

    assert database.look_up(LOCK, MOMENT).unknown == first
    assert len(osv.asked) == asked

    osv.fault, clock[0] = "", 61.0
    assert database.look_up(LOCK, MOMENT).unknown == ""


def test_without_a_database_everything_is_unknown() -> None:
    assert "an advisory database could not be asked about a 1: none is set" in (
        Advisories("").look_up({"PyPI": {"a": "1"}}, MOMENT).unknown
    )
    assert Advisories("").look_up({}, MOMENT).unknown == ""


def test_the_proxy_of_the_environment_is_used_unless_the_host_is_excepted(osv: Osv) -> None:
    proxy = osv.url.removeprefix("http://")
    environment = {"HTTP_PROXY": proxy, "no_proxy": "somewhere.else"}

    assert Advisories("http://advisories.invalid", environment).look_up(LOCK, MOMENT).unknown
    assert osv.asked == ["POST http://advisories.invalid/v1/querybatch"]
    unreachable = {"HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    assert Advisories(osv.url, unreachable).look_up(LOCK, MOMENT).unknown == ""


class canned:
    """A server that answers every request with what a function says of its path."""

    def __init__(self, answer: Callable[[str], object]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.dumps(answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *arguments: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


# --- the registry ---------------------------------------------------------------------------------------------------


def test_a_fix_is_claimed_by_one_run_for_a_day_whatever_the_advisory_is_called(cloud: Cloud) -> None:
    claims = Claims(Table(boto3.client("dynamodb"), cloud.registry))
    cve, ghsa = (Advisory(id=name, package="requests", fixed="2.31.0") for name in ("CVE-1", "GHSA-1"))
    other = Advisory(id="CVE-1", package="requests", fixed="2.32.0")

    assert claims.take("web", cve, "run-1", MOMENT) == "run-1"
    assert claims.take("web", cve, "run-1", MOMENT) == "run-1"
    assert claims.take("web", ghsa, "run-2", MOMENT) == "run-1"
    assert claims.take("web", other, "run-2", MOMENT) == "run-2"
    assert claims.take("data", cve, "run-2", MOMENT) == "run-2"
    assert claims.held("web", [cve, ghsa], MOMENT + timedelta(hours=23)) == (cve, ghsa)
    later = MOMENT + timedelta(hours=24)
    assert claims.held("web", [cve, ghsa, other], later) == ()
    assert claims.take("web", cve, "run-3", later) == "run-3"


def test_of_two_runs_that_claim_at_once_one_has_it(cloud: Cloud) -> None:
    table = Table(boto3.client("dynamodb"), cloud.registry)
    cve = Advisory(id="CVE-1", package="requests", fixed="2.31.0")

    class Slow(Table):
        """Somebody else is quicker between the look and the write."""

        def __init__(self) -> None:
            super().__init__(boto3.client("dynamodb"), cloud.registry)
            self.beaten = False

        def put_if(self, *arguments: Any) -> bool:
            if not self.beaten:
                self.beaten = True
                Claims(table).take("web", cve, "run-1", MOMENT)
            return super().put_if(*arguments)

    assert Claims(Slow()).take("web", cve, "run-2", MOMENT) == "run-1"


def test_a_notice_is_due_once_in_a_while(cloud: Cloud) -> None:
    notices = Notices(Table(boto3.client("dynamodb"), cloud.registry))
    day = timedelta(days=1)

    due = [notices.due("x", MOMENT + timedelta(hours=hours), day) for hours in (0, 1, 23, 24, 25, 48)]

    assert due == [True, False, False, True, False, True]
    assert notices.due("y", MOMENT, day)


# --- Plan, Poll, Webhook --------------------------------------------------------------------------------------------


class Bench:
    """Two variants of a layer `web` with a promoted release each, and whatever Lamina sends out."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        cloud.define("web", TOML, requirements_in="requests\n")
        table = Table(boto3.client("dynamodb"), cloud.registry)
        self.layers, self.runs = Layers(table), Runs(table)
        self.learn()
        self.promote("web-python313-x86_64", requests="2.30.0", idna="3.10")
        self.promote("web-python313-arm64", requests="2.32.3", idna="3.10")
        sqs, self.sqs = boto3.client("sqs"), boto3.client("sqs")
        self.queue = sqs.create_queue(QueueName="out")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events = boto3.client("events")
        events.put_rule(Name="all", EventPattern='{"source": ["lamina.advisory"]}')
        events.put_targets(Rule="all", Targets=[{"Id": "out", "Arn": arn}])
        self.topic = boto3.client("sns").create_topic(Name="topic")["TopicArn"]
        boto3.client("sns").subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=arn)

    def learn(self) -> None:
        """What a plan does: note which variants there are."""
        self.runs.keep_known(known(*load_definitions(read_folders(self.cloud.opt))))

    def promote(self, variant: str, **packages: str) -> None:
        release = Release(
            variant=variant,
            version=1,
            arn=f"arn:aws:lambda:eu-central-1:123456789012:layer:{variant}:1",
            digest="d",
            artifact="a",
            manifest="m",
            lock="l",
            explanation="e",
            packages=packages,
            as_of=MOMENT,
            created=MOMENT,
            run="r",
        )
        self.layers.record(release)
        state = self.layers.state(variant)
        self.layers.save(state.model_copy(update={"promoted": 1}))

    def sent(self) -> list[dict[str, Any]]:
        """What has been sent since the last look: events, and messages to the topic."""
        found = []
        while messages := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
                found.append(json.loads(message["Body"]))
        return found


@pytest.fixture
def bench(cloud: Cloud, osv: Osv, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(cloud)
    secret = boto3.client("secretsmanager").create_secret(Name="hook", SecretString="it is a secret\n")["ARN"]
    for name, value in {"ADVISORIES": osv.url, "TOPIC": made.topic, "WEBHOOK_SECRET": secret}.items():
        monkeypatch.setenv(name, value)
    return made


def plan(bench: Bench, name: str, event: Mapping[str, object]) -> dict[str, Any]:
    arn = f"arn:aws:states:eu-central-1:123456789012:execution:lamina-update:{name}"
    return bench.cloud.handler("plan")({"input": event, "execution": arn, "now": STARTED})


def finding(function: str) -> dict[str, Any]:
    row = {"name": "requests", "version": "2.30.0", "fixedInVersion": "2.31.0", "packageManager": "PYTHONPKG"}
    detail = {
        "status": "ACTIVE",
        "findingArn": f"arn:aws:inspector2:eu-central-1:123456789012:finding/{function}",
        "packageVulnerabilityDetails": {"vulnerabilityId": "CVE-2023-32681", "vulnerablePackages": [row]},
    }
    return {"source": "aws.inspector2", "detail-type": "Inspector2 Finding", "detail": detail}


def test_two_hundred_findings_of_one_vulnerability_are_one_update(bench: Bench) -> None:
    plans = [plan(bench, f"run-{number}", finding(f"function-{number}")) for number in range(200)]

    assert [[one["variant"] for one in planned["variants"]] for planned in plans] == [
        ["web-python313-x86_64"],
        *([[]] * 199),
    ]
    assert plans[0]["security"] is True
    assert plans[7]["reason"]["text"].endswith("already being fixed: web-python313-x86_64 by run-0")
    retried = plan(bench, "run-0", finding("function-0"))
    assert retried == plans[0]


def test_only_advisories_claim_and_only_advisories_see_claims(bench: Bench) -> None:
    plan(bench, "by-finding", finding("f"))

    assert len(plan(bench, "by-hand", {})["variants"]) == 2
    assert plan(bench, "by-hand", {})["security"] is False


def poll(bench: Bench) -> dict[str, Any]:
    return bench.cloud.handler("poll")({})


def test_a_poll_asks_for_one_update_of_what_has_a_fix_and_of_nothing_else(bench: Bench) -> None:
    polled = poll(bench)

    assert (polled["found"], polled["unknown"], polled["askedFor"]) == (1, {}, ["web-python313-x86_64"])
    [event] = bench.sent()
    assert event["detail"] == {
        "advisories": [
            {
                "id": "PYSEC-2023-74",
                "ecosystem": "PyPI",
                "package": "requests",
                "version": "2.30.0",
                "fixed": "2.31.0",
            }
        ],
        "layers": ["web"],
        "text": "look-up of every lock: PYSEC-2023-74: requests is fixed in 2.31.0",
    }
    planned = plan(bench, "run-1", event)
    assert [one["variant"] for one in planned["variants"]] == ["web-python313-x86_64"]
    assert poll(bench)["askedFor"] == [], "the run has claimed it"
    assert bench.sent() == []


def test_a_poll_tells_once_a_day_that_it_could_not_look(bench: Bench, osv: Osv) -> None:
    osv.fault = "error"
    first, second = poll(bench), poll(bench)

    assert set(first["unknown"]) == set(second["unknown"]) == {"web-python313-x86_64", "web-python313-arm64"}
    assert (first["found"], first["askedFor"]) == (0, [])
    [notice] = bench.sent()
    assert "advisories unknown for 2 layers" in notice["Subject"]
    assert "it answered 500" in notice["Message"]


def test_a_poll_acts_on_what_is_known_and_tells_what_is_not(bench: Bench, osv: Osv) -> None:
    bench.promote("web-python313-arm64", requests="2.32.3", lxml="4.6.1")
    unreadable = {"package": {"ecosystem": "PyPI", "name": "idna"}, "versions": ["3.10"], "ranges": []}
    osv.add({"id": "PYSEC-1", "modified": "2024-01-01T00:00:00Z", "affected": [unreadable | {"ranges": [ORDERLESS]}]})
    bench.cloud.define("broken", TOML + "surprise = 1\n")
    bench.learn()

    polled = poll(bench)

    assert set(polled["unknown"]) == {"broken"}
    assert polled["found"] >= 3, "a version that a record lists is affected, whatever its ranges are"
    assert polled["askedFor"] == ["web-python313-arm64", "web-python313-x86_64"]
    kinds = sorted("event" if "detail" in one else "notice" for one in bench.sent())
    assert kinds == ["event", "notice"]


def test_before_the_first_plan_everything_is_unknown(cloud: Cloud, bench: Bench) -> None:
    table = Table(boto3.client("dynamodb"), cloud.registry)
    assert table.delete_if("PLAN", "KNOWN", "refused", {})

    assert set(poll(bench)["unknown"]) == {"every layer"}
    assert len(bench.sent()) == 1
    assert deliver(bench, advisory())[0] == 503


def test_a_layer_whose_advisories_wait_for_the_schedule_is_left_to_it(bench: Bench) -> None:
    bench.cloud.define("web", TOML + '[update]\nsecurity = "scheduled"\n', requirements_in="requests\n")
    plan(bench, "by-hand", {})

    polled = poll(bench)

    assert (polled["found"], polled["askedFor"]) == (1, [])
    assert deliver(bench, advisory()) == (202, "the fix is being taken already, or waits for the schedule")
    assert bench.sent() == []


def deliver(bench: Bench, given: object, kind: str = "security_advisory", **changes: Any) -> tuple[int, str]:
    raw = given if isinstance(given, bytes) else json.dumps(given).encode()
    signature = hmac.new(b"it is a secret", raw, hashlib.sha256).hexdigest()
    event: dict[str, Any] = {
        "version": "2.0",
        "headers": {
            "x-hub-signature-256": f"sha256={signature}",
            "x-github-event": kind,
            "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        },
        "body": raw.decode("latin-1"),
        "isBase64Encoded": False,
    }
    headers = event["headers"] | changes.pop("headers", {})
    answer = bench.cloud.module("webhook").handler(event | changes | {"headers": headers}, Context())
    return answer["statusCode"], json.loads(answer["body"])["message"]


def advisory(name: str = "GHSA-j8r2-6x86-q33q", package: str = "requests", **more: object) -> dict[str, Any]:
    row = {"package": {"ecosystem": "pip", "name": package}, "first_patched_version": {"identifier": "99.0"}}
    return {"action": "published", "security_advisory": {"ghsa_id": name, "vulnerabilities": [row]} | more}


def test_a_delivery_starts_an_update_to_what_the_database_calls_fixed(bench: Bench) -> None:
    assert deliver(bench, advisory()) == (202, "an update of 1 layer was asked for")

    [event] = bench.sent()
    [row] = event["detail"]["advisories"]
    assert (row["package"], row["version"], row["fixed"]) == ("requests", "2.30.0", "2.31.0")
    assert event["detail"]["text"].startswith("GitHub webhook: PYSEC-2023-74")


def test_a_delivery_counts_once(bench: Bench) -> None:
    deliver(bench, advisory())
    headers = {"x-github-delivery": "another"}

    assert deliver(bench, advisory(), headers=headers) == (200, "already seen; nothing was started again")
    assert len(bench.sent()) == 1


def test_a_body_that_came_encoded_is_proven_decoded(bench: Bench) -> None:
    raw = json.dumps(advisory()).encode()

    status, _ = deliver(bench, raw, body=base64.b64encode(raw).decode(), isBase64Encoded=True)

    assert status == 202
    assert deliver(bench, raw, body="!!", isBase64Encoded=True) == (400, "the body is not what its encoding says")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-hub-signature-256": ""},
        {"x-hub-signature-256": "sha256=" + "0" * 64},
        {"x-hub-signature-256": "sha256=zz"},
        {"x-hub-signature-256": hmac.new(b"", json.dumps(advisory()).encode(), hashlib.sha256).hexdigest()},
    ],
)
def test_whoever_does_not_know_the_secret_learns_nothing(bench: Bench, headers: dict[str, str]) -> None:
    for kind in ("security_advisory", "ping", "push"):
        assert deliver(bench, advisory(), kind, headers=headers) == (401, "the signature is missing or wrong")
    assert bench.sent() == []


def test_a_signature_is_over_every_byte(bench: Bench) -> None:
    changed = json.dumps(advisory(package="jinja2"))

    assert deliver(bench, advisory(), body=changed)[0] == 401


def test_too_large_a_body_is_not_even_hashed(bench: Bench) -> None:
    assert deliver(bench, b"x" * 1_000_001) == (413, "the body is larger than 1000000 bytes")
    encoded = base64.b64encode(b"x" * 1_000_001).decode()
    assert deliver(bench, b"", body=encoded, isBase64Encoded=True)[0] == 413


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        ({"zen": "Keep it logically awesome."}, "ping", 200, "pong"),
        ({}, "push", 202, "start no update"),
        (b"payload=x", "security_advisory", 400, "is not JSON"),
        (b"[1]", "security_advisory", 400, "must be a JSON object"),
        (advisory() | {"action": "withdrawn"}, "security_advisory", 202, "'withdrawn' starts no update"),
        (advisory(withdrawn_at="2024-01-01"), "security_advisory", 202, "is withdrawn"),
        (advisory("nonsense"), "security_advisory", 400, 'neither a "ghsa_id" nor a "cve_id"'),
        (advisory("GHSA-aaaa-bbbb-cccc"), "security_advisory", 202, "no record yet"),
        (advisory(package="django"), "security_advisory", 202, "no layer has the package"),
    ],
)
def test_a_genuine_delivery_that_starts_nothing_says_why(
    bench: Bench, body: object, kind: str, status: int, says: str
) -> None:
    answered, said = deliver(bench, body, kind)

    assert (answered, says in said) == (status, True), said
    assert bench.sent() == []


def test_a_delivery_that_could_not_be_looked_up_may_be_delivered_again(bench: Bench, osv: Osv) -> None:
    osv.fault = "down"
    status, said = deliver(bench, advisory())
    assert (status, "could not be asked" in said) == (503, True)

    osv.fault = ""
    assert deliver(bench, advisory())[0] == 202
    assert len(bench.sent()) == 1


def test_an_event_that_was_not_taken_leaves_the_delivery_unseen(bench: Bench) -> None:
    class Refusing:
        def put_events(self, **given: object) -> dict[str, object]:
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "Throttled", "ErrorMessage": "slow down"}]}

    from lamina.gateways.events import Events

    module = bench.cloud.module("webhook")
    object.__setattr__(module.REACH, "events", Events(cast(Any, Refusing())))
    raw = json.dumps(advisory()).encode()
    signature = hmac.new(b"it is a secret", raw, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "X-GitHub-Event": "security_advisory"}
    answer = module.handler({"headers": headers, "body": raw.decode()}, Context())
    assert answer["statusCode"] == 503

    assert deliver(bench, advisory())[0] == 202


def test_without_its_secret_the_webhook_takes_nothing(bench: Bench) -> None:
    secrets = boto3.client("secretsmanager")
    secrets.put_secret_value(SecretId="hook", SecretString=" ")
    assert deliver(bench, advisory())[0] == 503

    secrets.delete_secret(SecretId="hook", ForceDeleteWithoutRecovery=True)
    assert deliver(bench, advisory())[0] == 503
    assert bench.sent() == []
