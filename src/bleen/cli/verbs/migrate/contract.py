"""Take away what only older versions needed: the pending contracts, in order, each once its gate is open.

The gate is shut while anything may need the old shape: an open rollback window, an environment or a session of a version that does not ship the migration,
rows out of step, another service on the same database, a view on what is dropped. What bleen cannot see keeps it shut too, until --because names the reason
why it does not matter; of a trigger, one that names it.
A contract cannot be undone: afterwards a version that needs the old shape is refused. Exit 1 if the first pending contract's gate is shut.
One that cannot be carried out, and of which nothing is done, holds all later ones up: --aside leaves it undone for good, and a new migration says it anew.
Its gate asks nothing of what its own statements would need, but that each old column of its pairs takes NULL, or has a default.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from bleen.cli import exits, migrating
from bleen.cli.asking import be_told_of_the_end
from bleen.database.foresight import Foresight
from bleen.database.gate import Around
from bleen.database.reading import Pending
from bleen.errors import PortError, UserError


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("migration", nargs="?", help="stop after this one (default: all that are pending)")
    parser.add_argument(
        "--because", metavar="REASON", help="why sessions unknown to bleen, or a trigger that it names, do not matter; it is kept in the ledger"
    )
    parser.add_argument("--aside", action="store_true", help="leave what the named one would take away, and only end its pairs; --because says why")
    migrating.asks(parser)


def run(args: Namespace) -> int:
    if args.aside and not (args.migration and args.because):
        raise UserError("--aside is for one contract, and for a reason: bleen migrate contract MIGRATION --aside --because REASON")
    with migrating.acting(args) as (opened, schema):
        pending = opened.pending(_aside(args))
        wanted = _wanted(args, pending, opened.around())
        if not wanted:
            others = "".join(f"; {each.migration} is for {each.service} to contract" for each in pending)
            migrating.answer(args, True, f"no contract is pending{f' of {opened.service}{others}' if others else ''}", contracted=[])
            return exits.DONE
        shut: Sequence[str] = _shut(pending[0], args, opened.service)
        begun = [entry.name for entry in opened.schema.ledger.entries() if opened.schema.ledger.aside(entry)]
        aside = [name for name in wanted if name in (_aside(args), *begun)]
        taken = [name for name in wanted if name not in aside]
        notes = [] if shut else [*_waved(pending[: len(wanted)], args), *(note for name in taken for note in _notes(opened, name))]
        if not args.json:
            print("".join(f"note: {note}\n" for note in notes), end="", flush=True)
        would = [f"take the old shape of {', '.join(taken)} away for good"] if taken else []
        would += [f"set {', '.join(aside)} aside for good: what its contract would change stays, and nothing keeps it in step from then on"] if aside else []
        if not shut and not migrating.agreed(args, " and ".join(would)):
            migrating.answer(args, False, "nothing was changed", contracted=[])
            return exits.USAGE
        be_told_of_the_end()  # what a contract has added until then is taken away again
        done: list[str] = []
        for name in [] if shut else wanted:
            try:
                now = partial(_shut_now, opened, name, args)
                if name != _aside(args):
                    with _asking(name):
                        home = opened.home(name)
                    shut = schema.contract(name, args.because or "", home, now)
                else:
                    shut = schema.set_aside(name, args.because, now)
            except (PortError, UserError) as error:
                if not isinstance(error, _Unasked):
                    opened.failed(name, str(error))
                if not done:
                    raise
                opened.noted(*done)
                raise UserError(f"{error}\ncontracted before {name}: {', '.join(done)}") from None
            if shut:
                break
            done.append(name)
        opened.noted(*done)
        contracted, left = [name for name in done if name in taken], [name for name in done if name in aside]
        said = [f"contracted: {', '.join(contracted)}"] if contracted else []
        said += [f"set aside: {name}; what it left is for a new migration" for name in left]
        said += [f"{wanted[len(done)]}: its gate is shut", *(f"  {why}" for why in shut)] if shut else []
        migrating.answer(args, not shut, "\n".join(said), contracted=contracted, aside=left, waits=shut, notes=notes)
        return exits.SAID_NO if shut else exits.DONE


def _aside(args: Namespace) -> str:
    """The one that is to be set aside; empty if none is."""
    return args.migration if args.aside else ""


def _waved(pending: Sequence[Pending], args: Namespace) -> list[str]:
    """What the reason lets through: it may be more than it was given for."""
    whom: dict[str, list[str]] = {}
    for each in pending:
        for why in dict.fromkeys(o.why for o in each.obstacles if o.opened(args.because or "")):
            whom.setdefault(why, []).append(each.migration)
    return [f"{', '.join(names)}: --because lets this pass: {why}" for why, names in whom.items()]


def _notes(opened: migrating.Opened, name: str) -> list[str]:
    """What goes for good that the new shape has not; and what becomes of a `SELECT *` that a warm connection has prepared: no trigger helps there."""
    entry = opened.schema.ledger.entry(name)
    if entry is None:
        return []
    losing = Foresight(opened.schema).losing(entry.migration)
    if opened.schema.server.dialect != "postgres":
        return losing
    from bleen.database.parser import STALE, reshaped

    return losing + [
        f"{name} changes the columns of {table}: a `SELECT *` from it that is prepared on an open connection {STALE}"
        for table in reshaped(entry.migration.sql("contract"))
    ]


def _wanted(args: Namespace, pending: list[Pending], around: Around) -> list[str]:
    names = [each.migration for each in pending]
    if args.migration is None:
        own = [at for at, each in enumerate(pending, 1) if not migrating.foreign(each.service, around.service, "contract")]
        return [each.migration for each in pending[: max(own, default=0)] if not around.apart(each.service)]
    if args.migration not in names:
        raise UserError(f"no contract of {args.migration} is pending" + (f"; pending are {', '.join(names)}" if names else ""))
    return names[: names.index(args.migration) + 1]


def _shut_now(opened: migrating.Opened, name: str, args: Namespace) -> list[str]:
    """As it is by now: much may have happened while a person was asked."""
    with _asking(name):
        pending = opened.pending(_aside(args))
    return [why for each in pending if each.migration == name for why in _shut(each, args, opened.service)]


class _Unasked(UserError):
    """Nobody could tell what a contract has to know before it begins: it has not failed."""


@contextmanager
def _asking(name: str) -> Iterator[None]:
    try:
        yield
    except (PortError, UserError) as error:
        raise _Unasked(f"{name} was not begun, and stays pending: {error}") from None


def _shut(pending: Pending, args: Namespace, service: str) -> list[str]:
    if (why := migrating.foreign(pending.service, service, "contract")) and not (args.because and args.migration == pending.migration):
        return [why]
    return [o.told for o in pending.obstacles if not o.opened(args.because or "")]
