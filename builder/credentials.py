"""What looks like a credential: nothing that belongs into a layer, which whoever may attach it can read.

Only shapes that their makers gave them on purpose are looked for, so that an ordinary file is never taken for one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_BASE64 = rb"[A-Za-z0-9+/]"
_SHAPES: tuple[tuple[str, bytes], ...] = (
    # The words alone stand in every library that reads keys: a key begins after them, on the next line.
    ("a private key", rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\\r|\\n|\s)+(?:[A-Za-z-]+: [^\n]*\s+)*"
                      + _BASE64 + rb"{16,}"),
    ("an AWS secret access key", rb"(?i:aws_?secret_?access_?key|secret_?access_?key)[\"']?\s*[:=]\s*[\"']?("
                                 + _BASE64 + rb"{40})(?!" + _BASE64 + rb")"),
    ("a GitHub token", rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})"),
    ("a GitLab token", rb"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("a Slack token", rb"\bxox[abeoprs]-[0-9A-Za-z-]{20,}"),
    ("a Stripe key", rb"\b[rs]k_live_[0-9A-Za-z]{20,}"),
    ("a Google API key", rb"\bAIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),
    ("a package index token", rb"\bpypi-AgE[A-Za-z0-9_-]{50,}"),
    ("an npm token", rb"\bnpm_[A-Za-z0-9]{36}(?![A-Za-z0-9])|_authToken\s*=\s*(?!\$\{)[A-Za-z0-9._-]{16,}"),
    ("a password of a .netrc", rb"(?m)^\s*machine\s+\S+\s+login\s+\S+\s+password\s+\S+"),
)  # fmt: skip
_PATTERNS = tuple((what, re.compile(shape)) for what, shape in _SHAPES)
_KEY_ID = re.compile(rb"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Z0-9])")
_SECRET = re.compile(rb"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=])")
_NEAR = 500
"""An access key's secret stands within so many bytes of its ID, or it is only an ID, which is not a secret."""
_EXAMPLE = b"EXAMPLE"
"""AWS's own documentation ends its made-up keys like this."""


class Secret(NamedTuple):
    """What was found, and in which line; never the thing itself."""

    what: str
    line: int


def find_secret(body: bytes) -> Secret | None:
    """The first thing in a file that looks like a credential; None if there is none."""
    found = [
        (match.start(), what)
        for what, pattern in _PATTERNS
        for match in pattern.finditer(body)
        if _EXAMPLE not in match[0]
    ]
    for match in _KEY_ID.finditer(body):
        around = body[max(0, match.start() - _NEAR) : match.end() + _NEAR]
        if _EXAMPLE not in match[0] and any(_mixed(secret[0]) for secret in _SECRET.finditer(around)):
            found.append((match.start(), "an AWS access key"))
    if not found:
        return None
    position, what = min(found)
    return Secret(what, body.count(b"\n", 0, position) + 1)


def _mixed(word: bytes) -> bool:
    """Whether a word is random rather than a hash in hexadecimal or a path."""
    return any(map(bytes.isupper, _each(word))) and any(map(bytes.islower, _each(word))) and _EXAMPLE not in word


def _each(word: bytes) -> list[bytes]:
    return [word[place : place + 1] for place in range(len(word))]
