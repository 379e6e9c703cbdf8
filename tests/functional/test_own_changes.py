"""A change of what a definition builds from beside packages: seen by Check, published by Publish, and asked about once.

The definition has own files alone, so that no package index is needed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from lamina.gateways.registry import Layers, Table
from lamina.model import LayerState, Release

from .conftest import NOW, Cloud

NAME = "tools-provided.al2023-x86_64".replace(".", "")
TOML = """
[layer]
owner = "o"
runtimes = ["provided.al2023"]
architectures = ["x86_64"]
[files]
from = "files"
"""


@dataclass
class Workshop:
    """The handlers of Check and Publish, and a build that is the contents of the files."""

    cloud: Cloud
    run: int = 0

    def write(self, text: str, toml: str = TOML) -> None:
        self.cloud.define("tools", toml)
        folder = self.cloud.opt / "tools" / "files" / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "greet").write_text(text)

    def check(self, **more: object) -> dict[str, Any]:
        self.run += 1
        variant = {"variant": NAME, "layer": "tools", "runtime": "provided.al2023", "architecture": "x86_64"}
        self.asked = {"run": f"r-{self.run}", "variant": variant, "asOf": NOW, "now": NOW}
        self.checked = self.cloud.handler("check")(self.asked | more)
        return self.checked

    def publish(self, contents: str) -> dict[str, Any]:
        """Publish what was checked last; `contents` stand for what the build made of it."""
        path, digest = f"builds/{NAME}/r-{self.run}/output", hashlib.sha256(contents.encode()).hexdigest()
        self.cloud.write(f"{path}/layer.zip", contents.encode())
        manifest = {"variant": NAME, "digest": digest, "sha256": digest, "sizes": {"zipped": 1, "unzipped": 1}}
        self.cloud.write(f"{path}/manifest.json", manifest)
        passed_on = {key: self.checked[key] for key in ("lock", "nodeLock", "explanation", "summary", "coverage")}
        return self.cloud.handler("publish")(self.asked | passed_on | {"path": path})

    def promote(self, version: int) -> None:
        self.layers.save(LayerState(variant=NAME, promoted=version))

    def mark(self, version: int, **said: object) -> None:
        self.layers.record(self.release(version).model_copy(update=said))

    def release(self, version: int) -> Release:
        found = self.layers.release(NAME, version)
        assert found is not None
        return found

    @property
    def layers(self) -> Layers:
        return Layers(Table(boto3.client("dynamodb"), "registry"))


@pytest.fixture
def workshop(cloud: Cloud) -> Workshop:
    """With release 1 of a first text."""
    workshop = Workshop(cloud)
    workshop.write("hello")
    assert workshop.check()["summary"] == "first release, without packages"
    assert workshop.publish("hello")["unchanged"] is False
    workshop.promote(1)
    return workshop


def test_an_own_file_that_changed_is_published_and_one_that_did_not_is_not(workshop: Workshop) -> None:
    assert (workshop.check()["outcome"], workshop.checked["summary"]) == ("up_to_date", "nothing new")

    workshop.write("good morning")
    found = workshop.check()
    published = workshop.publish("good morning")

    assert (found["outcome"], found["changes"], found["summary"]) == ("changed", [], "own files changed")
    assert (published["unchanged"], published["candidate"]["version"]) == (False, 2)
    versions = boto3.client("lambda").list_layer_versions(LayerName=NAME)["LayerVersions"]
    assert versions[0]["Description"].startswith("since version 1: own files changed [")
    workshop.promote(2)
    assert workshop.check()["outcome"] == "up_to_date"


def test_an_option_that_makes_no_difference_is_built_once_and_then_known(workshop: Workshop) -> None:
    workshop.write("hello", TOML + "[build]\nstrip = true\n")

    assert (workshop.check()["outcome"], workshop.checked["summary"]) == ("changed", "build options changed")
    published = workshop.publish("hello")

    assert (published["unchanged"], published["candidate"]["version"]) == (True, 1)
    assert workshop.check()["outcome"] == "up_to_date"


def test_a_security_update_is_not_started_by_own_files(workshop: Workshop) -> None:
    workshop.write("good morning")

    assert workshop.check(security=True)["outcome"] == "up_to_date"
    assert workshop.check()["outcome"] == "changed"


@pytest.mark.parametrize(("status", "said"), [("rolled_back", "rolled back"), ("rejected", "rejected")])
def test_what_was_put_back_is_not_tried_every_day(workshop: Workshop, status: str, said: str) -> None:
    # GIVEN a change that was published and came to nothing
    workshop.write("good morning")
    workshop.check()
    workshop.publish("good morning")
    workshop.mark(2, status=status)

    # THEN it is not offered again by itself, which the report says
    found = workshop.check()
    assert found["outcome"] == "up_to_date"
    assert found["summary"] == (
        f"own files changed; version 2, which was built of the same, was {said} and is not tried again: change them, "
        "or update with force"
    )
    assert json.loads(workshop.cloud.read(found["explanation"]))["summary"] == found["summary"]

    # BUT it is if somebody wants it, and so is the next change
    assert workshop.check(force=True)["outcome"] == "changed"
    workshop.write("good evening")
    assert workshop.check()["outcome"] == "changed"


def test_of_a_release_that_recorded_nothing_files_are_looked_at_once(workshop: Workshop) -> None:
    workshop.mark(1, sources=None)

    assert (workshop.check()["outcome"], workshop.checked["summary"]) == ("changed", "own files may have changed")
    assert workshop.publish("hello")["unchanged"] is True
    assert workshop.check()["outcome"] == "up_to_date"
