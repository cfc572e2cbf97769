"""What MySQL's and MariaDB's information_schema says of statements before they run, and an empty copy of a schema."""

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from bleen.database.catalogue import Catalogue, Going, Needing, Otherwise, Spreading
from bleen.database.migration import Locks, Pair
from bleen.database.mysql import rebuilding
from bleen.database.mysql import statements as mysql_statements
from bleen.database.mysql.empty import Connect, refused, tried
from bleen.database.mysql.needing import needing
from bleen.database.mysql.spreads import spreading
from bleen.database.mysql.standing import otherwise
from bleen.database.server import Told
from bleen.database.statements import Statement
from bleen.database.things import taken_as_written
from bleen.errors import Refused

if TYPE_CHECKING:
    from bleen.database.mysql.server import MySQL

_HOLDS = {
    **dict.fromkeys(("TABLE", "VIEW", "SEQUENCE"), "table_name FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"),
    "COLUMN": "column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s AND column_name = %s",
    "INDEX": "index_name FROM information_schema.statistics WHERE table_schema = %s AND table_name = %s AND index_name = %s",
    "CONSTRAINT": "constraint_name FROM information_schema.table_constraints WHERE table_schema = %s AND table_name = %s AND constraint_name = %s",
    "TRIGGER": "trigger_name FROM information_schema.triggers WHERE trigger_schema = %s AND trigger_name = %s",
    "EVENT": "event_name FROM information_schema.events WHERE event_schema = %s AND event_name = %s",
    **{
        kind: f"routine_name FROM information_schema.routines WHERE routine_type = '{kind}' AND routine_schema = %s AND routine_name = %s"
        for kind in ("FUNCTION", "PROCEDURE")
    },
}
"""Where the catalogue has a thing, by its database and its names."""
_INDEXES = """
    SELECT table_schema, table_name, index_name, non_unique, column_name, sub_part FROM information_schema.statistics
    WHERE (table_schema, table_name) IN ({}) AND index_name <> 'PRIMARY' AND index_type IN ('BTREE', 'HASH') ORDER BY 1, 2, 3, seq_in_index"""
_MARIADB_CHECKS = """
    SELECT constraint_schema, table_name, constraint_name, check_clause FROM information_schema.check_constraints
    WHERE level = 'Column' AND (constraint_schema, table_name) IN ({}) ORDER BY 1, 2, 3"""
_MYSQL_CHECKS = """
    SELECT t.table_schema, t.table_name, t.constraint_name, c.check_clause FROM information_schema.table_constraints t
    JOIN information_schema.check_constraints c ON c.constraint_schema = t.constraint_schema AND c.constraint_name = t.constraint_name
    WHERE t.constraint_type = 'CHECK' AND (t.table_schema, t.table_name) IN ({}) ORDER BY 1, 2, 3"""
_CASED = ("TABLE", "VIEW", "SEQUENCE")
"""What has a file of its name."""

_OF_COLUMN = ("modify", "change", "set-default", "drop-default", "rename-column")


class MySQLCatalogue(Catalogue):
    """Asks the server, and by connections of its own."""

    def __init__(self, server: "MySQL", connect: Connect) -> None:
        self._server, self._connect = server, connect

    def unable(self, statement: Statement) -> str:
        if len(mysql_statements.about(statement)) > 1:
            return f"{statement.brief}: write a statement of its own for each: who is killed between two of them leaves one done, and one not"
        if self._server.mariadb and re.match(r"DROP\s+INDEX\b.*\b(ALGORITHM|LOCK)\b", statement.text, re.IGNORECASE | re.DOTALL):
            return f"{statement.brief}: MariaDB takes neither ALGORITHM nor LOCK here: write ALTER TABLE ... DROP INDEX ..., ALGORITHM=INPLACE, LOCK=NONE"
        return ""

    def holds(self, drop: Statement) -> list[str]:
        """A table counts only if it is written as it is called, unless the server takes any case of it for the same."""
        found = []
        for kind, names in sorted(taken_as_written(drop.text, "mysql") or ()):
            of, name = (names[:-1], names[-1:]) if kind in ("COLUMN", "INDEX", "CONSTRAINT") else (names, ())
            if query := _HOLDS.get(kind):
                rows = self._server.rows(f"SELECT DISTINCT {query}", (*self._server.qualified(of), *name))
                found += [f"{its} of {of[-1]}" if name else its for (its,) in rows if name or kind not in _CASED or self._server.lowers or its == of[-1]]
        return found

    def lacks(self, statement: Statement) -> dict[str, str]:
        if (alter := mysql_statements.altered(statement)) is None:
            return {}
        schema, table = self._server.qualified([token.identifier for token in alter.table])
        found = self._server.rows("SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s", (schema, table))
        if not found:
            return {table: f"there is no {table}"}
        there = {str(name).lower() for (name,) in found}
        changed = [spec.names[0].identifier for spec in alter.specs if spec.kind in _OF_COLUMN]
        return {name: f"{table} has no column {name}" for name in changed if name.lower() not in there}

    def otherwise(self, back: Statement) -> list[Otherwise]:
        return list(otherwise(self._server, back))

    def refuses(self, before: Sequence[Statement], statements: Sequence[Statement]) -> str:
        return refused(self._connect, self._server, before, statements) or rebuilding.refused(self._server, before, statements)

    def tries(self, statements: Sequence[Statement], locks: Locks, told: Told) -> None:
        tried(self._server, statements, locks, told)

    def needing(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Needing]:
        spread = (Needing(each.statement, each.why, each.trigger) for each in spreading(self._server, statements, before))
        return [*needing(self._server, statements, before), *spread]

    def spreading(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Spreading]:
        return list(spreading(self._server, statements, before))

    def hampers(self, statement: Statement, pair: Pair) -> str:
        made, ours = mysql_statements.references(statement), {name.lower() for name in (*pair.old, *pair.new)}
        try:
            table = self._server.named(pair.table)
        except Refused:  # as ``sync.foreseen`` says
            return ""
        for each in made:
            of = self._server.qualified(each.table)
            to = self._server.qualified((*of[: 2 - len(each.to)], *each.to))
            said = [*(each.columns if of == table else ()), *(each.referenced if to == table else ())]
            if named := [name for name in said if name.lower() in ours]:
                return f"{', '.join(named)} is then in a foreign key: a write that seems to leave it alone would change it, and a cascade fires no trigger"
        return ""

    def going(self, tables: Sequence[str]) -> list[Going]:
        """The server holds a column back that a CHECK has beside others; the one that makes a JSON of a text comes with the type."""
        known, server = {self._server.named(table): table for table in tables}, self._server
        places, names = ", ".join(["(%s, %s)"] * len(known)), [name for each in known for name in each]
        found, indexes = list[Going](), dict[tuple[str, str, bool], list[tuple[str, int | None]]]()
        for schema, table, index, many, column, length in server.rows(_INDEXES.format(places), names):
            indexes.setdefault((known[server.qualified((schema, table))], index, not many), []).append((column, length))
        for (table, index, unique), parts in indexes.items():
            if all(column for column, _ in parts):  # one over an expression holds its columns back
                body = ", ".join(server.quoted(column) + (f"({length})" if length else "") for column, length in parts)
                found.append(Going(table, "UNIQUE" if unique else "INDEX", index, tuple(column for column, _ in parts), f"({body})"))
        for schema, table, name, check in server.rows((_MARIADB_CHECKS if server.mariadb else _MYSQL_CHECKS).format(places), names):
            columns = set(re.findall(r"`((?:[^`]|``)+)`", check))
            if len(columns) == 1 and not check.startswith("json_valid("):
                found.append(Going(known[server.qualified((schema, table))], "CHECK", name, tuple(columns), check))
        return found

    def risks(self, statement: Statement, expand: str) -> list[str]:
        return [why] if (why := rebuilding.waits(self._server, statement)) else []

    def jams(self, others: Collection[str]) -> str:
        ours = "FROM information_schema.triggers WHERE trigger_schema = database() AND"
        strange = "trigger_name REGEXP '^bleen_.*_(insert|update|return)_[0-9a-f]{8}$' AND definer <> CURRENT_USER() ORDER BY 1"
        for table, definer in self._server.rows(f"SELECT DISTINCT event_object_table, definer {ours} {strange}"):
            if table.lower() in others:
                continue
            return f"the triggers of {table} were made by {definer}, and not by the role of the database's url: each write there fails once that one is gone"
        query = f"SELECT DISTINCT event_object_table {ours} action_statement LIKE %s ORDER BY 1"
        if not (self._server.mariadb and self._server.logs_statements()):
            return ""
        tables = ", ".join(str(table) for (table,) in self._server.rows(query, ["%SET bleen_count = NEXT VALUE FOR %"]))
        why = "binlog_format is STATEMENT, with which MariaDB takes no write to a table whose trigger names a sequence (1665), as those of pairs do"
        return f"every write to {tables} fails: {why}" if tables else ""

    def fires(self, table: str, columns: Sequence[str]) -> list[str]:
        found = self._server.rows(
            "SELECT trigger_name FROM information_schema.triggers WHERE event_object_schema = %s AND event_object_table = %s"
            " AND event_manipulation = 'UPDATE' ORDER BY action_timing DESC, action_order",
            self._server.named(table),
        )
        return [str(name) for (name,) in found if not name.startswith("bleen_")]

    def stamps(self, table: str, columns: Sequence[str]) -> list[str]:
        given = {name.lower() for name in columns}
        found = self._server.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s AND extra LIKE '%%on update%%'"
            " ORDER BY ordinal_position",
            self._server.named(table),
        )
        return [str(name) for (name,) in found if str(name).lower() not in given]

    def forgets(self, before: Sequence[Statement], statements: Sequence[Statement]) -> list[str]:
        """Statement by statement, as one may give, take or rename what another one forgets."""
        defaults: dict[tuple[tuple[str, str], str], str] = {}
        found: dict[tuple[tuple[str, str], str], str] = {}
        for number, statement in enumerate([*before, *statements]):
            for each in mysql_statements.defaults(statement):
                table = self._server.qualified(each.table)
                old, new = (table, each.column.lower()), (table, each.becomes.lower())
                said, had = found.pop(old, ""), each.text
                if had is None:
                    had = defaults[old] if old in defaults else self._default(*old)
                    if each.anew and had and number >= len(before):
                        way = f"say DEFAULT {had} in it, or ALTER COLUMN {self._server.quoted(each.column)} DROP DEFAULT before it if that is to go"
                        said = f"{statement.brief}: takes the default of {each.becomes} away, so that an INSERT that leaves it out fails, or says NULL: {way}"
                    if said:
                        found[new] = said
                defaults |= {old: "", new: "" if each.anew else had}
        return list(found.values())

    def _default(self, table: tuple[str, str], column: str) -> str:
        columns = self._server.columns(".".join(map(self._server.quoted, table)))
        return next((each.default for name, each in columns.items() if name.lower() == column), "")
