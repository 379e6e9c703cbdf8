"""Webhook: a delivery of GitHub's, proven genuine, looked up in the advisory database, made into an update."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamina.errors import NotDelivered, SecretUnavailable
from lamina.github import LARGEST, Ignored, Malformed, Notice, genuine, parse
from lamina.model import Model
from lamina.steps.advising import PromotedLock, ask_for_update, promoted_locks

if TYPE_CHECKING:
    from lamina.gateways.advisories import Advisories
    from lamina.gateways.events import Events
    from lamina.gateways.registry import Claims, Deliveries, Layers, Runs
    from lamina.gateways.secrets import Secret


class Request(Model):
    """What is used of a function URL's event (payload format 2.0); names of headers are in small letters."""

    headers: dict[str, str] = {}
    body: str = ""
    is_base64_encoded: bool = False

    @property
    def delivery(self) -> str:
        """GitHub's name of the delivery, for logs; it is not signed."""
        name = self.headers.get("x-github-delivery", "")
        return name if name.isascii() and name.isprintable() and len(name) <= 64 else ""


@dataclass(frozen=True)
class Reply:
    """The answer: an HTTP status and a sentence."""

    status: int
    text: str
    asked_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gateways:
    """What Webhook reaches."""

    secret: Secret
    layers: Layers
    runs: Runs
    claims: Claims
    deliveries: Deliveries
    advisories: Advisories
    events: Events


def run(request: Request, reach: Gateways, now: datetime) -> Reply:
    """Answer one request; nothing of it is parsed before its signature is proven.

    A delivery only points to an advisory: what is affected, and which version fixes it, the advisory database says.
    """
    if len(request.body) > LARGEST * (2 if request.is_base64_encoded else 1):
        return Reply(413, f"the body is larger than {LARGEST} bytes")
    try:
        body = base64.b64decode(request.body, validate=True) if request.is_base64_encoded else request.body.encode()
    except (binascii.Error, ValueError):
        return Reply(400, "the body is not what its encoding says")
    if len(body) > LARGEST:
        return Reply(413, f"the body is larger than {LARGEST} bytes")
    try:
        proven = genuine(reach.secret.value(), body, request.headers.get("x-hub-signature-256", ""))
    except SecretUnavailable:
        return Reply(503, "deliveries cannot be checked at the moment; deliver this one again later")
    if not proven:
        return Reply(401, "the signature is missing or wrong")
    try:
        notice = parse(request.headers.get("x-github-event", ""), body)
    except Malformed as error:
        return Reply(400, str(error))
    if isinstance(notice, Ignored):
        return Reply(200 if notice.why == "pong" else 202, notice.why)
    digest = hashlib.sha256(body).hexdigest()
    if reach.deliveries.seen(digest):
        return Reply(200, "already seen; nothing was started again")
    known = reach.runs.known()
    if known is None:
        return Reply(503, "no update has been planned yet; deliver this one again after the first")
    return _act(notice, digest, request.delivery, promoted_locks(known, reach.layers), reach, now)


def _act(
    notice: Notice,
    digest: str,
    delivery: str,
    locks: Sequence[PromotedLock],
    reach: Gateways,
    now: datetime,
) -> Reply:
    pins = {lock: tuple(pin for pin in lock.pins if (pin.ecosystem, pin.package) in notice.packages) for lock in locks}
    advice = reach.advisories.look_up_all({lock.variant: held for lock, held in pins.items() if held}, now)
    found = {
        lock: [finding for finding in advice[lock.variant].findings if notice.names & {finding.id, *finding.aliases}]
        for lock in locks
        if lock.variant in advice
    }
    fixable = {lock: [finding for finding in rows if finding.fixed is not None] for lock, rows in found.items()}
    if not any(fixable.values()) and any(answer.unknown for answer in advice.values()):
        return Reply(503, "the advisory database could not be asked; deliver this one again later")
    if not reach.deliveries.mark(digest, delivery, now):
        return Reply(200, "already seen; nothing was started again")
    try:
        asked = ask_for_update(fixable, reach.claims, reach.events, "GitHub webhook", now)
    except NotDelivered:
        reach.deliveries.forget(digest, delivery)
        return Reply(503, "the update could not be asked for; deliver this one again later")
    return Reply(202, _said(found, fixable, asked), asked)


def _said(found: Mapping[PromotedLock, object], fixable: Mapping[PromotedLock, object], asked: Sequence[str]) -> str:
    if asked:
        return f"an update of {len(asked)} layer{'s' if len(asked) > 1 else ''} was asked for"
    if any(fixable.values()):
        return "the fix is being taken already, or waits for the schedule"
    if any(found.values()):
        return "the advisory has no fix yet; the regular look-up will find it"
    if not found:
        return "no layer has the package"
    return "there is no record yet of an advisory that a layer is affected by; the regular look-up will find it"
