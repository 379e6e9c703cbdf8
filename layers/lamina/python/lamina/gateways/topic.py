"""The topic that outcomes are told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class Topic:
    """One SNS topic."""

    def __init__(self, client: SNSClient, arn: str) -> None:
        self._client = client
        self._arn = arn

    def tell(self, subject: str, text: str) -> None:
        """Send a message. SNS takes printable ASCII as a subject, and 256 KiB as a message."""
        plain = "".join(sign if " " <= sign <= "~" else "?" for sign in subject)
        self._client.publish(TopicArn=self._arn, Subject=plain[:100] or "Lamina", Message=text[:200_000])
