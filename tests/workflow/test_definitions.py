"""Definitions of teams in S3, many of them malformed, on the real state machines: the good ones are released."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.replay import stage
from local.story import Story
from tests.unit.malformed import MALFORMED
from tests.workflow.conftest import Lamina, define, ungranted, variant

pytestmark = pytest.mark.index

PLACE = "s3://teams/lamina/layers/"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:wheels-a1b2c3"
REPOSITORY = "arn:aws:codeartifact:eu-central-1:123456789012:repository/acme/wheels"
OWN, THEIRS = variant("own"), variant("theirs")


@pytest.fixture(scope="module")
def lamina(definitions: Path) -> Iterator[Lamina]:
    define(definitions, "own", "idna\n")
    parameters = {
        "DefinitionsLocation": PLACE,
        "PrivateIndexSecrets": SECRET,
        "CodeArtifactRepositories": f"{REPOSITORY},{REPOSITORY}-2",
    }
    with stage(definitions, 0.5, Story(), parameters=parameters) as ready:
        yield Lamina(ready)


@pytest.fixture(scope="module")
def released(lamina: Lamina, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The first run: a good definition on each side, and every malformed one beside them."""
    store = lamina.client("s3")
    store.create_bucket(Bucket="teams", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    folder = tmp_path_factory.mktemp("theirs")
    define(folder, "theirs", "idna\n")
    objects = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for number, mistake in enumerate(MALFORMED):
        objects |= {f"bad-{number}/{path}": body for path, body in mistake.content().items()}
    for key, body in objects.items():
        store.put_object(Bucket="teams", Key=f"lamina/layers/{key}", Body=body)
    return lamina.run("Update", {"asOf": "2023-06-01"})


def test_the_good_definitions_of_a_run_are_released_whatever_the_others_are(
    lamina: Lamina, released: dict[str, Any]
) -> None:
    rows = lamina.report(released)

    assert {name: row["outcome"] for name, row in rows.items()} == {OWN: "promoted", THEIRS: "promoted"}
    for layer in (OWN, THEIRS):
        assert len(lamina.client("lambda").list_layer_versions(LayerName=layer)["LayerVersions"]) == 1
    assert (released["status"], released["error"]) == ("FAILED", "NotAllUpdated")


def test_each_malformed_one_is_told_with_its_place_and_remedy(lamina: Lamina, released: dict[str, Any]) -> None:
    key = f"reports/{released['name']}/report.json"
    body = lamina.client("s3").get_object(Bucket=lamina.stage.stack.resources["Artifacts"], Key=key)["Body"].read()
    told = {row["layer"]: row["message"] for row in json.loads(body)["refused"]}

    assert len(told) == len(MALFORMED)
    for number, mistake in enumerate(MALFORMED):
        assert told[f"bad-{number}"].startswith(f"{PLACE}bad-{number}/{mistake.at}")
        for part in mistake.says:
            assert part in told[f"bad-{number}"]


def test_every_step_had_the_rights_that_it_needs_and_plan_alone_reads_the_place(
    lamina: Lamina, released: dict[str, Any]
) -> None:
    assert not ungranted(lamina)
    iam = lamina.client("iam")
    readers = {
        role["RoleName"]
        for role in iam.list_roles()["Roles"]
        for name in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
        if "arn:aws:s3:::teams"
        in str(iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"])
    }
    assert len(readers) == 1
    assert "plan" in readers.pop().lower()
    name = next(role["RoleName"] for role in iam.list_roles()["Roles"] if "PlanRole" in role["RoleName"])
    document = iam.get_role_policy(RoleName=name, PolicyName="definitions")["PolicyDocument"]
    assert [statement["Resource"] for statement in document["Statement"]] == [
        "arn:aws:s3:::teams",
        "arn:aws:s3:::teams/lamina/layers/*",
    ]


def test_what_changes_in_the_place_is_seen_by_the_next_run(lamina: Lamina, released: dict[str, Any]) -> None:
    lamina.client("s3").put_object(Bucket="teams", Key="lamina/layers/theirs/requirements.in", Body=b"idna\nsix\n")

    done = lamina.run("Update", {"layers": ["theirs"], "asOf": "2023-06-01", "dryRun": True})

    assert "six" in lamina.report(done)[THEIRS]["summary"]
