"""Show what an environment wrote: blue, green, or the active one if none is named; or what the engine did. With --follow, go on until Ctrl-C."""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress

from bleen.cli import exits
from bleen.cli.access import Access, open_service
from bleen.cli.arguments import at_least
from bleen.errors import UserError
from bleen.host import logs
from bleen.model import NAMES, Environment


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("environment", nargs="?", choices=(*NAMES, "engine"), help="blue, green or engine (default: the active environment)")
    parser.add_argument("-n", "--lines", type=at_least(0), default=100, help="how many lines (default: %(default)s)")
    parser.add_argument("--follow", action="store_true", help="go on showing what is written")


def run(args: Namespace) -> int:
    access = open_service(args)
    if args.environment == "engine":
        log = access.place.log
        return _follow(args, access, "engine", logs.tail(log, args.lines), logs.Follower(lambda: {"": log}).fresh)
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
    return _follow(args, access, str(environment), platform.logs(environment, args.lines), fresh)


def _follow(args: Namespace, access: Access, whose: str, written: Sequence[str], fresh: Callable[[], Sequence[str]]) -> int:
    if args.lines or args.json:
        _show(args, whose, written)
    with suppress(KeyboardInterrupt):
        while args.follow:
            if lines := fresh():
                _show(args, whose, lines)
            access.journal.changed(0.2)
    return exits.DONE


def _show(args: Namespace, whose: str, lines: Sequence[str]) -> None:
    print(json.dumps({"environment": whose, "lines": list(lines)}) if args.json else "\n".join(lines) or f"{whose} wrote nothing", flush=True)
