"""AWS Lambda on this machine: its API on moto, and its functions run for real.

The story of an invocation: the backend (`backend.py`) resolves name and qualifier to a *release*, which is code and
configuration frozen together; the pools lend an execution environment for it (`pool.py`, `environment.py`), a process
group that runs the code under AWS's own runtime client; what it answers and prints goes to the caller, to the metrics
and to CloudWatch Logs, in virtual time.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from moto.awslambda.models import lambda_backends
from moto.sts.models import sts_backends
from moto.utilities.utils import get_partition

from local.clock import Clock
from local.lambdas import architecture, cloudwatch, report, rules
from local.lambdas.backend import Backend, find_backend
from local.lambdas.environment import Blueprint, Outcome
from local.lambdas.files import Files, extensions_in
from local.lambdas.packages import Packages
from local.lambdas.pool import Pools
from local.lambdas.runtimes import RuntimeUnavailable
from local.lambdas.runtimes import get as get_runtime
from local.lambdas.sandbox import Sandbox, SandboxError
from local.lambdas.settling import Settler
from local.lambdas.values import FunctionChange, Invocation, Release, Target
from local.logs import LogWriter
from local.logs import install as install_logs
from local.metrics import MetricStore
from local.patches import Patches

_LOG = logging.getLogger(__name__)
CountKey = tuple[str, str, tuple[str, ...]]  # function, executed version, layer ARNs


class LambdaEngine:
    """The local Lambda of one account and region.

    Args:
        clock: tells virtual time, for timestamps only; timeouts are real.
        metrics: counts invocations.
        work: a folder of its own, for code, layers and processes' files.
        endpoint: the URL of the AWS endpoint that functions shall use, asked at each cold start.
        update_seconds: how long (real seconds) a function stays Pending or InProgress after a change.
        namespaces: False runs functions without private mounts, as where the machine does not allow them.
        seed: of the draws for weighted aliases.
        environments: how many execution environments this machine runs at once.
        environments_per_release: how many of one function version.
        async_retries: how often a failed asynchronous invocation is repeated (Lambda: 2).
    """

    def __init__(
        self,
        clock: Clock,
        metrics: MetricStore,
        work: Path,
        *,
        endpoint: Callable[[], str],
        update_seconds: float = 0.3,
        account: str = "123456789012",
        region: str = "eu-central-1",
        namespaces: bool = True,
        seed: int | None = None,
        environments: int = 64,
        environments_per_release: int = 4,
        async_retries: int = 0,
    ) -> None:
        self.clock = clock
        self.metrics = metrics
        self.account = account
        self.region = region
        # Called while the change is made: they return quickly, and ask Lambda nothing.
        self.on_change: list[Callable[[FunctionChange], None]] = []
        # Names of functions that give way to everything else on this machine, as traffic does to a build.
        self.background: set[str] = set()
        # After how many invocations an execution environment of a function is ended; the next invocation starts cold.
        self.lifetimes: dict[str, int] = {}
        self.files = Files(work)
        self.settler = Settler(update_seconds)
        self.random = random.Random(seed)
        self.packages = Packages(region, endpoint)
        self._endpoint = endpoint
        self._retries = async_retries
        self._logs = LogWriter(account, region)
        self._sandbox = Sandbox(work, namespaces=namespaces)
        self._pools = Pools(
            self._sandbox, work / "environments", per_release=environments_per_release, total=environments
        )
        self._background = ThreadPoolExecutor(max_workers=8, thread_name_prefix="lambda-event")
        self._lock = threading.Lock()
        self._counts: dict[CountKey, list[int]] = {}
        self._running: dict[str, int] = {}
        self._roles: dict[str, str] = {}
        self._credentials: dict[tuple[str, str], Any] = {}  # by role and function
        self._patches = Patches()
        self._installed = False
        self._closed = False

    # -- the API's side

    def install(self) -> None:
        """Put this Lambda, its metrics and its logs in the place of moto's. A second call does nothing."""
        if not self._installed:
            self._installed = True
            Backend.install(self, self._patches)
            cloudwatch.install(self.metrics, self._patches)
            install_logs(self._patches)

    def uninstall(self) -> None:
        """Put moto's own back."""
        if self._installed:
            self._installed = False
            self._patches.undo()
            lambda_backends.clear()

    def close(self) -> None:
        """End every process that was started, wait until they are gone, and put moto's own Lambda back."""
        if self._closed:
            return
        self._closed = True
        self._pools.close()
        self.settler.close()
        self._background.shutdown(wait=False, cancel_futures=True)
        self._sandbox.close()
        self.uninstall()

    def changed(self, change: FunctionChange) -> None:
        """Tell all listeners of a change."""
        for listener in list(self.on_change):
            listener(change)

    def retire(self, release: Release) -> None:
        """A release that new invocations no longer run: end its environments."""
        self._pools.retire(release.serial)

    # -- who and how many

    @property
    def namespaces(self) -> bool:
        """Whether functions run with private mounts; else they find their layers through search paths."""
        return self._sandbox.namespaces

    @property
    def counts(self) -> Mapping[CountKey, tuple[int, int]]:
        """(invocations, errors) since the start by (function, executed version, layer ARNs), as of now."""
        return self.snapshot()

    def snapshot(self) -> dict[CountKey, tuple[int, int]]:
        """A copy of the counts."""
        with self._lock:
            return {key: (count[0], count[1]) for key, count in self._counts.items()}

    def role_of(self, access_key: str) -> str | None:
        """The name of the role whose function was given this access key; None for all other keys."""
        return self._roles.get(access_key)

    # -- invocations

    def invoke(self, function: str, qualifier: str | None, payload: bytes, *, caller: str = "traffic") -> Invocation:
        """Run a function and wait for its answer. Thread safe.

        Args:
            function: name, partial or full ARN, with or without a qualifier.
            qualifier: a version, an alias or None.
            payload: the event, JSON.
            caller: who asks; for the log of this program only.

        Returns:
            What Lambda would answer. Where it would refuse the request, `error` is the error code (such as
            TooManyRequestsException), `status` its HTTP status, and the function did not run.

        Raises:
            RuntimeError: the engine was closed.
        """
        start = self.clock.now()
        try:
            target = find_backend(self.account, self.region).target(function, qualifier)
            return self.run(target, payload or b"{}", start)
        except rules.Refused as refused:
            _LOG.debug("invocation of %s by %s refused: %s", function, caller, refused.message)
            return report.refusal(refused)

    def run(
        self, target: Target, payload: bytes, start: datetime | None = None, *, client_context: str | None = None
    ) -> Invocation:
        """Run what was resolved. Raises `rules.Refused` where Lambda would not run it."""
        start = start or self.clock.now()
        release, name = target.release, target.release.function
        with self._lock:
            running = self._running.get(name, 0)
            limit = rules.ACCOUNT_CONCURRENCY if target.reserved_concurrency is None else target.reserved_concurrency
            if running >= limit:
                self.metrics.record(name, target.qualifier, release.version, start, throttled=True)
                raise rules.too_many_requests()
            self._running[name] = running + 1
        try:
            outcome, stream, cold = self._execute(release, target.qualifier, payload, start, client_context)
        finally:
            with self._lock:
                self._running[name] -= 1
        failed = outcome.error is not None
        self.metrics.record(
            name, target.qualifier, release.version, start,
            duration_ms=outcome.duration_ms, error=failed, concurrency=running + 1,
        )  # fmt: skip
        with self._lock:
            count = self._counts.setdefault((name, release.version, release.layer_arns), [0, 0])
            count[0] += 1
            count[1] += failed
        now = self.clock.now()
        lines = report.log_lines(release, outcome, now)
        first, last = int(start.timestamp() * 1000), int(now.timestamp() * 1000)
        body = [(last if index else first, line) for index, line in enumerate(lines)]
        self._logs.write(release.log_group, stream, body, now)
        return Invocation(
            status=200,
            payload=outcome.payload,
            error=outcome.error,
            executed_version=release.version,
            log_tail=report.tail(lines),
            duration_ms=outcome.duration_ms,
            cold=cold,
            request_id=outcome.request_id,
        )

    def invoke_later(self, target: Target, payload: bytes) -> None:
        """Run asynchronously, repeating failures as configured; nobody gets the answer."""

        def work() -> None:
            try:
                for _ in range(1 + self._retries):
                    if self.run(target, payload).error is None:
                        return
            except (rules.Refused, RuntimeError) as error:
                if not self._closed:
                    _LOG.warning("an asynchronous invocation of %s was lost: %s", target.release.function, error)

        self._background.submit(work)

    def _execute(
        self, release: Release, qualifier: str | None, payload: bytes, start: datetime, client_context: str | None
    ) -> tuple[Outcome, str, bool]:
        try:
            with self._pools.environment(release.serial, lambda: self._blueprint(release, start)) as (
                environment,
                cold,
            ):
                outcome = environment.invoke(payload, qualifier or "", client_context)
                return self._checked(outcome), environment.blueprint.log_stream, cold
        except (RuntimeUnavailable, SandboxError) as error:
            if self._closed:
                raise
            return report.not_started(error), _stream(release, start), True

    def _checked(self, outcome: Outcome) -> Outcome:
        return outcome if len(outcome.payload) <= rules.MAX_ANSWER else report.too_large(outcome)

    def _blueprint(self, release: Release, start: datetime) -> Blueprint:
        if release.package_type != "Zip":
            raise RuntimeUnavailable(
                f"{release.function} is a container image: the local Lambda runs zip functions only"
            )
        layers = self.files.merged([layer.archive.content for layer in release.layers])
        code = self.files.unpacked(release.code.content)
        architecture.check(release.function, release.architecture, code, layers)
        key, secret, token = self._credentials_of(release)
        stream = _stream(release, start)
        variables = {
            "AWS_LAMBDA_FUNCTION_NAME": release.function,
            "AWS_LAMBDA_FUNCTION_VERSION": release.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(release.memory),
            "AWS_LAMBDA_LOG_GROUP_NAME": release.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            # Snapshots are not taken here: to its runtime a version with SnapStart starts as any other.
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{release.runtime}",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_SESSION_TOKEN": token,
            "AWS_ENDPOINT_URL": self._endpoint(),
            "AWS_XRAY_SDK_ENABLED": "false",
            "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
            **release.variables,
        }
        return Blueprint(
            function=release.function,
            version=release.version,
            arn=release.arn,
            handler=release.handler,
            timeout=release.timeout,
            memory=release.memory,
            runtime=get_runtime(release.runtime),
            code=code,
            layers=layers,
            log_stream=stream,
            variables=variables,
            background=release.function in self.background,
            lifetime=self.lifetimes.get(release.function),
            extensions=extensions_in(layers),
            farewell=lambda lines: self._log_later(release, stream, lines),
        )

    def _log_later(self, release: Release, stream: str, lines: list[str]) -> None:
        now = self.clock.now()
        self._logs.write(release.log_group, stream, [(int(now.timestamp() * 1000), line) for line in lines], now)

    def _credentials_of(self, release: Release) -> tuple[str, str, str]:
        """Temporary credentials of a function's role, which the local STS and IAM know too."""
        with self._lock:
            place = (release.role, release.function)
            if (assumed := self._credentials.get(place)) is None:
                assumed = self._credentials[place] = sts_backends[self.account][get_partition(self.region)].assume_role(
                    region_name=self.region,
                    role_session_name=release.function,
                    role_arn=release.role,
                    policy="",
                    duration=12 * 3600,
                    external_id="",
                )
                self._roles[assumed.access_key_id] = release.role.rpartition("/")[2]
            return assumed.access_key_id, assumed.secret_access_key, assumed.session_token


def _stream(release: Release, start: datetime) -> str:
    return f"{start:%Y/%m/%d}/[{release.version}]{secrets.token_hex(16)}"
