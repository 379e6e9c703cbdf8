"""What stops a deployment."""

from __future__ import annotations


class DeployError(Exception):
    """A template that cannot be deployed here; the message names the resource, the key and the remedy."""
