"""End production: stop the resident engine, close the listener, stop every environment, and what a release changes of the schema. The opposite of `bleen up`.

Nothing is forgotten: `bleen up` starts what was running, and goes on with a release that was under way.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from bleen import __version__
from bleen.cli import exits, show
from bleen.cli.access import Access, open_service, stop_engine
from bleen.engine import righting
from bleen.engine.drive import holder
from bleen.errors import UserError
from bleen.host import processes
from bleen.host.launch import MARK


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: Namespace) -> int:
    access = open_service(args)
    access.place.must_be_ours()
    if not args.yes:
        if not sys.stdin.isatty():
            raise UserError(f"nothing was touched: nobody is there to ask. This would end {access.name} for its users; --yes says that it may")
        print(f"This would end {access.name} on {access.service.router.get('listen')} for its users. Go on? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):  # Ctrl-D is no yes either
            show.result(args, "nothing was touched; --yes answers the question", ok=False)
            return exits.USAGE
    access.journal.register(access.name, access.service.router, False)
    stop_engine(access.place)
    righting.end_everything(access.engine(), access.name, holder(__version__))
    if left := _left(access):
        text = f"{access.name} is down, but for what nothing is recorded of any more: end it yourself\n" + "\n".join(left)
        show.result(args, text, ok=False)
        return exits.SAID_NO
    show.result(args, f"{access.name} is down; `bleen up` starts it again")
    return exits.DONE


def _left(access: Access) -> list[str]:
    """A proxy, or copies, whose records were removed under them: each still carries the path of its own."""
    places = [os.path.realpath(each) for each in (access.place.router, access.place.environments)]  # as the records are written
    found = [pid for pid, record in processes.variables(MARK).items() if any(Path(record).is_relative_to(place) for place in places)]
    return [f"  kill {pid}    # {processes.command_line(pid)[:100]}" for pid in found]
