"""Enroll: prepare a rollout and change nothing.

In: `EnrollEvent`. Out: `Enrolled`. Reads functions, aliases, code and metrics; writes lock, journal, history and
imports. Calls lambda:ListFunctions, GetFunction, GetAlias, ListProvisionedConcurrencyConfigs, GetLayerVersion,
cloudwatch:GetMetricData and DescribeAlarms, logs:FilterLogEvents, states:DescribeExecution, the registry and the
artifacts bucket; reads zips of code and layers.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.fleet import Scope
from lamina.gateways.alarms import Alarms
from lamina.gateways.definitions import Definitions
from lamina.gateways.executions import Executions
from lamina.gateways.functions import Functions
from lamina.gateways.metrics import Metrics as MetricsGateway
from lamina.gateways.packages import Packages
from lamina.gateways.registry import Layers, Table
from lamina.gateways.reports import Reports
from lamina.gateways.rollouts import Rollouts
from lamina.gateways.sizes import AT_ONCE, Sizes
from lamina.gateways.store import Store
from lamina.gateways.usage import Usage
from lamina.gateways.web import Web
from lamina.rollout import RolloutPolicy
from lamina.settings import Settings
from lamina.steps.enroll import EnrollEvent, Gateways, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ, "FUNCTION_NAMES")

TABLE = Table(boto3.client("dynamodb"), settings.registry)
SCOPE = Scope(names=settings.function_names, own=f"{settings.stack}-")
STORE = Store(boto3.client("s3"), settings.artifacts)
DEFINITIONS = Definitions(settings.definitions, STORE)
LAMBDA = boto3.client("lambda")
CLOUDWATCH = boto3.client("cloudwatch")
FUNCTIONS = Functions(LAMBDA)
PACKAGES = Packages(Web(os.environ, at_once=AT_ONCE))
REACH = Gateways(
    functions=FUNCTIONS,
    metrics=MetricsGateway(CLOUDWATCH),
    rollouts=Rollouts(TABLE),
    layers=Layers(TABLE),
    store=STORE,
    executions=Executions(boto3.client("stepfunctions")),
    sizes=Sizes(LAMBDA, FUNCTIONS, PACKAGES),
    usage=Usage(FUNCTIONS, PACKAGES, STORE, SCOPE),
    reports=Reports(boto3.client("logs")),
    alarms=Alarms(CLOUDWATCH),
)


@logger.inject_lambda_context(correlation_id_path="execution")
@tracer.capture_lambda_handler
@metrics.log_metrics
@event_parser(model=EnrollEvent)
def handler(event: EnrollEvent, context: LambdaContext) -> dict[str, object]:
    """Find the fleet, choose canaries and waves, write the journal."""
    logger.append_keys(rollout=event.rollout, variant=event.variant.variant)
    definition = DEFINITIONS.of(event.variant)
    policy = RolloutPolicy.model_validate(definition.tables.rollout.model_dump(by_alias=True))
    found = run(event, policy, definition.tables.layer.owner, SCOPE, REACH)
    metrics.add_metric(name="FunctionsEnrolled", unit=MetricUnit.Count, value=found.fleet - found.left_alone)
    logger.info("enrolled", extra=found.to_json())
    return found.to_json()
