"""Ask: tells people that a rollout waits for their answer, and how to give it.

In: `AskEvent`, with the token that the answer is given for. Out: `Asked`. Writes the rollout's page to the artifacts
bucket; calls the registry, sns:Publish and states:SendTaskSuccess.
"""

from __future__ import annotations

import os

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from lamina.gateways.executions import Executions
from lamina.gateways.registry import Layers, Runs, Table
from lamina.gateways.rollouts import Rollouts
from lamina.gateways.store import Store
from lamina.gateways.topic import Topic
from lamina.settings import Settings
from lamina.steps import report
from lamina.steps.ask import AskEvent, Gateways, run

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = Settings.from_environment(os.environ, "TOPIC", "ROLLBACK")

TABLE = Table(boto3.client("dynamodb"), settings.registry)
STATES = boto3.client("stepfunctions")
REACH = Gateways(
    report=report.Gateways(
        rollouts=Rollouts(TABLE),
        layers=Layers(TABLE),
        runs=Runs(TABLE),
        store=Store(boto3.client("s3"), settings.artifacts),
        topic=Topic(boto3.client("sns"), settings.topic),
        rollback=settings.rollback,
    ),
    executions=Executions(STATES),
    region=STATES.meta.region_name,
)


# The token is left out of the log: whoever has it may answer.
@logger.inject_lambda_context(correlation_id_path="rollout")
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
@event_parser(model=AskEvent)
def handler(event: AskEvent, context: LambdaContext) -> dict[str, object]:
    """Send the question."""
    logger.append_keys(rollout=event.rollout, wave=event.wave)
    asked = run(event, REACH)
    metrics.add_metric(name="Questions", unit=MetricUnit.Count, value=int(asked.told))
    logger.info("asked", extra=asked.to_json())
    return asked.to_json()
