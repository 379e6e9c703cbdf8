"""Webhook: turns a genuine delivery of GitHub's into an update of the layers that it concerns.

In: a function URL's event (payload format 2.0). Out: an HTTP response. Calls Secrets Manager, the
registry, the advisory database and EventBridge.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.gateways.advisories import Advisories
from lamina.gateways.events import Events
from lamina.gateways.registry import Claims, Deliveries, Layers, Runs, Table
from lamina.gateways.secrets import Secret
from lamina.settings import Settings
from lamina.steps.webhook import Gateways, Request, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ, "WEBHOOK_SECRET")

TABLE = Table(boto3.client("dynamodb"), settings.registry)
# GitHub waits ten seconds for an answer.
REACH = Gateways(
    secret=Secret(boto3.client("secretsmanager"), settings.webhook_secret),
    layers=Layers(TABLE),
    runs=Runs(TABLE),
    claims=Claims(TABLE),
    deliveries=Deliveries(TABLE),
    advisories=Advisories(settings.advisories, os.environ, connect=3, read=6),
    events=Events(boto3.client("events")),
)


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, object]:
    """Answer one request."""
    request = Request(
        headers={str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()},
        body=event.get("body") or "",
        is_base64_encoded=bool(event.get("isBase64Encoded")),
    )
    reply = run(request, REACH, datetime.now(UTC))
    metrics.add_metric(name="DeliveriesRefused", unit=MetricUnit.Count, value=int(400 <= reply.status < 500))
    logger.info(reply.text, extra={"status": reply.status, "delivery": request.delivery, "askedFor": reply.asked_for})
    return {
        "statusCode": reply.status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"message": reply.text}),
    }
