"""Restore: put back every function that a rollout changed. With Attach, the only step that changes functions.

In: `RestoreEvent`, the rollback's input as it came. Out: `Restored`. Calls lambda:ListFunctions, GetFunction,
GetAlias, UpdateFunctionConfiguration, PublishVersion, UpdateAlias, states:SendTaskFailure, and the registry.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.fleet import Scope
from lamina.gateways.executions import Executions
from lamina.gateways.functions import Functions
from lamina.gateways.registry import Layers, Table
from lamina.gateways.rollouts import Rollouts
from lamina.settings import Settings
from lamina.steps.restore import Gateways, RestoreEvent, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ, "FUNCTION_NAMES")

# No function is begun with less time than one may take to settle; the state machine comes back for the rest.
PATIENCE_MS = 330_000
TABLE = Table(boto3.client("dynamodb"), settings.registry)
SCOPE = Scope(names=settings.function_names, own=f"{settings.stack}-")
REACH = Gateways(
    functions=Functions(boto3.client("lambda")),
    rollouts=Rollouts(TABLE),
    layers=Layers(TABLE),
    executions=Executions(boto3.client("stepfunctions")),
)


@logger.inject_lambda_context(correlation_id_path="execution")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=RestoreEvent)
def handler(event: RestoreEvent, context: LambdaContext) -> dict[str, object]:
    """Put back as many functions as there is time for."""
    done = run(event, REACH, SCOPE, lambda: context.get_remaining_time_in_millis() > PATIENCE_MS)
    logger.append_keys(rollout=done.rollout)
    metrics.add_metric(name="FunctionsRestored", unit=MetricUnit.Count, value=done.restored)
    logger.info("restored", extra=done.to_json())
    return done.to_json()
