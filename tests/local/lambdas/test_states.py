"""Functions that are being created or changed, and whole fleets of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.lambdas.backend import find_backend
from tests.local.lambdas.lab import RUNTIME, Cloud, packed, refused, running

CODE = "def handler(event, context): return 1"


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Cloud]:
    """A local Lambda whose updates last long enough to be in the way."""
    with running(tmp_path, update_seconds=1.0) as found:
        yield found


def test_a_new_function_is_pending_then_active(slow: Cloud) -> None:
    api = slow.client("lambda")
    created = api.create_function(
        FunctionName="young", Runtime=RUNTIME, Role=slow.role, Handler="app.handler",
        Code={"ZipFile": packed({"app.py": CODE})},
    )  # fmt: skip
    assert (created["State"], created["StateReasonCode"]) == ("Pending", "Creating")
    assert refused(api.invoke, FunctionName="young")[:2] == ("ResourceConflictException", 409)
    assert refused(api.update_function_configuration, FunctionName="young", Timeout=9)[:2] == (
        "ResourceConflictException",
        409,
    )
    api.get_waiter("function_active_v2").wait(FunctionName="young", WaiterConfig={"Delay": 1})
    settled = api.get_function(FunctionName="young")["Configuration"]
    assert (settled["State"], settled["LastUpdateStatus"]) == ("Active", "Successful")
    assert settled["RevisionId"] != created["RevisionId"]


def test_an_update_in_progress_bars_others_and_runs_the_old_configuration(slow: Cloud) -> None:
    api = slow.client("lambda")
    code = "import os\ndef handler(event, context): return os.environ.get('STEP')"
    name = slow.function(code, Environment={"Variables": {"STEP": "old"}})
    before = api.get_function(FunctionName=name)["Configuration"]["RevisionId"]

    updated = api.update_function_configuration(FunctionName=name, Environment={"Variables": {"STEP": "new"}})

    assert updated["LastUpdateStatus"] == "InProgress"
    code, status, message = refused(api.update_function_configuration, FunctionName=name, Timeout=9)
    assert (code, status) == ("ResourceConflictException", 409) and "An update is in progress" in message
    assert refused(api.publish_version, FunctionName=name)[0] == "ResourceConflictException"
    assert refused(api.update_function_code, FunctionName=name, ZipFile=packed({}))[0] == "ResourceConflictException"
    assert slow.call(name) == "old"
    api.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    assert slow.call(name) == "new"
    settled = api.get_function(FunctionName=name)["Configuration"]["RevisionId"]
    assert len({before, updated["RevisionId"], settled}) == 3


def test_a_version_with_a_snapshot_is_not_ready_at_once(slow: Cloud) -> None:
    api = slow.client("lambda")
    snapshots = {"Runtime": "python3.12", "SnapStart": {"ApplyOn": "PublishedVersions"}}
    assert refused(api.create_function, FunctionName="old", Role=slow.role, Handler="app.handler",
                   Code={"ZipFile": packed({"app.py": CODE})}, **{**snapshots, "Runtime": "python3.11"}) == (
        "InvalidParameterValueException", 400, "python3.11 is not supported for SnapStart enabled functions.",
    )  # fmt: skip
    name = slow.function(CODE, **snapshots)
    latest = slow.settled(name)["SnapStart"]

    published = api.publish_version(FunctionName=name)

    assert (published["State"], published["StateReasonCode"]) == ("Pending", "Creating")
    assert published["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
    assert latest == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
    assert refused(api.invoke, FunctionName=name, Qualifier="1")[:2] == ("SnapStartNotReadyException", 409)
    api.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="1", WaiterConfig={"Delay": 1})


@pytest.mark.parametrize(("state", "code"), [("Inactive", "Idle"), ("Failed", "EniLimitExceeded")])
def test_states_that_lambda_comes_to_by_itself(slow: Cloud, state: str, code: str) -> None:
    api = slow.client("lambda")
    name = slow.function(CODE)
    find_backend(slow.engine.account, slow.engine.region).set_state(name, state)

    found = api.get_function(FunctionName=name)["Configuration"]

    assert (found["State"], found["StateReasonCode"]) == (state, code) and found["StateReason"]
    if state == "Failed":
        assert refused(api.update_function_configuration, FunctionName=name, Timeout=9)[0] == (
            "ResourceConflictException"
        )
        assert refused(api.invoke, FunctionName=name)[:2] == ("ResourceConflictException", 409)
    else:
        api.update_function_configuration(FunctionName=name, Timeout=9)
        assert slow.settled(name)["State"] == "Active"


def test_functions_are_listed_in_pages_with_what_a_fleet_needs(tmp_path: Path) -> None:
    with running(tmp_path, update_seconds=0) as cloud:
        api = cloud.client("lambda")
        layer = cloud.layer({"a": ""})
        names = [cloud.function(CODE, f"fleet-{index:03d}", Layers=[layer]) for index in range(53)]
        first = api.list_functions(MaxItems=1000)
        assert len(first["Functions"]) == 50
        pages = list(api.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 20}))
        assert [len(page["Functions"]) for page in pages] == [20, 20, 13]
        found = [function for page in pages for function in page["Functions"]]
        assert [function["FunctionName"] for function in found] == names
        assert found[0]["Layers"][0]["Arn"] == layer and found[0]["Layers"][0]["CodeSize"] > 0
        assert {"Architectures", "PackageType", "Runtime", "CodeSize", "CodeSha256"} <= set(found[0])
        assert "State" not in found[0]
        tagged = cloud.client("resourcegroupstaggingapi")
        api.tag_resource(Resource=found[0]["FunctionArn"], Tags={"canary": "yes"})
        mapped = tagged.get_resources(ResourceTypeFilters=["lambda:function"], TagFilters=[{"Key": "canary"}])
        assert [one["ResourceARN"] for one in mapped["ResourceTagMappingList"]] == [found[0]["FunctionArn"]]
