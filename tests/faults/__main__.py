"""Every fault at every AWS call of a rollout and of a rollback: `python -m tests.faults [--quick] [--json FILE]`.

Prints a table of step by fault with the number of cases, and what did not hold. Exit code 1 if anything did not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.faults.explore import PLOTS, Explorer, every, in_turn, tabulate


def main() -> int:
    """Explore, tell, and say by the exit code whether all held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one kind of fault at each call, each in its turn")
    parser.add_argument("--json", type=Path, help="write every case there")
    parser.add_argument("--plot", choices=[plot.name for plot in PLOTS], help="only this one")
    parser.add_argument("--step", help="only faults in this one, such as Restore")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="worlds at once")
    asked = parser.parse_args()
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for plot in PLOTS:
            if asked.plot in (None, plot.name):
                chosen = in_turn if asked.quick else every
                cases += Explorer(plot, Path(folder) / plot.name, chosen, asked.jobs, asked.step).explore()
    print(tabulate(cases))
    bad = [case for case in cases if case.broken]
    for case in bad[:40]:
        print(f"\n{case.plot}, {case.step}, {case.action} (call {case.number}) {case.fault}:")
        print("\n".join(f"  {text}" for text in case.broken))
    print(f"\n{len(cases)} cases, {len(cases) - len(bad)} held, {len(bad)} did not")
    if asked.json:
        asked.json.write_text(json.dumps([asdict(case) for case in cases], indent=1))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
