"""Confirm: read every function of a rollback again.

In: `ConfirmEvent`. Out: `Confirmed`. Calls lambda:GetFunction, GetAlias, and the registry.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.gateways.functions import Functions
from lamina.gateways.registry import Table
from lamina.gateways.rollouts import Rollouts
from lamina.settings import Settings
from lamina.steps.confirm import ConfirmEvent, Gateways, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

REACH = Gateways(
    functions=Functions(boto3.client("lambda")),
    rollouts=Rollouts(Table(boto3.client("dynamodb"), settings.registry)),
)


@logger.inject_lambda_context(correlation_id_path="rollout")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=ConfirmEvent)
def handler(event: ConfirmEvent, context: LambdaContext) -> dict[str, object]:
    """Say which functions are where they should be."""
    logger.append_keys(rollout=event.rollout)
    done = run(event, REACH)
    metrics.add_metric(name="FunctionsNotRestored", unit=MetricUnit.Count, value=done.unrestored)
    logger.info("confirmed", extra=done.to_json())
    return done.to_json()
