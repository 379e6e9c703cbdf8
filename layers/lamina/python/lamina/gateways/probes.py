"""Probe functions: created for one question, asked, and deleted again."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from lamina.errors import VerifyFailed
from lamina.model import LayerArn, Variant
from lamina.probing import ImportFailure, ProbeAnswer, SmokeResult, start_failed
from lamina.questions import Program

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

TIMEOUT_S = 300
MEMORY_MB = 2048
"""Enough for a large package twice: when the function starts, and in the process that imports everything."""

_NO_HANDLER = " (if the layer's bootstrap ends where there is no handler, give it one: verify.smoke, a .sh file)"
_INIT = re.compile(r"^REPORT .*\bInit Duration: ([\d.]+) ms", re.MULTILINE)


class Probes:
    """Runs probes with a layer attached.

    Args:
        client: of Lambda; its read timeout must exceed `TIMEOUT_S`.
        role: ARN of the role that probes run as. It needs no permissions.
    """

    def __init__(self, client: LambdaClient, role: str) -> None:
        self._client = client
        self._role = role

    def ask(self, name: str, variant: Variant, layer: LayerArn, program: Program) -> ProbeAnswer:
        """Create the function, invoke it once and delete it; a leftover of the same name is replaced.

        A function that does not start is asked once more without importing anything first: what ends the interpreter
        there would hide all else.

        Raises:
            VerifyFailed: the function could not be created or asked, which says nothing about the layer.
        """
        try:
            answer = self._ask(name, variant, layer, program, program.init)
            if answer.broken is not None and program.init:
                answer = self._ask(name, variant, layer, program, ())
        except (BotoCoreError, ClientError) as error:
            raise VerifyFailed(
                f"{variant.variant}: the probe function {name} could not be asked ({error}); that says nothing about "
                "the candidate, which is attached nowhere. Start the update again"
            ) from error
        return answer

    def _ask(
        self, name: str, variant: Variant, layer: LayerArn, program: Program, init: tuple[str, ...]
    ) -> ProbeAnswer:
        try:
            self._create(name, variant, layer, program, init)
            return self._invoke(name, program)
        finally:
            self._delete(name)

    def _create(self, name: str, variant: Variant, layer: LayerArn, program: Program, init: tuple[str, ...]) -> None:
        arguments: dict[str, Any] = {
            "FunctionName": name,
            "Description": f"Lamina's probe of {variant.variant}; deleted when it has answered",
            "Runtime": variant.runtime,
            "Architectures": [variant.architecture],
            "Handler": program.handler,
            "Role": self._role,
            "Code": {"ZipFile": _zip(program)},
            "Layers": [layer],
            "Timeout": TIMEOUT_S,
            "MemorySize": MEMORY_MB,
            "Environment": {"Variables": {"LAMINA_INIT": ",".join(init)} if init else {}},
        }
        try:
            self._client.create_function(**arguments)
        except self._client.exceptions.ResourceConflictException:
            self._delete(name)
            self._client.create_function(**arguments)
        self._client.get_waiter("function_active_v2").wait(
            FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )

    def _invoke(self, name: str, program: Program) -> ProbeAnswer:
        event = json.dumps(program.question.to_json() if program.answers else {}).encode()
        answer = self._client.invoke(FunctionName=name, Payload=event, LogType="Tail")
        body = answer["Payload"].read()
        init_ms = _init_duration(answer.get("LogResult", ""))
        if "FunctionError" in answer:
            return _failed(body, program, init_ms)
        if not program.answers:
            smoke = program.question.smoke
            return ProbeAnswer(init_ms=init_ms, smoke=SmokeResult(module=smoke) if smoke else None)
        try:
            return ProbeAnswer.model_validate_json(body).model_copy(update={"init_ms": init_ms})
        except ValidationError as error:
            raise VerifyFailed(
                f"the probe function {name} gave no answer that makes sense; that says nothing about the candidate, "
                "which is attached nowhere. Start the update again"
            ) from error

    def _delete(self, name: str) -> None:
        try:
            self._client.delete_function(FunctionName=name)
        except self._client.exceptions.ResourceNotFoundException:
            return


def _failed(body: bytes, program: Program, init_ms: float | None) -> ProbeAnswer:
    """The answer of a function that ended with an error; one of a runtime in the layer may be what its code said."""
    try:
        said = cast(Any, json.loads(body or b"null"))
    except ValueError:
        said = None
    known = said if isinstance(said, dict) else {"errorMessage": body.decode(errors="replace")}
    kind, message = str(known.get("errorType") or "error"), str(known.get("errorMessage") or "")
    if program.answers or start_failed(kind):
        hint = "" if program.answers or program.question.smoke else _NO_HANDLER
        return ProbeAnswer(broken=f"{kind}: {message}"[:1000] + hint, init_ms=init_ms)
    if program.question.smoke:
        smoke = SmokeResult(module=program.question.smoke, type=kind, message=message[:1000])
        return ProbeAnswer(smoke=smoke, init_ms=init_ms)
    failure = ImportFailure(module="bootstrap", type=kind, message=message[:1000])
    return ProbeAnswer(failed=1, failures=(failure,), init_ms=init_ms)


def _init_duration(tail: str) -> float | None:
    """Milliseconds of a cold start from the last lines of its log, base64; None where they do not say."""
    found = _INIT.search(base64.b64decode(tail).decode(errors="replace"))
    return float(found[1]) if found else None


def _zip(program: Program) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in sorted(program.files.items()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = (0o100755 if name in program.executable else 0o100644) << 16
            archive.writestr(info, body, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
