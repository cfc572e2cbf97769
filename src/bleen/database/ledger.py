"""What was done to the schema, kept in the database itself: it is restored with it, and is right when the journal is lost.

Three tables, made by whoever migrates first, where its search_path begins; the roles of the applications need no right to them::

    bleen_migration    one row a migration: its files, their check sum, how far it has come
    bleen_step         one row a statement that was begun or done, committed with the statement; a backfill's row holds its checkpoint
    bleen_environment  which environment of which service exists, and which migrations its version knows
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from bleen.database import refuge
from bleen.database.migration import Migration, parse
from bleen.database.rules.own import LEDGER
from bleen.database.server import Server, Told, Values
from bleen.database.statements import Dialect
from bleen.errors import Refused
from bleen.model import apart_from

Part = Literal["expand", "sync", "backfill", "contract", "revert", "command", "rehearsal", "service"]


class State(StrEnum):
    """How far a migration has come; a row that was reverted is taken out."""

    EXPANDING = "expanding"
    EXPANDED = "expanded"
    CONTRACTING = "contracting"
    CONTRACTED = "contracted"
    REVERTING = "reverting"


class Entry(NamedTuple):
    """A migration as the database knows it."""

    name: str
    checksum: str
    state: State
    service: str
    """Whose release brought it; empty if it was done by hand."""
    release: int
    at: float
    """When it came to this state, in seconds since the epoch; while it is contracting or reverting, when it was expanded."""
    sources: Mapping[str, str]

    @property
    def migration(self) -> Migration:
        return parse(self.name, self.sources, self.name)


class Known(NamedTuple):
    """An environment that says which migrations its version ships."""

    service: str
    environment: str
    version: str
    migrations: frozenset[str]


class Step(NamedTuple):
    """One statement; ``done`` is False for one that cannot be part of a transaction and was begun."""

    part: Part
    number: int
    done: bool
    memo: Mapping[str, Any]


_REASON: tuple[Part, int] = ("contract", 0)
"""The step that holds why a contract is done, or set aside."""

_NOT_ITS_OWN = "that is bleen's ledger; take it out of what the tool drops, and have the tool leave it alone (docs/guide/adapters.md)"
"""What to do where a tool drops the ledger, as its models know nothing of it."""

_STORED: Mapping[Dialect, tuple[str, str]] = {"mysql": ("longtext", " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4")}
"""Where a ``text`` ends with 64 KiB, and a table need not be part of transactions: what to say instead, and what goes behind."""

_TABLES = (
    "CREATE TABLE IF NOT EXISTS bleen_migration (name varchar(120) PRIMARY KEY, checksum varchar(64) NOT NULL, state varchar(20) NOT NULL,"
    " service varchar(120) NOT NULL, release_number integer NOT NULL, at double precision NOT NULL, sources text NOT NULL)",
    "CREATE TABLE IF NOT EXISTS bleen_step (migration varchar(120) NOT NULL, part varchar(20) NOT NULL, number integer NOT NULL, done smallint NOT NULL,"
    " at double precision NOT NULL, sql_text text NOT NULL, memo text NOT NULL, PRIMARY KEY (migration, part, number))",
    "CREATE TABLE IF NOT EXISTS bleen_environment (service varchar(120) NOT NULL, environment varchar(120) NOT NULL, version varchar(200) NOT NULL,"
    " at double precision NOT NULL, migrations text NOT NULL, PRIMARY KEY (service, environment))",
)


_EVERYWHERE = (
    "SELECT n.nspname, c.oid IS NOT DISTINCT FROM to_regclass('bleen_environment')::oid, (SELECT bool_and(has_table_privilege(t.oid, p)) FROM pg_class t"
    " CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p WHERE t.relnamespace = n.oid"
    " AND t.relname IN ('bleen_migration', 'bleen_step', 'bleen_environment')), current_user::text, current_setting('search_path')"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = 'bleen_environment' AND c.relkind = 'r'"
)
"""Every ledger of a database on PostgreSQL: its schema, whether the search_path leads there, whether this role may read and write it; this role, its path."""


_WHERE = "SELECT quote_ident(n.nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('bleen_migration')"
"""The schema of the ledger that the search_path leads to."""


_RIGHTS = (
    "SELECT quote_ident(pg_get_userbyid(c.relowner)), 'ALL', true FROM pg_class c WHERE c.oid = to_regclass(%s) UNION ALL"
    " SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, a.privilege_type, false"
    " FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass(%s) AND a.grantee <> c.relowner ORDER BY 3 DESC"
)
"""Who owns a table on PostgreSQL, and then who has which right on it: with a table they go."""
_MAY_OWN = (
    "SELECT pg_has_role(r, 'USAGE') AND has_schema_privilege(r, %s::regnamespace, 'CREATE')"
    " AND CASE WHEN current_setting('server_version_num')::int >= 160000 THEN pg_has_role(r, 'SET') ELSE pg_has_role(r, 'MEMBER') END"
    " FROM CAST(%s AS regrole) r"
)
"""Whether we may give a table of a schema to a role (PostgreSQL manual, "ALTER TABLE"), and then grant rights on it."""


class Ledger:
    """The ledger of the database behind ``server``. What only reads makes no table."""

    def __init__(self, server: Server, identity: str = "") -> None:
        """``identity``: that of the state which speaks of its services, see ``host.state``; empty if nobody knows."""
        self._server, self._identity = server, identity

    def make(self) -> None:
        """Creates the tables that are missing; to be called by who is ``alone``."""
        if not self.there():
            self._create()

    def strands(self) -> str:
        """Who stops, and with what, once the tables are made, and what to do first; empty if nobody does, or they are there."""
        why = "" if self.there() else self._server.catalogue.strands(LEDGER)
        return f"{why}; make them there first (docs/guide/database.md, A database with subscribers)" if why else ""

    def unsheltered(self) -> str:
        """Why it would not outlive a command that drops it if we were killed meanwhile, and what to do; empty if it would."""
        grant = refuge.barred(self._server)
        why = "what a command drops of bleen's ledger is lost if bleen is killed meanwhile, as its role may keep no copy in this database"
        return f"{why}: {grant}" if grant else ""

    def _create(self) -> None:
        kind, behind = _STORED.get(self._server.dialect, ("text", ""))
        try:
            for text in _TABLES:
                self._server.rows(text.replace(" text ", f" {kind} ") + behind)
        except Refused as error:
            needs = "to own the tables that it changes, and to be let make those of the ledger (GRANT CREATE ON SCHEMA)"
            raise Refused(f"{error}; the migrating role needs {needs}") from None

    @contextmanager
    def kept(self, told: Told) -> Iterator[None]:
        """Has the ledger outlive another program, which may take its tables for what its own models lack, and drop them; says so then. Its rows lie in the
        refuge meanwhile, for whoever comes to this database after us if we are killed, or lose the connection; or else it says that they do not.
        """
        path = self._server.rows(_WHERE)[0][0] if self._server.dialect == "postgres" else ""
        before = {table: self._server.rows(f"SELECT * FROM {table}") for table in LEDGER}
        rights = {table: self._server.rows(_RIGHTS, [table, table]) if path else [] for table in LEDGER}
        if why := self.unsheltered():
            if refuge.used(self._server):  # it would be written back should this one drop the ledger, and then be killed
                raise Refused(f"another role's command was killed, and what it kept of bleen's ledger is out of date by now, which ours cannot say; {why}")
            told(why)
        else:
            refuge.keep(self._server, json.dumps({"path": path, "rows": before, "rights": rights}))
        try:
            yield
        finally:
            self._write_back(path, before, rights, told)
            refuge.clear(self._server)

    @property
    def lacks(self) -> bool:
        """Whether something of it was dropped that lies in the refuge."""
        return refuge.used(self._server) and bool(self._dropped())

    def recover(self, told: Told) -> None:
        """Writes back what another program has dropped while who was ``kept`` from that ended; to be called by who is ``alone``, before anything else: what
        lies in the refuge is of a moment ago only as long as nobody has done anything since. A database that was emptied since then has nothing to do with it.
        """
        if refuge.used(self._server) and self._dropped() and not self._server.bare() and (text := refuge.kept(self._server)):
            try:
                kept = json.loads(text)
                path, rows, rights = kept["path"], kept["rows"], kept.get("rights", {})
            except (ValueError, LookupError, TypeError):
                told("a command has dropped tables of bleen's ledger, and what another bleen kept of it meanwhile cannot be read")
            else:
                self._write_back(path, rows, rights, told)
        refuge.clear(self._server)

    def _dropped(self) -> list[str]:
        return [table for table in LEDGER if not self._server.columns(table)]

    def _write_back(self, path: str, before: Mapping[str, Sequence[Values]], rights: Mapping[str, Sequence[Values]], told: Told) -> None:
        """Where they were: ours may be another search_path than theirs who made them, and another role."""
        with self._server.transaction():
            if path:
                self._server.rows(f"SET LOCAL search_path TO {path}")
            if dropped := self._dropped():
                self._create()
            for table, rows in [(each, before[each]) for each in dropped]:
                for row in rows:
                    self._server.rows(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(row))})", row)
                for role, right, owns in rights.get(table, ()):
                    self._server.rows(f"GRANT {right} ON {table} TO {role}")
                    if owns and self._server.rows(_MAY_OWN, [path, role])[0][0]:
                        self._server.rows(f"ALTER TABLE {table} OWNER TO {role}")
        if dropped:
            told(f"what a command has dropped of {', '.join(dropped)} is there again: {_NOT_ITS_OWN}")

    def entries(self) -> list[Entry]:
        """Every migration that this database has seen, in their order."""
        if not self.there():
            return []
        found = self._server.rows("SELECT name, checksum, state, service, release_number, at, sources FROM bleen_migration")
        entries = []
        for n, c, s, service, release, at, sources in found:
            with _legible("bleen_migration", n):
                kept = json.loads(sources)
                plain = {file: text.removeprefix("\ufeff") for file, text in kept.items()}  # a byte order mark was once taken for a part of a file
                checksum = c if plain == kept else parse(n, plain, n).checksum
                entries.append((int(n.partition("_")[0]), n, Entry(n, checksum, State(s), service, release, at, plain)))
        return [entry for _, _, entry in sorted(entries)]

    def entry(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries() if entry.name == name), None)

    def uncontracted(self, service: str) -> list[Migration]:
        """What the database has seen, but for what is contracted, and for what is of services from which all environments of this one are apart."""
        ships = [known.migrations for known in self.environments() if known.service == service]
        left = [entry for entry in self.entries() if entry.state is not State.CONTRACTED]
        return [each.migration for each in left if each.service in ("", service) or not ships or not all(apart_from(each.service) in s for s in ships)]

    def begin(self, migration: Migration, service: str, release: int) -> Entry:
        """Enters a migration, or finds it as it is. Raises Refused if it was entered with other files."""
        entry = self.entry(migration.name)
        if entry is None:
            for text, gone in self.forgotten(migration.name):  # steps of a row that somebody took out
                self._server.rows(text, gone)
            values = [migration.name, migration.checksum, State.EXPANDING.value, service, release, time.time(), json.dumps(migration.sources)]
            self._server.rows(
                "INSERT INTO bleen_migration (name, checksum, state, service, release_number, at, sources) VALUES (%s, %s, %s, %s, %s, %s, %s)", values
            )
            entry = self.entry(migration.name)
            assert entry is not None, "it was written just now"
        check(entry, migration, service)
        return entry

    def reached(self, name: str, state: State, at: float | None = None) -> tuple[str, Values]:
        """The statement that says that a migration has come this far: now, or when it had."""
        return "UPDATE bleen_migration SET state = %s, at = %s WHERE name = %s", [state.value, time.time() if at is None else at, name]

    def forgotten(self, name: str) -> list[tuple[str, Values]]:
        """The statements that take a migration out, steps and all."""
        return [("DELETE FROM bleen_step WHERE migration = %s", [name]), ("DELETE FROM bleen_migration WHERE name = %s", [name])]

    def steps(self, name: str) -> dict[tuple[Part, int], Step]:
        found = self._server.rows("SELECT part, number, done, memo FROM bleen_step WHERE migration = %s", [name]) if self.there() else []
        steps: dict[tuple[Part, int], Step] = {}
        for part, number, done, memo in found:
            with _legible("bleen_step", f"{name}, {part} {number}"):
                steps[part, number] = Step(part, number, bool(done), json.loads(memo))
        return steps

    def everywhere(self, key: tuple[Part, int]) -> dict[str, Step]:
        """One step of every migration that has it, by its name; in one query, as the line of migrations only grows."""
        found = self._server.rows("SELECT migration, done, memo FROM bleen_step WHERE part = %s AND number = %s", [*key]) if self.there() else []
        steps: dict[str, Step] = {}
        for name, done, memo in found:
            with _legible("bleen_step", f"{name}, {key[0]} {key[1]}"):
                steps[name] = Step(*key, bool(done), json.loads(memo))
        return steps

    def mark(self, name: str, part: Part, number: int, done: bool, text: str = "", memo: Mapping[str, Any] = {}) -> list[tuple[str, Values]]:
        """The statements that say that a step was begun or done; to be committed with what they tell of."""
        return [
            *self.unmark(name, part, number),
            (
                "INSERT INTO bleen_step (migration, part, number, done, at, sql_text, memo) VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [name, part, number, int(done), time.time(), text, json.dumps(memo)],
            ),
        ]

    def because(self, name: str) -> str:
        """The reason for which a person has its contract done; empty if there is none."""
        step = self.steps(name).get(_REASON)
        return str(step.memo.get("because", "")) if step else ""

    def reasoned(self, name: str, because: str, aside: bool) -> list[tuple[str, Values]]:
        """The statements that keep the reason; ``aside``: for which it is set aside, and not done."""
        return self.mark(name, *_REASON, True, because, {"because": because, "aside": aside}) if because else []

    def aside(self, entry: Entry) -> str:
        """The reason for which a contract was set aside, or is being set aside; empty if it was not."""
        step = self.steps(entry.name).get(_REASON) if entry.state in (State.CONTRACTING, State.CONTRACTED) else None
        return str(step.memo["because"]) if step and step.memo.get("aside") else ""

    def note(self, statements: Sequence[tuple[str, Values]]) -> None:
        """Runs statements of the ledger at once, as one."""
        with self._server.transaction():
            for text, values in statements:
                self._server.rows(text, values)

    def moved(self, name: str, part: Part, number: int, memo: Mapping[str, Any]) -> tuple[str, Values]:
        """The statement that gives a step that was begun another memo."""
        where = "migration = %s AND part = %s AND number = %s"
        return f"UPDATE bleen_step SET at = %s, memo = %s WHERE {where}", [time.time(), json.dumps(memo), name, part, number]

    def unmark(self, name: str, part: Part, number: int) -> list[tuple[str, Values]]:
        """The statements that forget a step."""
        return [("DELETE FROM bleen_step WHERE migration = %s AND part = %s AND number = %s", [name, part, number])]

    def environments(self) -> list[Known]:
        """Every environment that says which migrations it ships, of every service that shares this database."""
        found = self._server.rows("SELECT service, environment, version, migrations FROM bleen_environment") if self.there() else []
        known = []
        for service, environment, version, names in found:
            with _legible("bleen_environment", f"{service}, {environment}"):
                known.append(Known(service, environment, version, frozenset(json.loads(names))))
        return known

    def exists(self, service: str, known: Sequence[Known]) -> None:
        """Replaces what is said of a service's environments; where nobody has migrated yet, nobody asks. What another state says of them stays."""
        if not self.there() or self.elsewhere(service):
            return
        with self._server.transaction():
            self._server.rows("DELETE FROM bleen_environment WHERE service = %s", [service])
            for text, whose in self.mark(*_of(service), True, memo={"identity": self._identity}) if self._identity else ():
                self._server.rows(text, whose)
            for each in known:
                values = [service, each.environment, each.version, time.time(), json.dumps(sorted(each.migrations))]
                self._server.rows("INSERT INTO bleen_environment (service, environment, version, at, migrations) VALUES (%s, %s, %s, %s, %s)", values)

    def gone(self, service: str) -> None:
        """Takes out what is said of a service's environments, whoever says it."""
        for text, values in [("DELETE FROM bleen_environment WHERE service = %s", [service]), *self.unmark(*_of(service))]:
            self._server.rows(text, values)

    def elsewhere(self, service: str) -> list[Known]:
        """The environments of a service of which another state speaks: one on another host, or one that is lost."""
        noted = self.steps(_of(service)[0]).get(_of(service)[1:])
        other = noted and self._identity and noted.memo["identity"] != self._identity
        return [each for each in self.environments() if each.service == service] if other else []

    def there(self) -> bool:
        """Whether this database has one: whoever migrates first makes it, be there a migration or not, and nothing of bleen's takes it away.

        Raises Refused for a ledger that is not the only one of its database, or that this role cannot use: it would go by half of what is known."""
        if self._server.dialect != "postgres":
            return bool(self._server.columns("bleen_environment"))
        found = self._server.rows(_EVERYWHERE)
        if len(found) > 1:
            way = "copy the rows of bleen_migration, bleen_step and bleen_environment into those of one of them, and drop the others"
            raise Refused(f"this database has more than one ledger, in the schemas {', '.join(sorted(row[0] for row in found))}: {way}")
        for schema, seen, may, role, path in found:
            there, to = self._server.quoted(schema), self._server.quoted(role)
            tables = ", ".join(f"{there}.bleen_{each}" for each in ("migration", "step", "environment"))
            grants = [] if seen else [f"GRANT USAGE ON SCHEMA {there} TO {to}; ALTER ROLE {to} SET search_path = {path}, {there}"]
            grants += [] if may else [f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {to}"]
            if grants:
                raise Refused(f"the ledger of this database is in the schema {schema}, and the role {role} cannot use it; this lets it: {'; '.join(grants)}")
        return bool(found)


def _of(service: str) -> tuple[str, Part, int]:
    """The step that holds which state speaks of a service; no migration has a name with a blank."""
    return f"service {service}", "service", 0


@contextmanager
def _legible(table: str, row: str) -> Iterator[None]:
    """Raises Refused for a row that was edited by hand, or that a newer bleen wrote."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise Refused(f"the ledger is damaged: {table}, the row of {row}: {error}; put the row right, or use the newer bleen that wrote it") from None


def check(entry: Entry, migration: Migration, service: str = "") -> None:
    """Raises Refused if the database knows this migration with other files, be it that of another service."""
    if entry.checksum == migration.checksum:
        return
    if service and entry.service and entry.service != service:
        raise Refused(f"{migration.name} is already a migration of {entry.service}, which is on this database too: give this one another number or name")
    if entry.state is State.EXPANDING:
        raise Refused(f"{migration.name} was changed while it is half carried out: `bleen migrate revert {migration.name}` undoes that half, then try again")
    changed = [file for file in sorted({*entry.sources, *migration.sources}) if entry.sources.get(file) != migration.sources.get(file)]
    raise Refused(
        f"{migration.name} was changed after it had been applied ({', '.join(changed)}): put it back as it was, and make a new migration for what is new"
    )
