"""Plan: validates an update's input, reads the layer definitions and lists the variants to work on.

In: `PlanEvent`. Out: `Plan`. Reads the definitions layer and, if there is one, the definitions' place in S3; calls the
registry and the artifacts bucket.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.gateways.definitions import Definitions, Library
from lamina.gateways.registry import Claims, Layers, Runs, Table
from lamina.gateways.store import Store
from lamina.gateways.switch import Switch
from lamina.settings import Settings
from lamina.steps.plan import Gateways, PlanEvent, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

TABLE = Table(boto3.client("dynamodb"), settings.registry)
S3 = boto3.client("s3")
LIBRARY = Library(settings.definitions, settings.definitions_location, S3)
REACH = Gateways(
    layers=Layers(TABLE),
    runs=Runs(TABLE),
    claims=Claims(TABLE),
    definitions=Definitions(settings.definitions, Store(S3, settings.artifacts)),
    switch=Switch(TABLE),
)


@logger.inject_lambda_context(correlation_id_path="execution")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=PlanEvent)
def handler(event: PlanEvent, context: LambdaContext) -> dict[str, object]:
    """Plan the update."""
    planned = run(event, LIBRARY.collect(), REACH)
    metrics.add_metric(name="VariantsPlanned", unit=MetricUnit.Count, value=len(planned.variants))
    metrics.add_metric(name="DefinitionsRefused", unit=MetricUnit.Count, value=len(planned.refused))
    logger.info("planned", extra=planned.to_json())
    return planned.to_json()
