"""A command is run where a version lies, again until the locks were given, and told of; or asked for what it prints."""

import codecs
import os
import re
import shlex
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from bleen.database.command import Half, alembic, django, words
from bleen.database.command.home import Home, environment, must_be_there
from bleen.database.migration import Migration
from bleen.database.patience import Patience
from bleen.database.server import LeftOver, Server, Told
from bleen.errors import PortError, Refused, UserError
from bleen.host import kept
from bleen.host.redaction import Redaction

_BY_URL = "it has to connect by DATABASE_URL (docs/guide/adapters.md)"
_SQUASHED = "if a squash has taken its place, deploy a version from before that squash onto this database first (docs/guide/adapters.md)"
"""The way where a tool does not find what a folder names."""
_ONLY = "bleen_clone_"
_OVERDUE = 0.4
"""Seconds beyond ``locks.timeout`` after which a command that waits for a lock has not taken it up."""
GONE_WITHIN = 3.0
"""Seconds in which the server has ended the sessions of a command that was killed."""
PRINTED_WITHIN = 120.0
"""Seconds in which the SQL of a command is printed."""
_LOOKS = 0.05
_TELLS = 10.0
"""Seconds without output after which it is told that a command still runs."""
_LAST = 12
"""Lines of output that an error shows."""
_CONTENDED = re.compile(r"due to lock timeout|LockNotAvailable|55P03|deadlock detected|40P01|Lock wait timeout exceeded|database is locked", re.IGNORECASE)
"""What tools print of a lock that was not given: the words of PostgreSQL (English) and its SQLSTATE, psycopg's class, MySQL's words, SQLite's."""


class Elsewhere(Refused):
    """A command was not on the database that it was given: nothing of it was done there, and what undoes it would be done elsewhere too."""


def run(server: Server, migration: Migration, half: Half, home: Home, told: Told) -> None:
    """Runs the command of a half to its end, as often as it says that a lock was not given, for ``locks.patience`` seconds.

    Raises Refused with its last words if it fails, or if it does as though it had been given them; Unavailable, with the command ended, if the database goes
    away meanwhile; LeftOver if what an earlier try has left in the database does not end.
    """
    command = _Command(server, migration, half, home, told)
    patience = Patience(migration.locks, told)
    while True:
        command.alone()
        code = command.run()
        if code == 0 and command.contended:  # it went on behind an error, and may have noted in its book that all is done: again would not mend it
            way = "have it end at its first error (psql: -v ON_ERROR_STOP=1), put right what it left out, then try again"
            raise Refused(f"{command.name} ended with 0, and yet it says: {command.contended}{command.blockers()}; {way}")
        if code == 0:
            return command.was_there()
        command.alone()  # what the server still does of it may yet be committed, and who asks what it has changed is to see that
        if code == kept.NOT_STARTED or not command.contended:
            raise Refused(f"{command.name} ended with {code}:\n{command.said}")
        if patience.over:
            raise Refused(f"{command.name} was not given its locks for {migration.locks.patience:g} s{command.blockers()}; it says:\n{command.said}")
        patience.again(f"{command.name}: a lock was not given within {round(migration.locks.timeout * 1000)} ms{command.blockers()}")


class _Command:
    """One command, run again and again."""

    def __init__(self, server: Server, migration: Migration, half: Half, home: Home, told: Told) -> None:
        self._server, self._home, self._told = server, home, told
        self._words = words(migration, half)
        self.name = f"{migration.name}: {half}, `{shlex.join(self._words)}`"
        self._session = f"bleen migrate {migration.name}"[:63]  # what PostgreSQL keeps of a name
        self._timeout = migration.locks.timeout
        self._env = environment(server, home, self._session, self._timeout)
        self._redaction = Redaction(home.hidden)
        self._last: deque[str] = deque(maxlen=_LAST)
        self._decoder, self._rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
        self._blockers: list[str] = []
        self._deaf = ""
        """What is wrong with a command that was not told how long it may wait for a lock."""
        self.contended = ""
        """What it has said of a lock that was not given."""
        self._begun = self._spoke = 0.0
        self._seen, self._before = False, self._trace()

    @property
    def said(self) -> str:
        """Its last lines, fit to be shown."""
        return "\n".join(f"  {line}" for line in self._last)

    def blockers(self) -> str:
        """Who was seen to be in its way, to go behind an error."""
        return (f"; in the way: {'; '.join(self._blockers)}" if self._blockers else "") + self._deaf

    def alone(self) -> None:
        """Waits until nothing of an earlier try is at work in the database. Raises LeftOver."""
        deadline = time.monotonic() + GONE_WITHIN
        while left := [each for each in self._server.sessions() if each.application == self._session]:
            if time.monotonic() > deadline:
                where = f"session {left[0].id}, from {left[0].client or 'this host'}"
                raise LeftOver(f"{self.name}: an earlier try is still at work ({where}); wait for it, or end it")
            time.sleep(0.05)

    def was_there(self) -> None:
        """Raises Elsewhere if nothing tells that it was on the database: a session of its name or of any other, or a change."""
        deadline = time.monotonic() + GONE_WITHIN
        while not self._seen and self._before and self._trace() == self._before:
            if time.monotonic() > deadline:
                raise Elsewhere(f"{self.name} ended with 0, and was never on the database: {_BY_URL}; what it did, it did elsewhere")
            time.sleep(0.1)

    def _trace(self) -> str:
        """What a session on the database leaves behind, be it ever so short; empty where nobody can tell."""
        if self._server.dialect != "postgres":
            return ""
        return f"{self._server.rows(_SESSIONS)} {self._server.shape()}"

    def run(self) -> int:
        self._last.clear()
        self._blockers, self.contended = [], ""
        self._begun = self._spoke = time.monotonic()
        self._told(self.name)
        code = kept.run(self._words, self._home.directory, self._env, self._home.user, self._heard, self._look, _LOOKS)
        self._line(self._rest)
        self._rest = ""
        return code

    def _heard(self, data: bytes) -> None:
        *lines, self._rest = re.split(r"[\r\n]+", self._rest + self._decoder.decode(data))
        for line in lines:
            self._line(line)

    def _line(self, text: str) -> None:
        if text.strip():
            clean = str(self._redaction.clean({"line": text.rstrip()})["line"])
            self._last.append(clean)
            if self._home.only and self._home.only in clean and f"={self._home.only}" not in clean:
                raise Elsewhere(f"{self.name} came to another database than it was given, which has turned it away: {_BY_URL}")
            self.contended = self.contended or clean * bool(_CONTENDED.search(clean))
            self._told(f"{self.name}: {clean}")
            self._spoke = time.monotonic()

    def _look(self) -> None:
        """Sees who is in the way, and that our connection, and with it our lock, is still there."""
        if self._server.dialect == "postgres":
            found = [f"backend {s[0]} ({s[1] or 'no application_name'}, {s[2]}, {s[3]}): {s[4]}" for s in self._server.rows(_BLOCKERS, [self._session])]
            self._blockers = found or self._blockers
            self._seen = self._seen or bool(self._server.rows(_OURS, [self._session]))
            if found and self._server.rows(_OVERDUE_WAITS, [self._session, self._timeout + _OVERDUE]):
                limit = f"{round(self._timeout * 1000)}ms"
                self.contended, self._deaf = "broken off", f"; its own settings override PGOPTIONS, have them say -c lock_timeout={limit}"
        else:
            self._server.rows("SELECT 1")
        if time.monotonic() - self._spoke > _TELLS:
            self._spoke = time.monotonic()
            self._told(f"{self.name}: runs for {self._spoke - self._begun:.0f} s{self.blockers()}")


_BLOCKERS = (
    "SELECT b.pid, b.application_name, coalesce(b.usename, ''), b.state, left(b.query, 80) FROM pg_stat_activity a"
    " CROSS JOIN LATERAL unnest(pg_blocking_pids(a.pid)) AS blocking(pid) JOIN pg_stat_activity b ON b.pid = blocking.pid"
    " WHERE a.application_name = %s AND a.wait_event_type = 'Lock' AND a.datname = current_database()"
)

_OURS = "SELECT FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
_SESSIONS = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
_OVERDUE_WAITS = (
    "SELECT pg_cancel_backend(a.pid) FROM pg_stat_activity a WHERE a.application_name = %s AND a.datname = current_database() AND EXISTS"
    " (SELECT FROM pg_locks l WHERE l.pid = a.pid AND NOT l.granted AND l.waitstart < clock_timestamp() - %s * interval '1 second')"
)


@contextmanager
def kept_to(server: Server, home: Home) -> Iterator[Home]:
    """A home whose commands can come to no other database than that of ``server``, if they take up PGOPTIONS: every session of theirs asks for a text search
    configuration that no other one has, and the server of another turns it away as it connects (PostgreSQL manual, "default_text_search_config").
    """
    where = server.rows("SELECT quote_ident(current_schema())")[0][0] if server.dialect == "postgres" else None
    if where is None:
        yield home
        return
    for (drop,) in server.rows(_LEFT, [_ONLY]):  # of one that was killed
        server.rows(drop)
    only = f"{where}.{_ONLY}{os.urandom(4).hex()}"
    server.rows(f"CREATE TEXT SEARCH CONFIGURATION {only} (COPY = {server.rows('SHOW default_text_search_config')[0][0]})")
    try:
        yield home._replace(only=only)
    finally:
        with suppress(PortError):
            server.rows(f"DROP TEXT SEARCH CONFIGURATION IF EXISTS {only}")


_LEFT = (
    "SELECT format('DROP TEXT SEARCH CONFIGURATION %%I.%%I', n.nspname, c.cfgname) FROM pg_ts_config c JOIN pg_namespace n ON n.oid = c.cfgnamespace"
    " WHERE starts_with(c.cfgname::text, %s)"
)


def asked(server: Server, migration: Migration, key: str, argv: Sequence[str], home: Home) -> str:
    """What a command prints that changes nothing. Raises UserError, with its last words, if it fails."""
    name = f"{migration.name}, what `{shlex.join(argv)}` prints"
    env = environment(server, home, f"bleen migrate {migration.name}"[:63], migration.locks.timeout)
    output, deadline = bytearray(), time.monotonic() + PRINTED_WITHIN

    def look() -> None:
        if time.monotonic() > deadline:
            raise UserError(f"{name}: nothing after {PRINTED_WITHIN:g} s; it was ended")

    with tempfile.TemporaryFile() as errors:
        must_be_there(f"{migration.name}/migration.toml: [command] {key}", argv, home, env)
        code = kept.run(argv, home.directory, env, home.user, output.extend, look, 1.0, errors)
        errors.seek(0)
        said = (errors.read() if code else b"").decode(errors="replace")
    text = output.decode(errors="replace")
    if code:
        clean = str(Redaction(home.hidden).clean({"said": said + text})["said"])
        way = [_SQUASHED] if django.lost(clean) or alembic.unknown(clean) else []
        raise UserError("\n".join([f"{name}: it ended with {code}:", *(f"  {line}" for line in clean.splitlines()[-_LAST:]), *way]))
    return text
