"""What MySQL and MariaDB say of statements about a table, asked on an empty copy of it.

A change of the schema commits by itself there, so what cannot be done has to be known before what goes with it is done.
"""

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import pymysql

from bleen.database.grammar.mysql import Spec
from bleen.database.migration import Locks, speaks_of
from bleen.database.mysql import statements as mysql_statements
from bleen.database.parts import own
from bleen.database.server import Missing, NotGiven, Told, TookTooLong
from bleen.database.statements import Statement, in_a_line
from bleen.database.tokens import Puzzled, Token, read
from bleen.errors import PortError, Refused

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor as Rows

    from bleen.database.mysql.server import MySQL

_COPY = "bleen_empty"
_HOW = ("algorithm", "lock", "drop-foreign")
"""A temporary table knows none of these ways; and what the plan drops may not be there yet."""
_OTHER = frozenset(["rename-table", "partition", "tablespace", "versioning"])
"""After these the copy is not what the table would be."""
_CHECKS = frozenset(["drop-constraint", "add-check"])
"""MySQL gives the CHECKs of a copy other names."""
_TOLD = frozenset([1054, 1072, 3108, 3837, 3959])
"""That something else names what is to go (MySQL, "Server Error Message Reference"; MariaDB, "MariaDB Error Codes")."""
_WAY = "drop what names it before, or in the same ALTER TABLE, and make it anew without that column where it is needed"

_FOREIGN = """
    SELECT table_schema, table_name, constraint_name, (table_schema, table_name) = (%s, %s) AS own,
        if((table_schema, table_name) = (%s, %s), column_name, referenced_column_name)
    FROM information_schema.key_column_usage WHERE referenced_table_name IS NOT NULL
        AND ((table_schema, table_name) = (%s, %s) OR (referenced_table_schema, referenced_table_name) = (%s, %s))
    ORDER BY table_schema, table_name, constraint_name, ordinal_position
"""

Connect = Callable[[], "Connection[Rows]"]
"""A session of its own: the end of it takes a temporary table with it."""
Ask = Callable[[str], Sequence[tuple[Any, ...]]]
"""Runs a statement in the session that sees the copy."""


def refused(connect: Connect, server: "MySQL", before: Sequence[Statement], statements: Sequence[Statement]) -> str:
    """Implements ``Catalogue.refuses``: table by table, as far as it is about what a statement drops, and something else of the table needs."""
    return next(filter(None, (_refused(connect, server, table, before, statements) for table in _altered(server, statements))), "")


def _refused(connect: Connect, server: "MySQL", table: tuple[str, str], before: Sequence[Statement], statements: Sequence[Statement]) -> str:
    """Nothing is known where the server makes no copy: not every table can be a temporary one."""
    with closing(connect()) as connection, connection.cursor() as rows, suppress(pymysql.Error, Puzzled):

        def ask(text: str) -> Sequence[tuple[Any, ...]]:
            rows.execute(text)
            return list(rows.fetchall())

        copy = _Copy(server, table, ask, unsaid=_HOW)
        ask("SET lock_wait_timeout = 1")
        ask(f"CREATE TEMPORARY TABLE {copy.name} LIKE {copy.of}")
        for number, statement in enumerate([*before, *statements]):
            try:
                if text := copy.text(statement):
                    ask(text)
                why = copy.lacks(statement)
            except pymysql.Error as error:
                naming = copy.naming(statement) if error.args[0] in _TOLD else ""
                if not naming:
                    return ""
                why = f"{in_a_line(str(error.args[-1]))}{naming}"
            if why:
                return f"{statement.brief}: {why}" if number >= len(before) else ""
    return ""


def tried(server: "MySQL", statements: Sequence[Statement], locks: Locks, told: Told) -> None:
    """Implements ``Catalogue.tries``, in the session in which they will be run: what is set there counts."""
    for table in _altered(server, statements):
        copy = _Copy(server, table, server.rows)
        try:  # one of us who was killed may have left it
            server.change(own([f"DROP TABLE IF EXISTS {copy.name}", f"CREATE TABLE {copy.name} LIKE {copy.of}"]), [], locks, told)
        except Missing:
            continue  # the statement says itself what is to be if there is no such table
        except (NotGiven, TookTooLong):
            raise
        except Refused as error:
            raise Refused(f"what nothing takes back is tried on an empty copy first, and none can be made: {error}") from None
        try:
            with suppress(Puzzled):
                for statement in statements:
                    _try(server, copy, statement, locks, told)
        finally:
            with suppress(PortError):
                server.rows(f"DROP TABLE IF EXISTS {copy.name}")


def _try(server: "MySQL", copy: "_Copy", statement: Statement, locks: Locks, told: Told) -> None:
    """Raises as ``Catalogue.tries``, and ``Puzzled``."""
    (instead,) = own([copy.text(statement)])
    try:
        if instead.text:
            server.change([instead], [], locks, told)
    except (NotGiven, TookTooLong):
        raise
    except Refused as error:
        raise type(error)(f"{statement.brief}{str(error).removeprefix(instead.brief)}{copy.naming(statement)}") from None
    if why := copy.lacks(statement):
        raise Refused(f"{statement.brief}: {why}")


def _altered(server: "MySQL", statements: Sequence[Statement]) -> list[tuple[str, str]]:
    altering = [statement for statement in statements if statement.text[:5].upper() == "ALTER"]
    return list(dict.fromkeys(server.qualified(_names(each.name)) for statement in altering for each in mysql_statements.about(statement)))


def _names(name: Sequence[Token]) -> list[str]:
    return [token.identifier for token in name]


class _Foreign(NamedTuple):
    """A foreign key that a table is part of."""

    table: str
    """Whose it is, without its database."""
    name: str
    """In lower case."""
    own: bool
    """Whether that is the table which is copied."""
    columns: tuple[str, ...]
    """Those of the table which is copied, in lower case."""


class _Copy:
    """An empty copy of a table: what a statement is there, and what becomes of the foreign keys, which no copy has."""

    def __init__(self, server: "MySQL", table: tuple[str, str], ask: Ask, unsaid: Sequence[str] = ()) -> None:
        """``unsaid``: parts of an ALTER TABLE that are left out."""
        self._server, self._table, self._ask, self._unsaid = server, table, ask, unsaid
        self.of, self.name = (".".join(map(server.quoted, (table[0], name))) for name in (table[1], _COPY))
        keys = groupby(server.rows(_FOREIGN, table * 4), itemgetter(slice(4)))
        found = [_Foreign(of, name.lower(), bool(own), tuple(row[4].lower() for row in rows)) for (_, of, name, own), rows in keys]
        self._own = {each.name for each in found if each.own}
        self._foreign = found if server.rows("SELECT @@foreign_key_checks")[0][0] else []

    def text(self, statement: Statement) -> str:
        """A statement as it is for the copy; empty if it is about something else. Raises ``Puzzled`` for what the copy does not show."""
        if specs := self._specs(statement):
            left = [spec for spec in specs if spec.kind not in ("add-foreign", *self._unsaid) and not self._frees(spec)]
            for spec in left:
                if spec.kind in _OTHER or (spec.kind in _CHECKS and not self._server.mariadb):
                    raise Puzzled(spec.at)
            return f"ALTER TABLE {self.name} {', '.join(spec.text for spec in left)}" if left else ""
        about = [each for each in mysql_statements.about(statement) if each.kind == "TABLE" and self._named(each.name)]
        if not about:
            return ""
        name, tokens = about[0].name, read(statement.text, "mysql").sentences[0].tokens
        if "INDEX" not in (token.word for token in tokens[:5]) or tokens[0].word not in ("CREATE", "DROP"):
            raise Puzzled(tokens[0])  # the table itself comes, goes or is another
        return f"{statement.text[: name[0].offset]}{self.name}{statement.text[name[-1].end :]}"

    def naming(self, statement: Statement) -> str:
        """What of the copy names a column that a statement drops, as SHOW CREATE TABLE has it, to go behind an error; empty if nothing does."""
        gone = [self._server.quoted(name) for name in self._gone(statement)]
        lines = [line.strip().removesuffix(",") for line in str(self._ask(f"SHOW CREATE TABLE {self.name}")[0][1]).splitlines()]
        found = [line for line in lines if any(name in line.lower() and not line.lower().startswith(name) for name in gone)]
        return f" ({'; '.join(found)}): {_WAY}" if found else ""

    def lacks(self, statement: Statement) -> str:
        """That a statement, done on the copy, has taken from a foreign key a column, or the index that both its sides must have; empty if it has not."""
        specs = self._specs(statement)
        self._foreign = [each for each in self._foreign if not self._freed(each, statement, specs)]
        if not self._foreign:
            return ""
        indexes = [tuple(str(row[4]).lower() for row in rows) for _, rows in groupby(self._ask(f"SHOW INDEX FROM {self.name}"), itemgetter(2))]
        columns, gone = {row[0].lower() for row in self._ask(f"SHOW COLUMNS FROM {self.name}")}, self._gone(statement)
        for each in self._foreign:
            led = any((*index, *indexes[0])[: len(each.columns)] == each.columns for index in indexes)  # the primary key, shown first, ends each of them
            if any(name in each.columns for name in gone) or (not led and columns.issuperset(each.columns)):
                needs = f"the foreign key {each.name} of {each.table} needs {', '.join(each.columns)}, and an index that begins so"
                return f"{needs}: drop it before{', or by DROP FOREIGN KEY in the same ALTER TABLE' if each.own else ''}"
        return ""

    def _freed(self, key: _Foreign, statement: Statement, specs: Sequence[Spec]) -> bool:
        """Whether a statement drops a foreign key; of another table's, and of one that is not looked after, it is enough that it may."""
        if specs and key.own:
            return any(self._frees(spec) == key.name for spec in specs)
        return any(speaks_of(statement.text, name) for name in ("foreign_key_checks", key.name, *([] if key.own else [key.table])))

    def _frees(self, spec: Spec) -> str:
        """The foreign key of the table that a part of an ALTER TABLE drops; empty if it drops none."""
        name = spec.names[0].identifier.lower() if spec.kind in ("drop-foreign", "drop-constraint") else ""
        return name if name in self._own else ""

    def _gone(self, statement: Statement) -> list[str]:
        return [spec.names[0].identifier.lower() for spec in self._specs(statement) if spec.kind == "drop-column"]

    def _specs(self, statement: Statement) -> Sequence[Spec]:
        """The parts of an ALTER TABLE of the table; none of another statement."""
        alter = mysql_statements.altered(statement)
        return alter.specs if alter and self._named(alter.table) else ()

    def _named(self, name: Sequence[Token]) -> bool:
        return self._server.qualified(_names(name)) == self._table
