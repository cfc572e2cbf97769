"""The schema of a SQLite database in memory, without a row: a change that is refused there, for what there is over a column, is refused in the file."""

import itertools
import re
import sqlite3
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple

from bleen.database.catalogue import Needing, Spreading
from bleen.database.migration import speaks_of
from bleen.database.server import Server
from bleen.database.sqlite.values import quoted
from bleen.database.statements import Statement

_SCHEMA = """
    SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*' AND NOT (type = 'trigger' AND name GLOB '~bleen_*')
    AND name NOT IN (SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow')
    ORDER BY CASE type WHEN 'table' THEN 1 WHEN 'view' THEN 2 WHEN 'index' THEN 3 ELSE 4 END, rowid"""
"""Without what comes with another: a sequence, the tables of a virtual one; and without sync, which is away when its columns go."""
_CHANGES = re.compile(r"(CREATE|ALTER|DROP)\b", re.IGNORECASE)
"""What asks for no row: an INSERT may be refused only because there is none."""
_ALTERS = re.compile(r"(ALTER|DROP)\b", re.IGNORECASE)
_BESIDE = re.compile(r"error in (index|trigger|view) (.+?)(?: after \w+ \w+)?:")
_OURS = ("no such function", "no such module", "no such collation")
"""What an application may give its own connections."""
_LENT = re.compile(r"no such (function|collation sequence): (\w+)")
"""What of that something can stand in for, where nothing is carried out with it."""
_NUMBERS = itertools.count()
REFERRING = """
    SELECT k."from", 'the foreign key to ' || k."table" FROM pragma_foreign_key_list(?) k UNION ALL
    SELECT k."to", 'a foreign key of ' || t.name FROM sqlite_master t, pragma_foreign_key_list(t.name) k
    WHERE t.type = 'table' AND k."table" = ? COLLATE NOCASE AND k."to" IS NOT NULL"""
"""The columns of a table that are in foreign keys, and in which."""
_WITHIN = re.compile(r"cannot drop .*column|error in table .* after drop column")


def refused(server: Server, before: Sequence[Statement], statements: Sequence[Statement]) -> str:
    """Implements ``Catalogue.refuses``."""
    with _copied(server, before, statements) as copy:
        for statement in statements:
            if copy and (error := _carried_out(copy.schema, statement)):
                why = f"{statement.brief}: SQLite refuses it on an empty copy of the schema: {error}; {_way(error)}"
                return "" if copy.lacks(f"{statement.text}\n{error}") else why
    return ""


def needing(server: Server, statements: Sequence[Statement], before: Sequence[Statement]) -> Iterator[Needing]:
    """Implements ``Catalogue.needing``: a write or a view that SQLite takes before the statements, and not once all of them were carried out."""
    with _copied(server, before, statements) as copy:
        for statement, why, of, _ in _broken(copy, statements) if copy else ():
            yield Needing(statement, why, of)


def spreading(server: Server, statements: Sequence[Statement], before: Sequence[Statement]) -> Iterator[Spreading]:
    """Implements ``Catalogue.spreading``, by what fails then of the tables and views that are there: a trigger, or a view, is compiled with all its columns."""
    with _copied(server, before, statements) as copy:
        for statement, why, of, error in _broken(copy, statements, {*_kinds(copy.schema)}) if copy else ():
            yield Spreading(statement, why, of, not error.startswith(_OURS))


def overlooked(server: Server, statements: Sequence[Statement]) -> list[str]:
    """Implements ``Catalogue.overlooks``."""
    if not any(_ALTERS.match(each.text) for each in statements):
        return []
    with _copied(server, (), statements) as copy:
        return [*copy.left.values()] if copy else []


def _broken(copy: "_Copy", statements: Sequence[Statement], among: Container[str] | None = None) -> Iterator[tuple[Statement, str, str, str]]:
    """What fails once all of the statements were carried out, of some tables and views or of all: since which, why, the first that fails, and the error."""
    known = now = _failing(copy.theirs)
    while copy.lends(known.values()):  # one that is missing hides what else fails
        known = now = _failing(copy.theirs)
    since = dict[tuple[str, str], Statement]()
    for statement in statements:
        if _carried_out(copy.schema, statement):
            return  # as ``refused`` says, or ``overlooked``
        now = _failing(copy.theirs)
        since = {what: since.get(what, statement) for what in now if what not in known and (among is None or what[1] in among)}
    for statement, error in dict.fromkeys((statement, now[what]) for what, statement in since.items()):
        failing, names = zip(*((" ".join(what), what[1]) for what, by in since.items() if (by, now[what]) == (statement, error)), strict=True)
        yield statement, f"after it {', '.join(failing)} {'fails' if len(failing) == 1 else 'fail'} ({error})", names[0], error


def referring(server: Server, statement: Statement, table: str) -> list[str]:
    """The columns of a table that are in a foreign key once a statement was run, of whichever side, and were in none before."""
    with _copied(server, (), [statement]) as copy:
        if copy is None:
            return []
        before = set(copy.schema.execute(REFERRING, [table, table]))
        if _carried_out(copy.schema, statement):
            return []
        return [str(column) for column, of in copy.schema.execute(REFERRING, [table, table]) if (column, of) not in before]


class _Copy(NamedTuple):
    schema: sqlite3.Connection
    """As ours of the file."""
    theirs: sqlite3.Connection
    """As those of the application: it has stand-ins for the functions and collations that we know to be missing."""
    lent: set[tuple[str, str]]
    """Which these are."""
    left: dict[str, str]
    """What of the schema could not be made, by name: what that is, and why."""

    def lacks(self, said: str) -> bool:
        """Whether a statement, or what is said against it, is about what is not there."""
        return any(speaks_of(said, name) for name in self.left)

    def lends(self, errors: Iterable[str]) -> bool:
        """Has something stand in for what these say is missing; whether there was anything new."""
        new = {(found[1], found[2]) for each in errors if (found := _LENT.search(each))} - self.lent
        for kind, name in new:
            if kind == "function":
                self.theirs.create_function(name, -1, lambda *_: None, deterministic=True)
            else:
                self.theirs.create_collation(name, lambda *_: 0)
        self.lent.update(new)
        return bool(new)


@contextmanager
def _copied(server: Server, before: Sequence[Statement], statements: Sequence[Statement]) -> Iterator[_Copy | None]:
    """The schema once those ``before`` were run; None where they cannot be."""
    if any(server.passing(each) for each in (*before, *statements)):  # another file may be there then, or other rules
        yield None
        return
    with _memory() as (schema, theirs):
        copy = _Copy(schema, theirs, set(), {})
        _make(copy, server)
        yield None if any(_carried_out(schema, each) for each in before) else copy


@contextmanager
def _memory() -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    """Two connections to an empty database that goes with them. What an application gives to one, no other has."""
    name = f"file:/bleen-{next(_NUMBERS)}?vfs=memdb"
    with closing(sqlite3.connect(name, uri=True, isolation_level=None)) as first, closing(sqlite3.connect(name, uri=True, isolation_level=None)) as second:
        yield first, second


def _make(copy: _Copy, server: Server) -> None:
    """Makes the schema, but for what wants a module of the application's, and for the triggers and views that speak of such a table: they would fail already,
    whatever a statement does, and hide what else it fails.
    """
    tables = list[str]()
    for kind, name, text in server.rows(_SCHEMA):
        of = [each for each in tables if kind in ("view", "trigger") and speaks_of(text, each)]
        why = f"speaks of {of[0]}" if of else _executed(copy.theirs, text)
        while copy.lends([why]):
            why = _executed(copy.theirs, text)
        if why:
            copy.left[name] = f"the {kind} {name} ({why})"
            tables += [name] if kind in ("table", "view") else []


def _carried_out(copy: sqlite3.Connection, statement: Statement) -> str:
    """What SQLite says against a statement; empty if it takes it."""
    return _executed(copy, statement.text) if _CHANGES.match(statement.text) else ""


def _executed(copy: sqlite3.Connection, text: str) -> str:
    try:
        copy.execute(text)
    except sqlite3.Error as error:
        return str(error)
    return ""


def _failing(copy: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """What cannot be compiled, with all that its triggers and foreign keys say: by the verb and the name of a table or a view, and why."""
    found: dict[tuple[str, str], str] = {}
    for name, kind in _kinds(copy).items():
        if kind == "view":
            asked = {"a SELECT from": f"SELECT * FROM {quoted(name)}"}
        elif kind == "table":
            columns = [quoted(c) for (c,) in copy.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", [name])]
            sets = ", ".join(f"{each} = {each}" for each in columns)
            into = f"INSERT INTO {quoted(name)} ({', '.join(columns)}) VALUES ({', '.join(['NULL'] * len(columns))})"
            asked = {"an INSERT into": into, "an UPDATE of": f"UPDATE {quoted(name)} SET {sets}", "a DELETE from": f"DELETE FROM {quoted(name)}"}
        else:
            continue
        for verb, text in asked.items():
            for enforced, condition in ((0, ""), (1, ", where foreign_keys are on")):
                copy.execute(f"PRAGMA foreign_keys = {enforced}")
                try:
                    copy.execute(f"EXPLAIN {text}").close()
                except sqlite3.Error as error:
                    found.setdefault((verb, name), f"{error}{condition}")
            copy.execute("PRAGMA foreign_keys = 0")
    return found


def _kinds(copy: sqlite3.Connection) -> dict[str, str]:
    """What is there of tables and views: by the name of each what it is."""
    return dict(copy.execute("SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND name NOT GLOB 'sqlite_*' ORDER BY name").fetchall())


def _way(said: str) -> str:
    if beside := _BESIDE.search(said):
        kind, name = beside.groups()
        anew = "let the application make it anew, whose connections have that" if _LENT.search(said) else "make one without that column where it is needed"
        return f"say DROP {kind.upper()} {quoted(name)} before it, and {anew}"
    if _WITHIN.search(said):
        before = "drop a generated column over it before"
        return f"{before}; a key, UNIQUE or a CHECK goes with its table only: leave the column there, or let expand make a new table"
    return "mend it, or take it out"
