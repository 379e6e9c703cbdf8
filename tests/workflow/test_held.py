"""A candidate about which nothing can be known is held, and makes way for the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflow.conftest import Lamina, crew, define, variant

pytestmark = pytest.mark.index

TINY = variant("tiny")


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    define(folder, "tiny", "idna\n", "[rollout]\nmin-minutes = 1\nmax-minutes = 2\nextend-minutes = 4\n")
    return folder


def version_on(lamina: Lamina, function: str) -> str:
    return lamina.layers_of(function)[0].rsplit(":", 1)[1]


def test_no_traffic_holds_the_next_candidate_takes_its_place_and_a_person_puts_it_back(
    lamina: Lamina, tmp_path: Path
) -> None:
    assert lamina.run("Update", {"asOf": "2023-06-01"})["status"] == "SUCCEEDED"
    arn = lamina.client("lambda").list_layer_versions(LayerName=TINY)["LayerVersions"][0]["LayerVersionArn"]
    crew(lamina, tmp_path, ("tiny",), {TINY: arn})

    first = lamina.run("Update", {"layers": ["tiny"], "force": True, "asOf": "2023-06-01"})
    held = lamina.report(first)[TINY]
    assert (first["status"], held["outcome"], held["candidate"]) == ("FAILED", "held", 2)
    assert "never invoked" in held["message"]
    on_candidate = [name for name in ("job-1", "job-2") if version_on(lamina, name) == "2"]
    split = [
        name
        for name in ("app-1", "app-2")
        if lamina.client("lambda").get_alias(FunctionName=name, Name="live").get("RoutingConfig")
    ]
    assert on_candidate or split
    assert len(on_candidate) + len(split) < 4

    second = lamina.run("Update", {"layers": ["tiny"], "asOf": "2024-06-01"})
    assert lamina.report(second)[TINY]["outcome"] == "held"
    assert lamina.report(second)[TINY]["candidate"] == 3
    replaced = lamina.item(f"ROLLOUT#{held['rollout']}", "ROLLOUT")
    assert replaced["status"] == {"S": "rolled_back"}
    assert replaced["causeKind"] == {"S": "superseded"}
    assert "2" not in [version_on(lamina, name) for name in ("job-1", "job-2")]

    assert lamina.run("Rollback", {"layer": TINY})["status"] == "SUCCEEDED"
    for name in ("job-1", "job-2"):
        assert version_on(lamina, name) == "1"
    for name in ("app-1", "app-2"):
        assert lamina.layers_of(name, "live") == [arn]
    assert lamina.lock("tiny") is None
