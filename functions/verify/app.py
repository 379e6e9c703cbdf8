"""Verify: imports everything that a candidate holds in a real function, before any other function sees it.

In: `VerifyEvent`. Out: `Verified`. Reads the definition; calls lambda:CreateFunction, GetFunction, InvokeFunction and
DeleteFunction on its own probe functions, ListFunctions, GetFunction on those of the fleet whose code it reads, the
registry and the artifacts bucket.
"""

from __future__ import annotations

import os
from pathlib import Path

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from lamina.fleet import Scope
from lamina.gateways.definitions import Definitions
from lamina.gateways.functions import Functions
from lamina.gateways.packages import Packages
from lamina.gateways.probes import TIMEOUT_S, Probes
from lamina.gateways.registry import Layers, Table
from lamina.gateways.store import Store
from lamina.gateways.usage import AT_ONCE, Usage
from lamina.gateways.web import Web
from lamina.settings import Settings
from lamina.steps.verify import Gateways, VerifyEvent, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ, "FUNCTION_NAMES", "PROBE_PREFIX", "PROBE_ROLE")

SOURCES = {path.name: path.read_bytes() for path in (Path(__file__).parent / "probe").glob("probe.*")}
# An invocation answers when the probe is done; a client that gave up earlier would invoke it a second time.
PATIENT = Config(read_timeout=TIMEOUT_S + 30, retries={"mode": "standard", "total_max_attempts": 5})
STORE = Store(boto3.client("s3"), settings.artifacts)
REACH = Gateways(
    probes=Probes(boto3.client("lambda", config=PATIENT), settings.probe_role),
    layers=Layers(Table(boto3.client("dynamodb"), settings.registry)),
    store=STORE,
    prefix=settings.probe_prefix,
    sources=SOURCES,
    usage=Usage(
        Functions(boto3.client("lambda")),
        Packages(Web(os.environ, at_once=AT_ONCE)),
        STORE,
        Scope(names=settings.function_names, own=f"{settings.stack}-"),
    ),
)
DEFINITIONS = Definitions(settings.definitions, STORE)


@logger.inject_lambda_context(correlation_id_path="run")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=VerifyEvent)
def handler(event: VerifyEvent, context: LambdaContext) -> dict[str, object]:
    """Prove one candidate."""
    logger.append_keys(run=event.run, variant=event.variant.variant)
    verified = run(event, DEFINITIONS.of(event.variant), REACH)
    metrics.add_metric(name="CandidatesRejected", unit=MetricUnit.Count, value=int(not verified.accepted))
    logger.info("verified", extra={"accepted": verified.accepted, "said": verified.message})
    return verified.to_json()
