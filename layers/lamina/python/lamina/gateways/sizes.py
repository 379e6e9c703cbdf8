"""How large layers and code packages are unzipped, which no API says: it is read off the zips themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from lamina.budget import Size
from lamina.gateways.packages import Packages, Unreadable
from lamina.model import FunctionName, LayerArn

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

    from lamina.gateways.functions import Functions

AT_ONCE = 8
LONGEST = 180.0
"""Seconds for all that is asked at once; what is not read by then stays unknown."""


class Sizes:
    """Sizes of what lies in Lambda. What was read once is kept: versions of layers never change, nor does a digest.

    Args:
        client: of Lambda.
        functions: says where the code of a function is.
        packages: reads zips.
        clock: seconds that rise.
    """

    def __init__(
        self,
        client: LambdaClient,
        functions: Functions,
        packages: Packages,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._functions = functions
        self._packages = packages
        self._clock = clock
        self._kept: dict[str, Size] = {}

    def measure(
        self, layers: Iterable[LayerArn], code: Mapping[str, FunctionName]
    ) -> tuple[dict[LayerArn, Size], dict[str, Size]]:
        """Sizes by layer version and by digest of code; unknown for what cannot be read.

        Args:
            layers: ARNs of layer versions, of whichever account.
            code: one function for each digest (`CodeSha256`) that is asked about.
        """
        until = self._clock() + LONGEST
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sizes") as pool:
            of_layers = {
                arn: pool.submit(self._ask, arn, partial(self._layer, arn), until) for arn in dict.fromkeys(layers)
            }
            of_code = {
                digest: pool.submit(self._ask, digest, partial(self._code, digest, name), until)
                for digest, name in code.items()
            }
            return (
                {arn: answer.result() for arn, answer in of_layers.items()},
                {digest: answer.result() for digest, answer in of_code.items()},
            )

    def _ask(self, key: str, read: Callable[[], Size], until: float) -> Size:
        if key in self._kept:
            return self._kept[key]
        if self._clock() > until:
            return Size()
        try:
            size = read()
        except (Unreadable, BotoCoreError, ClientError):
            return Size()
        if size.unzipped is not None:
            self._kept[key] = size
        return size

    def _layer(self, arn: LayerArn) -> Size:
        content = self._client.get_layer_version_by_arn(Arn=arn)["Content"]
        return Size(content.get("CodeSize"), self._packages.unzipped(content["Location"]))

    def _code(self, digest: str, name: FunctionName) -> Size:
        package = self._functions.package(name)
        if package is None or package.code != digest:
            return Size()
        return Size(None, self._packages.unzipped(package.location))
