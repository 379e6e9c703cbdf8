"""Other layer definitions for a stack that is up, as the deployment of a changed repository brings them."""

from __future__ import annotations

import shutil
from pathlib import Path

from local.cloud import Cloud, Stack
from local.deploy.packages import zip_folder
from local.fleet import settled


def redeploy(cloud: Cloud, stack: Stack, definitions: Path) -> None:
    """Publish the definitions as a new version of the stack's layer, and give it to all functions that have the old."""
    lambdas = cloud.client("lambda")
    old = stack.resources["Definitions"]
    new: str = lambdas.publish_layer_version(
        LayerName=old.split(":")[-2], Content={"ZipFile": zip_folder(definitions)}
    )["LayerVersionArn"]
    changed = []
    for page in lambdas.get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            layers = [layer["Arn"] for layer in function.get("Layers", [])]
            if old in layers:
                layers = [new if arn == old else arn for arn in layers]
                lambdas.update_function_configuration(FunctionName=function["FunctionName"], Layers=layers)
                changed.append(function["FunctionName"])
    for name in changed:
        settled(lambdas, name)
    stack.resources["Definitions"] = new


def merged(definitions: Path, after: Path, target: Path) -> Path:
    """A copy of the definitions in `target`, with the files of `after` in the place of those of the same name."""
    shutil.copytree(definitions, target)
    shutil.copytree(after, target, dirs_exist_ok=True)
    return target
