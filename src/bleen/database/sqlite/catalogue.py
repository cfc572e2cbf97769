"""What a SQLite file's schema says of statements before they run, and a copy of it without rows."""

from collections.abc import Sequence

from bleen.database.catalogue import Catalogue, Needing, Spreading
from bleen.database.reverting.names import taken
from bleen.database.server import Server
from bleen.database.sqlite import copy as sqlite_copy
from bleen.database.statements import Statement


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

    def refuses(self, before: Sequence[Statement], statements: Sequence[Statement]) -> str:
        return sqlite_copy.refused(self._server, before, statements)

    def needing(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Needing]:
        return list(sqlite_copy.needing(self._server, statements, before))

    def spreading(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Spreading]:
        return list(sqlite_copy.spreading(self._server, statements, before))
