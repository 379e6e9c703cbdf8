"""What every creator of a resource may use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.models import service_model


@dataclass(frozen=True)
class Context:
    """The stack being deployed: clients, names, and the sources of code and definitions."""

    stack: str
    account: str
    region: str
    client: Callable[[str], Any]
    cache: Path
    paths: Mapping[str, Path]
    build_methods: Mapping[str, str]

    def name(self, logical: str, *, lower: bool = False, limit: int = 64) -> str:
        """A physical name as CloudFormation makes one: stack, logical ID and something unique, always the same."""
        unique = hashlib.sha256(f"{self.stack}/{logical}".encode()).hexdigest()[:12].upper()
        name = f"{self.stack}-{logical}"[: limit - 13] + f"-{unique}"
        return name.lower() if lower else name

    def arn(self, service: str, rest: str) -> str:
        """An ARN of this account and region."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{rest}"


def shape(service: str, operation: str) -> Any:
    """The botocore shape of an operation's input."""
    return service_model(service).operation_model(operation).input_shape


def tags(value: Any) -> dict[str, str]:
    """Tags as a map, from CloudFormation's list or map."""
    if isinstance(value, Mapping):
        return {key: str(item) for key, item in value.items()}
    return {tag["Key"]: str(tag["Value"]) for tag in value or []}
