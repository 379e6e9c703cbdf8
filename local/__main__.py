"""`python -m local check | replay | serve | demo | schema`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

PROJECT = Path(__file__).parents[1]
DATABASE = "https://api.osv.dev"
"""The advisory database that `check` asks if none is named: the one of the template."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 as expected, 1 not as expected, 2 it could not be done."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        match options.command:
            case "check" | "schema":
                return _with_lamina(options)
            case _:
                return _with_aws(options)
    except Exception as error:
        if options.debug:
            raise
        print(f"{options.command}: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{options.command}: interrupted", file=sys.stderr)
        return 130


def _with_lamina(options: argparse.Namespace) -> int:
    """Commands that use Lamina's own code and no AWS."""
    sys.path.insert(0, str(PROJECT / "layers" / "lamina" / "python"))
    if options.command == "schema":
        from local import schema

        schema.PATH.write_text(schema.text(), "utf-8")
        return 0
    from local.check import run

    return run(
        options.path,
        PROJECT / ".cache" / "check",
        options.advisories,
        as_of=options.as_of,
        target=options.json,
        whole=options.all,
    )


def _with_aws(options: argparse.Namespace) -> int:
    """Commands that run the embedded AWS, which takes a while to load."""
    from local.demo import demo
    from local.deploy.errors import DeployError
    from local.nodes import NodeMissing
    from local.pythons import InterpreterMissing
    from local.registry import ReplayFailed
    from local.scenario import ScenarioError, load
    from local.serve import serve

    try:
        match options.command:
            case "replay":
                return _replay(options)
            case "serve":
                scenario = load(options.scenario) if options.scenario else None
                return serve(scenario, options.minute_seconds, options.runtime)
            case _:
                return demo(PROJECT / "scenarios", PROJECT / "reports")
    except (ScenarioError, ReplayFailed, InterpreterMissing, NodeMissing, DeployError, OSError) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 2


def _replay(options: argparse.Namespace) -> int:
    from local.replay import replay
    from local.scenario import load
    from local.story import choose

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

    command = commands.add_parser("check", help="what an update would do to definitions in a folder; needs no AWS")
    command.add_argument("path", type=Path, nargs="?", default=Path("layers"), help="the folder (default: layers)")
    command.add_argument("--json", metavar="FILE", help="write the result there; - for standard output")
    command.add_argument("--as-of", metavar="DATE", help="the package index as it was then (default: now)")
    command.add_argument(
        "--advisories",
        default=DATABASE,
        metavar="URL|FOLDER|none",
        help=f"the advisory database, or a folder with records of one (default: {DATABASE})",
    )
    command.add_argument("--all", action="store_true", help="leave nothing out of the table")

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
    commands.add_parser("schema", help="write the JSON Schema of layer.toml")
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
