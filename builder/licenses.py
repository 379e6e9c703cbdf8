"""Under which license a package is, as far as it says so itself."""

from __future__ import annotations

from email.message import Message
from typing import Any

_LONGEST = 100
"""What is longer is the text of a license rather than its name."""

_CLASSIFIER = "License :: "
_IDENTIFIERS = {
    "MIT License": "MIT",
    "BSD License": "BSD",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Zope Public License": "ZPL-2.1",
}
"""Classifiers of the package index → SPDX identifiers, where both mean the same (BSD: which one is not said)."""


def python_license(metadata: Message) -> str:
    """From `License-Expression` (PEP 639), else a short `License`, else the classifiers; empty if nothing says it."""
    expression = metadata.get("License-Expression", "").strip()
    text = metadata.get("License", "").strip()
    if expression:
        return expression
    if text and text.upper() != "UNKNOWN" and len(text) <= _LONGEST and "\n" not in text:
        return text
    named = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith(_CLASSIFIER)]
    return " AND ".join(_IDENTIFIERS.get(name, name) for name in named if name != "OSI Approved")


def node_license(package: dict[str, Any]) -> str:
    """From a package.json: an expression today, an object or a list of them in old packages."""
    stated = package.get("license") or package.get("licenses") or ""
    listed = stated if isinstance(stated, list) else [stated]
    names = [item.get("type", "") if isinstance(item, dict) else str(item) for item in listed]
    return " OR ".join(name for name in names if name)[:_LONGEST]
