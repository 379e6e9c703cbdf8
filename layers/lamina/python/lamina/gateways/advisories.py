"""An advisory database that speaks the API of OSV: which advisories the packages of a lock have.

Whatever could not be asked, wholly or in part, is said in `Advice.unknown`: no answer is not a clean one.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeAlias

import urllib3

from lamina.gateways.web import Web
from lamina.model import Advice, Ecosystem
from lamina.osv import Pin, Record, judge, pins_of

Named: TypeAlias = tuple[str, str]
"""An advisory's id, and when it was last modified, as the database answers a query."""

_QUERIES_PER_CALL = 1000
_PAGES = 20
_AT_ONCE = 8
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_PAUSE = 60.0
"""Seconds for which a database that could not be reached is not tried again."""
_SHOWN = 5


class NoAnswer(Exception):
    """The database gave no usable answer to one request; the message says why."""


class Advisories:
    """An advisory database.

    Args:
        url: of the service, without `/v1`; empty where there is none, and then everything is unknown.
        environment: the process environment, of which proxy settings are respected.
        connect: seconds until a connection must stand.
        read: seconds until an answer must have begun.
        now: a clock in seconds that never goes back.
    """

    def __init__(
        self,
        url: str,
        environment: Mapping[str, str] | None = None,
        *,
        connect: float = 5,
        read: float = 20,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url.rstrip("/")
        self._now = now
        self._down: tuple[float, str] | None = None
        self._records: dict[Named, Record] = {}
        self._http = Web(environment or {}, at_once=_AT_ONCE).to(self._url)
        self._timeout = urllib3.Timeout(connect=connect, read=read)
        # A connection that cannot be made is not tried again here: the next run asks again.
        self._retries = urllib3.Retry(
            total=2,
            connect=0,
            read=1,
            status=2,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,
            backoff_factor=0.3,
            backoff_max=2,
            respect_retry_after_header=False,
            redirect=False,
            raise_on_status=False,
        )

    def look_up(self, pins: Mapping[Ecosystem, Mapping[str, str]], as_of: datetime) -> Advice:
        """What is known of a lock as of a moment.

        Args:
            pins: for each ecosystem, package to version; PyPI names in any spelling, npm names also as paths.
            as_of: advisories published later are left out (aware UTC).
        """
        return self.look_up_all({"": pins_of(pins)}, as_of)[""]

    def look_up_all(self, locks: Mapping[str, Iterable[Pin]], as_of: datetime) -> dict[str, Advice]:
        """What is known of several locks; a package that many of them have is asked about once."""
        wanted = {name: tuple(dict.fromkeys(pins)) for name, pins in locks.items()}
        named, missing = self._query(sorted({pin for pins in wanted.values() for pin in pins}))
        ids = sorted({one for found in named.values() for one in found})
        records, lost = self._fetch(ids)
        answers = {}
        for name, pins in wanted.items():
            mine = sorted({one for pin in pins for one in named.get(pin, ())})
            judged = judge([records[one] for one in mine if one in records], pins, as_of)
            unknown = [
                *_phrases({pin: missing[pin] for pin in pins if pin in missing}, self._url, len(pins)),
                *(f"the record of {one[0]} could not be read: {lost[one]}" for one in mine if one in lost),
                *([judged.unknown] if judged.unknown else []),
            ]
            answers[name] = judged.model_copy(update={"unknown": "; ".join(dict.fromkeys(unknown))})
        return answers

    def _query(self, pins: Sequence[Pin]) -> tuple[dict[Pin, set[Named]], dict[Pin, str]]:
        """The advisories of each package, and why some packages could not be asked about, wholly or in part."""
        named: dict[Pin, set[Named]] = {}
        missing: dict[Pin, str] = {}
        asked: list[tuple[Pin, str]] = [(pin, "") for pin in pins]
        for _ in range(_PAGES):
            left: list[tuple[Pin, str]] = []
            for start in range(0, len(asked), _QUERIES_PER_CALL):
                part = asked[start : start + _QUERIES_PER_CALL]
                try:
                    results = _results(self._ask("POST", "/v1/querybatch", _batch(part)), len(part))
                except NoAnswer as problem:
                    missing |= {pin: str(problem) for pin, _ in part}
                    continue
                for (pin, token), result in zip(part, results, strict=True):
                    try:
                        found, further = _page(result)
                    except NoAnswer as problem:
                        missing[pin] = str(problem)
                        continue
                    named.setdefault(pin, set()).update(found)
                    if further and further == token:
                        missing[pin] = "it answered with the same page again"
                    elif further:
                        left.append((pin, further))
            asked = left
            if not asked:
                break
        missing |= {pin: f"its answer has more than {_PAGES} pages" for pin, _ in asked}
        return named, missing

    def _fetch(self, ids: Sequence[Named]) -> tuple[dict[Named, Record], dict[Named, str]]:
        """The records, those that were modified since they were last read once more, and why some cannot be had."""
        records: dict[Named, Record] = {}
        lost: dict[Named, str] = {}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for one, answer in zip(ids, pool.map(self._record, ids), strict=True):
                if isinstance(answer, NoAnswer):
                    lost[one] = str(answer)
                else:
                    records[one] = answer
        self._records |= {one: record for one, record in records.items() if one[1]}
        return records, lost

    def _record(self, one: Named) -> Record | NoAnswer:
        if one in self._records:
            return self._records[one]
        try:
            record = self._ask("GET", f"/v1/vulns/{one[0]}")
        except NoAnswer as problem:
            return problem
        if record.get("id") != one[0]:
            return NoAnswer(f"it is called {record.get('id')!r}")
        return record

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        if not self._url:
            raise NoAnswer("none is set")
        if self._down is not None and self._now() < self._down[0]:
            raise NoAnswer(self._down[1])
        headers = {"Accept": "application/json", "User-Agent": "lamina"}
        try:
            answer = self._http.request(
                method,
                self._url + path,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers if body is None else headers | {"Content-Type": "application/json"},
                timeout=self._timeout,
                retries=self._retries,
            )
        except urllib3.exceptions.HTTPError as problem:
            why = _reason(problem)
            self._down = self._now() + _PAUSE, why
            raise NoAnswer(why) from problem
        if answer.status != 200:
            raise NoAnswer(f"it answered {answer.status}")
        try:
            found = json.loads(answer.data)
        except (ValueError, RecursionError) as problem:
            raise NoAnswer("its answer is not JSON") from problem
        if not isinstance(found, dict):
            raise NoAnswer("its answer is not a JSON object")
        return found


def _batch(part: Sequence[tuple[Pin, str]]) -> dict[str, Any]:
    return {
        "queries": [
            {"package": {"name": pin.package, "ecosystem": pin.ecosystem}, "version": pin.version}
            | ({"page_token": token} if token else {})
            for pin, token in part
        ]
    }


def _results(answer: Mapping[str, Any], expected: int) -> list[Any]:
    results = answer.get("results")
    if not isinstance(results, list):
        raise NoAnswer('its answer has no "results"')
    if len(results) != expected:
        raise NoAnswer(f"it answered {len(results)} of {expected} queries")
    return results


def _page(result: object) -> tuple[set[Named], str]:
    """The advisories on one page of a query's answer, and the token of the next page, empty on the last."""
    vulns = result.get("vulns", []) if isinstance(result, dict) else None
    token = result.get("next_page_token") or "" if isinstance(result, dict) else ""
    if not isinstance(vulns, list) or not isinstance(token, str):
        raise NoAnswer("its answer cannot be read")
    found = set()
    for one in vulns:
        identity = one.get("id") if isinstance(one, dict) else None
        if not isinstance(identity, str) or not _ID.fullmatch(identity):
            raise NoAnswer("its answer names an advisory in a way that cannot be read")
        found.add((identity, str(one.get("modified", ""))))
    return found, token


def _phrases(missing: Mapping[Pin, str], url: str, asked: int) -> list[str]:
    """What could not be asked and why; the packages are named if they are few, or not all of the `asked`."""
    reasons: dict[str, list[Pin]] = {}
    for pin, why in sorted(missing.items()):
        reasons.setdefault(why, []).append(pin)
    where = f"the advisory database {url}" if url else "an advisory database"
    return [
        f"{where} could not be asked about "
        + (
            "any of the packages"
            if len(pins) == asked > _SHOWN
            else ", ".join(map(str, pins[:_SHOWN])) + (f" and {len(pins) - _SHOWN} more" if len(pins) > _SHOWN else "")
        )
        + f": {why}"
        for why, pins in reasons.items()
    ]


def _reason(problem: BaseException) -> str:
    """Why a connection failed, in a few words; proxies' addresses may hold credentials and are left out."""
    kind: BaseException = (
        problem.reason if isinstance(problem, urllib3.exceptions.MaxRetryError) and problem.reason else problem
    )
    if isinstance(kind, urllib3.exceptions.TimeoutError):
        return "it did not answer in time"
    if isinstance(kind, urllib3.exceptions.ProxyError):
        return "the proxy could not be passed"
    if isinstance(kind, urllib3.exceptions.SSLError):
        return "its certificate is not trusted"
    if isinstance(kind, urllib3.exceptions.NameResolutionError):
        return "its name is not known here"
    return f"it could not be reached ({type(kind).__name__})"
