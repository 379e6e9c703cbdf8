"""Report: the page of a rollout, or the page and the message of a whole run.

In: `RunReportEvent` (from the update) or `RolloutReportEvent` (from rollout and rollback). Out: `Reported`. Writes
pages to the artifacts bucket; calls the registry and sns:Publish.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.gateways.registry import Layers, Runs, Table
from lamina.gateways.rollouts import Rollouts
from lamina.gateways.store import Store
from lamina.gateways.topic import Topic
from lamina.settings import Settings
from lamina.steps.report import Gateways, ReportEvent, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ, "TOPIC", "ROLLBACK")

TABLE = Table(boto3.client("dynamodb"), settings.registry)
REACH = Gateways(
    rollouts=Rollouts(TABLE),
    layers=Layers(TABLE),
    runs=Runs(TABLE),
    store=Store(boto3.client("s3"), settings.artifacts),
    topic=Topic(boto3.client("sns"), settings.topic),
    rollback=settings.rollback,
)


@logger.inject_lambda_context(correlation_id_path="run || rollout")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=ReportEvent)
def handler(event: ReportEvent, context: LambdaContext) -> dict[str, object]:
    """Write the page."""
    reported = run(event.root, REACH)
    metrics.add_metric(name="Reports", unit=MetricUnit.Count, value=1)
    logger.info("reported", extra=reported.to_json())
    return reported.to_json()
