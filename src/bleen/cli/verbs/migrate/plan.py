"""Show what a version's migrations would do: each statement with its phase, what is kept in step, what a backfill would cost. Touches nothing."""

import json
from argparse import ArgumentParser, Namespace

from bleen.cli import database, exits, migrating
from bleen.database.foresight import Foresight
from bleen.database.ledger import State


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("version", help="the version whose migrations are meant; fills {version} in bleen.yaml")


def run(args: Namespace) -> int:
    with migrating.opened(args) as opened:
        migrations = opened.migrations(args.version)
        home = database.home(opened.config, args.version)
        database.allowed(opened.schema, args.version, migrations, home, opened.service, opened.ships(), opened.apart)
        entries = {entry.name: entry.state for entry in opened.schema.ledger.entries()}
        new = [m for m in migrations if entries.get(m.name, State.EXPANDING) is State.EXPANDING]
        plans = [Foresight(opened.schema).plan(m, new[:n], new[n + 1 :]) for n, m in enumerate(new)]
        if args.json:
            print(json.dumps({"migrations": [plan._asdict() for plan in plans]}))
        else:
            print("\n".join(line for plan in plans for line in plan.lines()) or f"the database has every migration of {args.version}")
    return exits.DONE
