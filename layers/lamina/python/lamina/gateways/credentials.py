"""How to reach a definition's own index: credentials from Secrets Manager, tokens from CodeArtifact."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from lamina.errors import DefinitionRefused, IndexUnavailable, SecretUnavailable
from lamina.gateways.secrets import Secret
from lamina.model import Variant
from lamina.resolution import Access
from lamina.tables import IndexTable, RegistryTable

if TYPE_CHECKING:
    from mypy_boto3_codeartifact import CodeArtifactClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

TOKEN_USER = "__token__"
"""The user name that goes with a token where the secret has no other."""

_TOKEN_S = 900
"""Seconds that a token of CodeArtifact is good for; 15 minutes is the shortest there is, and a check takes less."""
_KEPT_S = 300
_DENIED = frozenset({"AccessDeniedException", "AccessDenied"})
_WRONG = frozenset({"ResourceNotFoundException", "ValidationException", "InvalidRequestException"})


class Credentials:
    """Gives access to the indexes that definitions name.

    Args:
        secrets: the client for secrets.
        codeartifact: makes the client for a region; called for repositories of CodeArtifact only.
        now: a clock in seconds that never goes back.
    """

    def __init__(
        self,
        secrets: SecretsManagerClient,
        codeartifact: Callable[[str], CodeArtifactClient],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = secrets
        self._codeartifact = codeartifact
        self._now = now
        self._secrets: dict[str, Secret] = {}
        self._repositories: dict[tuple[str, str], tuple[float, str, str]] = {}

    def of(self, table: IndexTable | RegistryTable, variant: Variant) -> Access:
        """How to reach the index that a definition names.

        Raises:
            DefinitionRefused: it names something that is not there, is not for it, or that Lamina may not read.
            IndexUnavailable: the credentials could not be asked for.
        """
        at = f"{variant.variant}: {key_of(table)}"
        packages = table.packages if isinstance(table, IndexTable) else table.scopes
        if table.codeartifact is not None:
            url, token = self._repository(at, table.codeartifact, "pypi" if isinstance(table, IndexTable) else "npm")
            return Access(url, "aws", token, packages)
        url = str(table.url)
        if table.secret is None:
            return Access(url, packages=packages)
        username, password = _pair(f"{at}.secret", self._secret(f"{at}.secret", table.secret), url)
        return Access(url, username, password, packages)

    def _secret(self, at: str, arn: str) -> str:
        secret = self._secrets.setdefault(arn, Secret(self._client, arn, lasting=_KEPT_S, now=self._now))
        try:
            return secret.value()
        except SecretUnavailable as error:
            if error.__cause__ is None:
                raise DefinitionRefused(f"{at}: {arn} is empty; store the credentials in it. {_NOTHING}") from error
            raise _failed(at, arn, error.__cause__, "PrivateIndexSecrets", "secretsmanager:GetSecretValue") from error

    def _repository(self, at: str, arn: str, form: Any) -> tuple[str, str]:
        known = self._repositories.get((arn, form))
        if known is not None and self._now() < known[0]:
            return known[1], known[2]
        _, _, _, region, owner, name = arn.split(":", 5)
        _, domain, repository = name.split("/")
        client = self._codeartifact(region)
        try:
            url = client.get_repository_endpoint(domain=domain, domainOwner=owner, repository=repository, format=form)[
                "repositoryEndpoint"
            ]
            token = client.get_authorization_token(domain=domain, domainOwner=owner, durationSeconds=_TOKEN_S)
        except (ClientError, BotoCoreError) as error:
            actions = "codeartifact:GetRepositoryEndpoint and GetAuthorizationToken"
            raise _failed(f"{at}.codeartifact", arn, error, "CodeArtifactRepositories", actions) from error
        url = f"{url.rstrip('/')}/simple/" if form == "pypi" else url
        self._repositories[arn, form] = self._now() + _KEPT_S, url, token["authorizationToken"]
        return url, token["authorizationToken"]


_NOTHING = "Nothing was changed"


def key_of(table: IndexTable | RegistryTable) -> str:
    """The table's name in the file, for messages."""
    return "layer.toml: python.index" if isinstance(table, IndexTable) else "layer.toml: nodejs.registry"


def _pair(at: str, text: str, url: str) -> tuple[str, str]:
    """User name and password in a secret's text.

    Raises:
        DefinitionRefused: they are not there, or they are for another index. The text is never repeated.
    """
    if not text.startswith("{"):
        return TOKEN_USER, text
    try:
        kept = json.loads(text)
    except ValueError:
        kept = {}
    username, password = kept.get("username", TOKEN_USER), kept.get("password", kept.get("token"))
    if not (isinstance(username, str) and isinstance(password, str) and username and password):
        raise DefinitionRefused(
            f'{at}: the secret holds neither {{"username": ..., "password": ...}} nor {{"token": ...}} nor a token as '
            f"plain text; store it in one of these forms. {_NOTHING}"
        )
    own = kept.get("url")
    if own is not None and not f"{url.rstrip('/')}/".startswith(f"{str(own).rstrip('/')}/"):
        raise DefinitionRefused(
            f'{at}: the secret is for another index than {url} (its "url"), so it was not sent there; correct one of '
            f"them. {_NOTHING}"
        )
    return username, password


def _failed(
    at: str, arn: str, error: BaseException, parameter: str, actions: str
) -> DefinitionRefused | IndexUnavailable:
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
    if code in _DENIED:
        return DefinitionRefused(
            f"{at}: Lamina may not read {arn}; name it in the stack's parameter {parameter} (it needs {actions}). "
            f"{_NOTHING}"
        )
    if code in _WRONG:
        return DefinitionRefused(f"{at}: {arn} cannot be used ({code}); correct it. {_NOTHING}")
    return IndexUnavailable(
        f"{at}: {arn} could not be asked for credentials ({code}). {_NOTHING}, what is new is unknown; the next run "
        "asks again"
    )
