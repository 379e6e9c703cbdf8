"""The template against the design: one word for one thing, least privilege, sensible defaults, bounded time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local.states.query import Query

ROOT = Path(__file__).parents[2]
Template = dict[str, Any]

CHANGES = {"lambda:UpdateFunctionConfiguration", "lambda:PublishVersion", "lambda:UpdateAlias"}
"""What changes a team's function."""

NOTHING_FINER = {
    "lambda:ListFunctions",
    "cloudwatch:DescribeAlarms",  # with anything finer it answers no composite alarms
    "cloudwatch:GetMetricData",
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}
"""Actions for which AWS offers no resource but *."""

BESIDE = {"Poll", "Webhook"}
"""Functions that no state machine runs: they look for reasons to start one."""


ASKING = {"Ask"}
"""States that wait for a person, as long as the layer's definition says: hours, where a function takes minutes."""


def of_type(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    return {name: one["Properties"] for name, one in template["Resources"].items() if one["Type"] == kind}


def functions(template: Template) -> dict[str, dict[str, Any]]:
    return of_type(template, "AWS::Serverless::Function")


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for policy in properties["Policies"]:
        yield from policy.get("PolicyDocument", policy)["Statement"]


def states(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in machine["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states(state["ItemProcessor"])


def invoked(machine: dict[str, Any]) -> dict[str, str]:
    """State → the substitution that names its function."""
    return {
        name: re.fullmatch(r"\$\{(\w+)\}", state["Arguments"]["FunctionName"])[1]  # type: ignore[index]
        for name, state in states(machine)
        if str(state.get("Resource", "")).endswith((":lambda:invoke", ":lambda:invoke.waitForTaskToken"))
    }


def test_state_folder_logical_id_and_substitution_are_one_word(
    template: Template, machines: dict[str, dict[str, Any]]
) -> None:
    used: set[str] = set()
    for machine in machines.values():
        for state, substitution in invoked(machine).items():
            assert state == substitution
            used.add(state)
    assert used | BESIDE == set(functions(template))
    assert {name.lower() for name in used | BESIDE} == {
        path.parent.name for path in (ROOT / "functions").glob("*/app.py")
    }
    for name, properties in functions(template).items():
        assert properties["CodeUri"] == f"functions/{name.lower()}/"
        assert properties["FunctionName"] == {"Fn::Sub": f"${{AWS::StackName}}-{name.lower()}"}


def test_every_substitution_is_given_and_used(template: Template) -> None:
    for name, properties in of_type(template, "AWS::Serverless::StateMachine").items():
        text = (ROOT / properties["DefinitionUri"]).read_text()
        assert properties["DefinitionUri"] == f"statemachine/{name.lower()}.asl.yaml"
        wanted = set(re.findall(r"\$\{(\w+)\}", text))
        given = properties["DefinitionSubstitutions"]
        assert wanted == set(given), name
        for substitution, value in given.items():
            expected = ({"Fn::GetAtt": [substitution, "Arn"]}, {"Ref": substitution}, {"Ref": "AWS::Partition"})
            assert value in expected, f"{name}: {substitution}"


def test_only_attach_and_restore_may_change_a_function_and_only_within_the_parameter(template: Template) -> None:
    allowed = set()
    for name, properties in functions(template).items():
        for statement in statements(properties):
            actions = set(as_list(statement["Action"])) & CHANGES
            if not actions:
                continue
            if statement["Effect"] == "Deny":
                assert "${AWS::StackName}-*" in json.dumps(statement["Resource"])
                continue
            allowed.add(name)
            for resource in as_list(statement["Resource"]):
                assert "${FunctionNames}" in resource["Fn::Sub"]
    assert allowed == {"Attach", "Restore"}


def test_whoever_may_change_functions_is_denied_lamina_s_own(template: Template) -> None:
    for name in ("Attach", "Restore"):
        denied = {
            action
            for statement in statements(functions(template)[name])
            if statement["Effect"] == "Deny"
            for action in as_list(statement["Action"])
        }
        assert denied == CHANGES


def test_whoever_writes_the_journal_may_check_that_the_rollout_is_open(template: Template) -> None:
    may = {
        name
        for name, properties in functions(template).items()
        for statement in statements(properties)
        if "dynamodb:ConditionCheckItem" in as_list(statement["Action"])
    }
    assert may == {"Enroll", "Attach", "Restore", "Confirm", "Steer"}


def test_whatever_anybody_may_call_writes_nothing_but_what_it_has_seen_and_starts_nothing_itself(
    template: Template,
) -> None:
    written = {"dynamodb:PutItem", "dynamodb:DeleteItem"}
    for name, leading in (("Webhook", {"ForAllValues:StringLike": ["DELIVERY#*"]}), ("Poll", None)):
        may = {action for one in statements(functions(template)[name]) for action in as_list(one["Action"])}
        assert not {action for action in may if action.startswith(("states:", "lambda:", "s3:"))}, name
        for statement in statements(functions(template)[name]):
            actions = set(as_list(statement["Action"]))
            if actions & written:
                assert actions <= written
                conditions = statement["Condition"]
                found = {kind: keys["dynamodb:LeadingKeys"] for kind, keys in conditions.items()}
                assert found == (leading or {"ForAllValues:StringEquals": ["NOTICE"]})
            if "events:PutEvents" in actions:
                assert statement["Condition"]["StringEquals"]["events:source"] == "lamina.advisory"


def test_without_its_secret_nothing_of_the_webhook_exists(template: Template) -> None:
    parts = {name for name, one in template["Resources"].items() if "Webhook" in name}
    assert parts == {"Webhook", "WebhookUrl", "WebhookUrlPermission", "WebhookPermission"}
    assert all(template["Resources"][name]["Condition"] == "Hooked" for name in parts)
    assert template["Parameters"]["WebhookSecret"]["Default"] == ""
    output = template["Outputs"]["WebhookUrl"]
    assert output["Condition"] == "Hooked"


def test_both_rights_that_a_function_url_needs_are_given_and_hold_for_the_url_alone(template: Template) -> None:
    given = of_type(template, "AWS::Lambda::Permission")
    assert {one["Action"] for one in given.values()} == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    for one in given.values():
        assert one.get("FunctionUrlAuthType") == "NONE" or one.get("InvokedViaFunctionUrl") is True


def test_only_promote_moves_the_pointer_parameters(template: Template) -> None:
    may = {
        name
        for name, properties in functions(template).items()
        for statement in statements(properties)
        if "ssm:PutParameter" in as_list(statement["Action"])
    }
    assert may == {"Promote"}


def test_no_action_is_a_pattern_and_no_resource_is_everything_where_aws_offers_something_finer(
    template: Template,
) -> None:
    owners = (
        functions(template) | of_type(template, "AWS::Serverless::StateMachine") | of_type(template, "AWS::IAM::Role")
    )
    for name, properties in owners.items():
        for statement in statements(properties):
            actions = as_list(statement["Action"])
            assert not [action for action in actions if "*" in action], name
            if "*" in as_list(statement["Resource"]):
                assert set(actions) <= NOTHING_FINER, name


def test_roles_that_aws_services_assume_are_bounded_and_guarded(template: Template) -> None:
    for name, properties in of_type(template, "AWS::IAM::Role").items():
        assert "PermissionsBoundary" in properties, name
    assert "PermissionsBoundary" in template["Globals"]["Function"]


def test_every_parameter_has_a_default_and_a_description_that_says_something(template: Template) -> None:
    assert template["Parameters"]
    for name, parameter in template["Parameters"].items():
        assert "Default" in parameter, name
        assert len(parameter["Description"]) > 20, name
    assert template["Parameters"]["FunctionNames"]["Default"] != "*"


def test_a_state_waits_longer_than_its_function_may_take(
    template: Template, machines: dict[str, dict[str, Any]]
) -> None:
    for machine in machines.values():
        for state, body in states(machine):
            if body["Type"] == "Task" and state not in ASKING:
                assert body["TimeoutSeconds"] > 0, state
        for state, function in invoked(machine).items():
            if state in ASKING:
                continue
            timeout = dict(states(machine))[state]["TimeoutSeconds"]
            assert timeout >= functions(template)[function]["Timeout"], state


def test_a_transient_failure_of_any_task_is_retried(machines: dict[str, dict[str, Any]]) -> None:
    for name, machine in machines.items():
        for state, body in states(machine):
            if body["Type"] == "Task":
                assert body.get("Retry"), f"{name}: {state}"


def test_the_branch_of_a_variant_catches_everything(machines: dict[str, dict[str, Any]]) -> None:
    branch = machines["update"]["States"]["Layers"]["ItemProcessor"]
    for state, body in states(branch):
        if body["Type"] == "Task":
            assert any(catch["ErrorEquals"] == ["States.ALL"] for catch in body["Catch"]), state


@pytest.mark.parametrize("state", ["Enroll", "Ask", "Attach", "Watch", "Promote"])
def test_whatever_fails_in_a_rollout_leads_to_the_rollback(machines: dict[str, dict[str, Any]], state: str) -> None:
    catches = machines["rollout"]["States"][state]["Catch"]
    assert catches[-1]["ErrorEquals"] == ["States.ALL"]
    assert catches[-1]["Next"] == "Rollback"


def test_a_rollout_that_was_put_back_never_ends_green(machines: dict[str, dict[str, Any]]) -> None:
    rollout = machines["rollout"]["States"]
    assert rollout[rollout["Rollback"]["Next"]]["Type"] == "Fail"
    assert all(rollout[catch["Next"]]["Type"] == "Fail" for catch in rollout["Rollback"]["Catch"])


def test_rollouts_that_ended_badly_are_put_back_by_a_rule(template: Template) -> None:
    rule = template["Resources"]["Recovery"]["Properties"]
    detail = rule["EventPattern"]["detail"]
    assert detail["stateMachineArn"] == [{"Ref": "Rollout"}]
    assert set(detail["status"]) == {"ABORTED", "TIMED_OUT", "FAILED"}
    assert rule["Targets"][0]["Arn"] == {"Ref": "Rollback"}


def test_what_it_remembers_is_kept_encrypted_private_and_versioned(template: Template) -> None:
    table, bucket = template["Resources"]["Registry"], template["Resources"]["Artifacts"]
    assert table["DeletionPolicy"] == bucket["DeletionPolicy"] == "Retain"
    assert table["Properties"]["BillingMode"] == "PAY_PER_REQUEST"
    assert table["Properties"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert bucket["Properties"]["VersioningConfiguration"]["Status"] == "Enabled"
    assert bucket["Properties"]["BucketEncryption"]
    assert all(bucket["Properties"]["PublicAccessBlockConfiguration"].values())
    assert bucket["Properties"]["LifecycleConfiguration"]["Rules"]


def test_log_groups_are_not_kept_for_ever(template: Template) -> None:
    for name, properties in of_type(template, "AWS::Logs::LogGroup").items():
        assert properties["RetentionInDays"] == {"Ref": "LogRetentionDays"}, name


def test_everything_is_traced(template: Template) -> None:
    assert template["Globals"]["Function"]["Tracing"] == "Active"
    for properties in of_type(template, "AWS::Serverless::StateMachine").values():
        assert properties["Tracing"]["Enabled"] is True


FAILED_BUILD = {
    "Build": {
        "Phases": [
            {"PhaseType": "INSTALL", "PhaseStatus": "SUCCEEDED"},
            {"PhaseType": "BUILD", "PhaseStatus": "FAILED", "Contexts": [{"Message": "exit status 1"}]},
        ],
        "Logs": {"DeepLink": "https://console/log"},
    }
}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"Error": "ResolutionFailed", "Cause": '{"errorMessage": "no idna 99", "stackTrace": []}'}, "no idna 99"),
        (
            {"Error": "States.TaskFailed", "Cause": json.dumps(FAILED_BUILD)},
            "the build failed in its phase BUILD: exit status 1. Its log: https://console/log",
        ),
        ({"Error": "States.Timeout", "Cause": "the state took longer"}, "States.Timeout: the state took longer"),
        ({"Error": "States.Timeout"}, "States.Timeout: "),
        ({"Error": "Odd", "Cause": "{}"}, "Odd: {}"),
    ],
)
def test_a_failed_step_says_what_it_said_and_not_how(
    machines: dict[str, dict[str, Any]], error: dict[str, str], said: str
) -> None:
    failed = machines["update"]["States"]["Layers"]["ItemProcessor"]["States"]["Failed"]
    query = Query({}, {"error": error}, lambda: datetime.now(UTC))
    assert query.field("Output", failed["Output"]["message"]) == said


@pytest.mark.parametrize(
    ("policy", "condition", "roles", "parameter", "actions"),
    [
        ("DefinitionsAccess", "Elsewhere", ["PlanRole"], "DefinitionsLocation", {"s3:ListBucket", "s3:GetObject"}),
        (
            "SecretsAccess",
            "Secretive",
            ["CheckRole", "BundleRole"],
            "PrivateIndexSecrets",
            {"secretsmanager:GetSecretValue"},
        ),
        (
            "RepositoriesAccess",
            "Repositories",
            ["CheckRole", "BundleRole"],
            "CodeArtifactRepositories",
            {
                "codeartifact:GetRepositoryEndpoint",
                "codeartifact:ReadFromRepository",
                "codeartifact:GetAuthorizationToken",
                "sts:GetServiceBearerToken",
            },
        ),
    ],
)
def test_what_a_user_names_is_read_by_those_who_need_it_and_only_if_it_is_named(
    template: Template, policy: str, condition: str, roles: list[str], parameter: str, actions: set[str]
) -> None:
    resource = template["Resources"][policy]

    assert resource["Condition"] == condition
    assert parameter in json.dumps(template["Conditions"][condition])
    assert template["Parameters"][parameter]["Default"] == ""
    assert resource["Properties"]["Roles"] == [{"Ref": role} for role in roles]
    given = resource["Properties"]["PolicyDocument"]["Statement"]
    assert {action for statement in given for action in as_list(statement["Action"])} == actions
    for statement in given:
        bounded = parameter in json.dumps(statement["Resource"]) or "Condition" in statement
        assert bounded or "codeartifact:GetAuthorizationToken" in as_list(statement["Action"])


def test_only_publish_signs_and_only_with_profiles_that_are_named(template: Template) -> None:
    signing = template["Resources"]["SigningAccess"]
    given = signing["Properties"]["PolicyDocument"]["Statement"]
    resources = {action: one["Resource"] for one in given for action in as_list(one["Action"])}

    assert (signing["Condition"], signing["Properties"]["Roles"]) == ("Signing", [{"Ref": "PublishRole"}])
    assert "SigningProfiles" in json.dumps(template["Conditions"]["Signing"])
    assert resources["signer:StartSigningJob"] == {"Ref": "SigningProfiles"}
    assert "signing-jobs/*" in json.dumps(resources["signer:DescribeSigningJob"])
    # What a build left is read, and the signed zip is written beside it: nothing else of the bucket.
    assert "output/layer.zip" in json.dumps(resources["s3:GetObjectVersion"])
    assert "output/signed/*" in json.dumps(resources["s3:PutObject"])
    elsewhere = [name for name, one in template["Resources"].items() if "signer:" in json.dumps(one)]
    assert elsewhere == ["SigningAccess"]


@pytest.mark.parametrize(
    ("location", "fits"),
    [
        ("", True),
        ("s3://my-bucket/", True),
        ("s3://my-bucket/teams/layers/", True),
        ("s3://my-bucket", False),
        ("s3://my-bucket/layers", False),
        ("s3://my-bucket/*/", False),
        ("my-bucket/layers/", False),
    ],
)
def test_a_place_of_definitions_is_one_that_rights_can_be_made_of(
    template: Template, location: str, fits: bool
) -> None:
    pattern = template["Parameters"]["DefinitionsLocation"]["AllowedPattern"]

    assert (re.fullmatch(pattern, location) is not None) is fits
