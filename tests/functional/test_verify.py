"""Verify's handler against a promoted release: what is asked, what is compared, what is written down."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import boto3
import pytest

from lamina.errors import VerifyFailed
from lamina.gateways.registry import Layers, Table
from lamina.imports import Used
from lamina.model import Change, LayerArn, Release, Variant
from lamina.probing import ImportFailure, ProbeAnswer, SmokeResult
from lamina.questions import Program
from lamina.rollout import RolloutPolicy

from .conftest import NOW, Cloud, Context

NAME = "web-nodejs22x-arm64"
VARIANT = {
    "variant": NAME,
    "layer": "web",
    "runtime": "nodejs22.x",
    "architecture": "arm64",
    "environment": None,
    "snapshot": None,
}
TOML = """
[layer]
owner = "web"
runtimes = ["nodejs22.x"]
architectures = ["arm64"]
[nodejs]
package = "package.json"
[verify]
imports = ["left/part"]
smoke = "check.mjs"
[rollout]
exclude = ["batch-*"]
"""


@dataclass
class Scripted:
    """Stands in for probe functions: answers by the layer's version."""

    answers: dict[str, ProbeAnswer | VerifyFailed]
    asked: dict[str, Program] = field(default_factory=dict)

    def ask(self, name: str, variant: Variant, layer: LayerArn, program: Program) -> ProbeAnswer:
        self.asked[name] = program
        answer = self.answers[layer.rsplit(":", 1)[1]]
        if isinstance(answer, VerifyFailed):
            raise answer
        return answer


class Fleet:
    """A fleet of one function that was read, and another."""

    def imported(self, candidate: LayerArn, policy: RolloutPolicy) -> Used:
        assert (candidate, policy.exclude) == (arn(2)["arn"], ("batch-*",))
        return Used({"app-1": frozenset({"pad/start", "fs"})}, {"app-2": "too large"})


def layers() -> Layers:
    return Layers(Table(boto3.client("dynamodb"), "registry"))


def arn(version: int) -> dict[str, Any]:
    return {"version": version, "arn": f"arn:aws:lambda:eu-central-1:123456789012:layer:{NAME}:{version}", "digest": ""}


def record(cloud: Cloud, version: int, *changes: Change, **packages: str) -> None:
    """A release with its manifest and explanation."""
    manifest = {
        "variant": NAME,
        "digest": "a" * 64,
        "sha256": "b" * 64,
        "sizes": {"zipped": 1, "unzipped": 2},
        "nodePackages": {name: {"version": number} for name, number in packages.items()},
    }
    explanation = {
        "variant": NAME, "run": "r", "asOf": NOW, "cutoff": NOW, "requirements": [], "exclude": [], "direct": [],
        "nodeDirect": ["left"], "packages": {}, "changes": [], "held": [], "summary": "",
    }  # fmt: skip
    layers().record(
        Release.model_validate(
            {
                "variant": NAME,
                "digest": "a" * 64,
                "artifact": "a",
                "lock": "l",
                "packages": {},
                "asOf": NOW,
                "created": NOW,
                "run": "r",
                "nodePackages": packages,
                "changes": [one.to_json() for one in changes],
                "manifest": cloud.write(f"m{version}", manifest),
                "explanation": cloud.write(f"e{version}", explanation),
            }
            | {key: value for key, value in arn(version).items() if key != "digest"}
        )
    )


def verify(cloud: Cloud, probes: Scripted, current: int | None = 1, fleet: bool = True) -> dict[str, Any]:
    cloud.define("web", TOML, package_json='{"dependencies": {"left": "^1.0.0", "pad": "1"}}', check_mjs="// smoke")
    module: Any = cloud.module("verify")
    module.REACH = replace(module.REACH, probes=probes, usage=Fleet() if fleet else None)
    before = None if current is None else arn(current)
    event = {"run": "r-2", "variant": VARIANT, "candidate": arn(2), "current": before, "now": NOW}
    answer: dict[str, Any] = json.loads(json.dumps(module.handler(event, Context())))
    return answer


MOVED = Change(ecosystem="npm", package="left", from_="1.0.0", to="1.1.0", direct=True)
FINE = ProbeAnswer(modules=3, imported=3, init_ms=80.5, names=("left", "pad", "gone"))


def failing(*modules: str, **more: Any) -> ProbeAnswer:
    failures = tuple(ImportFailure(module=module, type="MODULE_NOT_FOUND", message="as made up") for module in modules)
    return ProbeAnswer(modules=3, failed=len(modules), failures=failures, **more)


def test_both_releases_are_asked_the_same_and_their_cold_starts_are_compared(cloud: Cloud) -> None:
    record(cloud, 1, left="1.0.0", pad="1.0.0")
    record(cloud, 2, MOVED, left="1.1.0", pad="1.0.0")
    probes = Scripted({"1": FINE, "2": ProbeAnswer(modules=2, imported=2, init_ms=120.0, names=("left", "pad"))})

    verified = verify(cloud, probes)

    assert verified["accepted"] and (verified["initMs"], verified["initMsBefore"]) == (120.0, 80.5)
    assert list(probes.asked) == [f"lamina-probe-{NAME}-v2", f"lamina-probe-{NAME}-v1"]
    for program in probes.asked.values():
        assert program.question.packages == ("left", "pad")
        assert program.question.modules == ("left/part", "pad/start")  # named by the definition, imported by the fleet
        assert set(program.files) == {"probe.mjs", "smoke.mjs"}
        assert program.init == ("left",)
    written = json.loads(cloud.read(verified["findings"]))
    assert (written["initMs"], written["initMsBefore"], written["vanished"]) == (120.0, 80.5, ["gone"])
    assert written["used"] == ["pad/start"]
    assert (written["functionsRead"], written["functionsUnread"]) == (1, {"app-2": "too large"})
    assert verified["message"].endswith("; what app-2 imports is unknown (too large)")
    assert "names" not in written["candidate"]


@pytest.mark.parametrize(
    ("candidate", "culprits"),
    [(failing("left"), ["left"]), (failing("pad/start"), ["left"]), (failing("left/part"), ["left"])],
)
def test_what_somebody_depends_on_rejects_and_names_what_changed(
    cloud: Cloud, candidate: ProbeAnswer, culprits: list[str]
) -> None:
    record(cloud, 1, left="1.0.0", pad="1.0.0")
    record(cloud, 2, MOVED, Change(package="left", from_="9", to="10"), left="1.1.0", pad="1.0.0")

    verified = verify(cloud, Scripted({"1": FINE, "2": candidate}))

    assert (verified["accepted"], verified["culprits"]) == (False, culprits)
    release = layers().release(NAME, 2)
    assert release is not None and release.status == "rejected"


def test_what_no_function_imports_is_a_finding(cloud: Cloud) -> None:
    record(cloud, 1, left="1.0.0", pad="1.0.0")
    record(cloud, 2, MOVED, left="1.1.0", pad="1.0.0")

    verified = verify(cloud, Scripted({"1": FINE, "2": failing("pad/start")}), fleet=False)

    assert verified["accepted"]
    assert json.loads(cloud.read(verified["findings"]))["findings"][0]["module"] == "pad/start"


def test_a_smoke_test_that_the_candidate_alone_fails_rejects_it(cloud: Cloud) -> None:
    record(cloud, 1, left="1.0.0")
    record(cloud, 2, MOVED, left="1.1.0")
    raised = SmokeResult(module="smoke.mjs", type="RangeError", message="too far")

    verified = verify(cloud, Scripted({"1": FINE, "2": ProbeAnswer(smoke=raised)}))

    assert not verified["accepted"]
    assert verified["message"] == "the smoke test fails; with the promoted release it does not: RangeError: too far"


def test_a_promoted_release_that_cannot_be_attached_any_more_holds_no_clean_candidate_back(cloud: Cloud) -> None:
    record(cloud, 1, left="1.0.0")
    record(cloud, 2, MOVED, left="1.1.0")
    gone = VerifyFailed("version 1 was deleted")

    verified = verify(cloud, Scripted({"1": gone, "2": FINE}))

    assert verified["accepted"] and verified["initMsBefore"] is None
    assert json.loads(cloud.read(verified["findings"]))["promotedUnknown"] == "version 1 was deleted"
    with pytest.raises(VerifyFailed, match="version 1 was deleted"):
        verify(cloud, Scripted({"1": gone, "2": failing("left")}))


def test_a_first_release_is_compared_with_nothing(cloud: Cloud) -> None:
    record(cloud, 2, left="1.1.0")
    probes = Scripted({"2": FINE})

    verified = verify(cloud, probes, current=None)

    assert verified["accepted"] and verified["initMsBefore"] is None
    assert len(probes.asked) == 1
    assert next(iter(probes.asked.values())).question.modules == ("left/part",)
