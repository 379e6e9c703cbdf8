"""A cloud starts empty, ends without a trace, and tells who called what."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from moto.stepfunctions.models import StepFunctionBackend

from local.calls import identify
from local.cloud import Cloud


def test_clouds_one_after_another_start_empty_and_leave_moto_as_it_was(tmp_path: Path) -> None:
    before = StepFunctionBackend.start_execution
    for _ in range(2):
        with Cloud(tmp_path) as cloud:
            assert cloud.client("s3").list_buckets()["Buckets"] == []
            cloud.client("s3").create_bucket(
                Bucket="one", CreateBucketConfiguration={"LocationConstraint": cloud.region}
            )
            assert StepFunctionBackend.start_execution is not before
    assert StepFunctionBackend.start_execution is before
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("events", "execution-"))]


def test_another_process_reaches_the_cloud_by_its_environment(tmp_path: Path) -> None:
    script = "import boto3; boto3.client('sns').create_topic(Name='from-outside')"
    with Cloud(tmp_path) as cloud:
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **cloud.environment()}, check=True, timeout=60
        )
        topics = cloud.client("sns").list_topics()["Topics"]
        assert [topic["TopicArn"].rsplit(":", 1)[1] for topic in topics] == ["from-outside"]
        assert cloud.calls.counts() == {"sns:CreateTopic": 1, "sns:ListTopics": 1}
        assert {call.caller for call in cloud.calls.all()} == {"operator"}


def test_calls_are_counted_by_role_with_their_answers(tmp_path: Path) -> None:
    with Cloud(tmp_path) as cloud:
        role = cloud.client_as("dynamodb", "arn:aws:iam::123456789012:role/lamina-AttachRole-1")
        with pytest.raises(role.exceptions.ResourceNotFoundException):
            role.get_item(TableName="gone", Key={"pk": {"S": "1"}})
        (call,) = cloud.calls.all("lamina-Attach")
        assert (call.action, call.resource, call.status) == ("dynamodb:GetItem", "gone", 400)
        assert cloud.calls.counts("lamina-Restore") == {}


@pytest.mark.parametrize(
    ("service", "method", "path", "query", "expected"),
    [
        ("lambda", "PUT", "/2015-03-31/functions/f/configuration", "", ("lambda:UpdateFunctionConfiguration", "f")),
        ("lambda", "POST", "/2015-03-31/functions/f/invocations", "", ("lambda:InvokeFunction", "f")),
        ("lambda", "GET", "/2015-03-31/functions/", "MaxItems=50", ("lambda:ListFunctions", "")),
        ("lambda", "GET", "/2015-03-31/functions/f", "", ("lambda:GetFunction", "f")),
        ("lambda", "PUT", "/2015-03-31/functions/f/aliases/live", "", ("lambda:UpdateAlias", "f")),
        ("lambda", "GET", "/2018-10-31/layers", "find=LayerVersion&Arn=a", ("lambda:GetLayerVersion", "")),
        ("lambda", "GET", "/2018-10-31/layers", "", ("lambda:ListLayers", "")),
        ("lambda", "POST", "/2018-10-31/layers/web/versions", "", ("lambda:PublishLayerVersion", "web")),
        ("lambda", "DELETE", "/2018-10-31/layers/web/versions/3", "", ("lambda:DeleteLayerVersion", "web")),
        ("s3", "PUT", "/b/k/with/slashes", "", ("s3:PutObject", "arn:aws:s3:::b/k/with/slashes")),
        ("s3", "GET", "/b/k", "", ("s3:GetObject", "arn:aws:s3:::b/k")),
        ("s3", "HEAD", "/b/k", "", ("s3:GetObject", "arn:aws:s3:::b/k")),
        ("s3", "DELETE", "/b/k", "", ("s3:DeleteObject", "arn:aws:s3:::b/k")),
        ("s3", "GET", "/b", "list-type=2&prefix=x", ("s3:ListBucket", "arn:aws:s3:::b")),
        ("s3", "GET", "/b", "versioning", ("s3:GetBucketVersioning", "arn:aws:s3:::b")),
        ("s3", "PUT", "/b/k", "partNumber=1&uploadId=u", ("s3:PutObject", "arn:aws:s3:::b/k")),
        ("s3", "GET", "/", "", ("s3:ListAllMyBuckets", "arn:aws:s3:::")),
        ("scheduler", "POST", "/schedules/daily", "", ("scheduler:CreateSchedule", "daily")),
    ],
)
def test_requests_are_known_by_their_permission(
    service: str, method: str, path: str, query: str, expected: tuple[str, str]
) -> None:
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    assert identify(service, environ, b"") == expected


def test_json_and_form_requests_name_their_action_and_resource() -> None:
    json_call = {"HTTP_X_AMZ_TARGET": "DynamoDB_20120810.UpdateItem", "REQUEST_METHOD": "POST", "PATH_INFO": "/"}
    assert identify("dynamodb", json_call, b'{"TableName": "t"}') == ("dynamodb:UpdateItem", "t")
    form_call = {"CONTENT_TYPE": "application/x-www-form-urlencoded; charset=utf-8", "PATH_INFO": "/"}
    assert identify("sns", form_call, b"Action=Publish&TopicArn=arn%3At") == ("sns:Publish", "arn:t")
    cbor_call = {"PATH_INFO": "/service/GraniteServiceVersion20100801/operation/GetMetricData"}
    assert identify("monitoring", cbor_call, b"") == ("cloudwatch:GetMetricData", "")
