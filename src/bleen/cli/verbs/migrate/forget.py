"""Take a service that shares this database out of its books, as it is gone for good: its environments keep no gate shut any more.

Refused while it is up on this host, or has a session on this database. A service that comes back is known again from its next deploy on.
"""

from argparse import ArgumentParser, Namespace

from bleen import wiring
from bleen.cli import exits, migrating
from bleen.errors import UserError
from bleen.host import state


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("gone", metavar="SERVICE", help="the name that `bleen migrate status` tells")
    migrating.asks(parser)


def run(args: Namespace) -> int:
    with migrating.acting(args) as (opened, schema):
        if args.gone == opened.service and opened.around().known and not opened.schema.ledger.elsewhere(args.gone):
            raise UserError(f"{args.gone} is the service of {args.file}: its environments are known by what runs; `bleen down` ends them")
        if args.gone != opened.service and args.gone in state.services() and wiring.journal(state.named(args.gone)).service(args.gone).up:
            raise UserError(f"{args.gone} is up on this host: `bleen down --service {args.gone}` first, if it is to be gone for good")
        known = [f"{each.environment} ({each.version})" for each in opened.schema.ledger.environments() if each.service == args.gone]
        if not known:
            others = sorted({each.service for each in opened.schema.ledger.environments()})
            raise UserError(f"this database knows no service {args.gone}" + (f"; it knows {', '.join(others)}" if others else ""))
        if not migrating.agreed(args, f"forget {args.gone}, with {', '.join(known)}: contracts would wait for it no more"):
            migrating.answer(args, False, "nothing was changed", forgotten=[])
            return exits.USAGE
        schema.forget(args.gone)
        opened.noted()
        migrating.answer(args, True, f"forgotten: {args.gone}, with {', '.join(known)}", forgotten=known)
        return exits.DONE
