"""Why newer versions were not taken, as of real days and with the real index."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta

import pytest
from packaging.version import Version

from lamina.definition import parse_definition, variants
from lamina.explain import Held
from lamina.gateways.index import Index, find_uv
from lamina.gateways.listings import Listings, default_index
from lamina.held import held
from lamina.lock import Lock, Pin
from lamina.resolution import Order, Resolved
from lamina.resolve import basis
from lamina.steps.resolve_python import PythonGateways, resolve_python

pytestmark = pytest.mark.index


@pytest.fixture(scope="module")
def reach(tmp_path_factory: pytest.TempPathFactory) -> PythonGateways:
    work = tmp_path_factory.mktemp("work")
    uv = find_uv(work)
    listings = Listings(lambda: default_index(uv, sys.executable, work, os.environ), work, os.environ)
    return PythonGateways(Index(uv, sys.executable, work, os.environ), listings)


def midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def order(runtime: str, wants: str, moment: datetime, current: Lock | None = None) -> Order:
    toml = (
        f'[layer]\nowner = "o"\nruntimes = ["{runtime}"]\narchitectures = ["x86_64"]\n'
        '[python]\nrequirements = "requirements.in"\n[update]\ncooldown-days = 7\n'
    )
    definition = parse_definition("web", {"layer.toml": toml.encode(), "requirements.in": wants.encode()})
    return Order(definition, variants(definition)[0], current, moment)


def resolved(reach: PythonGateways, runtime: str, wants: str, moment: datetime) -> Resolved:
    return resolve_python(order(runtime, wants, moment), reach, dry_run=True, now=moment)


def of(found: Resolved, package: str) -> list[Held]:
    return [entry for entry in found.held if entry.package == package]


def test_each_release_is_held_until_its_day_and_taken_on_it(reach: PythonGateways) -> None:
    # GIVEN the days after requests 2.32.0 and 2.32.1, both withdrawn, 2.32.2 (21 May 2024) and 2.32.3 (29 May)
    early = resolved(reach, "python3.11", "requests\n", midnight("2024-05-25"))
    between = resolved(reach, "python3.11", "requests\n", midnight("2024-05-30"))

    # THEN what was withdrawn is not offered, and each of the others has its own day
    assert early.lock.packages["requests"] == "2.31.0"
    assert [(entry.version, entry.kind) for entry in of(early, "requests")] == [("2.32.2", "cooldown")]
    assert [(entry.version, entry.kind) for entry in of(between, "requests")] == [("2.32.3", "cooldown")]

    # AND on that day, not a second before, it is taken
    until = of(early, "requests")[0].until
    assert until is not None
    assert until.date() == midnight("2024-05-28").date()
    for moment, version in ((until, "2.31.0"), (until + timedelta(seconds=1), "2.32.2")):
        assert resolved(reach, "python3.11", "requests\n", moment).lock.packages["requests"] == version


def test_what_the_runtime_is_too_old_for_is_told(reach: PythonGateways) -> None:
    # numpy 2.1 (August 2024) left Python 3.9 behind
    found = resolved(reach, "python3.9", "numpy\n", midnight("2024-10-01"))

    assert found.lock.packages["numpy"] == "2.0.2"
    (entry,) = of(found, "numpy")
    assert (entry.version, entry.kind, entry.why, entry.more) == ("2.1.1", "runtime", "it needs Python >=3.10", 1)


def test_what_the_platform_is_too_old_for_is_told(reach: PythonGateways) -> None:
    # numpy 2.3 (June 2025) still runs on Python 3.11, but its wheels want a newer C library than Amazon Linux 2 has
    old, new = (resolved(reach, runtime, "numpy\n", midnight("2025-07-01")) for runtime in ("python3.11", "python3.12"))

    assert (old.lock.packages["numpy"], new.lock.packages["numpy"]) == ("2.2.6", "2.3.1")
    (entry,) = of(old, "numpy")
    assert (entry.version, entry.kind, entry.more) == ("2.3.1", "platform", 1)
    assert entry.why == "it has no wheel for Python 3.11 on x86_64-manylinux_2_17"


def test_a_version_counts_from_the_wheel_that_the_runtime_needs(reach: PythonGateways) -> None:
    # GIVEN pyyaml 6.0.1 (17 July 2023), whose wheel for Python 3.12 came in August
    listing = reach.listings.of(["pyyaml"], None)["pyyaml"]
    assert listing is not None
    entry = listing.find("6.0.1")
    assert entry is not None
    arrival = next(
        moment
        for wheel, moment in zip(entry.wheels, entry.arrivals, strict=True)
        if "cp312-manylinux" in wheel and "x86_64" in wheel
    )
    lock = Lock.of([Pin("pyyaml", "6.0", (), midnight("2021-10-13"))])

    def told(moment: datetime) -> list[tuple[str, str, datetime | None]]:
        entries = held(basis(order("python3.12", "pyyaml\n", moment, lock)), lock, {"pyyaml": listing}, {})
        return [(found.version, found.kind, found.until) for found in entries]

    # THEN it does not run there before; and then it still has to wait
    assert told(arrival - timedelta(days=1)) == [("6.0.1", "platform", None)]
    assert told(arrival + timedelta(days=1)) == [("6.0.1", "cooldown", arrival + timedelta(days=7))]


def test_what_the_definition_and_other_packages_rule_out_is_told_apart(reach: PythonGateways) -> None:
    # botocore 1.34 wants urllib3 below 2.1 on Python 3.9, and below 3 elsewhere
    found = resolved(reach, "python3.9", "botocore<1.34.70\n", midnight("2024-05-01"))

    assert Version(found.lock.packages["urllib3"]) < Version("2")
    assert [entry.kind for entry in of(found, "urllib3")] == ["conflict"]
    assert {entry.kind for entry in of(found, "botocore")} == {"requirement"}
