"""The rules of SQLite: a list of what is known, phase by phase; what is not on it, or what SQLite's own parser does not take, is an error.

Sources: SQLite, "SQL As Understood By SQLite"; "ALTER TABLE" (what refuses rows that are there, and the table rebuild). SQLite has one writer at a time:
whatever takes long keeps all the others waiting, and there is no concurrent way to do it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from bleen.database import tokens
from bleen.database.grammar.conditions import UNKNOWN, value
from bleen.database.grammar.rows import update
from bleen.database.grammar.sqlite import Column, Reference, Scratch, column, is_constant, references
from bleen.database.migration import Phase
from bleen.database.rules import sqlite_adding, triggers
from bleen.database.rules.findings import Finding, Known
from bleen.database.rules.moved import kept_equal
from bleen.database.rules.queries import call, copies, one_each, only_reads, reads_new, sources, with_clause
from bleen.database.rules.sentences import (
    HOLDS,
    NOT_UNDERSTOOD,
    ROWS,
    Backfill,
    Fault,
    changed,
    collide,
    findings,
    held,
    left,
    not_null,
    refuses,
    same_again,
    unknown,
    within,
)
from bleen.database.statements import Comment, Statement
from bleen.database.tokens import Cursor, Puzzled, Token, read, words

RULES = {
    "not-understood": NOT_UNDERSTOOD,
    "rename": "The version that serves knows the old name: add the new one, fill it, drop the old one in contract.",
    "drop-in-expand": "The version that serves still uses it: drop in contract.",
    "table-rebuild": "A table that is created anew, filled, and put in the place of the old one stops writers for as long as that takes.",
    "table-rewrite": "What writes every row of a table again keeps all other writers waiting.",
    "add-not-null": "A column that is NOT NULL needs a default: SQLite refuses it without.",
    "volatile-default": "SQLite refuses a default that is no literal for a new column of a table with rows.",
    "rewriting-column": "SQLite refuses to add a STORED generated column.",
    "inline-constraint": "SQLite refuses UNIQUE and PRIMARY KEY at a new column, and reads all rows for a CHECK.",
    "foreign-key": "SQLite refuses a new column with REFERENCES and a default; a foreign key to a table in use may fail the old version's DELETEs.",
    "index-blocks-writers": "An index is built while no other connection can write; SQLite has no concurrent way.",
    "unique": "A unique index refuses rows that the version that serves may still write.",
    **HOLDS,
    **ROWS,
    "copies-rows": "INSERT ... SELECT and CREATE TABLE ... AS keep all other writers waiting until every row is copied.",
    "replaces": "REPLACE, OR REPLACE and ON CONFLICT DO UPDATE change or delete rows that are in use.",
    "data-modifying-cte": "WITH hides what a statement reads and writes.",
    "side-effect": "What a query does besides is not seen in the statement, and nobody else can write while it reads.",
    "trigger": "A trigger on a table in use runs within each statement of both versions, and can fail them.",
    "pragma": "A PRAGMA changes the connection, the file or the schema behind SQLite's back.",
    "vacuum": "VACUUM, REINDEX and ANALYZE keep all other writers waiting.",
    "attach": "What is attached is another database, which the ledger knows nothing of.",
    "transaction-control": "bleen commits each statement together with its ledger.",
    "temporary-table": "A temporary table, view or trigger is gone with its connection.",
    "virtual-table": "A virtual table does what its module does.",
}


class _Refused(NamedTuple):
    """Statements that begin with this word, and why they are refused."""

    rule: str
    message: str


_COMMITS = _Refused("transaction-control", "bleen commits each statement with its ledger: leave it out")
_REFUSED = {
    "BEGIN": _COMMITS,
    "COMMIT": _COMMITS,
    "END": _COMMITS,
    "ROLLBACK": _COMMITS,
    "SAVEPOINT": _COMMITS,
    "RELEASE": _COMMITS,
    "VACUUM": _Refused("vacuum", "copies the whole file while nobody else can write; run it apart from releases"),
    "REINDEX": _Refused("vacuum", "builds indexes again while nobody else can write; run it apart from releases"),
    "ANALYZE": _Refused("vacuum", "reads all indexes while nobody else can write; run it apart from releases, or PRAGMA optimize in the application"),
    "ATTACH": _Refused("attach", "brings in a database which the ledger knows nothing of; migrate it by itself"),
    "DETACH": _Refused("attach", "a migration has one database"),
}
_PRAGMAS = {
    "WRITABLE_SCHEMA": "lets a statement break the schema, and the file with it",
    "JOURNAL_MODE": "needs the database for itself alone, and holds for both versions",
    "FOREIGN_KEYS": "switches off, for this connection, what keeps the rows whole",
    "LEGACY_ALTER_TABLE": "lets a RENAME leave triggers and views behind",
}
_OWN = ("sqlite_sequence", "sqlite_stat1", "sqlite_stat3", "sqlite_stat4")
"""Tables of SQLite's own that it lets anybody write to (SQLite, "Database File Format")."""
_TELLS = words("""
    COLLATION_LIST COMPILE_OPTIONS DATABASE_LIST DATA_VERSION FOREIGN_KEY_LIST FREELIST_COUNT FUNCTION_LIST INDEX_INFO INDEX_LIST INDEX_XINFO MODULE_LIST
    PAGE_COUNT PRAGMA_LIST TABLE_INFO TABLE_LIST TABLE_XINFO
""")
_ANSWERS = words("""
    APPLICATION_ID AUTO_VACUUM BUSY_TIMEOUT CACHE_SIZE DEFER_FOREIGN_KEYS ENCODING FOREIGN_KEYS JOURNAL_MODE LEGACY_ALTER_TABLE LOCKING_MODE PAGE_SIZE
    QUERY_ONLY RECURSIVE_TRIGGERS SCHEMA_VERSION SECURE_DELETE SYNCHRONOUS TEMP_STORE USER_VERSION
""")
"""Settings that only tell what they are where no value is given."""
_CHECKS = words("FOREIGN_KEY_CHECK INTEGRITY_CHECK QUICK_CHECK")
_COMMANDS = ("rebuild", "optimize", "integrity-check", "delete-all")
_OF_JSON = words("""
    JSON JSON_ARRAY_LENGTH JSON_EXTRACT JSON_INSERT JSON_PATCH JSON_PRETTY JSON_REMOVE JSON_REPLACE JSON_SET JSON_TYPE
    JSONB JSONB_EXTRACT JSONB_INSERT JSONB_PATCH JSONB_REMOVE JSONB_REPLACE JSONB_SET
""")
_GUARD = "compute it only where it is: CASE WHEN json_valid(...) THEN ... END"
_MODULES = words("FTS3 FTS4 FTS5 RTREE RTREE_I32 GEOPOLY")


def lint(text: str, file: str, phase: Phase, known: Known) -> list[Finding]:
    """The findings in one file of a release. Never raises."""
    scratch = Scratch()
    try:
        return findings(text, file, "sqlite", _Sqlite(phase, known, scratch))
    finally:
        scratch.close()


def split(text: str) -> list[Statement]:
    return tokens.split(text, "sqlite")


def comments(text: str) -> list[Comment]:
    return tokens.comments(text, "sqlite")


class _Sqlite:
    """The rules over one file."""

    def __init__(self, phase: Phase, known: Known, scratch: Scratch) -> None:
        self.phase, self.known, self.scratch = phase, known, scratch
        self.backfill = Backfill()

    def judge(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.now
        refused = _REFUSED.get(begin.word)
        if refused is not None:
            if begin.word == "ROLLBACK":
                self.known.undo()
            yield Fault(begin, refused.rule, f"{begin.word}: {refused.message}")
        elif begin.word == "PRAGMA":
            yield from self.pragma(cursor)
        elif begin.word == "ALTER":
            yield from self.alter(cursor)
        else:
            explained = 1 if begin.word == "EXPLAIN" else 0
            if fault := self.not_taken(cursor, cursor.written(explained, len(cursor.tokens))):
                yield fault
                return
            if self.phase == "backfill":
                yield from self.backfill.judge(cursor)
                return
            known = self.KNOWN.get(begin.word)
            if known is None:
                raise Puzzled(begin)
            yield from known(self, cursor)

    def at_end(self) -> Iterator[Fault]:
        yield from ()

    def not_taken(self, cursor: Cursor, statement: str, kind: Literal["TABLE", "VIEW"] = "TABLE", there: str = "") -> Fault | None:
        """What SQLite's parser says against a statement, at the first place where the word stands that it names."""
        why = self.scratch.refuses(statement, kind, there)
        if not why:
            return None
        at = next((token for token in cursor.tokens if why.startswith(f'near "{token.text}"')), cursor.tokens[0])
        return Fault(at, "not-understood", f"not understood; SQLite says: {why}")

    def pragma(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.kind("word")
        name = cursor.table()[-1]
        if self.phase == "backfill":
            yield self.backfill.other(begin)
            return
        if name.word in _TELLS or (name.word in _ANSWERS and cursor.done):
            return
        if name.word in _CHECKS:
            why = "changes nothing, and nobody else can commit while it reads, but where there is a WAL; run it apart from releases"
            yield Fault(begin, "side-effect", f"PRAGMA {name.text} {why}", "", "warn")
            return
        why = _PRAGMAS.get(name.word, "changes the connection, which bleen sets up itself, or the file, which both versions use")
        yield Fault(begin, "pragma", f"PRAGMA {name.text} {why}: leave it out")

    def alter(self, cursor: Cursor) -> Iterator[Fault]:
        cursor.expect("ALTER", "TABLE")
        table = cursor.table()
        at = cursor.now
        if self.phase == "backfill":
            yield self.backfill.other(cursor.tokens[0])
        elif cursor.accept("ADD"):
            cursor.accept("COLUMN")
            begin = cursor.at
            added = column(cursor)
            if fault := self.not_taken(cursor, f'CREATE TABLE "bleen" ("bleen column", {cursor.written(begin)})'):
                yield fault
                return
            if not self.made(table):
                yield from self.added(at, added, table)
            self.known.makes("column", *_key(table), added.name.identifier.lower())
            yield from self.remembered(at, added, table)
            if added.reference:
                yield from self.refers(table, added.reference._replace(required=(added.name,) if added.not_null else ()))
                self.known.forgets("table", *_key((added.reference.table,)))  # what it cascades to is in use
        elif cursor.accept("RENAME", "TO"):
            yield from self.renamed(at, table, self.last_name(cursor))
        elif cursor.accept("RENAME"):
            cursor.accept("COLUMN")
            old = cursor.name()
            cursor.expect("TO")
            new = self.last_name(cursor)
            if not self.made(table, old):
                yield self.renamed_column(at, _name(table), old, new)
            self.known.makes("column", *_key(table), new.identifier.lower())
            for fact in ("filled", "computed"):
                if self.known.knows(fact, *_key(table), old.identifier.lower()):
                    self.known.learns(fact, *_key(table), new.identifier.lower())
        else:
            cursor.expect("DROP")
            cursor.accept("COLUMN")
            yield from self.dropped_column(at, table, self.last_name(cursor))

    def remembered(self, at: Token, added: Column, table: tuple[Token, ...]) -> Iterator[Fault]:
        """Keeps what a later index has to know of a new column, and judges its CHECKs."""
        default = UNKNOWN if added.expression else value(added.default) if added.default else None
        for fact, holds in (("filled", default is not None and not added.expression), ("computed", bool(added.expression))):
            tell = self.known.learns if holds else self.known.unlearns
            tell(fact, *_key(table), added.name.identifier.lower())
        if self.phase == "expand" and not self.made(table):
            checks = (*added.checks, not_null(added.expression, "sqlite")) if added.expression and added.not_null else added.checks
            yield from refuses(at, _name(table), added.name, default, checks, lambda named: self.used(table, named))
            yield from self.computed(at, added, table)

    def computed(self, at: Token, added: Column, table: tuple[Token, ...]) -> Iterator[Fault]:
        """A VIRTUAL column is computed when a row is read, by a SELECT * of the old version too."""
        expression = read(added.expression, "sqlite").sentences[0].tokens if added.expression and not added.stored else ()
        if _wants_json(expression) and (over := self.used(table, within(expression))):
            told = ", ".join(dict.fromkeys(token.text for token in over))
            message = f"a SELECT * of the old version from {_name(table)} fails from here on if {told} is no JSON in a row of it; {_GUARD}"
            yield Fault(at, "holds-the-old-version", message, "", "warn")

    def used(self, table: tuple[Token, ...], named: Sequence[Token]) -> list[Token]:
        """Those columns that the old version writes: itself, or as it writes what they are computed from."""
        return [part for part in named if not self.made(table, part) or self.known.knows("computed", *_key(table), part.identifier.lower())]

    def last_name(self, cursor: Cursor) -> Token:
        name = cursor.name()
        if not cursor.done:
            raise Puzzled(cursor.now)
        return name

    def made(self, table: tuple[Token, ...], column: Token | None = None) -> bool:
        """Whether this phase has made the table, or the column of it: then nobody uses it yet."""
        return self.known.made("table", *_key(table)) or (column is not None and self.known.made("column", *_key(table), column.identifier.lower()))

    def plain(self, table: tuple[Token, ...]) -> bool:
        """Whether this phase has made the table, and it has no rows but its own: a virtual one may show those of another."""
        return self.made(table) and not self.known.made("virtual", *_key(table))

    def added(self, at: Token, added: Column, table: tuple[Token, ...]) -> Iterator[Fault]:
        name = added.name.text
        null = not added.default or value(added.default) is None
        safely = sqlite_adding.added(added, table)
        if added.key == "PRIMARY KEY":
            yield Fault(at, "inline-constraint", "SQLite refuses to add a PRIMARY KEY column; create a table with it, and fill it in batches")
        elif added.key:
            then = f"add {name} first, and its index then" if safely else f"nor could two rows of {_name(table)} be left to what it says of {name}"
            yield Fault(at, "inline-constraint", f"SQLite refuses to add a UNIQUE column; {then}", safely)
        elif added.stored:
            yield Fault(at, "rewriting-column", f"SQLite refuses to add a STORED column; a VIRTUAL one is computed when {name} is read", safely)
        elif not is_constant(added.default):
            yield Fault(at, "volatile-default", f"SQLite refuses a default for {name} that is no literal, as {_name(table)} has rows", safely)
        elif added.not_null and null and not added.expression:
            message = f"SQLite refuses {name} NOT NULL without a default, and so would each INSERT of the version that does not know it"
            yield Fault(at, "add-not-null", message, safely)
        elif added.references and not null:
            yield Fault(at, "foreign-key", f"SQLite refuses {name} with REFERENCES and a default while foreign_keys is on", safely)
        elif added.checks or (added.not_null and added.expression):
            yield Fault(at, "inline-constraint", f"reads all rows of {_name(table)} to check them, while nobody else can write", "", "warn")

    def renamed(self, at: Token, table: tuple[Token, ...], new: Token) -> Iterator[Fault]:
        renamed = (*table[:-1], new)
        if self.known.knows("dropped", *_key(renamed)):
            yield self.rebuilt(at, new.text)
        elif not self.made(table):
            message = f"{_name(table)} is gone for the version that serves; a view lets the new one read the same rows under a second name"
            unwritten = f"-- SQLite writes to no view but by its INSTEAD OF triggers: write what {new.text} is to get to {_name(table)}".replace("\n", " ")
            yield Fault(at, "rename", message, f"{unwritten}\nCREATE VIEW {new.text} AS SELECT * FROM {_name(table)};")
        if self.made(table):
            self.known.forgets("table", *_key(table))
            self.known.makes("table", *_key(renamed))

    def rebuilt(self, at: Token, table: str) -> Fault:
        message = (
            f"{table} is dropped and comes again as another table: rows that are written meanwhile are lost, or all writers wait; "
            "add columns to it, fill them in batches, and drop the old ones in contract"
        )
        return Fault(at, "table-rebuild", message)

    def renamed_column(self, at: Token, table: str, old: Token, new: Token) -> Fault:
        lines = [
            f"-- write the type that {old.text} has behind {new.text}, and its default if it has one".replace("\n", " "),
            f"ALTER TABLE {table} ADD COLUMN {new.text};",
            kept_equal(table, old.identifier, new.identifier, old.text, new.text, ""),
            "-- backfill.sql",
            f"UPDATE {table} SET {new.text} = {old.text} WHERE {new.text} IS NOT {old.text};",
            "-- contract.sql",
            f"ALTER TABLE {table} DROP COLUMN {old.text};",
        ]
        message = f"the version that serves reads and writes {table}.{old.text}: each of its statements fails from here on"
        return Fault(at, "rename", message, "\n".join(lines))

    def dropped_column(self, at: Token, table: tuple[Token, ...], gone: Token) -> Iterator[Fault]:
        if self.made(table, gone):
            return
        if self.phase == "expand":
            message = f"the version that serves still uses the column {gone.text} of {_name(table)}"
            yield Fault(at, "drop-in-expand", message, f"-- contract.sql\nALTER TABLE {_name(table)} DROP COLUMN {gone.text};")
        else:
            message = f"writes every row of {_name(table)} again, while nobody else can write; an unused column costs nothing"
            yield Fault(at, "table-rewrite", message, "", "warn")

    def create(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.kind("word")
        if temporary := cursor.accept_one(words("TEMP TEMPORARY")):
            yield Fault(begin, "temporary-table", f"CREATE {temporary} is gone with its connection; create a table and drop it in contract")
        elif cursor.accept("TABLE"):
            yield from self.create_table(cursor)
        elif cursor.accept("UNIQUE", "INDEX"):
            yield from self.create_index(cursor, begin, unique=True)
        elif cursor.accept("INDEX"):
            yield from self.create_index(cursor, begin, unique=False)
        elif cursor.accept("TRIGGER"):
            yield from self.create_trigger(cursor, begin)
        elif cursor.accept("VIRTUAL", "TABLE"):
            surely_new = not cursor.accept("IF", "NOT", "EXISTS")
            table = cursor.table()
            cursor.expect("USING")
            module = cursor.name()
            if module.identifier.upper() not in _MODULES:
                yield Fault(begin, "virtual-table", f"what the module {module.text} does is not known here")
            if surely_new:
                self.known.makes("table", *_key(table))
                self.known.makes("virtual", *_key(table))
        else:
            cursor.expect("VIEW")
            if not cursor.accept("IF", "NOT", "EXISTS"):
                self.known.makes("view", *_key(cursor.table()))

    def create_table(self, cursor: Cursor) -> Iterator[Fault]:
        surely_new = not cursor.accept("IF", "NOT", "EXISTS")
        at, table = cursor.now, cursor.table()
        if _key(table)[0] == "temp":
            yield Fault(at, "temporary-table", f"{_name(table)} is gone with its connection; create a table and drop it in contract")
            return
        if cursor.sees("AS") and sources(cursor.tokens[cursor.at + 1 :]) != []:
            message = "copies rows while nobody else can write; create the table empty, and fill it in batches"
            yield Fault(cursor.now, "copies-rows", message)
            return
        if self.known.knows("dropped", *_key(table)):
            yield self.rebuilt(at, _name(table))
        if surely_new:
            self.known.makes("table", *_key(table))
        for reference in references(cursor.rest()):
            yield from self.refers(table, reference)

    def refers(self, table: tuple[Token, ...], to: Reference) -> Iterator[Fault]:
        """What a foreign key does to the old version's DELETEs from the table that it refers to (SQLite, "SQLite Foreign Key Support")."""
        other = (*table[:-1], to.table)
        if self.phase != "expand" or self.made(other) or _key(other) == _key(table):
            return
        told = f"where foreign_keys is on, {{}} DELETE of the old version from {to.table.text} fails"
        unsure = [column.text for column in to.columns if column.identifier.lower() != "id"]
        if unsure:
            message = f"{told.format('each')} unless {', '.join(unsure)} is its PRIMARY KEY or UNIQUE there (foreign key mismatch): see that it is"
            yield Fault(to.at, "foreign-key", message, "", "warn")
        if not to.yields:
            never = f", as {', '.join(each.text for each in to.required)} cannot be NULL" if to.then == "NULL" else ""
            safe = "ON DELETE CASCADE" if to.required else "ON DELETE CASCADE or SET NULL"
            message = f"{told.format('a')} if a row of {_name(table)} refers to what it deletes{never}; say {safe}"
            yield Fault(to.at, "foreign-key", message, "", "warn")

    def create_index(self, cursor: Cursor, begin: Token, *, unique: bool) -> Iterator[Fault]:
        surely_new = not cursor.accept("IF", "NOT", "EXISTS")
        index = cursor.table()
        cursor.expect("ON")
        table = (*index[:-1], cursor.name())
        if surely_new:
            self.known.makes("index", *_key(index))
        if self.made(table):
            return
        parts = cursor.group()
        named = within(parts)
        used = self.used(table, named)
        later = f"{cursor.written(0, len(cursor.tokens))};"
        unfilled = [part for part in named if not self.known.knows("filled", *_key(table), part.identifier.lower())]
        same = collide(parts, unfilled)
        filled = bool(named) and not used and (same is True or not unfilled)
        rest = cursor.rest()
        partial = any(token.word == "WHERE" for token in rest)
        read_as_json = self.used(table, [name for each in (parts, rest) if _wants_json(each) for name in within(each)])
        if unique and self.phase == "expand" and filled and not partial:
            yield same_again(begin, _name(table[-1:]), named, later)
        elif unique and self.phase == "expand" and len(used) == len(named):
            message = f"refuses, from then on, what is twice in {_name(table[-1:])}, from the version that does not know this index too"
            yield Fault(begin, "unique", message, f"-- contract.sql\n{later}")
        else:
            message = f"is built while nobody else can write to the database; SQLite has no concurrent way: see that {_name(table[-1:])} is small enough"
            yield Fault(begin, "index-blocks-writers", message, "", "warn")
            if unique and self.phase == "expand" and (used or same is not False):
                yield held(begin, _name(table[-1:]), used, later) if used else left(begin, _name(table[-1:]), named, later)
            elif self.phase == "expand" and read_as_json:
                told = ", ".join(dict.fromkeys(token.text for token in read_as_json))
                message = f"from here on a write of the old version to {_name(table[-1:])} fails if {told} is no JSON in it; {_GUARD}, or build it in contract"
                yield Fault(begin, "holds-the-old-version", message, f"-- contract.sql\n{later}", "warn")

    def create_trigger(self, cursor: Cursor, begin: Token) -> Iterator[Fault]:
        surely_new = not cursor.accept("IF", "NOT", "EXISTS")
        trigger = cursor.table()
        while not cursor.accept("ON"):
            cursor.at += 1
        table = (*trigger[:-1], cursor.name())
        view = self.known.made("view", *_key(table))
        if view or self.made(table):
            triggers.created(cursor.rest(), _key(table), self.known, self.made)
            if view:  # whatever its trigger reaches: nobody reads or writes the view itself
                self.known.makes("view", *_key(table))
            if surely_new:
                self.known.makes("trigger", *_key(trigger))
            if fault := self.not_taken(cursor, cursor.written(0, len(cursor.tokens)), "VIEW" if view else "TABLE", table[-1].text):
                yield fault
        else:
            self.known.uses()
            message = f"{_name(trigger)} runs within each statement on {table[-1].text} of both versions, and its faults are theirs"
            yield Fault(begin, "trigger", f"{message}; two-way sync is bleen's to install")

    def drop(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.kind("word")
        what = cursor.kind("word").word
        perhaps = "IF EXISTS " if cursor.accept("IF", "EXISTS") else ""
        name = cursor.table()
        if what in ("TABLE", "VIEW", "INDEX", "TRIGGER") and self.known.made(what.lower(), *_key(name)):
            self.known.forgets(what.lower(), *_key(name))
            return
        if what == "TABLE":
            self.known.learns("dropped", *_key(name))
        if self.phase == "expand":
            message = f"the version that serves still uses the {what.lower()} {_name(name)}"
            yield Fault(begin, "drop-in-expand", message, f"-- contract.sql\nDROP {what} {perhaps}{_name(name)};")

    def select(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.now
        if not only_reads(cursor.tokens):
            yield Fault(begin, "side-effect", f"{begin.word}: changes nothing, unless by the functions that it calls: leave it out")
        elif not reads_new(cursor.tokens, self.plain):
            yield Fault(begin, "side-effect", f"{begin.word}: changes nothing, and nobody else can write while it reads: leave it out", "", "warn")

    def explain(self, cursor: Cursor) -> Iterator[Fault]:
        """What is explained is only planned, other than a PRAGMA, which may be obeyed all the same (SQLite, "PRAGMA Statements")."""
        cursor.expect("EXPLAIN")
        cursor.accept("QUERY", "PLAN")
        if cursor.now.word not in words("SELECT VALUES WITH INSERT REPLACE UPDATE DELETE"):
            raise Puzzled(cursor.now)
        yield from ()

    def with_queries(self, cursor: Cursor) -> Iterator[Fault]:
        if only_reads(cursor.tokens):
            yield from self.select(cursor)
            return
        begin = cursor.kind("word")
        with_clause(cursor)
        if cursor.now.word in ("INSERT", "REPLACE"):
            yield from self.insert(cursor)
        else:
            message = "WITH: hides what the statement reads and writes; write one UPDATE of one table in backfill.sql"
            yield Fault(begin, "data-modifying-cte", message)

    def insert(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.at
        verb = cursor.kind("word")
        way = cursor.accept_one(words("ROLLBACK ABORT FAIL IGNORE REPLACE")) if cursor.accept("OR") else ""
        cursor.expect("INTO")
        table = cursor.table()
        named = cursor.group() if cursor.sees("(") else ()
        rest = (*cursor.tokens[:begin], *cursor.rest())  # with the queries of a WITH before it
        if table[-1].identifier.lower() in _OWN:
            why = f"writes to {_name(table)}, which SQLite keeps for both versions: numbers are given out again, or queries planned otherwise; leave it out"
            yield Fault(verb, "pragma", why)
            return
        if (fault := triggers.fired(verb, _name(table), _key(table), self.known)) is not None:
            yield fault
        if (command := self.command(table, named, rest)) is not None:
            message = f"goes over all rows that {_name(table)} has an index of, while nobody else can write; fill it row by row, in batches by rowid"
            yield Fault(command, "table-rewrite", message)
        query = next((token for token in rest if token.word == "SELECT"), None)
        upsert = next((token for token in cursor.tokens if token.word == "CONFLICT"), None)
        reads = query if query is not None and copies(rest, table, self.plain) else None
        if reads is not None and not one_each(rest):
            message = f"writes to {_name(table)} for as long as the query takes, while nobody else can; write the rows as VALUES, or fill it in batches"
            yield Fault(reads, "copies-rows", message)
            return
        if reads is not None:
            message = f"nobody else can write while this query reads for the {verb.word} into {_name(table)}: see that it finds its rows by a key"
            yield Fault(reads, "row-locks", message, "", "warn")
        if (called := call(rest)) is not None:
            yield unknown(called)
        elif self.made(table):
            return
        elif "REPLACE" in (verb.word, way):
            yield Fault(verb, "replaces", f"deletes rows of {_name(table)} that are in use, and inserts others; INSERT OR IGNORE leaves what is there")
        elif upsert is not None and any(token.word == "UPDATE" for token in cursor.tokens):
            yield Fault(verb, "replaces", f"changes rows of {_name(table)} that are in use", "", "warn")

    def command(self, table: tuple[Token, ...], named: Sequence[Token], rest: Sequence[Token]) -> Token | None:
        """What an INSERT into a full-text index tells it to do with all of its rows (SQLite, "FTS5", section 6: the column is called like the table)."""
        if all(column.kind == "sign" or column.identifier.lower() != table[-1].identifier.lower() for column in named):
            return None
        if self.made(table) and not self.known.made("virtual", *_key(table)):
            return None
        return next((token for token in rest if token.word == "SELECT" or (token.kind == "string" and token.text[1:-1].lower() in _COMMANDS)), None)

    def change(self, cursor: Cursor) -> Iterator[Fault]:
        """UPDATE and DELETE."""
        change = update(cursor, words("OR ROLLBACK ABORT FAIL IGNORE REPLACE"))
        if (fault := triggers.fired(change.at, change.name, _key(change.table), self.known)) is not None:
            yield fault
        if self.made(change.table) and (change.reads is None or reads_new(cursor.tokens[1:], self.plain)):
            return
        yield from changed(change, self.phase)

    KNOWN: "dict[str, Callable[[_Sqlite, Cursor], Iterator[Fault]]]" = {
        "SELECT": select,
        "VALUES": select,
        "WITH": with_queries,
        "EXPLAIN": explain,
        "CREATE": create,
        "DROP": drop,
        "INSERT": insert,
        "REPLACE": insert,
        "UPDATE": change,
        "DELETE": change,
    }


def _wants_json(expression: Sequence[Token]) -> bool:
    """Whether it fails for a text that is no JSON; for a column's value nothing else that SQLite computes does (SQLite, "JSON Functions And Operators")."""
    told = [token.word for token in expression]
    return "JSON_VALID" not in told and any((word in _OF_JSON and after == "(") or (word, after) == ("-", ">") for word, after in pairwise(told))


def _key(table: tuple[Token, ...]) -> tuple[str, ...]:
    """A table as SQLite compares it: without regard to case, in the database main unless it says another."""
    names = tuple(token.identifier.lower() for token in table)
    return names if len(names) > 1 else ("main", *names)


def _name(table: tuple[Token, ...]) -> str:
    return ".".join(token.text for token in table)
