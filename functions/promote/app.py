"""Promote: the only step that moves the promoted pointer.

In: `PromoteEvent`. Out: `Promoted`. Calls ssm:PutParameter and the registry.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.gateways.pointers import Pointers
from lamina.gateways.registry import Layers, Table
from lamina.gateways.rollouts import Rollouts
from lamina.settings import Settings
from lamina.steps.promote import Gateways, PromoteEvent, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

TABLE = Table(boto3.client("dynamodb"), settings.registry)
REACH = Gateways(
    layers=Layers(TABLE),
    rollouts=Rollouts(TABLE),
    pointers=Pointers(boto3.client("ssm"), f"/{settings.stack}/"),
)


@logger.inject_lambda_context(correlation_id_path="rollout")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=PromoteEvent)
def handler(event: PromoteEvent, context: LambdaContext) -> dict[str, object]:
    """Make the candidate the promoted release."""
    logger.append_keys(rollout=event.rollout)
    done = run(event, REACH)
    metrics.add_metric(name="Promotions", unit=MetricUnit.Count, value=1)
    logger.info("promoted", extra=done.to_json())
    return done.to_json()
