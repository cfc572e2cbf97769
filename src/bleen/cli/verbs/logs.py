"""Show what an environment wrote: blue, green, or the active one if none is named. With --follow, go on until Ctrl-C."""

import json
import time
from argparse import ArgumentParser, Namespace
from contextlib import suppress

from bleen.cli import exits
from bleen.cli.access import open_service
from bleen.errors import UserError
from bleen.model import NAMES, Environment


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("environment", nargs="?", choices=NAMES, help="blue or green (default: the active one)")
    parser.add_argument("-n", "--lines", type=int, default=100, help="how many lines (default: %(default)s)")
    parser.add_argument("--follow", action="store_true", help="go on showing what is written")


def run(args: Namespace) -> int:
    access = open_service(args)
    newest = access.newest()
    platform = access.providers(newest).platform
    name = args.environment or (access.service.active or newest.environment).name
    environment = max((e for e in platform.running() if e.name == name), key=lambda e: e.release, default=None)
    if environment is None:
        number = next((r.id.number for r in access.journal.releases(access.name, 50) if r.plan.environment == name), None)
        if number is None:
            raise UserError(f"{access.name} never had an environment {name}")
        environment = Environment(name, number)
    lines = list(platform.logs(environment, args.lines))
    _show(args, environment, lines)
    with suppress(KeyboardInterrupt):
        while args.follow:
            time.sleep(0.25)
            now = list(platform.logs(environment, max(args.lines, 200)))
            fresh = _later(lines, now)
            if fresh:
                _show(args, environment, fresh)
                lines = now
    return exits.DONE


def _show(args: Namespace, environment: Environment, lines: list[str]) -> None:
    if args.json:
        print(json.dumps({"environment": str(environment), "lines": lines}), flush=True)
    else:
        print("\n".join(lines) if lines else f"{environment} wrote nothing", flush=True)


def _later(seen: list[str], now: list[str]) -> list[str]:
    """The lines of ``now`` that come after those of ``seen``."""
    tail = seen[-20:]
    for end in range(len(now), 0, -1):
        if tail and now[max(0, end - len(tail)) : end] == tail[-min(len(tail), end) :]:
            return now[end:]
    return now
