"""Provisioned concurrency: what may have it, how it is allocated, and what becomes of an alias that moves meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.local.lambdas.lab import Cloud, refused, running

CODE = "import os\ndef handler(event, context): return os.environ['AWS_LAMBDA_FUNCTION_VERSION']"


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local Lambda whose allocations take longer than the requests of a test."""
    with running(tmp_path_factory.mktemp("slow"), update_seconds=0.2) as found:
        yield found


@pytest.fixture
def api(slow: Cloud) -> Any:
    return slow.client("lambda")


def versions(cloud: Cloud, number: int = 3) -> str:
    """A function with this many published versions, and the alias `live` for the first."""
    api = cloud.client("lambda")
    name = cloud.function(CODE)
    for version in range(1, number + 1):
        api.update_function_configuration(FunctionName=name, Timeout=3 + version)
        cloud.settled(name)
        api.publish_version(FunctionName=name)
        cloud.settled(name, str(version))
    api.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    return name


def ready(api: Any, name: str, qualifier: str = "live") -> dict[str, Any]:
    """Wait until an allocation is there."""
    for _ in range(2000):
        found: dict[str, Any] = api.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
        if found["Status"] == "READY":
            return found
    raise AssertionError(f"{name}:{qualifier} is never ready")


def provision(api: Any, name: str, qualifier: str = "live", number: int = 2) -> dict[str, Any]:
    answer: dict[str, Any] = api.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=number
    )
    return answer


def test_an_allocation_takes_a_while_and_is_listed_until_it_is_deleted(slow: Cloud, api: Any) -> None:
    name = versions(slow, 1)
    assert refused(api.get_provisioned_concurrency_config, FunctionName=name, Qualifier="live") == (
        "ProvisionedConcurrencyConfigNotFoundException",
        404,
        "No Provisioned Concurrency Config found for this function",
    )

    asked = provision(api, name)

    assert asked["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert (asked["Status"], asked["AllocatedProvisionedConcurrentExecutions"]) == ("IN_PROGRESS", 0)
    found = ready(api, name)
    assert found["RequestedProvisionedConcurrentExecutions"] == found["AllocatedProvisionedConcurrentExecutions"] == 2
    (listed,) = api.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]
    assert listed["FunctionArn"].endswith(f":{name}:live") and listed["Status"] == "READY"
    for _ in range(2):
        api.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="live")
    assert api.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"] == []


def test_what_may_not_have_one(slow: Cloud, api: Any) -> None:
    name = versions(slow, 2)

    def message(qualifier: str, number: int = 1) -> tuple[str, str]:
        code, _, text = refused(
            api.put_provisioned_concurrency_config, FunctionName=name, Qualifier=qualifier,
            ProvisionedConcurrentExecutions=number,
        )  # fmt: skip
        return code, text

    unpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    assert message("$LATEST") == ("InvalidParameterValueException", unpublished)
    api.create_alias(FunctionName=name, Name="head", FunctionVersion="$LATEST")
    assert message("head") == ("InvalidParameterValueException", unpublished)
    assert message("none")[0] == message("9")[0] == "ResourceNotFoundException"

    api.update_alias(FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 0.1}})
    assert message("live")[1] == "Alias with weights can not be used with Provisioned Concurrency"
    api.update_alias(FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {}})

    provision(api, name, "1")
    code, text = message("live")
    assert code == "ResourceConflictException" and "already Provisioned version" in text
    api.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
    provision(api, name, "live")
    assert message("1") == ("ResourceConflictException", "Version is pointed by a Provisioned Concurrency alias")

    api.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=3)
    assert "should not be greater than the reservedConcurrentExecution" in message("2", 2)[1]
    api.delete_function_concurrency(FunctionName=name)
    assert "below its minimum value of [100]" in message("2", 900)[1]


def test_an_alias_that_moves_keeps_its_callers_where_they_are_until_the_new_version_is_ready(
    slow: Cloud, api: Any
) -> None:
    name = versions(slow)
    provision(api, name)
    ready(api, name)

    moved = api.update_alias(FunctionName=name, Name="live", FunctionVersion="2")

    assert moved["FunctionVersion"] == "2"
    assert moved["RoutingConfig"] == {"AdditionalVersionWeights": {"1": 1.0}}
    status = api.get_provisioned_concurrency_config(FunctionName=name, Qualifier="live")["Status"]
    assert (status, slow.call(name, qualifier="live")) == ("IN_PROGRESS", "1")
    # A third version cannot be named meanwhile, nor the first again as long as it has a weight of its own.
    assert refused(
        api.update_alias, FunctionName=name, Name="live", FunctionVersion="3",
        RoutingConfig={"AdditionalVersionWeights": {}},
    )[2] == "Invalid alias configuration for Provisioned Concurrency"  # fmt: skip
    assert "already included in routing" in refused(
        api.update_alias, FunctionName=name, Name="live", FunctionVersion="1"
    )[2]  # fmt: skip

    ready(api, name)
    settled = api.get_alias(FunctionName=name, Name="live")
    assert "RoutingConfig" not in settled and settled["RevisionId"] != moved["RevisionId"]
    assert slow.call(name, qualifier="live") == "2"


def test_an_alias_on_its_way_goes_back_at_once(slow: Cloud, api: Any) -> None:
    name = versions(slow, 2)
    provision(api, name)
    ready(api, name)
    api.update_alias(FunctionName=name, Name="live", FunctionVersion="2")

    back = api.update_alias(
        FunctionName=name, Name="live", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {}}
    )

    assert (back["FunctionVersion"], back.get("RoutingConfig")) == ("1", None)
    assert ready(api, name)["AllocatedProvisionedConcurrentExecutions"] == 2
    assert slow.call(name, qualifier="live") == "1"


def test_weights_may_be_added_to_an_alias_with_an_allocation(slow: Cloud, api: Any) -> None:
    name = versions(slow, 2)
    provision(api, name)
    ready(api, name)
    weights = {"AdditionalVersionWeights": {"2": 0.5}}

    split = api.update_alias(FunctionName=name, Name="live", RoutingConfig=weights)

    assert (split["FunctionVersion"], split["RoutingConfig"]) == ("1", weights)
    ready(api, name)
    assert api.get_alias(FunctionName=name, Name="live")["RoutingConfig"] == weights
    assert {slow.call(name, qualifier="live") for _ in range(40)} == {"1", "2"}


def test_a_function_takes_its_allocations_with_it(slow: Cloud, api: Any) -> None:
    name = versions(slow, 1)
    provision(api, name)
    api.delete_function(FunctionName=name)
    slow.function(CODE, name)
    assert api.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"] == []
