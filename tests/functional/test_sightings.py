"""When versions were first seen, in a real table; and what a resolution makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from moto import mock_aws

from lamina.gateways.registry import Sightings, Table
from lamina.listing import Listed, Listing
from lamina.lock import Lock, Pin
from lamina.resolution import Access
from lamina.resolve import Answer, Question
from lamina.steps.resolve_python import PythonGateways, resolve_python
from tests.orders import order_of, python_layer

NOW = datetime(2026, 11, 20, 6, tzinfo=UTC)
WEEK = timedelta(days=7)
INDEX = "https://packages.example.com/simple"


@pytest.fixture
def sightings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sightings]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-central-1")
        client.create_table(
            TableName="registry",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
        )
        yield Sightings(Table(client, "registry"))


def test_what_is_there_at_the_first_look_is_old_and_what_comes_later_has_its_day(sightings: Sightings) -> None:
    assert sightings.look(INDEX, {"acme": ["1.0", "1.1"]}, NOW, remember=True) == {"acme": {}}
    assert sightings.look(INDEX, {"acme": ["1.0", "1.2"]}, NOW + WEEK, remember=True) == {"acme": {"1.2": NOW + WEEK}}
    assert sightings.look(INDEX, {"acme": ["1.0", "1.2"]}, NOW + 2 * WEEK, remember=True) == {
        "acme": {"1.2": NOW + WEEK}
    }


def test_another_index_is_another_matter(sightings: Sightings) -> None:
    sightings.look(INDEX, {"acme": ["1.0"]}, NOW, remember=True)

    assert sightings.look(INDEX + "/other", {"acme": ["1.0", "1.1"]}, NOW + WEEK, remember=True) == {"acme": {}}


def test_a_dry_run_leaves_no_trace(sightings: Sightings) -> None:
    sightings.look(INDEX, {"acme": ["1.0"]}, NOW, remember=True)

    assert sightings.look(INDEX, {"acme": ["1.0", "1.1"]}, NOW, remember=False) == {"acme": {"1.1": NOW}}
    assert sightings.look(INDEX, {"acme": ["1.0", "1.1"]}, NOW + WEEK, remember=True) == {"acme": {"1.1": NOW + WEEK}}


@dataclass
class Undated:
    """An index without upload times that has one package; it answers with the newest version not left out."""

    versions: list[str]
    asked: list[Question] = field(default_factory=list)

    def of(self, names: Iterable[str], _: Access | None) -> Mapping[str, Listing | None]:
        entries = tuple(Listed(version, wheels=(f"acme-{version}-py3-none-any.whl",)) for version in self.versions)
        return {name: Listing("PyPI", name, entries) for name in names}

    def resolve(self, question: Question) -> Answer:
        self.asked.append(question)
        left = [version for version in self.versions if f"acme!={version}" not in question.constraints]
        return Answer(Lock.of([Pin("acme", left[-1], ("sha256:" + "0" * 64,))]))

    def origins(self, _: Question, lock: Lock) -> Mapping[str, str]:
        return dict.fromkeys(lock.pins, INDEX)


def test_the_cooldown_of_an_index_without_upload_times_counts_from_the_first_look(sightings: Sightings) -> None:
    # GIVEN acme 1.0 when Lamina first looks, and 1.1 a week later
    definition, index = python_layer(wants="acme\n"), Undated(["1.0"])

    def check(moment: datetime, current: Lock | None, *, dry_run: bool = False) -> tuple[Lock, tuple[str, ...]]:
        order = order_of(definition, current, moment, access=Access(INDEX))
        found = resolve_python(order, PythonGateways(index, index, sightings), dry_run=dry_run, now=moment)
        return found.lock, found.notes

    first, notes = check(NOW, None)
    index.versions.append("1.1")

    # WHEN it is looked for on the day that it comes (a dry run first), a day before its cooldown ends, and after
    check(NOW + WEEK - timedelta(days=3), first, dry_run=True)
    day_0, _ = check(NOW + WEEK, first)
    day_6, _ = check(NOW + WEEK + timedelta(days=6), first)
    day_8, _ = check(NOW + WEEK + timedelta(days=8), first)

    # THEN it is taken after the cooldown, which the dry run did not start
    assert [lock.packages["acme"] for lock in (first, day_0, day_6, day_8)] == ["1.0", "1.0", "1.0", "1.1"]
    assert notes == (
        "The index does not say when files of acme were uploaded: their cooldown counts from when Lamina first saw "
        "each version.",
    )
    assert all(asked.cutoffs == {"acme": None} for asked in index.asked)


def test_without_a_registry_it_is_said_that_the_cooldown_cannot_be_told() -> None:
    index = Undated(["1.0", "1.1"])
    order = order_of(python_layer(wants="acme\n"), None, NOW, access=Access(INDEX))

    found = resolve_python(order, PythonGateways(index, index), dry_run=True, now=NOW)

    assert found.lock.packages == {"acme": "1.1"}
    assert found.notes == (
        "The index does not say when files of acme were uploaded: their cooldown cannot be told, and is not waited "
        "for.",
    )
