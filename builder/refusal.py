"""How a build says no."""

from __future__ import annotations


class Refused(Exception):
    """The result may not be published; the message names the layer and the file or package."""
