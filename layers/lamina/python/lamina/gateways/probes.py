"""Probe functions: created for one question, asked, and deleted again."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from lamina.errors import VerifyFailed
from lamina.model import LayerArn, Variant
from lamina.probing import ProbeAnswer

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

TIMEOUT_S = 300
MEMORY_MB = 1024


class Probes:
    """Runs the probe with a layer attached.

    Args:
        client: of Lambda; its read timeout must exceed `TIMEOUT_S`.
        role: ARN of the role that probes run as. It needs no permissions.
        source: the probe's code, a module called `probe` with a `handler`.
    """

    def __init__(self, client: LambdaClient, role: str, source: bytes) -> None:
        self._client = client
        self._role = role
        self._code = _zip("probe.py", source)

    def ask(self, name: str, variant: Variant, layer: LayerArn, question: dict[str, object]) -> ProbeAnswer:
        """Create the function, invoke it once and delete it; a leftover of the same name is replaced.

        Raises:
            VerifyFailed: the function could not be created or asked, which says nothing about the layer.
        """
        try:
            try:
                self._create(name, variant, layer)
                return self._invoke(name, question)
            finally:
                self._delete(name)
        except (BotoCoreError, ClientError) as error:
            raise VerifyFailed(
                f"{variant.variant}: the probe function {name} could not be asked ({error}); that says nothing about "
                "the candidate, which is attached nowhere. Start the update again"
            ) from error

    def _create(self, name: str, variant: Variant, layer: LayerArn) -> None:
        arguments: dict[str, Any] = {
            "FunctionName": name,
            "Description": f"Lamina's probe of {variant.variant}; deleted when it has answered",
            "Runtime": variant.runtime,
            "Architectures": [variant.architecture],
            "Handler": "probe.handler",
            "Role": self._role,
            "Code": {"ZipFile": self._code},
            "Layers": [layer],
            "Timeout": TIMEOUT_S,
            "MemorySize": MEMORY_MB,
        }
        try:
            self._client.create_function(**arguments)
        except self._client.exceptions.ResourceConflictException:
            self._delete(name)
            self._client.create_function(**arguments)
        self._client.get_waiter("function_active_v2").wait(
            FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )

    def _invoke(self, name: str, question: dict[str, object]) -> ProbeAnswer:
        answer = self._client.invoke(FunctionName=name, Payload=json.dumps(question).encode())
        payload = cast(Any, json.loads(answer["Payload"].read() or b"null"))
        if "FunctionError" in answer:
            reason = f"{payload.get('errorType', 'error')}: {payload.get('errorMessage', '')}"
            return ProbeAnswer(broken=reason[:1000])
        try:
            return ProbeAnswer.model_validate(payload)
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


def _zip(name: str, body: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.create_system = 3
        info.external_attr = 0o100644 << 16
        archive.writestr(info, body, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
