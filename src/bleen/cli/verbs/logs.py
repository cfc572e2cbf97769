"""Show what an environment wrote: blue, green, or the active one if none is named. With --follow, go on until Ctrl-C."""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import suppress

from bleen.cli import exits
from bleen.cli.access import open_service
from bleen.cli.arguments import at_least
from bleen.errors import UserError
from bleen.model import NAMES, Environment


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("environment", nargs="?", choices=NAMES, help="blue or green (default: the active one)")
    parser.add_argument("-n", "--lines", type=at_least(0), default=100, help="how many lines (default: %(default)s)")
    parser.add_argument("--follow", action="store_true", help="go on showing what is written")


def run(args: Namespace) -> int:
    access = open_service(args)
    newest = access.newest()
    platform = access.providers(newest).platform
    name = args.environment or (access.service.active or newest.environment).name
    environment = max((e for e in platform.running() if e.name == name), key=lambda e: e.release, default=None)
    if environment is None:
        number = next((r.id.number for r in access.journal.releases(access.name, newest.id.number) if r.plan.environment == name), None)
        if number is None:
            raise UserError(f"{access.name} never had an environment {name}")
        environment = Environment(name, number)
    fresh = platform.follow(environment)
    if args.lines or args.json:
        _show(args, environment, platform.logs(environment, args.lines))
    with suppress(KeyboardInterrupt):
        while args.follow:
            if lines := fresh():
                _show(args, environment, lines)
            access.journal.changed(0.2)
    return exits.DONE


def _show(args: Namespace, environment: Environment, lines: Sequence[str]) -> None:
    print(json.dumps({"environment": str(environment), "lines": list(lines)}) if args.json else "\n".join(lines) or f"{environment} wrote nothing", flush=True)
