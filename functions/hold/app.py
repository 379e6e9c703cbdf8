"""Hold: package versions that did harm are not offered again, and the rollout that met them is closed.

In: `RejectionEvent` (from the update) or `RollbackEvent` (from the rollback). Out: `Held`. Calls the registry.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.gateways.registry import Layers, Table
from lamina.gateways.rollouts import Rollouts
from lamina.settings import Settings
from lamina.steps.hold import Gateways, HoldEvent, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

TABLE = Table(boto3.client("dynamodb"), settings.registry)
REACH = Gateways(layers=Layers(TABLE), rollouts=Rollouts(TABLE))


@logger.inject_lambda_context(correlation_id_path="run || rollout")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=HoldEvent)
def handler(event: HoldEvent, context: LambdaContext) -> dict[str, object]:
    """Hold back the culprits."""
    held = run(event.root, REACH)
    metrics.add_metric(name="VersionsHeldBack", unit=MetricUnit.Count, value=len(held.held_back))
    logger.info("held back", extra=held.to_json())
    return held.to_json()
