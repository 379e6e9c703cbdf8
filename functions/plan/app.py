"""Plan: validates an update's input, reads the layer definitions and lists the variants to work on.

In: `PlanEvent`. Out: `Plan`. Reads the definitions layer; calls the registry.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.definition import read_folders
from lamina.gateways.registry import Layers, Runs, Table
from lamina.settings import Settings
from lamina.steps.plan import Gateways, PlanEvent, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

TABLE = Table(boto3.client("dynamodb"), settings.registry)
REACH = Gateways(layers=Layers(TABLE), runs=Runs(TABLE))


@logger.inject_lambda_context(correlation_id_path="execution")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=PlanEvent)
def handler(event: PlanEvent, context: LambdaContext) -> dict[str, object]:
    """Plan the update."""
    planned = run(event, read_folders(settings.definitions), REACH)
    metrics.add_metric(name="VariantsPlanned", unit=MetricUnit.Count, value=len(planned.variants))
    metrics.add_metric(name="DefinitionsRefused", unit=MetricUnit.Count, value=len(planned.refused))
    logger.info("planned", extra=planned.to_json())
    return planned.to_json()
