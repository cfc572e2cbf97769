"""Show what serves, what it could return to, and what is under way.

What serves is asked of the router itself, never read from our own records; where the two differ it is shown as drift.
"""

import json
import sys
from argparse import ArgumentParser, Namespace

from bleen.cli import exits, picture
from bleen.cli.access import open_service


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="go on showing it, until Ctrl-C")


def run(args: Namespace) -> int:
    access = open_service(args)
    if args.watch and not args.json and sys.stdout.isatty():
        from bleen.cli import live

        live.watch(access)
        return exits.DONE
    while True:
        seen = picture.of(access)
        print(json.dumps(seen) if args.json else "\n".join(picture.lines(seen)), flush=True)
        if not args.watch:
            return exits.DONE
        access.journal.changed(2)
