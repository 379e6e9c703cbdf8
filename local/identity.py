"""Who calls: every role has an access key of its own, and everything else is the operator."""

from __future__ import annotations

import hashlib
import threading

OPERATOR = "operator"
SECRET = "local"


class Identities:
    """Access keys of roles; the same role always has the same key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._roles: dict[str, str] = {}

    def access_key(self, role: str) -> str:
        """The access key of a role's name or ARN."""
        name = role.rsplit("/", 1)[-1]
        key = "AKIA" + hashlib.sha256(name.encode()).hexdigest()[:16].upper()
        with self._lock:
            self._roles[key] = name
        return key

    def caller(self, access_key: str) -> str:
        """The role's name behind an access key, or `operator`."""
        with self._lock:
            return self._roles.get(access_key, OPERATOR)
