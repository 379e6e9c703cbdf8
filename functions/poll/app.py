"""Poll: looks every promoted lock up in the advisory database and asks for an update where there is a fix.

In: `{}`, from its schedule. Out: `Polled`. Calls the registry, the advisory database, EventBridge and SNS.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.gateways.advisories import Advisories
from lamina.gateways.events import Events
from lamina.gateways.registry import Claims, Layers, Notices, Runs, Table
from lamina.gateways.topic import Topic
from lamina.settings import Settings
from lamina.steps.poll import Gateways, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ, "TOPIC")

TABLE = Table(boto3.client("dynamodb"), settings.registry)
REACH = Gateways(
    layers=Layers(TABLE),
    runs=Runs(TABLE),
    claims=Claims(TABLE),
    notices=Notices(TABLE),
    advisories=Advisories(settings.advisories, os.environ),
    events=Events(boto3.client("events")),
    topic=Topic(boto3.client("sns"), settings.topic),
)


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
def handler(event: Mapping[str, object], context: LambdaContext) -> dict[str, object]:
    """Look every promoted lock up."""
    polled = run(datetime.now(UTC), REACH)
    metrics.add_metric(name="AdvisoriesFound", unit=MetricUnit.Count, value=polled.found)
    metrics.add_metric(name="LocksUnknown", unit=MetricUnit.Count, value=len(polled.unknown))
    logger.info("polled", extra=polled.to_json())
    return polled.to_json()
