"""Check: what is new for one variant, what policy takes of it, and the lock that comes of it.

In: `CheckEvent`. Out: `Checked`. Runs uv against the package index; calls the registry and the artifacts bucket.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.definition import definition_of
from lamina.gateways.index import Index, find_uv
from lamina.gateways.registry import Layers, Table
from lamina.gateways.store import Store
from lamina.settings import Settings
from lamina.steps.check import CheckEvent, Gateways, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

WORK = Path(tempfile.gettempdir())
REACH = Gateways(
    index=Index(find_uv(WORK), sys.executable, WORK, os.environ),
    layers=Layers(Table(boto3.client("dynamodb"), settings.registry)),
    store=Store(boto3.client("s3"), settings.artifacts),
)


@logger.inject_lambda_context(correlation_id_path="run")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=CheckEvent)
def handler(event: CheckEvent, context: LambdaContext) -> dict[str, object]:
    """Check one variant."""
    logger.append_keys(run=event.run, variant=event.variant.variant)
    checked = run(event, definition_of(settings.definitions, event.variant.layer), REACH)
    metrics.add_metric(name="PackagesChanged", unit=MetricUnit.Count, value=len(checked.changes))
    logger.info("checked", extra={"outcome": checked.outcome, "summary": checked.summary})
    return checked.to_json()
