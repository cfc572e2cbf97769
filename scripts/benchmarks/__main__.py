"""Runs the benchmarks that are named, or all of them; ends with 1 if a limit was missed."""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import commands, database, engine, failures, long, switch
from benchmarks.table import Table

BENCHMARKS: dict[str, Callable[[Table, Path, float], None]] = {
    "failures": failures.run,
    "switch": switch.run,
    "cli": commands.run,
    "engine": engine.run,
    "long": long.run,
    "database": database.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = "\n".join(f"  {name:9} {(sys.modules[run.__module__].__doc__ or '').partition(chr(10))[0]}" for name, run in BENCHMARKS.items())
    parser.add_argument("benchmark", nargs="*", choices=[*BENCHMARKS, []], metavar="BENCHMARK", help="one of those below (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="do everything X times as often (default: %(default)s); 0.1 is a quick look")
    wanted = parser.parse_args()
    names = wanted.benchmark or list(BENCHMARKS)
    host = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    if not wanted.json:
        print(host)
    tables = []
    for name in names:
        table = Table(name, wanted.json)
        tables.append(table)
        with tempfile.TemporaryDirectory(prefix="bleen-bench-") as place:
            BENCHMARKS[name](table, Path(place), wanted.scale)
    missed = [each for table in tables for each in table.missed]
    if wanted.json:
        print(json.dumps({"host": host, "missed": missed, "benchmarks": {table.name: table.to_json() for table in tables}}))
    else:
        print("\n" + ("\n".join(f"missed: {each}" for each in missed) or "every limit was kept"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
