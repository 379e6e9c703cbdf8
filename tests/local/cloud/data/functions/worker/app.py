"""A function that does as its event says."""

import os
import time
from typing import Any

import plain  # type: ignore[import-not-found]


class InvalidInput(Exception):
    """An error with a name that a state machine can react to."""


_COUNTS: dict[str, int] = {}


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    if event.get("sleep"):
        time.sleep(event["sleep"])
    if event.get("fail"):
        raise InvalidInput(event["fail"])
    if "fail_until" in event:
        count = _COUNTS[event["key"]] = _COUNTS.get(event["key"], 0) + 1
        if count < event["fail_until"]:
            raise RuntimeError(f"attempt {count}")
    if event.get("size"):
        return {"text": "x" * event["size"]}
    return {"event": event, "layer": plain.NAME, "table": os.environ["TABLE"]}
