"""Check: what is new for one variant, what policy takes of it, and the lock that comes of it.

In: `CheckEvent`. Out: `Checked`. Runs uv and npm against their package indexes; asks the advisory database; calls the
registry, the artifacts bucket and, for definitions with an index of their own, Secrets Manager and CodeArtifact.
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

from lamina.gateways.advisories import Advisories
from lamina.gateways.credentials import Credentials
from lamina.gateways.definitions import Definitions
from lamina.gateways.index import Index, find_uv
from lamina.gateways.listings import Listings, default_index
from lamina.gateways.npm import Npm
from lamina.gateways.packuments import Packuments
from lamina.gateways.registry import Layers, Sightings, Table
from lamina.gateways.store import Store
from lamina.settings import Settings
from lamina.steps.check import CheckEvent, Gateways, run
from lamina.steps.resolve_nodejs import NodeGateways
from lamina.steps.resolve_python import PythonGateways
from lamina.steps.resolving import Sources

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ)

WORK = Path(tempfile.gettempdir())
UV = find_uv(WORK)
NPM = Npm(WORK, os.environ)
TABLE = Table(boto3.client("dynamodb"), settings.registry)
STORE = Store(boto3.client("s3"), settings.artifacts)
DEFINITIONS = Definitions(settings.definitions, STORE)
REACH = Gateways(
    sources=Sources(
        python=PythonGateways(
            index=Index(UV, sys.executable, WORK, os.environ),
            listings=Listings(lambda: default_index(UV, sys.executable, WORK, os.environ), WORK, os.environ),
            sightings=Sightings(TABLE),
        ),
        nodejs=NodeGateways(NPM, Packuments(NPM.registry, WORK, os.environ), Sightings(TABLE)),
        advisories=Advisories(settings.advisories, os.environ),
        credentials=Credentials(
            boto3.client("secretsmanager"), lambda region: boto3.client("codeartifact", region_name=region)
        ),
    ),
    layers=Layers(TABLE),
    store=STORE,
)


@logger.inject_lambda_context(correlation_id_path="run")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=CheckEvent)
def handler(event: CheckEvent, context: LambdaContext) -> dict[str, object]:
    """Check one variant."""
    logger.append_keys(run=event.run, variant=event.variant.variant)
    checked = run(event, DEFINITIONS.of(event.variant), REACH)
    metrics.add_metric(name="PackagesChanged", unit=MetricUnit.Count, value=len(checked.changes))
    logger.info("checked", extra={"outcome": checked.outcome, "summary": checked.summary})
    return checked.to_json()
