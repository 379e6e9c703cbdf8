"""Lambda's layer versions: list, publish, look at one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lamina.model import LayerArn

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


@dataclass(frozen=True)
class PublishedVersion:
    """A layer version as Lambda knows it."""

    version: int
    arn: LayerArn
    description: str


class LayerVersions:
    """The versions of layers in this account and region."""

    def __init__(self, client: LambdaClient) -> None:
        self._client = client

    def versions(self, layer: str) -> Iterator[PublishedVersion]:
        """All versions of a layer, newest first; none for a layer that does not exist."""
        arguments: dict[str, Any] = {"LayerName": layer}
        while True:
            page = self._client.list_layer_versions(**arguments)
            for row in page["LayerVersions"]:
                yield PublishedVersion(row["Version"], row["LayerVersionArn"], row.get("Description", ""))
            if not page.get("NextMarker"):
                return
            arguments["Marker"] = page["NextMarker"]

    def publish(
        self,
        layer: str,
        *,
        bucket: str,
        key: str,
        description: str,
        runtimes: Sequence[str],
        architectures: Sequence[str],
        license_info: str,
    ) -> PublishedVersion:
        """Publish a zip from S3 as the layer's next version; an empty license is none."""
        answer = self._client.publish_layer_version(
            LayerName=layer,
            Description=description,
            Content={"S3Bucket": bucket, "S3Key": key},
            CompatibleRuntimes=cast(Any, list(runtimes)),
            CompatibleArchitectures=cast(Any, list(architectures)),
            **cast(Any, {"LicenseInfo": license_info} if license_info else {}),
        )
        return PublishedVersion(answer["Version"], answer["LayerVersionArn"], description)

    def share(self, layer: str, version: int, accounts: Sequence[str], organization: str) -> None:
        """Let accounts, or all of an organization, use a version; what they may already do stays as it is.

        Args:
            accounts: twelve-digit numbers; those that are on the list no longer keep the versions that they have.
            organization: id of an AWS organization (`o-...`); empty for none.
        """
        grants = [{"StatementId": f"account-{account}", "Principal": account} for account in accounts]
        if organization:
            grants.append({"StatementId": organization, "Principal": "*", "OrganizationId": organization})
        for grant in grants:
            try:
                self._client.add_layer_version_permission(
                    LayerName=layer, VersionNumber=version, Action="lambda:GetLayerVersion", **cast(Any, grant)
                )
            except self._client.exceptions.ResourceConflictException:
                continue  # An earlier attempt of this step granted it.

    def code_sha256(self, layer: str, version: int) -> str:
        """The SHA-256 of a version's zip, base64."""
        answer = self._client.get_layer_version(LayerName=layer, VersionNumber=version)
        return answer["Content"]["CodeSha256"]
