"""The functions of a scenario as Lambda gets them: special ones, and what a deployment of other definitions changes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from local import cloud as aws
from local import fleet
from local.deploy import Stack
from local.redeploy import redeploy
from local.scenario import Member, ScenarioError
from tests.local.lambdas.lab import Cloud, running

RUNTIME = f"python3.{sys.version_info.minor}"
LAYER_BYTES = 3_000_000
LIMIT = 250 * 2**20


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("lambda"), update_seconds=0.02) as found:
        yield found


@pytest.fixture(scope="module")
def made(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A fleet with one function of each special kind, and a client that sees it."""
    code = tmp_path_factory.mktemp("code")
    (code / "app.py").write_text("def handler(event, context): return 1")
    layer = cloud.layer({"python/large.bin": b"\1" * LAYER_BYTES})
    architecture = fleet.host_architecture()
    shared: dict[str, Any] = {
        "code": code, "runtime": RUNTIME, "architectures": (architecture,), "layers": ("web",), "per_minute": 1,
        "event": {}, "error_rate": 0.0, "alias": "live",
    }  # fmt: skip
    members = [
        Member(name="plain", **shared),
        Member(name="unreleased", unreleased=True, **shared),
        Member(name="provisioned", provisioned_concurrency=2, **shared),
        Member(name="full", fill_mb=250, tags={"team": "x"}, **shared),
        Member(name="picture", package="image", **{**shared, "layers": (), "alias": None}),
    ]
    arns = {fleet.variant_name("web", RUNTIME, architecture): layer}
    client = cloud.client("lambda")
    fleet.create(client, cloud.client("iam"), members, arns)
    with pytest.raises(ScenarioError, match=r"small: fill-mb is 2, and its code and layers have 2\.9 MB already"):
        fleet.create(client, _NoRoles(), [Member(name="small", fill_mb=2, **shared)], arns)  # type: ignore[arg-type]
    return client


class _NoRoles:
    """An IAM that has the role already."""

    def create_role(self, **_: Any) -> dict[str, Any]:
        return {"Role": {"Arn": "arn:aws:iam::123456789012:role/scenario-fleet"}}


def versions(client: Any, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """`$LATEST` and the version behind the alias."""
    latest, live = (client.get_function(FunctionName=name, Qualifier=one) for one in ("$LATEST", "live"))
    return latest["Configuration"], live["Configuration"]


def test_unreleased_work_is_in_latest_alone(made: Any) -> None:
    latest, live = versions(made, "unreleased")
    assert latest["CodeSha256"] != live["CodeSha256"] and live["Version"] == "1"
    latest, live = versions(made, "plain")
    assert latest["CodeSha256"] == live["CodeSha256"]


def test_provisioned_concurrency_is_ready_before_the_traffic_starts(made: Any) -> None:
    found = made.get_provisioned_concurrency_config(FunctionName="provisioned", Qualifier="live")
    assert (found["Status"], found["AllocatedProvisionedConcurrentExecutions"]) == ("READY", 2)
    assert made.list_provisioned_concurrency_configs(FunctionName="plain")["ProvisionedConcurrencyConfigs"] == []


def test_a_full_function_has_no_room_for_another_byte(made: Any, cloud: Cloud) -> None:
    layer = versions(made, "full")[0]["Layers"][0]["Arn"]
    more = cloud.layer({"a": b"x"})
    with pytest.raises(made.exceptions.InvalidParameterValueException, match=f"The actual size is {LIMIT + 1} bytes"):
        made.update_function_configuration(FunctionName="full", Layers=[layer, more])
    assert made.get_function(FunctionName="full")["Tags"] == {"team": "x"}
    assert cloud.call("full", qualifier="live") == 1


def test_an_image_has_no_layers_and_is_not_run(made: Any) -> None:
    found = made.get_function(FunctionName="picture")["Configuration"]
    assert found["PackageType"] == "Image" and not {"Layers", "Runtime", "Handler"} & found.keys()


def test_other_definitions_reach_every_function_that_had_the_old_ones(cloud: Cloud, tmp_path: Path) -> None:
    code = "from pathlib import Path\ndef handler(event, context): return Path('/opt/web/layer.toml').read_text()"
    if not cloud.mounts:
        pytest.skip("this machine allows no private mounts, so that functions do not find layers at /opt")
    old, other = cloud.layer({"web/layer.toml": "old"}, "definitions"), cloud.layer({"a": ""})
    reader = cloud.function(code, Layers=[other, old])
    bystander = cloud.function(code, Layers=[other])
    stack = Stack("lamina", {}, {"Definitions": old})
    assert cloud.call(reader) == "old"
    (tmp_path / "web").mkdir()
    (tmp_path / "web/layer.toml").write_text("new")

    redeploy(cast("aws.Cloud", cloud), stack, tmp_path)

    assert cloud.call(reader) == "new"
    layers = [layer["Arn"] for layer in cloud.settled(reader)["Layers"]]
    assert layers == [other, f"{old[:-1]}2"] == [other, stack.resources["Definitions"]]
    assert [layer["Arn"] for layer in cloud.settled(bystander)["Layers"]] == [other]
