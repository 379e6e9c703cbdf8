"""EventBridge rules and Scheduler schedules that reach their targets: state machines, functions, topics, queues.

moto keeps the rules and schedules; this matches events, transforms inputs and delivers, in order, on one thread.
Nothing ticks: a schedule runs when it is fired.
"""

from __future__ import annotations

import json
import queue
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from moto.events import models as events_models
from moto.events.exceptions import ValidationException
from moto.scheduler import models as scheduler_models
from moto.scheduler.exceptions import ValidationException as SchedulerValidationException

from local import patterns, schedules
from local.clock import Clock
from local.patches import Patches
from local.states.history import iso

_TARGETS = ("states", "lambda", "sns", "sqs", "events")


class Bus:
    """Delivers events to the targets of matching rules.

    `start_machine(state machine ARN, execution name, input)` returns the execution's ARN; `clients(service)` gives a
    boto3 client for the other targets. A delivery that fails is kept in `failures`, as a dead-letter queue would.
    """

    def __init__(
        self,
        clock: Clock,
        account: str,
        region: str,
        start_machine: Callable[[str, str, str], str],
        clients: Callable[[str], Any],
    ) -> None:
        self.failures: list[tuple[str, str]] = []
        self._clock = clock
        self._account = account
        self._region = region
        self._start_machine = start_machine
        self._clients = clients
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._deliver, name="events", daemon=True)
        self._thread.start()

    def put(
        self, source: str, kind: str, detail: Any, *, bus: str = "default", resources: Any = (), time: Any = None
    ) -> str:
        """Send one event to a bus; returns its id. Targets get it soon after, in order."""
        identifier = str(uuid.uuid4())
        event = {
            "version": "0",
            "id": identifier,
            "detail-type": kind,
            "source": source,
            "account": self._account,
            "time": time or iso(self._clock.now())[:19] + "Z",
            "region": self._region,
            "resources": list(resources),
            "detail": detail,
        }
        backend = events_models.events_backends[self._account][self._region]
        for rule in list(backend.describe_event_bus(bus).rules.values()):
            pattern = rule.event_pattern.get_pattern()
            if rule.state != "DISABLED" and pattern and patterns.matches(pattern, event):
                for target in list(rule.targets):
                    self._queue.put(lambda rule=rule, target=target: self._try(rule.name, target, event))  # type: ignore[misc]
        return identifier

    def fire(self, name: str) -> str:
        """Run a schedule's or a scheduled rule's first target now; returns an execution's ARN where it starts one.

        Raises:
            KeyError: for a name that neither has.
        """
        backend = scheduler_models.scheduler_backends[self._account][self._region]
        for group in backend.schedule_groups.values():
            if name in group.schedules:
                target = group.schedules[name].target
                return self._send(target, str(target.get("Input", "{}")))
        rules = events_models.events_backends[self._account][self._region].describe_event_bus("default").rules
        if name not in rules:
            raise KeyError(f"there is no schedule and no rule {name!r}")
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": self._account,
            "time": iso(self._clock.now())[:19] + "Z",
            "region": self._region,
            "resources": [rules[name].arn],
            "detail": {},
        }
        answers = [self._send(target, patterns.target_input(target, event)) for target in rules[name].targets]
        return answers[0]

    def flush(self) -> None:
        """Wait until everything put so far has been delivered."""
        done = threading.Event()
        self._queue.put(done.set)
        done.wait()

    def close(self) -> None:
        """Deliver what is waiting, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _deliver(self) -> None:
        while (delivery := self._queue.get()) is not None:
            delivery()

    def _try(self, rule: str, target: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        try:
            self._send(target, patterns.target_input(target, event))
        except Exception as problem:
            self.failures.append((rule, f"{target['Arn']}: {problem}"))

    def _send(self, target: Mapping[str, Any], text: str) -> str:
        arn: str = target["Arn"]
        service = arn.split(":")[2]
        if service == "states":
            return self._start_machine(arn, f"{uuid.uuid4()}_{uuid.uuid4()}", text)
        if service == "lambda":
            self._clients("lambda").invoke(FunctionName=arn, InvocationType="Event", Payload=text.encode())
        elif service == "sns":
            self._clients("sns").publish(TopicArn=arn, Message=text)
        elif service == "sqs":
            sqs = self._clients("sqs")
            url = sqs.get_queue_url(QueueName=arn.rsplit(":", 1)[1])["QueueUrl"]
            sqs.send_message(QueueUrl=url, MessageBody=text)
        else:
            event = json.loads(text)
            self.put(event["source"], event["detail-type"], event["detail"], bus=arn.rsplit("/", 1)[1])
        return ""


def install(patches: Patches, bus: Bus) -> None:
    """Let moto's EventBridge deliver through `bus`, and refuse patterns, schedules and targets that cannot work."""
    events, scheduler = events_models.EventsBackend, scheduler_models.EventBridgeSchedulerBackend

    def put_events(self: Any, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(events) > 10:
            raise ValidationException("1 validation error detected: Member must have length less than or equal to 10")
        return [_entry(bus, self, event) for event in events]

    def put_rule(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            if named.get("event_pattern"):
                patterns.check(json.loads(named["event_pattern"]))
            if named.get("scheduled_expression"):
                schedules.check(named["scheduled_expression"])
        except ValueError as problem:
            raise ValidationException(str(problem)) from problem
        return rule_put(self, *arguments, **named)

    def put_targets(self: Any, name: str, event_bus_arn: str | None, targets: list[dict[str, Any]]) -> None:
        for target in targets:
            if target["Arn"].split(":")[2:3] not in ([known] for known in _TARGETS):
                raise ValidationException(f"the target {target['Arn']} cannot be reached here")
        targets_put(self, name, event_bus_arn, targets)

    def create_schedule(self: Any, **named: Any) -> Any:
        try:
            schedules.check(named["schedule_expression"], at=True)
        except ValueError as problem:
            raise SchedulerValidationException(f"Invalid Schedule Expression {problem}") from problem
        return schedule_created(self, **named)

    patches.replace(events, "put_events", put_events)
    rule_put = patches.replace(events, "put_rule", put_rule)
    targets_put = patches.replace(events, "put_targets", put_targets)
    schedule_created = patches.replace(scheduler, "create_schedule", create_schedule)


def _entry(bus: Bus, backend: Any, event: Mapping[str, Any]) -> dict[str, str]:
    for field in ("Source", "DetailType", "Detail"):
        if not event.get(field):
            message = f"Parameter {field} is not valid. Reason: {field} is a required argument."
            return {"ErrorCode": "InvalidArgument", "ErrorMessage": message}
    try:
        detail = json.loads(event["Detail"])
    except ValueError:
        return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
    if not isinstance(detail, dict):
        return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
    if event["Source"].startswith("aws."):
        return {"ErrorCode": "NotAuthorizedForSourceException", "ErrorMessage": "Not authorized for the source."}
    name = backend._normalize_event_bus_arn(event.get("EventBusName"))
    resources = event.get("Resources", [])
    return {"EventId": bus.put(event["Source"], event["DetailType"], detail, bus=name, resources=resources)}
