"""The input of an update: every accepted form, and what is said about the others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.advisory import affecting
from lamina.definition import Definition, Refusal, parse_definition
from lamina.errors import InvalidInput
from lamina.inputs import ACCEPTED, Locked, Plan, parse_as_of, parse_update, plan, run_id, without

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
TOML = """
[layer]
owner = "o"
runtimes = ["python3.13"]
architectures = ["x86_64", "arm64"]
[python]
requirements = "requirements.in"
"""


def definition(name: str) -> Definition:
    return parse_definition(name, {"layer.toml": TOML.encode(), "requirements.in": b"requests\n"})


DEFINITIONS = (definition("data"), definition("web"))
REFUSED = (Refusal(layer="broken", message="layers/broken/layer.toml: no"),)
LOCKS: Mapping[str, Locked] = {
    "web-python313-x86_64": {"PyPI": {"requests": "2.31.0"}, "npm": {"a/node_modules/lodash": "4.17.20"}},
    "web-python313-arm64": {"PyPI": {"requests": "2.32.3"}, "npm": {"lodash": "4.17.21"}},
}


def planned(raw: object) -> Plan:
    return plan(parse_update(raw, NOW), DEFINITIONS, REFUSED, LOCKS.get, run="r-1")


def finding(**changes: Any) -> dict[str, Any]:
    detail = {
        "status": "ACTIVE",
        "type": "PACKAGE_VULNERABILITY",
        "title": "CVE-2024-35195 - requests",
        "findingArn": "arn:aws:inspector2:eu-central-1:123456789012:finding/f",
        "packageVulnerabilityDetails": {
            "vulnerabilityId": "CVE-2024-35195",
            "vulnerablePackages": [
                {"name": "Requests", "version": "2.31.0", "fixedInVersion": "2.32.0", "packageManager": "PYTHONPKG"}
            ],
        },
    } | changes
    return {"version": "0", "source": "aws.inspector2", "detail-type": "Inspector2 Finding", "detail": detail}


def packages_of(**changes: Any) -> dict[str, Any]:
    row = {"name": "requests", "version": "2.31.0", "fixedInVersion": "2.32.0", "packageManager": "PIP"} | changes
    return {"packageVulnerabilityDetails": {"vulnerabilityId": "CVE-1", "vulnerablePackages": [row]}}


def test_an_empty_input_means_every_variant_of_every_layer_as_of_now() -> None:
    result = planned({})

    assert [variant.variant for variant in result.variants] == [
        "data-python313-x86_64",
        "data-python313-arm64",
        "web-python313-x86_64",
        "web-python313-arm64",
    ]
    assert (result.as_of, result.force, result.dry_run, result.reason.kind) == (NOW, False, False, "schedule")
    assert result.refused == REFUSED


def test_layers_packages_force_and_dry_run_are_carried_on() -> None:
    result = planned({"layers": ["web"], "packages": {"Requests": "2.32.4"}, "force": True, "dryRun": True})

    assert {variant.layer for variant in result.variants} == {"web"}
    assert (result.packages, result.force, result.dry_run, result.refused) == ({"requests": "2.32.4"}, True, True, ())
    assert result.reason.kind == "console"
    assert result.reason.text == "layers web; requests exactly 2.32.4; even if nothing changed; dry run"


def test_packages_that_are_held_back_may_be_released_for_named_layers() -> None:
    request = parse_update({"layers": ["web"], "release": ["Zope.Interface", "@acme/pool", "zope-interface"]}, NOW)
    assert request.release == ("zope-interface", "@acme/pool")
    assert request.reason.text == "layers web; zope-interface no longer held back; @acme/pool no longer held back"


def test_a_layer_whose_definition_is_refused_may_be_asked_for_and_is_reported() -> None:
    result = planned({"layers": ["broken"]})

    assert (result.variants, result.refused) == ((), REFUSED)


def test_the_result_is_camel_case_json() -> None:
    assert planned({"dryRun": True}).to_json() | {"variants": []} == {
        "run": "r-1",
        "asOf": "2026-11-20T12:30:00Z",
        "dryRun": True,
        "force": False,
        "security": False,
        "packages": {},
        "reason": {"kind": "console", "text": "every layer; dry run"},
        "advisories": [],
        "variants": [],
        "refused": [{"layer": "broken", "message": "layers/broken/layer.toml: no"}],
        "paused": "",
        "steering": None,
    }


@pytest.mark.parametrize(
    ("given_as_of", "moment"),
    [
        ("2024-11-27", datetime(2024, 11, 28, tzinfo=UTC)),
        ("2024-11-27T15:58:34Z", datetime(2024, 11, 27, 15, 58, 34, tzinfo=UTC)),
        ("2024-11-27T15:58:34", datetime(2024, 11, 27, 15, 58, 34, tzinfo=UTC)),
        ("2024-11-27T15:58:34+02:00", datetime(2024, 11, 27, 13, 58, 34, tzinfo=UTC)),
        ("2026-11-20", NOW),
    ],
)
def test_a_date_lasts_through_its_end_and_a_moment_is_itself(given_as_of: str, moment: datetime) -> None:
    assert parse_as_of(given_as_of, NOW) == moment
    assert planned({"asOf": given_as_of}).as_of == moment


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (None, "must be an object, not null"),
        ([], "must be an object, not a list"),
        ("web", "must be an object, not a text"),
        ({"layer": ["web"]}, "unknown key 'layer', did you mean 'layers'?"),
        ({"dryrun": True}, "unknown key 'dryrun', did you mean 'dryRun'?"),
        ({"layers": "web"}, '"layers" must be a list of layer names'),
        ({"layers": [1]}, '"layers" must be a list of layer names'),
        ({"layers": []}, '"layers" is empty'),
        ({"layers": ["wed"]}, "there is no layer 'wed'; known are: broken, data, web"),
        ({"force": "yes"}, '"force" must be true or false, not a text'),
        ({"dryRun": 1}, '"dryRun" must be true or false, not a number'),
        ({"packages": {"requests": "2.32.4"}}, '"packages" needs "layers"'),
        ({"layers": ["web"], "packages": ["requests"]}, '"packages" must be an object'),
        ({"layers": ["web"], "packages": {"requests": 2.3}}, "the version of requests must be a text"),
        ({"layers": ["web"], "packages": {"requests": ">=2"}}, "'>=2' is not an exact version of requests"),
        ({"layers": ["web"], "packages": {"../x": "1"}}, "'../x' cannot be the name of a package"),
        ({"release": ["requests"]}, '"release" needs "layers"'),
        ({"layers": ["web"], "release": "requests"}, '"release" must be a list of package names'),
        ({"layers": ["web"], "release": []}, '"release" must be a list of package names'),
        ({"layers": ["web"], "release": ["requests==2"]}, "'requests==2' cannot be the name of a package"),
        ({"layers": ["web"], "release": ["requests"], "dryRun": True}, '"release" does not go together with "dryRun"'),
        ({"asOf": 20241127}, '"asOf" must be a text'),
        ({"asOf": "last week"}, "'last week' is neither a date"),
        ({"asOf": "2026-11-21"}, "lies in the future (it is 2026-11-20T12:30:00Z)"),
        ({"asOf": "2026-11-20T12:31:00Z"}, "lies in the future"),
    ],
)
def test_anything_else_is_refused_with_what_was_wrong_and_what_is_accepted(raw: object, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        planned(raw)

    assert says in str(refused.value)
    assert ACCEPTED in str(refused.value)


def test_what_step_functions_adds_to_a_nested_execution_is_no_mistake() -> None:
    assert planned({"AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID": "arn"}).reason.kind == "schedule"


def test_a_finding_updates_the_variants_that_hold_an_affected_version() -> None:
    result = planned(finding())

    assert [variant.variant for variant in result.variants] == ["web-python313-x86_64"]
    assert [advisory.to_json() for advisory in result.advisories] == [
        {"id": "CVE-2024-35195", "ecosystem": "PyPI", "package": "requests", "version": None, "fixed": "2.32.0"}
    ]
    assert (result.reason.kind, result.as_of, result.security) == ("advisory", NOW, True)
    assert result.reason.text == "CVE-2024-35195: requests is fixed in 2.32.0"


def test_of_several_fixed_branches_the_lowest_above_the_current_version_counts() -> None:
    result = planned(finding(**packages_of(version="2.31.0", fixedInVersion="1.9.9, 2.31.5, 3.0.1")))

    assert [advisory.fixed for advisory in result.advisories] == ["2.31.5"]


def test_an_advisory_that_concerns_nobody_starts_no_branch_and_says_so() -> None:
    result = planned(finding(**packages_of(name="jinja2", version="3.1.2", fixedInVersion="3.1.3")))

    assert result.variants == ()
    assert result.reason.text.endswith("no promoted release holds an affected version")


def test_laminas_own_event_may_name_layers() -> None:
    detail = {"package": "requests", "fixed": "2.32.0", "layers": ["data"]}
    result = planned({"source": "lamina.advisory", "detail-type": "advisory", "detail": detail})

    assert (result.variants, result.advisories) == ((), ())
    assert result.reason.text.startswith("advisory on requests: requests is fixed in 2.32.0")


def test_a_finding_about_npm_is_held_against_npm_packages_wherever_they_are_in_the_tree() -> None:
    row = packages_of(name="lodash", version="4.17.20", fixedInVersion="4.17.21", packageManager="NODEPKG")
    result = planned(finding(**row))

    assert [variant.variant for variant in result.variants] == ["web-python313-x86_64"]
    assert [(one.ecosystem, one.package, one.fixed) for one in result.advisories] == [("npm", "lodash", "4.17.21")]


def test_a_finding_that_names_a_variant_s_layer_is_about_that_variant_alone() -> None:
    both = {name: {"PyPI": {"requests": "2.31.0"}} for name in LOCKS}

    def chosen(layer: str | None) -> list[str]:
        arn = layer and f"arn:aws:lambda:eu-central-1:123456789012:layer:{layer}:7"
        event = finding(**packages_of(sourceLambdaLayerArn=arn))
        return [one.variant for one in plan(parse_update(event, NOW), DEFINITIONS, (), both.get, run="r").variants]

    assert chosen("web-python313-arm64") == ["web-python313-arm64"]
    assert chosen("data-python313-arm64") == []
    assert chosen("somebody-elses") == chosen(None) == ["web-python313-x86_64", "web-python313-arm64"]


def test_of_an_advisory_with_a_fix_for_each_branch_every_variant_takes_its_own() -> None:
    locks: Mapping[str, Locked] = {
        "web-python313-x86_64": {"PyPI": {"urllib3": "1.26.17"}},
        "web-python313-arm64": {"PyPI": {"urllib3": "2.0.6"}},
    }
    rows = [{"package": "urllib3", "id": "CVE-2023-45803", "fixed": fixed} for fixed in ("2.0.7", "1.26.18", "3.0")]
    request = parse_update({"source": "lamina.advisory", "detail": {"advisories": rows}}, NOW)

    result = plan(request, DEFINITIONS, (), locks.get, run="r")

    assert [advisory.fixed for advisory in result.advisories] == ["2.0.7", "1.26.18"]
    assert [affecting(result.advisories, lock)[0].fixed for lock in locks.values()] == ["1.26.18", "2.0.7"]


def test_an_advisory_found_in_one_version_concerns_locks_with_that_version() -> None:
    row = {"package": "requests", "fixed": "2.32.4", "version": "2.31.0"}

    assert [one.variant for one in planned({"source": "lamina.advisory", "detail": row}).variants] == [
        "web-python313-x86_64"
    ]


def test_a_layer_whose_advisories_wait_for_the_schedule_is_left_to_it_unless_it_is_named() -> None:
    patient = parse_definition(
        "web", {"layer.toml": f'{TOML}\n[update]\nsecurity = "scheduled"'.encode(), "requirements.in": b"requests\n"}
    )

    def result(**detail: object) -> Plan:
        event = {"source": "lamina.advisory", "detail": {"package": "requests", "fixed": "2.32.0"} | detail}
        return plan(parse_update(event, NOW), [patient], (), LOCKS.get, run="r")

    assert (result().variants, result().advisories) == ((), ())
    assert result().reason.text.endswith("web waits for the schedule (update.security)")
    assert len(result(layers=["web"]).variants) == 1


def test_variants_that_another_run_is_fixing_are_left_to_it() -> None:
    result = planned(finding())

    left = without(result.model_copy(update={"refused": REFUSED}), {"web-python313-x86_64": "run-7"})

    assert (left.variants, left.refused) == ((), ())
    assert left.reason.text.endswith("already being fixed: web-python313-x86_64 by run-7")
    assert without(result, {}) == result


def test_the_run_is_called_like_its_execution() -> None:
    assert run_id("arn:aws:states:eu-central-1:123456789012:execution:Update:daily-7") == "daily-7"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["layers", "packages", "force", "dryRun", "asOf", "source", "detail", "detail-type"]) | st.text(max_size=3), inner), max_leaves=12))  # fmt: skip  # noqa: E501
def test_whatever_arrives_is_planned_or_refused_but_never_an_accident(raw: object) -> None:
    try:
        planned(raw)
    except InvalidInput as refused:
        assert len(str(refused)) > 20
