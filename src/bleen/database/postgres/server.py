"""PostgreSQL 14 and later, over one direct connection."""

import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Any

import postgast
import psycopg
from psycopg import errors, sql

from bleen.database.grammar.postgres_update import update
from bleen.database.lookout import AtWork, looking_out
from bleen.database.migration import Backfill, Locks, Pair
from bleen.database.patience import Patience
from bleen.database.postgres import leftovers, peers
from bleen.database.postgres.belongings import Belongings
from bleen.database.postgres.catalogue import PostgresCatalogue
from bleen.database.postgres.objects import alters, same
from bleen.database.postgres.trees import dropped, last, node_of
from bleen.database.server import LOST, QUIET, Column, Contended, Missing, Session, Taken, Told, TookTooLong, Values
from bleen.database.statements import Dialect, Statement, in_a_line, split
from bleen.database.things import Thing, taken
from bleen.errors import Refused, Unavailable

LOCK = 0x626C65656E
"""The advisory lock of a database, held by whoever of us changes it: 'bleen'."""

GONE_WITHIN = 3.0
"""Seconds in which the server has noticed that somebody who held it was killed, and has ended the session."""

_CHECKED = 250
"""Milliseconds between two looks of the server whether who asked for a statement is still there."""
_IDLE = 10_000
"""Milliseconds for which a transaction of ours may stand still, locks and all: a client that was stopped keeps nobody waiting for longer."""
_ALIVE = {"keepalives_idle": QUIET, "keepalives_interval": 5, "tcp_user_timeout": LOST * 1000}
"""See ``LOST`` (PostgreSQL manual, "Database Connection Control Functions"); a url may say otherwise."""
_FOR_APPLICATIONS = "'idle_session_timeout', 'transaction_timeout', 'statement_timeout', 'lock_timeout'"
"""What a role or a database may limit, and we do not want limited; not every server has them all."""

_NAMED_ALONE = {getattr(postgast.pg_query_pb2, f"OBJECT_{kind}"): kind for kind in ("FUNCTION", "ROUTINE", "TYPE", "DOMAIN", "COLLATION")}
"""What an expression names by itself."""
_MEMBERS = """
    SELECT CASE WHEN p.oid IS NOT NULL THEN 'FUNCTION' ELSE 'TYPE' END, lower(coalesce(p.proname, t.typname)) FROM pg_depend d
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND e.extname = ANY(%s)
    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
    WHERE p.oid IS NOT NULL OR t.oid IS NOT NULL"""
_OF_A_TABLE = {
    "class": "oid",
    "attribute": "attrelid",
    "attrdef": "adrelid",
    "constraint": "conrelid",
    "index": "indexrelid",
    "trigger": "tgrelid",
    "rewrite": "ev_class",
    "policy": "polrelid",
    "inherits": "inhrelid",
}
_OF_A_SCHEMA = {"type": "typnamespace", "proc": "pronamespace"}
_SHAPE = (
    "WITH named AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),"
    " tables AS (SELECT oid FROM pg_class WHERE relnamespace IN (SELECT oid FROM named)), parts AS ("
    + " UNION ALL ".join(
        [f"SELECT '{name}', {column}::text, xmin::text FROM pg_{name} WHERE {column} IN (SELECT oid FROM tables)" for name, column in _OF_A_TABLE.items()]
        + [f"SELECT '{name}', oid::text, xmin::text FROM pg_{name} WHERE {column} IN (SELECT oid FROM named)" for name, column in _OF_A_SCHEMA.items()]
        + ["SELECT 'enum', oid::text, xmin::text FROM pg_enum", "SELECT 'namespace', oid::text, '' FROM named"]
    )
    + ") SELECT md5(coalesce(string_agg(parts::text, ',' ORDER BY parts::text), '')) FROM parts"
)
"""Which transaction wrote each row of the catalogue that speaks of something of a person's; VACUUM and ANALYZE, which write in place, leave it as it is."""
_BLOCKING = (
    "SELECT b.pid, a.application_name, coalesce(a.usename, ''), a.state, round(extract(epoch FROM now() - a.xact_start)), left(a.query, 80)"
    " FROM unnest(pg_blocking_pids(%s)) b (pid) LEFT JOIN pg_stat_activity a USING (pid) WHERE a.pid IS NOT NULL OR b.pid = 0"
)
"""Who keeps a session waiting; 0 is a prepared transaction, which no session has any more (PostgreSQL manual, "Session Information Functions")."""
_PREPARED = """
    SELECT DISTINCT x.gid, x.owner, round(extract(epoch FROM now() - x.prepared)) FROM pg_locks w JOIN pg_locks h ON h.granted AND h.pid IS NULL
    AND (h.locktype, h.database, h.relation, h.page, h.tuple, h.virtualxid, h.transactionid, h.classid, h.objid, h.objsubid)
    IS NOT DISTINCT FROM (w.locktype, w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid, w.classid, w.objid, w.objsubid)
    JOIN pg_locks t ON t.virtualtransaction = h.virtualtransaction AND t.pid IS NULL AND t.granted AND t.locktype = 'transactionid'
    JOIN pg_prepared_xacts x ON x.transaction = t.transactionid WHERE w.pid = %s AND NOT w.granted ORDER BY 1"""
"""Those that hold what a session waits for."""
_VACUUMED = """
    SELECT DISTINCT w.relation::regclass::text FROM pg_locks w JOIN pg_locks h ON h.granted AND (h.database, h.relation) = (w.database, w.relation)
    JOIN pg_stat_activity a ON a.pid = h.pid AND a.usesysid IS NULL JOIN pg_class c ON c.oid = w.relation AND c.relkind = 'r'
    WHERE w.pid = %s AND NOT w.granted AND h.mode = 'ShareUpdateExclusiveLock' AND has_table_privilege(c.oid, 'UPDATE')"""
"""The table that a session waits for as an autovacuum is at it: a worker is nobody's session. Who may not LOCK a table cannot have it end."""
_CONTENDED = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)
_AWAY = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.ConnectionException,
    errors.IdleInTransactionSessionTimeout,
)
_MISSING = (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedObject, errors.UndefinedFunction, errors.InvalidSchemaName)
_UNWELCOME = re.compile(r"authentication failed|no pg_hba.conf entry|no password supplied|FATAL:  (role|database) .* does not exist|is not permitted to log in")
"""What a server says to somebody who need not come again; psycopg has no code for what happens while it connects."""
_URL = re.compile(r"[a-z]+://([^@/]*@)?[^@/?]*(/[^@?]*)?(\?[^@]*)?")
"""A url of which no part is taken for another one, and told in an error: a password with a / or an @ in it."""

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what it says to nobody in particular would stand on a person's screen

_PARTING = 20
"""How many twentieths of a second the server is given to end the session of a client that has gone: one that connects for each request goes all the time."""


class Postgres:
    """Implements ``server.Server``."""

    dialect: Dialect = "postgres"
    atomic = True

    def __init__(self, url: str, application: str = "bleen migrate") -> None:
        """Connects. Raises Unavailable if the server does not answer within 5 s, Refused if it answers through a pooler, only reads, or is older than 14."""
        self._url, self._application = url, application
        self._work = AtWork()
        self._connection = self._connect()
        info = self._connection.info
        if info.server_version < 140000:
            self.close()
            raise Refused(f"the database is PostgreSQL {info.server_version // 10000}; bleen changes the schema of PostgreSQL 14 and later")
        pid, standby, reads = self.rows("SELECT pg_backend_pid(), pg_is_in_recovery(), current_setting('transaction_read_only')::boolean")[0]
        if info.backend_pid != pid:  # a pooler makes up the pid that it tells its clients
            self.close()
            raise Refused("the database's url leads to a connection pooler; migrations hold locks and settings of a session: give the server's own address")
        if standby or reads:
            self.close()
            why = "a standby, which only reads: give the primary's address" if standby else "set to read only (default_transaction_read_only)"
            raise Refused(f"the database that the url leads to is {why}")

    @property
    def catalogue(self) -> PostgresCatalogue:
        return PostgresCatalogue(self.rows)

    def close(self) -> None:
        self._connection.close()

    def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        with _mapped(), self._work:
            cursor = self._connection.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with _mapped(), self._connection.transaction():
            yield
            if self._connection.closed:  # the driver would take it for committed
                raise Unavailable("the database does not answer: the connection was lost within a transaction")

    @contextmanager
    def watch(self) -> Iterator["_InTheWay"]:
        pid, stop = self._connection.info.backend_pid, threading.Event()
        found = _InTheWay()

        def look() -> None:
            with self._opened() as other:
                while not stop.wait(0.02):
                    if said := _blocking(other, pid):
                        found.who = said
                        found.vacuumed |= {str(table) for (table,) in other.execute(_VACUUMED, [pid])}

        def guarded() -> None:
            try:
                look()
            except psycopg.Error as error:  # the change goes on; it only cannot say who was in the way
                found.who = [f"unknown: {_words(error)}"]

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            stop.set()
            thread.join()

    def lookout(self, told: Told) -> AbstractContextManager[None]:
        return looking_out(self._work, self._looks, told)

    @contextmanager
    def _looks(self) -> Iterator[Callable[[], str]]:
        with _mapped(), closing(self._opened()) as other:
            yield lambda: f"waits for a lock; in the way: {'; '.join(said)}" if (said := _blocking(other, self._connection.info.backend_pid)) else ""

    @contextmanager
    def alone(self) -> Iterator[None]:
        deadline = time.monotonic() + GONE_WITHIN
        while not self.rows("SELECT pg_try_advisory_lock(%s)", [LOCK])[0][0]:  # waiting inside the server would be in the way of a CREATE INDEX CONCURRENTLY
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            holder = self.rows(
                "SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'this host') FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                " AND (l.classid::bigint << 32) + l.objid::bigint = %s",
                [LOCK],
            )
            who = f"{holder[0][1]} (backend {holder[0][0]}, from {holder[0][2]})" if holder else "somebody who has just ended"
            raise Taken(f"another migration of this database is under way: {who}; wait for it, or end it")
        try:
            yield
        finally:
            if not self._connection.closed:
                with suppress(Unavailable):  # it has ended with the connection
                    self.rows("SELECT pg_advisory_unlock(%s)", [LOCK])

    def change(
        self, statements: Sequence[Statement], record: Sequence[tuple[str, Values]], locks: Locks, told: Told, spoken: str = "", named: str = ""
    ) -> None:
        patience, vacuumed = Patience(locks, told), set[str]()
        while True:
            with self.watch() as blockers:
                try:
                    with self.transaction():
                        self._end_autovacuum(vacuumed)
                        # how long it takes once it has its locks is nobody's to limit: a SET of the migration's would end it each time
                        self.rows(f"SET LOCAL lock_timeout = {round(locks.timeout * 1000)}; SET LOCAL statement_timeout = 0")
                        belongings = Belongings(self.rows) if spoken or named else None
                        for statement in statements:
                            self._run(statement)
                        if belongings and (untold := [*belongings.taken_in(spoken), *belongings.gone(named)]):
                            raise Refused(f"{statements[0].brief}: {'; '.join(untold)}")
                        for text, values in record:
                            self.rows(text, values)
                    return
                except Contended as late:
                    within = f" within {round(locks.timeout * 1000)} ms" if isinstance(late, _LockTimeout) and not vacuumed else ""
                    waited = f"{late}{within}{blockers()}"
            patience.again(waited)
            vacuumed |= blockers.vacuumed

    def _end_autovacuum(self, tables: Collection[str]) -> None:
        """Has an autovacuum give way, which it does for who has waited for ``deadlock_timeout``, longer than we let others wait behind us. This lock is in the
        way of nobody who reads or writes, and is kept, so that none begins anew (PostgreSQL manual, "Routine Vacuuming", "Explicit Locking").
        """
        if tables:
            self.rows("SELECT set_config('lock_timeout', (extract(epoch FROM current_setting('deadlock_timeout')::interval) * 1000 + 1000)::int::text, true)")
        for table in sorted(tables):
            self.rows(f"LOCK TABLE ONLY {table} IN SHARE UPDATE EXCLUSIVE MODE")

    def transactional(self, statement: Statement) -> bool:
        node, name = node_of(statement)
        if name in ("index_stmt", "reindex_stmt", "drop_stmt"):
            return not (getattr(node, "concurrent", False) or any(p.def_elem.defname == "concurrently" for p in getattr(node, "params", ())))
        if name == "alter_table_stmt":
            return not any(c.alter_table_cmd.subtype == postgast.pg_query_pb2.AT_DetachPartition and _concurrent(c.alter_table_cmd) for c in node.cmds)
        return name not in ("vacuum_stmt", "alter_system_stmt", "createdb_stmt", "dropdb_stmt")

    def passing(self, statement: Statement) -> bool:
        return node_of(statement)[1] == "variable_set_stmt"

    def sight(self, statement: Statement) -> str:
        """The valid index that has the name of the one to be built, whoever made it; what is there of that which is to be dropped; empty for one that is
        half dropped: it serves no query any more, and a unique one holds nobody.
        """
        node, name = node_of(statement)
        if name == "drop_stmt":
            half = "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT (indisvalid AND indislive))"
            if any(self.rows(half, [each])[0][0] for each in dropped(node)):
                return ""
            return f"there: {', '.join(each for each in dropped(node) if self._there(each))}"
        if name != "index_stmt" or not node.idxname:
            return ""
        query = "SELECT i.indexrelid || ' ' || pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indexrelid = to_regclass(%s) AND i.indisvalid"
        found = self.rows(query, [leftovers.built(node)])
        return str(found[0][0]) if found else "no index"

    def shape(self) -> str:
        return str(self.rows(_SHAPE)[0][0])

    def concurrently(self, statement: Statement, locks: Locks, told: Told, again: bool) -> None:
        """What was left INVALID is dropped, and built again; whether an earlier try built the index, ``sight`` tells.

        It waits for locks without an end, as each wait begun anew would cost all that was built; a deadlock that it is ended in, it begins anew after, as
        long as it would have gone on: most of that time it builds, and waits for nobody.
        """
        patience = Patience(locks._replace(patience=locks.concurrently), told)
        while True:
            try:
                return self._concurrently(statement, locks, told, again)
            except Contended as late:
                waited, again = str(late), True
            patience.again(waited, "what it has begun, the next try clears away")

    def _concurrently(self, statement: Statement, locks: Locks, told: Told, again: bool) -> None:
        (node, name), text = node_of(statement), statement.text
        for left in leftovers.invalid(self.rows, node, name):
            told(f"{left} was left invalid by an earlier try: drops it, builds it again")
            self._lengthy(f"DROP INDEX CONCURRENTLY {left}", statement, locks)
        if name == "drop_stmt" and not any(self._there(each) for each in dropped(node)):
            return
        if name == "alter_table_stmt" and again:
            text = leftovers.undetached(self.rows, node, text)
        if text:
            self._lengthy(text, statement, locks)

    def clear(self, statement: Statement, locks: Locks, told: Told) -> list[str]:
        found = leftovers.invalid(self.rows, *node_of(statement))
        for left in found:
            told(f"drops {left}, which was left invalid")
            self.change([statement._replace(text=f"DROP INDEX IF EXISTS {left}")], [], locks, told)
        return list(found)

    def _lengthy(self, text: str, statement: Statement, locks: Locks) -> None:
        self.rows("SET lock_timeout = 0")
        self.rows(f"SET statement_timeout = {round(locks.concurrently * 1000)}")
        began = time.monotonic()
        try:
            with _mapped(), self._work:
                self._run(statement._replace(text=text))
        except TookTooLong:
            if time.monotonic() - began < locks.concurrently:
                raise
            raise Refused(f"{statement.brief}: took longer than {locks.concurrently:g} s ([locks] concurrently), and was ended") from None
        finally:
            if not self._connection.closed:
                self.rows("SET statement_timeout = 0")

    def _there(self, name: str) -> bool:
        return bool(self.rows("SELECT to_regclass(%s) IS NOT NULL", [name])[0][0])

    def _run(self, statement: Statement) -> None:
        try:
            self._connection.execute(statement.text)
        except errors.LockNotAvailable:
            raise _LockTimeout(f"{statement.brief}: a lock was not given") from None
        except _CONTENDED as error:
            raise Contended(f"{statement.brief}: {_words(error)}") from None
        except errors.QueryCanceled:
            raise TookTooLong(f"{statement.brief}: somebody ended it; try again") from None
        except _AWAY:
            raise
        except _MISSING as error:
            raise Missing(f"{statement.brief}: {_words(error)}") from None
        except errors.DiskFull as error:  # nothing is wrong with the statement
            raise Unavailable(f"{statement.brief}: {_words(error)}") from None
        except psycopg.OperationalError as error:
            if self._connection.broken:
                raise
            raise Refused(f"{statement.brief}: {_words(error)}") from None
        except psycopg.Error as error:
            raise Refused(f"{statement.brief}: {_words(error)}") from None

    def split(self, text: str) -> list[Statement]:
        return split(text)

    def update(self, text: str) -> Backfill:
        return update(text)

    def drops(self, statement: Statement, pair: Pair) -> bool:
        node, name = node_of(statement)
        if name == "drop_stmt":
            tables = [[part.string.sval for part in each.list.items] for each in node.objects]
            return node.remove_type == postgast.pg_query_pb2.OBJECT_TABLE and any(same(self.rows, parts, pair.table) for parts in tables)
        drop = postgast.pg_query_pb2.AT_DropColumn
        return any(each.subtype == drop and each.name in (*pair.old, *pair.new) for each in alters(self.rows, statement, pair.table))

    def takes(self, statement: Statement) -> frozenset[Thing]:
        (node, name), pb = node_of(statement), postgast.pg_query_pb2
        if name == "drop_stmt" and node.remove_type == pb.OBJECT_EXTENSION:
            members = self.rows(_MEMBERS, [[each.string.sval for each in node.objects]])
            return frozenset(Thing(kind, (member,)) for kind, member in members)
        if name == "grant_stmt" and not node.is_grant and node.objtype in _NAMED_ALONE:
            return frozenset(Thing(_NAMED_ALONE[node.objtype], (last(each),)) for each in node.objects)
        if name in ("rename_stmt", "alter_object_schema_stmt"):
            kind = node.rename_type if name == "rename_stmt" else node.object_type
            return frozenset([Thing(_NAMED_ALONE[kind], (last(node.object),))] if kind in _NAMED_ALONE else [])
        return taken(statement.text, self.dialect) or frozenset()

    def columns(self, table: str) -> Mapping[str, Column]:
        try:
            found = self.rows(
                "SELECT a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), ''),"
                " a.attgenerated <> '' OR a.attidentity <> '' FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
                " WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
                [table],
            )
        except TookTooLong:
            raise
        except Refused as error:  # to_regclass reads it as SQL does
            raise Refused(f"{table!r} is no name of a table: {error}") from None
        return {row[0]: Column(*row) for row in found}

    def bare(self) -> bool:
        found = self.rows(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')"
            " AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND left(c.relname, 6) <> 'bleen_'"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') LIMIT 1"
        )
        return not found

    def key(self, table: str) -> tuple[str, ...]:
        found = self.rows(
            "SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(attnum, place)"
            " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE i.indrelid = to_regclass(%s) AND i.indisprimary ORDER BY k.place",
            [table],
        )
        return tuple(row[0] for row in found)

    def quoted(self, name: str) -> str:
        return sql.Identifier(name).as_string()

    def sessions(self) -> list[Session]:
        """Of the sessions of other roles a role sees little without pg_read_all_stats, ``backend_type`` not either; a process of the server has no role."""
        found = self._seen()
        ends = [peers.End(pid, client, port) for port, pid, name, _, client, _ in found if name.startswith("bleen:")]
        to = int(self.rows("SELECT current_setting('port')")[0][0]) if any(end.port > 0 for end in ends) else 0
        if to and not self._straight(to):
            ends = [end for end in ends if end.port < 0]
        strangers = {end.pid: who for end, who in zip(ends, peers.strangers(ends, to), strict=True)}
        lost = {pid for pid, who in strangers.items() if who == peers.NOWHERE}
        for _ in range(_PARTING):
            if not lost:
                break
            time.sleep(0.05)
            lost &= {pid for _, pid, *_ in self._seen()}
        told = {pid: who for pid, who in strangers.items() if who != peers.NOWHERE or pid in lost}
        return [Session(*row)._replace(stranger=told.get(row[0], "")) for _, *row in found]

    def _seen(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT coalesce(client_port, -1), pid, coalesce(application_name, ''), coalesce(usename, ''), coalesce(host(client_addr), ''), coalesce(state, '')"
            " FROM pg_stat_activity WHERE datname = current_database() AND coalesce(backend_type = 'client backend', usesysid IS NOT NULL)"
            " AND pid <> pg_backend_pid() ORDER BY pid"
        )

    def _straight(self, to: int) -> bool:
        client, port = self.rows("SELECT coalesce(host(inet_client_addr()), ''), coalesce(inet_client_port(), -1)")[0]
        return peers.straight(self._connection.pgconn.socket, client, port, to)

    def _opened(self) -> "psycopg.Connection[tuple[Any, ...]]":
        alive: dict[str, Any] = {name: value for name, value in _ALIVE.items() if f"{name}=" not in self._url}
        return psycopg.connect(self._url, autocommit=True, connect_timeout=5, application_name=self._application, **alive)

    def _connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        unreadable = Refused("the database's url cannot be read; it is like postgresql://user:password@host:5432/name, special characters as %XX")
        if not _URL.fullmatch(self._url):
            raise unreadable
        with _mapped():
            try:
                connection = self._opened()
            except psycopg.ProgrammingError:  # its text may hold a part of the password
                raise unreadable from None
            except psycopg.OperationalError as error:
                if _UNWELCOME.search(str(error)):
                    raise Refused(f"the database does not let us in: {_words(error)}") from None
                raise
            # and a backslash in quotes is what our parser takes it for, whatever the database is set to
            connection.execute(f"SET idle_in_transaction_session_timeout = {_IDLE}; SET standard_conforming_strings = on")
            # a role's are for applications: we wait between batches, for a command, or for who is asked, a look waits and counts as long as it takes,
            # and what changes something has limits of its own
            connection.execute(f"SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ({_FOR_APPLICATIONS})")
            with suppress(errors.InvalidParameterValue):  # a server on Windows cannot look
                # a statement whose client was killed is not gone on with (PostgreSQL manual, "Connection Settings")
                connection.execute(f"SET client_connection_check_interval = {_CHECKED}")
            return connection


def _blocking(other: "psycopg.Connection[tuple[Any, ...]]", pid: int) -> list[str]:
    """Who is in the way of a session, for people."""
    found = other.execute(_BLOCKING, [pid]).fetchall()
    said = [_told(*session) for session in found if session[0]]
    return said if len(said) == len(found) else [*said, *(_told_prepared(*each) for each in other.execute(_PREPARED, [pid]).fetchall())]


class _InTheWay:
    """Who was in the way of a session, in words where it is called; and the tables that it waited for because an autovacuum was at them."""

    def __init__(self) -> None:
        self.who: list[str] = []
        self.vacuumed: set[str] = set()

    def __call__(self) -> str:
        return f"; in the way: {'; '.join(self.who)}" if self.who else ""


class _LockTimeout(Contended):
    """A lock was not given in time."""


@contextmanager
def _mapped() -> Iterator[None]:
    """The driver's errors as ours."""
    try:
        yield
    except _CONTENDED as error:
        raise Contended(f"the database says: {_words(error)}") from None
    except errors.QueryCanceled as error:
        raise TookTooLong(f"the database says: {_words(error)}") from None
    except _AWAY as error:
        raise Unavailable(f"the database does not answer: {_words(error)}") from None
    except psycopg.OperationalError as error:  # one with a code is an answer: that the disk is full, say
        raise Unavailable(f"the database {'says' if error.sqlstate else 'does not answer'}: {_words(error)}") from None
    except psycopg.Error as error:
        raise Refused(f"the database says: {_words(error)}") from None


def _told(pid: int, application: str | None, user: str, state: str | None, age: float | None, query: str | None) -> str:
    """A session; of another role's only a member of pg_read_all_stats sees what it does ("pg_stat_activity" in the manual)."""
    who = f"backend {pid} ({application or 'no application_name'}, {user}" if user else f"backend {pid} (an autovacuum, or what else the server does itself"
    return f"{who})" if state is None else f"{who}, {state}, its transaction {age or 0:g} s old): {in_a_line(query or '')}"


def _told_prepared(gid: str, owner: str, age: float) -> str:
    end = f"PREPARED {sql.Literal(gid).as_string().strip()}"
    return f"the prepared transaction {gid} ({owner}, {age:g} s old), which no session ends by itself: COMMIT {end}, or ROLLBACK {end}"


def _words(error: psycopg.Error) -> str:
    said = " ".join(part for part in (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint) if part)
    return in_a_line(said or re.sub(r"password=\S+", "password=***", _first_line(str(error))))


def _first_line(said: str) -> str:
    """libpq asks back on further lines, whether a server is running there; psycopg says the same once more for each host that it tried."""
    return re.sub(r"^connection (failed|is bad): ", "", said.partition("\n")[0])


def _concurrent(command: Any) -> bool:
    return bool(getattr(command, "def").partition_cmd.concurrent)
