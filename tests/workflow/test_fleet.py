"""What the functions of a fleet are made of decides: how large they are, and what they import."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import ARCHITECTURE, RUNTIME, Lamina, crew, define, ungranted, variant

pytestmark = pytest.mark.index

BEFORE, AFTER = "2023-04-01", "2024-06-01"
TINY, WEB, CALM = variant("tiny"), variant("web"), variant("calm")
LIMIT = 262_144_000


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    define(folder, "tiny", "idna\n", "[rollout]\nmin-minutes = 1\nmax-minutes = 30\n")
    # What is left of it after the rejection meets nobody who calls it.
    quiet = '[rollout]\nmin-minutes = 1\nmax-minutes = 1\nextend-minutes = 1\non-no-traffic = "rollback"\n'
    define(folder, "web", "urllib3\n", quiet)
    define(folder, "calm", "urllib3\n")
    return folder


def newest(lamina: Lamina, layer: str) -> str:
    arn: str = lamina.client("lambda").list_layer_versions(LayerName=layer)["LayerVersions"][0]["LayerVersionArn"]
    return arn


def objects(lamina: Lamina, prefix: str) -> dict[str, Any]:
    """What stands in the bucket under a prefix."""
    bucket, client = lamina.stage.stack.resources["Artifacts"], lamina.client("s3")
    keys = [row["Key"] for row in client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]
    return {key: json.load(client.get_object(Bucket=bucket, Key=key)["Body"]) for key in keys if key.endswith(".json")}


def unzipped(lamina: Lamina, layer: str, version: int) -> int:
    key = lamina.item(f"LAYER#{layer}", f"RELEASE#{version:08d}")["manifest"]["S"]
    size: int = objects(lamina, key)[key]["sizes"]["unzipped"]
    return size


def create(lamina: Lamina, name: str, code: str, layer: str, zeros: int = 0) -> None:
    """A function of a team's; `zeros` bytes of its code deflate to next to nothing."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("app.py", code)
        if zeros:
            with archive.open("zeros", "w") as file:
                for start in range(0, zeros, 1_000_000):
                    file.write(b"\0" * min(1_000_000, zeros - start))
    client, role = lamina.client("lambda"), lamina.client("iam").get_role(RoleName="scenario-fleet")["Role"]["Arn"]
    client.create_function(
        FunctionName=name,
        Runtime=RUNTIME,
        Role=role,
        Handler="app.handler",
        Code={"ZipFile": buffer.getvalue()},
        Layers=[layer],
        Architectures=[ARCHITECTURE],
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


@pytest.fixture(scope="module")
def updated(lamina: Lamina, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The second update, with a fleet that was there before it."""
    first = lamina.run("Update", {"asOf": BEFORE})
    assert first["status"] == "SUCCEEDED", first.get("cause")
    tiny, web = newest(lamina, TINY), newest(lamina, WEB)
    made = crew(lamina, tmp_path_factory.mktemp("code"), ("tiny",), {TINY: tiny}, count=1)
    code = "import idna\n\n\ndef handler(event, context):\n    return 1\n"
    create(lamina, "full", code, tiny, LIMIT - len(code) - unzipped(lamina, TINY, 1))
    create(lamina, "plain", "import urllib3\n\n\ndef handler(event, context):\n    return 1\n", web)
    create(lamina, "old-ways", "def handler(event, context):\n    from urllib3.packages import six\n", web)
    made.traffic.start()
    made.traffic.wait_minutes(15)
    try:
        yield lamina.run("Update", {"asOf": AFTER})
    finally:
        made.traffic.stop()


def test_a_function_that_would_burst_is_named_and_left_alone_and_the_others_go_on(lamina: Lamina, updated: Any) -> None:
    row = lamina.report(updated)[TINY]
    grown = unzipped(lamina, TINY, 2) - unzipped(lamina, TINY, 1)
    assert grown > 0
    assert row["outcome"] == "promoted"
    assert lamina.layers_of("app-1", "live") == lamina.layers_of("job-1") == [newest(lamina, TINY)]
    assert lamina.layers_of("full")[0].endswith(":1")
    entry = lamina.item(f"ROLLOUT#{row['rollout']}", "FUNCTION#full")
    assert entry["status"]["S"] == "left_alone"
    assert f"would be {LIMIT + grown:,} bytes unzipped, {grown:,} over Lambda's limit" in entry["reason"]["S"]
    assert f"{TINY}:2 {unzipped(lamina, TINY, 2):,} bytes" in entry["reason"]["S"]
    # Lambda would not have taken it either.
    with pytest.raises(lamina.client("lambda").exceptions.InvalidParameterValueException, match="maximum allowed size"):
        lamina.client("lambda").update_function_configuration(FunctionName="full", Layers=[newest(lamina, TINY)])


def test_a_module_that_only_a_function_of_the_fleet_imports_rejects_the_release_without_it(
    lamina: Lamina, updated: Any
) -> None:
    rows = lamina.report(updated)
    assert (rows[WEB]["outcome"], rows[WEB]["culprits"]) == ("rejected", ["urllib3"])
    assert "urllib3.packages" in rows[WEB]["message"]
    assert lamina.layers_of("old-ways")[0].endswith(":1") and lamina.layers_of("plain")[0].endswith(":1")
    (found,) = objects(lamina, f"findings/{WEB}/2").values()
    assert {"urllib3.packages", "urllib3.packages.six"} <= set(found["used"])
    assert (found["functionsRead"], found["functionsUnread"]) == (2, {})
    # The same candidate, where no function imports what it no longer has.
    assert rows[CALM]["outcome"] == "promoted"


def test_every_step_had_the_rights_that_it_needs(lamina: Lamina, updated: Any) -> None:
    assert ungranted(lamina) == set()
