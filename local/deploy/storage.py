"""Creates what keeps things: tables, buckets, topics, queues, parameters, logs, alarms, roles."""

from __future__ import annotations

import json
from typing import Any

from local.deploy.context import Context, shape, tags
from local.deploy.intrinsics import Created
from local.deploy.properties import Properties


def table(context: Context, logical: str, given: Properties) -> Created:
    """AWS::DynamoDB::Table."""
    dynamodb = context.client("dynamodb")
    recovery = given.take("PointInTimeRecoverySpecification", None)
    ttl = given.take("TimeToLiveSpecification", None)
    stream = given.take("StreamSpecification", None)
    encryption = given.take("SSESpecification", None)
    name = given.take("TableName", context.name(logical))
    request = given.api(shape("dynamodb", "CreateTable"))
    if stream:
        request["StreamSpecification"] = {"StreamEnabled": True, **stream}
    if encryption:
        request["SSESpecification"] = {
            ("Enabled" if key == "SSEEnabled" else key): value for key, value in encryption.items()
        }
    made = dynamodb.create_table(TableName=name, **request)["TableDescription"]
    if recovery:
        specification = {"PointInTimeRecoveryEnabled": bool(recovery["PointInTimeRecoveryEnabled"])}
        dynamodb.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=specification)
    if ttl:
        dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=ttl)
    return Created(name, {"Arn": made["TableArn"], "StreamArn": made.get("LatestStreamArn", "")})


def bucket(context: Context, logical: str, given: Properties) -> Created:
    """AWS::S3::Bucket."""
    s3 = context.client("s3")
    name = given.take("BucketName", context.name(logical, lower=True))
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": context.region})
    if versioning := given.take("VersioningConfiguration", None):
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=versioning)
    if encryption := given.take("BucketEncryption", None):
        rules = [
            {("ApplyServerSideEncryptionByDefault" if key == "ServerSideEncryptionByDefault" else key): value
             for key, value in rule.items()}
            for rule in encryption["ServerSideEncryptionConfiguration"]
        ]  # fmt: skip
        s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
    if block := given.take("PublicAccessBlockConfiguration", None):
        s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
    if lifecycle := given.take("LifecycleConfiguration", None):
        rules = [_lifecycle_rule(Properties(f"{given.where}.LifecycleConfiguration", r)) for r in lifecycle["Rules"]]
        s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})
    if ownership := given.take("OwnershipControls", None):
        s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=ownership)
    if notification := given.take("NotificationConfiguration", None):
        if "EventBridgeConfiguration" in notification:
            notification = {**notification, "EventBridgeConfiguration": {}}
        s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration=notification)
    if found := given.take("Tags", None):
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": found})
    given.done()
    attributes = {"Arn": f"arn:aws:s3:::{name}", "DomainName": f"{name}.s3.amazonaws.com"}
    return Created(name, attributes | {"RegionalDomainName": f"{name}.s3.{context.region}.amazonaws.com"})


def _lifecycle_rule(given: Properties) -> dict[str, Any]:
    rule: dict[str, Any] = {"Status": given.take("Status"), "Filter": {"Prefix": given.take("Prefix", "")}}
    if identifier := given.take("Id", None):
        rule["ID"] = identifier
    if days := given.take("ExpirationInDays", None):
        rule["Expiration"] = {"Days": int(days)}
    if given.take("ExpiredObjectDeleteMarker", None):
        rule["Expiration"] = {"ExpiredObjectDeleteMarker": True}
    if noncurrent := given.take("NoncurrentVersionExpiration", None):
        rule["NoncurrentVersionExpiration"] = {key: int(value) for key, value in noncurrent.items()}
    if days := given.take("NoncurrentVersionExpirationInDays", None):
        rule["NoncurrentVersionExpiration"] = {"NoncurrentDays": int(days)}
    if abort := given.take("AbortIncompleteMultipartUpload", None):
        rule["AbortIncompleteMultipartUpload"] = {key: int(value) for key, value in abort.items()}
    if transitions := given.take("Transitions", None):
        rule["Transitions"] = [
            {"Days": int(t["TransitionInDays"]), "StorageClass": t["StorageClass"]} for t in transitions
        ]
    given.done()
    return rule


def bucket_policy(context: Context, logical: str, given: Properties) -> Created:
    """AWS::S3::BucketPolicy."""
    name = given.take("Bucket")
    document = given.take("PolicyDocument")
    # moto knows no conditions, and this machine's loopback is plain HTTP: a statement against that would deny all.
    kept = [
        one for one in document["Statement"] if "aws:SecureTransport" not in one.get("Condition", {}).get("Bool", {})
    ]
    if kept:
        policy = json.dumps({**document, "Statement": kept})
        context.client("s3").put_bucket_policy(Bucket=name, Policy=policy)
    given.done()
    return Created(f"{name}-policy")


def topic(context: Context, logical: str, given: Properties) -> Created:
    """AWS::SNS::Topic."""
    sns = context.client("sns")
    name = given.take("TopicName", context.name(logical))
    attributes = {key: str(given.take(key)) for key in ("KmsMasterKeyId", "DisplayName") if key in given}
    found = [{"Key": key, "Value": value} for key, value in tags(given.take("Tags", None)).items()]
    arn = sns.create_topic(Name=name, Attributes=attributes, Tags=found)["TopicArn"]
    for subscription in given.take("Subscription", []):
        sns.subscribe(TopicArn=arn, Protocol=subscription["Protocol"], Endpoint=subscription["Endpoint"])
    given.done()
    return Created(arn, {"TopicArn": arn, "TopicName": name})


def topic_policy(context: Context, logical: str, given: Properties) -> Created:
    """AWS::SNS::TopicPolicy."""
    document = json.dumps(given.take("PolicyDocument"))
    for arn in given.take("Topics"):
        context.client("sns").set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=document)
    given.done()
    return Created(context.name(logical))


def subscription(context: Context, logical: str, given: Properties) -> Created:
    """AWS::SNS::Subscription."""
    policy = given.take("FilterPolicy", None)
    request = given.api(shape("sns", "Subscribe"))
    if policy:
        request["Attributes"] = {"FilterPolicy": json.dumps(policy)}
    return Created(context.client("sns").subscribe(ReturnSubscriptionArn=True, **request)["SubscriptionArn"])


def queue(context: Context, logical: str, given: Properties) -> Created:
    """AWS::SQS::Queue."""
    sqs = context.client("sqs")
    name = given.take("QueueName", context.name(logical))
    found = tags(given.take("Tags", None))
    redrive = given.take("RedrivePolicy", None)
    attributes = {key: str(value) for key, value in given.rest().items()}
    if redrive:
        attributes["RedrivePolicy"] = json.dumps(redrive)
    url = sqs.create_queue(QueueName=name, Attributes=attributes, tags=found)["QueueUrl"]
    return Created(url, {"Arn": context.arn("sqs", name), "QueueName": name, "QueueUrl": url})


def queue_policy(context: Context, logical: str, given: Properties) -> Created:
    """AWS::SQS::QueuePolicy."""
    document = json.dumps(given.take("PolicyDocument"))
    for url in given.take("Queues"):
        context.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": document})
    given.done()
    return Created(context.name(logical))


def parameter(context: Context, logical: str, given: Properties) -> Created:
    """AWS::SSM::Parameter."""
    name = given.take("Name", context.name(logical))
    found = [{"Key": key, "Value": value} for key, value in tags(given.take("Tags", None)).items()]
    request = given.api(shape("ssm", "PutParameter"))
    context.client("ssm").put_parameter(Name=name, **request, **({"Tags": found} if found else {}))
    return Created(name, {"Value": request["Value"], "Type": request["Type"]})


def log_group(context: Context, logical: str, given: Properties) -> Created:
    """AWS::Logs::LogGroup."""
    logs = context.client("logs")
    name = given.take("LogGroupName", context.name(logical))
    days = given.take("RetentionInDays", None)
    found = tags(given.take("Tags", None))
    logs.create_log_group(logGroupName=name, tags=found, **given.api(shape("logs", "CreateLogGroup")))
    if days:
        logs.put_retention_policy(logGroupName=name, retentionInDays=int(days))
    return Created(name, {"Arn": context.arn("logs", f"log-group:{name}:*")})


def alarm(context: Context, logical: str, given: Properties) -> Created:
    """AWS::CloudWatch::Alarm."""
    name = given.take("AlarmName", context.name(logical))
    request = given.api(shape("cloudwatch", "PutMetricAlarm"))
    context.client("cloudwatch").put_metric_alarm(AlarmName=name, **request)
    return Created(name, {"Arn": context.arn("cloudwatch", f"alarm:{name}")})


def dashboard(context: Context, logical: str, given: Properties) -> Created:
    """AWS::CloudWatch::Dashboard."""
    name = given.take("DashboardName", context.name(logical))
    body = given.take("DashboardBody")
    given.done()
    json.loads(body)
    context.client("cloudwatch").put_dashboard(DashboardName=name, DashboardBody=body)
    return Created(name)


def role(context: Context, logical: str, given: Properties) -> Created:
    """AWS::IAM::Role."""
    iam = context.client("iam")
    name = given.take("RoleName", context.name(logical))
    found = [{"Key": key, "Value": value} for key, value in tags(given.take("Tags", None)).items()]
    document = json.dumps(given.take("AssumeRolePolicyDocument"))
    more = {key: given.take(key) for key in ("Description", "MaxSessionDuration", "Path") if key in given}
    boundary = given.take("PermissionsBoundary", None)
    if boundary:
        more["PermissionsBoundary"] = boundary
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document, Tags=found, **more)["Role"]
    for policy in given.take("Policies", []):
        # IAM takes a document without a version, as SAM's short form has it; moto does not.
        text = json.dumps({"Version": "2012-10-17", **policy["PolicyDocument"]})
        iam.put_role_policy(RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=text)
    for arn in given.take("ManagedPolicyArns", []):
        _managed(context, arn)
        iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    given.done()
    return Created(name, {"Arn": made["Arn"], "RoleId": made["RoleId"]})


def _managed(context: Context, arn: str) -> None:
    """AWS's own managed policies are not loaded into moto, which takes seconds; an empty one stands for each."""
    from moto.iam.models import AWSManagedPolicy, iam_backends

    backend: Any = iam_backends[context.account]["aws"]
    if arn.startswith("arn:aws:iam::aws:policy/") and arn not in backend.managed_policies:
        name = arn.rsplit("/", 1)[1]
        path = "/" + arn.removeprefix("arn:aws:iam::aws:policy/").removesuffix(name)
        data = {
            "CreateDate": "2020-01-01T00:00:00+00:00", "DefaultVersionId": "v1", "Path": path,
            "UpdateDate": "2020-01-01T00:00:00+00:00", "Document": {"Version": "2012-10-17", "Statement": []},
        }  # fmt: skip
        backend.managed_policies[arn] = AWSManagedPolicy.from_data(name, context.account, context.region, data)


def managed_policy(context: Context, logical: str, given: Properties) -> Created:
    """AWS::IAM::ManagedPolicy."""
    iam = context.client("iam")
    name = given.take("ManagedPolicyName", context.name(logical))
    document = json.dumps(given.take("PolicyDocument"))
    description = given.take("Description", "")
    arn = iam.create_policy(PolicyName=name, PolicyDocument=document, Description=description)["Policy"]["Arn"]
    for role_name in given.take("Roles", []):
        iam.attach_role_policy(RoleName=role_name, PolicyArn=arn)
    given.done()
    return Created(arn, {"PolicyArn": arn})


def policy(context: Context, logical: str, given: Properties) -> Created:
    """AWS::IAM::Policy."""
    name, document = given.take("PolicyName"), json.dumps(given.take("PolicyDocument"))
    for role_name in given.take("Roles"):
        context.client("iam").put_role_policy(RoleName=role_name, PolicyName=name, PolicyDocument=document)
    given.done()
    return Created(name)
