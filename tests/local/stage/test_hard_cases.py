"""What a rollout may meet: a bad one among good ones, outages, silence, slowness, and functions that want care."""

from __future__ import annotations

import pytest

from tests.local.stage.conftest import Replaying

pytestmark = pytest.mark.index


def test_of_three_updates_the_bad_one_is_held_back_and_the_others_are_promoted(replayed: Replaying) -> None:
    value = replayed("one-of-three").result.to_json()

    assert value["then"]["changed"] == {"jiter": ["0.7.1", "0.8.0"], "pydantic": ["2.10.1", "2.10.2"]}
    layer = value["layers"]["llm-python311-x86_64"]
    assert layer["promoted"] > layer["candidate"]["version"] > layer["before"]["version"]
    assert value["next"]["changed"] == {}
    for function in value["functions"].values():
        assert [arn.rsplit(":", 1)[1] for arn in function["after"]] == [str(layer["promoted"])]


def test_an_outage_that_hits_all_functions_alike_is_nobodys_fault(replayed: Replaying) -> None:
    value = replayed("outage").result.to_json()

    assert value["traffic"]["errors_on_candidate"] > 10
    assert value["traffic"]["errors"] > value["traffic"]["errors_on_candidate"]


def test_functions_that_hardly_anybody_calls_end_as_their_definitions_say(replayed: Replaying) -> None:
    value = replayed("quiet").result.to_json()

    assert 50 <= value["traffic"]["on_candidate"] <= 100
    assert value["functions"]["archive"]["candidate_attached"] and value["functions"]["beacon"]["candidate_attached"]


@pytest.mark.parametrize("name", ["slower", "cold"])
def test_a_release_that_is_only_slower_is_held_with_a_finding(replayed: Replaying, name: str) -> None:
    value = replayed(name).result.to_json()

    assert value["traffic"]["errors"] == 0
    attached = [function["candidate_attached"] for function in value["functions"].values()]
    assert any(attached) and not all(attached)


def test_functions_that_want_care_are_handled_or_left_alone_with_the_reason(replayed: Replaying) -> None:
    value = replayed("special").result.to_json()

    moved = {name for name, function in value["functions"].items() if function["candidate_attached"]}
    assert moved == {"ordinary-1", "ordinary-2", "provisioned", "snapshots", "critical"}
    assert {name for name, function in value["functions"].items() if "left_alone" in function} == (
        value["functions"].keys() - moved
    )
    assert value["traffic"]["errors"] == 0
