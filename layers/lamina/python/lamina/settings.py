"""What a function is told by its environment, parsed once when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """A function's environment variables as typed values.

    Attributes:
        registry: name of the DynamoDB table (`REGISTRY`).
        artifacts: name of the bucket (`ARTIFACTS`).
        definitions: the folder that holds one folder per layer definition (`DEFINITIONS`, default `/opt`).
        definitions_location: where in S3 other definitions are (`DEFINITIONS_LOCATION`); empty for nowhere.
        builder: the folder that holds the build script and its buildspec (`BUILDER`, default `/opt`).
        probe_prefix: how the names of probe functions begin (`PROBE_PREFIX`).
        probe_role: ARN of the role that probe functions run as (`PROBE_ROLE`).
        stack: name of this installation, with which the names of its own functions begin (`STACK`).
        function_names: pattern of the functions that this installation may change (`FUNCTION_NAMES`).
        topic: ARN of the topic that outcomes are told to (`TOPIC`).
        rollback: ARN of the rollback state machine (`ROLLBACK`).
        advisories: address of the advisory database (`ADVISORIES`); empty where there is none.
        webhook_secret: ARN of the secret that GitHub signs its deliveries with (`WEBHOOK_SECRET`).
    """

    registry: str
    artifacts: str
    definitions: Path = Path("/opt")
    definitions_location: str = ""
    builder: Path = Path("/opt")
    probe_prefix: str = ""
    probe_role: str = ""
    stack: str = "lamina"
    function_names: str = ""
    topic: str = ""
    rollback: str = ""
    advisories: str = ""
    webhook_secret: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *required: str) -> Settings:
        """Parse the variables.

        Args:
            environment: the process environment.
            required: variables that this function cannot do without, besides `REGISTRY` and `ARTIFACTS`.

        Raises:
            ValueError: a required variable is missing or empty.
        """
        missing = [name for name in ("REGISTRY", "ARTIFACTS", *required) if not environment.get(name)]
        if missing:
            raise ValueError(f"environment variables that this function needs are not set: {', '.join(missing)}")
        return cls(
            registry=environment["REGISTRY"],
            artifacts=environment["ARTIFACTS"],
            definitions=Path(environment.get("DEFINITIONS") or "/opt"),
            definitions_location=environment.get("DEFINITIONS_LOCATION", ""),
            builder=Path(environment.get("BUILDER") or "/opt"),
            probe_prefix=environment.get("PROBE_PREFIX", ""),
            probe_role=environment.get("PROBE_ROLE", ""),
            stack=environment.get("STACK") or "lamina",
            function_names=environment.get("FUNCTION_NAMES", ""),
            topic=environment.get("TOPIC", ""),
            rollback=environment.get("ROLLBACK", ""),
            advisories=environment.get("ADVISORIES", ""),
            webhook_secret=environment.get("WEBHOOK_SECRET", ""),
        )
