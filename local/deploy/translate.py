"""From a SAM template to plain CloudFormation, with the real translator and nothing fetched."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.public.exceptions import InvalidDocumentException
from samtranslator.translator.translator import Translator

from local.deploy.errors import DeployError
from local.models import boto_session

# Stands for the bucket that `sam package` would upload to; the key is the logical ID.
PLACE = "local"
_URIS = {
    "AWS::Serverless::Function": ("CodeUri", "AWS::Lambda::Function"),
    "AWS::Serverless::LayerVersion": ("ContentUri", "AWS::Lambda::LayerVersion"),
    "AWS::Serverless::StateMachine": ("DefinitionUri", "AWS::StepFunctions::StateMachine"),
}


@dataclass(frozen=True)
class Translated:
    """Plain CloudFormation, with what SAM's build would have needed: each folder or file, and each BuildMethod."""

    template: Mapping[str, Any]
    parameters: Mapping[str, str]
    paths: Mapping[str, Path]
    build_methods: Mapping[str, str]


def translate(path: Path, overrides: Mapping[str, str], region: str, content: Mapping[str, Path]) -> Translated:
    """Read and translate a template.

    Raises:
        DeployError: for an override that is no parameter, a parameter without a value or outside its allowed values,
            or what the translator refuses.
    """
    source: dict[str, Any] = copy.deepcopy(yaml_parse(path.read_text()))
    parameters = _parameters(source, overrides)
    globals_ = source.get("Globals", {})
    paths: dict[str, Path] = {}
    methods: dict[str, str] = {}
    for name, resource in source.get("Resources", {}).items():
        if resource["Type"] not in _URIS:
            continue
        key, _ = _URIS[resource["Type"]]
        properties = resource.setdefault("Properties", {})
        uri = properties.get(key, globals_.get("Function", {}).get(key) if key == "CodeUri" else None)
        if name in content:
            uri = content[name]
        if uri is not None:
            paths[name] = path.parent / str(uri)
            if not paths[name].exists():
                raise DeployError(f"Resources.{name}.{key}: {uri} does not exist beside the template")
            properties[key] = f"s3://{PLACE}/{name}"
        method = resource.get("Metadata", {}).get("BuildMethod")
        if method:
            methods[name] = method
    unknown = sorted(set(content) - set(paths))
    if unknown:
        raise DeployError(f"content: {', '.join(unknown)} is no function or layer of the template")
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    translator = Translator(None, Parser(), boto_session=boto_session(region))
    try:
        template = translator.translate(source, parameter_values=dict(parameters), get_managed_policy_map=dict)
    except InvalidDocumentException as problem:
        causes = "; ".join(str(cause.message) for cause in problem.causes) if problem.causes else str(problem)
        raise DeployError(f"{path.name}: {causes}") from problem
    return Translated(template, parameters, paths, methods)


def _parameters(source: Mapping[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    declared: Mapping[str, Any] = source.get("Parameters", {})
    unknown = sorted(set(overrides) - set(declared))
    if unknown:
        raise DeployError(f"no such parameter: {', '.join(unknown)}; the template has {', '.join(declared) or 'none'}")
    values: dict[str, Any] = {}
    for name, about in declared.items():
        if name not in overrides and "Default" not in about:
            raise DeployError(f"Parameters.{name}: has no default; give it a value")
        value = overrides.get(name, about.get("Default"))
        allowed = about.get("AllowedValues")
        if allowed and str(value) not in [str(one) for one in allowed]:
            raise DeployError(f"Parameters.{name}: {value!r} is not one of {allowed}")
        kind = about["Type"]
        if kind not in ("String", "Number", "CommaDelimitedList"):
            raise DeployError(f"Parameters.{name}: the type {kind} is not supported here")
        values[name] = str(value).split(",") if kind == "CommaDelimitedList" else str(value)
        if kind == "CommaDelimitedList" and not str(value):
            values[name] = []
    return values
