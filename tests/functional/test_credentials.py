"""How definitions reach indexes of their own: secrets, tokens of CodeArtifact, and what must never be told."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from lamina.errors import DefinitionRefused, IndexUnavailable
from lamina.gateways.credentials import Credentials
from lamina.model import Variant
from lamina.resolution import Access
from lamina.tables import IndexTable, RegistryTable

from .conftest import REGION, Cloud

ARN = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:wheels-a1b2c3"
REPOSITORY = f"arn:aws:codeartifact:{REGION}:210987654321:repository/acme/wheels"
URL = "https://index.example.com/simple/"
VARIANT = Variant(variant="web-python313-arm64", layer="web", runtime="python3.13", architecture="arm64")
WORD = "a-secret-word"


def table(**keys: Any) -> IndexTable:
    return IndexTable.model_validate({"url": URL, **keys}, strict=False)


def stored(text: str) -> str:
    return str(boto3.client("secretsmanager").create_secret(Name="wheels", SecretString=text)["ARN"])


def credentials(client: Any = None) -> Credentials:
    return Credentials(client or boto3.client("secretsmanager"), lambda region: pytest.fail("asked CodeArtifact"))


@pytest.mark.parametrize(
    ("text", "username", "password"),
    [
        (json.dumps({"username": "reader", "password": WORD}), "reader", WORD),
        (json.dumps({"token": WORD}), "__token__", WORD),
        (json.dumps({"username": "reader", "token": WORD, "note": "rotated"}), "reader", WORD),
        (f"  {WORD}\n", "__token__", WORD),
        (json.dumps({"token": WORD, "url": "https://index.example.com"}), "__token__", WORD),
    ],
)
def test_a_secret_has_one_of_three_forms(cloud: Cloud, text: str, username: str, password: str) -> None:
    access = credentials().of(table(secret=stored(text), packages=("acme-*",)), VARIANT)

    assert access == Access(URL, username, password, ("acme-*",))
    assert WORD not in repr(access)


def test_an_index_without_a_secret_is_asked_as_nobody(cloud: Cloud) -> None:
    assert credentials().of(table(), VARIANT) == Access(URL)
    registry = RegistryTable.model_validate({"url": URL, "scopes": ("@acme",)}, strict=False)
    assert credentials().of(registry, VARIANT) == Access(URL, packages=("@acme",))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"user": "x", "pass": WORD}),
        json.dumps({"username": "", "password": WORD}),
        json.dumps({"token": [WORD]}),
        '{"token": "' + WORD,
    ],
)
def test_a_secret_in_another_form_is_refused_and_never_repeated(cloud: Cloud, text: str) -> None:
    with pytest.raises(DefinitionRefused) as refused:
        credentials().of(table(secret=stored(text)), VARIANT)

    assert str(refused.value).startswith(
        "web-python313-arm64: layer.toml: python.index.secret: the secret holds neither"
    )
    assert WORD not in str(refused.value)


@pytest.mark.parametrize("url", ["https://index.example.com.evil.org/", "https://index.example.com/other", "https://x"])
def test_a_secret_that_says_whom_it_is_for_goes_to_nobody_else(cloud: Cloud, url: str) -> None:
    secret = stored(json.dumps({"token": WORD, "url": "https://index.example.com/simple"}))

    with pytest.raises(DefinitionRefused, match="the secret is for another index") as refused:
        credentials().of(table(url=url, secret=secret), VARIANT)

    assert WORD not in str(refused.value)


class Refusing:
    """Secrets Manager, or CodeArtifact, that refuses everything."""

    def __init__(self, code: str) -> None:
        self._code = code

    def __getattr__(self, name: str) -> Any:
        def call(**_: Any) -> Any:
            raise ClientError({"Error": {"Code": self._code, "Message": "no"}}, name)

        return call


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ("ResourceNotFoundException", DefinitionRefused, "cannot be used (ResourceNotFoundException); correct it"),
        ("AccessDeniedException", DefinitionRefused, "name it in the stack's parameter"),
        ("ThrottlingException", IndexUnavailable, "what is new is unknown; the next run asks again"),
    ],
)
def test_what_cannot_be_asked_is_said_with_key_and_remedy(
    cloud: Cloud, code: str, error: type[Exception], says: str
) -> None:
    client: Any = Refusing(code)
    refusing = Credentials(client, lambda region: client)

    for one, key in ((table(secret=ARN), "secret"), (table(url=None, codeartifact=REPOSITORY), "codeartifact")):
        with pytest.raises(error) as raised:
            refusing.of(one, VARIANT)
        assert str(raised.value).startswith(f"web-python313-arm64: layer.toml: python.index.{key}: ")
        assert says in str(raised.value)


def test_an_empty_secret_is_refused(cloud: Cloud) -> None:
    with pytest.raises(DefinitionRefused, match="is empty; store the credentials in it"):
        credentials().of(table(secret=stored("  ")), VARIANT)


def test_a_secret_is_read_again_after_a_few_minutes(cloud: Cloud) -> None:
    secret, clock = stored(WORD), [0.0]
    gateway = Credentials(boto3.client("secretsmanager"), lambda region: pytest.fail(), now=lambda: clock[0])

    assert gateway.of(table(secret=secret), VARIANT).password == WORD
    boto3.client("secretsmanager").put_secret_value(SecretId=secret, SecretString="another")
    assert gateway.of(table(secret=secret), VARIANT).password == WORD
    clock[0] = 301
    assert gateway.of(table(secret=secret), VARIANT).password == "another"


@pytest.mark.parametrize(("form", "path"), [("pypi", "simple/"), ("npm", "")])
def test_codeartifact_gives_an_address_and_a_token_for_a_short_while(cloud: Cloud, form: str, path: str) -> None:
    endpoint = f"https://acme-210987654321.d.codeartifact.{REGION}.amazonaws.com/{form}/wheels/"
    client = boto3.client("codeartifact", region_name=REGION)
    regions: list[str] = []
    repository = {"domain": "acme", "domainOwner": "210987654321"}
    with Stubber(client) as stub:
        stub.add_response(
            "get_repository_endpoint",
            {"repositoryEndpoint": endpoint},
            {**repository, "repository": "wheels", "format": form},
        )
        stub.add_response(
            "get_authorization_token", {"authorizationToken": WORD}, {**repository, "durationSeconds": 900}
        )
        gateway = Credentials(boto3.client("secretsmanager"), lambda region: regions.append(region) or client)
        model: Any = IndexTable if form == "pypi" else RegistryTable
        wanted = model.model_validate({"codeartifact": REPOSITORY})

        first, second = gateway.of(wanted, VARIANT), gateway.of(wanted, VARIANT)

        stub.assert_no_pending_responses()
    assert first == second == Access(endpoint + path, "aws", WORD)
    assert regions == [REGION]
