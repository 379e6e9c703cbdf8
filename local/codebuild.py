"""CodeBuild that builds: source from S3, the buildspec's phases in a shell, artifacts to S3, logs, stops, timeouts.

moto keeps the projects. A build runs on the host, in a folder of its own, with the environment that CodeBuild gives
it and nothing else: no AWS credentials, and of the host only what makes TLS trust its certificates.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from moto.codebuild import models, responses
from moto.codebuild.exceptions import InvalidInputException, ResourceNotFoundException
from moto.core.responses import ActionResult

from local import buildspec
from local.artifacts import ArtifactError, upload
from local.buildspec import Buildspec, BuildspecError, Phase
from local.clock import Clock
from local.images import ImageError, Images
from local.logs import LogWriter
from local.patches import Patches
from local.shell import Shell
from local.states.interpreter import TaskCall

_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
_TIMEOUT_MINUTES = 60
_STATUSES = {"FAILED": "FAILED", "TIMED_OUT": "TIMED_OUT", "STOPPED": "STOPPED"}
_OVERRIDES = frozenset(
    {
        "projectName", "sourceTypeOverride", "sourceLocationOverride", "buildspecOverride", "artifactsOverride",
        "environmentVariablesOverride", "imageOverride", "environmentTypeOverride", "computeTypeOverride",
        "timeoutInMinutesOverride", "serviceRoleOverride", "idempotencyToken", "sourceVersion",
    }
)  # fmt: skip


class _PhaseFailed(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Build:
    """One build: `data` is what BatchGetBuilds answers, replaced and never changed in place."""

    def __init__(self, data: dict[str, Any], clock: Clock) -> None:
        self.data = data
        self.over = threading.Event()
        self.end = ""
        self._clock = clock
        self._lock = threading.Lock()
        self._shell: Shell | None = None

    def update(self, **values: Any) -> None:
        """Change what the API tells."""
        with self._lock:
            self.data = {**self.data, **values}

    def stop(self, status: str) -> None:
        """End the build as STOPPED or TIMED_OUT: kill what it runs; it settles itself."""
        with self._lock:
            if self.over.is_set() or self.end:
                return
            self.end = status
            if self._shell is not None:
                self._shell.kill()

    def check(self) -> None:
        """Raise _PhaseFailed where the build has been ended from outside."""
        if self.end:
            raise _PhaseFailed(f"BUILD_{self.end}", f"Build {self.end.lower().replace('_', ' ')}")

    def open_shell(self, *arguments: Any) -> Shell:
        """A shell that `stop` kills."""
        with self._lock:
            self._shell = Shell(*arguments)
            if self.end:
                self._shell.kill()
            return self._shell

    def close_shell(self) -> None:
        """End the shell, if there is one."""
        with self._lock:
            if self._shell is not None:
                self._shell.close()
            self._shell = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Tell of a phase while it runs, and how it ended."""
        begun, started = time.monotonic(), self._clock.now()
        entry: dict[str, Any] = {"phaseType": name, "startTime": started}
        before = self.data["phases"]
        self.update(currentPhase=name, phases=[*before, entry])
        status, contexts = "SUCCEEDED", [{"statusCode": "", "message": ""}]
        try:
            self.check()
            yield
        except _PhaseFailed as problem:
            status = _STATUSES.get(self.end, "FAILED")
            contexts = [{"statusCode": problem.code, "message": problem.message}]
            raise
        finally:
            entry |= {"phaseStatus": status, "endTime": self._clock.now(), "contexts": contexts}
            entry["durationInSeconds"] = int(time.monotonic() - begun)
            self.update(phases=[*before, entry])


class Builds:
    """Runs builds under `work`; `clients(service, role_arn)` reaches S3 and SSM as the project's role."""

    def __init__(
        self,
        clock: Clock,
        work: Path,
        images: Images,
        region: str,
        clients: Callable[[str, str], Any],
        logs: LogWriter,
    ) -> None:
        self._clock = clock
        self._work = work
        self._images = images
        self._region = region
        self._clients = clients
        self._logs = logs
        self._lock = threading.Lock()
        self._all: dict[str, Build] = {}
        self._threads: list[threading.Thread] = []

    def start(self, project: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
        """StartBuild's answer; the build runs on."""
        unknown = sorted(set(request) - _OVERRIDES)
        if unknown:
            raise InvalidInputException(f"not supported here: {', '.join(unknown)}")
        with self._lock:
            number = 1 + sum(build.data["projectName"] == project["name"] for build in self._all.values())
            data = _describe(project, request, number, self._clock.now(), self._region)
            build = Build(data, self._clock)
            self._all[data["id"]] = build
            thread = threading.Thread(target=self._run, args=(build,), name=data["id"], daemon=True)
            self._threads.append(thread)
        thread.start()
        return build.data

    def get(self, identifier: str) -> Build | None:
        """The build of an ID or ARN, if there is one."""
        return self._all.get(identifier.rsplit(":build/", 1)[-1])

    def of_project(self, name: str | None) -> list[str]:
        """The IDs of a project's builds (of all, for None), newest first."""
        return [key for key, build in reversed(self._all.items()) if name in (None, build.data["projectName"])]

    def wait(self, identifier: str, call: TaskCall) -> Mapping[str, Any]:
        """Wait for a build as a `.sync` task does; ending the task stops the build."""
        build = self._all[identifier]
        with call.interrupt.listener(lambda: build.stop("STOPPED")):
            build.over.wait()
        call.interrupt.check()
        return {**build.data}

    def close(self) -> None:
        """Stop what still runs."""
        for build in list(self._all.values()):
            build.stop("STOPPED")
        for thread in self._threads:
            thread.join(timeout=10)

    def _run(self, build: Build) -> None:
        folder = self._work / build.data["id"].replace(":", "-")
        timer = threading.Timer(build.data["timeoutInMinutes"] * 60, build.stop, ("TIMED_OUT",))
        timer.daemon = True
        timer.start()
        status = "SUCCEEDED"
        try:
            for name in ("source", "home", "scratch"):
                (folder / name).mkdir(parents=True)
            with (folder / "build.log").open("wb", buffering=0) as log:
                if not _Steps(build, folder, log, self._images, self._clients, self._region).run():
                    status = build.end or "FAILED"
        except Exception as problem:
            status = build.end or "FAULT"
            build.update(phases=[*build.data["phases"], _fault(problem, self._clock.now())])
        finally:
            timer.cancel()
            now = self._clock.now()
            self._ship_log(build, folder / "build.log")
            for name in ("source", "scratch", "image"):
                shutil.rmtree(folder / name, ignore_errors=True)
            with build._lock:
                phases = [*build.data["phases"], {"phaseType": "COMPLETED", "startTime": now}]
                build.data = {
                    **build.data, "phases": phases, "currentPhase": "COMPLETED", "buildStatus": status,
                    "buildComplete": True, "endTime": now,
                }  # fmt: skip
                build.over.set()

    def _ship_log(self, build: Build, path: Path) -> None:
        if path.exists():
            now = self._clock.now()
            moment = int(now.timestamp() * 1000)
            lines = [(moment, line or " ") for line in path.read_text(errors="replace").splitlines()]
            self._logs.write(build.data["logs"]["groupName"], build.data["logs"]["streamName"], lines, now)


class _Steps:
    """The phases of one build, in CodeBuild's order."""

    def __init__(
        self, build: Build, folder: Path, log: Any, images: Images, clients: Callable[[str, str], Any], region: str
    ) -> None:
        self._build = build
        self._folder = folder
        self._log = log
        self._images = images
        self._region = region
        self._client: Callable[[str], Any] = lambda service: clients(service, build.data["serviceRole"])
        self._source = folder / "source"
        self._path = ""
        self._spec = Buildspec()
        self._current: Shell | None = None

    def run(self) -> bool:
        """Whether every phase succeeded."""
        for name, step in (("PROVISIONING", self._provision), ("DOWNLOAD_SOURCE", self._download)):
            if not self._attempt(name, step):
                return False
        good = self._phases()
        if self._build.end:
            return False
        # Like the service, upload what there is even where the build phase failed and post_build ran.
        return self._attempt("UPLOAD_ARTIFACTS", self._upload) and good

    def _attempt(self, name: str, step: Callable[[], None]) -> bool:
        try:
            with self._build.phase(name):
                step()
        except _PhaseFailed as problem:
            self._log.write(f"[Container] Phase {name} failed: {problem.message}\n".encode())
            return False
        return True

    def _provision(self) -> None:
        try:
            self._path = self._images.make(self._build.data["environment"]["image"], self._folder / "image")
        except ImageError as problem:
            raise _PhaseFailed("BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE", str(problem)) from problem

    def _download(self) -> None:
        source = self._build.data["source"]
        if source["type"] == "S3":
            bucket, _, key = source["location"].partition("/")
            try:
                body = self._client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
                with zipfile.ZipFile(BytesIO(body)) as archive:
                    _extract(archive, self._source)
            except Exception as problem:
                raise _PhaseFailed("CLIENT_ERROR", f"{source['location']}: {problem}") from problem
        text = source.get("buildspec") or "buildspec.yml"
        if "\n" not in text and not text.startswith("version"):
            path = self._source / text
            if not path.is_file():
                raise _PhaseFailed("YAML_FILE_ERROR", f"stat {text}: no such file or directory")
            text = path.read_text()
        try:
            self._spec = buildspec.parse(text)
        except BuildspecError as problem:
            raise _PhaseFailed("YAML_FILE_ERROR", str(problem)) from problem

    def _phases(self) -> bool:
        good = True
        environment = self._environment()
        for name in buildspec.PHASES:
            phase = self._spec.phases.get(name, Phase([], [], abort=True))
            environment["CODEBUILD_BUILD_SUCCEEDING"] = "1" if good else "0"
            if self._attempt(name.upper(), lambda phase=phase: self._commands(phase, environment)):  # type: ignore[misc]
                continue
            good = False
            if phase.abort or self._build.end:
                break
        self._build.close_shell()
        return good

    def _commands(self, phase: Phase, environment: Mapping[str, str]) -> None:
        failed: _PhaseFailed | None = None
        try:
            self._each(phase.commands, environment)
        except _PhaseFailed as problem:
            failed = problem
        self._build.check()
        self._each(phase.finally_, environment)
        if failed is not None:
            raise failed

    def _each(self, commands: list[str], environment: Mapping[str, str]) -> None:
        for command in commands:
            shell = self._shell(environment)
            self._log.write(f"[Container] Running command {command.strip()}\n".encode())
            status = shell.run(command)
            self._build.check()
            if status:
                message = f"Error while executing command: {command.strip()}. Reason: exit status {status}"
                tail = (self._folder / "build.log").read_bytes()[-2000:].decode(errors="replace")
                raise _PhaseFailed("COMMAND_EXECUTION_ERROR", f"{message}\n{tail}")

    def _shell(self, environment: Mapping[str, str]) -> Shell:
        if self._current is None or not self._current.alive:
            self._build.close_shell()
            self._current = self._build.open_shell(self._source, environment, self._folder / "scratch", self._log)
        self._current.run(f"export CODEBUILD_BUILD_SUCCEEDING={environment['CODEBUILD_BUILD_SUCCEEDING']}")
        return self._current

    def _environment(self) -> dict[str, str]:
        data = self._build.data
        source = data["source"]
        given = {name: os.environ[name] for name in _TRUST if name in os.environ}
        given |= {
            "PATH": self._path,
            "HOME": str(self._folder / "home"),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self._folder / "scratch"),
            "CI": "true",
            "CODEBUILD_CI": "true",
            "AWS_REGION": self._region,
            "AWS_DEFAULT_REGION": self._region,
            "CODEBUILD_BUILD_ARN": data["arn"],
            "CODEBUILD_BUILD_ID": data["id"],
            "CODEBUILD_BUILD_IMAGE": data["environment"]["image"],
            "CODEBUILD_BUILD_NUMBER": str(data["buildNumber"]),
            "CODEBUILD_INITIATOR": data["initiator"],
            "CODEBUILD_KMS_KEY_ID": data["encryptionKey"],
            "CODEBUILD_LOG_PATH": data["logs"]["streamName"],
            "CODEBUILD_RESOLVED_SOURCE_VERSION": "",
            "CODEBUILD_SOURCE_REPO_URL": source.get("location", ""),
            "CODEBUILD_SOURCE_VERSION": f"arn:aws:s3:::{source['location']}" if source["type"] == "S3" else "",
            "CODEBUILD_SRC_DIR": str(self._source),
            "CODEBUILD_START_TIME": str(int(data["startTime"].timestamp() * 1000)),
        }
        given |= self._spec.variables
        stored = dict(self._spec.parameters)
        for variable in data["environment"]["environmentVariables"]:
            if variable.get("type", "PLAINTEXT") == "PARAMETER_STORE":
                stored[variable["name"]] = variable["value"]
            else:
                given[variable["name"]] = variable["value"]
        for name, parameter in stored.items():
            found = self._client("ssm").get_parameter(Name=parameter, WithDecryption=True)
            given[name] = found["Parameter"]["Value"]
        return given

    def _upload(self) -> None:
        if self._build.data["artifacts"].get("type") != "S3":
            return
        try:
            location = upload(self._client("s3"), self._build.data, self._spec.artifacts, self._source)
        except ArtifactError as problem:
            raise _PhaseFailed("CLIENT_ERROR", str(problem)) from problem
        self._build.update(artifacts={**self._build.data["artifacts"], "location": location})


def install(patches: Patches, builds: Builds) -> None:
    """Let moto's CodeBuild run its projects' builds."""
    response = responses.CodeBuildResponse

    def create_project(self: Any) -> ActionResult:
        # moto does not know Lambda compute, nor a source without a location.
        if self._get_param("name") in self.codebuild_backend.codebuild_projects:
            answer: ActionResult = created(self)
            return answer
        environment = self._get_param("environment")
        if environment["type"] not in (
            "LINUX_LAMBDA_CONTAINER",
            "ARM_LAMBDA_CONTAINER",
            "LINUX_CONTAINER",
            "ARM_CONTAINER",
        ):
            raise InvalidInputException(f"Invalid type provided: {environment['type']}")
        if ("LAMBDA" in environment["type"]) != environment["computeType"].startswith("BUILD_LAMBDA_"):
            raise InvalidInputException(f"{environment['computeType']} is no compute type of {environment['type']}")
        project = self.codebuild_backend.create_project(
            project_name=self._get_param("name"),
            description=self._get_param("description"),
            project_source=self._get_param("source"),
            artifacts=self._get_param("artifacts"),
            environment=environment,
            service_role=self._get_param("serviceRole"),
            tags=self._get_param("tags"),
            cache=self._get_param("cache"),
            timeout=self._get_param("timeoutInMinutes") or _TIMEOUT_MINUTES,
            queued_timeout=self._get_param("queuedTimeoutInMinutes"),
            source_version=self._get_param("sourceVersion"),
            logs_config=self._get_param("logsConfig"),
            vpc_config=self._get_param("vpcConfig"),
        )
        return ActionResult({"project": project})

    def start_build(self: Any) -> ActionResult:
        request = {key: value for key, value in json.loads(self.body).items() if value is not None}
        name = request["projectName"].rsplit(":project/", 1)[-1]
        project = self.codebuild_backend.codebuild_projects.get(name)
        if project is None:
            raise ResourceNotFoundException(f"Project cannot be found: {request['projectName']}")
        return ActionResult({"build": builds.start(project.project_metadata, request)})

    def batch_get_builds(self: Any) -> ActionResult:
        asked: list[str] = self._get_param("ids")
        found = {identifier: builds.get(identifier) for identifier in asked}
        return ActionResult(
            {
                "builds": [build.data for build in found.values() if build is not None],
                "buildsNotFound": [identifier for identifier, build in found.items() if build is None],
            }
        )

    def stop_build(self: Any) -> ActionResult:
        build = builds.get(self._get_param("id"))
        if build is None:
            raise ResourceNotFoundException(f"Build {self._get_param('id')} does not exist")
        build.stop("STOPPED")
        return ActionResult({"build": build.data})

    created = patches.replace(response, "create_project", create_project)
    patches.replace(response, "start_build", start_build)
    patches.replace(response, "batch_get_builds", batch_get_builds)
    patches.replace(response, "stop_build", stop_build)
    patches.replace(response, "list_builds", lambda self: ActionResult({"ids": builds.of_project(None)}))
    patches.replace(models.CodeBuildBackend, "list_builds_for_project", lambda self, name: builds.of_project(name))


def _describe(
    project: Mapping[str, Any], request: Mapping[str, Any], number: int, now: datetime, region: str
) -> dict[str, Any]:
    name = project["name"]
    unique = str(uuid.uuid4())
    prefix = project["arn"].rsplit(":project/", 1)[0]
    source = dict(project["source"])
    for key, override in (
        ("type", "sourceTypeOverride"), ("location", "sourceLocationOverride"), ("buildspec", "buildspecOverride"),
    ):  # fmt: skip
        if override in request:
            source[key] = request[override]
    if source["type"] not in ("S3", "NO_SOURCE"):
        raise InvalidInputException(f"the source type {source['type']} cannot be read here")
    environment = dict(project["environment"])
    for key, override in (
        ("type", "environmentTypeOverride"), ("image", "imageOverride"), ("computeType", "computeTypeOverride"),
    ):  # fmt: skip
        if override in request:
            environment[key] = request[override]
    variables = {v["name"]: v for v in environment.get("environmentVariables") or []}
    variables |= {v["name"]: v for v in request.get("environmentVariablesOverride") or []}
    environment["environmentVariables"] = list(variables.values())
    group = ((project.get("logsConfig") or {}).get("cloudWatchLogs") or {}).get("groupName") or f"/aws/codebuild/{name}"
    return {
        "id": f"{name}:{unique}",
        "arn": f"{prefix}:build/{name}:{unique}",
        "buildNumber": number,
        "startTime": now,
        "currentPhase": "SUBMITTED",
        "buildStatus": "IN_PROGRESS",
        "projectName": name,
        "phases": [
            {"phaseType": phase, "phaseStatus": "SUCCEEDED", "startTime": now, "endTime": now, "durationInSeconds": 0}
            for phase in ("SUBMITTED", "QUEUED")
        ],
        "source": source,
        "artifacts": dict(request.get("artifactsOverride") or project["artifacts"]),
        "environment": environment,
        "serviceRole": request.get("serviceRoleOverride") or project["serviceRole"],
        "logs": {
            "groupName": group,
            "streamName": unique,
            "deepLink": f"https://console.aws.amazon.com/cloudwatch/home?region={prefix.split(':')[3]}"
            f"#logsV2:log-groups/log-group/{group.replace('/', '$252F')}/log-events/{unique}",
            "cloudWatchLogsArn": f"{prefix.replace(':codebuild:', ':logs:')}:log-group:{group}:log-stream:{unique}",
            "cloudWatchLogs": {"status": "ENABLED"},
        },
        "timeoutInMinutes": request.get("timeoutInMinutesOverride") or project["timeoutInMinutes"],
        "queuedTimeoutInMinutes": project.get("queuedTimeoutInMinutes") or 480,
        "buildComplete": False,
        "initiator": "operator",
        "encryptionKey": project["encryptionKey"],
    }


def _extract(archive: zipfile.ZipFile, folder: Path) -> None:
    for entry in archive.infolist():
        path = Path(archive.extract(entry, folder))
        mode = entry.external_attr >> 16
        if mode and path.is_file():
            path.chmod(mode & 0o777)


def _fault(problem: Exception, now: datetime) -> dict[str, Any]:
    contexts = [{"statusCode": "INTERNAL_ERROR", "message": f"{type(problem).__name__}: {problem}"}]
    return {"phaseType": "FINALIZING", "phaseStatus": "FAULT", "startTime": now, "endTime": now, "contexts": contexts}
