"""Undo an expand: run revert.sql, end its two-way sync, forget the migration. Only until its contract.

Refused while an environment exists whose version ships the migration. Says first how many rows hold what the old columns cannot say, which is lost.
"""

from argparse import ArgumentParser, Namespace

from bleen.cli import exits, migrating
from bleen.errors import UserError


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("migration", help="its name, such as 0007_full_name")
    migrating.asks(parser)


def run(args: Namespace) -> int:
    with migrating.opened(args) as opened:
        name = args.migration
        if name in opened.schema.contracted():
            raise UserError(f"{name} is contracted: the old shape is gone; the way on is a new migration")
        if why := _needed(opened, name):
            raise UserError(why)
        lost = {pair: count for pair, count in opened.schema.losses(name).items() if count}
        warning = "; ".join(f"{count} values of {pair} would be lost" for pair, count in lost.items())
        if not migrating.agreed(args, f"revert {name}{': ' + warning if warning else ''}"):
            migrating.tell(args, False, "nothing was changed")
            return exits.USAGE
        opened.schema.revert(name, opened.home(name), lambda: _needed(opened, name))
        opened.pending()
        migrating.tell(args, True, f"{name} is reverted", lost=lost)
    return exits.DONE


def _needed(opened: migrating.Opened, name: str) -> str:
    """Why it must not be reverted now; empty if it may."""
    around = opened.around()
    using = [f"{e.environment} ({e.version})" for e in around.environments if name in e.migrations]
    using += [f"{k.service}'s {k.environment}" for k in opened.schema.users(name) if k.service != opened.service]
    if using:
        return f"{name} is needed: {', '.join(using)} ships it{around.hearsay}"
    return f"not now: {around.window}" if around.window else ""
