"""The resident engine of a service: drives its releases, watches them, starts again what crashed. `bleen up` starts it.

It logs to engine.log. TERM ends it; what serves goes on serving.
"""

import signal
from argparse import ArgumentParser, Namespace

from bleen import __version__
from bleen.cli import exits
from bleen.cli.access import open_service, start_engine, stop_engine
from bleen.engine.drive import Driver, holder


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--start", action="store_true", help="have one that answers, re-parented to init, and return; what was taken down stays down")


def run(args: Namespace) -> int:
    access = open_service(args)
    access.place.must_be_ours()
    if args.start:
        if access.service.up:
            if access.hung:
                stop_engine(access.place)
            start_engine(access.place)
        return exits.DONE
    driver = Driver(access.journal, access.engine(), access.name, holder(__version__, resident=True))
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ending.append(number))
    signal.signal(signal.SIGINT, lambda number, _: ending.append(number))
    driver.stay(lambda: bool(ending))
    return exits.DONE
