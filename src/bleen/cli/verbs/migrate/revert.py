"""Undo an expand: run revert.sql, end its two-way sync, forget the migration. Only until its contract.

It is refused
- while an environment exists whose version ships the migration;
- while a trigger, say, would fail for what goes, until --because names it, and says why it does not matter;
- where a command that failed may have left what its tool knows nothing of, until --because says who has seen to it;
- for a migration of another service, until --because says why that service does not do it.

Says first what is lost: how many rows hold what the old columns cannot say, have something in another column that goes, or are of a table that goes.
"""

from argparse import ArgumentParser, Namespace

from bleen.cli import exits, migrating
from bleen.errors import UserError


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("migration", help="its name, such as 0007_full_name")
    parser.add_argument("--because", metavar="REASON", help="why a trigger, or what else it names, that would fail afterwards, does not matter")
    migrating.asks(parser)


def run(args: Namespace) -> int:
    with migrating.acting(args) as (opened, schema):
        name = args.migration
        if why := opened.schema.beyond(name) or _needed(opened, args):
            raise UserError(why)
        lost = {what: count for what, count in opened.schema.losses(name).items() if count}
        warning = "; ".join(f"what {count} rows of {what} say would be lost" for what, count in lost.items())
        if not migrating.agreed(args, f"revert {name}{': ' + warning if warning else ''}"):
            migrating.answer(args, False, "nothing was changed")
            return exits.USAGE
        schema.revert(name, opened.home(name), lambda: _needed(opened, args), args.because or "")
        opened.noted()
        migrating.answer(args, True, f"{name} is reverted", lost=lost)
    return exits.DONE


def _needed(opened: migrating.Opened, args: Namespace) -> str:
    """Why it must not be reverted now; empty if it may."""
    name, entry = args.migration, opened.schema.ledger.entry(args.migration)
    if entry and (why := migrating.foreign(entry.service, opened.service, "revert")) and not args.because:
        return f"{name}: {why}"
    around = opened.around()
    elsewhere = opened.schema.ledger.elsewhere(opened.service)
    using = [f"{e.environment} ({e.version})" for e in around.environments if name in e.migrations]
    using += [f"{k.service}'s {k.environment}" for k in opened.schema.users(name) if k.service != opened.service or k in elsewhere]
    if using:
        return f"{name} is needed: {', '.join(using)} ships it{around.hearsay}"
    if around.window:
        return f"not now: {around.window}"
    shut = [each.told for each in opened.schema.breaking(name) if not each.opened(args.because or "")]
    return f"{name} cannot be reverted yet, {shut[0]}" if shut else ""
