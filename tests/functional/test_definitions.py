"""Where definitions come from: beside the stack, a place in S3, a run's own copies; and what a mistake leaves alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from lamina.collected import Collected, from_snapshot, snapshot
from lamina.definition import parse_definition
from lamina.errors import DefinitionRefused, InvalidInput
from lamina.gateways import definitions as gateway
from lamina.gateways.definitions import Definitions, Library, read_location
from lamina.gateways.store import Store
from lamina.model import Variant
from tests.unit.malformed import MALFORMED, NODE, PACKAGE, WHOLE

from .conftest import NOW, Cloud

PLACE = "s3://teams/lamina/layers/"
TOML = WHOLE.encode()


def put(objects: Mapping[str, bytes], prefix: str = "lamina/layers/") -> None:
    for key, body in objects.items():
        boto3.client("s3").put_object(Bucket="teams", Key=prefix + key, Body=body)


def web(name: str = "web") -> dict[str, bytes]:
    return {f"{name}/layer.toml": TOML, f"{name}/requirements.in": b"requests\n"}


def read(location: str = PLACE) -> Collected:
    return read_location(boto3.client("s3"), location)


def plan(cloud: Cloud, raw: object = None, run: str = "daily-1") -> dict[str, Any]:
    arn = f"arn:aws:states:eu-central-1:123456789012:execution:Update:{run}"
    return cloud.handler("plan")({"input": raw or {}, "execution": arn, "now": NOW})


@pytest.fixture
def place(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """An account whose definitions are in S3 as well."""
    boto3.client("s3").create_bucket(Bucket="teams", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    monkeypatch.setenv("DEFINITIONS_LOCATION", PLACE)
    return cloud


class Failing:
    """S3 as it is for somebody without rights, or without a network."""

    def __init__(self, error: Exception, only: str = "") -> None:
        self._client = boto3.client("s3")
        self._error = error
        self._only = only

    def get_paginator(self, name: str) -> Any:
        if self._only:
            return self._client.get_paginator(name)
        raise self._error

    def get_object(self, **arguments: Any) -> Any:
        if self._only in arguments["Key"]:
            raise self._error
        return self._client.get_object(**arguments)


def denied(code: str = "AccessDenied") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "ListObjectsV2")


def test_definitions_are_read_from_s3_page_by_page_with_their_files(place: Cloud) -> None:
    node = {"api/layer.toml": NODE.encode(), "api/package.json": PACKAGE.encode(), "api/own/bin/tool": b"\x00\xff"}
    put({**web(), **node, "api/own/": b"", "notes.txt": b"no folder", "empty/readme.md": b"no definition"})
    put({f"web/data/{number:04}": b"x" for number in range(990)})
    put(web("other"), prefix="elsewhere/")

    found = read()

    assert sorted(found.folders) == ["api", "web"]
    assert found.folders["api"]["own/bin/tool"] == b"\x00\xff"
    assert sorted(found.folders["api"]) == ["layer.toml", "own/bin/tool", "package.json"]
    assert len(found.folders["web"]) == 992
    assert found.places == {"api": f"{PLACE}api", "web": f"{PLACE}web"}
    assert (found.refusals, found.silent) == ((), "")


@pytest.mark.parametrize(
    "location", ["s3://teams/lamina/layers", "s3://teams/lamina/layers//", "s3://teams/lamina/layers/"]
)
def test_a_slash_more_or_less_is_the_same_place(place: Cloud, location: str) -> None:
    put(web())

    assert sorted(read(location).folders) == ["web"]


def test_a_whole_bucket_can_be_the_place(place: Cloud) -> None:
    put(web(), prefix="")

    assert sorted(read("s3://teams").folders) == ["web"]


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "a//b", "./x", "a\\b", "x\ny"])
def test_a_name_that_leads_out_of_its_folder_refuses_that_folder_alone(place: Cloud, name: str) -> None:
    put({**web(), **web("bad"), f"bad/{name}": b""})

    found = read()

    assert sorted(found.folders) == ["web"]
    assert found.refusals[0].message.startswith(f"{PLACE}bad: the object ")
    assert "has a name that leads out of its folder; delete or rename it" in found.refusals[0].message


def test_a_folder_that_is_too_large_is_refused_alone(place: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "LARGEST_FOLDER", 1000)
    monkeypatch.setattr(gateway, "MOST_FILES", 3)
    put({**web(), **web("heavy"), "heavy/big": b"x" * 1000, **web("many"), "many/a": b"", "many/b": b""})

    found = read()

    assert sorted(found.folders) == ["web"]
    assert [refusal.layer for refusal in found.refusals] == ["heavy", "many"]
    for refusal in found.refusals:
        assert "more than the 3 files or 1000 bytes" in refusal.message


def test_a_place_with_too_many_objects_is_left_alone_and_said(place: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "MOST_OBJECTS", 2)
    put({**web(), **web("api")})

    found = read()

    assert found.folders == {}
    assert f"{PLACE}: holds more than 2 objects; no layer defined there was looked at" in found.silent


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            denied(),
            "could not be read (AccessDenied); nothing of it was changed, what is defined there is unknown; allow",
        ),
        (denied("NoSuchBucket"), "correct the stack's parameter DefinitionsLocation"),
        (denied("SlowDown"), "the next run reads it again"),
        (EndpointConnectionError(endpoint_url="https://s3"), "could not be read (EndpointConnectionError)"),
    ],
)
def test_a_place_that_cannot_be_read_is_said_and_not_empty(place: Cloud, error: Exception, says: str) -> None:
    found = read_location(Failing(error), PLACE)  # type: ignore[arg-type]

    assert found.silent.startswith(f"{PLACE}: ")
    assert says in found.silent


def test_a_folder_that_changes_while_it_is_read_is_refused_alone(place: Cloud) -> None:
    put({**web(), **web("api")})

    found = read_location(Failing(denied("PreconditionFailed"), "api/"), PLACE)  # type: ignore[arg-type]

    assert sorted(found.folders) == ["web"]
    assert "it was changed while it was read; the next run reads it again" in found.refusals[0].message


def test_objects_are_read_as_they_were_listed(place: Cloud) -> None:
    put(web())
    client = boto3.client("s3")
    asked: list[str] = []
    client.meta.events.register(
        "provide-client-params.s3.GetObject", lambda params, **_: asked.append(params["IfMatch"])
    )

    read_location(client, PLACE)

    assert len(asked) == 2


def test_the_stack_s_own_definition_goes_before_one_of_the_same_name(place: Cloud) -> None:
    place.define("web", WHOLE, requirements_in="idna\n")
    put({**web(), **web("api")})

    planned = plan(place)

    assert [(variant["layer"], variant["snapshot"]) for variant in planned["variants"]] == [
        ("api", "definitions/daily-1/api.json"),
        ("web", None),
    ]
    assert [(row["layer"], row["message"]) for row in planned["refused"]] == [
        ("web", f"{PLACE}web/layer.toml: a layer called web is deployed with the stack and goes on as it is defined "
         "there; this one was left out. Rename its folder")
    ]  # fmt: skip


def test_two_places_cannot_publish_under_the_same_layer_name(place: Cloud) -> None:
    toml = f"{WHOLE}[environments.dev]\nrequirements = 'requirements.in'\n"
    put({"web/layer.toml": toml.encode(), "web/requirements.in": b"requests\n"})
    place.define("web-dev", WHOLE, requirements_in="idna\n")

    planned = plan(place)

    assert {variant["layer"] for variant in planned["variants"]} == {"web-dev"}
    assert planned["refused"][0]["message"].startswith(f"{PLACE}web/layer.toml: its layer would be called web-dev-")
    assert "which layers/web-dev already publishes" in planned["refused"][0]["message"]


def test_a_place_that_cannot_be_read_leaves_the_stack_s_own_layers_alone(place: Cloud, cloud: Cloud) -> None:
    boto3.client("s3").delete_bucket(Bucket="teams")
    place.define("web", WHOLE, requirements_in="idna\n")

    assert [variant["layer"] for variant in plan(place)["variants"]] == ["web"]
    assert [(row["layer"], "NoSuchBucket" in row["message"]) for row in plan(place)["refused"]] == [(PLACE, True)]
    named = plan(place, {"layers": ["web", "api"]})
    assert [variant["layer"] for variant in named["variants"]] == ["web"]
    assert [(row["layer"], PLACE in row["message"]) for row in named["refused"]] == [("api", True)]


def test_a_layer_that_is_nowhere_is_an_error_of_the_input(place: Cloud) -> None:
    put(web())

    with pytest.raises(InvalidInput, match="there is no layer 'api'; known are: web"):
        plan(place, {"layers": ["api"]})


def test_every_step_of_a_run_sees_the_definition_that_the_run_was_planned_with(place: Cloud, tmp_path: Path) -> None:
    put(web())
    variant = Variant.model_validate(plan(place)["variants"][0])
    put({"web/requirements.in": b"something-else\n"})

    definitions = Definitions(tmp_path / "nothing", Store(boto3.client("s3"), place.artifacts))
    definition = definitions.of(variant)

    assert definition.content["requirements.in"] == b"requests\n"
    assert definition.folder == f"{PLACE}web"
    boto3.client("s3").delete_object(Bucket=place.artifacts, Key=str(variant.snapshot))
    with pytest.raises(DefinitionRefused, match=r"the run's copy of its definition is gone from the artifacts bucket"):
        definitions.of(variant)


def test_the_same_definition_is_the_same_copy_byte_for_byte() -> None:
    files = {"layer.toml": TOML, "requirements.in": b"idna\n", "a/b": bytes(range(256))}
    one, other = (parse_definition("web", dict(items), PLACE) for items in (files.items(), reversed(files.items())))

    assert snapshot(one) == snapshot(other)
    assert from_snapshot(snapshot(one)).content == files


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"layer": "web", "folder": "", "files": {"layer.toml": "%"}}'])
def test_a_copy_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(DefinitionRefused, match="Start the update again"):
        from_snapshot(body)


def test_without_a_place_in_s3_nothing_is_asked(cloud: Cloud) -> None:
    cloud.define("web", WHOLE, requirements_in="idna\n")
    client: Any = Failing(AssertionError("asked"))

    assert sorted(Library(cloud.opt, "", client).collect().folders) == ["web"]


def test_malformed_definitions_leave_the_other_layers_of_the_run_alone(place: Cloud) -> None:
    """Half of them deployed with the stack, half of them in S3: each has its own row, and both good ones go on."""
    place.define("good", WHOLE, requirements_in="idna\n")
    put(web("fine"))
    for number, mistake in enumerate(MALFORMED):
        content = mistake.content()
        if number % 2:
            put({f"bad-{number}/{path}": body for path, body in content.items()})
            continue
        for path, body in content.items():
            target = place.opt / f"bad-{number}" / path
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(body)

    planned = plan(place)

    assert [variant["layer"] for variant in planned["variants"]] == ["fine", "good"]
    assert len(planned["refused"]) == len(MALFORMED)
    for row in planned["refused"]:
        number = int(row["layer"].removeprefix("bad-"))
        folder = f"{PLACE}bad-{number}" if number % 2 else f"layers/bad-{number}"
        assert row["message"].startswith(f"{folder}/{MALFORMED[number].at}")
    kept = json.loads(place.read("definitions/daily-1/fine.json"))
    assert kept["layer"] == "fine"
    assert place.objects() == ["definitions/daily-1/fine.json"]
