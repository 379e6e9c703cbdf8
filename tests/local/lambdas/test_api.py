"""Lambda's API through boto3: guards, states, versions, aliases, layers, paging, waiters."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from tests.local.lambdas.lab import ORIGIN, Cloud, packed, refused

CODE = "def handler(event, context): return 1"


@pytest.fixture
def api(cloud: Cloud) -> Any:
    return cloud.client("lambda")


def big(size: int) -> bytes:
    """A zip that is small, and large when unpacked."""
    return packed({"data": b"\0" * size})


# -- revisions and changes


@pytest.mark.parametrize("change", ["configuration", "code", "publish"])
def test_a_stale_revision_is_refused(cloud: Cloud, api: Any, change: str) -> None:
    name = cloud.function(CODE)
    changes: dict[str, tuple[Any, dict[str, Any]]] = {
        "configuration": (api.update_function_configuration, {"Timeout": 9}),
        "code": (api.update_function_code, {"ZipFile": packed({"app.py": CODE + " "})}),
        "publish": (api.publish_version, {}),
    }
    call, arguments = changes[change]
    current = cloud.settled(name)["RevisionId"]
    code, status, message = refused(call, FunctionName=name, RevisionId="0" * 36, **arguments)
    assert (code, status) == ("PreconditionFailedException", 412) and "Revision Id" in message
    call(FunctionName=name, RevisionId=current, **arguments)


def test_an_update_changes_only_what_is_sent(cloud: Cloud, api: Any) -> None:
    name = cloud.function(
        CODE, Timeout=11, MemorySize=300, Description="d", Environment={"Variables": {"A": "1"}},
        Layers=[cloud.layer({"a": ""})], Tags={"team": "x"}, TracingConfig={"Mode": "Active"},
        EphemeralStorage={"Size": 600}, Architectures=["arm64"],
    )  # fmt: skip
    volatile = ("LastModified", "RevisionId", "ResponseMetadata", "Layers")
    before = cloud.settled(name)
    new = cloud.layer({"b": ""})
    cloud.client("lambda").update_function_configuration(FunctionName=name, Layers=[new])
    after = cloud.settled(name)
    assert [layer["Arn"] for layer in after["Layers"]] == [new]
    for key in volatile:
        before.pop(key), after.pop(key)
    assert before == after
    assert api.list_tags(Resource=after["FunctionArn"])["Tags"] == {"team": "x"}
    assert api.get_function(FunctionName=name)["Tags"] == {"team": "x"}


def test_dates_are_virtual_and_in_lambdas_form(cloud: Cloud, api: Any) -> None:
    found = cloud.settled(cloud.function(CODE))
    assert re.fullmatch(r"2024-11-27T1\d:\d\d:\d\d\.\d{3}\+0000", found["LastModified"])
    arn = cloud.layer({"a": ""})
    assert api.get_layer_version_by_arn(Arn=arn)["CreatedDate"].startswith("2024-11-27T1")


def test_new_code_and_architecture_take_effect(cloud: Cloud, api: Any) -> None:
    name = cloud.function(CODE)
    old = cloud.settled(name)["CodeSha256"]
    api.update_function_code(FunctionName=name, ZipFile=packed({"app.py": CODE + " + 1"}), Architectures=["arm64"])
    assert cloud.settled(name)["CodeSha256"] != old
    assert cloud.settled(name)["Architectures"] == ["arm64"]
    assert cloud.call(name) == 2


def test_code_and_layers_come_from_s3(cloud: Cloud, api: Any) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    s3.put_object(Bucket="artifacts", Key="layer.zip", Body=packed({"python/which.py": "N = 5"}))
    s3.put_object(
        Bucket="artifacts", Key="code.zip", Body=packed({"app.py": "import which\ndef handler(e, c): return which.N"})
    )
    where = {"S3Bucket": "artifacts", "S3Key": "layer.zip"}
    layer = api.publish_layer_version(LayerName="from-s3", Content=where, CompatibleRuntimes=["python3.13"])
    name = cloud.function("", Code={"S3Bucket": "artifacts", "S3Key": "code.zip"}, Layers=[layer["LayerVersionArn"]])
    assert cloud.call(name) == 5
    code, _, message = refused(
        api.publish_layer_version, LayerName="from-s3", Content={"S3Bucket": "artifacts", "S3Key": "none.zip"}
    )
    assert code == "InvalidParameterValueException" and "NoSuchKey" in message


# -- versions and aliases


def test_a_version_freezes_and_an_unchanged_publish_returns_it(cloud: Cloud, api: Any) -> None:
    first = cloud.layer({"python/which.py": "N = 1"}, "frozen")
    name = cloud.function("import which\ndef handler(event, context): return which.N", Layers=[first])
    version = api.publish_version(FunctionName=name, Description="one")
    assert (version["Version"], version["Description"]) == ("1", "one")
    assert version["FunctionArn"].endswith(f":{name}:1")
    api.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="1", WaiterConfig={"Delay": 1})
    assert api.publish_version(FunctionName=name)["Version"] == "1"

    second = cloud.layer({"python/which.py": "N = 2"}, "frozen")
    api.update_function_configuration(FunctionName=name, Layers=[second])
    cloud.settled(name)
    assert api.publish_version(FunctionName=name)["Version"] == "2"
    cloud.settled(name, "2")

    assert [cloud.call(name, qualifier=one) for one in ("1", "2", "$LATEST")] == [1, 2, 2]
    frozen = api.get_function(FunctionName=name, Qualifier="1")["Configuration"]
    assert [layer["Arn"] for layer in frozen["Layers"]] == [first] and frozen["Version"] == "1"
    listed = api.list_versions_by_function(FunctionName=name)["Versions"]
    assert [one["Version"] for one in listed] == ["$LATEST", "1", "2"]
    api.update_function_configuration(FunctionName=name, Layers=[first])
    cloud.settled(name)
    assert api.publish_version(FunctionName=name)["Version"] == "3"  # compared with the last one only


def test_a_publish_may_insist_on_its_code(cloud: Cloud, api: Any) -> None:
    name = cloud.function(CODE)
    sha = cloud.settled(name)["CodeSha256"]
    code, _, message = refused(api.publish_version, FunctionName=name, CodeSha256="other")
    assert code == "InvalidParameterValueException" and "other" in message and sha in message
    assert api.publish_version(FunctionName=name, CodeSha256=sha)["CodeSha256"] == sha


def test_an_alias_splits_its_traffic_by_weight(cloud: Cloud, api: Any) -> None:
    name = cloud.function("import os\ndef handler(event, context): return os.environ['AWS_LAMBDA_FUNCTION_VERSION']")
    api.publish_version(FunctionName=name)
    api.update_function_configuration(FunctionName=name, Timeout=4)
    cloud.settled(name)
    api.publish_version(FunctionName=name)
    cloud.settled(name, "2")
    alias = api.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert alias["AliasArn"].endswith(f":{name}:live") and "RoutingConfig" not in alias
    assert {cloud.call(name, qualifier="live") for _ in range(20)} == {"1"}

    changes: list[Any] = []
    cloud.engine.on_change.append(changes.append)
    weights = {"AdditionalVersionWeights": {"2": 0.2}}
    updated = api.update_alias(FunctionName=name, Name="live", RoutingConfig=weights, RevisionId=alias["RevisionId"])
    cloud.engine.on_change.remove(changes.append)

    assert updated["RevisionId"] != alias["RevisionId"] and updated["RoutingConfig"] == weights
    assert [(one.alias, one.version, one.weights) for one in changes] == [("live", "1", {"2": 0.2})]
    answers = [cloud.invoke(name, qualifier="live") for _ in range(400)]
    seen = Counter(answer.executed_version for answer in answers)
    assert 40 <= seen["2"] <= 120 and seen["1"] + seen["2"] == 400  # 80 expected, five standard deviations of 8
    assert all(json.loads(answer.payload) == answer.executed_version for answer in answers)
    assert refused(
        api.update_alias, FunctionName=name, Name="live", FunctionVersion="2", RevisionId=alias["RevisionId"]
    )[:2] == ("PreconditionFailedException", 412)
    back = api.update_alias(FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {}})
    assert "RoutingConfig" not in back and back["FunctionVersion"] == "1"
    through = api.get_function(FunctionName=name, Qualifier="live")["Configuration"]
    assert (through["Version"], through["FunctionArn"].endswith(":live")) == ("1", True)


def test_what_an_alias_refuses(cloud: Cloud, api: Any) -> None:
    name = cloud.function(CODE)
    assert refused(api.create_alias, FunctionName=name, Name="live", FunctionVersion="7")[1] == 404
    api.publish_version(FunctionName=name)
    api.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert refused(api.create_alias, FunctionName=name, Name="live", FunctionVersion="1")[1] == 409
    for weights in ({"$LATEST": 0.1}, {"1": 0.1}, {"9": 0.1}):
        code, _, _ = refused(
            api.update_alias, FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": weights}
        )
        assert code in ("InvalidParameterValueException", "ResourceNotFoundException"), weights
    assert refused(api.get_alias, FunctionName=name, Name="none")[1] == 404
    assert refused(api.delete_function, FunctionName=name, Qualifier="1")[:2] == ("ResourceConflictException", 409)
    api.delete_alias(FunctionName=name, Name="live")
    api.delete_function(FunctionName=name, Qualifier="1")
    assert refused(api.get_function, FunctionName=name, Qualifier="1")[1] == 404


def test_a_deleted_function_is_gone_with_its_environments(cloud: Cloud, api: Any) -> None:
    name = cloud.function(CODE)
    cloud.call(name)
    api.delete_function(FunctionName=name)
    assert cloud.invoke(name).status == 404
    assert refused(api.get_function, FunctionName=name)[:2] == ("ResourceNotFoundException", 404)
    assert name not in [function["FunctionName"] for function in api.list_functions()["Functions"]]


# -- layers and limits


def test_layers_are_found_listed_and_deleted(cloud: Cloud, api: Any) -> None:
    for content in ("one", "two", "three"):
        api.publish_layer_version(
            LayerName="listed", Content={"ZipFile": packed({"a": content})}, Description=content, LicenseInfo="MIT",
            CompatibleRuntimes=["python3.13"], CompatibleArchitectures=["arm64"],
        )  # fmt: skip
    listed = api.list_layer_versions(LayerName="listed", MaxItems=2)
    assert [one["Version"] for one in listed["LayerVersions"]] == [3, 2]
    rest = api.list_layer_versions(LayerName="listed", Marker=listed["NextMarker"])
    assert [one["Version"] for one in rest["LayerVersions"]] == [1] and "NextMarker" not in rest
    assert api.list_layer_versions(LayerName="listed", CompatibleRuntime="python3.9")["LayerVersions"] == []
    arn = listed["LayerVersions"][0]["LayerVersionArn"]
    by_arn = api.get_layer_version_by_arn(Arn=arn)
    by_name = api.get_layer_version(LayerName="listed", VersionNumber=3)
    for answer in (by_arn, by_name):
        del answer["ResponseMetadata"]
        del answer["Content"]["Location"]  # signed anew each time
    assert by_arn == by_name and by_arn["Description"] == "three" and by_arn["Content"]["CodeSize"] > 0
    latest = {one["LayerName"]: one["LatestMatchingVersion"]["Version"] for one in api.list_layers()["Layers"]}
    assert latest["listed"] == 3

    name = cloud.function(CODE, Layers=[arn])
    api.delete_layer_version(LayerName="listed", VersionNumber=3)
    api.delete_layer_version(LayerName="listed", VersionNumber=3)
    assert cloud.call(name) == 1  # what is attached keeps working …
    code, _, message = refused(api.update_function_configuration, FunctionName=name, Layers=[arn])
    assert code == "InvalidParameterValueException" and f"Layer version {arn} does not exist" in message  # … no more
    assert refused(api.get_layer_version_by_arn, Arn=arn)[1] == 404
    answer = api.publish_layer_version(LayerName="listed", Content={"ZipFile": packed({"a": "four"})})
    assert answer["Version"] == 4


def test_a_layer_version_is_shared_by_policy(cloud: Cloud, api: Any) -> None:
    arn = cloud.layer({"a": ""}, "shared")
    added = api.add_layer_version_permission(
        LayerName="shared", VersionNumber=1, StatementId="org", Action="lambda:GetLayerVersion", Principal="*",
        OrganizationId="o-123",
    )  # fmt: skip
    assert json.loads(added["Statement"])["Sid"] == "org" and added["RevisionId"]
    policy = json.loads(api.get_layer_version_policy(LayerName="shared", VersionNumber=1)["Policy"])
    statement = policy["Statement"][0]
    assert statement["Action"] == "lambda:GetLayerVersion" and statement["Resource"] == arn
    api.remove_layer_version_permission(LayerName="shared", VersionNumber=1, StatementId="org")
    assert refused(api.get_layer_version_policy, LayerName="shared", VersionNumber=1)[1] == 404


def test_layer_lists_that_lambda_refuses(cloud: Cloud, api: Any) -> None:
    name = cloud.function(CODE)
    six = [cloud.layer({"a": ""}) for _ in range(6)]
    again = cloud.layer({"a": "2"}, six[0].split(":")[6])
    foreign = six[0].replace("123456789012", "210987654321")
    for layers, expected in (
        (six, "Cannot reference more than 5 layers"),
        ([six[0], again], "Two different versions of the same layer"),
        ([six[0] + "9"], "does not exist"),
    ):
        code, status, message = refused(api.update_function_configuration, FunctionName=name, Layers=layers)
        assert (code, status) == ("InvalidParameterValueException", 400) and expected in message
    assert refused(api.update_function_configuration, FunctionName=name, Layers=[foreign])[:2] == (
        "AccessDeniedException",
        403,
    )
    assert "Layers" not in cloud.settled(name)
    api.update_function_configuration(FunctionName=name, Layers=six[:5])
    assert [layer["Arn"] for layer in cloud.settled(name)["Layers"]] == six[:5]


def test_code_and_layers_together_are_limited(cloud: Cloud, api: Any) -> None:
    half = api.publish_layer_version(LayerName="half", Content={"ZipFile": big(131_072_000)})["LayerVersionArn"]
    rest = api.publish_layer_version(LayerName="rest", Content={"ZipFile": big(131_072_000)})["LayerVersionArn"]
    name = cloud.function(CODE, Layers=[half])
    code, _, message = refused(api.update_function_configuration, FunctionName=name, Layers=[half, rest])
    assert code == "InvalidParameterValueException"
    assert "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes" in message
    assert f"The actual size is {262_144_000 + len(CODE)} bytes" in message
    code, _, message = refused(api.publish_layer_version, LayerName="large", Content={"ZipFile": big(262_144_001)})
    assert "Unzipped size must be smaller than 262144000 bytes" in message
    assert refused(api.publish_layer_version, LayerName="bad", Content={"ZipFile": b"no zip"})[1] == 400


def test_an_image_has_no_layers(cloud: Cloud, api: Any) -> None:
    layer = cloud.layer({"a": ""})
    image = {"FunctionName": "image", "PackageType": "Image", "Role": cloud.role, "Code": {"ImageUri": "x/y:1"}}
    assert "PackageType is Image" in refused(api.create_function, **image, Layers=[layer])[2]
    api.create_function(**image)
    assert cloud.settled("image")["PackageType"] == "Image"
    for change in ({"Layers": [layer]}, {"Handler": "app.handler"}, {"Runtime": "python3.13"}):
        message = refused(api.update_function_configuration, FunctionName="image", **change)[2]
        assert "PackageType is Image" in message, change
    assert "PackageType is Image" in refused(
        api.create_function, **{**image, "FunctionName": "other"}, Handler="app.handler"
    )[2]  # fmt: skip


def test_an_image_is_listed_without_a_runtime_and_told_where_it_comes_from(cloud: Cloud, api: Any) -> None:
    repository = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/pictures"
    uri = f"{repository}:7"
    api.create_function(
        FunctionName="pictures", PackageType="Image", Role=cloud.role, Code={"ImageUri": uri}, Tags={"team": "x"}
    )
    cloud.settled("pictures")
    pages = api.get_paginator("list_functions").paginate()
    listed = next(one for page in pages for one in page["Functions"] if one["FunctionName"] == "pictures")
    assert listed["PackageType"] == "Image" and listed["Architectures"] == ["x86_64"]
    assert listed["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}
    assert not {"Runtime", "Handler", "Layers", "State", "Tags"} & listed.keys()
    told = api.get_function(FunctionName="pictures")
    assert told["Tags"] == {"team": "x"}
    assert (told["Code"]["RepositoryType"], told["Code"]["ImageUri"]) == ("ECR", uri)
    assert told["Code"]["ResolvedImageUri"].startswith(
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/pictures@sha256:"
    )
    assert "Location" not in told["Code"]


def test_a_zip_needs_a_runtime_and_a_handler(cloud: Cloud, api: Any) -> None:
    code, _, message = refused(
        api.create_function, FunctionName="bare", Role=cloud.role, Code={"ZipFile": packed({"app.py": CODE})}
    )
    assert code == "InvalidParameterValueException" and "Runtime and Handler are mandatory" in message


# -- concurrency


def test_reserved_concurrency_throttles(cloud: Cloud, api: Any) -> None:
    name = cloud.function(CODE)
    api.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    assert api.get_function(FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 0}
    answer = cloud.invoke(name)
    assert (answer.status, answer.error) == (429, "TooManyRequestsException")
    assert refused(api.invoke, FunctionName=name)[:2] == ("TooManyRequestsException", 429)
    api.delete_function_concurrency(FunctionName=name)
    assert cloud.call(name) == 1
    start, end = ORIGIN.replace(hour=0), ORIGIN.replace(hour=23)
    points = cloud.metrics.series("Throttles", {"FunctionName": name}, start, end, 3600, "Sum")
    assert [value for _, value in points] == [2.0]
