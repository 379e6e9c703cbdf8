"""One release for several variants: Check, Publish and Promote on moto, with real uv and an index of its own."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from lamina.definition import Definition, parse_definition, variants
from lamina.gateways.index import Index, find_uv
from lamina.gateways.layers import LayerVersions
from lamina.gateways.listings import Listings
from lamina.gateways.pointers import Pointers
from lamina.gateways.registry import Layers, Table
from lamina.gateways.rollouts import Rollouts
from lamina.gateways.store import Store
from lamina.model import Advice, Coverage, HeldBack, LayerState, Release, Variant
from lamina.rollout import Rollout
from lamina.steps import check, promote, publish
from lamina.steps.resolve_nodejs import NodeGateways
from lamina.steps.resolve_python import PythonGateways
from lamina.steps.resolving import Sources
from tests.simpleindex import SimpleIndex

from .conftest import Cloud

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OLD = NOW - timedelta(days=30)
X86, ARM = "web-python313-x86_64", "web-python313-arm64"
MACHINE = {X86: "x86_64", ARM: "aarch64"}
BOTH = ("x86_64", "arm64")
TOML = """
[layer]
owner = "o"
runtimes = ["python3.13"]
architectures = ["x86_64", "arm64"]
[python]
requirements = "requirements.in"
[update]
allow = "major"
"""


class NoAdvisories:
    def look_up(self, pins: object, as_of: datetime) -> Advice:
        return Advice()


class NoCredentials:
    def of(self, table: object, variant: object) -> Any:
        raise AssertionError("no index of its own")


@dataclass
class House:
    """The steps of supply, as calls; each check is in an environment of its own."""

    index: SimpleIndex
    folder: Path
    toml: str = TOML
    files: dict[str, bytes] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        table = Table(boto3.client("dynamodb"), "registry")
        self.layers, self.rollouts = Layers(table), Rollouts(table)
        self.store = Store(boto3.client("s3"), "artifacts")
        self.pointers = Pointers(boto3.client("ssm"), "/lamina/")

    @property
    def definition(self) -> Definition:
        return parse_definition("web", {"layer.toml": self.toml.encode(), "requirements.in": b"acme\n", **self.files})

    def variant(self, name: str) -> Variant:
        return next(one for one in variants(self.definition) if one.variant == name)

    def check(self, name: str, run: str, **more: Any) -> check.Checked:
        work = self.folder / str(next(self.numbers))
        work.mkdir()
        environment = {**os.environ, "UV_DEFAULT_INDEX": self.index.url}
        python = PythonGateways(
            index=Index(find_uv(work), sys.executable, work, environment),
            listings=Listings(lambda: self.index.url, work, environment),
        )
        nodejs: NodeGateways = None  # type: ignore[assignment]
        sources = Sources(python, nodejs, NoAdvisories(), NoCredentials())
        event = check.CheckEvent(run=run, variant=self.variant(name), as_of=NOW, now=NOW, **more)
        return check.run(event, self.definition, check.Gateways(sources, self.layers, self.store))

    def publish(self, name: str, run: str, checked: check.Checked, *, pure: bool = True) -> Release:
        path, body = f"builds/{name}/{run}/output", run.encode()
        manifest = {"variant": name, "digest": hashlib.sha256(body).hexdigest(), "pure": pure,
                    "sha256": hashlib.sha256(body).hexdigest(), "sizes": {"zipped": 1, "unzipped": 1}}  # fmt: skip
        self.store.write(f"{path}/layer.zip", body)
        self.store.write_json(f"{path}/manifest.json", manifest)
        event = publish.PublishEvent(
            run=run, variant=self.variant(name), path=path, lock=checked.lock, explanation=checked.explanation,
            summary=checked.summary, coverage=checked.coverage, as_of=NOW, now=NOW,
        )  # fmt: skip
        signer: Any = None
        reach = publish.Gateways(LayerVersions(boto3.client("lambda")), self.layers, self.store, signer)
        found = self.layers.release(name, publish.run(event, self.definition, reach).candidate.version)
        assert found is not None
        return found

    def promote(self, release: Release, rollout: str) -> None:
        candidate: Any = {"version": release.version, "arn": release.arn}
        self.rollouts.create(
            Rollout(rollout=rollout, variant=release.variant, layer="web", run="r", execution="e", candidate=candidate,
                    opened=NOW, as_of=NOW)
        )  # fmt: skip
        reach = promote.Gateways(self.layers, self.rollouts, self.pointers)
        promote.run(promote.PromoteEvent(rollout=rollout, now=NOW), reach)

    def release(self, name: str, run: str, *, pure: bool = True) -> Release:
        """Check, publish and promote."""
        checked = self.check(name, run)
        assert checked.outcome == "changed", checked.summary
        released = self.publish(name, run, checked, pure=pure)
        self.promote(released, f"{name}-{run}")
        return released

    def add(self, version: str, *tags: str, requires: tuple[str, ...] = ()) -> None:
        for tag in tags or ("py3-none-any",):
            self.index.add("acme", version, tag=tag, uploaded=OLD, requires=requires)

    def compiled(self, version: str) -> None:
        self.add(version, *(f"cp313-cp313-manylinux_2_17_{machine}" for machine in MACHINE.values()))

    def pointed(self) -> dict[str, str]:
        rows = boto3.client("ssm").get_parameters_by_path(Path="/lamina/")["Parameters"]
        return {row["Name"].removeprefix("/lamina/"): row["Value"] for row in rows}


@pytest.fixture
def house(cloud: Cloud, tmp_path: Path) -> Iterator[House]:
    with SimpleIndex() as index:
        house = House(index, tmp_path)
        house.add("1.0")
        yield house


def test_a_pure_definition_is_published_once_and_followed_ever_after(house: House) -> None:
    # WHEN both variants are checked, in whatever order, before there is a release
    second, first = house.check(ARM, "r-1"), house.check(X86, "r-1")

    # THEN the first of the definition publishes for both, and the other says so and does nothing
    shared = Coverage(runtimes=("python3.13",), architectures=BOTH, shared_by=(ARM,))
    assert (first.outcome, first.coverage) == ("changed", shared)
    assert (second.outcome, second.current) == ("up_to_date", None)
    assert second.summary == f"pure: published as {X86}, for x86_64 and arm64"
    told = house.store.read_json(first.explanation)
    assert any(note.startswith("It is pure, and published once for x86_64 and arm64") for note in told["notes"])
    released = house.publish(X86, "r-1", first)
    layer = boto3.client("lambda").list_layer_versions(LayerName=X86)["LayerVersions"][0]
    assert layer["CompatibleArchitectures"] == ["x86_64", "arm64"]
    assert (released.runtimes, released.architectures, released.shared_by) == (("python3.13",), BOTH, (ARM,))

    # AND a check that comes late, after the release was promoted, says the same
    house.promote(released, "first")
    assert house.check(ARM, "r-1").summary == second.summary
    assert house.pointed() == {X86: released.arn, ARM: released.arn}

    # AND on a day without news nobody has anything to do
    quiet = [house.check(name, "r-2") for name in (X86, ARM)]
    assert [one.outcome for one in quiet] == ["up_to_date", "up_to_date"]
    assert (quiet[0].summary, quiet[1].summary) == ("nothing new", second.summary)

    # AND an update is published once, too
    house.add("1.1")
    assert house.check(ARM, "r-3").outcome == "up_to_date"
    updated = house.release(X86, "r-3")
    assert (updated.packages, updated.shared_by) == ({"acme": "1.1"}, (ARM,))
    assert house.pointed() == {X86: updated.arn, ARM: updated.arn}


def test_what_is_compiled_from_some_day_on_is_published_for_each(house: House) -> None:
    shared = house.release(X86, "r-1")
    house.compiled("2.0")

    # WHEN the next version is no longer the same on every architecture
    first, second = house.check(X86, "r-2"), house.check(ARM, "r-2")

    # THEN each gets its own, and the one that had none takes over the functions on the shared layer
    assert first.coverage == Coverage(runtimes=("python3.13",), architectures=("x86_64",))
    assert second.coverage == Coverage(runtimes=("python3.13",), architectures=("arm64",), replaces=(X86,))
    assert (second.outcome, second.current) == ("changed", None)
    assert second.summary == f"a layer of its own, no longer that of {X86}: acme 1.0 to 2.0"
    assert f"It is not for {ARM} any more" in house.store.read_json(first.explanation)["notes"][-1]

    # AND if the leader is promoted and the other is not, that one tries again, from where its functions are
    house.promote(house.publish(X86, "r-2", first), "x86-2")
    assert house.pointed() == {X86: f"{shared.arn[:-1]}2", ARM: shared.arn}
    again = house.check(ARM, "r-3")
    assert (again.outcome, again.coverage.replaces) == ("changed", (X86,))
    assert [(change.from_, change.to) for change in again.changes] == [("1.0", "2.0")]

    # AND once it has a release of its own it stays with it, even if everything is pure again
    own = house.publish(ARM, "r-3", again)
    house.promote(own, "arm-1")
    house.add("3.0")
    third, fourth = house.check(X86, "r-4"), house.check(ARM, "r-4")
    assert (third.coverage.shared_by, fourth.coverage.shared_by) == ((), ())
    assert (fourth.outcome, fourth.coverage.architectures, fourth.coverage.replaces) == ("changed", ("arm64",), (X86,))
    assert house.pointed()[ARM] == own.arn


def test_a_return_to_a_shared_release_leaves_the_pointer_of_who_went_away(house: House) -> None:
    shared = house.release(X86, "r-1")
    house.compiled("2.0")
    own = house.release(ARM, "r-2")

    house.promote(shared, "back")

    assert house.pointed() == {X86: shared.arn, ARM: own.arn}


def test_variants_that_differ_share_nothing(house: House) -> None:
    house.add("1.1", requires=("other; platform_machine == 'aarch64'",))
    house.index.add("other", "1.0", uploaded=OLD)

    found = [house.check(name, "r-1") for name in (X86, ARM)]

    assert [one.outcome for one in found] == ["changed", "changed"]
    assert [one.coverage.architectures for one in found] == [("x86_64",), ("arm64",)]


def test_who_has_releases_of_its_own_stays_on_its_own(house: House) -> None:
    # GIVEN two variants that were published apart
    house.compiled("1.1")
    for name in (X86, ARM):
        house.release(name, "r-1")

    house.add("1.2")

    assert [house.check(name, "r-2").coverage.shared_by for name in (X86, ARM)] == [(), ()]


def test_an_architecture_that_is_added_to_a_definition_gets_a_layer_of_its_own(house: House) -> None:
    house.toml = TOML.replace(', "arm64"', "")
    house.release(X86, "r-1")
    house.toml = TOML

    added = house.check(ARM, "r-2")

    assert (added.outcome, added.coverage.architectures, added.coverage.replaces) == ("changed", ("arm64",), ())


def test_a_build_that_turns_out_not_to_be_pure_is_for_its_own_architecture_alone(house: House) -> None:
    released = house.release(X86, "r-1", pure=False)

    assert (released.architectures, released.shared_by) == (("x86_64",), ())
    later = house.check(ARM, "r-2")
    assert (later.outcome, later.coverage.architectures) == ("changed", ("arm64",))


def test_what_one_holds_back_is_held_back_for_all_who_share(house: House) -> None:
    house.release(X86, "r-1")
    house.add("1.1")
    held = HeldBack(package="acme", version="1.1", since=NOW, reason="broke functions on arm64")
    house.layers.save(LayerState(variant=ARM, held_back=(held,)))

    found = [house.check(name, "r-2") for name in (X86, ARM)]

    assert [one.outcome for one in found] == ["up_to_date", "up_to_date"]
    assert json.loads(house.store.read_text(found[0].explanation) or "")["held"][0]["kind"] == "held-back"


def test_a_forced_update_is_forced_where_it_is_published(house: House) -> None:
    house.release(X86, "r-1")

    assert house.check(X86, "r-2", force=True).coverage.shared_by == (ARM,)
    assert house.check(ARM, "r-2", force=True).outcome == "up_to_date"


def test_an_advisory_meets_every_variant_that_has_the_release(house: House) -> None:
    released = house.release(X86, "r-1")

    assert house.layers.serving(ARM) == house.layers.serving(X86)
    assert house.layers.promoted(ARM) is None
    serving = house.layers.serving(ARM)
    assert serving is not None
    assert serving.arn == released.arn
    assert house.layers.serving("web-python313-riscv") is None
