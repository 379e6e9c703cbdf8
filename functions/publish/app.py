"""Publish: the built layer becomes a layer version, unless the promoted release has the same contents.

In: `PublishEvent`. Out: `Published`. Calls lambda:ListLayerVersions, PublishLayerVersion, AddLayerVersionPermission,
GetLayerVersion, the registry and the artifacts bucket; signer:StartSigningJob and DescribeSigningJob where the
definition names a signing profile.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.gateways.definitions import Definitions
from lamina.gateways.layers import LayerVersions
from lamina.gateways.registry import Layers, Table
from lamina.gateways.signer import Signer
from lamina.gateways.store import Store
from lamina.settings import Settings
from lamina.steps.publish import Gateways, PublishEvent, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

STORE = Store(boto3.client("s3"), settings.artifacts)
DEFINITIONS = Definitions(settings.definitions, STORE)
REACH = Gateways(
    versions=LayerVersions(boto3.client("lambda")),
    layers=Layers(Table(boto3.client("dynamodb"), settings.registry)),
    store=STORE,
    signer=Signer(boto3.client("signer")),
)


@logger.inject_lambda_context(correlation_id_path="run")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=PublishEvent)
def handler(event: PublishEvent, context: LambdaContext) -> dict[str, object]:
    """Publish one variant's build."""
    logger.append_keys(run=event.run, variant=event.variant.variant)
    published = run(event, DEFINITIONS.of(event.variant), REACH)
    metrics.add_metric(name="VersionsPublished", unit=MetricUnit.Count, value=int(not published.unchanged))
    logger.info("published", extra=published.to_json())
    return published.to_json()
