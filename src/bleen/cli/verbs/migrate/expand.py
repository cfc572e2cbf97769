"""Carry out a version's migrations as far as both versions can live with: expand.sql, two-way sync, backfill.

What was done already is not done again; what stopped half way goes on. A `bleen deploy` of the version finds it done.
"""

from argparse import ArgumentParser, Namespace

from bleen.cli import database, exits, migrating


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("version", help="the version whose migrations are meant; fills {version} in bleen.yaml")


def run(args: Namespace) -> int:
    with migrating.acting(args) as (opened, schema):
        migrations = opened.migrations(args.version)
        home = database.home(opened.config, args.version)
        database.allowed(opened.schema, args.version, migrations, home, opened.service, opened.ships(), opened.apart)
        around = opened.around().environments
        environments, versions = {str(e.environment): e.migrations for e in around}, {str(e.environment): e.version for e in around}
        done = schema.expand(migrations, opened.service, 0, environments, versions, home)
        opened.noted()
        migrating.answer(args, True, f"expanded: {', '.join(done)}" if done else "nothing to do: the database has every migration of it", expanded=done)
    return exits.DONE
