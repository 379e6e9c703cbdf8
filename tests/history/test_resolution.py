"""Resolutions as of real days, against the real index: what a resolver alone would do, and what Lamina does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from packaging.version import Version

from lamina.definition import parse_definition, requirements, variants
from lamina.errors import ResolutionFailed
from lamina.gateways.index import Index, IndexUnavailable, find_uv
from lamina.gateways.listings import Listings, default_index
from lamina.lock import Lock, Pin, from_pylock
from lamina.model import Advisory
from lamina.resolution import Access, Order, Resolved
from lamina.resolve import Answer, Question
from lamina.steps.resolve_python import PythonGateways, resolve_python
from tests.simpleindex import SimpleIndex

pytestmark = pytest.mark.index

TARGET = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_17", "--only-binary", ":all:")
REQUESTS = {
    "certifi": "2023.5.7",
    "charset-normalizer": "3.1.0",
    "idna": "3.4",
    "requests": "2.30.0",
    "urllib3": "2.0.2",
}
WITHDRAWN = {
    "certifi": "2024.2.2",
    "charset-normalizer": "3.3.2",
    "idna": "3.7",
    "requests": "2.32.0",
    "urllib3": "2.2.1",
}


def listings(work: Path) -> Listings:
    """What the index of this machine lists."""
    return Listings(lambda: default_index(find_uv(work), sys.executable, work, os.environ), work, os.environ)


class Counting(Index):
    """The index, with the number of resolutions that it was asked for."""

    asked = 0

    def resolve(self, question: Question) -> Answer:
        """Count and ask."""
        self.asked += 1
        return super().resolve(question)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def index(work: Path) -> Counting:
    return Counting(find_uv(work), sys.executable, work, os.environ)


@pytest.fixture(scope="module")
def reach(index: Counting, work: Path) -> PythonGateways:
    return PythonGateways(index, listings(work))


def order(
    wants: str = "requests\n",
    *,
    as_of: str,
    current: Lock | None = None,
    update: str = "cooldown-days = 0",
    python: str = "",
    fix: tuple[str, str] | None = None,
    security: bool = False,
    packages: dict[str, str] | None = None,
    access: Access | None = None,
) -> Order:
    """What is wanted at the end of a day."""
    toml = f"""
    [layer]
    owner = "o"
    runtimes = ["python3.11"]
    architectures = ["x86_64"]
    [python]
    requirements = "requirements.in"
    {python}
    [update]
    {update}
    """
    definition = parse_definition("web", {"layer.toml": toml.encode(), "requirements.in": wants.encode()})
    return Order(
        definition=definition,
        variant=variants(definition)[0],
        current=current,
        as_of=datetime.fromisoformat(as_of).replace(tzinfo=UTC) + timedelta(days=1),
        previously_wanted=tuple(str(wish) for wish in requirements(definition)) if current else (),
        packages=packages or {},
        fixes=(Advisory(id="GHSA-of-that-day", package=fix[0], fixed=fix[1]),) if fix else (),
        security=security,
        access=access,
    )


def solve(order: Order, reach: PythonGateways) -> Resolved:
    return resolve_python(order, reach, dry_run=True, now=order.as_of)


def moved(found: Resolved) -> dict[str, tuple[str | None, str | None]]:
    return {change.package: (change.from_, change.to) for change in found.changes}


def lock_of(packages: dict[str, str]) -> Lock:
    """A lock that nobody resolved."""
    return Lock.of(Pin(name, version) for name, version in packages.items())


@pytest.fixture
def alone(index: Counting, tmp_path: Path) -> Callable[..., Lock]:
    """uv by itself, without Lamina."""

    def resolve(wants: str, *options: str, constraints: str = "") -> Lock:
        (tmp_path / "in.txt").write_text(wants)
        (tmp_path / "floor.txt").write_text(constraints)
        command = [str(find_uv(tmp_path)), "pip", "compile", "in.txt", "-c", "floor.txt", *TARGET, *options]
        out = ("--format", "pylock.toml", "-o", "pylock.toml", "-q", "--python", sys.executable)
        subprocess.run([*command, *out], cwd=tmp_path, env={"UV_SYSTEM_CERTS": "1"} | os.environ, check=True)
        return from_pylock((tmp_path / "pylock.toml").read_text())

    return resolve


@pytest.mark.parametrize(
    ("wants", "update", "dates", "expected"),
    [
        ("openai==1.55.2", "cooldown-days = 0", ("2024-11-27", "2024-11-30"), {"httpx": ("0.27.2", "0.28.0")}),
        ("numpy", "cooldown-days = 0", ("2022-12-15", "2022-12-20"), {"numpy": ("1.23.5", "1.24.0")}),
        (
            "flask==2.2.2",
            'cooldown-days = 0\nallow = "major"',
            ("2023-09-20", "2023-10-05"),
            {"werkzeug": ("2.3.7", "3.0.0")},
        ),
        (
            "requests",
            "cooldown-days = 7",
            ("2023-11-01", "2024-07-01"),
            {
                "certifi": ("2023.7.22", "2024.6.2"),
                "charset-normalizer": ("3.3.1", "3.3.2"),
                "idna": ("3.4", "3.7"),
                "requests": ("2.31.0", "2.32.3"),
                "urllib3": ("2.0.7", "2.2.2"),
            },
        ),
    ],
)
def test_history_repeats_itself(
    reach: PythonGateways,
    index: Counting,
    wants: str,
    update: str,
    dates: tuple[str, str],
    expected: dict[str, tuple[str, str]],
) -> None:
    before = solve(order(wants, as_of=dates[0], update=update), reach)
    index.asked = 0

    after = solve(order(wants, as_of=dates[1], update=update, current=before.lock), reach)

    assert moved(after) == expected
    assert all(pin.uploaded is not None and pin.uploaded < after.cutoff for pin in after.lock.pins.values())
    assert index.asked == 1


def test_a_resolver_alone_goes_back_under_a_longer_cooldown_and_lamina_does_not(
    reach: PythonGateways, alone: Callable[..., Lock]
) -> None:
    # GIVEN a lock without a cooldown, a day after urllib3 2.2.2 was uploaded
    before = solve(order(as_of="2024-06-18"), reach)
    assert before.lock.packages["urllib3"] == "2.2.2"

    # WHEN the next check has a cooldown of 30 days
    alone_after = alone("requests\n", "--exclude-newer", "2024-05-21T00:00:00Z")
    after = solve(order(as_of="2024-06-19", current=before.lock, update="cooldown-days = 30"), reach)

    # THEN a resolver alone takes it back, without a word, and Lamina leaves everything where it is
    assert alone_after.packages["urllib3"] == "2.2.1"
    assert moved(after) == {}
    assert after.lock == before.lock


def test_a_resolver_alone_answers_a_young_fix_with_an_ancient_set_and_lamina_takes_the_fix(
    reach: PythonGateways, alone: Callable[..., Lock]
) -> None:
    # GIVEN urllib3 2.0.6, and its fix 2.0.7 of 2023-10-17 two days old
    before = solve(order(as_of="2023-10-15"), reach)
    assert before.lock.packages["urllib3"] == "2.0.6"

    # WHEN a cooldown of 30 days is on, and the fix is a floor
    alone_after = alone("requests\n", "--exclude-newer", "2023-09-19T00:00:00Z", constraints="urllib3>=2.0.7\n")
    after = solve(
        order(as_of="2023-10-19", current=before.lock, update="cooldown-days = 30", fix=("urllib3", "2.0.7")), reach
    )

    # THEN a resolver alone goes back to requests of 2017, which had urllib3 inside, and Lamina takes the fix alone
    assert alone_after.packages == {"requests": "2.15.1"}
    assert moved(after) == {"urllib3": ("2.0.6", "2.0.7")}


@pytest.mark.parametrize("security", [True, False])
@pytest.mark.parametrize(
    ("wants", "before", "as_of", "allow", "fix"),
    [
        ("requests\n", "2023-05-20", "2023-05-23", "minor", ("requests", "2.30.0", "2.31.0")),
        ("jinja2\n", "2024-01-09", "2024-01-12", "minor", ("jinja2", "3.1.2", "3.1.3")),
        ("pillow\n", "2023-06-10", "2023-09-16", "major", ("pillow", "9.5.0", "10.0.1")),
    ],
)
def test_a_fix_of_a_real_advisory_moves_its_package_alone_and_does_not_wait(
    reach: PythonGateways,
    index: Counting,
    wants: str,
    before: str,
    as_of: str,
    allow: str,
    fix: tuple[str, str, str],
    security: bool,
) -> None:
    # GIVEN the lock of a day before the fix was there
    first = solve(order(wants, as_of=before), reach)
    package, old, new = fix
    assert first.lock.packages[package] == old
    index.asked = 0

    # WHEN the fix is days old under a cooldown of 30
    found = solve(
        order(
            wants,
            as_of=as_of,
            current=first.lock,
            update=f'cooldown-days = 30\nallow = "{allow}"',
            fix=(package, new),
            security=security,
        ),
        reach,
    )

    # THEN it alone moves, after one resolution, and that it did not wait is told
    assert moved(found) == {package: (old, new)}
    assert found.notes == (f"{package} did not wait for its cooldown to end: the update fixes GHSA-of-that-day.",)
    assert index.asked == 1


def test_a_security_update_a_year_later_still_changes_nothing_but_the_fix(reach: PythonGateways) -> None:
    found = solve(
        order(as_of="2024-09-23", current=lock_of(REQUESTS), update="cooldown-days = 7", fix=("requests", "2.31.0"),
              security=True),
        reach,
    )  # fmt: skip

    assert moved(found) == {"requests": ("2.30.0", "2.31.0")}
    assert found.notes == ()


def test_a_fix_that_policy_keeps_out_is_told_and_stops_a_security_update_alone(reach: PythonGateways) -> None:
    # GIVEN pillow 9.5.0, whose fix is a major step
    first = solve(order("pillow\n", as_of="2023-06-10"), reach)
    ordinary = order("pillow\n", as_of="2023-09-16", current=first.lock, fix=("pillow", "10.0.1"))

    found = solve(ordinary, reach)

    assert moved(found) == {}
    assert [(held.package, held.version, held.kind) for held in found.held][:1] == [("pillow", "10.0.1", "allow")]
    with pytest.raises(ResolutionFailed, match=r'keeps pillow <10; allow a larger step.*{"pillow": "10.0.1"}'):
        solve(replace(ordinary, security=True), reach)


def test_a_scheduled_fix_waits_and_says_until_when(reach: PythonGateways) -> None:
    found = solve(
        order(
            as_of="2023-05-23",
            current=lock_of(REQUESTS),
            update='cooldown-days = 7\nsecurity = "scheduled"',
            fix=("requests", "2.31.0"),
            security=True,
        ),
        reach,
    )

    assert moved(found) == {}
    assert [(held.package, held.kind, held.until and held.until.date().isoformat()) for held in found.held] == [
        ("requests", "cooldown", "2023-05-29")
    ]


@pytest.mark.parametrize(
    ("as_of", "wants", "expected", "told"),
    [
        ("2024-05-21", "requests\n", {}, True),
        ("2024-05-28", "requests\n", {"requests": ("2.32.0", "2.32.2")}, False),
        ("2024-06-05", "requests<2.32.1\n", {"certifi": ("2024.2.2", "2024.6.2")}, True),
    ],
)
def test_a_pin_that_was_withdrawn_stays_until_something_follows_and_stops_nothing_else(
    reach: PythonGateways,
    as_of: str,
    wants: str,
    expected: dict[str, tuple[str, str]],
    told: bool,
) -> None:
    found = solve(order(wants, as_of=as_of, current=lock_of(WITHDRAWN), update="cooldown-days = 3"), reach)

    assert moved(found) == expected
    said = [held.why for held in found.held if held.kind == "withdrawn"]
    assert bool(said) is told
    assert all("conflicts with CVE-2024-35195 mitigation" in why for why in said)


def test_an_exact_version_is_taken_before_its_cooldown_ends(reach: PythonGateways) -> None:
    before = solve(order(as_of="2024-06-01"), reach)

    after = solve(
        order(as_of="2024-06-18", current=before.lock, update="cooldown-days = 30", packages={"urllib3": "2.2.2"}),
        reach,
    )

    assert moved(after) == {"urllib3": ("2.2.1", "2.2.2")}


def test_a_package_without_wheels_is_taken_where_the_definition_permits_it_and_wheels_still_come_first(
    reach: PythonGateways,
) -> None:
    found = solve(order("docopt\nidna\n", as_of="2024-06-10", python='build-from-source = ["docopt", "idna"]'), reach)
    wheel_alone = solve(order("idna\n", as_of="2024-06-10"), reach)

    assert found.lock.packages == {"docopt": "0.6.2", "idna": "3.7"}
    assert found.lock.pins["idna"] == wheel_alone.lock.pins["idna"]
    with pytest.raises(ResolutionFailed, match="only wheels are taken"):
        solve(order("docopt\n", as_of="2024-06-10"), reach)


def test_requirements_that_contradict_each_other_are_explained(reach: PythonGateways) -> None:
    with pytest.raises(ResolutionFailed, match=r"depends on httpx>=0\.23\.0.*you require httpx==0\.22\.0"):
        solve(order("openai==1.55.2\nhttpx==0.22.0\n", as_of="2024-11-27"), reach)


def test_an_unreachable_index_is_not_mistaken_for_one_without_news(work: Path) -> None:
    nowhere = dict(os.environ) | {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    index = Index(find_uv(work), sys.executable, work, nowhere)

    with pytest.raises(IndexUnavailable, match="the package index could not be asked"):
        solve(order(as_of="2024-06-10"), PythonGateways(index, listings(work)))


def test_a_private_package_and_its_public_dependency_come_each_from_where_they_belong(reach: PythonGateways) -> None:
    with SimpleIndex(credentials=("reader", "word")) as private:
        private.add("acme-app", "1.0", requires=["acme-core", "idna"], uploaded=datetime(2024, 1, 1, tzinfo=UTC))
        private.add("acme-core", "1.0", uploaded=datetime(2024, 1, 1, tzinfo=UTC))
        access = Access(private.url, "reader", "word", ("acme-*",))

        found = solve(order("acme-app\n", as_of="2024-06-10", access=access), reach)

        # AND a name that the private index lost is not taken from anywhere else
        lost = Access(private.url, "reader", "word", ("acme-*", "idna"))
        with pytest.raises(ResolutionFailed, match="idna belongs to http://127"):
            solve(order("acme-app\n", as_of="2024-06-10", access=lost), reach)

    assert found.lock.packages == {"acme-app": "1.0", "acme-core": "1.0", "idna": "3.7"}


def test_a_dependency_that_only_has_pre_releases_moves_from_one_to_the_next(reach: PythonGateways) -> None:
    first = solve(order("opentelemetry-sdk\n", as_of="2026-03-01"), reach)
    second = solve(order("opentelemetry-sdk\n", as_of="2026-10-01", current=first.lock), reach)

    name = "opentelemetry-semantic-conventions"
    assert Version(first.lock.packages[name]).is_prerelease
    assert Version(second.lock.packages[name]).is_prerelease
    assert Version(second.lock.packages[name]) > Version(first.lock.packages[name])
