"""MySQL 8 and MariaDB 10.6 and later, over one direct connection."""

import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from pymysql import err
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from bleen.database.catalogue import Catalogue
from bleen.database.grammar.tokens_update import update
from bleen.database.lookout import AtWork, looking_out
from bleen.database.migration import Backfill, Locks, Pair
from bleen.database.mysql import statements as mysql_statements
from bleen.database.mysql.catalogue import MySQLCatalogue
from bleen.database.mysql.waits import Guard, blockers, waiting
from bleen.database.patience import Patience
from bleen.database.server import LOST, QUIET, Column, Contended, Denied, Missing, Session, Taken, Told, TookTooLong, Values
from bleen.database.statements import Dialect, Statement, Unreadable, in_a_line
from bleen.database.things import Thing, taken
from bleen.database.tokens import split
from bleen.errors import PortError, Refused, Unavailable

GONE_WITHIN = 3
"""Seconds in which a statement of somebody of us who was killed has ended, if it waited for a lock: see ``lock_wait_timeout`` below."""

GREETS = 20.0
"""Seconds that each word of the server's may take until the connection is made: it may look up who comes, where it is let (``skip_name_resolve``)."""
_IDLE = 10
"""Seconds for which a transaction of ours may stand still, locks and all."""
_STAYS = 28_800
"""Seconds for which a connection of ours may, that holds nothing but the right to be alone: a backfill may wait for hours."""

_CONTENDED = frozenset([1205, 1213, 3572, 1020])
_TOO_LONG = frozenset([1317, 1969, 3024])
_AWAY = frozenset([1040, 1047, 1053, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1226, 1927, 2002, 2003, 2006, 2013, 2055, 4031])
_FULL = frozenset([1021, 1114])
_MISSING = frozenset([1049, 1051, 1054, 1091, 1146, 1176, 1305, 1360])
_DENIED = frozenset([1142, 1143])
"""Error numbers (MySQL, "Server Error Message Reference"; MariaDB, "MariaDB Error Codes")."""

_OTHER_SQL = frozenset(["ANSI", "ANSI_QUOTES", "DB2", "EMPTY_STRING_IS_NULL", "MAXDB", "MSSQL", "NO_BACKSLASH_ESCAPES", "ORACLE", "POSTGRESQL"])
"""What ``sql_mode`` may hold that makes another text of a statement: what the rules have read is what is run."""
_NO_ZERO = frozenset(["NO_ZERO_DATE", "NO_ZERO_IN_DATE", "TRADITIONAL"])
"""What it may hold that refuses '0000-00-00', or has CAST make NULL of it: sessions without that write it, and triggers keep the mode of ours. The rest of
TRADITIONAL stands beside it."""

_OPTIONS = ("charset", "ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_identity", "unix_socket")
_NOT_USERS = "('system user', 'event_scheduler', 'unauthenticated user')"
_URL = re.compile(r"[a-z]+://([^@/]*@)?[^@/?]*(/[^@?]*)?(\?[^@]*)?")
"""A url of which no part is taken for another one, and told in an error: a password with a / or an @ in it."""
_SAY = "the database's url cannot be read; it is like mysql://user:password@host:3306/name, special characters as %XX"

_PLAIN = (
    "the database takes this user's password only encrypted (caching_sha2_password), and the connection is not: let the server offer TLS and say"
    " ?ssl_ca=/path/ca.pem in the url, or ?unix_socket=/path on its host; or install the package cryptography beside bleen"
)


class _Connection(Connection):
    """The driver's, which would read every authority that the host trusts (35 ms) for a connection that asks for the certificate of none, and wait two hours
    for the answer of a host that is gone: see ``LOST``.
    """

    _sock: socket.socket
    _read_timeout: float | None

    def connect(self, sock: socket.socket | None = None) -> None:
        super().connect(sock)
        if self._sock.family != socket.AF_UNIX:
            for option, value in ((socket.TCP_KEEPIDLE, QUIET), (socket.TCP_KEEPINTVL, 5), (socket.TCP_USER_TIMEOUT, LOST * 1000)):
                self._sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def patiently(self) -> None:
        """From now on a statement takes as long as it takes."""
        self._read_timeout = None

    def _create_ssl_ctx(self, sslp: dict[str, Any]) -> ssl.SSLContext:
        if sslp:
            return super()._create_ssl_ctx(sslp)  # type: ignore[misc, no-any-return]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"0": "\0", "n": "\n", "r": "\r"}


class MySQL:
    """Implements ``server.Server``."""

    dialect: Dialect = "mysql"
    atomic = False

    def __init__(self, url: str, application: str = "bleen migrate") -> None:
        """Connects. Raises Unavailable if the server cannot be reached within 5 s, or is silent for 20, Refused if it answers through a pooler, only reads, or
        is older than MySQL 8.0 or MariaDB 10.6: before, a change of the schema was not atomic.
        """
        self._where, self._application, self._work = _where(url), application, AtWork()
        self._connection = self._connect()
        self._id = self._beside = int(self._connection.thread_id())  # type: ignore[no-untyped-call]
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        version, id, self.database, reads, self.lowers = self.rows(
            "SELECT VERSION(), CONNECTION_ID() + 0, DATABASE(), @@read_only + @@innodb_read_only, @@lower_case_table_names"
        )[0]
        self.mariadb = "MariaDB" in version
        number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        if number < ((10, 6) if self.mariadb else (8, 0)):
            raise Refused(f"the database is {version}; bleen changes the schema of MySQL 8.0, MariaDB 10.6 and later")
        if self._id != id & 0xFFFFFFFF:  # a pooler makes up the id that it tells its clients
            raise Refused("the database's url leads to a connection pooler; migrations hold locks and settings of a session: give the server's own address")
        if not self.database:
            raise Refused(f"the database's url names no database: {_SAY}")
        if reads:
            raise Refused("the database that the url leads to only reads (read_only): give the primary's address, or reset it")
        if self.mariadb:
            self.rows(f"SET idle_transaction_timeout = {_IDLE}")
        self.rows("SET max_statement_time = 0" if self.mariadb else "SET max_execution_time = 0")  # the role's: a count may take its time

    @property
    def catalogue(self) -> Catalogue:
        return MySQLCatalogue(self, self._connect)

    def close(self) -> None:
        if self.connected:
            self._connection.close()

    @property
    def connected(self) -> bool:
        return bool(self._connection.open)

    def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        with _mapped(), self._work, self._connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._not_idle(), _mapped():
            self._connection.begin()
            try:
                yield
            except BaseException:
                if self.connected:
                    self._roll_back()
                raise
            self._connection.commit()

    @contextmanager
    def _not_idle(self) -> Iterator[None]:
        """MySQL knows no limit for a transaction that stands still, as one whose connection was lost on the way: there, it is that of any connection."""
        if self.mariadb:
            yield
            return
        self.rows(f"SET wait_timeout = {_IDLE}")
        try:
            yield
        finally:
            if self.connected:
                with suppress(Unavailable):  # what was raised matters more
                    self.rows(f"SET wait_timeout = {_STAYS}")

    def _roll_back(self) -> None:
        """What was raised matters more than a connection that is lost meanwhile: the server rolls back what its client leaves."""
        try:
            self._connection.rollback()
        except pymysql.Error:
            self._connection.close()

    @contextmanager
    def watch(self) -> Iterator[Callable[[], str]]:
        yield lambda: blockers(self._connection, self._id)

    def lookout(self, told: Told) -> AbstractContextManager[None]:
        return looking_out(self._work, self._looks, told)

    @contextmanager
    def _looks(self) -> Iterator[Callable[[], str]]:
        with _mapped(), closing(self._connect()) as other:
            self._beside = int(other.thread_id())  # type: ignore[no-untyped-call]
            yield lambda: waiting(other, self._id)

    @contextmanager
    def alone(self) -> Iterator[None]:
        name = f"bleen:{self.database}"[:64]
        if not self.rows("SELECT GET_LOCK(%s, %s)", [name, GONE_WITHIN])[0][0]:
            holder = self.rows("SELECT id, user, host, left(coalesce(info, ''), 80) FROM information_schema.processlist WHERE id = IS_USED_LOCK(%s)", [name])
            who = f"connection {holder[0][0]} ({holder[0][1]}@{holder[0][2]}) {holder[0][3]}".rstrip() if holder else "a connection that has just ended"
            raise Taken(f"another migration of this database is under way: {who}; wait for it, or end it")
        try:
            yield
        finally:
            if self.connected:
                with suppress(Unavailable):  # it has ended with the connection
                    self.rows("SELECT RELEASE_LOCK(%s)", [name])

    def split(self, text: str) -> list[Statement]:
        return split(text, "mysql")

    def change(
        self, statements: Sequence[Statement], record: Sequence[tuple[str, Values]], locks: Locks, told: Told, spoken: str = "", named: str = ""
    ) -> None:
        """Statements that change the schema come first, one by one; the others are one transaction, with the record. None takes along what no text names."""
        for statement in statements:
            if not self.transactional(statement):
                self._patiently(statement, locks, told)
        rows = [statement for statement in statements if self.transactional(statement)]
        patience = Patience(locks, told)
        while True:
            try:
                with self.transaction():
                    for statement in rows:
                        self._run(statement)
                    for text, values in record:
                        self.rows(text, values)
                return
            except Contended as late:
                with self.watch() as who:
                    waited = f"{late}{who()}"
            patience.again(waited)

    def _patiently(self, statement: Statement, locks: Locks, told: Told) -> None:
        """A statement that changes the schema. It is done or it is not: both servers' are atomic (MySQL manual, "Atomic Data Definition Statement
        Support"; MariaDB, "Atomic DDL"). So one that was ended while it waited, be it at its end, has left nothing.
        """
        patience = Patience(locks, told)
        self.rows(f"SET lock_wait_timeout = {int(locks.timeout) + 1}")  # what is left of us when we are killed waits for no longer
        while True:
            with Guard(self._connect, self._id, locks.timeout, locks.concurrently) as guard:
                try:
                    self._run(statement)
                    return
                except (Contended, TookTooLong) as error:
                    late = error
            self._settle()
            if guard.ended != "lock" and not isinstance(late, Contended):
                raise TookTooLong(f"{statement.brief}: took longer than {locks.concurrently:g} s, and was ended" if guard.ended else str(late))
            patience.again(f"{statement.brief}: a lock was not given within {round(locks.timeout * 1000)} ms{guard.blockers}")

    def _settle(self) -> None:
        """Lets a KILL QUERY that came too late hit nothing."""
        try:
            self.rows("DO 0")
        except TookTooLong:
            self.rows("DO 0")

    def transactional(self, statement: Statement) -> bool:
        return mysql_statements.changes_rows(statement)

    def passing(self, statement: Statement) -> bool:
        return mysql_statements.changes_session(statement)

    def sight(self, statement: Statement) -> str:
        return "\n".join(self._shown(about) for about in mysql_statements.about(statement))

    def _shown(self, about: mysql_statements.About) -> str:
        name = ".".join(token.text for token in about.name)
        try:
            row = self.rows(f"SHOW CREATE {about.kind} {name}")[0]
        except Missing:
            return f"no {about.kind} {name}"
        shown = re.sub(r" AUTO_INCREMENT=\d+", "", str(row[1] if about.kind == "TABLE" else row[2]))
        if not about.parts:
            return shown
        there = [line for line in shown.splitlines() if any(f"`{part}`".lower() in line.lower() for part in about.parts)]
        return "\n".join(there) or f"no {', '.join(about.parts)} of {about.kind} {name}"

    def shape(self) -> str:
        """Its catalogue does not tell every change."""
        return ""

    def concurrently(self, statement: Statement, locks: Locks, told: Told, again: bool) -> None:
        """Every change of the schema commits by itself; whether an earlier try did so, ``sight`` tells."""
        self._patiently(statement, locks, told)

    def clear(self, statement: Statement, locks: Locks, told: Told) -> list[str]:
        """A change of the schema is done or not done at all."""
        return []

    def _run(self, statement: Statement) -> None:
        try:
            self.rows(statement.text)
        except Missing as error:
            raise Missing(f"{statement.brief}: {error}") from None
        except (Contended, TookTooLong):
            raise
        except Refused as error:
            raise Refused(f"{statement.brief}: {str(error).removeprefix('the database says: ')}") from None

    def update(self, text: str) -> Backfill:
        return update(text, "mysql")

    def drops(self, statement: Statement, pair: Pair) -> bool:
        tables = mysql_statements.drops(statement, (*pair.old, *pair.new))
        return self.named(pair.table) in [self.qualified(each) for each in tables]

    def named(self, table: str) -> tuple[str, str]:
        """The database and the name of a table as the catalogue has them, from how it is written. Raises Refused for what is no name of one."""
        try:
            return self.qualified(mysql_statements.names(table))
        except Unreadable as error:
            raise Refused(f"{error}; it is like users, or {self.database}.users") from None

    def qualified(self, parts: Sequence[str]) -> tuple[str, str]:
        """The same, from its names: one or two."""
        schema, name = (self.database, parts[0]) if len(parts) == 1 else (parts[0], parts[1])
        return (schema.lower(), name.lower()) if self.lowers else (schema, name)

    def takes(self, statement: Statement) -> frozenset[Thing]:
        return taken(statement.text, self.dialect) or frozenset()

    def columns(self, table: str) -> Mapping[str, Column]:
        found = self.rows(
            "SELECT column_name, column_type, is_nullable = 'YES', column_default, extra, coalesce(generation_expression, '') <> '', data_type"
            " FROM information_schema.columns WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            self.named(table),
        )
        return {
            name: Column(name, type, bool(nullable), self._default(default, extra, kind), bool(generated) or "auto_increment" in extra)
            for name, type, nullable, default, extra, generated, kind in found
        }

    def _default(self, default: str | None, extra: str, kind: str) -> str:
        """MariaDB has it as an expression, MySQL a literal without its quotes (MySQL manual, "The INFORMATION_SCHEMA COLUMNS Table"), an expression escaped,
        as seen on MySQL 9.7.
        """
        if default is None or (self.mariadb and default == "NULL"):
            return ""
        if not self.mariadb and "DEFAULT_GENERATED" in extra:
            return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), default)
        if self.mariadb or kind == "bit" or default.upper().startswith("CURRENT_TIMESTAMP"):
            return default
        return str(self._connection.escape(default))

    def logs_statements(self) -> bool:
        """Whether what sessions like ours write comes into the binary log as they said it, and not row by row."""
        return bool(self.rows("SELECT @@log_bin AND @@binlog_format = 'STATEMENT'")[0][0])

    def bare(self) -> bool:
        return not self.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = database() AND left(table_name, 6) <> 'bleen_' LIMIT 1")

    def key(self, table: str) -> tuple[str, ...]:
        found = self.rows(
            "SELECT column_name FROM information_schema.statistics WHERE table_schema = %s AND table_name = %s AND index_name = 'PRIMARY'"
            " ORDER BY seq_in_index",
            self.named(table),
        )
        return tuple(row[0] for row in found)

    @cached_property
    def strict(self) -> bool:
        """Whether the server refuses what a column does not hold, and so what our sessions make of it."""
        return "STRICT_" in str(self.rows("SELECT @@sql_mode")[0][0])

    def quoted(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def literal(self, text: str) -> str:
        """A string as a literal."""
        return str(self._connection.escape(text))

    def sessions(self) -> list[Session]:
        """What a session calls itself is its connection attribute ``program_name``, where the server keeps it (``performance_schema``, which MariaDB has off
        by default); else the name of its user counts, if that is like ``bleen:shop:blue``. Whose sessions this user may not see is told as one more.
        """
        said = self._programs()
        found = self.rows(
            "SELECT id, user, host, concat_ws(' ', command, state) FROM information_schema.processlist"
            f" WHERE id NOT IN (connection_id(), {self._beside}) AND (db = database() OR db IS NULL) AND user NOT IN {_NOT_USERS}"
            " AND command NOT LIKE 'Binlog Dump%'"
            " AND command NOT IN ('Daemon', 'Slave_IO', 'Slave_SQL', 'Slave_worker') ORDER BY id"
        )
        shown = []
        for id, user, host, state in found:
            name = said.get(id, user if user.startswith("bleen:") else "")
            shown.append(Session(id, name, user, host.rpartition(":")[0] or host, state.rstrip()))
        return shown if self._sees_all() else [*shown, Session(0, "", "any other: GRANT PROCESS ON *.* shows whose sessions there are", "", "")]

    def _programs(self) -> dict[int, str]:
        try:
            found = self.rows("SELECT processlist_id, attr_value FROM performance_schema.session_connect_attrs WHERE attr_name = 'program_name'")
        except Refused:  # without the right to it, sessions are those of nobody known
            return {}
        return {int(id): str(name) for id, name in found}

    def _sees_all(self) -> bool:
        """The privilege PROCESS, which may come from a role: asked of a table that wants it."""
        try:
            self.rows("SELECT 1 FROM information_schema.innodb_trx LIMIT 1")
        except Refused:
            return False
        return True

    def _connect(self) -> "Connection[Cursor]":
        with _mapped():
            try:
                limits: dict[str, Any] = {"connect_timeout": 5, "read_timeout": GREETS}  # the first is over before the server has said a word
                connection: _Connection = _Connection(**self._where, charset="utf8mb4", autocommit=True, program_name=self._application, **limits)
            except RuntimeError:  # the driver's way to say that it would need the package cryptography
                raise Refused(_PLAIN) from None
            except OSError as error:  # of the socket, it makes errors of its own
                raise Refused(f"what the database's url names as ssl_ca, ssl_cert or ssl_key cannot be used: {error}") from None
            with connection.cursor() as cursor:
                cursor.execute("SELECT @@GLOBAL.sql_mode")
                modes = [mode for mode in str((cursor.fetchone() or ("",))[0]).split(",") if mode not in _OTHER_SQL | _NO_ZERO]
                # whatever the server gives its sessions
                own = "innodb_lock_wait_timeout = 1, sql_select_limit = 18446744073709551615, completion_type = 0, sql_big_selects = 1"
                cursor.execute(f"SET sql_mode = %s, {own}, wait_timeout = %s", [",".join(modes), _STAYS])
                cursor.execute("SET SESSION TRANSACTION READ WRITE")
            connection.patiently()
            return connection


def _where(url: str) -> dict[str, Any]:
    """A url as the driver's arguments. Raises Refused, with no part of a password in its text."""
    if not _URL.fullmatch(url):
        raise Refused(_SAY)
    try:
        parts = urlsplit(url)
        port = parts.port or 3306
        options: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise Refused(_SAY) from None
    if parts.fragment or "/" in parts.path[1:]:
        raise Refused(_SAY)
    if unknown := sorted(set(options) - set(_OPTIONS)):
        raise Refused(f"the database's url has {', '.join(unknown)}, which bleen does not know; known are {', '.join(_OPTIONS)}")
    options.pop("charset", "")  # bleen speaks utf8mb4
    identity = options.pop("ssl_verify_identity", "false")
    if identity not in ("true", "false") or (identity == "true" and "ssl_ca" not in options):
        raise Refused("the database's url says ssl_verify_identity, which is true or false, and true wants ssl_ca=/path/ca.pem beside it")
    if "ssl_ca" in options:  # which the driver alone would only load
        options |= {"ssl_verify_cert": True, "ssl_verify_identity": identity == "true"}
    where = {"host": parts.hostname or "localhost", "port": port, "user": unquote(parts.username or ""), "password": unquote(parts.password or "").encode()}
    return {**where, "database": unquote(parts.path[1:]) or None, **options}


@contextmanager
def _mapped() -> Iterator[None]:
    """The driver's errors as ours."""
    try:
        yield
    except pymysql.Error as error:
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        words = in_a_line(str(error.args[-1])) if error.args else type(error).__name__
        if number in _AWAY or isinstance(error, err.InterfaceError):
            raise Unavailable(f"the database does not answer: {words or 'the connection is closed'}") from None
        kinds = ((_CONTENDED, Contended), (_TOO_LONG, TookTooLong), (_MISSING, Missing), (_DENIED, Denied), (_FULL, Unavailable))
        kind: type[PortError] = next((kind for numbers, kind in kinds if number in numbers), Refused)
        raise kind(f"the database says: {words}") from None
