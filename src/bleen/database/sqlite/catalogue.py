"""What a SQLite file's schema says of statements before they run, and a copy of it without rows."""

import re
from collections.abc import Sequence

from bleen.database.catalogue import Catalogue, Going, Needing, Spreading
from bleen.database.migration import Pair
from bleen.database.server import Server
from bleen.database.sqlite import copy as sqlite_copy
from bleen.database.sqlite.values import checks, said
from bleen.database.sqlite.values import named as named_table
from bleen.database.statements import Statement
from bleen.database.things import taken
from bleen.errors import Refused


class SQLiteCatalogue(Catalogue):
    """Asks the file."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def holds(self, drop: Statement) -> list[str]:
        found = []
        for kind, names in sorted(taken(drop.text, "sqlite") or ()):
            if kind == "COLUMN":
                found += [f"{name} of {names[0]}" for name in self._server.columns(self._server.quoted(names[0])) if name.lower() == names[-1]]
            elif kind in ("TABLE", "VIEW", "INDEX", "TRIGGER"):  # all but triggers share their names
                query = "SELECT name FROM sqlite_master WHERE lower(name) = %s AND (type = 'trigger') = %s"
                found += [name for (name,) in self._server.rows(query, [names[-1], kind == "TRIGGER"])]
        return found

    def going(self, tables: Sequence[str]) -> list[Going]:
        """A CHECK that stands with its column; all else has to be dropped before it, by its name."""
        found = []
        for table in tables:
            columns = {name.lower(): name for name in self._server.columns(table)}
            for check in checks(self._server, named_table(table)) if columns else ():
                found.append(Going(table, "CHECK", "", tuple(columns[name] for name in sorted(said(check) & {*columns})), check[1:-1]))
        return found

    def refuses(self, before: Sequence[Statement], statements: Sequence[Statement]) -> str:
        return sqlite_copy.refused(self._server, before, statements)

    def hampers(self, statement: Statement, pair: Pair) -> str:
        if not re.search(r"\bREFERENCES\b", statement.text, re.IGNORECASE):
            return ""
        try:
            table, ours = named_table(pair.table), {name.lower() for name in (*pair.old, *pair.new)}
        except Refused:  # as ``sync.foreseen`` says
            return ""
        named = [each for each in sqlite_copy.referring(self._server, statement, table) if each.lower() in ours]
        return f"{', '.join(named)} is then in a foreign key: a write that seems to leave it alone would change it" if named else ""

    def needing(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Needing]:
        return list(sqlite_copy.needing(self._server, statements, before))

    def spreading(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Spreading]:
        return list(sqlite_copy.spreading(self._server, statements, before))

    def overlooks(self, statements: Sequence[Statement]) -> list[str]:
        return sqlite_copy.overlooked(self._server, statements)
