"""Judging a candidate by its probe, against the promoted release's."""

from __future__ import annotations

import pytest

from lamina.bundle import BuiltPackage, Manifest, Sizes
from lamina.errors import VerifyFailed
from lamina.model import Variant
from lamina.probing import ImportFailure, ProbeAnswer, judge, probe_name

MANIFEST = Manifest(
    variant="web-python313-arm64",
    digest="a" * 64,
    sha256="b" * 64,
    sizes=Sizes(zipped=1, unzipped=2),
    packages={
        "flask": BuiltPackage(version="2.2.2", modules=("flask",), requires=("werkzeug",)),
        "werkzeug": BuiltPackage(version="3.0.0", modules=("werkzeug",)),
    },
)
DIRECT = ("flask",)


def answer(*failing: str, **more: object) -> ProbeAnswer:
    failures = tuple(ImportFailure(module=module, type="ImportError", message=f"no {module}") for module in failing)
    return ProbeAnswer.model_validate(
        {"modules": 10, "imported": 10 - len(failing), "failed": len(failing), "failures": failures} | more
    )


def test_a_package_that_only_the_candidate_fails_to_import_rejects_it() -> None:
    judgement = judge(answer("flask", "werkzeug.debug"), answer("werkzeug.debug"), MANIFEST, DIRECT)

    assert not judgement.accepted
    assert [failure.module for failure in judgement.rejecting] == ["flask"]
    assert judgement.message == "flask cannot be imported; the promoted release imports it: ImportError: no flask"


def test_what_the_promoted_release_fails_as_well_blames_nobody() -> None:
    judgement = judge(answer("flask"), answer("flask"), MANIFEST, DIRECT)

    assert (judgement.accepted, judgement.findings) == (True, ())


def test_a_submodule_is_a_finding_and_no_reason_to_hold_a_layer_back() -> None:
    judgement = judge(answer("werkzeug.debug"), answer(), MANIFEST, DIRECT)

    assert judgement.accepted
    assert [failure.module for failure in judgement.findings] == ["werkzeug.debug"]
    assert "1 modules fail that nothing decides on" in judgement.message


@pytest.mark.parametrize(("failing", "accepted"), [("flask", False), ("werkzeug", True), ("flask.cli", True)])
def test_a_first_release_must_import_what_the_team_asked_for(failing: str, accepted: bool) -> None:
    assert judge(answer(failing), None, MANIFEST, DIRECT).accepted is accepted


def test_a_layer_that_breaks_the_runtimes_sdk_is_rejected_and_a_runtime_without_one_is_not_its_fault() -> None:
    broken = answer(failures=[{"module": "boto3", "type": "ImportError", "message": "cannot import name 'six'"}])
    absent = answer(failures=[{"module": "boto3", "type": "ModuleNotFoundError", "message": "No module named 'boto3'"}])

    assert not judge(broken, answer(), MANIFEST, DIRECT).accepted
    assert judge(absent, None, MANIFEST, DIRECT).accepted


def test_a_function_that_cannot_start_with_the_candidate_alone_rejects_it() -> None:
    judgement = judge(answer(broken="Runtime.ExitError"), answer(), MANIFEST, DIRECT)

    assert not judgement.accepted
    assert "no function can start with the candidate: Runtime.ExitError" in judgement.message


@pytest.mark.parametrize("promoted", [None, answer(broken="Sandbox.Timedout")])
def test_a_probe_that_runs_with_nothing_says_nothing_about_the_candidate(promoted: ProbeAnswer | None) -> None:
    with pytest.raises(VerifyFailed, match="did not run"):
        judge(answer(broken="Sandbox.Timedout"), promoted, MANIFEST, DIRECT)


def test_modules_that_were_not_tried_are_said_so() -> None:
    assert judge(answer(untried=3), None, MANIFEST, DIRECT).message.endswith("3 were not tried for lack of time")


def test_a_probe_has_the_same_name_every_time_and_one_that_lambda_takes() -> None:
    short = Variant(variant="web-python313-arm64", layer="web", runtime="python3.13", architecture="arm64")
    long = short.model_copy(update={"variant": "w" * 60 + "-a"})
    other = short.model_copy(update={"variant": "w" * 60 + "-b"})

    assert probe_name("lamina-probe", short, 12) == "lamina-probe-web-python313-arm64-v12"
    assert probe_name("lamina-probe", long, 12) == probe_name("lamina-probe", long, 12)
    assert len(probe_name("lamina-probe", long, 12)) == 64
    assert probe_name("lamina-probe", long, 12) != probe_name("lamina-probe", other, 12)
