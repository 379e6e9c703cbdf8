"""A SAM template becomes what CloudFormation would make of it, or an error that names what is wrong."""

from __future__ import annotations

import io
import json
import shutil
import sys
import textwrap
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest

from local.deploy import DeployError
from local.deploy.intrinsics import Created, Resolver, references
from tests.local.cloud.conftest import DATA, RUNTIME, Asker


def _template(folder: Path, resources: str, **more: str) -> Path:
    path = folder / "template.yaml"
    sections = {"Resources": resources, **more}
    text = "Transform: AWS::Serverless-2016-10-31\n"
    for name, body in sections.items():
        text += f"{name}:\n{textwrap.indent(textwrap.dedent(body), '  ')}\n"
    path.write_text(text)
    return path


def _files(asker: Asker, stack: str, logical: str) -> list[str]:
    """What is in the zip that a stack's layer was published from."""
    s3 = asker.cloud.client("s3")
    body = s3.get_object(Bucket=f"{stack}-packages-{asker.cloud.account}", Key=f"{logical}.zip")["Body"].read()
    return zipfile.ZipFile(io.BytesIO(body)).namelist()


def test_a_function_has_its_layers_architecture_environment_and_tags(asker: Asker) -> None:
    function = asker.cloud.client("lambda").get_function(FunctionName=asker.stack.resources["Worker"])
    found = function["Configuration"]
    assert [layer["Arn"] for layer in found["Layers"]] == [asker.stack.resources["PlainLayer"]]
    assert found["Architectures"] == ["x86_64"]
    assert found["Environment"]["Variables"] == {"TABLE": asker.stack.resources["Registry"]}
    assert (found["Timeout"], found["MemorySize"], found["State"]) == (30, 256, "Active")
    assert function["Tags"]["team"] == "platform"


def test_a_layers_zip_holds_its_folder(asker: Asker) -> None:
    assert _files(asker, "lamina", "PlainLayer") == ["python/plain.py"]


def test_tables_buckets_and_parameters_are_as_declared(asker: Asker) -> None:
    resources = asker.stack.resources
    dynamodb, s3 = asker.cloud.client("dynamodb"), asker.cloud.client("s3")
    ttl = dynamodb.describe_time_to_live(TableName=resources["Registry"])["TimeToLiveDescription"]
    assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}
    assert s3.get_bucket_versioning(Bucket=resources["Artifacts"])["Status"] == "Enabled"
    rules = s3.get_bucket_lifecycle_configuration(Bucket=resources["Artifacts"])["Rules"]
    assert [(rule["ID"], rule["Expiration"]["Days"]) for rule in rules] == [("old", 90)]
    parameter = asker.cloud.client("ssm").get_parameter(Name="/lamina/promoted")["Parameter"]
    assert parameter["Value"] == "none"


def test_roles_have_the_policies_that_sam_writes(asker: Asker) -> None:
    iam = asker.cloud.client("iam")
    role = asker.stack.resources["WorkerRole"]
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    actions = {str(statement["Action"]) for document in documents for statement in document["Statement"]}
    assert actions == {"dynamodb:GetItem", "['sns:Publish']"}
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert [policy["PolicyName"] for policy in attached] == ["AWSLambdaBasicExecutionRole"]


def test_outputs_and_conditions_are_resolved(asker: Asker) -> None:
    assert asker.stack.outputs["Join"] == "b-eu-central-1"
    assert "OnlyWithAddress" not in asker.stack.outputs
    assert "Mail" not in asker.stack.resources


def test_parameters_override_and_content_replaces_a_folder(asker: Asker, tmp_path: Path) -> None:
    # GIVEN a copy of the stack's sources under another stack name, with a schedule and rule of its own
    shutil.copytree(DATA, tmp_path / "data")
    template = tmp_path / "data" / "template.yaml"
    text = template.read_text().replace("Name: daily", "Name: daily-2").replace("RuleName: ended", "RuleName: ended-2")
    template.write_text(text)
    (tmp_path / "other" / "python").mkdir(parents=True)
    (tmp_path / "other" / "python" / "plain.py").write_text('NAME = "other"\n')
    # WHEN it is deployed with an address and another layer
    stack = asker.cloud.deploy(
        template,
        stack="second",
        parameters={"Runtime": RUNTIME, "Address": "a@example.com"},
        content={"PlainLayer": tmp_path / "other"},
    )
    # THEN the conditional resources are there, and the function finds the other layer
    assert stack.outputs["OnlyWithAddress"] == "a@example.com"
    assert stack.resources["Mail"].startswith(stack.resources["Notifications"])
    answer = asker.cloud.client("lambda").invoke(FunctionName=stack.resources["Worker"], Payload=b"{}")
    assert json.loads(answer["Payload"].read())["layer"] == "other"


@pytest.mark.index
def test_a_layer_with_a_build_method_has_its_requirements_installed(asker: Asker, tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "requirements.txt").write_text("six==1.17.0\n")
    template = _template(
        tmp_path,
        f"""
        Dependencies:
          Type: AWS::Serverless::LayerVersion
          Metadata: {{ BuildMethod: {RUNTIME} }}
          Properties: {{ ContentUri: layer, CompatibleRuntimes: [{RUNTIME}] }}
        """,
    )
    for stack in ("built", "built-again"):
        made = asker.cloud.deploy(template, stack=stack).resources["Dependencies"]
    assert made.endswith(":layer:Dependencies:2")
    names = _files(asker, "built-again", "Dependencies")
    assert {"python/six.py", f"python/__pycache__/six.{sys.implementation.cache_tag}.pyc"} <= set(names)
    assert "requirements.txt" not in names
    assert len(list((asker.cloud.cache / "packages").glob("*.zip"))) == 1


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ("Pool: {Type: AWS::Cognito::UserPool}", r"Pool \(AWS::Cognito::UserPool\)"),
        ("T: {Type: AWS::SNS::Topic, Properties: {FifoTopic: true}}", "Resources.T.Properties: FifoTopic"),
        ("R: {Type: AWS::Events::Rule, Properties: {Patern: {}}}", "Resources.R.Properties.Patern"),
        ("A: {Type: AWS::SNS::Topic, Properties: {TopicName: !Ref Nobody}}", "'Nobody' leads to nothing"),
        (
            "A: {Type: AWS::SNS::Topic, Properties: {TopicName: !GetAtt B.Colour}}\nB: {Type: AWS::SQS::Queue}",
            "'Colour'",
        ),
        ("A: {Type: AWS::SNS::Topic, DependsOn: B}\nB: {Type: AWS::SNS::Topic, DependsOn: A}", "circular"),
        ("R: {Type: AWS::Events::Rule, Properties: {ScheduleExpression: rate(2 day)}}", r"rate\(2 day\)"),
        ("L: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: gone}}", "gone does not exist"),
        ("F: {Type: AWS::Serverless::Function, Properties: {Colour: red}}", "Colour"),
    ],
)
def test_what_cannot_be_deployed_is_an_error_that_names_it(
    asker: Asker, tmp_path: Path, resources: str, words: str
) -> None:
    with pytest.raises(DeployError, match=words):
        asker.cloud.deploy(_template(tmp_path, resources), stack="wrong")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"Colour": "red"}, "no such parameter: Colour"), ({"Architecture": "mips"}, "'mips' is not one of")],
)
def test_a_wrong_parameter_is_refused(asker: Asker, parameters: dict[str, str], words: str) -> None:
    with pytest.raises(DeployError, match=words):
        asker.cloud.deploy(DATA / "template.yaml", stack="wrong", parameters=parameters)


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("QueryLanguage: JSONata\nStartAt: A\nStates: {A: {Type: Pass, Next: B}}", "'B' does not exist"),
        ("QueryLanguage: JSONata\nStartAt: A\nStates: {A: {Type: Pass, End: true, Output: '${Nobody}'}}", "Nobody"),
    ],
)
def test_a_definition_that_step_functions_would_refuse_is_refused(
    asker: Asker, tmp_path: Path, definition: str, words: str
) -> None:
    (tmp_path / "a.asl.yaml").write_text(definition)
    resources = "M: {Type: AWS::Serverless::StateMachine, Properties: {DefinitionUri: a.asl.yaml}}"
    with pytest.raises(DeployError, match=words):
        asker.cloud.deploy(_template(tmp_path, resources), stack=f"wrong-{uuid.uuid4().hex[:6]}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Ref": "P"}, "v"),
        ({"Fn::Sub": "${P}-${R.Arn}-${!Literal}"}, "v-arn-${Literal}"),
        ({"Fn::Sub": ["${X}/${P}", {"X": {"Ref": "R"}}]}, "r/v"),
        ({"Fn::If": ["Yes", "a", {"Ref": "Nobody"}]}, "a"),
        ({"a": {"Fn::If": ["No", 1, {"Ref": "AWS::NoValue"}]}, "b": [{"Ref": "AWS::NoValue"}, 2]}, {"b": [2]}),
        ({"Fn::Select": ["1", {"Fn::Split": [",", "x,y"]}]}, "y"),
        ({"Fn::FindInMap": ["M", {"Ref": "P"}, "k"]}, "mapped"),
        ({"Fn::GetAtt": ["R", "Arn"]}, "arn"),
        ({"Fn::Join": [":", ["a", {"Ref": "P"}]]}, "a:v"),
    ],
)
def test_intrinsics(value: Any, expected: Any) -> None:
    conditions = {
        "Yes": {"Fn::And": [{"Fn::Equals": [{"Ref": "P"}, "v"]}, {"Fn::Not": [{"Condition": "No"}]}]},
        "No": {"Fn::Or": [{"Fn::Equals": ["a", "b"]}, {"Fn::Equals": ["c", "d"]}]},
    }
    resolver = Resolver({"P": "v"}, {"M": {"v": {"k": "mapped"}}}, conditions)
    resolver.created["R"] = Created("r", {"Arn": "arn"})
    assert resolver.resolve(value, "here") == expected


def test_references_are_found_wherever_they_stand() -> None:
    value = {
        "a": [{"Ref": "A"}],
        "b": {"Fn::GetAtt": "B.Arn"},
        "c": {"Fn::Sub": ["${C.x}${!No}${D}", {"D": {"Ref": "E"}}]},
    }
    assert set(references(value)) == {"A", "B", "C", "D", "E"}
