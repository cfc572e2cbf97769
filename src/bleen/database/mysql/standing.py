"""What a statement of a way back would leave otherwise than it is now: rights on tables and databases, and defaults of columns."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from bleen.database.catalogue import Otherwise
from bleen.database.mysql.statements import defaults
from bleen.database.statements import Statement, Unreadable
from bleen.database.tokens import Puzzled, Token, read

if TYPE_CHECKING:
    from bleen.database.mysql.server import MySQL


class _Revoked(NamedTuple):
    """One right of a REVOKE."""

    right: str
    columns: tuple[str, ...]
    on: tuple[str, ...]
    """With * for all."""
    who: str
    """As information_schema has it."""


def otherwise(server: "MySQL", statement: Statement) -> Iterator[Otherwise]:
    """Implements ``Catalogue.otherwise``. Of others' rights a role sees none that may not read those of the database mysql."""
    for each in _revoked(statement.text):
        for what, on in _has(server, each):
            yield Otherwise(f"{each.who} has {what} on {on} already", "take it out of both")
    for said in defaults(statement):
        columns = server.columns(".".join(map(server.quoted, said.table)))
        had = next((column.default for name, column in columns.items() if name.lower() == said.column.lower()), None)
        sets = "" if said.anew else said.text
        if had is not None and sets is not None and bool(had) is not bool(sets):
            now, say = (f"the default {had}", f"DEFAULT {had}") if had else ("no default", "none")
            yield Otherwise(f"{said.column} of {said.table[-1]} has {now} now", f"let it say {say}")


def _has(server: "MySQL", it: _Revoked) -> Iterator[tuple[str, str]]:
    """Those of a right, or of ALL, that are there, and what they are on."""
    everywhere, whole = it.on == ("*", "*"), it.on[-1] == "*"
    names = () if everywhere else server.qualified(it.on)
    of = "user" if everywhere else "schema" if whole else "column" if it.columns else "table"
    where, values = ["grantee = %s", "privilege_type <> 'USAGE'"], [it.who]
    for name, value in list(zip(("table_schema", "table_name"), names, strict=False))[: 1 if whole else 2]:
        where.append(f"{name} = %s")
        values.append(value)
    if it.right != "ALL":
        where.append("privilege_type = %s")
        values.append(it.right)
    query = f"SELECT DISTINCT privilege_type{', column_name' if it.columns else ''} FROM information_schema.{of}_privileges WHERE {' AND '.join(where)}"
    for what, *column in server.rows(f"{query} ORDER BY 1", values):
        if not column or column[0] in it.columns:
            yield str(what), " of ".join((*column, ".".join(it.on)))


def _revoked(text: str) -> Iterator[_Revoked]:
    """Of tables and databases; of routines and roles nothing."""
    try:
        tokens = [token for sentence in read(text, "mysql").sentences[:1] for token in sentence.tokens]
        words = [token.word for token in tokens]
        on, to = words.index("ON"), words.index("FROM")
    except (Unreadable, Puzzled, ValueError):
        return
    things = [token for token in tokens[on + 1 : to] if token.word not in ("TABLE", ".")]
    if words[0] != "REVOKE" or not 0 < len(things) <= 2 or things[0].word in ("FUNCTION", "PROCEDURE", "PACKAGE"):
        return
    for right in _listed(tokens[1:on]):
        said = [token.word for token in right]
        bracket = said.index("(") if "(" in said else len(said)
        what = " ".join(said[:bracket]).replace("ALL PRIVILEGES", "ALL")
        columns = tuple(token.identifier for token in right[bracket:] if token.kind in ("word", "name"))
        for who in _listed(tokens[to + 1 :]):
            for host in [_bare(who[2])] if len(who) > 2 else ["%", ""]:  # a role of MariaDB has none
                yield _Revoked(what, columns, tuple(_bare(each) for each in things), f"'{_bare(who[0])}'@'{host}'")


def _listed(tokens: list[Token]) -> list[list[Token]]:
    """What stands between commas, but for those in brackets."""
    found, depth = [list[Token]()], 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if token.word == "," and not depth:
            found.append([])
        else:
            found[-1].append(token)
    return found


def _bare(token: Token) -> str:
    return token.identifier if token.kind in ("word", "name") else token.text.strip("'\"")
