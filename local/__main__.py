"""`python -m local replay | serve | demo`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from local.demo import demo
from local.deploy.errors import DeployError
from local.pythons import InterpreterMissing
from local.replay import PROJECT, replay
from local.results import ReplayFailed
from local.scenario import ScenarioError, load
from local.serve import serve
from local.story import choose


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 as expected, 1 not as expected, 2 it could not be done."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        match options.command:
            case "replay":
                return _replay(options)
            case "serve":
                scenario = load(options.scenario) if options.scenario else None
                return serve(scenario, options.minute_seconds, options.runtime)
            case _:
                return demo(PROJECT / "scenarios", PROJECT / "reports")
    except (ScenarioError, ReplayFailed, InterpreterMissing, DeployError, OSError) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if options.debug:
            raise
        print(f"{options.command}: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{options.command}: interrupted", file=sys.stderr)
        return 130


def _replay(options: argparse.Namespace) -> int:
    scenario = load(options.path)
    if options.json:
        options.json.unlink(missing_ok=True)
    with choose(options.quiet) as story:
        done = replay(scenario, story, reports=PROJECT / "reports" / scenario.name, runtime=options.runtime)
    if options.json:
        options.json.write_text(json.dumps(done.result.to_json(), indent=2) + "\n", "utf-8")
    done.check()
    return 1 if done.differences else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description="Lamina on AWS on one machine.")
    parser.add_argument("--debug", action="store_true", help="show where an unexpected error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    command = commands.add_parser("replay", help="replay a scenario with real packages")
    command.add_argument("path", type=Path, help="the scenario's folder")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    command.add_argument("--quiet", action="store_true", help="tell no story, only the exit code")
    _runtime_option(command)

    command = commands.add_parser("serve", help="keep the embedded AWS up, for the AWS CLI")
    command.add_argument("--scenario", type=Path, help="bring along its layers, fleet and traffic")
    command.add_argument(
        "--minute-seconds",
        type=_positive,
        metavar="N",
        help="how long a CloudWatch minute lasts (default: 60, or the scenario's)",
    )
    _runtime_option(command)

    commands.add_parser("demo", help="one good update and one incident")
    return parser


def _runtime_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--runtime", help="what Lamina's own functions run on, e.g. python3.12")


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return number


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
