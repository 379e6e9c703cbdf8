"""Bundle: packs lock, build script and build settings, so that the build needs no rights in this account.

In: `BundleEvent`. Out: `Bundled`. Reads the definitions and builder layers; calls the artifacts bucket and, for
definitions with an index of their own, Secrets Manager, CodeArtifact and that index, whose packages it takes along.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.bundle import BUILDER_FILES
from lamina.gateways.credentials import Credentials
from lamina.gateways.definitions import Definitions
from lamina.gateways.packuments import Packuments
from lamina.gateways.store import Store
from lamina.gateways.wheelhouse import Wheelhouse
from lamina.settings import Settings
from lamina.steps.bundle import BundleEvent, Gateways, run
from lamina.steps.fetching import OwnIndexes

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

BUILDER = {name: (settings.builder / name).read_bytes() for name in BUILDER_FILES}
STORE = Store(boto3.client("s3"), settings.artifacts)
DEFINITIONS = Definitions(settings.definitions, STORE)
REACH = Gateways(
    store=STORE,
    own=OwnIndexes(
        credentials=Credentials(
            boto3.client("secretsmanager"), lambda region: boto3.client("codeartifact", region_name=region)
        ),
        wheels=Wheelhouse(os.environ),
        # Only registries that definitions name are asked.
        packuments=Packuments(lambda: "", Path(tempfile.gettempdir()), os.environ),
    ),
)


@logger.inject_lambda_context(correlation_id_path="run")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=BundleEvent)
def handler(event: BundleEvent, context: LambdaContext) -> dict[str, object]:
    """Pack one variant's build."""
    logger.append_keys(run=event.run, variant=event.variant.variant)
    bundled = run(event, DEFINITIONS.of(event.variant), BUILDER, REACH)
    metrics.add_metric(name="BuildsBundled", unit=MetricUnit.Count, value=1)
    logger.info("bundled", extra=bundled.to_json())
    return bundled.to_json()
