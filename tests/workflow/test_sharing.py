"""A pure definition for two architectures on the real state machines: one layer for both, rebuilt for its own files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.replay import stage
from local.story import Story
from tests.workflow.conftest import ARCHITECTURE, RUNTIME, Lamina, define, ungranted, variant

pytestmark = pytest.mark.index

PLACE = "s3://teams/layers/"
OTHER = "arm64" if ARCHITECTURE == "x86_64" else "x86_64"
PURE = variant("pure")
FOLLOWER = PURE.replace(ARCHITECTURE, OTHER)


@pytest.fixture(scope="module")
def lamina(definitions: Path) -> Iterator[Lamina]:
    define(definitions, "own", "idna\n")
    with stage(definitions, 0.5, Story(), parameters={"DefinitionsLocation": PLACE}) as ready:
        yield Lamina(ready)


def put(lamina: Lamina, **files: str) -> None:
    for name, text in files.items():
        key = f"layers/pure/{name.replace('__', '/').replace('_', '.')}"
        lamina.client("s3").put_object(Bucket="teams", Key=key, Body=text.encode())


def pointer(lamina: Lamina, name: str) -> str:
    value: str = lamina.client("ssm").get_parameter(Name=f"/lamina/{name}")["Parameter"]["Value"]
    return value


def test_one_layer_serves_both_architectures_and_own_files_alone_make_a_new_version(lamina: Lamina) -> None:
    # GIVEN a definition of a pure package and an own module
    lamina.client("s3").create_bucket(Bucket="teams", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    put(
        lamina,
        layer_toml=f'[layer]\nowner = "tests"\nruntimes = ["{RUNTIME}"]\n'
        f'architectures = ["{ARCHITECTURE}", "{OTHER}"]\n[python]\nrequirements = "requirements.in"\n'
        '[files]\nfrom = "files"\n[update]\ncooldown-days = 0\n',
        requirements_in="idna\n",
        files__python__own_py="ANSWER = 41\n",
    )

    # WHEN it is released, THEN it is published once, and both pointers lead there
    first = lamina.run("Update", {"layers": ["pure"], "asOf": "2023-06-01"})
    rows = lamina.report(first)
    assert first["status"] == "SUCCEEDED", rows
    assert (rows[PURE]["outcome"], rows[FOLLOWER]["outcome"]) == ("promoted", "up_to_date")
    assert rows[FOLLOWER]["summary"].startswith(f"pure: published as {PURE}, for ")
    lambdas = lamina.client("lambda")
    version = lambdas.list_layer_versions(LayerName=PURE)["LayerVersions"][0]
    assert sorted(version["CompatibleArchitectures"]) == ["arm64", "x86_64"]
    assert lambdas.list_layer_versions(LayerName=FOLLOWER)["LayerVersions"] == []
    assert pointer(lamina, PURE) == pointer(lamina, FOLLOWER) == version["LayerVersionArn"]

    # AND a day on which nothing changed changes nothing
    quiet = lamina.report(lamina.run("Update", {"layers": ["pure"], "asOf": "2023-06-01"}))
    assert {row["outcome"] for row in quiet.values()} == {"up_to_date"}

    # WHEN its own module changes and its packages do not, THEN that is a new version, for both again
    put(lamina, files__python__own_py="ANSWER = 42\n")
    second = lamina.report(lamina.run("Update", {"layers": ["pure"], "asOf": "2023-06-01"}))
    assert (second[PURE]["outcome"], second[PURE]["promoted"]) == ("promoted", 2)
    assert second[PURE]["summary"] == "own files changed"
    assert pointer(lamina, FOLLOWER).endswith(f"{PURE}:2")
    assert not ungranted(lamina)
