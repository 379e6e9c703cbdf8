"""What a day costs on which nothing changed: state transitions, AWS calls, and dollars.

`python -m benchmarks.quiet_day [layers]`. The real template runs on the embedded AWS. A first update makes release 1 of
every variant; what is counted is the second, which finds nothing new. The cost is that of checking a number of
layers every day for a month, from the counts and from prices.toml.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import common
from local import fleet
from local.replay import Stage, stage
from local.states.history import StateEvent
from local.story import Story

TARGETS = {"transitions": 6, "calls": 10}
DAYS, LAYERS, VARIANTS = 30.4, 20, 2
PACKAGES = ["idna", "six", "certifi", "packaging", "toml", "attrs", "click", "zipp", "pluggy", "iniconfig"]
_REPORT = re.compile(r"Billed Duration: (?P<ms>\d+) ms\s+Memory Size: (?P<mb>\d+) MB")
READS = frozenset({"dynamodb:GetItem", "dynamodb:Query"})
GETS = frozenset({"s3:GetObject", "s3:HeadObject"})


def main(layers: int) -> None:
    """Count and print."""
    with TemporaryDirectory(prefix="lamina-benchmark-") as work:
        for number in range(layers):
            _define(Path(work) / f"layer{number}", PACKAGES[number % len(PACKAGES)])
        with stage(Path(work), 0.2, Story()) as lamina:
            lamina.update("first", {})
            transitions: Counter[str] = Counter()
            lamina.cloud.on_state.append(lambda event: transitions.update(_entered(event)))
            calls_before, billed_before = _calls(lamina), _gigabyte_seconds(lamina)
            report = lamina.update("quiet", {})
            calls = _calls(lamina) - calls_before
            billed = _gigabyte_seconds(lamina) - billed_before
    outcomes = Counter(row["outcome"] for row in report["outcomes"])
    variants = sum(outcomes.values())
    if outcomes != {"up_to_date": variants}:
        raise SystemExit(f"the day was not quiet: {dict(outcomes)}")
    costs = _monthly(variants, transitions.total(), calls, billed)
    common.show(
        f"A quiet day of {variants} variants",
        ["per variant", "measured", "target"],
        [
            ["state transitions", round(transitions.total() / variants, 2), TARGETS["transitions"]],
            ["AWS calls", round(calls.total() / variants, 2), TARGETS["calls"]],
        ],
    )
    common.show(
        f"{LAYERS} layers x {VARIANTS} variants checked daily, dollars a month",
        ["for", "dollars"],
        [[name, f"{cost:.4f}"] for name, cost in [*costs.items(), ("total", sum(costs.values()))]],
    )
    common.emit(
        {
            "measured": "one update in which nothing changed",
            "variants": variants,
            "transitions": dict(transitions),
            "transitions_per_variant": transitions.total() / variants,
            "calls": dict(calls),
            "calls_per_variant": calls.total() / variants,
            "targets": TARGETS,
            "gigabyte_seconds": billed,
            "dollars_a_month": {**costs, "total": sum(costs.values())},
        }
    )


def _define(folder: Path, package: str) -> None:
    folder.mkdir(parents=True)
    (folder / "requirements.in").write_text(f"{package}\n")
    (folder / "layer.toml").write_text(
        f'[layer]\nowner = "benchmarks"\nruntimes = ["{common.RUNTIME}"]\n'
        f'architectures = ["{fleet.host_architecture()}"]\n'
        '[python]\nrequirements = "requirements.in"\n'
    )


def _entered(event: StateEvent) -> list[str]:
    return [event.state] if event.kind == "entered" else []


def _calls(lamina: Stage) -> Counter[str]:
    """Calls by Lamina's own roles."""
    return Counter(lamina.cloud.calls.counts("lamina-"))


def _gigabyte_seconds(lamina: Stage) -> float:
    """What Lamina's functions were billed so far, from the REPORT lines of their logs."""
    pages = lamina.cloud.client("logs").get_paginator("filter_log_events")
    total = 0.0
    for page in pages.paginate(logGroupName="/aws/lambda/lamina"):
        for line in page["events"]:
            if found := _REPORT.search(line["message"]):
                total += int(found["ms"]) / 1000 * int(found["mb"]) / 1024
    return total


def _monthly(variants: int, transitions: int, calls: Counter[str], gigabyte_seconds: float) -> dict[str, float]:
    """Dollars a month by service, for `LAYERS` by `VARIANTS` checked daily."""
    price = tomllib.loads((common.HERE / "prices.toml").read_text())
    scale = LAYERS * VARIANTS / variants * DAYS
    reads = sum(count for name, count in calls.items() if name in READS)
    writes = sum(count for name, count in calls.items() if name.startswith("dynamodb:") and name not in READS)
    gets = sum(count for name, count in calls.items() if name in GETS)
    puts = sum(count for name, count in calls.items() if name.startswith("s3:") and name not in GETS)
    costs = {
        "Step Functions": transitions * price["step-functions"]["state-transition"],
        "Lambda requests": calls["lambda:Invoke"] * price["lambda"]["request"],
        "Lambda time": gigabyte_seconds * price["lambda"]["gigabyte-second"],
        "DynamoDB": reads * price["dynamodb"]["read-unit"] + writes * price["dynamodb"]["write-unit"],
        "S3": gets * price["s3"]["get"] + puts * price["s3"]["put"],
    }
    return {name: cost * scale for name, cost in costs.items()} | {"Scheduler": DAYS * price["scheduler"]["invocation"]}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
