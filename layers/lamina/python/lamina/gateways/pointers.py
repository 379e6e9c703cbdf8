"""SSM parameters that templates can reference: `/<stack>/<variant>` is the promoted layer version's ARN."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


class Pointers:
    """The parameters under one prefix, which begins and ends with a slash."""

    def __init__(self, client: SSMClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def publish(self, variant: str, arn: str) -> None:
        """Let the variant's parameter hold this layer version's ARN."""
        self._client.put_parameter(
            Name=f"{self._prefix}{variant}",
            Description="Promoted layer version, kept by Lamina",
            Value=arn,
            Type="String",
            Overwrite=True,
        )
