"""Secrets Manager: one secret, remembered for a few minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from lamina.errors import SecretUnavailable

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


class Secret:
    """One secret, whose value is plain text.

    Args:
        arn: of the secret.
        lasting: seconds after which the value is read again, so that a new one counts soon.
        now: a clock in seconds that never goes back.
    """

    def __init__(
        self,
        client: SecretsManagerClient,
        arn: str,
        *,
        lasting: float = 300,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._arn = arn
        self._lasting = lasting
        self._now = now
        self._known: tuple[float, str] | None = None

    def value(self) -> str:
        """The secret, without white space around it.

        Raises:
            SecretUnavailable: it cannot be read, or is empty.
        """
        if self._known is None or self._now() >= self._known[0]:
            try:
                text = self._client.get_secret_value(SecretId=self._arn).get("SecretString", "").strip()
            except (ClientError, BotoCoreError) as error:
                raise SecretUnavailable(
                    f"the secret {self._arn} could not be read ({type(error).__name__}); nothing was started"
                ) from error
            if not text:
                raise SecretUnavailable(f"the secret {self._arn} is empty; store a text in it")
            self._known = self._now() + self._lasting, text
        return self._known[1]
