"""Where a text lies in the database itself while a tool is at work there that may drop whatever table its models lack: every service, role, user and host that
comes to the database finds it, and it goes with a backup.

On PostgreSQL a large object: no tool lists those, a subscriber gets none, and a pg_dump that has begun does not miss one that goes. On SQLite a view, which is
no table. On MySQL, where a large object is unknown, and a view wants a privilege of its own of who makes it, and of a mysqldump, a table: it is there only as
long as the command runs, so that no migration that was written before can name it.
"""

import base64
import zlib

from bleen.database.rules.own import REFUGE
from bleen.database.server import Server
from bleen.errors import Refused

_OBJECTS = (
    "SELECT m.oid::bigint, pg_get_userbyid(m.lomowner)::text, pg_has_role(m.lomowner, 'USAGE') FROM pg_largeobject_metadata m"
    " JOIN pg_description d ON d.objoid = m.oid WHERE d.classoid = 'pg_largeobject'::regclass AND d.description = %s"
)
"""By their comment: the number is the server's to give."""


def used(server: Server) -> bool:
    """Whether a text lies there."""
    return bool(server.rows(_OBJECTS, [REFUGE]) if server.dialect == "postgres" else server.columns(REFUGE))


def keep(server: Server, text: str) -> None:
    """Puts a text there; to be called by who is ``alone``, and where none is."""
    packed = base64.b64encode(zlib.compress(text.encode())).decode()  # which no dialect has to escape, and which fits into one statement
    if server.dialect == "postgres":
        with server.transaction():
            number = server.rows("SELECT lo_from_bytea(0, %s)::bigint", [packed.encode()])[0][0]
            server.rows(f"COMMENT ON LARGE OBJECT {number} IS '{REFUGE}'")
    elif server.dialect == "mysql":
        server.rows(f"CREATE TABLE {REFUGE} (number integer PRIMARY KEY, kept longtext CHARACTER SET ascii NOT NULL) ENGINE=InnoDB")
        server.rows(f"INSERT INTO {REFUGE} VALUES (1, %s)", [packed])
    else:
        server.rows(f"CREATE VIEW {REFUGE} AS SELECT '{packed}' AS kept")


def kept(server: Server) -> str:
    """The text that lies there; empty if whoever put it there had not come that far. Raises Refused if it is another role's."""
    if server.dialect == "postgres":
        numbers = _ours(server, "`bleen migrate status`, with a url of it, puts it back")
        found = [row for number in numbers for row in server.rows("SELECT lo_get(%s::oid)", [number])]
    else:
        found = server.rows(f"SELECT kept FROM {REFUGE}")
    return zlib.decompress(base64.b64decode(found[0][0])).decode() if found else ""


def clear(server: Server) -> None:
    """Takes away what lies there. Raises Refused if it is another role's."""
    if server.dialect == "postgres":
        for number in _ours(server, "`SELECT lo_unlink({number})` as that role takes it away, as nothing of it is lacking"):
            server.rows("SELECT lo_unlink(%s::oid)", [number])
    else:
        server.rows(f"DROP {'TABLE' if server.dialect == 'mysql' else 'VIEW'} IF EXISTS {REFUGE}")


def _ours(server: Server, way: str) -> list[int]:
    """The number of the large object, if it is there: a vacuumlo meanwhile takes those that no table names. ``way``: what to do about one of another role."""
    found = server.rows(_OBJECTS, [REFUGE])
    for number, owner in [(number, owner) for number, owner, ours in found if not ours]:
        left = f"the ledger, as it was before a command that the role {owner} ran and did not see the end of, lies in the large object {number}"
        raise Refused(f"{left}, which only that role may touch: {way.format(number=number)}; then try again")
    return [number for number, _, _ in found]
