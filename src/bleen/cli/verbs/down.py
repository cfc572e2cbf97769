"""End production: stop the resident engine, close the listener, stop every environment. The opposite of `bleen up`.

Nothing is forgotten: `bleen up` starts what was running, and goes on with a release that was under way.
"""

import sys
from argparse import ArgumentParser, Namespace

from bleen.cli import exits, show
from bleen.cli.access import open_service
from bleen.cli.stopping import stop_engine, stop_everything
from bleen.errors import UserError


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: Namespace) -> int:
    access = open_service(args)
    if not args.yes:
        if not sys.stdin.isatty():
            raise UserError(f"this ends {access.name} for its users: say so with --yes")
        print(f"This ends {access.name} on {access.service.router.get('listen')} for its users. Go on? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() != "y":  # Ctrl-D is no yes either
            show.result(args, "nothing was touched; --yes answers the question", ok=False)
            return exits.USAGE
    access.journal.register(access.name, access.service.router, False)
    stop_engine(access)
    stop_everything(access)
    show.result(args, f"{access.name} is down; `bleen up` starts it again")
    return exits.DONE
