"""Creates what does things: functions, layers, state machines, build projects, rules, schedules."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from samcli.yamlhelper import yaml_parse

from local.deploy.context import Context, shape, tags
from local.deploy.errors import DeployError
from local.deploy.intrinsics import Created
from local.deploy.packages import build_function, build_layer, make_layer, zip_folder
from local.deploy.properties import Properties, to_api
from local.deploy.translate import PLACE

_SUBSTITUTION = re.compile(r"\$\{([A-Za-z0-9_]+)\}")


def function(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Lambda::Function."""
    client = context.client("lambda")
    code = given.take("Code")
    name = given.take("FunctionName", context.name(logical))
    found = tags(given.take("Tags", None))
    reserved = given.take("ReservedConcurrentExecutions", None)
    request = given.api(shape("lambda", "CreateFunction"))
    folder = context.paths.get(code.get("S3Key", ""))
    if "ZipFile" in code:
        raise DeployError(f"{given.where}.Code: inline code is not supported here; give a CodeUri")
    if code.get("S3Bucket") == PLACE and folder is not None:
        archive = build_function(folder, request.get("Runtime", ""), context.cache)
        code = _stored(context, f"{logical}.zip", archive)
    made = client.create_function(FunctionName=name, Code=code, Tags=found, **request)
    if reserved is not None:
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=int(reserved))
    return Created(name, {"Arn": made["FunctionArn"]})


def layer(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Lambda::LayerVersion."""
    content = given.take("Content")
    name = given.take("LayerName", context.name(logical))
    request = given.api(shape("lambda", "PublishLayerVersion"))
    original = content.get("S3Key", "")
    if content.get("S3Bucket") == PLACE:
        folder = context.paths[original]
        method = context.build_methods.get(original)
        if method is None:
            archive = zip_folder(folder)
        elif method.startswith("python") or method == "makefile":
            runtimes = [runtime for runtime in request.get("CompatibleRuntimes", []) if runtime.startswith("python")]
            runtime = next(iter(runtimes), method)
            build = partial(make_layer, original) if method == "makefile" else build_layer
            archive = build(folder, runtime, context.cache)
        else:
            raise DeployError(f"{given.where}: the BuildMethod {method} is not supported here")
        content = _stored(context, f"{original}.zip", archive)
    made = context.client("lambda").publish_layer_version(LayerName=name, Content=content, **request)
    return Created(made["LayerVersionArn"], {"Arn": made["LayerArn"], "LayerVersionArn": made["LayerVersionArn"]})


def version(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Lambda::Version."""
    wait_until_active(context, given.peek("FunctionName"))
    made = context.client("lambda").publish_version(**given.api(shape("lambda", "PublishVersion")))
    return Created(made["FunctionArn"], {"Version": made["Version"], "FunctionArn": made["FunctionArn"]})


def alias(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Lambda::Alias."""
    made = context.client("lambda").create_alias(**given.api(shape("lambda", "CreateAlias")))
    return Created(made["AliasArn"], {"AliasArn": made["AliasArn"]})


def wait_until_active(context: Context, name: str) -> None:
    """Wait, as CloudFormation does, until a new function can be invoked, published and changed."""
    waiter = context.client("lambda").get_waiter("function_active_v2")
    waiter.wait(FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 1200})


def permission(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Lambda::Permission."""
    request = given.api(shape("lambda", "AddPermission"))
    context.client("lambda").add_permission(StatementId=context.name(logical), **request)
    return Created(context.name(logical))


def layer_permission(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Lambda::LayerVersionPermission."""
    name, number = given.take("LayerVersionArn").rsplit(":", 2)[1:]
    request = given.api(shape("lambda", "AddLayerVersionPermission"))
    context.client("lambda").add_layer_version_permission(
        LayerName=name, VersionNumber=int(number), StatementId=context.name(logical), **request
    )
    return Created(context.name(logical))


def url(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Lambda::Url."""
    name = given.take("TargetFunctionArn")
    request = given.api(shape("lambda", "CreateFunctionUrlConfig"))
    made = context.client("lambda").create_function_url_config(FunctionName=name, **request)
    return Created(made["FunctionArn"], {"FunctionUrl": made["FunctionUrl"], "FunctionArn": made["FunctionArn"]})


def invoke_config(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Lambda::EventInvokeConfig."""
    context.client("lambda").put_function_event_invoke_config(
        **given.api(shape("lambda", "PutFunctionEventInvokeConfig"))
    )
    return Created(context.name(logical))


def state_machine(context: Context, logical: str, given: Properties) -> Created:
    """AWS::StepFunctions::StateMachine, its definition file read and its substitutions made."""
    name = given.take("StateMachineName", context.name(logical, limit=80))
    substitutions: Mapping[str, Any] = given.take("DefinitionSubstitutions", {})
    location = given.take("DefinitionS3Location", None)
    inline = given.take("DefinitionString", None)
    kind = given.take("StateMachineType", "STANDARD")
    found = [{"key": key, "value": value} for key, value in tags(given.take("Tags", None)).items()]
    if location is not None and location["Bucket"] == PLACE:
        path = context.paths[location["Key"]]
        text = json.dumps(yaml_parse(path.read_text()))
        where = path.name
    else:
        text, where = str(inline), f"{given.where}.DefinitionString"
    for key, value in substitutions.items():
        text = text.replace("${" + key + "}", json.dumps(str(value))[1:-1])
    if left := sorted(set(_SUBSTITUTION.findall(text))):
        raise DeployError(f"{where}: no substitution for {', '.join(left)}")
    unused = sorted(
        key for key in substitutions if "${" + key + "}" not in (path.read_text() if location else str(inline))
    )
    if unused and location is not None:
        raise DeployError(f"{given.where}.DefinitionSubstitutions: {where} does not use {', '.join(unused)}")
    request = given.api(shape("stepfunctions", "CreateStateMachine"))
    arn = context.client("stepfunctions").create_state_machine(
        name=name, definition=text, type=kind, tags=found, **request
    )["stateMachineArn"]
    return Created(arn, {"Arn": arn, "Name": name})


def project(context: Context, logical: str, given: Properties) -> Created:
    """AWS::CodeBuild::Project."""
    name = given.take("Name", context.name(logical))
    found = [{"key": key, "value": value} for key, value in tags(given.take("Tags", None)).items()]
    source = {("buildspec" if key == "BuildSpec" else key): value for key, value in given.take("Source").items()}
    members = shape("codebuild", "CreateProject").members
    request = given.api(shape("codebuild", "CreateProject"), Visibility="projectVisibility")
    # Every project made by CloudFormation is private; the API takes no visibility at creation.
    request.pop("projectVisibility", None)
    request["source"] = to_api(source, members["source"], f"{given.where}.Source")
    made = context.client("codebuild").create_project(name=name, tags=found, **request)["project"]
    return Created(name, {"Arn": made["arn"]})


def rule(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Events::Rule."""
    events = context.client("events")
    name = given.take("Name", context.name(logical))
    pattern = given.take("EventPattern", None)
    targets = given.take("Targets", [])
    bus = {"EventBusName": given.take("EventBusName")} if "EventBusName" in given else {}
    request = given.api(shape("events", "PutRule"))
    if pattern is not None:
        request["EventPattern"] = pattern if isinstance(pattern, str) else json.dumps(pattern)
    arn = events.put_rule(Name=name, **bus, **request)["RuleArn"]
    if targets:
        wanted = to_api(targets, shape("events", "PutTargets").members["Targets"], f"{given.where}.Targets")
        events.put_targets(Rule=name, Targets=wanted, **bus)
    return Created(name, {"Arn": arn})


def event_bus(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Events::EventBus."""
    name = given.take("Name")
    arn = context.client("events").create_event_bus(Name=name, **given.api(shape("events", "CreateEventBus")))[
        "EventBusArn"
    ]
    return Created(name, {"Arn": arn, "Name": name})


def schedule(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Scheduler::Schedule."""
    name = given.take("Name", context.name(logical))
    arn = context.client("scheduler").create_schedule(Name=name, **given.api(shape("scheduler", "CreateSchedule")))
    return Created(name, {"Arn": arn["ScheduleArn"]})


def schedule_group(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Scheduler::ScheduleGroup."""
    name = given.take("Name", context.name(logical))
    given.take("Tags", None)
    given.done()
    return Created(name, {"Arn": context.client("scheduler").create_schedule_group(Name=name)["ScheduleGroupArn"]})


def prepare(context: Context) -> None:
    """Make the bucket for code and layers, as `sam deploy` does."""
    s3 = context.client("s3")
    # It is there already where an earlier attempt at this stack failed.
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=_packages(context), CreateBucketConfiguration={"LocationConstraint": context.region})


def _packages(context: Context) -> str:
    return f"{context.stack}-packages-{context.account}".lower()


def _stored(context: Context, name: str, archive: bytes) -> dict[str, str]:
    context.client("s3").put_object(Bucket=_packages(context), Key=name, Body=archive)
    return {"S3Bucket": _packages(context), "S3Key": name}
