"""Lambda's HTTP API as boto3 sees it, over `backend.py`."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from moto.awslambda.models import LambdaAlias, LayerVersion
from moto.awslambda.responses import LambdaResponse
from moto.core.common_types import TYPE_RESPONSE

from local.lambdas import rules
from local.lambdas.rules import Refused

if TYPE_CHECKING:
    from local.lambdas.backend import Backend
    from local.lambdas.functions import Function

_PAGE = 50
_NULL = b"null"


class Response(LambdaResponse):
    """One request. Methods are named for the operations they answer; those not here are moto's."""

    @property
    def backend(self) -> Backend:
        return cast("Backend", super().backend)

    def call_action(self) -> TYPE_RESPONSE:
        """Answer the request; what the rules refuse becomes Lambda's error."""
        try:
            return super().call_action()
        except Refused as refused:
            headers = {"x-amzn-errortype": refused.code, "content-type": "application/json"}
            return refused.status, headers, json.dumps({"Type": "User", "message": refused.message})

    # -- functions

    def create_function(self) -> TYPE_RESPONSE:
        """CreateFunction"""
        return _json(self.backend.create_function(self.json_body).get_configuration(), 201)

    def get_function(self) -> TYPE_RESPONSE:  # type: ignore[override]
        """GetFunction"""
        function, configuration = self._qualified(-1)
        latest = self.backend.find(function.function_name)
        answer: dict[str, Any] = {"Configuration": configuration, "Code": self.backend.code_of(function)}
        if latest.tags:
            answer["Tags"] = latest.tags
        if latest.reserved_concurrency is not None:
            answer["Concurrency"] = {"ReservedConcurrentExecutions": int(latest.reserved_concurrency)}
        return _json(answer)

    def get_function_configuration(self) -> TYPE_RESPONSE:  # type: ignore[override]
        """GetFunctionConfiguration"""
        return _json(self._qualified(-2)[1])

    def update_function_configuration(self) -> TYPE_RESPONSE:
        """UpdateFunctionConfiguration"""
        return _json(self.backend.configure(self._name(-2), self.json_body).get_configuration())

    def update_function_code(self) -> TYPE_RESPONSE:
        """UpdateFunctionCode"""
        return _json(self.backend.replace_code(self._name(-2), self.json_body).get_configuration())

    def publish_version(self) -> TYPE_RESPONSE:
        """PublishVersion"""
        body = json.loads(self.body) if self.body else {}
        return _json(self.backend.publish(self._name(-2), body).get_configuration(), 201)

    def list_functions(self) -> TYPE_RESPONSE:  # type: ignore[override]
        """ListFunctions"""
        functions = self.backend.latest_functions()
        if self._query("FunctionVersion") == "ALL":
            listed = [
                _as_listed(version)
                for function in functions
                for version in self.backend.versions(function.function_name)
            ]
        else:
            listed = [_as_listed(function) for function in functions]
        return self._page("Functions", listed)

    def list_versions_by_function(self) -> TYPE_RESPONSE:  # type: ignore[override]
        """ListVersionsByFunction"""
        versions = self.backend.versions(self.backend.find(self._name(-2)).function_name)
        latest, *published = [version.get_configuration() for version in versions]
        latest["FunctionArn"] += ":$LATEST"
        return self._page("Versions", [latest, *published])

    def delete_function(self) -> TYPE_RESPONSE:
        """DeleteFunction"""
        self.backend.delete_function(self._name(-1), self._query("Qualifier"))
        return 204, {"status": 204}, ""

    # -- invocations

    def invoke(self) -> TYPE_RESPONSE:
        """Invoke"""
        backend, engine = self.backend, self.backend.engine
        kind = self.headers.get("X-Amz-Invocation-Type") or "RequestResponse"
        payload = self.body.encode() if isinstance(self.body, str) else bytes(self.body or b"")
        if len(payload) > rules.MAX_PAYLOAD:
            raise Refused(
                "RequestTooLargeException",
                f"Request must be smaller than {rules.MAX_PAYLOAD} bytes for the InvokeFunction operation", 413,
            )  # fmt: skip
        try:
            json.loads(payload or _NULL)
        except ValueError as error:
            raise Refused(
                "InvalidRequestContentException", f"Could not parse request body into json: {error}", 400
            ) from None
        target = backend.target(self._name(-2), self._query("Qualifier"))
        if kind == "DryRun":
            return 204, {"status": 204}, ""
        if kind == "Event":
            engine.invoke_later(target, payload or b"{}")
            return 202, {"status": 202}, ""
        packed = self.headers.get("X-Amz-Client-Context")
        context = base64.b64decode(packed).decode() if packed else None
        done = engine.run(target, payload or b"{}", client_context=context)
        headers = {"content-type": "application/json", "X-Amz-Executed-Version": done.executed_version}
        if done.error:
            headers["X-Amz-Function-Error"] = done.error
        if self.headers.get("X-Amz-Log-Type") == "Tail":
            headers["X-Amz-Log-Result"] = base64.b64encode(done.log_tail.encode()).decode()
        return 200, headers, done.payload

    # -- aliases

    def create_alias(self) -> TYPE_RESPONSE:
        """CreateAlias"""
        body = self.json_body
        alias = self.backend.create_alias(
            body["Name"],
            self._name(-2),
            body["FunctionVersion"],
            body.get("Description", ""),
            body.get("RoutingConfig"),
        )
        return _json(_alias(alias), 201)

    def update_alias(self) -> TYPE_RESPONSE:
        """UpdateAlias"""
        return _json(_alias(self.backend.change_alias(self._name(-1), self._name(-3), self.json_body)))

    def get_alias(self) -> TYPE_RESPONSE:
        """GetAlias"""
        return _json(_alias(self.backend.get_alias(self._name(-1), self._name(-3))))

    def delete_alias(self) -> TYPE_RESPONSE:
        """DeleteAlias"""
        self.backend.delete_alias(self._name(-1), self._name(-3))
        return 204, {"status": 204}, ""

    def list_aliases(self) -> TYPE_RESPONSE:
        """ListAliases"""
        wanted = self._query("FunctionVersion")
        found = [_alias(alias) for alias in self.backend.list_aliases(self._name(-2))]
        return self._page("Aliases", [alias for alias in found if wanted in (None, alias["FunctionVersion"])])

    # -- provisioned concurrency

    def put_provisioned_concurrency_config(self) -> TYPE_RESPONSE:
        """PutProvisionedConcurrencyConfig"""
        requested = int(self.json_body["ProvisionedConcurrentExecutions"])
        return _json(self.backend.provision(self._name(-2), self._query("Qualifier") or "", requested).to_json(), 202)

    def get_provisioned_concurrency_config(self) -> TYPE_RESPONSE:
        """GetProvisionedConcurrencyConfig"""
        return _json(self.backend.allocation(self._name(-2), self._query("Qualifier") or "").to_json())

    def list_provisioned_concurrency_configs(self) -> TYPE_RESPONSE:
        """ListProvisionedConcurrencyConfigs"""
        found = self.backend.allocations(self._name(-2))
        return self._page(
            "ProvisionedConcurrencyConfigs", [{"FunctionArn": arn, **one.to_json()} for arn, one in found.items()]
        )

    def delete_provisioned_concurrency_config(self) -> TYPE_RESPONSE:
        """DeleteProvisionedConcurrencyConfig"""
        self.backend.unprovision(self._name(-2), self._query("Qualifier") or "")
        return 204, {"status": 204}, ""

    # -- layers

    def publish_layer_version(self) -> TYPE_RESPONSE:
        """PublishLayerVersion"""
        spec = {"LayerName": self._name(-2).rpartition(":")[2], **self.json_body}
        return self._whole(self.backend.publish_layer_version(spec), 201)

    def get_layer_version(self) -> TYPE_RESPONSE:  # type: ignore[override]
        """GetLayerVersion"""
        return self._whole(self._layer_version(self._name(-3), self._name(-1)))

    def get_layer_version_by_arn(self) -> TYPE_RESPONSE:
        """GetLayerVersionByArn"""
        arn = self._query("Arn") or ""
        layer, _, version = arn.rpartition(":")
        if not version.isdigit():
            raise Refused("ValidationException", f"Value '{arn}' at 'arn' is not a layer version's ARN")
        return self._whole(self._layer_version(layer, version))

    def list_layer_versions(self) -> TYPE_RESPONSE:  # type: ignore[override]
        """ListLayerVersions"""
        found = self.backend.list_layer_versions(self._name(-2).rpartition(":")[2])
        newest = sorted(found, key=lambda layer: layer.version, reverse=True)
        return self._page("LayerVersions", [_layer(layer) for layer in newest if self._compatible(layer)])

    def list_layers(self) -> TYPE_RESPONSE:  # type: ignore[override]
        """ListLayers"""
        listed = []
        with self.backend.lock:
            for name, layer in sorted(self.backend._layers._layers.items()):
                matching = [version for version in layer.layer_versions.values() if self._compatible(version)]
                if matching:
                    latest = max(matching, key=lambda version: version.version)
                    listed.append(
                        {"LayerName": name, "LayerArn": layer.layer_arn, "LatestMatchingVersion": _layer(latest)}
                    )
        return self._page("Layers", listed)

    def delete_layer_version(self) -> TYPE_RESPONSE:  # type: ignore[override]
        """DeleteLayerVersion"""
        self.backend.delete_layer_version(self._name(-3), self._name(-1))
        return 204, {"status": 204}, ""

    # -- inside

    def _name(self, place: int) -> str:
        """A part of the path, counted from its end."""
        return unquote(self.path.rstrip("/").split("/")[place])

    def _query(self, name: str) -> str | None:
        values = self.querystring.get(name)
        return values[0] if values else None

    def _qualified(self, place: int) -> tuple[Function, dict[str, Any]]:
        from local.lambdas.backend import split_name

        name, qualifier = split_name(self._name(place), self._query("Qualifier"))
        function = self.backend.find(name, qualifier)
        configuration = function.get_configuration()
        if qualifier:
            configuration["FunctionArn"] = f"{self.backend.find(name).function_arn}:{qualifier}"
        return function, configuration

    def _layer_version(self, layer: str, version: str) -> LayerVersion:
        with self.backend.lock:
            found = self.backend._layers._layers.get(layer.rpartition(":")[2])
            if found and (match := found.layer_versions.get(version)):
                return match
        raise Refused("ResourceNotFoundException", "The resource you requested does not exist.", 404)

    def _whole(self, layer: LayerVersion, status: int = 200) -> TYPE_RESPONSE:
        answer = layer.get_layer_version()
        answer["Content"]["Location"] = self.backend.location_of(layer)
        return _json(answer, status)

    def _compatible(self, layer: LayerVersion) -> bool:
        runtime, architecture = self._query("CompatibleRuntime"), self._query("CompatibleArchitecture")
        return (not runtime or runtime in layer.compatible_runtimes) and (
            not architecture or architecture in layer.compatible_architectures
        )

    def _page(self, name: str, items: Sequence[dict[str, Any]]) -> TYPE_RESPONSE:
        marker = self._query("Marker") or "0"
        if not marker.isdigit():
            raise Refused("InvalidParameterValueException", "The marker is not one that was answered before")
        start = int(marker)
        end = start + min(int(self._query("MaxItems") or _PAGE), _PAGE)
        answer: dict[str, Any] = {name: items[start:end]}
        if end < len(items):
            answer["NextMarker"] = str(end)
        return _json(answer)


def _json(answer: dict[str, Any], status: int = 200) -> TYPE_RESPONSE:
    return status, {"status": status, "content-type": "application/json"}, json.dumps(answer)


def _as_listed(function: Function) -> dict[str, Any]:
    """ListFunctions leaves out states, which have to be asked for one by one."""
    configuration = function.get_configuration()
    for name in ("State", "StateReason", "StateReasonCode", "LastUpdateStatus", "LastUpdateStatusReason",
                 "LastUpdateStatusReasonCode"):  # fmt: skip
        configuration.pop(name, None)
    return configuration


def _alias(alias: LambdaAlias) -> dict[str, Any]:
    answer: dict[str, Any] = alias.to_json()
    if not (answer.get("RoutingConfig") or {}).get("AdditionalVersionWeights"):
        answer.pop("RoutingConfig", None)
    return answer


def _layer(layer: LayerVersion) -> dict[str, Any]:
    answer = layer.get_layer_version()
    return {name: answer[name] for name in answer if name not in ("Content", "LayerArn")}
