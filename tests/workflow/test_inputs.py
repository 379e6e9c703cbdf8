"""Every documented input, and many that are not, on the real state machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import Lamina, define, variant

pytestmark = pytest.mark.index

BEFORE, AFTER = "2023-06-01", "2024-06-01"
TINY, OTHER, LOST = variant("tiny"), variant("other"), variant("lost")


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    define(folder, "tiny", "idna\n")
    define(folder, "other", "idna\n")
    define(folder, "broken", "idna\n", "cooldown = 3\n")
    define(folder, "lost", "idna>=99\n")
    return folder


@pytest.fixture(scope="module")
def released(lamina: Lamina) -> dict[str, Any]:
    """A dry run, then the first release of everything."""
    dry = lamina.run("Update", {"dryRun": True, "asOf": BEFORE})
    assert lamina.client("lambda").list_layer_versions(LayerName=TINY)["LayerVersions"] == []
    first = lamina.run("Update", {"asOf": BEFORE})
    return {"dry": dry, "first": first, "report": lamina.report(first)}


def versions(lamina: Lamina, layer: str = TINY) -> list[int]:
    listed = lamina.client("lambda").list_layer_versions(LayerName=layer)["LayerVersions"]
    return sorted(version["Version"] for version in listed)


def test_a_dry_run_explains_and_changes_nothing(lamina: Lamina, released: dict[str, Any]) -> None:
    rows = lamina.report(released["dry"])
    assert {name: row["outcome"] for name, row in rows.items()} == {
        TINY: "up_to_date",
        OTHER: "up_to_date",
        LOST: "failed",
    }
    assert "idna 3.4" in rows[TINY]["summary"]


def test_one_layer_s_trouble_stops_no_other(lamina: Lamina, released: dict[str, Any]) -> None:
    rows = released["report"]
    assert [rows[name]["outcome"] for name in (TINY, OTHER, LOST)] == ["promoted", "promoted", "failed"]
    assert rows[LOST]["caughtBy"] == "resolve"
    assert "idna" in rows[LOST]["message"]
    assert "errorMessage" not in rows[LOST]["message"]
    first = released["first"]
    assert (first["status"], first["error"]) == ("FAILED", "NotAllUpdated")
    for said in ("layers/broken", "cooldown", "cooldown-days"):
        assert said in first["cause"]


def test_unchanged_is_up_to_date_and_publishes_nothing(lamina: Lamina, released: dict[str, Any]) -> None:
    done = lamina.run("Update", {"layers": ["tiny"], "asOf": BEFORE})
    assert lamina.report(done)[TINY]["outcome"] == "up_to_date"
    assert versions(lamina) == [1]


def test_exact_versions_force_and_newer_packages_each_make_a_release_of_the_layer_alone(
    lamina: Lamina, released: dict[str, Any]
) -> None:
    exact = lamina.run("Update", {"layers": ["tiny"], "packages": {"idna": "3.6"}, "asOf": AFTER})
    assert exact["status"] == "SUCCEEDED"
    assert "idna 3.4 to 3.6" in lamina.report(exact)[TINY]["summary"]
    forced = lamina.run("Update", {"layers": ["tiny"], "force": True, "packages": {"idna": "3.6"}, "asOf": AFTER})
    assert lamina.report(forced)[TINY]["outcome"] == "promoted"
    newer = lamina.run("Update", {"layers": ["tiny"], "asOf": AFTER})
    assert "idna 3.6 to 3.7" in lamina.report(newer)[TINY]["summary"]
    assert versions(lamina) == [1, 2, 3, 4]
    assert versions(lamina, OTHER) == [1]
    back = lamina.run("Rollback", {"layer": TINY, "version": 2})
    assert back["status"] == "SUCCEEDED"
    assert lamina.item(f"LAYER#{TINY}", "STATE")["promoted"] == {"N": "2"}
    parameter = lamina.client("ssm").get_parameter(Name=f"/lamina/{TINY}")["Parameter"]["Value"]
    assert parameter.endswith(f":{TINY}:2")


def test_the_schedule_and_an_advisory_start_updates(lamina: Lamina, released: dict[str, Any]) -> None:
    scheduled = lamina.finish(lamina.stage.cloud.fire("lamina-schedule"))
    assert set(lamina.report(scheduled)) == {TINY, OTHER, LOST}

    detail = {"package": "idna", "id": "PYSEC-2024-60", "fixed": "3.7"}
    machine = lamina.stage.stack.resources["Update"]
    states = lamina.client("stepfunctions")
    known = {one["executionArn"] for one in states.list_executions(stateMachineArn=machine)["executions"]}
    entry = {"Source": "lamina.advisory", "DetailType": "Advisory", "Detail": json.dumps(detail)}
    assert lamina.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0
    lamina.stage.cloud.bus.flush()
    started = [
        one["executionArn"]
        for one in states.list_executions(stateMachineArn=machine)["executions"]
        if one["executionArn"] not in known
    ]
    assert len(started) == 1
    done = lamina.finish(started[0])
    assert json.loads(done["input"])["detail"] == detail
    assert done.get("error") != "InvalidInput"


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([], "must be an object"),
        ("web", "must be an object"),
        ({"layer": ["tiny"]}, "did you mean 'layers'"),
        ({"layers": "tiny"}, "layers"),
        ({"layers": ["tini"]}, "tiny"),
        ({"layers": []}, "layers"),
        ({"layers": ["tiny"], "packages": ["idna"]}, "packages"),
        ({"packages": {"idna": "3.6"}}, '"packages" needs "layers"'),
        ({"layers": ["tiny"], "packages": {"idna": "latest!"}}, "idna"),
        ({"layers": ["tiny"], "force": "yes"}, "force"),
        ({"dryRun": 1}, "dryRun"),
        ({"asOf": "yesterday"}, "asOf"),
        ({"asOf": "2199-01-01"}, "future"),
        ({"source": "aws.s3", "detail-type": "Object Created", "detail": {}}, "aws.s3"),
        ({"source": "lamina.advisory", "detail-type": "Advisory", "detail": {"id": "CVE-1"}}, "package"),
    ],
    ids=str,
)
def test_what_update_does_not_accept_it_refuses_and_says_what_it_accepts(
    lamina: Lamina, released: dict[str, Any], order: Any, said: str
) -> None:
    done = lamina.run("Update", order)
    assert (done["status"], done["error"]) == ("FAILED", "InvalidInput")
    assert said in done["cause"]
    assert "Accepted are" in done["cause"] or "advisory" in done["cause"]


@pytest.mark.parametrize(
    ("order", "error", "said"),
    [
        ({}, "InvalidInput", "lacks 'layer'"),
        ([], "InvalidInput", "must be a JSON object"),
        ({"layers": [TINY]}, "InvalidInput", "unknown key 'layers'"),
        ({"layer": TINY, "version": "2"}, "InvalidInput", "number of a layer version"),
        ({"layer": TINY, "version": 99}, "InvalidInput", "no release 99"),
        ({"layer": "tiny"}, "NothingToRestore", "Check the variant's name"),
    ],
    ids=str,
)
def test_what_rollback_does_not_accept_it_refuses(
    lamina: Lamina, released: dict[str, Any], order: Any, error: str, said: str
) -> None:
    done = lamina.run("Rollback", order)
    assert (done["status"], done["error"]) == ("FAILED", error)
    assert said in done["cause"]
