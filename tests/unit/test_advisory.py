"""Advisory events: what is read from those that are accepted, and what is said about each that is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.advisory import MOST, affecting, own_details, parse_event
from lamina.errors import InvalidInput
from lamina.model import Advisory
from lamina.osv import Pin
from lamina.versions import older


def own(**detail: Any) -> dict[str, Any]:
    return {"source": "lamina.advisory", "detail-type": "Advisory", "detail": detail}


def inspector(row: object = None, **changes: Any) -> dict[str, Any]:
    detail = {
        "status": "ACTIVE",
        "title": "CVE-1 - requests",
        "packageVulnerabilityDetails": {"vulnerabilityId": "CVE-1", "vulnerablePackages": [row]},
    } | changes
    return {"source": "aws.inspector2", "detail-type": "Inspector2 Finding", "detail": detail}


GOOD = {"package": "requests", "fixed": "2.32.0"}
ROW = {"name": "requests", "version": "2.31.0", "fixedInVersion": "2.32.0", "packageManager": "PIP"}

REFUSED: list[tuple[Any, str]] = [
    ({"source": "aws.health", "detail": {}}, "source 'aws.health' starts no update"),
    ({"source": "lamina.advisory"}, 'the lamina.advisory event has no "detail" object'),
    ({"source": "aws.inspector2", "detail-type": "Inspector2 Scan", "detail": {}}, "only 'Inspector2 Finding' does"),
    (inspector(ROW, status="SUPPRESSED"), "is 'SUPPRESSED'; only ACTIVE findings"),
    (inspector(ROW, packageVulnerabilityDetails=None, type="CODE_VULNERABILITY"), "is about no package"),
    (inspector(ROW | {"packageManager": "GOMOD"}), "no Python or npm package (package managers: ['GOMOD'])"),
    (inspector("requests"), "no Python or npm package (package managers: none)"),
    (inspector(ROW | {"fixedInVersion": "NotAvailable"}), "CVE-1 has no fixed version yet"),
    (inspector(ROW | {"fixedInVersion": "2.30.0"}), "CVE-1 has no fixed version yet"),
    (inspector(ROW | {"name": "../../x"}), "CVE-1 has no fixed version yet"),
    (own(fixed="1"), 'detail needs "package"'),
    (own(package=["requests"], fixed="1"), 'detail needs "package"'),
    (own(package="requests; rm -rf /", fixed="1"), "cannot be the name of a package of PyPI"),
    (own(package="@a/b/c", fixed="1.0.0", ecosystem="npm"), "cannot be the name of a package of npm"),
    (own(package="requests"), 'requests has no "fixed" version'),
    (own(package="requests", fixed=None), 'requests has no "fixed" version'),
    (
        own(package="requests", fixed="soon"),
        '"fixed" must be the version that fixes it, such as "2.32.0", not \'soon\'',
    ),
    (own(package="requests", fixed=2), '"fixed" must be the version that fixes it'),
    (own(package="requests", fixed=">=2.32"), '"fixed" must be the version that fixes it'),
    (own(package="requests", fixed="9" * 200), '"fixed" must be the version that fixes it'),
    (own(**GOOD, version="2.33"), 'requests 2.33 is not older than 2.32.0, the "fixed" version'),
    (own(**GOOD, version="*"), '"version" must be the locked version'),
    (own(**GOOD, ecosystem="Maven"), "\"ecosystem\" 'Maven' is not one that layers are made of"),
    (own(**GOOD, ecosystem=3), '"ecosystem" 3 is not one'),
    (own(**GOOD, severity="high"), "unknown key 'severity' in detail"),
    (own(**GOOD, layers="web"), '"layers" must be a list of layer names'),
    (own(**GOOD, layers=[1]), '"layers" must be a list of layer names'),
    (own(**GOOD, id=35195), '"id" must be a text such as'),
    (own(**GOOD, id="CVE-1\nlayer web was promoted"), '"id" must be one line of at most 200 characters'),
    (own(**GOOD, text="x" * 1001), '"text" must be one line of at most 1000 characters'),
    (own(advisories=[]), '"advisories" must be a list of at least one object'),
    (own(advisories={"a": GOOD}), '"advisories" must be a list of at least one object'),
    (own(advisories=[GOOD, "x"]), "advisories[1]: must be an object"),
    (own(advisories=[{"package": "x", "fix": "1"}]), "advisories[0]: unknown key 'fix'"),
    (own(advisories=[{"package": "x", "fixed": "y"}]), 'advisories[0]: "fixed" must be the version'),
    (own(advisories=[GOOD], **GOOD), "'package' belongs inside an entry of \"advisories\""),
    (own(advisories=[GOOD] * (MOST + 1)), f"holds {MOST + 1} entries, more than {MOST}; send several events"),
]


@pytest.mark.parametrize(("event", "says"), REFUSED)
def test_a_malformed_or_forged_event_is_refused_with_a_message_of_its_own(event: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_event(event)

    assert says in str(refused.value)
    assert len(str(refused.value)) < 600, "an event's contents do not swell the message"


def test_there_are_many_messages_and_they_differ() -> None:
    assert len({says for _, says in REFUSED}) >= 28


def test_lamina_s_own_event_may_be_about_several_packages_of_any_ecosystem() -> None:
    event = parse_event(
        own(
            advisories=[
                {"package": "Flask_Login", "fixed": "0.6.3", "ecosystem": "pip", "id": "GHSA-1"},
                {"package": "@scope/Thing", "fixed": "v1.2.3", "ecosystem": "NPM", "version": "1.2.2"},
            ],
            layers=["web"],
            text="told by the security team",
        )
    )

    assert event.advisories == (
        Advisory(id="GHSA-1", package="flask-login", fixed="0.6.3"),
        Advisory(
            id="advisory on @scope/Thing", ecosystem="npm", package="@scope/Thing", version="1.2.2", fixed="1.2.3"
        ),
    )
    assert (event.layers, event.text) == (("web",), "told by the security team")


def test_a_finding_knows_the_layer_that_it_was_found_in_only_if_every_package_says_so() -> None:
    arn = "arn:aws:lambda:eu-central-1:123456789012:layer:web-python313-arm64:12"

    def found_in(*arns: object) -> tuple[str, ...]:
        rows = [ROW | {"sourceLambdaLayerArn": one} for one in arns]
        details = {"vulnerabilityId": "CVE-1", "vulnerablePackages": rows}
        return parse_event(inspector(packageVulnerabilityDetails=details)).found_in

    assert found_in(arn, arn) == ("web-python313-arm64",)
    assert found_in(arn, None) == found_in("nonsense") == found_in({"a": 1}) == ()


def test_many_events_of_one_vulnerability_read_the_same() -> None:
    assert len({parse_event(inspector(ROW, findingArn=f"arn:{number}")) for number in range(200)}) == 1


PINS = st.builds(
    Pin, st.just("PyPI"), st.sampled_from("ab"), st.builds("{}.{}".format, st.integers(0, 3), st.integers(0, 3))
)
ADVISORIES = st.builds(
    Advisory,
    id=st.sampled_from(["CVE-1", "CVE-2"]),
    package=st.sampled_from("ab"),
    version=st.none() | st.just("1.1"),
    fixed=st.none() | st.builds("{}.{}".format, st.integers(0, 4), st.integers(0, 3)),
)


@given(st.lists(ADVISORIES), st.lists(PINS, max_size=2))
def test_what_affects_a_lock_has_a_fix_above_a_version_of_it_and_none_is_lower(
    advisories: list[Advisory], pins: list[Pin]
) -> None:
    found = affecting(advisories, pins)

    def candidates(pin: Pin, identity: str) -> set[str]:
        return {
            str(one.fixed)
            for one in advisories
            if (one.package, one.id) == (pin.package, identity)
            and one.version in (None, pin.version)
            and one.fixed
            and older("PyPI", pin.version, one.fixed)
        }

    for pin in pins:
        for identity in ("CVE-1", "CVE-2"):
            possible = candidates(pin, identity)
            taken = {str(one.fixed) for one in found if (one.package, one.id) == (pin.package, identity)}
            assert bool(possible) <= bool(taken)
            if possible:
                assert [one for one in taken if all(not older("PyPI", other, one) for other in possible)]
    assert all(one in advisories for one in found)
    assert len(set(found)) == len(found)


@given(
    st.lists(
        ADVISORIES.map(lambda one: one.model_copy(update={"fixed": one.fixed or "1.0", "version": None})), max_size=30
    )
)
def test_what_lamina_tells_itself_arrives_as_it_was(advisories: list[Advisory]) -> None:
    details = list(own_details(advisories, ["web"], "why"))

    arrived = [one for detail in details for one in parse_event(own(**json.loads(json.dumps(detail)))).advisories]
    assert arrived == list(dict.fromkeys(advisories))


def test_many_advisories_are_told_in_several_events_none_of_them_too_big() -> None:
    advisories = [Advisory(id=f"CVE-{number}", package="p" * 100, fixed="1.0") for number in range(2000)]

    details = list(own_details(advisories, [f"layer-{number}" for number in range(100)], "why"))

    assert len(details) > 1
    assert all(len(json.dumps(detail)) < 128_000 for detail in details)
    assert [one for detail in details for one in parse_event(own(**detail)).advisories] == advisories
