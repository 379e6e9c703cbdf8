"""CloudWatch Logs of the functions that run here, kept in moto and stamped with virtual time.

moto refuses events that are far from the wall clock, as CloudWatch does; a replay of another year would lose them all.
So events are put straight into its streams. Its filter patterns are replaced too: it knows single terms only, and
answers everything for what it does not know.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import moto.logs.models
from moto.logs.exceptions import InvalidParameterException
from moto.logs.models import LogEvent, logs_backends

from local.patches import Patches

_TOKEN = re.compile(r'\s*([?-]?)("(?:[^"\\]|\\.)*"|%[^%]+%|[^\s"]+)')


class FilterPattern:
    """A CloudWatch Logs filter pattern for unstructured text.

    Terms and quoted phrases must all occur; of those marked ``?`` any; those marked ``-`` must not occur; ``%…%`` is a
    regular expression. As in CloudWatch ``?`` counts only where every term has it. Patterns for JSON or space-delimited
    events are refused.
    """

    def __init__(self, pattern: str | None) -> None:
        pattern = (pattern or "").strip()
        if pattern.startswith(("{", "[")):
            raise InvalidParameterException(msg="Filter patterns for JSON and space-delimited events do not work here")
        terms = [(sign, _term(text)) for sign, text in _TOKEN.findall(pattern)]
        self._all = [term for sign, term in terms if not sign]
        self._none = [term for sign, term in terms if sign == "-"]
        self._any = [term for sign, term in terms if sign == "?"] if not self._all else []

    def matches(self, message: str) -> bool:
        """Whether an event's message passes."""
        return (
            all(term.search(message) for term in self._all)
            and not any(term.search(message) for term in self._none)
            and (not self._any or any(term.search(message) for term in self._any))
        )


def _term(text: str) -> re.Pattern[str]:
    if text.startswith("%"):
        return re.compile(text[1:-1])
    if text.startswith('"'):
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    return re.compile(re.escape(text))


class LogWriter:
    """Writes events of one account and region. Thread safe."""

    def __init__(self, account: str, region: str) -> None:
        self._account = account
        self._region = region
        self._lock = threading.Lock()

    def write(self, group: str, stream: str, events: Iterable[tuple[int, str]], now: datetime) -> None:
        """Append (milliseconds since 1970, message) pairs, creating group and stream as Lambda does."""
        backend = logs_backends[self._account][self._region]
        naive = now.replace(tzinfo=None)
        ingested = int(now.timestamp() * 1000)
        with self._lock:
            if group not in backend.groups:
                backend.create_log_group(group, {})
            streams = backend.groups[group].streams
            if stream not in streams:
                backend.groups[group].create_log_stream(stream)
                streams[stream].creation_time = naive
            target = streams[stream]
            added = [LogEvent(ingested, {"timestamp": at, "message": message}) for at, message in events]
            target.events += added
            target.stored_bytes += sum(len(event.message) for event in added)
            target.last_ingestion_time = naive


def install(patches: Patches) -> None:
    """Make moto's FilterLogEvents understand filter patterns."""
    owner: Any = moto.logs.models
    patches.replace(owner, "EventMessageFilter", FilterPattern)
