"""moto's Lambda backend with Lambda's own behaviour: revisions, states, versions, aliases, layers."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from moto.awslambda.models import LambdaAlias, LambdaBackend, LayerVersion, lambda_backends
from moto.awslambda.urls import url_bases, url_paths
from moto.utilities.utils import get_partition

from local.lambdas import provisioned, rules
from local.lambdas.functions import Function, archive, read_archive
from local.lambdas.responses import Response
from local.lambdas.rules import Refused
from local.lambdas.values import AttachedLayer, FunctionChange, Invocation, Target
from local.patches import Patches

if TYPE_CHECKING:
    from local.lambdas.engine import LambdaEngine

_SNAPSHOT = 5.0
"""How many times as long as other changes the snapshot of a version takes."""

_NAME = re.compile(r"(?:arn:[\w-]+:lambda:[\w-]+:)?(?:\d{12}:)?(?:function:)?([\w-]+)(?::(\$LATEST|[\w-]+))?")


# moto marks methods of CloudFormation as abstract and leaves them out, which only a type checker minds.
_new_function: Any = Function
_new_layer_version: Any = LayerVersion


class Backend(LambdaBackend):
    """The functions and layers of one account and region. Thread safe."""

    engine: ClassVar[LambdaEngine]

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.lock = threading.RLock()
        self._numbers: dict[str, int] = {}
        self._layer_archives: dict[str, AttachedLayer] = {}
        self._provisioned = provisioned.Provisioned(self._later_locked)

    @staticmethod
    def install(engine: LambdaEngine, patches: Patches) -> None:
        """Have moto make its Lambda backends of this class; those that exist are forgotten.

        Raises:
            RuntimeError: another engine is installed. moto's state belongs to the process, so there can be one only.
        """
        if issubclass(lambda_backends.backend, Backend):
            raise RuntimeError("another local Lambda is installed in this process: close it first")
        lambda_backends.clear()
        patches.replace(lambda_backends, "backend", type("EngineBackend", (Backend,), {"engine": engine}))

    @property
    def _url_module(self) -> Any:
        more = r"{0}/(?P<api_version>[^/]+)/functions/(?P<function_name>[\w_:%-]+)/provisioned-concurrency/?$"
        return SimpleNamespace(url_bases=url_bases, url_paths=dict.fromkeys([*url_paths, more], Response.dispatch))

    # -- functions

    def target(self, function: str, qualifier: str | None) -> Target:
        """What an invocation runs now; an alias draws among its versions. Raises Refused."""
        name, qualifier = split_name(function, qualifier)
        with self.lock:
            latest = self._latest(name, qualifier)
            version = qualifier
            if alias := self._aliases(name).get(qualifier or ""):
                draw = self.engine.random.random()
                version = rules.choose_version(alias.function_version, _weights(alias.routing_config), draw)
            asked = self._version(name, version)
            release = asked.live
            if release is None:
                snapshot = asked.snapshots and asked.version != "$LATEST"
                raise rules.no_snapshot_yet() if snapshot else rules.pending("Pending")
            if asked.state == "Failed":
                raise rules.pending("Failed")
            reserved = latest.reserved_concurrency
            return Target(release, qualifier, None if reserved is None else int(reserved))

    def find(self, function: str, qualifier: str | None = None) -> Function:
        """The function, or the version that a qualifier names or an alias points to. Raises Refused."""
        name, qualifier = split_name(function, qualifier)
        with self.lock:
            alias = self._aliases(name).get(qualifier or "")
            return self._version(name, alias.function_version if alias else qualifier)

    def get_function(self, function_name_or_arn: str, qualifier: str | None = None) -> Function:
        """As `find`; the name under which moto's other services ask."""
        return self.find(function_name_or_arn, qualifier)

    def create_function(self, spec: dict[str, Any]) -> Function:
        """Create ``$LATEST``, Pending until it settles."""
        if (name := spec.get("FunctionName")) is None:
            raise Refused("InvalidParameterValueException", "Missing FunctionName")
        name = spec["FunctionName"] = split_name(name, None)[0]
        with self.lock:
            if name in self._lambdas._functions:
                raise Refused("ResourceConflictException", f"Function already exist: {name}", 409)
            function: Function = _new_function(
                self.account_id,
                spec,
                self.region_name,
                find_layer=self._find_layer,
                run=self._run,
                now=self._timestamp,
            )
            function.stamp()
            self._lambdas.put_function(function)
            self.engine.settler.later(lambda: self._settle(function))
            return self._publish(function, spec.get("Description")) if spec.get("Publish") else function

    def configure(self, name: str, body: dict[str, Any]) -> Function:
        """UpdateFunctionConfiguration."""
        with self.lock:
            function = self._changeable(name, body)
            function.configure(body)
            self._in_progress(function)
        return function

    def replace_code(self, name: str, body: dict[str, Any]) -> Function:
        """UpdateFunctionCode; with Publish the new version is returned."""
        with self.lock:
            function = self._changeable(name, body)
            if body.get("DryRun"):
                return function
            function.replace_code(body)
            self._in_progress(function)
            return self._publish(function, None) if body.get("Publish") else function

    def update_function_configuration(self, function_name: str, qualifier: str, body: dict[str, Any]) -> dict[str, Any]:
        """As `configure`, for moto's other services."""
        return self.configure(function_name, body).get_configuration()

    def update_function_code(self, function_name: str, qualifier: str, body: dict[str, Any]) -> dict[str, Any]:
        """As `replace_code`, for moto's other services."""
        return self.replace_code(function_name, body).get_configuration()

    def publish(self, name: str, body: dict[str, Any]) -> Function:
        """PublishVersion: the version that freezes ``$LATEST``; the last one again if nothing has changed since."""
        with self.lock:
            function = self._changeable(name, body)
            rules.check_code_sha(body.get("CodeSha256"), function.code_sha_256)
            return self._publish(function, body.get("Description"))

    def publish_version(self, function_name: str, description: str = "") -> Function:
        """As `publish`, for moto's other services."""
        return self.publish(function_name, {"Description": description})

    def delete_function(self, function_name: str, qualifier: str | None = None) -> None:
        """Delete a function with all versions, or one version that no alias needs."""
        name, qualifier = split_name(function_name, qualifier)
        with self.lock:
            gone = [self.find(name, qualifier)]
            if qualifier is None:
                gone = self.versions(name)
                del self._lambdas._functions[name]
                self._aliases(name).clear()
                self._provisioned.delete(name)
            else:
                holders = [alias.name for alias in self._aliases(name).values() if qualifier in _versions_of(alias)]
                if holders:
                    raise Refused(
                        "ResourceConflictException",
                        f"Version {qualifier} cannot be deleted: these aliases point to it: {holders}", 409,
                    )  # fmt: skip
                self._lambdas._functions[name]["versions"].remove(gone[0])
                self._provisioned.delete(name, qualifier)
            for function in gone:
                function.deleted = True
                if function.live:
                    self.engine.retire(function.live)

    def set_state(self, name: str, state: str) -> None:
        """Put ``$LATEST`` into a state that Lambda itself comes to: Inactive, Failed, or Active again."""
        with self.lock:
            function = self._latest(name)
            function.state = state
            function.touch()

    def versions(self, name: str) -> list[Function]:
        """``$LATEST`` and the published versions, oldest first."""
        with self.lock:
            return [self._latest(name), *self._lambdas._functions[name]["versions"]]

    def latest_functions(self) -> list[Function]:
        """Every function's ``$LATEST``, by name."""
        with self.lock:
            groups = self._lambdas._functions
            return [groups[name]["latest"] for name in sorted(groups)]

    def invoke(
        self, function_name: str, qualifier: str | None, body: Any, headers: Any, response_headers: Any
    ) -> bytes:
        """Run a function, as moto's other services do to deliver their messages."""
        name, qualifier = split_name(function_name, qualifier)
        done = self.engine.run(self.target(name, qualifier), body.encode() if isinstance(body, str) else body)
        if done.error:
            response_headers["x-amz-function-error"] = done.error
        return done.payload

    # -- aliases

    def create_alias(  # type: ignore[override]
        self,
        name: str,
        function_name: str,
        function_version: str,
        description: str,
        routing_config: dict[str, Any] | None,
    ) -> LambdaAlias:
        """CreateAlias."""
        function = split_name(function_name, None)[0]
        with self.lock:
            latest = self._latest(function)
            if name in self._aliases(function):
                raise Refused("ResourceConflictException", f"Alias already exists: {latest.function_arn}:{name}", 409)
            self._check_routing(function, function_version, routing_config)
            alias = LambdaAlias(
                self.account_id,
                self.region_name,
                name,
                function,
                function_version,
                description,
                routing_config or {},  # type: ignore[arg-type]
            )
            self._aliases(function)[name] = alias
            self.engine.changed(self._alias_change(function, alias))
        return alias

    def change_alias(self, name: str, function_name: str, body: dict[str, Any]) -> LambdaAlias:
        """UpdateAlias: changes what is sent."""
        function = split_name(function_name, None)[0]
        with self.lock:
            alias = self.get_alias(name, function)
            rules.check_revision(body.get("RevisionId"), alias.revision_id)
            before, split = alias.function_version, _weights(alias.routing_config)
            version = body.get("FunctionVersion") or before
            routing: Any = alias.routing_config if body.get("RoutingConfig") is None else body["RoutingConfig"]
            self._check_routing(function, version, routing)
            weights = self._provisioned.routing(function, name, before, version, _weights(routing))
            alias.update(body.get("Description"), version, {"AdditionalVersionWeights": weights})  # type: ignore[arg-type]
            if (before, split) != (version, weights):
                self._provisioned.follow(function, name, before, version, lambda: self._moved(function, alias))
            self._alias_changed(function, alias)
        return alias

    def get_alias(self, name: str, function_name: str) -> LambdaAlias:
        """GetAlias."""
        function = split_name(function_name, None)[0]
        with self.lock:
            latest = self._latest(function)
            if (alias := self._aliases(function).get(name)) is None:
                raise Refused("ResourceNotFoundException", f"Cannot find alias arn: {latest.function_arn}:{name}", 404)
            return alias

    def delete_alias(self, name: str, function_name: str) -> None:
        """DeleteAlias; deleting what is not there is fine."""
        function = split_name(function_name, None)[0]
        with self.lock:
            self._aliases(function).pop(name, None)
            self._provisioned.delete(function, name)

    def list_aliases(self, function_name: str) -> Iterable[LambdaAlias]:
        """The aliases of a function by name."""
        name = split_name(function_name, None)[0]
        with self.lock:
            self._latest(name)
            return sorted(self._aliases(name).values(), key=lambda alias: alias.name)

    # -- provisioned concurrency

    def provision(self, function_name: str, qualifier: str, requested: int) -> provisioned.Allocation:
        """PutProvisionedConcurrencyConfig."""
        name, qualifier = self._provisionable(function_name, qualifier)
        with self.lock:
            latest = self._latest(name)
            aliases = {
                alias.name: (alias.function_version, _weights(alias.routing_config))
                for alias in self._aliases(name).values()
            }
            reserved = None if latest.reserved_concurrency is None else int(latest.reserved_concurrency)
            provisioned.check(qualifier, requested, aliases, self._provisioned.of(name), reserved)
            return self._provisioned.put(name, qualifier, requested, self._timestamp())

    def allocation(self, function_name: str, qualifier: str) -> provisioned.Allocation:
        """GetProvisionedConcurrencyConfig."""
        name, qualifier = self._provisionable(function_name, qualifier)
        with self.lock:
            if (found := self._provisioned.of(name).get(qualifier)) is None:
                raise provisioned.unknown()
            return found

    def allocations(self, function_name: str) -> dict[str, provisioned.Allocation]:
        """ListProvisionedConcurrencyConfigs: by the ARN of the version or alias."""
        name = split_name(function_name, None)[0]
        with self.lock:
            arn = self._latest(name).function_arn
            return {f"{arn}:{qualifier}": found for qualifier, found in sorted(self._provisioned.of(name).items())}

    def unprovision(self, function_name: str, qualifier: str) -> None:
        """DeleteProvisionedConcurrencyConfig; deleting what is not there is fine."""
        name, qualifier = self._provisionable(function_name, qualifier)
        with self.lock:
            self._provisioned.delete(name, qualifier)

    def _provisionable(self, function_name: str, qualifier: str) -> tuple[str, str]:
        """The function and the version or alias that provisioned concurrency is asked about; raises Refused."""
        name, named = split_name(function_name, qualifier)
        with self.lock:
            if named not in self._aliases(name):
                self._version(name, named)
        return name, named or "$LATEST"

    # -- layers

    def publish_layer_version(self, spec: dict[str, Any]) -> LayerVersion:
        """PublishLayerVersion."""
        content = read_archive(self.account_id, get_partition(self.region_name), spec["Content"])
        packed = archive(content)
        layer: LayerVersion = _new_layer_version(spec, account_id=self.account_id, region=self.region_name)
        layer.created_date = self._timestamp()
        with self.lock:
            self._layers.put_layer_version(layer)
            self._layer_archives[layer.arn] = AttachedLayer(layer.arn, packed, len(content))
        return layer

    def delete_layer_version(self, layer_name: str, layer_version: str) -> None:
        """DeleteLayerVersion; functions that have it keep it."""
        with self.lock:
            found = self._layers._layers.get(layer_name.rpartition(":")[2])
            if found and (version := found.layer_versions.pop(str(layer_version), None)):
                del self._layer_archives[version.arn]

    # -- where zips are

    def code_of(self, function: Function) -> dict[str, Any]:
        """GetFunction's Code: an address that the zip can be read from, or what moto says of an image."""
        if function.package_type != "Zip":
            found: dict[str, Any] = function.get_code().get("Code", {})
            return found
        return {"RepositoryType": "S3", "Location": self.engine.packages.address("tasks", function.archive)}

    def location_of(self, layer: LayerVersion) -> str:
        """An address that a layer version's zip can be read from."""
        with self.lock:
            return self.engine.packages.address("layers", self._layer_archives[layer.arn].archive)

    # -- inside

    def _run(self, arn: str, payload: bytes) -> Invocation:
        return self.engine.run(self.target(arn, None), payload)

    def _latest(self, name: str, qualifier: str | None = None) -> Function:
        if (group := self._lambdas._functions.get(name)) is None:
            raise self._unknown(name, qualifier)
        latest: Function = group["latest"]
        return latest

    def _version(self, name: str, version: str | None) -> Function:
        latest = self._latest(name, version)
        if version in (None, "$LATEST"):
            return latest
        for function in self._lambdas._functions[name]["versions"]:
            if str(function.version) == version:
                found: Function = function
                return found
        raise self._unknown(name, version)

    def _unknown(self, name: str, qualifier: str | None) -> Refused:
        arn = f"arn:{self.partition}:lambda:{self.region_name}:{self.account_id}:function:{name}"
        return Refused(
            "ResourceNotFoundException", f"Function not found: {arn}{':' + qualifier if qualifier else ''}", 404
        )

    def _aliases(self, name: str) -> dict[str, LambdaAlias]:
        return self._lambdas._aliases[
            f"arn:{self.partition}:lambda:{self.region_name}:{self.account_id}:function:{name}"
        ]

    def _changeable(self, name: str, body: dict[str, Any]) -> Function:
        function = self._latest(split_name(name, None)[0])
        rules.check_settled(function.function_arn, function.state, function.update_status or "")
        rules.check_revision(body.get("RevisionId"), function.revision_id)
        return function

    def _in_progress(self, function: Function) -> None:
        function.update_status = "InProgress"
        self.engine.settler.later(lambda: self._settle(function))

    def _publish(self, function: Function, description: str | None) -> Function:
        name = function.function_name
        published: list[Function] = self._lambdas._functions[name]["versions"]
        fingerprint = function.fingerprint()
        if published and published[-1].frozen_from == fingerprint:
            return published[-1]
        number = self._numbers[name] = self._numbers.get(name, 0) + 1
        version = function.published_as(number, description)
        version.frozen_from = fingerprint
        published.append(version)
        self._lambdas._arns[version.function_arn] = version
        self.engine.settler.later(lambda: self._settle(version), _SNAPSHOT if function.snapshots else 1.0)
        return version

    def _settle(self, function: Function) -> None:
        """A creation, update or publish is done: from now on invocations run it. Listeners know before all others."""
        with self.lock:
            if function.deleted:
                return
            before, function.live = function.live, function.release()
            layers = function.live.layer_arns
            self.engine.changed(
                FunctionChange(function.function_name, str(function.version), None, layers, self.engine.clock.now())
            )
            function.state, function.update_status = "Active", "Successful"
            function.touch()
        if before:
            self.engine.retire(before)

    def _later_locked(self, action: Callable[[], None]) -> None:
        def locked() -> None:
            with self.lock:
                action()

        self.engine.settler.later(locked, provisioned.DURATION)

    def _moved(self, name: str, alias: LambdaAlias) -> None:
        """An alias's version has its environments: it gets all of the callers."""
        if self._aliases(name).get(alias.name) is alias:
            alias.update(None, None, {})  # type: ignore[arg-type]
            self._alias_changed(name, alias)

    def _alias_changed(self, name: str, alias: LambdaAlias) -> None:
        alias.revision_id = str(uuid.uuid4())
        self.engine.changed(self._alias_change(name, alias))

    def _check_routing(self, name: str, version: str, routing: dict[str, Any] | None) -> None:
        weights = _weights(routing)
        rules.check_routing(version, weights)
        for needed in (version, *weights):
            self._version(name, needed)

    def _alias_change(self, name: str, alias: LambdaAlias) -> FunctionChange:
        layers = tuple(layer.arn for layer in self._version(name, alias.function_version).attached)
        weights = _weights(alias.routing_config)
        return FunctionChange(name, alias.function_version, alias.name, layers, self.engine.clock.now(), weights)

    def _find_layer(self, arn: str) -> AttachedLayer:
        if arn.split(":")[4] != self.account_id:
            raise Refused(
                "AccessDeniedException",
                f"User is not authorized to perform: lambda:GetLayerVersion on resource: {arn} "
                "because no resource-based policy allows the lambda:GetLayerVersion action",
                403,
            )
        with self.lock:
            if (found := self._layer_archives.get(arn)) is None:
                raise rules.unknown_layer(arn)
            return found

    def _timestamp(self) -> str:
        return rules.timestamp(self.engine.clock.now())


def find_backend(account: str, region: str) -> Backend:
    """The installed backend of an account and region."""
    backend = lambda_backends[account][region]
    if not isinstance(backend, Backend):
        raise RuntimeError("the local Lambda is not installed: call LambdaEngine.install() first")
    return backend


def split_name(function: str, qualifier: str | None) -> tuple[str, str | None]:
    """Name and qualifier of a function that is given by name, partial ARN or ARN. Raises Refused."""
    if not (match := _NAME.fullmatch(function)):
        raise Refused(
            "ValidationException",
            f"1 validation error detected: Value '{function}' at 'functionName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern of a function's name or ARN",
        )
    return match[1], match[2] or qualifier


def _versions_of(alias: LambdaAlias) -> set[str]:
    return {alias.function_version, *_weights(alias.routing_config)}


def _weights(routing: Any) -> dict[str, float]:
    return dict((routing or {}).get("AdditionalVersionWeights") or {})
