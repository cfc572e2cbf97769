"""ALTER TABLE and CREATE TABLE as MySQL 8 and MariaDB 10.6 read them, as values. What is not in this grammar is ``Puzzled``.

Sources: MySQL 8.0 Reference Manual 13.1.9 "ALTER TABLE", 13.1.20 "CREATE TABLE"; MariaDB, the pages of the same names.
"""

from typing import NamedTuple

from bleen.database.grammar.mysql_column import Column, column, default, references
from bleen.database.tokens import Cursor, Puzzled, Token, words


class Spec(NamedTuple):
    """One of the comma-separated parts of an ALTER TABLE."""

    kind: str
    at: Token
    text: str
    column: Column | None = None
    names: tuple[Token, ...] = ()
    """What it is about: the column, index, constraint or table; for a rename what it becomes too."""
    value: str = ""


class Alter(NamedTuple):
    """An ALTER TABLE as a whole."""

    table: tuple[Token, ...]
    specs: tuple[Spec, ...]

    def value(self, kind: str) -> str:
        """What ALGORITHM or LOCK is set to, by the last that says so; empty if it is not named."""
        return next((spec.value for spec in reversed(self.specs) if spec.kind == kind), "")


_FREE_OPTIONS = words("COMMENT STATS_AUTO_RECALC STATS_PERSISTENT STATS_SAMPLE_PAGES")
_OPTIONS = _FREE_OPTIONS | words("""
    ENGINE TYPE AUTO_INCREMENT AVG_ROW_LENGTH CHECKSUM TABLE_CHECKSUM COMPRESSION CONNECTION DELAY_KEY_WRITE ENCRYPTION ENCRYPTED
    ENCRYPTION_KEY_ID INSERT_METHOD KEY_BLOCK_SIZE MAX_ROWS MIN_ROWS PACK_KEYS PASSWORD ROW_FORMAT TABLESPACE PAGE_CHECKSUM PAGE_COMPRESSED
    PAGE_COMPRESSION_LEVEL TRANSACTIONAL ENGINE_ATTRIBUTE SECONDARY_ENGINE SECONDARY_ENGINE_ATTRIBUTE AUTOEXTEND_SIZE
""")
_ENGINES = words("INNODB MYISAM ARIA MEMORY HEAP ROCKSDB ARCHIVE CSV NDB NDBCLUSTER")
_PARTITIONING = words(
    "DROP TRUNCATE COALESCE REORGANIZE EXCHANGE ANALYZE CHECK OPTIMIZE REBUILD REPAIR REMOVE DISCARD IMPORT ADD CONVERT"  # ... PARTITION
)


def alters_table(cursor: Cursor) -> bool:
    """Whether an ALTER TABLE is next, by itself or as ALTER ONLINE TABLE, which is how MariaDB lets say LOCK=NONE."""
    return cursor.sees("ALTER", "TABLE") or cursor.sees("ALTER", "ONLINE", "TABLE")


def alter_table(cursor: Cursor, between: frozenset[str] = words("ONLINE")) -> Alter:
    """ALTER TABLE, whose first word is next, with these words ``between`` the two; all of it, or ``Puzzled``."""
    cursor.expect("ALTER")
    while cursor.accept_one(between):
        pass
    cursor.expect("TABLE")
    cursor.accept("IF", "EXISTS")
    table = cursor.table()
    if not cursor.accept("NOWAIT") and cursor.accept("WAIT"):
        cursor.kind("number")
    specs: list[Spec] = []
    while True:
        specs += _specs(cursor)
        while not cursor.done and not cursor.sees(","):  # table options need no comma between them, and partitioning has none before it
            if specs[-1].kind != "option" and not _partitioning(cursor):
                raise Puzzled(cursor.now)
            specs += _specs(cursor)
        if cursor.done:
            return Alter(table, tuple(specs))
        cursor.expect(",")


def _specs(cursor: Cursor) -> list[Spec]:
    begin, at = cursor.at, cursor.now

    def spec(kind: str, names: tuple[Token, ...] = (), value: str = "", column: Column | None = None) -> list[Spec]:
        return [Spec(kind, at, cursor.written(begin), column, names, value)]

    if _partitioning(cursor):
        cursor.rest()
        return spec("partition")
    if cursor.accept("ADD"):
        return _added(cursor, begin, at)
    if cursor.accept("DROP"):
        kind, names = _dropped(cursor)
        return spec(kind, names)
    if cursor.accept("ALTER"):
        kind, names, default_set = _altered(cursor)
        return spec(kind, names, column=default_set)
    if cursor.accept("RENAME"):
        kind, names = _renamed(cursor)
        return spec(kind, names)
    if cursor.accept("CHANGE"):
        cursor.accept("COLUMN")
        cursor.accept("IF", "EXISTS")
        old = cursor.name()
        new = column(cursor)
        return spec("change", (old, new.name), column=_placed(cursor, new))
    if cursor.accept("MODIFY"):
        cursor.accept("COLUMN")
        cursor.accept("IF", "EXISTS")
        changed = _placed(cursor, column(cursor))
        return spec("modify", (changed.name,), column=changed)
    for word, values in (("ALGORITHM", words("DEFAULT INSTANT INPLACE NOCOPY COPY")), ("LOCK", words("DEFAULT NONE SHARED EXCLUSIVE"))):
        if cursor.accept(word):
            cursor.accept("=")
            value = cursor.accept_one(values)
            if not value:
                raise Puzzled(cursor.now)
            return spec(word.lower(), value=value)
    return spec(*_whole(cursor))


def _whole(cursor: Cursor) -> tuple[str, tuple[Token, ...], str]:
    """What is done to the table as a whole."""
    if cursor.accept("CONVERT", "TO"):
        _charset(cursor)
        return "convert", (), ""
    if cursor.accept("FORCE"):
        return "force", (), ""
    if cursor.accept("ORDER", "BY"):
        while True:
            cursor.table()
            cursor.accept_one(words("ASC DESC"))
            if not (cursor.sees(",") and cursor.ahead(1).kind in ("word", "name") and (cursor.ahead(2).word in ("", ",", "ASC", "DESC"))):
                return "order", (), ""
            cursor.expect(",")
    if (switched := cursor.accept_one(words("ENABLE DISABLE"))) and cursor.accept("KEYS"):
        return "keys", (), switched
    if (moved := cursor.accept_one(words("DISCARD IMPORT"))) and cursor.accept("TABLESPACE"):
        return "tablespace", (), moved
    return "option", (), table_option(cursor)


def table_option(cursor: Cursor) -> str:
    """One option of a table; its name."""
    if cursor.sees("DEFAULT") or cursor.sees("CHARACTER") or cursor.sees("CHARSET") or cursor.sees("COLLATE"):
        cursor.accept("DEFAULT")
        _charset(cursor)
        return "CHARACTER SET"
    if cursor.accept("WITH", "SYSTEM", "VERSIONING"):
        return "SYSTEM VERSIONING"
    if cursor.accept_one(words("DATA INDEX")):
        cursor.expect("DIRECTORY")
        cursor.accept("=")
        cursor.kind("string")
        return "DIRECTORY"
    option = cursor.accept_one(_OPTIONS)
    if not option:
        raise Puzzled(cursor.now)
    cursor.accept("=")
    cursor.kind("word", "string", "number", "name")
    return option


def changes_nothing_else(option: str) -> bool:
    """Whether the option is only written into the dictionary."""
    return option in _FREE_OPTIONS


def _charset(cursor: Cursor) -> None:
    """A character set, a collation, or both."""
    if cursor.accept("CHARACTER", "SET") or cursor.accept("CHARSET"):
        cursor.accept("=")
        cursor.kind("word", "string")
        cursor.accept("DEFAULT")
        if not cursor.accept("COLLATE"):
            return
    else:
        cursor.expect("COLLATE")
    cursor.accept("=")
    cursor.kind("word", "string")


def _partitioning(cursor: Cursor) -> bool:
    if cursor.now.word in _PARTITIONING and cursor.ahead(1).word == "PARTITION":
        return True
    return cursor.sees("PARTITION", "BY") or cursor.sees("REMOVE", "PARTITIONING") or cursor.sees("CONVERT", "TABLE")


def _added(cursor: Cursor, begin: int, at: Token) -> list[Spec]:
    """What follows ADD."""
    if found := key(cursor):
        return [Spec(f"add-{found.kind}", at, cursor.written(begin), names=found.names, value=found.parts)]
    if cursor.accept("PERIOD", "FOR") or cursor.accept("SYSTEM", "VERSIONING"):
        cursor.rest()
        return [Spec("versioning", at, cursor.written(begin))]
    cursor.accept("COLUMN")
    perhaps = "IF NOT EXISTS" if cursor.accept("IF", "NOT", "EXISTS") else ""
    if not cursor.accept("("):
        added = _placed(cursor, column(cursor))
        return [Spec("add-column", at, cursor.written(begin), added, (added.name,), perhaps)]
    specs = []
    while True:
        start = cursor.at
        if found := key(cursor):
            specs.append(Spec(f"add-{found.kind}", cursor.tokens[start], f"ADD {cursor.written(start)}", names=found.names, value=found.parts))
        else:
            added = column(cursor)
            specs.append(Spec("add-column", cursor.tokens[start], f"ADD COLUMN {cursor.written(start)}", added, (added.name,)))
        if cursor.accept(")"):
            return specs
        cursor.expect(",")


class Key(NamedTuple):
    """The definition of an index or of a constraint."""

    kind: str
    """index, fulltext, spatial, unique, primary, foreign or check."""
    names: tuple[Token, ...]
    """Its own name, if it has one; for a foreign key, the name of the table that it refers to."""
    parts: str = ""
    """Of an index: its columns, as they are written, with their parentheses."""


def key(cursor: Cursor) -> Key | None:
    """An index or a constraint in CREATE TABLE or behind ADD; None if a column comes next."""
    begin = cursor.at
    named: tuple[Token, ...] = ()
    constraint = cursor.accept("CONSTRAINT")
    if constraint:
        cursor.accept("IF", "NOT", "EXISTS")
        if cursor.now.word not in words("PRIMARY UNIQUE FOREIGN CHECK"):
            named = (cursor.name(),)
    for kind in ("FULLTEXT", "SPATIAL", "UNIQUE"):
        if cursor.accept(kind):
            cursor.accept_one(words("INDEX KEY"))
            name, parts = _index(cursor)
            return Key(kind.lower(), named or name, parts)
    if cursor.accept("PRIMARY", "KEY"):
        return Key("primary", named, _index(cursor)[1])
    if cursor.accept("FOREIGN", "KEY"):
        cursor.accept("IF", "NOT", "EXISTS")
        if not cursor.sees("("):
            cursor.name()
        cursor.group()
        return Key("foreign", references(cursor))
    if cursor.sees("CHECK") and cursor.ahead(1).word == "(":
        cursor.accept("CHECK")
        cursor.group()
        enforced = not cursor.accept("NOT", "ENFORCED")
        cursor.accept("ENFORCED")
        return Key("check" if enforced else "unenforced", named)
    if not constraint and cursor.accept_one(words("INDEX KEY")):
        name, parts = _index(cursor)
        return Key("index", name, parts)
    if constraint:
        raise Puzzled(cursor.now)
    cursor.at = begin
    return None


def _index(cursor: Cursor) -> tuple[tuple[Token, ...], str]:
    """The name of an index, if there is one, its parts and its options."""
    cursor.accept("IF", "NOT", "EXISTS")
    named = () if cursor.sees("(") or cursor.now.word in ("USING", "TYPE") else (cursor.name(),)
    _index_options(cursor)
    return named, index_parts(cursor)


def index_parts(cursor: Cursor) -> str:
    """The columns of an index as they are written, and its options."""
    begin = cursor.at
    if not cursor.group():
        raise Puzzled(cursor.tokens[begin])
    parts = cursor.written(begin)
    _index_options(cursor)
    return parts


def _index_options(cursor: Cursor) -> None:
    while True:
        if cursor.accept("USING") or (cursor.sees("TYPE") and cursor.accept("TYPE")):
            if not cursor.accept_one(words("BTREE HASH RTREE")):
                raise Puzzled(cursor.now)
        elif cursor.accept("COMMENT"):
            cursor.kind("string")
        elif cursor.accept("KEY_BLOCK_SIZE"):
            cursor.accept("=")
            cursor.kind("number")
        elif cursor.accept("WITH", "PARSER"):
            cursor.name()
        elif not (cursor.accept_one(words("VISIBLE INVISIBLE IGNORED")) or cursor.accept("NOT", "IGNORED") or _clustering(cursor)):
            return


def _clustering(cursor: Cursor) -> bool:
    return cursor.accept("CLUSTERING", "=", "YES") or cursor.accept("CLUSTERING", "=", "NO")


def _placed(cursor: Cursor, added: Column) -> Column:
    if cursor.accept("FIRST"):
        return added._replace(position="FIRST")
    if cursor.accept("AFTER"):
        return added._replace(position=f"AFTER {cursor.name().text}")
    return added


def _dropped(cursor: Cursor) -> tuple[str, tuple[Token, ...]]:
    """What follows DROP."""
    if cursor.accept("PRIMARY", "KEY"):
        return "drop-primary", ()
    if cursor.accept("SYSTEM", "VERSIONING") or cursor.accept("PERIOD", "FOR"):
        cursor.rest()
        return "versioning", ()
    for kind, leading in (("drop-foreign", ("FOREIGN", "KEY")), ("drop-index", ("INDEX",)), ("drop-index", ("KEY",)), ("drop-constraint", ("CONSTRAINT",))):
        if cursor.accept(*leading):
            cursor.accept("IF", "EXISTS")
            gone = cursor.name()
            return ("drop-primary", ()) if is_primary(gone) and kind != "drop-foreign" else (kind, (gone,))
    if cursor.sees("CHECK") and cursor.ahead(1).kind in ("word", "name"):
        cursor.accept("CHECK")
        return "drop-constraint", (cursor.name(),)
    cursor.accept("COLUMN")
    cursor.accept("IF", "EXISTS")
    gone = cursor.name()
    cursor.accept_one(words("RESTRICT CASCADE"))
    return "drop-column", (gone,)


def is_primary(index: Token) -> bool:
    """Whether an index is the primary key, by the name that each has."""
    return index.identifier.upper() == "PRIMARY"


def _altered(cursor: Cursor) -> tuple[str, tuple[Token, ...], Column | None]:
    """What follows ALTER inside an ALTER TABLE; with SET DEFAULT, the column as far as it is told."""
    if cursor.accept("INDEX") or cursor.accept("KEY"):
        cursor.accept("IF", "EXISTS")
        index = cursor.name()
        if not (cursor.accept_one(words("VISIBLE INVISIBLE IGNORED")) or cursor.accept("NOT", "IGNORED")):
            raise Puzzled(cursor.now)
        return "index-visibility", (index,), None
    if (cursor.sees("CHECK") or cursor.sees("CONSTRAINT")) and cursor.ahead(2).word in ("NOT", "ENFORCED"):
        cursor.at += 1
        constraint = cursor.name()
        if cursor.accept("NOT", "ENFORCED"):
            return "drop-constraint", (constraint,), None
        cursor.expect("ENFORCED")
        return "add-check", (constraint,), None
    cursor.accept("COLUMN")
    cursor.accept("IF", "EXISTS")
    changed = cursor.name()
    if cursor.accept("DROP", "DEFAULT"):
        return "drop-default", (changed,), None
    cursor.expect("SET")
    if cursor.accept_one(words("VISIBLE INVISIBLE")):
        return "visibility", (changed,), None
    cursor.expect("DEFAULT")
    begin = cursor.at
    return "set-default", (changed,), Column(changed, "", default=default(cursor), default_text=cursor.written(begin))


def _renamed(cursor: Cursor) -> tuple[str, tuple[Token, ...]]:
    """What follows RENAME inside an ALTER TABLE."""
    for kind, word in (("rename-column", "COLUMN"), ("rename-index", "INDEX"), ("rename-index", "KEY")):
        if cursor.sees(word) and cursor.ahead(2).word in ("TO", "EXISTS"):
            cursor.accept(word)
            cursor.accept("IF", "EXISTS")
            old = cursor.name()
            cursor.expect("TO")
            return kind, (old, cursor.name())
    cursor.accept_one(words("TO AS ="))
    return "rename-table", cursor.table()


class Created(NamedTuple):
    """A CREATE TABLE."""

    table: tuple[Token, ...]
    surely_new: bool
    references: tuple[tuple[Token, ...], ...]
    """The tables that its foreign keys refer to."""


def create_table(cursor: Cursor) -> Created:
    """What follows CREATE TABLE. Raises ``Puzzled`` at a query that would fill the table, too."""
    surely_new = not cursor.accept("IF", "NOT", "EXISTS")
    table = cursor.table()
    references: list[tuple[Token, ...]] = []
    if cursor.accept("LIKE"):
        cursor.table()
        return _all_read(cursor, Created(table, surely_new, ()))
    cursor.expect("(")
    if cursor.accept("LIKE"):
        cursor.table()
        cursor.expect(")")
        return _all_read(cursor, Created(table, surely_new, ()))
    while True:
        references += _element(cursor)
        if cursor.accept(")"):
            break
        cursor.expect(",")
    while not cursor.done and not cursor.sees("PARTITION", "BY"):
        if table_option(cursor) in ("ENGINE", "TYPE", "CONNECTION", "TABLESPACE") and cursor.ahead(-1).text.strip("'").upper() not in _ENGINES:
            raise Puzzled(cursor.ahead(-1))  # an engine that keeps the rows of another table
        cursor.accept(",")
    if cursor.accept("PARTITION", "BY"):
        for token in cursor.rest():
            if token.word in ("SELECT", "AS", "TABLE"):
                raise Puzzled(token)
    return Created(table, surely_new, tuple(references))


def _all_read(cursor: Cursor, created: Created) -> Created:
    if not cursor.done:
        raise Puzzled(cursor.now)
    return created


def _element(cursor: Cursor) -> list[tuple[Token, ...]]:
    """A column, an index or a constraint of a new table; the tables that it refers to."""
    if cursor.accept("PERIOD", "FOR"):
        cursor.name()
        cursor.group()
        return []
    if found := key(cursor):
        return [found.names] if found.kind == "foreign" else []
    begin = cursor.at
    column(cursor)
    for at in range(begin, cursor.at):
        if cursor.tokens[at].word == "REFERENCES":
            sub = Cursor(cursor.tokens[at + 1 : cursor.at], cursor.text)
            return [sub.table()]
    return []
