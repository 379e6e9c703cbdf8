"""Errors that a state machine, or a person, is meant to react to.

Step Functions knows a failed Lambda step by its exception's class name, so these names are part of the state
machines' contract. A message says which layer, function, file or key is meant, what Lamina did about it, and what
to do next.
"""

from __future__ import annotations


class LaminaError(Exception):
    """Base of all errors that Lamina raises on purpose."""


class InvalidInput(LaminaError):
    """An execution was started with an input that Lamina does not accept."""


class DefinitionRefused(LaminaError):
    """A layer definition cannot be used as it stands."""


class ResolutionFailed(LaminaError):
    """No acceptable set of packages exists for a variant."""


class IndexUnavailable(LaminaError):
    """The package index gave no usable answer: what is new is unknown, which is not the same as nothing."""


class BuildRefused(LaminaError):
    """A build's result may not be published."""


class SigningFailed(LaminaError):
    """A built layer could not be signed, so it was not published."""


class VerifyFailed(LaminaError):
    """A candidate could not be proven, for reasons that are not the candidate's."""


class RolloutInProgress(LaminaError):
    """Another rollout of the same variant holds the lock."""


class NothingToRestore(LaminaError):
    """A rollback was asked for, and there is nothing it could put back."""


class RolloutClosed(LaminaError):
    """The rollout was ended (rolled back, promoted) while a step of it was still at work."""


class NotRestored(LaminaError):
    """Some functions could not be put back on the old release."""


class ChangedElsewhere(LaminaError):
    """Somebody else changed the function since it was read: read it again and decide anew."""


class Busy(LaminaError):
    """An update of the function is under way: wait until it has settled, then decide anew."""


class Unsettled(LaminaError):
    """A change of a function has not taken effect yet, and this step has waited for as long as it may.

    Attributes:
        function, version, alias: what is waited for: a version of the function, its alias, or its `$LATEST`.
    """

    def __init__(self, function: str, version: str | None = None, alias: str | None = None) -> None:
        what = f"version {version}" if version else f"alias {alias!r}" if alias else "$LATEST"
        super().__init__(f"{function}: the last change of {what} has not taken effect yet; nothing more was changed")
        self.function = function
        self.version = version
        self.alias = alias


class Refused(LaminaError):
    """Lambda will never make this change; the message says why."""


class NotDelivered(LaminaError):
    """EventBridge did not take an event."""


class SecretUnavailable(LaminaError):
    """A secret could not be read, or is empty."""
