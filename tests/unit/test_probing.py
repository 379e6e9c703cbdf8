"""Judging a candidate by its probe, against the promoted release's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.bundle import BuiltNodePackage, BuiltPackage, Manifest, Sizes
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


def smoke(kind: str = "") -> dict[str, object]:
    return {"smoke": {"module": "smoke.py", "type": kind, "message": "as written"}}


def test_what_a_definition_names_is_decisive_wherever_it_lies() -> None:
    failing = answer("werkzeug.debug")
    assert not judge(failing, answer(), MANIFEST, DIRECT, imports=("werkzeug.debug",)).accepted
    assert not judge(failing, None, MANIFEST, DIRECT, imports=("werkzeug.debug",)).accepted
    assert judge(failing, answer("werkzeug.debug"), MANIFEST, DIRECT, imports=("werkzeug.debug",)).accepted


def test_what_a_function_imports_is_decisive_as_long_as_there_is_a_release_that_it_works_with() -> None:
    failing = answer("werkzeug.debug")
    assert not judge(failing, answer(), MANIFEST, DIRECT, used=("werkzeug.debug",)).accepted
    assert judge(failing, None, MANIFEST, DIRECT, used=("werkzeug.debug",)).accepted


@pytest.mark.parametrize(
    ("candidate", "promoted", "accepted", "said"),
    [
        (
            "ValueError",
            "",
            False,
            "the smoke test fails; with the promoted release it does not: ValueError: as written",
        ),
        ("ValueError", "KeyError", True, "the smoke test fails as before"),
        ("", "KeyError", True, "the smoke test passed"),
        ("ValueError", None, False, "the smoke test fails: ValueError: as written"),
    ],
)
def test_a_smoke_test_decides_unless_it_failed_before(
    candidate: str, promoted: str | None, accepted: bool, said: str
) -> None:
    before = None if promoted is None else answer(**smoke(promoted))
    judgement = judge(answer(**smoke(candidate)), before, MANIFEST, DIRECT)
    assert (judgement.accepted, said in judgement.message) == (accepted, True), judgement.message


def test_modules_that_are_gone_are_told_and_hold_nothing_back() -> None:
    judgement = judge(answer(names=("flask", "new")), answer(names=("flask", "old", "older")), MANIFEST, DIRECT)
    assert (judgement.accepted, judgement.vanished) == (True, ("old", "older"))
    assert "2 modules are gone that nothing decides on" in judgement.message
    assert judge(answer(names=("flask",)), None, MANIFEST, DIRECT).vanished == ()


def test_a_library_that_no_longer_loads_rejects_and_one_that_never_did_is_a_finding() -> None:
    missing = [{"module": "lib/x.so", "type": "LibraryMissing", "message": "liby.so => not found"}]
    judgement = judge(answer(failures=missing), answer(), MANIFEST, DIRECT)
    assert not judgement.accepted
    assert judgement.message.startswith("lib/x.so cannot be loaded; with the promoted release it can: LibraryMissing")
    first = judge(answer(failures=missing), None, MANIFEST, DIRECT)
    assert first.accepted and len(first.findings) == 1


NODE = MANIFEST.model_copy(
    update={
        "packages": {},
        "node_packages": {name: BuiltNodePackage(version="1") for name in ("a", "b", "a/node_modules/b")},
    }
)


@pytest.mark.parametrize(
    ("failing", "first", "later"), [("a", False, False), ("b", True, False), ("a/node_modules/b", True, True)]
)
def test_packages_of_node_are_judged_as_those_of_python(failing: str, first: bool, later: bool) -> None:
    assert judge(answer(failing), None, NODE, ("a",), language="nodejs").accepted is first
    assert judge(answer(failing), answer(), NODE, ("a",), language="nodejs").accepted is later


def test_the_layers_own_modules_are_what_the_team_asked_for() -> None:
    own = MANIFEST.model_copy(update={"own_modules": ("ours",)})
    assert not judge(answer("ours"), None, own, DIRECT).accepted


@pytest.mark.parametrize(
    ("broken", "bootstrap", "rejected"),
    [
        ("Extension.Crash: exit code 1", False, True),
        ("Runtime.ExitError: exit status 3", True, True),
        ("Runtime.ExitError: exit status 3", False, False),
    ],
)
def test_a_program_of_a_first_release_that_does_not_start_is_its_own_fault(
    broken: str, bootstrap: bool, rejected: bool
) -> None:
    manifest = MANIFEST.model_copy(update={"bootstrap": bootstrap})
    if rejected:
        assert not judge(answer(broken=broken), None, manifest, DIRECT).accepted
    else:
        with pytest.raises(VerifyFailed):
            judge(answer(broken=broken), None, manifest, DIRECT)


NAMES = ("flask", "flask.cli", "werkzeug", "werkzeug.debug", "boto3", "ours", "smoke.py", "elsewhere")


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_only_what_the_candidate_alone_fails_can_reject_it(before: set[str], now: set[str], used: set[str]) -> None:
    judgement = judge(answer(*now), answer(*before), MANIFEST, DIRECT, used=used, imports=("ours",))
    rejecting = {failure.module for failure in judgement.rejecting}
    findings = {failure.module for failure in judgement.findings}
    assert rejecting | findings == now - before
    assert rejecting == (now - before) & ({"flask", "werkzeug", "ours", "boto3"} | used)
    assert judgement.accepted is not bool(rejecting)


def test_a_report_leaves_out_the_names_of_all_modules() -> None:
    assert "names" not in answer(names=("a",)).report()
