"""The rules of MySQL 8 and MariaDB 10.6: a list of what is known, phase by phase; what is not on it is an error.

Sources: MySQL 8.0 Reference Manual, chapter 15 "SQL Statements" and 17.12 "InnoDB and Online DDL"; MariaDB, "SQL Statements". Names of tables are compared
as they are written, since whether case matters is up to the server: so a table is taken for new only where it surely is.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bleen.database import tokens
from bleen.database.grammar.mysql import Alter, alter_table, alters_table, create_table, index_parts, is_primary, table_option
from bleen.database.grammar.rows import update
from bleen.database.migration import Phase
from bleen.database.rules import mysql_alter, triggers
from bleen.database.rules.findings import Finding, Known
from bleen.database.rules.mysql_adding import ONLINE
from bleen.database.rules.mysql_alter import Context, computed, offline_index, primary_dropped, refers, renamed_table, swapped_table, unique
from bleen.database.rules.mysql_pipes import pipes
from bleen.database.rules.queries import copies, one_each, only_reads, reads_new
from bleen.database.rules.sentences import NOT_UNDERSTOOD, ROWS, Backfill, Fault, changed, findings, unknown, unknown_call
from bleen.database.statements import Comment, Statement
from bleen.database.tokens import Cursor, Puzzled, Token, words

RULES = {
    "not-understood": NOT_UNDERSTOOD,
    "executable-comment": "/*! */, /*M! */ and /*+ */ are carried out by some servers and skipped by others: write what is meant.",
    **mysql_alter.RULES,
    **ROWS,
    "pipes": "|| is OR, unless sql_mode has PIPES_AS_CONCAT: CONCAT(a, b) joins strings.",
    "copies-rows": "INSERT ... SELECT and CREATE TABLE ... SELECT lock the rows that they read until they end.",
    "data-modifying-cte": "WITH hides what a statement reads and writes.",
    "replaces": "REPLACE, ON DUPLICATE KEY UPDATE and OR REPLACE change what is there and in use.",
    "truncate": "TRUNCATE takes the rows away at once, for both versions.",
    "lock-table": "A locked table stops everybody who uses it.",
    "side-effect": "What a query or a call does is not seen in the statement.",
    "load-data": "LOAD DATA writes more rows in one transaction than anybody has counted.",
    "stored-program": "Functions, procedures and events hold statements that nobody has checked.",
    "trigger": "A trigger on a table in use runs within each statement of both versions, and can fail them.",
    "dynamic-sql": "PREPARE and EXECUTE run a text that is not known before.",
    "session-setting": "bleen sets the session up itself; a setting changes how the statements after it behave.",
    "global-setting": "A global setting holds for every session of the server.",
    "transaction-control": "DDL commits by itself in MySQL, and bleen commits statement by statement with its ledger.",
    "revoke": "The version that serves may use the right.",
    "role": "Accounts that are dropped, renamed or altered may be those of the version that serves.",
    "database": "A database is dropped, altered or left by USE.",
    "temporary-table": "A temporary table is gone with its session, and each statement may have one of its own.",
    "server-command": "The command is for the operator of the server: it stops, flushes or ends what others use.",
}


class _Refused(NamedTuple):
    """Statements that begin with these words, and why they are refused."""

    begin: str
    rule: str
    message: str


_REFUSED = [
    _Refused("TRUNCATE", "truncate", "takes the rows away from both versions at once, and cannot be undone"),
    _Refused("LOCK", "lock-table", "stops everybody who uses what it locks; each statement takes the locks that it needs"),
    _Refused("UNLOCK", "lock-table", "there is nothing to unlock where nothing is locked"),
    _Refused("OPTIMIZE", "table-rewrite", "rebuilds the table; run it apart from releases, table by table"),
    _Refused("REPAIR", "table-rewrite", "locks the table while it is repaired; run it apart from releases"),
    _Refused("ANALYZE", "server-command", "makes every query that is running on the table hold up those that come after; run it apart from releases"),
    _Refused("CHECK", "lock-table", "holds writers off the table while it is read; run it apart from releases"),
    _Refused("CALL", "side-effect", "what a procedure does is not seen here; write its statements"),
    _Refused("DO", "side-effect", "calls functions for what they do besides; write statements"),
    _Refused("SELECT", "side-effect", "changes nothing, unless by its functions, INTO or its locks; leave it out"),
    _Refused("(", "side-effect", "changes nothing, unless by its functions, INTO or its locks; leave it out"),
    _Refused("VALUES", "side-effect", "changes nothing; leave it out"),
    _Refused("TABLE", "side-effect", "changes nothing, unless by INTO or its locks; leave it out"),
    _Refused("WITH", "data-modifying-cte", "hides what the statement reads and writes; write one UPDATE of one table in backfill.sql"),
    _Refused("LOAD", "load-data", "loads in one transaction, or reads a file that the next server does not have; load in batches before the release"),
    _Refused("IMPORT", "load-data", "brings in a table from files; load in batches before the release"),
    _Refused("PREPARE", "dynamic-sql", "the text that it prepares is not known here; write the statement"),
    _Refused("EXECUTE", "dynamic-sql", "the text that it runs is not known here; write the statement"),
    _Refused("DEALLOCATE", "dynamic-sql", "nothing is prepared in a migration"),
    _Refused("DROP PREPARE", "dynamic-sql", "nothing is prepared in a migration"),
    _Refused("BEGIN NOT ATOMIC", "stored-program", "holds statements that nobody has checked; write them one by one"),
    _Refused("BEGIN", "transaction-control", "DDL commits by itself; bleen commits each statement with its ledger: leave it out"),
    _Refused("START", "transaction-control", "DDL commits by itself; bleen commits each statement with its ledger: leave it out"),
    _Refused("COMMIT", "transaction-control", "bleen commits each statement with its ledger: leave it out"),
    _Refused("ROLLBACK", "transaction-control", "DDL cannot be rolled back; bleen commits each statement with its ledger: leave it out"),
    _Refused("SAVEPOINT", "transaction-control", "bleen commits each statement with its ledger: leave it out"),
    _Refused("RELEASE", "transaction-control", "bleen commits each statement with its ledger: leave it out"),
    _Refused("XA", "transaction-control", "a prepared transaction keeps its locks over crashes: leave it out"),
    _Refused("REVOKE", "revoke", "the version that serves may use the right; revoke in contract"),
    _Refused("RENAME USER", "role", "the version that serves may be that user; create a second one"),
    _Refused("ALTER USER", "role", "sessions of the version that serves may not come in any more; create a second user"),
    _Refused("CREATE OR REPLACE USER", "role", "drops the user first; create a second one"),
    _Refused("CREATE OR REPLACE ROLE", "role", "drops the role first; create a second one"),
    _Refused("DROP USER", "role", "the version that serves may be that user; drop it apart from releases"),
    _Refused("DROP ROLE", "role", "the version that serves may need that role; drop it apart from releases"),
    _Refused("DROP DATABASE", "database", "takes everything with it, both versions included"),
    _Refused("DROP SCHEMA", "database", "takes everything with it, both versions included"),
    _Refused("ALTER DATABASE", "database", "what is created from here on by both versions is another than before; say it at each table"),
    _Refused("ALTER SCHEMA", "database", "what is created from here on by both versions is another than before; say it at each table"),
    _Refused("CREATE OR REPLACE DATABASE", "database", "drops the database first"),
    _Refused("CREATE OR REPLACE TABLE", "drop-in-expand", "drops the table first, rows and all; create it under a name that is free"),
    _Refused("CREATE OR REPLACE SEQUENCE", "drop-in-expand", "drops the sequence first, and counts from its beginning; create it under a name that is free"),
    _Refused("CREATE TEMPORARY", "temporary-table", "is gone with its session; create a table and drop it in contract"),
    _Refused("CREATE OR REPLACE TEMPORARY", "temporary-table", "is gone with its session; create a table and drop it in contract"),
    _Refused("DROP TEMPORARY", "temporary-table", "a migration has no temporary table"),
    _Refused("CREATE EVENT", "stored-program", "runs statements that nobody has checked, at a time when nobody looks"),
    _Refused("ALTER EVENT", "stored-program", "runs statements that nobody has checked, at a time when nobody looks"),
    _Refused("CREATE PROCEDURE", "stored-program", "holds statements that nobody has checked"),
    _Refused("CREATE FUNCTION", "stored-program", "holds statements that nobody has checked"),
    _Refused("CREATE AGGREGATE", "stored-program", "holds statements that nobody has checked"),
    _Refused("CREATE PACKAGE", "stored-program", "holds statements that nobody has checked"),
    _Refused("ALTER PROCEDURE", "stored-program", "changes how it runs for the version that serves"),
    _Refused("ALTER FUNCTION", "stored-program", "changes how it runs for the version that serves"),
    _Refused("ALTER INSTANCE", "server-command", "is for the operator of the server"),
    _Refused("ALTER SERVER", "server-command", "is for the operator of the server"),
    _Refused("ALTER TABLESPACE", "server-command", "is for the operator of the server"),
    _Refused("FLUSH", "server-command", "waits for every statement that runs, and holds up those that come after"),
    _Refused("RESET", "server-command", "is for the operator of the server"),
    _Refused("PURGE", "server-command", "is for the operator of the server"),
    _Refused("KILL", "server-command", "ends what somebody else does"),
    _Refused("SHUTDOWN", "server-command", "stops the server"),
    _Refused("RESTART", "server-command", "stops the server"),
    _Refused("CHANGE", "server-command", "is for the operator of the server"),
    _Refused("STOP", "server-command", "is for the operator of the server"),
    _Refused("INSTALL", "server-command", "is for the operator of the server"),
    _Refused("UNINSTALL", "server-command", "is for the operator of the server"),
    _Refused("CACHE", "server-command", "is for the operator of the server"),
    _Refused("HANDLER", "row-locks", "keeps a table open past its statement, so that DDL waits for it"),
]
_PREFIXES = sorted(((tuple(refused.begin.split()), refused) for refused in _REFUSED), key=lambda each: -len(each[0]))
_DEFINED = words("TRIGGER PROCEDURE FUNCTION EVENT")
_QUERIES = words("SELECT TABLE WITH")
_SHOWN = words("""
    COLUMNS COUNT CREATE DATABASES ENGINE ENGINES ERRORS FIELDS FULL FUNCTION GLOBAL GRANTS INDEX INDEXES KEYS OPEN PROCEDURE PROCESSLIST SCHEMAS SESSION
    STATUS TABLE TABLES TRIGGERS VARIABLES WARNINGS
""")
_ALSO_IN_CONTRACT = words("REVOKE")


def lint(text: str, file: str, phase: Phase, known: Known) -> list[Finding]:
    """The findings in one file of a release. Never raises."""
    return findings(text, file, "mysql", _Mysql(phase, known))


def split(text: str) -> list[Statement]:
    return tokens.split(text, "mysql")


def comments(text: str) -> list[Comment]:
    return tokens.comments(text, "mysql")


class _Mysql:
    """The rules over one file."""

    def __init__(self, phase: Phase, known: Known) -> None:
        self.phase, self.known = phase, known
        self.unchecked: Token | None = None
        """Where foreign_key_checks was set to 0, until it is set to 1 again."""
        self.backfill = Backfill()

    def judge(self, cursor: Cursor) -> Iterator[Fault]:
        executable = next((token for token in cursor.tokens if token.kind == "executable"), None)
        if executable is not None:
            why = "what stands in this comment is carried out by some servers and skipped by others; write what is meant, or a plain comment"
            yield Fault(executable, "executable-comment", why)
            return
        yield from pipes(cursor.tokens, cursor.text, self.phase)
        if self.phase == "backfill":
            yield from self.backfill.judge(cursor)
        else:
            yield from self.statement(cursor)

    def at_end(self) -> Iterator[Fault]:
        if self.unchecked is not None:
            yield self.still_unchecked(self.unchecked)

    def still_unchecked(self, at: Token) -> Fault:
        message = "foreign_key_checks = 0 is for one ALTER TABLE ... ADD FOREIGN KEY that names its ALGORITHM and LOCK, with = 1 right behind it"
        return Fault(at, "session-setting", message)

    def statement(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.now
        if self.unchecked is not None and not cursor.sees("SET") and not alters_table(cursor):
            yield self.still_unchecked(self.unchecked)
            self.unchecked = None
        if only_reads(cursor.tokens) or self.of_new_tables(cursor):
            return
        for prefix, refused in _PREFIXES:
            if cursor.sees(*prefix):
                if self.phase == "contract" and refused.begin in _ALSO_IN_CONTRACT:
                    return
                yield Fault(begin, refused.rule, f"{refused.begin if refused.begin != '(' else 'a query'}: {refused.message}")
                return
        known = self.KNOWN.get(begin.word)
        if known is None:
            raise Puzzled(begin)
        yield from known(self, cursor)

    def of_new_tables(self, cursor: Cursor) -> bool:
        """Whether a statement empties or analyses tables that nobody uses yet, and no other."""
        of = Cursor(cursor.tokens, cursor.text)
        try:
            if of.accept("ANALYZE", "TABLE"):
                tables = [of.table()]
                while of.accept(","):
                    tables.append(of.table())
            else:
                of.expect("TRUNCATE")
                of.accept("TABLE")
                tables = [of.table()]
        except Puzzled:
            return False
        return of.done and all(map(self.new, tables))

    def new(self, table: tuple[Token, ...]) -> bool:
        """Whether this phase has made the table: then nobody uses it yet."""
        return self.known.made("table", *_key(table))

    def alter(self, cursor: Cursor) -> Iterator[Fault]:
        if cursor.accept("ALTER", "SEQUENCE"):
            cursor.accept("IF", "EXISTS")
            if self.known.made("sequence", *_key(cursor.table())):
                return
            yield Fault(cursor.tokens[0], "set-default", "the version that serves counts with this sequence; create a second one")
            return
        if any(cursor.sees("ALTER", word) for word in ("VIEW", "ALGORITHM", "DEFINER", "SQL")):
            begin = cursor.now
            while not cursor.accept("VIEW"):
                cursor.kind("word", "name", "string", "sign")
            if not self.known.made("view", *_key(cursor.table())):
                yield Fault(begin, "replaces", "the version that serves reads this view; create a second one")
            return
        yield from self.altered(alter_table(cursor))

    def altered(self, alter: Alter) -> Iterator[Fault]:
        faults = list(mysql_alter.judged(alter, self.phase, self.known))
        if self.unchecked is not None and any(spec.kind not in ("add-foreign", "algorithm", "lock") for spec in alter.specs):
            yield self.still_unchecked(self.unchecked)
            self.unchecked = None
        yield from faults

    def rename(self, cursor: Cursor) -> Iterator[Fault]:
        cursor.expect("RENAME")
        if not cursor.accept("TABLES"):
            cursor.expect("TABLE")
        cursor.accept("IF", "EXISTS")
        pairs: list[tuple[Token, tuple[Token, ...], tuple[Token, ...]]] = []
        while not pairs or not cursor.done:
            if pairs:
                cursor.expect(",")
            at, old = cursor.now, cursor.table()
            cursor.expect("TO")
            pairs.append((at, old, cursor.table()))
        taken, given = {_key(old) for _, old, _ in pairs}, {_key(new) for _, _, new in pairs}
        for at, old, new in pairs:
            if self.new(old):
                self.known.forgets("table", *_key(old))
                if _key(new) not in taken:  # else it comes in the place of one that may be in use
                    self.known.makes("table", *_key(new))
            else:
                swapped = next((name for name in (old, new) if _key(name) in taken & given), None)
                yield swapped_table(at, _name(swapped)) if swapped is not None else renamed_table(at, _name(old), _name(new))

    def create(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.kind("word")
        if cursor.accept("TABLE"):
            yield from self.create_table(cursor)
        elif any(cursor.sees(*way.split()) for way in ("INDEX", "UNIQUE INDEX", "FULLTEXT INDEX", "SPATIAL INDEX")):
            yield from self.create_index(cursor)
        elif cursor.accept("DATABASE") or cursor.accept("SCHEMA"):
            cursor.accept("IF", "NOT", "EXISTS")
            cursor.name()
            while not cursor.done:
                table_option(cursor)
        elif cursor.accept("SEQUENCE"):
            if not cursor.accept("IF", "NOT", "EXISTS"):
                self.known.makes("sequence", *_key(cursor.table()))
            cursor.rest()
        elif cursor.now.word in ("USER", "ROLE"):
            cursor.rest()
        else:
            yield from self.create_defined(cursor, begin)

    def create_table(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.at
        try:
            created = create_table(cursor)
        except Puzzled as puzzled:
            query = next((token for token in cursor.tokens[begin:] if token.word in ("SELECT", "WITH", "TABLE", "VALUES")), None)
            if query is None or puzzled.token.word not in ("SELECT", "WITH", "TABLE", "VALUES", "AS", "IGNORE", "REPLACE", "("):
                raise
            message = "fills the new table in one transaction, with the rows that it reads locked; create it empty, and fill it in batches"
            yield Fault(query, "copies-rows", message)
            return
        for table in created.references:
            yield from refers(cursor.tokens[0], table, self.known)
        if created.surely_new:
            self.known.makes("table", *_key(created.table))

    def create_index(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.now
        kind = cursor.accept_one(words("UNIQUE FULLTEXT SPATIAL"))
        cursor.expect("INDEX")
        surely_new = not cursor.accept("IF", "NOT", "EXISTS")
        index = cursor.name()
        if cursor.accept("USING"):
            cursor.kind("word")
        cursor.expect("ON")
        table = cursor.table()
        if not cursor.accept("NOWAIT") and cursor.accept("WAIT"):
            cursor.kind("number")
        parts = Cursor(cursor.tokens[cursor.at :], cursor.text).group()
        index_parts(cursor)
        fix = f"{cursor.written(0)} {ONLINE.replace(',', '')};"
        how: dict[str, str] = {}
        while not cursor.done:
            option = cursor.accept_one(words("ALGORITHM LOCK"))
            if not option:
                raise Puzzled(cursor.now)
            cursor.accept("=")
            if option in how:
                yield Fault(cursor.now, "algorithm", f"{option} is named more than once, and the last one counts: name it once")
            how[option] = cursor.kind("word").word
        if self.new(table):
            return
        if surely_new:
            self.known.makes("index", *_key(table), index.identifier.lower())
        online = how.get("ALGORITHM") in ("INPLACE", "NOCOPY", "INSTANT") and how.get("LOCK") == "NONE"
        if kind in ("FULLTEXT", "SPATIAL"):
            yield offline_index(begin, kind, _name(table))
        elif not online:
            message = f"CREATE INDEX {index.text} does not name {ONLINE}: a server that cannot do it so copies {_name(table)} or locks it, and says nothing"
            yield Fault(cursor.tokens[0], "algorithm", message, fix)
        context = Context(table, self.phase, self.known, online, False)
        yield from unique(begin, parts, context, fix) if kind == "UNIQUE" else computed(begin, parts, context, fix)

    def create_defined(self, cursor: Cursor, begin: Token) -> Iterator[Fault]:
        """A view, a trigger or another program, with what may stand before that word."""
        replaces = cursor.accept("OR", "REPLACE")
        if cursor.accept("ALGORITHM", "="):
            cursor.kind("word")
        if cursor.accept("DEFINER", "="):
            while not cursor.done and cursor.now.word not in _DEFINED | {"VIEW", "SQL", "AGGREGATE"}:
                cursor.at += 1
        if cursor.accept("SQL", "SECURITY"):
            cursor.kind("word")
        if cursor.accept("VIEW"):
            if replaces and self.known.made("view", *_key(cursor.table())):
                pass
            elif replaces:
                why = "the version that serves reads this view: it has to find every column that it knows in the new one"
                yield Fault(begin, "replaces", why, "", "warn")
            elif not cursor.accept("IF", "NOT", "EXISTS"):
                self.known.makes("view", *_key(cursor.table()))
            cursor.rest()
        elif cursor.accept("TRIGGER"):
            yield from self.create_trigger(cursor, begin, replaces)
        elif cursor.now.word in _DEFINED | {"AGGREGATE"}:
            yield Fault(begin, "stored-program", f"CREATE {cursor.now.word} holds statements that nobody has checked")
        else:
            raise Puzzled(cursor.now)

    def create_trigger(self, cursor: Cursor, begin: Token, replaces: bool) -> Iterator[Fault]:
        surely_new = not cursor.accept("IF", "NOT", "EXISTS")
        trigger = cursor.table()
        if not cursor.accept_one(words("BEFORE AFTER")) or not cursor.accept_one(words("INSERT UPDATE DELETE")):
            raise Puzzled(cursor.now)
        cursor.expect("ON")
        table = cursor.table()
        cursor.expect("FOR", "EACH", "ROW")
        new = self.new(table)
        if new:
            triggers.created(cursor.rest(), _key(table), self.known, self.new)
            if surely_new and not replaces:
                self.known.makes("trigger", *_key(trigger))
        else:
            self.known.uses()
        if replaces or not new:
            runs = f"{_name(trigger)} runs within each statement on {_name(table)} of both versions"
            message = f"{runs}, and its faults are theirs; two-way sync is bleen's to install"
            yield Fault(begin, "trigger", message)

    def drop(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.kind("word")
        what = cursor.accept_one(words("TABLE TABLES VIEW INDEX TRIGGER PROCEDURE FUNCTION EVENT SEQUENCE"))
        if not what:
            raise Puzzled(cursor.now)
        perhaps = "IF EXISTS " if cursor.accept("IF", "EXISTS") else ""
        if what == "INDEX":
            yield from self.drop_index(cursor, begin, perhaps)
            return
        names = [cursor.table()]
        while cursor.accept(","):
            names.append(cursor.table())
        cursor.accept_one(words("RESTRICT CASCADE"))
        if not cursor.done:
            raise Puzzled(cursor.now)
        for name in names:
            kind = what.lower().removesuffix("s")
            if kind in ("table", "view", "sequence", "trigger") and self.known.made(kind, *_key(name)):
                self.known.forgets(kind, *_key(name))
            elif self.phase == "expand":
                message = f"the version that serves still uses the {kind} {_name(name)}"
                yield Fault(begin, "drop-in-expand", message, f"-- contract.sql\nDROP {what} {perhaps}{_name(name)};")

    def drop_index(self, cursor: Cursor, begin: Token, perhaps: str) -> Iterator[Fault]:
        index = cursor.name()
        cursor.expect("ON")
        table = cursor.table()
        while not cursor.done:
            if not cursor.accept_one(words("ALGORITHM LOCK")):
                raise Puzzled(cursor.now)
            cursor.accept("=")
            if cursor.kind("word").word in ("COPY", "SHARED", "EXCLUSIVE"):
                yield Fault(begin, "table-rewrite", f"asks for what stops the writers of {_name(table)}; name {ONLINE}")
        if self.new(table):
            return
        if is_primary(index):
            yield primary_dropped(begin, _name(table))
        elif self.phase == "expand" and not self.known.made("index", *_key(table), index.identifier.lower()):
            message = f"the version that serves still uses the index {index.text} of {_name(table)}"
            yield Fault(begin, "drop-in-expand", message, f"-- contract.sql\nALTER TABLE {_name(table)} DROP INDEX {perhaps}{index.text};")

    def insert(self, cursor: Cursor) -> Iterator[Fault]:
        verb = cursor.kind("word")
        while cursor.accept_one(words("LOW_PRIORITY DELAYED HIGH_PRIORITY IGNORE")):
            pass
        cursor.accept("INTO")
        table = cursor.table()
        if cursor.accept("PARTITION"):
            cursor.group()
        if cursor.sees("(") and cursor.ahead(1).word not in _QUERIES:
            cursor.group()
        if cursor.now.word not in _QUERIES | {"VALUES", "VALUE", "SET", "("}:
            raise Puzzled(cursor.now)
        rest = cursor.rest()
        query = next((token for token in rest if token.word in _QUERIES), None)
        if (fault := triggers.fired(verb, _name(table), _key(table), self.known)) is not None:
            yield fault
        reads = query if query is not None and copies(rest, table, self.new) else None
        if reads is not None and not one_each(rest):
            message = f"locks the rows that it reads until all are written to {_name(table)}; write the rows as VALUES, or fill the table in batches"
            yield Fault(reads, "copies-rows", message)
            return
        if reads is not None:
            message = f"this query locks the rows that it reads until the {verb.word} into {_name(table)} has ended: see that it finds them by a key"
            yield Fault(reads, "row-locks", message, "", "warn")
        if (call := unknown_call(rest)) is not None:
            yield unknown(call)
        elif self.new(table):
            return
        elif verb.word == "REPLACE":
            yield Fault(verb, "replaces", f"deletes rows of {_name(table)} that are in use, and inserts others; INSERT what is not there yet")
        elif any(token.word == "DUPLICATE" for token in rest):
            yield Fault(verb, "replaces", f"changes rows of {_name(table)} that are in use", "", "warn")

    def change(self, cursor: Cursor) -> Iterator[Fault]:
        """UPDATE and DELETE."""
        change = update(cursor, words("LOW_PRIORITY IGNORE QUICK"))
        if (fault := triggers.fired(change.at, change.name, _key(change.table), self.known)) is not None:
            yield fault
        if self.new(change.table) and (change.reads is None or reads_new(cursor.tokens[1:], self.new)):
            if (call := unknown_call(cursor.tokens)) is not None:
                yield unknown(call)
            return
        piped = change.at.word == "UPDATE" and any(pipes(cursor.tokens, cursor.text, "backfill"))
        for fault in changed(change, self.phase):
            yield fault._replace(fix="") if piped else fault  # a backfill refuses it: the finding about the pipe has the way

    def set(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.kind("word")
        if any(cursor.sees(*way.split()) for way in ("NAMES", "CHARACTER SET", "CHARSET", "TRANSACTION", "PASSWORD", "ROLE", "DEFAULT ROLE")):
            yield Fault(begin, "session-setting", "holds for the session, which bleen sets up itself: leave it out")
            return
        if any(token.word in ("GLOBAL", "PERSIST", "PERSIST_ONLY") for token in cursor.tokens):
            yield Fault(begin, "global-setting", "holds for every session of the server, of both versions; that is the operator's, apart from releases")
            return
        assigned = next((at for at, token in enumerate(cursor.tokens) if token.word in ("=", ":")), len(cursor.tokens))
        named = " ".join(cursor.written(1, assigned).split())
        setting = "".join(token.text for token in cursor.rest()).upper()
        for leading in ("SESSION", "LOCAL", "@@SESSION.", "@@LOCAL.", "@@"):
            setting = setting.removeprefix(leading)
        if setting in ("FOREIGN_KEY_CHECKS=0", "FOREIGN_KEY_CHECKS=OFF") and self.unchecked is None:
            self.unchecked = begin
        elif setting in ("FOREIGN_KEY_CHECKS=1", "FOREIGN_KEY_CHECKS=ON") and self.unchecked is not None:
            self.unchecked = None
        else:
            why = f"{named} changes how the statements after it behave, in a session that bleen sets up itself: leave it out"
            yield Fault(begin, "session-setting", why)

    def grant(self, cursor: Cursor) -> Iterator[Fault]:
        while not (cursor.done or cursor.accept("TO")):
            cursor.at += 1
        limits = False
        while not cursor.done:
            named = cursor.ahead(-1).word not in ("TO", ",")
            limits = limits or (named and cursor.sees("WITH"))
            if named and (cursor.now.word in ("IDENTIFIED", "REQUIRE") or (limits and cursor.now.word.startswith("MAX_"))):
                why = f"{cursor.now.word} changes how an account that is there comes in, and the version that serves may be it; say it in CREATE USER"
                yield Fault(cursor.now, "role", why)
                return
            cursor.at += 1

    def show(self, cursor: Cursor) -> Iterator[Fault]:
        """SHOW, DESCRIBE and EXPLAIN, which tell and change nothing; only EXPLAIN ANALYZE does what it explains."""
        verb = cursor.kind("word")
        if verb.word == "SHOW":
            if not cursor.accept_one(_SHOWN):
                raise Puzzled(cursor.now)
            if (call := unknown_call(cursor.tokens)) is not None:
                yield unknown(call)
            return
        analyzes = cursor.accept("ANALYZE")
        if cursor.accept("FORMAT", "="):
            cursor.kind("word")
        else:
            cursor.accept_one(words("EXTENDED PARTITIONS"))
        if analyzes:
            yield from self.statement(Cursor(cursor.rest(), cursor.text))
        elif cursor.accept_one(words("INSERT REPLACE UPDATE DELETE")):
            while cursor.accept_one(words("LOW_PRIORITY DELAYED HIGH_PRIORITY QUICK IGNORE INTO FROM")):
                pass
            cursor.table()
            if (call := unknown_call(cursor.rest())) is not None:  # which may be called when this is planned
                yield unknown(call)
        elif not only_reads(cursor.tokens[cursor.at :]):
            cursor.table()
            if not cursor.done:
                cursor.kind("word", "name", "string")  # a column
            if not cursor.done:
                raise Puzzled(cursor.now)

    def use(self, cursor: Cursor) -> Iterator[Fault]:
        begin = cursor.kind("word")
        self.known.undo()
        yield Fault(begin, "database", "the tables that follow are others than their names say: write the database before each name, and leave USE out")

    KNOWN: "dict[str, Callable[[_Mysql, Cursor], Iterator[Fault]]]" = {
        "ALTER": alter,
        "RENAME": rename,
        "CREATE": create,
        "DROP": drop,
        "INSERT": insert,
        "REPLACE": insert,
        "UPDATE": change,
        "DELETE": change,
        "SET": set,
        "GRANT": grant,
        "SHOW": show,
        "DESCRIBE": show,
        "DESC": show,
        "EXPLAIN": show,
        "USE": use,
    }


def _key(table: tuple[Token, ...]) -> tuple[str, ...]:
    return tuple(token.identifier for token in table)


def _name(table: tuple[Token, ...]) -> str:
    return ".".join(token.text for token in table)
