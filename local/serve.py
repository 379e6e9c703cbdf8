"""The embedded AWS with Lamina in it, kept up for a person with an AWS CLI."""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Iterator

from local import fleet
from local.replay import Stage, released, stage
from local.scenario import Scenario
from local.story import Lines
from local.traffic import Traffic


def serve(scenario: Scenario | None, minute_seconds: float | None = None, runtime: str | None = None) -> int:
    """Deploy, print how to use it, and stay until interrupted; then leave nothing behind."""
    speed = minute_seconds or (scenario.minute_seconds if scenario else 60.0)
    definitions = scenario.definitions if scenario else None
    with stage(definitions, speed, Lines(), runtime) as lamina, _fleet(lamina, scenario):
        print(guide(lamina, scenario), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


def guide(lamina: Stage, scenario: Scenario | None) -> str:
    """How to talk to it: environment, then one example of each thing one may want to do."""
    resources = lamina.stack.resources
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in lamina.cloud.environment().items())
    order = '{"dryRun": true}'
    if scenario is not None:
        order = f'{{"asOf": "{scenario.after}"}}'
    variant = fleet.variants(scenario.fleet[0])[0] if scenario and scenario.fleet else "web-python313-arm64"
    return f"""
Lamina is up. In another terminal:

{exports}

# check every layer, as the schedule does; other inputs: {{"layers": ["web"]}}, {{"force": true}}, {{"dryRun": true}}
aws stepfunctions start-execution --state-machine-arn {resources["Update"]} --input '{order}'
# put a layer's functions back
aws stepfunctions start-execution --state-machine-arn {resources["Rollback"]} --input '{{"layer": "{variant}"}}'
# see how they are doing
aws stepfunctions list-executions --state-machine-arn {resources["Update"]}
aws lambda list-functions --query 'Functions[].[FunctionName, Layers[].Arn]'
aws s3 ls --recursive s3://{resources["Artifacts"]}/reports/

boto3 and other SDKs read the same environment. A minute lasts {lamina.cloud.clock.minute_seconds:g} s here.
Ctrl-C ends it, and leaves nothing behind.
"""


@contextlib.contextmanager
def _fleet(lamina: Stage, scenario: Scenario | None) -> Iterator[None]:
    if scenario is None or not scenario.fleet:
        yield
        return
    report = lamina.update("release-1", {"asOf": scenario.before.isoformat()})
    fleet.create(lamina.cloud.client("lambda"), lamina.cloud.client("iam"), scenario.fleet, released(lamina, report))
    traffic = Traffic(lamina.cloud.lambdas, lamina.cloud.clock, fleet.sources(scenario.fleet))
    traffic.start()
    try:
        yield
    finally:
        traffic.stop()
