"""What single values of a `layer.toml` may be; each refuses others with what is wrong and what to write instead."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field

from lamina import windows


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{', '.join(repr(value) for value in twice)} stands there twice; name each once")
    return values


def _account(value: str) -> str:
    if re.fullmatch(_ACCOUNT, value) is None:
        raise ValueError(f"{value!r} is not an AWS account's number; give its 12 digits as text")
    return value


def _organization(value: str) -> str:
    if re.fullmatch(_ORGANIZATION, value) is None:
        raise ValueError(f"{value!r} is not an AWS organization's id; it looks like o-a1b2c3d4e5")
    return value


def _profile(value: str) -> str:
    if re.fullmatch(_PROFILE, value) is None:
        raise ValueError(
            f"{value!r} is not the name of a signing profile in AWS Signer; those have 2 to 64 letters, digits and '_'"
        )
    return value


def _rising(waves: tuple[int, ...]) -> tuple[int, ...]:
    if list(waves) != sorted(set(waves)) or not all(1 <= wave <= 100 for wave in waves) or waves[-1] != 100:
        raise ValueError("must be percentages that rise and end with 100, such as [10, 50, 100]")
    return waves


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{value!r} is not an address ({error}); write for example {_EXAMPLE!r}") from error
    if parts.username is not None or parts.password is not None:
        # The address is not repeated: it holds a password.
        raise ValueError("holds a user name or password; store them in Secrets Manager and name that in `secret`")
    if "?" in value or "#" in value:
        raise ValueError("has a '?' or '#'; end it before, and store a token in Secrets Manager (see `secret`)")
    if not parts.hostname or re.search(r"\s", value):
        raise ValueError(f"{value!r} is not an index's address; write for example {_EXAMPLE!r}")
    if parts.scheme != "https" and not _stays_here(parts):
        raise ValueError(f"{value!r} is not encrypted on its way; use an address that begins with https://")
    return value


def _stays_here(parts: SplitResult) -> bool:
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")


def _repository(value: str) -> str:
    if re.fullmatch(_CODEARTIFACT, value) is None:
        raise ValueError(
            f"{value!r} is not a CodeArtifact repository's ARN; it looks like "
            "arn:aws:codeartifact:eu-central-1:123456789012:repository/domain/repository"
        )
    return value


def _secret(value: str) -> str:
    if re.fullmatch(_SECRET, value) is None:
        # It is not repeated: it may be the secret itself.
        raise ValueError(
            "must be the ARN of a secret in Secrets Manager, arn:aws:secretsmanager:...; store the credentials there "
            "and never here"
        )
    return value


def _pattern(value: str) -> str:
    if re.fullmatch(_PATTERN, value) is None:
        raise ValueError(
            f"{value!r} is not a package's name or a pattern of names; use letters, digits, '-', '_' and '.', and '*' "
            "for any of them, such as acme-*"
        )
    if not value.strip("*"):
        raise ValueError(f"{value!r} means every package; leave `packages` out for that")
    return value


def _scope(value: str) -> str:
    if re.fullmatch(_SCOPE, value) is None:
        raise ValueError(f"{value!r} is not a scope of npm; it begins with @ and has no '/', such as @acme")
    return value


def _window(value: str) -> str:
    windows.parse(value)
    return value


_ACCOUNT = r"^[0-9]{12}$"
_ORGANIZATION = r"^(o-[a-z0-9]{10,32})?$"
_PROFILE = r"^([a-zA-Z0-9_]{2,64})?$"
_CODEARTIFACT = (
    r"^arn:aws[a-z-]*:codeartifact:[a-z]{2}[a-z0-9-]*:[0-9]{12}:repository/[a-z][a-z0-9-]{0,48}[a-z0-9]/"
    r"[A-Za-z0-9][A-Za-z0-9._-]{1,99}$"
)
_SECRET = r"^arn:aws[a-z-]*:secretsmanager:[a-z]{2}[a-z0-9-]*:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]{1,512}$"
_PATTERN = r"^[A-Za-z0-9*]([A-Za-z0-9._*-]*[A-Za-z0-9*])?$"
_URL = r"^(https://[^\s/?#@]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?)(/[^\s?#]*)?$"
_SCOPE = r"^@[a-z0-9~][a-z0-9._~-]*$"
_EXAMPLE = "https://index.example.com/simple/"


def _shape(pattern: str) -> Any:
    return Field(json_schema_extra={"pattern": pattern})


Runtime = Literal["python3.9", "python3.10", "python3.11", "python3.12", "python3.13", "python3.14", "nodejs20.x",
                  "nodejs22.x", "nodejs24.x", "provided.al2", "provided.al2023"]  # fmt: skip
Architecture = Literal["x86_64", "arm64"]
Unique = Field(json_schema_extra={"uniqueItems": True})
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], AfterValidator(_unique), Unique]
Address = Annotated[str, AfterValidator(_address), _shape(_URL)]
Percentage = Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": 100})]
Repository = Annotated[str, AfterValidator(_repository), _shape(_CODEARTIFACT)]
Secret = Annotated[str, AfterValidator(_secret), _shape(_SECRET)]
Patterns = Annotated[
    tuple[Annotated[str, AfterValidator(_pattern), _shape(_PATTERN)], ...], AfterValidator(_unique), Unique
]
Scopes = Annotated[tuple[Annotated[str, AfterValidator(_scope), _shape(_SCOPE)], ...], AfterValidator(_unique), Unique]
Runtimes = Annotated[tuple[Runtime, ...], AfterValidator(_unique), Unique]
Architectures = Annotated[tuple[Architecture, ...], AfterValidator(_unique), Unique]
Waves = Annotated[tuple[Percentage, ...], AfterValidator(_rising), Unique]
Windows = Annotated[
    tuple[Annotated[str, AfterValidator(_window), _shape(windows.PATTERN)], ...], AfterValidator(_unique), Unique
]
Account = Annotated[str, AfterValidator(_account), _shape(_ACCOUNT)]
Organization = Annotated[str, AfterValidator(_organization), _shape(_ORGANIZATION)]
Profile = Annotated[str, AfterValidator(_profile), _shape(_PROFILE)]
