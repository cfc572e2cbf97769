"""Go over the rows of an expanded migration once more: fills what is out of step, and says how many rows that was.

It is part of an expand; by itself it mends what was written past the triggers (a restore of one table, a replica that was promoted).
"""

from argparse import ArgumentParser, Namespace

from bleen.cli import exits, migrating


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("migration", help="its name, such as 0007_full_name")


def run(args: Namespace) -> int:
    with migrating.acting(args) as (_, schema):
        schema.backfill(args.migration)
        migrating.answer(args, True, f"{args.migration}: every row is in step")
    return exits.DONE
