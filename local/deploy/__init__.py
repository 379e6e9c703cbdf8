"""Deploys a SAM template: translated by SAM itself, then created resource by resource through the API.

moto's CloudFormation loses layers and architectures and knows neither build projects nor schedules; so each
resource is made by the call that CloudFormation would make, in the order that its references ask for. Property names
are checked against botocore's models: what would be ignored here is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import ClientError, ParamValidationError

from local.deploy import compute, storage
from local.deploy.context import Context
from local.deploy.errors import DeployError
from local.deploy.intrinsics import Created, Resolver, references
from local.deploy.properties import Properties
from local.deploy.translate import translate

_CREATORS: Mapping[str, Callable[[Context, str, Properties], Created]] = {
    "AWS::CloudWatch::Alarm": storage.alarm,
    "AWS::CloudWatch::Dashboard": storage.dashboard,
    "AWS::CodeBuild::Project": compute.project,
    "AWS::DynamoDB::Table": storage.table,
    "AWS::Events::EventBus": compute.event_bus,
    "AWS::Events::Rule": compute.rule,
    "AWS::IAM::ManagedPolicy": storage.managed_policy,
    "AWS::IAM::Policy": storage.policy,
    "AWS::IAM::Role": storage.role,
    "AWS::Lambda::Alias": compute.alias,
    "AWS::Lambda::EventInvokeConfig": compute.invoke_config,
    "AWS::Lambda::Function": compute.function,
    "AWS::Lambda::LayerVersion": compute.layer,
    "AWS::Lambda::LayerVersionPermission": compute.layer_permission,
    "AWS::Lambda::Permission": compute.permission,
    "AWS::Lambda::Url": compute.url,
    "AWS::Lambda::Version": compute.version,
    "AWS::Logs::LogGroup": storage.log_group,
    "AWS::S3::Bucket": storage.bucket,
    "AWS::S3::BucketPolicy": storage.bucket_policy,
    "AWS::SNS::Subscription": storage.subscription,
    "AWS::SNS::Topic": storage.topic,
    "AWS::SNS::TopicPolicy": storage.topic_policy,
    "AWS::SQS::Queue": storage.queue,
    "AWS::SQS::QueuePolicy": storage.queue_policy,
    "AWS::SSM::Parameter": storage.parameter,
    "AWS::Scheduler::Schedule": compute.schedule,
    "AWS::Scheduler::ScheduleGroup": compute.schedule_group,
    "AWS::StepFunctions::StateMachine": compute.state_machine,
}


class Target(Protocol):
    """The cloud to deploy to."""

    account: str
    region: str
    cache: Path

    def client(self, service: str) -> Any:
        """A boto3 client."""


@dataclass
class Stack:
    """A deployed stack: its outputs, and each logical ID's physical ID (what Ref gives)."""

    name: str
    outputs: dict[str, str]
    resources: dict[str, str]


def deploy(
    cloud: Target, template: Path, *, stack: str, parameters: Mapping[str, str], content: Mapping[str, Path]
) -> Stack:
    """Create what a SAM template describes; see `Cloud.deploy`."""
    plan = translate(template, parameters, cloud.region, content)
    document = plan.template
    resolver = Resolver(
        {**_pseudo(cloud, stack), **plan.parameters}, document.get("Mappings", {}), document.get("Conditions", {})
    )
    context = Context(stack, cloud.account, cloud.region, cloud.client, cloud.cache, plan.paths, plan.build_methods)
    resources = {
        name: resource
        for name, resource in document["Resources"].items()
        if "Condition" not in resource or resolver.condition(resource["Condition"])
    }
    unknown = sorted({f"{name} ({r['Type']})" for name, r in resources.items() if r["Type"] not in _CREATORS})
    if unknown:
        raise DeployError(f"no local counterpart for {', '.join(unknown)}")
    if plan.paths:
        compute.prepare(context)
    for name in _order(resources):
        resource = resources[name]
        where = f"Resources.{name}.Properties"
        given = Properties(where, resolver.resolve(resource.get("Properties", {}), where))
        try:
            resolver.created[name] = _CREATORS[resource["Type"]](context, name, given)
        except (ClientError, ParamValidationError) as problem:
            raise DeployError(f"Resources.{name} ({resource['Type']}): {problem}") from problem
    for name, resource in resources.items():
        if resource["Type"] == "AWS::Lambda::Function":
            compute.wait_until_active(context, resolver.created[name].ref)
    outputs = {
        name: str(resolver.resolve(output["Value"], f"Outputs.{name}"))
        for name, output in document.get("Outputs", {}).items()
        if "Condition" not in output or resolver.condition(output["Condition"])
    }
    physical = {name: made.ref for name, made in resolver.created.items()}
    # A layer version's logical ID gets a hash of its content; it is also known by the name that the template has.
    for name, resource in resources.items():
        if resource["Type"] == "AWS::Lambda::LayerVersion":
            physical[resource["Properties"]["Content"].get("S3Key", name)] = physical[name]
    return Stack(stack, outputs, physical)


def _pseudo(cloud: Target, stack: str) -> dict[str, str]:
    return {
        "AWS::AccountId": cloud.account,
        "AWS::Region": cloud.region,
        "AWS::Partition": "aws",
        "AWS::URLSuffix": "amazonaws.com",
        "AWS::StackName": stack,
        "AWS::StackId": f"arn:aws:cloudformation:{cloud.region}:{cloud.account}:stack/{stack}/local",
    }


def _order(resources: Mapping[str, Any]) -> list[str]:
    graph = {}
    for name, resource in resources.items():
        depends = resource.get("DependsOn", [])
        named = {depends} if isinstance(depends, str) else set(depends)
        graph[name] = (named | set(references(resource.get("Properties", {})))) & set(resources)
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as problem:
        raise DeployError(f"Resources: circular dependency {' → '.join(problem.args[1])}") from problem


__all__ = ["DeployError", "Stack", "deploy"]
