"""The input of the rollback state machine: who asks for it, and what for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lamina.errors import InvalidInput

ACCEPTED = (
    'Accepted are {"layer": "<variant>"} (back to the promoted release) and '
    '{"layer": "<variant>", "version": 12} (to an older release), for example {"layer": "web-python313-arm64"}.'
)


@dataclass(frozen=True)
class UndoRollout:
    """Put back what one rollout changed: all of it, or only some functions, while it goes on with the others."""

    rollout: str
    kind: Literal["harmful", "undecided", "alarm", "error", "stopped", "superseded", "declined", "person"]
    text: str
    functions: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReturnTo:
    """Bring a variant's fleet to a release that a person chose; None is the promoted one."""

    variant: str
    version: int | None


def parse(raw: Any) -> UndoRollout | ReturnTo:
    """Read the input of `rollback`.

    Raises:
        InvalidInput: it is none of the accepted forms; the message says what was wrong.
    """
    if not isinstance(raw, dict):
        raise InvalidInput(f"The input of rollback must be a JSON object, not {type(raw).__name__}. {ACCEPTED}")
    if raw.get("source") == "aws.states":
        return _from_event(raw)
    known = {key: value for key, value in raw.items() if not key.startswith("AWS_STEP_FUNCTIONS_")}
    if "rollout" in known:
        return _from_workflow(known)
    return _from_person(known)


def _from_person(raw: dict[str, Any]) -> ReturnTo:
    if unknown := sorted(set(raw) - {"layer", "version"}):
        raise InvalidInput(f"The input of rollback has an unknown key {unknown[0]!r}. {ACCEPTED}")
    layer, version = raw.get("layer"), raw.get("version")
    if not isinstance(layer, str) or not layer:
        raise InvalidInput(f"The input of rollback lacks 'layer', the name of a variant. {ACCEPTED}")
    if "version" in raw and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
        raise InvalidInput(f"'version' must be the number of a layer version, not {version!r}. {ACCEPTED}")
    return ReturnTo(layer, version)


def _from_workflow(raw: dict[str, Any]) -> UndoRollout:
    cause = raw.get("cause")
    if not isinstance(raw["rollout"], str) or not isinstance(cause, dict):
        raise InvalidInput(f"'rollout' and 'cause' are for Lamina's own use. {ACCEPTED}")
    functions = raw.get("functions", [])
    if not isinstance(functions, list) or ("functions" in raw and not functions):
        raise InvalidInput(f"'functions' is for Lamina's own use, and names at least one. {ACCEPTED}")
    names = tuple(str(name) for name in functions)
    return UndoRollout(raw["rollout"], cause.get("kind", "error"), str(cause.get("text", "")), names)


def _from_event(raw: dict[str, Any]) -> UndoRollout:
    detail = raw.get("detail")
    if not isinstance(detail, dict) or not isinstance(detail.get("executionArn"), str):
        raise InvalidInput("The event has no detail.executionArn: it is not a change of an execution's status.")
    status = str(detail.get("status", "stopped"))
    said = ": ".join(str(detail[key]) for key in ("error", "cause") if detail.get(key))
    text = f"the rollout's execution ended as {status}" + (f" ({said})" if said else "")
    kind: Literal["error", "stopped"] = "error" if status == "FAILED" else "stopped"
    return UndoRollout(detail["executionArn"].rsplit(":", 1)[1], kind, text)
