"""The addresses at which Lambda lets a code package or a layer be read."""

from __future__ import annotations

import io
import zipfile
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.local.lambdas.lab import Cloud, packed

CODE = "def handler(event, context): return 1"


@pytest.fixture
def api(cloud: Cloud) -> Any:
    return cloud.client("lambda")


def fetch(location: str, span: str | None = None) -> tuple[int, bytes, str]:
    request = Request(location, headers={"Range": span} if span else {})
    with urlopen(request, timeout=10) as answer:
        return answer.status, answer.read(), answer.headers.get("Content-Range", "")


def test_code_can_be_read_whole_and_in_parts(cloud: Cloud, api: Any) -> None:
    name = cloud.function(CODE)
    answer = api.get_function(FunctionName=name)
    location = answer["Code"]["Location"]
    assert location.startswith("http://127.0.0.1:")
    status, body, _ = fetch(location)
    assert (status, len(body)) == (200, answer["Configuration"]["CodeSize"])
    assert zipfile.ZipFile(io.BytesIO(body)).read("app.py").decode() == CODE
    assert fetch(location, "bytes=0-3") == (206, b"PK\3\4", f"bytes 0-3/{len(body)}")
    assert fetch(location, "bytes=-22") == (206, body[-22:], f"bytes {len(body) - 22}-{len(body) - 1}/{len(body)}")
    assert fetch(location, "bytes=-999999")[1] == body
    with pytest.raises(HTTPError, match="416"):
        fetch(location, f"bytes={len(body)}-")


def test_a_version_keeps_its_code_when_the_latest_gets_other_code(cloud: Cloud, api: Any) -> None:
    name = cloud.function(CODE)
    version = api.publish_version(FunctionName=name)["Version"]
    old = api.get_function(FunctionName=name)["Code"]["Location"]
    api.update_function_code(FunctionName=name, ZipFile=packed({"app.py": CODE + " + 1"}))
    cloud.settled(name)
    latest, kept = (
        fetch(api.get_function(FunctionName=name, Qualifier=qualifier)["Code"]["Location"])[1]
        for qualifier in ("$LATEST", version)
    )
    assert latest != kept == fetch(old)[1]


def test_a_layer_can_be_read_by_name_and_by_arn(cloud: Cloud, api: Any) -> None:
    content = packed({"python/a.py": "A = 1"})
    published = api.publish_layer_version(LayerName="readable", Content={"ZipFile": content})
    by_arn = api.get_layer_version_by_arn(Arn=published["LayerVersionArn"])
    by_name = api.get_layer_version(LayerName="readable", VersionNumber=published["Version"])
    for answer in (published, by_arn, by_name):
        assert answer["Content"]["CodeSize"] == len(content)
        assert fetch(answer["Content"]["Location"])[1] == content


def test_an_address_needs_its_signature_and_its_bucket_is_nobody_s(cloud: Cloud, api: Any) -> None:
    location = api.get_function(FunctionName=cloud.function(CODE))["Code"]["Location"]
    with pytest.raises(HTTPError, match="403"):
        fetch(location.partition("?")[0])
    assert not [row for row in cloud.client("s3").list_buckets()["Buckets"] if row["Name"].startswith("awslambda")]
