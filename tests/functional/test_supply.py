"""From an input to a proven release: the handlers of Plan, Check, Bundle, Publish and Verify, one after another.

AWS is moto's; the resolver, the index, the build script and the imports are real.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from lamina.errors import BuildRefused, InvalidInput, ResolutionFailed, VerifyFailed
from lamina.gateways.index import find_uv
from lamina.gateways.registry import Layers, Runs, Table
from lamina.model import HeldBack, LayerArn, LayerState, Release, Variant
from lamina.probing import ProbeAnswer
from lamina.questions import Program

from .conftest import NOW, Cloud, Context

VARIANT = {
    "variant": "web-python311-x86_64",
    "layer": "web",
    "runtime": "python3.11",
    "architecture": "x86_64",
    "environment": None,
    "snapshot": None,
}
TOML = """
[layer]
owner = "web"
runtimes = ["python3.11"]
architectures = ["x86_64"]
[python]
requirements = "requirements.in"
[update]
allow = "major"
cooldown-days = 0
"""
NAME = "web-python311-x86_64"


def layers() -> Layers:
    return Layers(Table(boto3.client("dynamodb"), "registry"))


def plan_event(raw: object, run: str = "daily-1") -> dict[str, object]:
    arn = f"arn:aws:states:eu-central-1:123456789012:execution:Update:{run}"
    return {"input": raw, "execution": arn, "now": NOW}


def check_event(plan: dict[str, Any], **more: object) -> dict[str, object]:
    """As `update.asl.yaml` makes it of what Plan returned."""
    passed_on = ("run", "asOf", "force", "dryRun", "security", "packages", "advisories")
    return {name: plan[name] for name in passed_on} | {"variant": plan["variants"][0], "now": NOW} | more


def publish_event(plan: dict[str, Any], check: dict[str, Any], path: str, **more: object) -> dict[str, object]:
    return {
        "run": plan["run"],
        "variant": plan["variants"][0],
        "path": path,
        "lock": check["lock"],
        "explanation": check["explanation"],
        "summary": check["summary"],
        "asOf": plan["asOf"],
        "now": NOW,
        "force": plan["force"],
        "reason": plan["reason"],
    } | more


class RealImports:
    """Stands in for probe functions: the probe's own code, in a process of its own, on the unzipped layer."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self._cloud = cloud
        self._folder = folder
        self.asked: list[str] = []

    def ask(self, name: str, variant: Variant, layer: LayerArn, program: Program) -> ProbeAnswer:
        self.asked.append(name)
        release = layers().release(variant.variant, int(layer.rsplit(":", 1)[1]))
        assert release is not None
        target, code = self._folder / name, self._folder / f"{name}-code"
        with zipfile.ZipFile(io.BytesIO(self._cloud.read(release.artifact))) as archive:
            archive.extractall(target)
        code.mkdir(exist_ok=True)
        for file, body in program.files.items():
            (code / file).write_bytes(body)
        call = (
            f"import json, sys; sys.path.insert(0, {str(code)!r}); import probe\n"
            "class Context:\n    get_remaining_time_in_millis = lambda self: 120_000\n"
            f"print(json.dumps(probe.handler({program.question.to_json()!r}, Context())))"
        )
        done = subprocess.run(
            [sys.executable, "-c", call], env={"PYTHONPATH": str(target / "python")}, capture_output=True, check=True
        )
        return ProbeAnswer.model_validate_json(done.stdout)


def build(cloud: Cloud, bundle: dict[str, Any], folder: Path) -> str:
    """What CodeBuild would do with the bundle; gives back the output path."""
    key = bundle["source"].removeprefix(f"{bundle['bucket']}/")
    with zipfile.ZipFile(io.BytesIO(cloud.read(key))) as archive:
        archive.extractall(folder)
    (folder / ".tools" / "bin").mkdir(parents=True)
    (folder / ".tools" / "bin" / "uv").symlink_to(find_uv(folder))
    subprocess.run([sys.executable, "-m", "builder.build"], cwd=folder, check=True, capture_output=True)
    for name in ("layer.zip", "manifest.json", "sbom.json"):
        cloud.write(f"{bundle['path']}/{name}", (folder / "output" / name).read_bytes())
    return str(bundle["path"])


def test_plan_records_the_run_and_lists_its_variants(cloud: Cloud) -> None:
    cloud.define("web", TOML, requirements_in="flask\n")
    cloud.define("bad", "[layer]")

    planned = cloud.handler("plan")(plan_event({"asOf": "2023-09-20"}))

    assert planned["run"] == "daily-1"
    assert planned["asOf"] == "2023-09-21T00:00:00Z"
    assert planned["variants"] == [VARIANT]
    assert [row["layer"] for row in planned["refused"]] == ["bad"]
    recorded = Runs(Table(boto3.client("dynamodb"), "registry")).get("daily-1")
    assert recorded is not None
    assert (recorded["asOf"], recorded["execution"].rsplit(":", 1)[1]) == ("2023-09-21T00:00:00Z", "daily-1")


def test_plan_refuses_and_records_nothing(cloud: Cloud) -> None:
    with pytest.raises(InvalidInput, match="unknown key 'layerz', did you mean 'layers'"):
        cloud.handler("plan")(plan_event({"layerz": ["web"]}))

    assert Runs(Table(boto3.client("dynamodb"), "registry")).get("daily-1") is None


@pytest.mark.index
def test_history_from_first_release_to_a_rejected_update(cloud: Cloud, tmp_path: Path) -> None:
    cloud.define("web", TOML, requirements_in="flask==2.2.2\n")
    steps = {name: cloud.handler(name) for name in ("plan", "check", "bundle", "publish")}
    verify: Any = cloud.module("verify")
    imports = RealImports(cloud, tmp_path / "opened")
    verify.REACH = replace(verify.REACH, probes=imports)

    def release(run: str, as_of: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        plan = steps["plan"](plan_event({"asOf": as_of}, run))
        check = steps["check"](check_event(plan))
        bundle = steps["bundle"](
            {"run": run, "variant": plan["variants"][0], "lock": check["lock"], "asOf": plan["asOf"]}
        )
        path = build(cloud, bundle, tmp_path / run)
        event = publish_event(plan, check, path)
        published = steps["publish"](event)
        # A retried step finds what it did before.
        assert steps["publish"](event) == published
        verified = verify.handler(
            {
                "run": run,
                "variant": VARIANT,
                "candidate": published["candidate"],
                "current": check["current"],
                "now": NOW,
            },
            Context(),
        )
        return check, published, verified

    # GIVEN a first release as of 2023-09-20
    check, published, verified = release("r-1", "2023-09-20")
    assert (check["outcome"], check["current"]) == ("changed", None)
    assert check["summary"].startswith("first release, 6 packages: flask 2.2.2")
    assert published["unchanged"] is False
    assert verified["accepted"], verified
    assert imports.asked == ["lamina-probe-web-python311-x86_64-v1"]
    layers().save(LayerState(variant=NAME, promoted=1))

    # WHEN werkzeug 3.0 is out
    check, published, verified = release("r-2", "2023-10-05")

    # THEN it is found, built, published and rejected, because flask 2.2.2 cannot be imported with it
    assert check["changes"] == [
        {"ecosystem": "PyPI", "package": "werkzeug", "from": "2.3.7", "to": "3.0.0", "direct": False}
    ]
    assert check["current"]["version"] == 1
    assert published["candidate"]["version"] == 2
    assert (verified["accepted"], verified["culprits"]) == (False, ["werkzeug"])
    assert (
        "flask cannot be imported; the promoted release imports it: ImportError: cannot import name 'url_quote'"
        in (verified["message"])
    )
    findings = json.loads(cloud.read(verified["findings"]))
    assert findings["rejecting"][0]["module"] == "flask"
    rejected = layers().release(NAME, 2)
    assert rejected is not None
    assert (rejected.status, rejected.packages["werkzeug"]) == ("rejected", "3.0.0")
    assert rejected.as_of.isoformat() == "2023-10-06T00:00:00+00:00"
    versions = boto3.client("lambda").list_layer_versions(LayerName=NAME)["LayerVersions"]
    assert [row["Version"] for row in versions] == [2, 1]
    assert versions[0]["Description"].startswith("since version 1: werkzeug 2.3.7 to 3.0.0 [")
    assert versions[0]["CompatibleRuntimes"] == ["python3.11"]

    # AND once it is held back there is nothing to do, though force rebuilds the same contents
    held = HeldBack(package="werkzeug", version="3.0.0", since=rejected.created, reason="flask fails")
    layers().hold_back(NAME, (held,))
    plan = steps["plan"](plan_event({"asOf": "2023-10-05"}, "r-3"))
    assert steps["check"](check_event(plan))["outcome"] == "up_to_date"
    assert steps["check"](check_event(plan, force=True))["outcome"] == "changed"
    explained = json.loads(cloud.read(f"explanations/{NAME}/r-3.json"))
    assert ("werkzeug", "3.0.0", "held-back") in {
        (row["package"], row["version"], row["kind"]) for row in explained["held"]
    }


@pytest.mark.index
def test_a_check_that_fails_says_why_and_publishes_nothing(cloud: Cloud) -> None:
    cloud.define("web", TOML, requirements_in="idna<2\n")
    plan = cloud.handler("plan")(plan_event({}))

    with pytest.raises(ResolutionFailed, match=r"web-python311-x86_64: no set of packages fits.*idna"):
        cloud.handler("check")(check_event(plan))

    assert cloud.objects() == []


def test_an_update_without_the_promoted_lock_is_refused(cloud: Cloud) -> None:
    cloud.define("web", TOML, requirements_in="flask\n")
    plan = cloud.handler("plan")(plan_event({}))
    record(cloud, digest="a" * 64)

    with pytest.raises(ResolutionFailed, match="the lock of the promoted release 1 is gone"):
        cloud.handler("check")(check_event(plan))


def record(cloud: Cloud, digest: str) -> None:
    """A promoted release 1, whose lock nobody stored."""
    release = {
        "variant": NAME,
        "version": 1,
        "arn": f"arn:aws:lambda:eu-central-1:123456789012:layer:{NAME}:1",
        "digest": digest,
        "artifact": "a",
        "manifest": "m",
        "lock": "locks/gone.txt",
        "explanation": "e",
        "packages": {"flask": "2.2.2"},
        "asOf": NOW,
        "created": NOW,
        "run": "r-0",
    }
    layers().record(Release.model_validate(release))
    layers().save(LayerState(variant=NAME, promoted=1))


def built(cloud: Cloud, body: bytes = b"PK-not-really", sha256: str | None = None) -> tuple[dict[str, Any], ...]:
    """A plan, a check and a build's output, made up; the zip's bytes are what they are."""
    cloud.define("web", TOML, requirements_in="flask\n")
    plan = {"run": "r-1", "asOf": NOW, "force": False, "reason": {"kind": "console"}, "variants": [VARIANT]}
    check = {"lock": cloud.write("l", b""), "explanation": "x", "summary": "flask 2.2.2 to 2.2.3"}
    cloud.write(
        "x",
        {
            "variant": NAME,
            "run": "r-1",
            "asOf": NOW,
            "cutoff": NOW,
            "requirements": ["flask"],
            "exclude": [],
            "direct": ["flask"],
            "packages": {"flask": "2.2.3"},
            "changes": [{"package": "flask", "from": "2.2.2", "to": "2.2.3", "direct": True, "kind": "patch"}],
            "held": [],
            "summary": "s",
        },
    )
    cloud.write("out/layer.zip", body)
    cloud.write(
        "out/manifest.json",
        {
            "variant": NAME,
            "digest": "a" * 64,
            "sha256": sha256 or hashlib.sha256(body).hexdigest(),
            "sizes": {"zipped": 1, "unzipped": 1},
            "packages": {"flask": {"version": "2.2.3", "modules": ["flask"], "size": 1, "requires": []}},
        },
    )
    return plan, check


def test_the_contents_of_the_promoted_release_are_not_published_again_unless_forced(cloud: Cloud) -> None:
    plan, check = built(cloud)
    record(cloud, digest="a" * 64)
    publish = cloud.handler("publish")

    same = publish(publish_event(plan, check, "out"))
    forced = publish(publish_event(plan, check, "out", force=True))

    assert (same["unchanged"], same["candidate"]["version"]) == (True, 1)
    assert forced["unchanged"] is False
    assert len(boto3.client("lambda").list_layer_versions(LayerName=NAME)["LayerVersions"]) == 1


def test_a_publish_killed_before_it_could_answer_is_found_and_not_repeated(cloud: Cloud) -> None:
    # GIVEN an attempt that published and died before anything was recorded
    plan, check = built(cloud)
    event = publish_event(plan, check, "out")
    first = cloud.handler("publish")(event)
    boto3.client("dynamodb").delete_item(
        TableName="registry", Key={"pk": {"S": f"LAYER#{NAME}"}, "sk": {"S": "RELEASE#00000001"}}
    )

    # WHEN the step is tried again, and another run publishes the same contents
    again = cloud.handler("publish")(event)
    other = cloud.handler("publish")(publish_event(plan | {"run": "r-2"}, check, "out"))

    # THEN the retry found its version and recorded it; the other run has its own
    assert again == first
    assert (first["candidate"]["version"], other["candidate"]["version"]) == (1, 2)
    recorded = layers().release(NAME, 1)
    assert recorded is not None
    assert recorded.changes[0].to == "2.2.3"


def test_bytes_that_are_not_what_the_build_promised_are_not_released(cloud: Cloud) -> None:
    plan, check = built(cloud, sha256="f" * 64)

    with pytest.raises(BuildRefused, match="version 1 holds other bytes"):
        cloud.handler("publish")(publish_event(plan, check, "out"))

    assert layers().release(NAME, 1) is None


def test_a_build_that_left_nothing_is_not_published(cloud: Cloud) -> None:
    plan, check = built(cloud)

    with pytest.raises(BuildRefused, match=r"elsewhere/manifest\.json is missing"):
        cloud.handler("publish")(publish_event(plan, check, "elsewhere"))


def test_a_probe_function_is_created_asked_and_deleted_and_a_leftover_replaced(cloud: Cloud) -> None:
    # GIVEN a published candidate, and the probe function of an attempt that was killed
    plan, check = built(cloud)
    candidate = cloud.handler("publish")(publish_event(plan, check, "out"))["candidate"]
    client = boto3.client("lambda")
    client.create_function(
        FunctionName=f"lamina-probe-{NAME}-v1",
        Runtime="python3.11",
        Handler="old.handler",
        Role="arn:aws:iam::123456789012:role/probe",
        Code={"ZipFile": b"x"},
    )

    # WHEN the candidate is verified; moto answers an invocation with a text, which is no probe's answer
    event = {"run": "r-1", "variant": VARIANT, "candidate": candidate, "current": None, "now": NOW}
    with pytest.raises(VerifyFailed, match="gave no answer that makes sense"):
        cloud.handler("verify")(event)

    # THEN no probe function is left
    assert client.list_functions()["Functions"] == []


def test_a_probe_that_lambda_refuses_is_no_verdict_on_the_candidate(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, check = built(cloud)
    candidate = cloud.handler("publish")(publish_event(plan, check, "out"))["candidate"]
    monkeypatch.setenv("PROBE_ROLE", "arn:aws:iam::123456789012:role/nobody")

    with pytest.raises(VerifyFailed, match="could not be asked"):
        cloud.handler("verify")({"run": "r-1", "variant": VARIANT, "candidate": candidate, "current": None, "now": NOW})

    recorded = layers().release(NAME, 1)
    assert recorded is not None
    assert recorded.status == "published"


@pytest.mark.parametrize("function", ["plan", "check", "bundle", "publish", "verify"])
def test_a_function_without_its_environment_does_not_start(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    monkeypatch.delenv("REGISTRY")

    with pytest.raises(ValueError, match="not set: REGISTRY"):
        cloud.module(function)
