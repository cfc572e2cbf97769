"""Commands of other tools (Alembic, Django, Flyway ...) as halves of a migration: run where a version lies, again until the locks were given, and told of.

Such a tool keeps a book of its own, so that its command may be run again wherever it was killed; that is asked of every command.
"""

import codecs
import hashlib
import os
import re
import shlex
import tempfile
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import unquote

from bleen.database import alembic, django, importing, reverting
from bleen.database.ledger import Part
from bleen.database.migration import Migration
from bleen.database.patience import Patience
from bleen.database.rules import IRREVERSIBLE, Script, rules
from bleen.database.server import Server, Taken, Told
from bleen.database.statements import Statement, Unreadable
from bleen.errors import PortError, Refused, UserError
from bleen.host import kept, launch
from bleen.host.redaction import Redaction
from bleen.plan import fill

Half = Literal["expand", "contract", "revert"]
HALVES: tuple[Half, ...] = get_args(Half)

VERSION: tuple[Part, int] = ("command", 0)
"""The step that holds the version whose expand it was."""

_BY_URL = "it has to connect by DATABASE_URL (docs/guide/adapters.md)"
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
_PASSWORDS = re.compile(r"://[^:@/]*:([^@/]*)@|[?&](?:ssl)?password=([^&]*)")
"""Before the host, and among the parameters (PostgreSQL manual, "Connection URIs")."""
_BEGINS, _ENDS = re.compile(r"(BEGIN|START)\b", re.IGNORECASE), re.compile(r"(COMMIT|END|ABORT|ROLLBACK(?!\s+TO))\b", re.IGNORECASE)
_NO_SQL = re.compile(r"THIS OPERATION CANNOT BE WRITTEN AS SQL")
"""What Django's sqlmigrate prints for RunPython."""


class Home(NamedTuple):
    """Where the commands of a version run."""

    version: str
    directory: str
    env: Mapping[str, str]
    """The whole environment: the application's, and DATABASE_URL, which is the migrating one."""
    user: str
    hidden: tuple[str, ...]
    """What is not to be told."""
    only: str = ""
    """What only the database of DATABASE_URL has, and every session asks for; see ``kept_to``."""


class Elsewhere(Refused):
    """A command was not on the database that it was given: nothing of it was done there, and what undoes it would be done elsewhere too."""


def home(version: str, settings: Mapping[str, Any], secrets: Mapping[str, Any], url: str) -> Home:
    """The home of a version: ``settings`` hold ``directory``, ``env`` (templates) and ``user``, as a plan's platform has them; ``secrets`` the ``base`` of the
    environment and the ``values`` of references. Variables that differ from copy to copy are left out. Raises Refused for a reference without a value.
    """
    env = dict(secrets["base"])
    for name, template in settings["env"].items():
        try:
            env[name] = fill(template, {"version": version}, secrets["values"])
        except KeyError:  # a port, an instance, an environment: a command is none of them
            env.pop(name, None)
    hidden = {url, *_passwords(url), *secrets["values"].values()}
    return Home(version, settings["directory"], {**env, "DATABASE_URL": url}, settings["user"], tuple(hidden - {""}))


def _passwords(url: str) -> set[str]:
    """Those that a url has, as they are written there and as they are. Drivers take urls that ``urlsplit`` does not: with a [ in the password, say."""
    written = {each for found in _PASSWORDS.findall(url) for each in found}
    return written | {unquote(each) for each in written}


def words(migration: Migration, half: Half) -> tuple[str, ...]:
    """The command of a half, empty if it has none."""
    found: tuple[str, ...] = getattr(migration.command, half)
    return found


def step(half: Half) -> tuple[Part, int]:
    """Under which the ledger has it."""
    return "command", HALVES.index(half) + 1


def overtaken(migration: Migration, others: Sequence[Migration]) -> list[str]:
    """Those of earlier migrations, in their order, whose contract command is still to be run which a tool with one line of revisions would run with this
    expand.
    """
    if not migration.command.expand or migration.command.branched:
        return []
    earlier = sorted((m for m in others if m.command.contract and m.number < migration.number), key=lambda m: m.number)
    return list(dict.fromkeys(m.name for m in earlier))


def upon(migration: Migration, others: Sequence[Migration]) -> str:
    """The newest of later migrations that goes along when the command of this one goes back, as far as the words tell: the same tool has one line of them,
    and Django one an app. Empty if there is none.
    """
    ours, its = migration.command.expand, django.goal(migration.command.expand)
    for other in reversed(others):
        goal = django.goal(other.command.expand)
        apart = its and goal and its.app and goal.app and its.app != goal.app
        if ours and other.command.expand[:1] == ours[:1] and not apart:
            return other.name
    return ""


def overtakes(migration: Migration, earlier: Sequence[str], new: Collection[str] = ()) -> str:
    """Why an expand has to wait for contracts. ``new``: what comes with it."""
    names = ", ".join(earlier)
    way = f"release a version first that ships {names} and not {migration.name}, and contract it" if new and {*earlier} <= {*new} else "contract first"
    apart = "" if django.goal(migration.command.expand) else ", or say branched = true in [command] if its revisions are in a branch of their own"
    return f"{migration.name}: the contract of {names} is pending, and a tool with one line of revisions would run it now; {way}{apart}"


def startable(migration: Migration, half: Half, home: Home | None) -> Home:
    """Where the command of a half runs. Raises Refused if no version is known, or for what can be seen to be missing there before anything is done."""
    argv = words(migration, half)
    if home is None:
        raise Refused(f"{migration.name}: {half} runs `{shlex.join(argv)}`, and no version is known in whose directory; deploy one that ships it")
    _must_be_there(f"{migration.name}/migration.toml: [command] {half}", argv, home, home.env)
    return home


def run(server: Server, migration: Migration, half: Half, home: Home, told: Told) -> None:
    """Runs the command of a half to its end, as often as it says that a lock was not given, for ``locks.patience`` seconds.

    Raises Refused with its last words if it fails, or if it does as though it had been given them; Unavailable, with the command ended, if the database goes
    away meanwhile; Taken if what an earlier try has left in the database does not end.
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
        self._env = _environment(server, home, self._session, self._timeout)
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
        """Waits until nothing of an earlier try is at work in the database. Raises Taken."""
        deadline = time.monotonic() + GONE_WITHIN
        while left := [each for each in self._server.sessions() if each.application == self._session]:
            if time.monotonic() > deadline:
                where = f"session {left[0].id}, from {left[0].client or 'this host'}"
                raise Taken(f"{self.name}: an earlier try is still at work ({where}); wait for it, or end it")
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


def _must_be_there(where: str, argv: Sequence[str], home: Home, env: Mapping[str, str]) -> None:
    """Raises Refused, with where the command is written and what can be done, for one that cannot be started."""
    program = launch.Program(argv, home.directory, env, "", home.user)
    try:
        launch.check(program)
    except Refused as error:
        lost = os.path.isdir(home.directory) and not launch.found(program)
        way = f"; put it there, or write its whole path: that of a virtual environment ends in bin/{os.path.basename(argv[0])}" if lost else ""
        raise Refused(f"{where}: {error}{way}") from None


def _environment(server: Server, home: Home, session: str, timeout: float) -> dict[str, str]:
    """The variables of a command. For PostgreSQL, what libpq reads: a short lock_timeout, and a session that ends with its client and can be told apart."""
    env = dict(home.env)
    if launch.MARK in os.environ:
        env[launch.MARK] = os.environ[launch.MARK]
    if server.dialect != "postgres":
        return env
    options = [f"-c lock_timeout={round(timeout * 1000)}ms"]
    (checked,) = server.rows("SELECT current_setting('client_connection_check_interval')")[0]  # ours is set, where the server can
    options += [f"-c client_connection_check_interval={checked}"] if checked != "0" else []
    options += ["-c default_text_search_config=" + re.sub(r"[\\\s]", r"\\\g<0>", home.only)] if home.only else []
    env["PGAPPNAME"], env["PGOPTIONS"] = session, " ".join([*filter(None, [env.get("PGOPTIONS")]), *options])
    url = env["DATABASE_URL"]
    if found := re.search(r"[?&]options=[^&#]*", url):  # which libpq prefers to PGOPTIONS
        more = "%20".join(["", *options]).replace(" ", "%20").replace("=", "%3D")
        env["DATABASE_URL"] = url[: found.end()] + more + url[found.end() :]
    return env


def books(server: Server) -> str:
    """Another one whenever a tool has noted something in a book that is known; empty where there is none, or nobody may read it."""
    there = [book for book in importing.BOOKS if server.columns(book)]
    try:
        noted = [sorted(map(repr, server.rows(f"SELECT * FROM {book}"))) for book in there]
    except Refused:
        return ""
    return hashlib.sha256(repr(noted).encode()).hexdigest()[:16] if there else ""


def judge(server: Server, migration: Migration) -> list[str]:
    """What is wrong with the commands of a migration, a line each, whatever they do: there is a way back, and sync ends as its columns go."""
    command, where = migration.command, f"{migration.name}/migration.toml"
    found = []
    if command.expand and not command.revert and not reverting.irreversible(migration.sql("revert")):
        way = f"say revert in [command], or in revert.sql that there is none: `{reverting.MARK} REASON`"
        found.append(f"{where}: [{IRREVERSIBLE}] the expand command has no way back; {way}")
    try:
        contract = server.split(migration.sql("contract")) if command.contract else []
    except Unreadable:  # the rules say so
        contract = []
    for pair in migration.pairs if command.contract else ():
        if not any(server.drops(statement, pair) for statement in contract):
            why = "sync must end in the transaction in which its columns go: between the two, an INSERT that names only the new ones would fail"
            say = "drop them in contract.sql, and let the command only note it (alembic stamp, migrate --fake)"
            found.append(f"{where}: [command] {pair.table} ({', '.join(pair.old)}) is kept in step, and a command drops it; {why}; {say}")
    known = rules(server.dialect)
    found += [f"{where}: [bad-override] allow: there is no rule {rule}" for rule in command.allow if rule not in known]
    return found


class Printing:
    """The SQL of the expand commands of a release, to be judged: what their ``sql`` prints, without the tool's own book. Asked in their order."""

    def __init__(self, server: Server, home: Home | None, alone: Collection[str] = ()) -> None:
        """``alone``: migrations before which there was nothing, so that nobody minds what else Django runs."""
        self._server, self._home, self._alone = server, home, alone
        self._earlier: set[str] = set()
        """Migrations of Django's that those before would run."""

    def of(self, migration: Migration) -> list[Script]:
        """Of one migration; none if there is no ``sql``. Where Django is to run more than the migration that is named, that of each is printed.

        Raises UserError if nothing is printed, or if what is printed is not all of it.
        """
        argv = migration.command.sql
        if not argv:
            return []
        if self._home is None:
            raise UserError(f"{migration.name}: `{shlex.join(argv)}` cannot be asked for its SQL: no version is known in whose directory")
        scripts = []
        for each in self._all(migration, self._home):
            name = f"{migration.name}, what `{shlex.join(each)}` prints"
            text = _asked(self._server, migration, "sql", each, self._home)
            scripts.append(Script(_sql(self._server, text, name), name, "expand", _transactions(self._server.split(text), len(text))))
        if not any(self._server.split(each.text) for each in scripts):
            raise UserError(f"{scripts[0].file}: there is no statement in it, so that nothing was judged")
        return scripts

    def _all(self, migration: Migration, home: Home) -> list[Sequence[str]]:
        """The commands that print all of it."""
        argv = migration.command.sql
        if django.printing(argv, "an.other") is None:
            return [argv]
        try:
            planned = _planned(self._server, migration, "expand", home)
        except Refused as error:
            raise UserError(str(error)) from None
        if migration.name in self._alone:
            return [argv]
        new = [each for each in planned if each not in self._earlier]
        self._earlier |= {*new}
        return [django.printing(argv, each) or argv for each in new] or [argv]


def straight(server: Server, migration: Migration, half: Half, home: Home, others: Sequence[Migration] = ()) -> None:
    """Raises Refused for a ``migrate`` of Django's that would take away what its half is not about: it goes to a state, wherever the database is. So does a
    ``downgrade`` of Alembic's; and what its directory does not have, it cannot go from. ``others``: what else is on the database.
    """
    planned, expanded = _planned(server, migration, half, home), words(migration, "expand")
    gone = goal.beyond(planned) if half == "revert" and (goal := django.goal(expanded)) else []
    if to := alembic.goal(words(migration, half)):
        current = _current(server, migration, half, home, others)
        if half == "revert":
            book = alembic.Book(_history(server, migration, home), current)
            gone = book.beyond(to, alembic.goal(expanded), [alembic.goal(words(m, each)) for m in others for each in HALVES if each != "revert"])
    if gone:
        way = "take that back first, by the migration that brought it, or by hand"
        raise Refused(f"{migration.name}: revert, `{shlex.join(words(migration, half))}` would take back {', '.join(gone)} too, and what they hold: {way}")


def placed(server: Server, migrations: Sequence[Migration], home: Home | None, others: Sequence[Migration]) -> None:
    """Raises Refused if the database is at a revision of Alembic's that a version does not have. One of its migrations asks for all."""
    first = next((m for m in migrations if alembic.goal(words(m, "expand"))), None)
    if first and home:
        _current(server, first, "expand", home, others)


def fitting(server: Server, migration: Migration, homes: Sequence[Home]) -> Home:
    """The first home that has the revision of Alembic's at which the database is: after a rollback, what serves does not. Else the first."""
    half = next((half for half in HALVES if alembic.goal(words(migration, half))), None)
    for home in homes if half and len(homes) > 1 else ():
        with suppress(Refused):
            _current(server, migration, half or "expand", home, ())
            return home
    return homes[0]


def _current(server: Server, migration: Migration, half: Half, home: Home, others: Sequence[Migration]) -> str:
    """What Alembic says of where the database is. Raises Refused if that is nowhere in the files of the version."""
    argv = words(migration, half)
    try:
        return _asked(server, migration, half, alembic.asking(argv, "current"), home)
    except UserError as error:
        if not (lost := alembic.unknown(str(error))):
            raise Refused(str(error)) from None
    brought = next((m.name for m in others if lost == alembic.goal(words(m, "expand")).rpartition("@")[2]), "")
    way = f"have the files of a version in place that has it, then `bleen migrate {half} {migration.name}`"
    if half == "expand":
        way = f"{f'`bleen migrate revert {brought}`' if brought else 'take that back by hand'}, or ship that revision too and build on it"
    at = f"the database is at revision {lost}{f' ({brought})' if brought else ''}, which is not among the files of {home.version} ({home.directory})"
    raise Refused(f"{migration.name}: {half}, `{shlex.join(argv)}`: {at}; {way}")


def _history(server: Server, migration: Migration, home: Home) -> str:
    """What Alembic says of the revisions in the files of a version."""
    try:
        return _asked(server, migration, "revert", alembic.asking(words(migration, "revert"), "history"), home)
    except UserError as error:
        raise Refused(str(error)) from None


def _planned(server: Server, migration: Migration, half: Half, home: Home) -> list[str]:
    """What Django would run, or take back, for a half; nothing if that is no command of its. Raises Refused if it would take back what is to be there."""
    argv = words(migration, half)
    goal = django.goal(argv)
    if goal is None:
        return []
    try:
        planned = django.planned(_asked(server, migration, half, django.plan(argv), home))
    except UserError as error:
        raise Refused(str(error)) from None
    if half != "revert" and goal.ahead(planned):
        way = "let the command go as far as the database has come, or take that back by hand first"
        raise Refused(f"{migration.name}: {half}, `{shlex.join(argv)}` would take back {', '.join(planned)}, which the database has already: {way}")
    return planned


def _asked(server: Server, migration: Migration, key: str, argv: Sequence[str], home: Home) -> str:
    """What a command prints that changes nothing. Raises UserError, with its last words, if it fails."""
    name = f"{migration.name}, what `{shlex.join(argv)}` prints"
    env = _environment(server, home, f"bleen migrate {migration.name}"[:63], migration.locks.timeout)
    output, deadline = bytearray(), time.monotonic() + PRINTED_WITHIN

    def look() -> None:
        if time.monotonic() > deadline:
            raise UserError(f"{name}: nothing after {PRINTED_WITHIN:g} s; it was ended")

    with tempfile.TemporaryFile() as errors:
        _must_be_there(f"{migration.name}/migration.toml: [command] {key}", argv, home, env)
        code = kept.run(argv, home.directory, env, home.user, output.extend, look, 1.0, errors)
        errors.seek(0)
        said = (errors.read() if code else b"").decode(errors="replace")
    text = output.decode(errors="replace")
    if code:
        clean = str(Redaction(home.hidden).clean({"said": said + text})["said"])
        way = filter(None, [django.lost(clean)])
        raise UserError("\n".join([f"{name}: it ended with {code}:", *(f"  {line}" for line in clean.splitlines()[-_LAST:]), *way]))
    return text


def _transactions(statements: Sequence[Statement], end: int) -> tuple[tuple[int, int], ...]:
    """From where to where each transaction goes that is printed. Where none is, all may be one: of a tool that begins its own."""
    found, begun = list[tuple[int, int]](), -1
    for statement in statements:
        if _BEGINS.match(statement.text):
            begun = statement.offset
        elif begun >= 0 and _ENDS.match(statement.text):
            found, begun = [*found, (begun, statement.offset)], -1
    return (*found, *([(begun, end)] if begun >= 0 else [])) or ((0, end),)


def _sql(server: Server, text: str, name: str) -> str:
    """What is printed, with all that is no change of the schema blank. Raises UserError."""
    if beyond := _NO_SQL.search(text):
        line = text.count("\n", 0, beyond.start()) + 1
        raise UserError(f'{name}:{line}: is not all that it does; say unjudged = "REASON" instead of sql, or move it to a backfill.sql')
    try:
        text = importing.without_books(text, server.dialect)
        statements = server.split(text)
    except Unreadable as error:
        raise UserError(f"{name}:{error.at.line}:{error.at.column}: {error}") from None
    for statement in statements:
        if server.atomic and not server.transactional(statement):
            why = "cannot be gone on with where a command was killed, or not given a lock: put it in expand.sql, which is run behind the command"
            raise UserError(f"{name}:{statement.at.line}:{statement.at.column}: {' '.join(statement.text.split())[:80]}: {why}")
    return text
