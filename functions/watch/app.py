"""Watch: one look at the metrics of every function that has the candidate.

In: `WatchEvent`. Out: `Watched`. Calls cloudwatch:GetMetricData and DescribeAlarms, logs:FilterLogEvents (for cold
starts; for errors once harm is seen), the registry and the artifacts bucket. Changes no function.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.gateways.alarms import Alarms
from lamina.gateways.logs import Logs
from lamina.gateways.metrics import Metrics as MetricsGateway
from lamina.gateways.registry import Layers, Table
from lamina.gateways.reports import Reports
from lamina.gateways.rollouts import Rollouts
from lamina.gateways.store import Store
from lamina.gateways.switch import Switch
from lamina.settings import Settings
from lamina.steps.watch import Gateways, WatchEvent, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

TABLE = Table(boto3.client("dynamodb"), settings.registry)
CLOUDWATCH = boto3.client("cloudwatch")
LOGS = boto3.client("logs")
REACH = Gateways(
    metrics=MetricsGateway(CLOUDWATCH),
    logs=Logs(LOGS),
    rollouts=Rollouts(TABLE),
    layers=Layers(TABLE),
    store=Store(boto3.client("s3"), settings.artifacts),
    switch=Switch(TABLE),
    reports=Reports(LOGS),
    alarms=Alarms(CLOUDWATCH),
)


@logger.inject_lambda_context(correlation_id_path="rollout")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=WatchEvent)
def handler(event: WatchEvent, context: LambdaContext) -> dict[str, object]:
    """Judge the rollout by its closed minutes."""
    logger.append_keys(rollout=event.rollout, wave=event.wave)
    seen = run(event, REACH)
    metrics.add_dimension(name="decision", value=seen.decision)
    metrics.add_metric(name="Looks", unit=MetricUnit.Count, value=1)
    logger.info("watched", extra=seen.to_json())
    return seen.to_json()
