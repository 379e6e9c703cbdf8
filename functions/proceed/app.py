"""Proceed: whether the rest of an update deserves an attempt of its own, without what did harm.

In: `ProceedEvent`. Out: `Proceeded`. Reads the registry.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.gateways.registry import Table
from lamina.gateways.rollouts import Rollouts
from lamina.settings import Settings
from lamina.steps.proceed import Gateways, ProceedEvent, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

REACH = Gateways(rollouts=Rollouts(Table(boto3.client("dynamodb"), settings.registry)))


@logger.inject_lambda_context(correlation_id_path="run")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=ProceedEvent)
def handler(event: ProceedEvent, context: LambdaContext) -> dict[str, object]:
    """Say whether to go on."""
    logger.append_keys(run=event.run, variant=event.outcome.variant)
    proceeded = run(event, REACH)
    metrics.add_metric(name="SecondAttempts", unit=MetricUnit.Count, value=int(proceeded.again))
    logger.info("proceeding" if proceeded.again else "ending", extra=proceeded.to_json())
    return proceeded.to_json()
