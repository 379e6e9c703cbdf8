"""The inputs of the update state machine that steer what is under way, instead of starting something.

`{"rollout": "pause" | "resume" | "promote", "layer": "<variant>"}` is about one rollout, `{"paused": true | false}` is
the switch that stops everything; both may have a `"reason"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lamina.errors import InvalidInput
from lamina.model import Model

ACCEPTED = (
    'to steer a rollout that is under way {"rollout": "pause"}, "resume" or "promote" with "layer", the name of its '
    'variant; to stop everything, or let it go on, {"paused": true} or false; both may have a "reason" (a text). A '
    'rollout is put back with the state machine rollback and {"layer": "<variant>"}'
)
ACTIONS = ("pause", "resume", "promote")
_LONGEST = 500


class Steering(Model):
    """What a person asks for: of the rollout of a variant, or of everything (None)."""

    action: Literal["pause", "resume", "promote"]
    variant: str | None = None
    reason: str = ""


def parse_steering(given: Mapping[str, Any]) -> Steering | None:
    """Read what a person asks for; None where the input is about something else.

    Args:
        given: the keys of the input, without those that Step Functions adds.

    Raises:
        InvalidInput: it steers, but not as is accepted.
    """
    if "rollout" in given:
        return _of_rollout(given)
    return _of_everything(given) if "paused" in given else None


def _of_rollout(given: Mapping[str, Any]) -> Steering:
    _only(given, "rollout", ("rollout", "layer", "reason"))
    action, variant = given["rollout"], given.get("layer")
    if action not in ACTIONS:
        raise _invalid(f'"rollout" must be one of "pause", "resume" and "promote", not {action!r}')
    if not isinstance(variant, str) or not variant:
        raise _invalid('"rollout" needs "layer", the name of a variant such as "web-python313-arm64"')
    return Steering(action=action, variant=variant, reason=_reason(given))


def _of_everything(given: Mapping[str, Any]) -> Steering:
    _only(given, "paused", ("paused", "reason"))
    if not isinstance(given["paused"], bool):
        raise _invalid(f'"paused" must be true or false, not {given["paused"]!r}')
    return Steering(action="pause" if given["paused"] else "resume", reason=_reason(given))


def _only(given: Mapping[str, Any], key: str, known: tuple[str, ...]) -> None:
    if unknown := sorted(set(given) - set(known)):
        others = ", ".join(f'"{name}"' for name in known if name != key)
        raise _invalid(f'"{unknown[0]}" does not go together with "{key}"; known beside it: {others}')


def _reason(given: Mapping[str, Any]) -> str:
    reason = given.get("reason", "")
    if not isinstance(reason, str):
        raise _invalid(f'"reason" must be a text, not {reason!r}')
    return " ".join(reason.split())[:_LONGEST]


def _invalid(problem: str) -> InvalidInput:
    return InvalidInput(f"{problem}. Accepted are, {ACCEPTED}.")
