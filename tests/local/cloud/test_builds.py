"""CodeBuild builds for real: phases, environment, artifacts, failures, stops; called as a state machine calls it."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from tests.local.cloud.conftest import Asker

SPEC = """
version: 0.2
env:
  variables: {FROM_SPEC: spec}
phases:
  install:
    commands: ["export KEPT=kept; mkdir -p made", "cd made"]
  build:
    commands:
      - |
        if [ "$KEPT" = kept ]; then
          echo "two lines, in $(basename "$PWD")"
        fi
      - |
        python - <<'END'
        import json, os, sys
        found = {"env": dict(os.environ), "version": sys.version_info[:2], "prefix": sys.prefix}
        json.dump(found, open("found.json", "w"))
        END
      - pip --version
    finally: [echo finally done]
  post_build:
    commands: ["echo succeeding=$CODEBUILD_BUILD_SUCCEEDING > after.txt"]
artifacts:
  base-directory: made
  files: ["*.json", after.txt]
"""


class Builder:
    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.s3 = asker.cloud.client("s3")
        self.codebuild = asker.cloud.client("codebuild")
        self.bucket = asker.stack.outputs["Bucket"]
        self.project = asker.stack.resources["Build"]

    def source(self, spec: str | None, **files: str) -> str:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, text in files.items() | ({("buildspec.yml", spec)} if spec else set()):
                archive.writestr(name, text)
        key = f"sources/{uuid.uuid4()}.zip"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=buffer.getvalue())
        return f"{self.bucket}/{key}"

    def start(self, spec: str | None, **overrides: Any) -> str:
        request = {
            "sourceTypeOverride": "S3",
            "sourceLocationOverride": self.source(spec),
            "buildspecOverride": "buildspec.yml",
        }
        started: str = self.codebuild.start_build(projectName=self.project, **{**request, **overrides})["build"]["id"]
        return started

    def ended(self, identifier: str) -> dict[str, Any]:
        build = self.asker.cloud.builds.get(identifier)
        assert build is not None and build.over.wait(30)
        found: dict[str, Any] = self.codebuild.batch_get_builds(ids=[identifier])["builds"][0]
        return found

    def build(self, spec: str | None, **overrides: Any) -> dict[str, Any]:
        return self.ended(self.start(spec, **overrides))

    def log(self, build: dict[str, Any]) -> str:
        logs = self.asker.cloud.client("logs")
        where = {"logGroupName": build["logs"]["groupName"], "logStreamName": build["logs"]["streamName"]}
        return "\n".join(event["message"] for event in logs.get_log_events(**where)["events"])


@pytest.fixture(scope="module")
def builder(asker: Asker) -> Builder:
    return Builder(asker)


def _phases(build: dict[str, Any]) -> dict[str, str | None]:
    return {phase["phaseType"]: phase.get("phaseStatus") for phase in build["phases"]}


def _commands(*commands: str, **phases: list[str]) -> str:
    spec = {"version": 0.2, "phases": {"build": {"commands": list(commands)}}}
    spec["phases"] |= {name: {"commands": given} for name, given in phases.items()}  # type: ignore[operator]
    return json.dumps(spec)


def test_a_state_machine_builds_and_finds_the_artifacts(
    asker: Asker, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a host with credentials and settings of its own
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "PYTHONPATH", "SECRET_OF_THE_HOST"):
        monkeypatch.setenv(name, "host")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/trust.pem")
    # WHEN a state machine builds a source in S3
    found = asker.answer(do="build", source=builder.source(SPEC), greeting="hello")
    assert found["status"] == "SUCCEEDED"
    # THEN the artifacts are where its override says
    listed = builder.s3.list_objects_v2(Bucket=builder.bucket, Prefix="out/")["Contents"]
    assert [entry["Key"] for entry in listed] == ["out/1/after.txt", "out/1/found.json"]
    assert builder.s3.get_object(Bucket=builder.bucket, Key="out/1/after.txt")["Body"].read() == b"succeeding=1\n"
    # AND the build saw the image's Python, the project's, the override's and the buildspec's variables, and no more
    inside = json.loads(builder.s3.get_object(Bucket=builder.bucket, Key="out/1/found.json")["Body"].read())
    assert inside["version"] == list(sys.version_info[:2])
    environment = inside["env"]
    assert (environment["COLOR"], environment["GREETING"], environment["FROM_SPEC"]) == ("blue", "hello", "spec")
    assert (environment["KEPT"], environment["AWS_REGION"]) == ("kept", asker.cloud.region)
    assert environment["CODEBUILD_BUILD_ID"] == found["id"]
    assert environment["SSL_CERT_FILE"] == "/etc/ssl/trust.pem"
    assert not {"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "PYTHONPATH", "SECRET_OF_THE_HOST"} & environment.keys()
    assert environment["PATH"].startswith(inside["prefix"])
    # AND every phase is told of, and the log has what the commands printed
    build = builder.ended(found["id"])
    assert set(_phases(build).values()) == {"SUCCEEDED", None}
    assert list(_phases(build))[-3:] == ["POST_BUILD", "UPLOAD_ARTIFACTS", "COMPLETED"]
    log = builder.log(build)
    assert "two lines, in made" in log and "finally done" in log and "pip " in log
    assert build["endTime"] > build["startTime"]


def test_a_failed_build_fails_the_task_with_the_build_as_cause(asker: Asker, builder: Builder) -> None:
    spec = _commands("echo before", "echo why it failed; exit 7", "echo never")
    found = asker.ask(do="build", source=builder.source(spec), greeting="x")
    assert (found["status"], found["error"]) == ("FAILED", "States.TaskFailed")
    build = json.loads(found["cause"])["Build"]
    assert build["BuildStatus"] == "FAILED"
    failed = next(phase for phase in build["Phases"] if phase.get("PhaseStatus") == "FAILED")
    assert failed["PhaseType"] == "BUILD"
    assert "exit status 7" in failed["Contexts"][0]["Message"]
    assert "why it failed" in failed["Contexts"][0]["Message"]


def test_after_a_failed_build_phase_only_post_build_goes_on(builder: Builder) -> None:
    build = builder.build(_commands("false", post_build=["echo succeeding=$CODEBUILD_BUILD_SUCCEEDING"]))
    phases = _phases(build)
    assert (phases["BUILD"], phases["POST_BUILD"]) == ("FAILED", "SUCCEEDED")
    assert "succeeding=0" in builder.log(build)


def test_a_failed_install_ends_the_build(builder: Builder) -> None:
    phases = _phases(builder.build(_commands("echo never", install=["false"])))
    assert phases["INSTALL"] == "FAILED"
    assert "BUILD" not in phases


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (None, "no such file"),
        ("version: 0.1\nphases: {build: {commands: [echo]}}", "version must be 0.2"),
        ("version: 0.2\nphases: {biuld: {commands: [echo]}}", "phases/biuld"),
        ("version: 0.2\nphases: {build: {commands: [{echo: 1}]}}", "must be a string"),
    ],
)
def test_a_buildspec_that_cannot_be_read_fails_the_download(builder: Builder, spec: str | None, words: str) -> None:
    build = builder.build(spec)
    failed = next(phase for phase in build["phases"] if phase.get("phaseStatus") == "FAILED")
    assert failed["phaseType"] == "DOWNLOAD_SOURCE"
    assert words in failed["contexts"][0]["message"]


def test_an_image_whose_runtime_is_missing_says_so(builder: Builder) -> None:
    build = builder.build(_commands("echo"), imageOverride="aws/codebuild/amazonlinux-x86_64-lambda-standard:python3.3")
    failed = next(phase for phase in build["phases"] if phase.get("phaseStatus") == "FAILED")
    assert failed["phaseType"] == "PROVISIONING"
    assert "3.3" in failed["contexts"][0]["message"]


def test_a_zip_artifact_and_its_name(builder: Builder) -> None:
    spec = "version: 0.2\nphases: {build: {commands: [mkdir d; echo 1 > d/f]}}\nartifacts: {files: ['**/f']}"
    target = {"type": "S3", "location": builder.bucket, "path": "p", "name": "all.zip", "packaging": "ZIP"}
    build = builder.build(spec, artifactsOverride=target)
    assert build["artifacts"]["location"] == f"arn:aws:s3:::{builder.bucket}/p/all.zip"
    body = builder.s3.get_object(Bucket=builder.bucket, Key="p/all.zip")["Body"].read()
    assert zipfile.ZipFile(io.BytesIO(body)).namelist() == ["d/f"]


def test_artifacts_that_are_not_there_fail_the_upload(builder: Builder) -> None:
    spec = "version: 0.2\nphases: {build: {commands: [echo]}}\nartifacts: {files: [nothing]}"
    build = builder.build(spec, artifactsOverride={"type": "S3", "location": builder.bucket, "name": "x"})
    assert (build["buildStatus"], _phases(build)["UPLOAD_ARTIFACTS"]) == ("FAILED", "FAILED")


def _running(builder: Builder, identifier: str) -> None:
    """Wait until the build's command has begun, which its log tells."""
    path = builder.asker.cloud.work / "builds" / identifier.replace(":", "-") / "build.log"
    _until(lambda: path.exists() and b"begun" in path.read_bytes().replace(b"echo begun", b""))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.01)


def test_stopping_a_build_kills_what_it_runs(builder: Builder) -> None:
    identifier = builder.start(_commands("echo begun; sleep 300 & sleep 300"))
    _running(builder, identifier)
    started = time.monotonic()
    builder.codebuild.stop_build(id=identifier)
    assert builder.ended(identifier)["buildStatus"] == "STOPPED"
    assert time.monotonic() - started < 3


def test_stopping_an_execution_stops_its_build(asker: Asker, builder: Builder) -> None:
    arn = asker.start(do="build", source=builder.source(_commands("echo begun; sleep 300")), greeting="x")
    _until(lambda: "TaskSubmitted" in [event["type"] for event in asker.history(arn)])
    submitted = next(event for event in asker.history(arn) if event["type"] == "TaskSubmitted")
    identifier = json.loads(submitted["taskSubmittedEventDetails"]["output"])["Build"]["Id"]
    _running(builder, identifier)
    asker.stop(arn)
    assert builder.ended(identifier)["buildStatus"] == "STOPPED"
    assert asker.ended(arn)["status"] == "ABORTED"
