"""The lines that Lambda writes about an invocation, and the answers for functions that could not run."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from datetime import datetime

from local.lambdas.environment import Outcome
from local.lambdas.rules import MAX_ANSWER, Refused
from local.lambdas.values import Invocation, Release

TAIL = 4096  # bytes of X-Amz-Log-Result, before base64


def log_lines(release: Release, outcome: Outcome, now: datetime) -> list[str]:
    """START, what the function printed, END, REPORT; a cold start's initialisation comes first, as in Lambda."""
    request, cold = outcome.request_id, outcome.init_ms is not None
    lines = []
    if cold:
        lines.append(f"INIT_START Runtime Version: {_version(release.runtime or '')}.local")
        lines += outcome.init_lines
    lines += [f"START RequestId: {request} Version: {release.version}", *outcome.lines]
    if outcome.timed_out:
        stamp = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"
        lines.append(f"{stamp} {request} Task timed out after {release.timeout:.2f} seconds")
    duration = (
        f"Duration: {outcome.duration_ms:.2f} ms\tBilled Duration: {math.ceil(outcome.duration_ms)} ms\t"
        f"Memory Size: {release.memory} MB\tMax Memory Used: {min(release.memory, outcome.memory_mb)} MB\t"
    )
    if cold:
        duration += f"Init Duration: {outcome.init_ms:.2f} ms\t"
    if outcome.timed_out:
        duration += "Status: timeout"
    elif outcome.broken:
        duration += f"Status: error\tError Type: {_error_type(outcome.payload)}"
    return [*lines, f"END RequestId: {request}", f"REPORT RequestId: {request}\t{duration}"]


def _version(runtime: str) -> str:
    """A runtime's name as its first log line spells it: ``python:3.13``, ``nodejs:22``, ``provided:al2023``."""
    return re.sub(r"^(python|nodejs|provided)\.?(.*?)(\.x)?$", r"\1:\2", runtime)


def tail(lines: list[str]) -> str:
    """The last 4 KB of a log."""
    text = "\n".join(lines) + "\n"
    return text if len(text) <= TAIL else text.encode()[-TAIL:].decode(errors="replace")


def refusal(refused: Refused) -> Invocation:
    """The answer where Lambda does not run the function."""
    body = json.dumps({"Type": "User", "message": refused.message}).encode()
    return Invocation(refused.status, body, refused.code, "", "", 0.0, False)


def not_started(error: Exception) -> Outcome:
    """The outcome where this machine cannot run the function at all; said as Lambda says that a runtime is broken."""
    body = {"errorType": "Runtime.InvalidEntrypoint", "errorMessage": str(error)}
    return Outcome(
        payload=json.dumps(body).encode(),
        error="Unhandled",
        request_id="00000000-0000-4000-a000-000000000000",
        lines=[f"[ERROR] Runtime.InvalidEntrypoint: {error}"],
        init_ms=0.0,
        broken=True,
    )


def too_large(outcome: Outcome) -> Outcome:
    """The outcome in place of an answer that is larger than Lambda passes on."""
    body = {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": f"Response payload size exceeded maximum allowed payload size ({MAX_ANSWER} bytes).",
    }
    return dataclasses.replace(outcome, payload=json.dumps(body).encode(), error="Unhandled")


def _error_type(payload: bytes) -> str:
    try:
        return str(json.loads(payload).get("errorType", "Unknown"))
    except (ValueError, AttributeError):
        return "Unknown"
