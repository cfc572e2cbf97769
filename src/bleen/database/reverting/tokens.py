"""What undoes the statements of an expand on MySQL and SQLite."""

from collections.abc import Iterator

from bleen.database.grammar.mysql import Alter, Spec, alter_table, alters_table
from bleen.database.reverting import Beyond, Stays, Undo
from bleen.database.rules.mysql_adding import ONLINE
from bleen.database.statements import Dialect
from bleen.database.tokens import Cursor, Puzzled, Token, read, words

_BEFORE_KIND = words("UNIQUE FULLTEXT SPATIAL TEMPORARY TEMP ALGORITHM UNDEFINED MERGE TEMPTABLE DEFINER SQL SECURITY INVOKER CURRENT_USER = @")
_RENAMED = "is made in this file and named anew: make it under its last name"
_PERHAPS = "IF NOT EXISTS: the text does not say whether it was there before"


def undo(text: str, dialect: Dialect, undone: list[Undo], stays: list[Stays]) -> None:
    """Appends what undoes each statement, in their order, and what cannot be undone. Raises Unreadable."""
    look = _Undoing(dialect)
    for sentence in read(text, dialect).sentences:
        try:
            undone += list(look.statement(Cursor(sentence.tokens, text)))
        except Beyond as why:
            stays.append(Stays(sentence.statement.at, str(why)))
        except Puzzled as token:
            stays.append(Stays(sentence.statement.at, f"{token} is not understood"))


class _Undoing:
    """One expand, statement by statement; what it has made goes with all that belongs to it."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.made: dict[str, None] = {}
        """In the order in which it was made."""
        self.columns: set[tuple[str, str]] = set()
        """Each with its table."""

    def statement(self, cursor: Cursor) -> Iterator[Undo]:
        if self.dialect == "mysql" and alters_table(cursor):
            yield from self.altered(cursor)
        elif cursor.accept("ALTER", "TABLE"):
            table = _name(cursor.table())
            if table in self.made and cursor.sees("RENAME", "TO"):
                raise Beyond(f"{table} {_RENAMED}")
            if table not in self.made:
                cursor.expect("ADD")
                cursor.accept("COLUMN")
                yield Undo("column", table, f"ALTER TABLE {table} DROP COLUMN {cursor.name().text};")
        elif cursor.accept("CREATE"):
            yield from self.created(cursor)
        elif cursor.now.word in ("INSERT", "REPLACE"):
            into = next((at for at, token in enumerate(cursor.tokens) if token.word == "INTO"), 0)
            cursor.at = into + 1
            if _name(cursor.table()) not in self.made:
                raise Beyond("the rows that were inserted are not taken out again by themselves")
        elif not cursor.sees("SET", "FOREIGN_KEY_CHECKS"):
            raise Beyond(f"what a statement like this ({cursor.now.text}) changes is not undone by itself")

    def altered(self, cursor: Cursor) -> Iterator[Undo]:
        alter = alter_table(cursor)
        table = _name(alter.table)
        since = list(self.made)[list(self.made).index(table) + 1 :] if table in self.made else []
        for spec in alter.specs:
            if table in self.made and spec.kind == "rename-table":
                raise Beyond(f"{table} {_RENAMED}")
            if table in self.made and spec.kind == "partition" and "TABLE" in words(spec.text.upper()):
                raise Beyond(f"{spec.text}: rows that were there before would be dropped with {table}; move them back first")
            if table in self.made and not (spec.kind == "add-foreign" and _referred(spec.text) in since):
                continue  # it goes with the table; but a key to a table that was made since, and so goes first, is in its way
            if spec.kind in ("algorithm", "lock") or (spec.kind == "set-default" and (table, spec.names[0].identifier) in self.columns):
                continue
            if spec.kind == "add-column":
                self.columns.add((table, spec.names[0].identifier))
            kind, gone = self.part(spec)
            yield Undo(kind, table, f"ALTER TABLE {', '.join(filter(None, (f'{table} {gone}', _how(alter) if kind == 'column' else ONLINE)))};")

    def part(self, spec: Spec) -> tuple[str, str]:
        if "IF NOT EXISTS" in " ".join(spec.text.upper().split()):
            raise Beyond(f"ADD {_PERHAPS}")
        named = spec.names[0].text if spec.names else ""
        if spec.kind == "add-foreign":
            named = _constraint(spec.text)
        kinds = {
            "add-column": ("column", "DROP COLUMN"),
            **dict.fromkeys(("add-index", "add-unique", "add-fulltext", "add-spatial"), ("index", "DROP INDEX")),
            "add-foreign": ("constraint", "DROP FOREIGN KEY"),
            **dict.fromkeys(("add-check", "add-unenforced"), ("constraint", "DROP CONSTRAINT")),
        }
        if spec.kind not in kinds:
            raise Beyond(f"how it was before {spec.text} is not in the text")
        if not named:
            raise Beyond(f"{spec.text}: it has no name here, and the server chooses one: give it a name")
        kind, drop = kinds[spec.kind]
        return kind, f"{drop} {named}"

    def created(self, cursor: Cursor) -> Iterator[Undo]:
        if cursor.accept("OR", "REPLACE"):
            raise Beyond("CREATE OR REPLACE: the text does not say what was there before")
        unique_names = words("TABLE VIEW TRIGGER INDEX SEQUENCE")
        while cursor.now.word in _BEFORE_KIND or (cursor.now.word not in unique_names and cursor.ahead(-1).text in ("=", "@")):
            cursor.at += 1
        kind = cursor.accept_one(unique_names)
        if not kind:
            raise Beyond(f"CREATE {cursor.now.text} is not undone by itself")
        if cursor.accept("IF", "NOT", "EXISTS"):
            raise Beyond(f"CREATE {_PERHAPS}")
        name = _name(cursor.table())
        table = _table_of(cursor) if kind in ("INDEX", "TRIGGER") else ""
        if table in self.made:
            return
        if kind == "INDEX" and self.dialect == "mysql":
            yield Undo("index", table, f"ALTER TABLE {table} DROP INDEX {name}, {ONLINE};")
        else:
            self.made[name] = None
            yield Undo(kind.lower(), table, f"DROP {kind} IF EXISTS {name};")


def _how(alter: Alter) -> str:
    """How a column goes: as it came, where that was said to lock or to copy, as the server would do neither without; and where nothing was said, so that the
    server may have done both.
    """
    said = {alter.value("lock"), alter.value("algorithm")}
    if said & {"SHARED", "EXCLUSIVE", "COPY"} or said == {""}:
        return ", ".join(spec.text for spec in alter.specs if spec.kind in ("algorithm", "lock"))
    return ONLINE


def _table_of(cursor: Cursor) -> str:
    """The table behind the ON that comes next."""
    while not cursor.done:
        if cursor.accept("ON"):
            return _name(cursor.table())
        cursor.at += 1
    return ""


def _constraint(spec: str) -> str:
    """The name that a foreign key gives itself."""
    tokens = read(spec, "mysql").sentences[0].tokens
    at = next((at for at, token in enumerate(tokens) if token.word == "CONSTRAINT"), None)
    return tokens[at + 1].text if at is not None and tokens[at + 1].word != "FOREIGN" else ""


def _referred(spec: str) -> str:
    """The table that a foreign key refers to."""
    tokens = read(spec, "mysql").sentences[0].tokens
    at = next((at for at, token in enumerate(tokens) if token.word == "REFERENCES"), None)
    return _name(Cursor(tokens[at + 1 :], spec).table()) if at is not None else ""


def _name(table: tuple[Token, ...]) -> str:
    return ".".join(token.text for token in table)
