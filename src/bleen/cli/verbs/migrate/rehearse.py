"""Carry a version's expand out on a clone of the database, and undo it there: what fails on a copy of the data fails where nobody is.

The clone is a copy that you made: `database.clone` in bleen.yaml, or --on. The database itself is only asked what it has seen, and left as it is.
"""

from argparse import ArgumentParser, Namespace

from bleen import config
from bleen.cli import database, exits, migrating
from bleen.database.rehearsal import rehearse
from bleen.errors import UserError


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("version", help="the version whose migrations are meant; fills {version} in bleen.yaml")
    parser.add_argument("--on", metavar="URL", help="the clone (default: database.clone of bleen.yaml)")


def run(args: Namespace) -> int:
    with migrating.opened(args) as opened:
        shared = config.database(opened.config, args.version)
        clone = args.on or (shared.clone if shared else "")
        if not clone:
            raise UserError(f"on which copy? {args.file} names no `clone:` below database; say it there, or with --on URL")
        seen = {entry.name for entry in opened.schema.ledger.entries()}
        migrations, home = opened.migrations(args.version), database.home(opened.config, args.version, clone)
        database.allowed(opened.schema, args.version, migrations, home, opened.service, opened.ships(), opened.apart)
        bare = opened.schema.server.bare()  # nobody minds what would be rehearsed there
        new = [] if bare else [m for m in migrations if m.name not in seen]
        environments = {str(e.environment): e.migrations for e in opened.around().environments}
        took = rehearse(
            opened.schema.server,
            clone,
            new,
            lambda schema, some, home: schema.expand(some, opened.service, 0, environments, {}, home),
            home,
            opened.schema.told,
        )
        said = "; ".join(f"{name} took {seconds:g} s" for name, seconds in took.items())
        idle = "the database holds no table" if bare else f"the {'clone' if new else 'database'} has every migration of it"
        migrating.answer(args, True, f"rehearsed: {said}" if said else f"nothing to rehearse: {idle}", rehearsed=took)
    return exits.DONE
