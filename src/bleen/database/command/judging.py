"""What the commands of a migration do is judged before they run: by what they print of it, and by what is said of them."""

import re
import shlex
from collections.abc import Collection, Sequence

from bleen.database import importing, reverting
from bleen.database.command import alembic, django
from bleen.database.command.home import Home
from bleen.database.command.revisions import would_run
from bleen.database.command.running import asked
from bleen.database.migration import Migration
from bleen.database.rules import Script, own, rules
from bleen.database.rules.findings import IRREVERSIBLE
from bleen.database.server import Server
from bleen.database.statements import Statement, Unreadable
from bleen.errors import Refused, UserError

_BEGINS, _ENDS = re.compile(r"(BEGIN|START)\b", re.IGNORECASE), re.compile(r"(COMMIT|END|ABORT|ROLLBACK(?!\s+TO))\b", re.IGNORECASE)
_NO_SQL = re.compile(r"THIS OPERATION CANNOT BE WRITTEN AS SQL")
"""What Django's sqlmigrate prints for RunPython."""


def judge(server: Server, migration: Migration) -> list[str]:
    """What is wrong with the commands of a migration, a line each, whatever they do: there is a way back, and sync ends as its columns go."""
    command, where = migration.command, f"{migration.name}/migration.toml"
    found = []
    if command.expand and not command.revert and not reverting.irreversible(migration.sql("revert")):
        way = f"say revert in [command], or in revert.sql that there is none: `{reverting.MARK} REASON`"
        found.append(f"{where}: [{IRREVERSIBLE}] the expand command has no way back; {way}")
    try:
        contract = server.split(migration.sql("contract")) if command.contract else []
    except Unreadable:  # the rules say so
        contract = []
    for pair in migration.pairs if command.contract else ():
        if not any(server.drops(statement, pair) for statement in contract):
            why = "sync must end in the transaction in which its columns go: between the two, an INSERT that names only the new ones would fail"
            say = "drop them in contract.sql, and let the command only note it (alembic stamp, migrate --fake)"
            found.append(f"{where}: [command] {pair.table} ({', '.join(pair.old)}) is kept in step, and a command drops it; {why}; {say}")
    known = rules(server.dialect)
    found += [f"{where}: [bad-override] allow: there is no rule {rule}" for rule in command.allow if rule not in known]
    return found


class Printing:
    """The SQL of the expand commands of a release, to be judged: what their ``sql`` prints, without the tool's own book. Asked in their order."""

    def __init__(self, server: Server, home: Home | None, alone: Collection[str] = ()) -> None:
        """``alone``: migrations before which there was nothing, so that nobody minds what else Django runs."""
        self._server, self._home, self._alone = server, home, alone
        self._earlier: set[str] = set()
        """Migrations of Django's that those before would run."""

    def of(self, migration: Migration) -> list[Script]:
        """Of one migration; none if there is no ``sql``. Where Django is to run more than the migration that is named, that of each is printed.

        Raises UserError if nothing is printed, or if what is printed is not all of it.
        """
        argv = migration.command.sql
        if not argv:
            return []
        if self._home is None:
            raise UserError(f"{migration.name}: `{shlex.join(argv)}` cannot be asked for its SQL: no version is known in whose directory")
        scripts = []
        for each in self._all(migration, self._home):
            name = f"{migration.name}, what `{shlex.join(each)}` prints"
            text = asked(self._server, migration, "sql", each, self._home)
            scripts.append(Script(_sql(self._server, text, name), name, "expand", _transactions(self._server.split(text), len(text))))
        if not any(self._server.split(each.text) for each in scripts):
            raise UserError(f"{scripts[0].file}: there is no statement in it, so that nothing was judged")
        return scripts

    def ledger(self, migration: Migration) -> list[str]:
        """What the command of a contract would do to what is bleen's own, a line each: an Alembic that compares them with models finds none for them, and
        prints that of a contract as well. What cannot be printed is no fault.
        """
        argv = alembic.printing(migration.command.sql, alembic.goal(migration.command.contract))
        if argv is None or self._home is None:
            return []
        try:
            text = asked(self._server, migration, "sql", argv, self._home)
        except UserError:
            return []
        where = f"{migration.name}, contract, what `{shlex.join(argv)}` prints"
        return [f"{f.file}:{f.line}:{f.column}: [{f.rule}] {f.message}" for f in own.found(text, where, self._server.dialect)]

    def _all(self, migration: Migration, home: Home) -> list[Sequence[str]]:
        """The commands that print all of it."""
        argv = migration.command.sql
        if django.printing(argv, "an.other") is None:
            return [argv]
        try:
            planned = would_run(self._server, migration, home)
        except Refused as error:
            raise UserError(str(error)) from None
        if migration.name in self._alone:
            return [argv]
        new = [each for each in planned if each not in self._earlier]
        self._earlier |= {*new}
        return [django.printing(argv, each) or argv for each in new] or [argv]


def _transactions(statements: Sequence[Statement], end: int) -> tuple[tuple[int, int], ...]:
    """From where to where each transaction goes that is printed. Where none is, all may be one: of a tool that begins its own."""
    found, begun = list[tuple[int, int]](), -1
    for statement in statements:
        if _BEGINS.match(statement.text):
            begun = statement.offset
        elif begun >= 0 and _ENDS.match(statement.text):
            found, begun = [*found, (begun, statement.offset)], -1
    return (*found, *([(begun, end)] if begun >= 0 else [])) or ((0, end),)


def _sql(server: Server, text: str, name: str) -> str:
    """What is printed, with all that is no change of the schema blank. Raises UserError."""
    if beyond := _NO_SQL.search(text):
        line = text.count("\n", 0, beyond.start()) + 1
        raise UserError(f'{name}:{line}: is not all that it does; say unjudged = "REASON" instead of sql, or move it to a backfill.sql')
    try:
        text = importing.without_books(text, server.dialect)
        statements = server.split(text)
    except Unreadable as error:
        raise UserError(f"{name}:{error.at.line}:{error.at.column}: {error}") from None
    for statement in statements:
        if server.atomic and not server.transactional(statement):
            why = "cannot be gone on with where a command was killed, or not given a lock: put it in expand.sql, which is run behind the command"
            raise UserError(f"{name}:{statement.at.line}:{statement.at.column}: {' '.join(statement.text.split())[:80]}: {why}")
    return text
