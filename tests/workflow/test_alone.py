"""A function that alone is harmed: it is put back by itself, and the release goes on to all the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local import fleet
from local.scenario import Member
from local.traffic import Traffic
from tests.workflow.conftest import ARCHITECTURE, RUNTIME, Lamina, define, ungranted, variant

pytestmark = pytest.mark.index

BEFORE, AFTER = "2023-04-01", "2024-06-01"
TINY = variant("tiny")
OTHERS = [f"app-{number}" for number in range(1, 6)]
CALM = "import idna\n\n\ndef handler(event, context):\n    return idna.encode('ä').decode()\n"
PICKY = "import idna\n\n\ndef handler(event, context):\n    assert idna.__version__ == '3.4', idna.__version__\n"


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    names = ", ".join(f'"{name}"' for name in (*OTHERS, "picky"))
    define(folder, "tiny", "idna\n", f"[rollout]\nmin-minutes = 8\ncanary = [{names}]\n")
    return folder


def member(name: str, code: str, folder: Path) -> Member:
    (folder / name).mkdir(parents=True)
    (folder / name / "app.py").write_text(code)
    return Member(
        name=name,
        alias="live",
        runtime=RUNTIME,
        architectures=(ARCHITECTURE,),
        layers=("tiny",),
        code=folder / name,
        per_minute=60,
        event={},
        error_rate=0.0,
    )


@pytest.fixture(scope="module")
def updated(lamina: Lamina, tmp_path_factory: pytest.TempPathFactory) -> Any:
    first = lamina.run("Update", {"asOf": BEFORE})
    assert first["status"] == "SUCCEEDED", first.get("cause")
    folder = tmp_path_factory.mktemp("code")
    members = [*(member(name, CALM, folder) for name in OTHERS), member("picky", PICKY, folder)]
    client = lamina.client("lambda")
    arn = client.list_layer_versions(LayerName=TINY)["LayerVersions"][0]["LayerVersionArn"]
    fleet.create(client, lamina.client("iam"), members, {TINY: arn})
    cloud = lamina.stage.cloud
    traffic = Traffic(cloud.lambdas, cloud.clock, fleet.sources(members))
    traffic.start()
    traffic.wait_minutes(8)
    try:
        yield lamina.run("Update", {"asOf": AFTER})
    finally:
        traffic.stop()


def test_the_harmed_function_is_put_back_and_named_while_the_others_get_the_release(
    lamina: Lamina, updated: Any
) -> None:
    row = lamina.report(updated)[TINY]
    assert (row["outcome"], row["promoted"], row["heldBack"]) == ("promoted", 2, {})
    assert {lamina.layers_of(name, "live")[0][-2:] for name in OTHERS} == {":2"}
    assert lamina.layers_of("picky", "live")[0].endswith(":1")
    assert lamina.layers_of("picky")[0].endswith(":1")
    entry = lamina.item(f"ROLLOUT#{row['rollout']}", "FUNCTION#picky")
    assert entry["status"]["S"] == "restored"
    assert "picky is harmed: picky failed" in entry["reason"]["S"]


def test_it_was_the_one_way_back_that_did_it(lamina: Lamina, updated: Any) -> None:
    machine = lamina.stage.stack.resources["Rollback"]
    (back,) = lamina.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
    assert back["status"] == "SUCCEEDED"
    assert back["name"].startswith("some-")


def test_every_step_had_the_rights_that_it_needs(lamina: Lamina, updated: Any) -> None:
    assert ungranted(lamina) == set()
