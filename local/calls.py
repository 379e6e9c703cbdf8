"""Every API call that reaches the embedded AWS, under the name that IAM has for it.

The names are read off the requests with botocore's models, not asked of moto, so a call counts as what was sent.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, unquote

from botocore.exceptions import UnknownServiceError

from local.models import service_model

# Signing name → botocore's service, where they differ; and → IAM's prefix, where that differs.
_SERVICES = {"states": "stepfunctions", "monitoring": "cloudwatch", "tagging": "resourcegroupstaggingapi"}
_PREFIXES = {"monitoring": "cloudwatch", "tagging": "tag"}
# Operations whose permission has another name.
_ACTIONS = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "lambda:InvokeAsync": "lambda:InvokeFunction",
    "lambda:GetLayerVersionByArn": "lambda:GetLayerVersion",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjects": "s3:ListBucket",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:HeadObject": "s3:GetObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:UploadPartCopy": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
}
# Where the thing that a call is about stands in a JSON or form body, most telling first.
_NAMES = (
    "TableName", "stateMachineArn", "executionArn", "projectName", "ids", "id", "TopicArn", "Name", "name",
    "logGroupName", "ResourceARN", "RoleName", "QueueUrl",
)  # fmt: skip
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_LABEL = re.compile(r"\{([^}]+)\}")
_MAX_BODY = 1_000_000


@dataclass(frozen=True)
class Call:
    """One call: `action` as in a policy (`lambda:UpdateFunctionConfiguration`), `caller` a role's name or `operator`,
    `resource` a name or ARN where the request tells one, `status` the HTTP status of the answer."""

    action: str
    caller: str
    resource: str
    status: int


class CallLog:
    """Calls in the order of their answers; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Call] = []

    def add(self, call: Call) -> None:
        """Record one call."""
        with self._lock:
            self._calls.append(call)

    def all(self, caller_prefix: str | None = None) -> list[Call]:
        """The calls of callers whose names begin so, or all."""
        with self._lock:
            return [call for call in self._calls if call.caller.startswith(caller_prefix or "")]

    def counts(self, caller_prefix: str | None = None) -> dict[str, int]:
        """How often each action was called, by callers whose names begin so."""
        return dict(Counter(call.action for call in self.all(caller_prefix)))

    def clear(self) -> None:
        """Forget what was called so far."""
        with self._lock:
            self._calls.clear()


class RecordingApplication:
    """A WSGI application that logs each signed call on its way to `application`."""

    def __init__(self, application: Callable[..., Iterable[bytes]], log: CallLog, caller: Callable[[str], str]) -> None:
        self._application = application
        self._log = log
        self._caller = caller

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        query = environ.get("QUERY_STRING", "")
        credential = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if credential is None:
            credential = _CREDENTIAL.search("Credential=" + unquote(query).partition("X-Amz-Credential=")[2])
        if credential is None:
            return self._application(environ, start_response)
        key, _, service = credential.groups()
        action, resource = identify(service.lower(), environ, _body(environ))

        def answered(status: str, *arguments: Any) -> Any:
            self._log.add(Call(action, self._caller(key), resource, int(status.split()[0])))
            return start_response(status, *arguments)

        return self._application(environ, answered)


def identify(service: str, environ: Mapping[str, Any], body: bytes) -> tuple[str, str]:
    """`(action, resource)` of a request signed for `service`."""
    prefix = _PREFIXES.get(service, service)
    target: str = environ.get("HTTP_X_AMZ_TARGET", "")
    path: str = environ.get("PATH_INFO", "/")
    content: str = environ.get("CONTENT_TYPE", "")
    if target:
        return f"{prefix}:{target.rsplit('.', 1)[1]}", _named(_json(body))
    if "/operation/" in path:
        return f"{prefix}:{path.rsplit('/', 1)[1]}", ""
    if content.startswith("application/x-www-form-urlencoded"):
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        if "Action" in form:
            return f"{prefix}:{form['Action']}", _named(form)
    name, labels = _rest(_SERVICES.get(service, service), environ)
    action = f"{prefix}:{name}"
    if service == "s3":
        bucket = labels.get("Bucket", "")
        resource = f"arn:aws:s3:::{bucket}" + (f"/{labels['Key']}" if "Key" in labels else "")
    else:
        resource = next(iter(labels.values()), "")
    return _ACTIONS.get(action, action), resource


def _rest(service: str, environ: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    best: tuple[int, str, dict[str, str]] = (-1, "Unknown", {})
    for operation in _operations(service):
        if operation.method != method or not (found := operation.path.fullmatch(path)):
            continue
        if any(query.get(key, [None])[0] != value for key, value in operation.constants.items()):
            continue
        if not all(key in query for key in operation.query):
            continue
        if not all(f"HTTP_{header.upper().replace('-', '_')}" in environ for header in operation.headers):
            continue
        weight = len(operation.constants) + len(operation.query) + len(operation.headers)
        score = 100 * weight + operation.literals
        if score > best[0]:
            labels = {name: unquote(value) for name, value in zip(operation.labels, found.groups(), strict=True)}
            best = (score, operation.name, labels)
    return best[1], best[2]


@dataclass(frozen=True)
class _Operation:
    name: str
    method: str
    path: re.Pattern[str]
    labels: tuple[str, ...]
    literals: int
    constants: Mapping[str, str]
    query: tuple[str, ...]
    headers: tuple[str, ...]


@cache
def _operations(service: str) -> tuple[_Operation, ...]:
    try:
        model = service_model(service)
    except UnknownServiceError:
        return ()
    found = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        uri, _, constants = operation.http.get("requestUri", "/").partition("?")
        pattern, labels, literals, rest = "", [], 0, 0
        for label in _LABEL.finditer(uri):
            pattern += re.escape(uri[rest : label.start()]) + ("(.+)" if label[1].endswith("+") else "([^/]+)")
            literals += label.start() - rest
            labels.append(label[1].rstrip("+"))
            rest = label.end()
        pattern += re.escape(uri[rest:].rstrip("/")) + "/?"
        shape = operation.input_shape
        required = [shape.members[key] for key in shape.required_members] if shape else []
        places = [(member.serialization.get("location"), member.serialization.get("name", "")) for member in required]
        found.append(
            _Operation(
                name,
                operation.http.get("method", "POST"),
                re.compile(pattern),
                tuple(labels),
                literals + len(uri[rest:]),
                {key: values[0] for key, values in parse_qs(constants, keep_blank_values=True).items()},
                tuple(key for place, key in places if place == "querystring"),
                tuple(key for place, key in places if place == "header"),
            )
        )
    return tuple(found)


def _body(environ: dict[str, Any]) -> bytes:
    """The request's body where it may name an action or a resource; put back for the application."""
    content = environ.get("CONTENT_TYPE", "")
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if not length or length > _MAX_BODY or not ("json" in content or "form-urlencoded" in content):
        return b""
    body: bytes = environ["wsgi.input"].read(length)
    environ["wsgi.input"] = BytesIO(body)
    return body


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _named(values: Mapping[str, Any]) -> str:
    for name in _NAMES:
        if name in values:
            value = values[name]
            return str(value[0] if isinstance(value, list) and value else value)
    return ""
