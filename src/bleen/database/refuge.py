"""Where a text lies in the database itself while a tool is at work there that may drop whatever table its models lack: every service, role, user and host that
comes to the database finds it, and it goes with a backup.

On PostgreSQL a large object: no tool lists those, a subscriber gets none, and a pg_dump that has begun does not miss one that goes. Everybody may read it, a
backup's role too, and only the role that made it may take it away: one that is left there by another role is spent as soon as somebody has looked. On SQLite a
view, which is no table. On MySQL it is a table: there are no large objects, and a view would need a privilege more, for mysqldump too. It is there only while
the command runs, so that no migration that was written before can name it; where our role may not drop it, it is emptied.
"""

import base64
import time
import zlib
from typing import NamedTuple

from bleen.database.rules.own import REFUGE
from bleen.database.server import Server
from bleen.errors import Refused

_SPENT = " spent"
_CALLED = ("lo_from_bytea(oid, bytea)", "lo_get(oid)", "lo_unlink(oid)")


class _Object(NamedTuple):
    """A large object of ours, by its comment: the number is the server's to give."""

    number: int
    said: str
    mine: bool
    """Whether our role may take it away."""

    @property
    def spent(self) -> bool:
        """Whether what lies in older ones is out of date."""
        return self.said.endswith(_SPENT)


def used(server: Server) -> bool:
    """Whether a text lies there."""
    if server.dialect == "postgres":
        return any(not each.spent for each in _objects(server)[:1])
    return bool(server.columns(REFUGE) and server.rows(f"SELECT kept FROM {REFUGE}"))


def barred(server: Server) -> str:
    """What our role would have to be granted to put a text there, where somebody has revoked what everybody may; empty if nothing is lacking."""
    if server.dialect != "postgres":
        return ""
    found = server.rows("SELECT f, current_user FROM unnest(%s::text[]) f WHERE NOT has_function_privilege('pg_catalog.' || f, 'EXECUTE')", [list(_CALLED)])
    return f"GRANT EXECUTE ON FUNCTION {', '.join(row[0] for row in found)} TO {server.quoted(found[0][1])}" if found else ""


def keep(server: Server, text: str) -> None:
    """Puts a text there; to be called by who is ``alone``, and where none is."""
    packed = base64.b64encode(zlib.compress(text.encode())).decode()  # which no dialect has to escape, and which fits into one statement
    if server.dialect == "postgres":
        _put(server, packed, "")
    elif server.dialect == "mysql":
        server.rows(f"CREATE TABLE IF NOT EXISTS {REFUGE} (number integer PRIMARY KEY, kept longtext CHARACTER SET ascii NOT NULL) ENGINE=InnoDB")
        server.rows(f"INSERT INTO {REFUGE} VALUES (1, %s)", [packed])
    else:
        server.rows(f"CREATE VIEW {REFUGE} AS SELECT '{packed}' AS kept")


def kept(server: Server) -> str:
    """The text that lies there; empty if whoever put it there had not come that far."""
    if server.dialect == "postgres":
        found = [row for each in _objects(server)[:1] if not each.spent for row in server.rows("SELECT lo_get(%s::oid)", [each.number])]
    else:
        found = server.rows(f"SELECT kept FROM {REFUGE}")
    return zlib.decompress(base64.b64decode(found[0][0])).decode() if found else ""


def clear(server: Server) -> None:
    """Takes away what lies there; what only another role may take away is spent from then on, unless our role is ``barred``."""
    if server.dialect == "postgres":
        found = _objects(server)
        others = not all(each.mine for each in found)
        for each in found:
            if each.mine and not (others and each is found[0] and each.spent):
                server.rows("SELECT lo_unlink(%s::oid)", [each.number])
        if others and not found[0].spent and not barred(server):
            _put(server, "", _SPENT)
    elif server.columns(REFUGE):
        try:
            server.rows(f"DROP {'TABLE' if server.dialect == 'mysql' else 'VIEW'} {REFUGE}")
        except Refused:
            if server.dialect != "mysql":
                raise
            server.rows(f"DELETE FROM {REFUGE}")


def _objects(server: Server) -> list[_Object]:
    """The newest first. There is none if a vacuumlo has been there, which takes those that no table names."""
    found = server.rows(
        "SELECT m.oid::bigint, d.description, pg_has_role(m.lomowner, 'USAGE') FROM pg_largeobject_metadata m JOIN pg_description d ON d.objoid = m.oid"
        " WHERE d.classoid = 'pg_largeobject'::regclass AND starts_with(d.description, %s) ORDER BY d.description DESC",
        [f"{REFUGE} "],
    )
    return [_Object(*row) for row in found]


def _put(server: Server, packed: str, more: str) -> None:
    with server.transaction():
        number = server.rows("SELECT lo_from_bytea(0, %s)::bigint", [packed.encode()])[0][0]
        server.rows(f"GRANT SELECT ON LARGE OBJECT {number} TO PUBLIC")
        server.rows(f"COMMENT ON LARGE OBJECT {number} IS '{REFUGE} {time.time():017.6f}{more}'")
