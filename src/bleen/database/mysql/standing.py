"""What a statement of a way back would leave otherwise than it is now: rights on tables, databases and routines, roles, and defaults of columns."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from bleen.database.catalogue import Otherwise
from bleen.database.mysql.statements import defaults
from bleen.database.statements import Statement, Unreadable
from bleen.database.tokens import Puzzled, Token, read
from bleen.errors import Refused

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
    routine: str = ""
    """FUNCTION or PROCEDURE, if it is on one."""


class _Left(NamedTuple):
    """One role of a REVOKE."""

    role: str
    who: str


_ROUTINE = "SELECT proc_priv FROM mysql.procs_priv WHERE concat(quote(user), '@', quote(host)) = %s AND db = %s AND routine_name = %s AND routine_type = %s"
_MEMBER = {
    True: "SELECT 1 FROM mysql.roles_mapping WHERE concat(quote(user), '@', quote(host)) = %s AND role = %s",
    False: "SELECT 1 FROM mysql.role_edges WHERE concat(quote(to_user), '@', quote(to_host)) = %s AND from_user = %s",
}
"""By whether it is MariaDB."""


def otherwise(server: "MySQL", statement: Statement) -> Iterator[Otherwise]:
    """Implements ``Catalogue.otherwise``. Of others' rights a role sees none that may not read those of the database mysql."""
    for each in _revoked(statement.text):
        for what, on in _has(server, each):
            yield Otherwise(f"{each.who} has {what} on {on} already", _OUT)
    for role, who in _left(statement.text):
        with suppress(Refused):
            if server.rows(_MEMBER[server.mariadb], [who, role]):
                yield Otherwise(f"{who} has the role {role} already", _OUT)
    for said in defaults(statement):
        columns = server.columns(".".join(map(server.quoted, said.table)))
        had = next((column.default for name, column in columns.items() if name.lower() == said.column.lower()), None)
        sets = "" if said.anew else said.text
        if had is not None and sets is not None and bool(had) is not bool(sets):
            now, say = (f"the default {had}", f"DEFAULT {had}") if had else ("no default", "none")
            yield Otherwise(f"{said.column} of {said.table[-1]} has {now} now", f"let it say {say}")


_OUT = "take it out of both"


def _has(server: "MySQL", it: _Revoked) -> Iterator[tuple[str, str]]:
    """Those of a right, or of ALL, that are there, and what they are on."""
    if it.routine:
        with suppress(Refused):
            for (rights,) in server.rows(_ROUTINE, [it.who, *server.qualified(it.on), it.routine]):
                there = [each for each in rights.upper().split(",") if each != "GRANT"]
                yield from ((each, ".".join(it.on)) for each in there if it.right in ("ALL", each))
        return
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
    """Of tables, databases and routines."""
    takes, of = _taken(text)
    words = [token.word for token in takes]
    if "ON" not in words:
        return
    on = words.index("ON")
    routine = next((word for word in words[on + 1 : on + 2] if word in ("FUNCTION", "PROCEDURE")), "")
    things = [token for token in takes[on + 1 + bool(routine) :] if token.word not in ("TABLE", ".")]
    if not 0 < len(things) <= 2 or things[0].word == "PACKAGE":
        return
    for right in _listed(takes[:on]):
        said = [token.word for token in right]
        bracket = said.index("(") if "(" in said else len(said)
        what = " ".join(said[:bracket]).replace("ALL PRIVILEGES", "ALL")
        columns = tuple(token.identifier for token in right[bracket:] if token.kind in ("word", "name"))
        for who in _grantees(of):
            yield _Revoked(what, columns, tuple(_bare(each) for each in things), who, routine)


def _left(text: str) -> Iterator[_Left]:
    """None where it only takes the right to give a role on."""
    takes, of = _taken(text)
    if takes and not {"ON", "ALL", "OPTION"}.intersection(token.word for token in takes):
        yield from (_Left(_bare(role[0]), who) for role in _listed(takes) for who in _grantees(of))


def _taken(text: str) -> tuple[list[Token], list[Token]]:
    """What a REVOKE takes, and from whom; of anything else nothing."""
    try:
        tokens = [token for sentence in read(text, "mysql").sentences[:1] for token in sentence.tokens]
        words = [token.word for token in tokens]
        to = words.index("FROM")
    except (Unreadable, Puzzled, ValueError):
        return [], []
    begin = 3 if words[1:3] == ["IF", "EXISTS"] else 1
    return (tokens[begin:to], tokens[to + 1 :]) if words[0] == "REVOKE" else ([], [])


def _grantees(tokens: list[Token]) -> Iterator[str]:
    for who in _listed(tokens):
        for host in [_bare(who[2])] if len(who) > 2 else ["%", ""]:  # a role of MariaDB has none
            yield f"'{_bare(who[0])}'@'{host}'"


def _listed(tokens: list[Token]) -> list[list[Token]]:
    """What stands between commas, but for those in brackets."""
    found, depth = [list[Token]()], 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if token.word == "," and not depth:
            found.append([])
        else:
            found[-1].append(token)
    return [each for each in found if each]


def _bare(token: Token) -> str:
    return token.identifier if token.kind in ("word", "name") else token.text.strip("'\"")
