"""A layer of npm packages is resolved by Check as Lambda runs it, with the npm of its own layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lamina.npmlock import parse_npm_lock
from tests.workflow.conftest import ARCHITECTURE, Lamina, ungranted

pytestmark = pytest.mark.index

NODE = f"node-nodejs22x-{ARCHITECTURE}"


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    (folder / "node").mkdir()
    (folder / "node/layer.toml").write_text(
        f'[layer]\nowner = "tests"\nruntimes = ["nodejs22.x"]\narchitectures = ["{ARCHITECTURE}"]\n'
        '[nodejs]\npackage = "package.json"\n[update]\ncooldown-days = 7\n'
    )
    (folder / "node/package.json").write_text(json.dumps({"dependencies": {"qs": "^6.10.0"}}))
    return folder


def written(lamina: Lamina, prefix: str) -> list[Any]:
    bucket, client = lamina.stage.stack.resources["Artifacts"], lamina.client("s3")
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]
    return [client.get_object(Bucket=bucket, Key=key)["Body"].read().decode() for key in sorted(keys)]


def test_a_dry_run_resolves_npm_packages_as_of_its_date(lamina: Lamina) -> None:
    done = lamina.run("Update", {"dryRun": True, "asOf": "2024-10-01"})

    assert done["status"] == "SUCCEEDED"
    row = lamina.report(done)[NODE]
    assert "qs 6." in row["summary"]
    (explanation,) = map(json.loads, written(lamina, f"explanations/{NODE}/"))
    assert explanation["nodeDirect"] == ["qs"]
    assert explanation["nodeRequirements"] == ["qs@^6.10.0"]
    (lock,) = [text for text in written(lamina, f"locks/{NODE}/") if text.startswith("{")]
    assert parse_npm_lock(lock).packages == explanation["nodePackages"]
    assert ungranted(lamina) == set()
