"""Attach: give one wave's functions the candidate. With Restore, the only step that changes functions.

In: `AttachEvent`. Out: `Attached`. Calls lambda:GetFunction, GetAlias, ListProvisionedConcurrencyConfigs,
UpdateFunctionConfiguration, PublishVersion, UpdateAlias, and the registry.
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
from lamina.gateways.switch import Switch
from lamina.settings import Settings
from lamina.steps.attach import AttachEvent, Gateways, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

# No function is begun with less time than one may take to settle; the state machine comes back for the rest.
PATIENCE_MS = 330_000
TABLE = Table(boto3.client("dynamodb"), settings.registry)
REACH = Gateways(
    functions=Functions(boto3.client("lambda")),
    rollouts=Rollouts(TABLE),
    switch=Switch(TABLE),
)


@logger.inject_lambda_context(correlation_id_path="rollout")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=AttachEvent)
def handler(event: AttachEvent, context: LambdaContext) -> dict[str, object]:
    """Attach as many of the wave's functions as there is time for."""
    logger.append_keys(rollout=event.rollout, wave=event.wave)
    done = run(event, REACH, lambda: context.get_remaining_time_in_millis() > PATIENCE_MS)
    metrics.add_metric(name="FunctionsAttached", unit=MetricUnit.Count, value=done.attached)
    logger.info("attached", extra=done.to_json())
    return done.to_json()
