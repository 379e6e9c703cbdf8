"""Steer: pauses a rollout or lets it go on, promotes its candidate at once, or stops everything.

In: `SteerEvent`. Out: `Steered`. Calls the registry and states:SendTaskSuccess. Changes no function.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.gateways.executions import Executions
from lamina.gateways.registry import Runs, Table
from lamina.gateways.rollouts import Rollouts
from lamina.gateways.switch import Switch
from lamina.settings import Settings
from lamina.steps.steer import Gateways, SteerEvent, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

TABLE = Table(boto3.client("dynamodb"), settings.registry)
REACH = Gateways(
    rollouts=Rollouts(TABLE),
    runs=Runs(TABLE),
    switch=Switch(TABLE),
    executions=Executions(boto3.client("stepfunctions")),
)


@logger.inject_lambda_context(correlation_id_path="execution")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=SteerEvent)
def handler(event: SteerEvent, context: LambdaContext) -> dict[str, object]:
    """Do what a person asks for."""
    steered = run(event, REACH)
    metrics.add_metric(name="Steered", unit=MetricUnit.Count, value=1)
    logger.info("steered", extra={"steering": event.steering.to_json(), **steered.to_json()})
    return steered.to_json()
