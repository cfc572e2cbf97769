"""The statements of a file of MySQL or SQLite, each in the phase in which it can run."""

from collections.abc import Iterator, Sequence, Set
from itertools import groupby

from bleen.database.deeds import Assigned, Fill, Names, Part, Rows
from bleen.database.grammar.mysql import Spec, alter_table, alters_table
from bleen.database.grammar.rows import JOINS, SecondTable, update
from bleen.database.statements import Comment, Dialect, Statement, Unreadable, place
from bleen.database.tokens import Cursor, Puzzled, Sentence, Token, comments, words
from bleen.database.tokens import read as sentences

_TAKES = words("drop-column drop-index drop-foreign drop-constraint drop-default drop-primary")
_ADDS = {"add-column": "column", **dict.fromkeys(("add-index", "add-unique", "add-fulltext", "add-spatial"), "index")}
_KINDS = words("TABLE VIEW INDEX TRIGGER SEQUENCE PROCEDURE FUNCTION EVENT")
_IDLE = words("BEGIN COMMIT START END")
BEFORE_TABLE = words("LOW_PRIORITY DELAYED HIGH_PRIORITY QUICK IGNORE OR ROLLBACK ABORT FAIL REPLACE INTO FROM ONLY TABLE")
"""What may stand between the verb of a statement that writes rows and its table."""
_SEVERAL = JOINS | words(". FROM USING")
"""Behind the first table of a DELETE: it is about more than one; behind an alias too."""
_HOLDS = words("add-unique add-primary add-foreign add-check modify change")
"""What all rows have to fit."""


def read(text: str, dialect: Dialect) -> tuple[list[Part], list[Comment]]:
    """The parts of a file, in its order, and its comments. Raises Unreadable."""
    return [part for each in sentences(text, dialect).sentences for part in _parts(text, each, dialect)], comments(text, dialect)


def _parts(text: str, sentence: Sentence, dialect: Dialect) -> Iterator[Part]:
    cursor, statement = Cursor(sentence.tokens, text), sentence.statement
    first = cursor.now.word
    try:
        if alters_table(cursor):
            yield from _mysql_alter(statement, cursor) if dialect == "mysql" else _sqlite_alter(statement, cursor)
        elif first == "DROP":
            yield Part("contract", statement, statement.text, drops=_dropped(cursor))
        elif first == "UPDATE":
            target, named = _target(cursor), _tables(sentence.tokens[1:], text)
            table = _names(target)
            try:
                yield Part("backfill", statement, statement.text, table, fill=_fill(cursor), rows=Rows((("table", *table),), named))
            except SecondTable:
                fill = Fill(".".join(each.text for each in target), table, {}, None)
                both = _tables(sentence.tokens, text)  # MySQL may set columns of either
                yield Part("backfill", statement, statement.text, fill=fill, rows=Rows((("table", *table), *both)))
        elif first in ("DELETE", "TRUNCATE"):
            table, named = _written(cursor), _tables(sentence.tokens, text)
            several = not cursor.done and cursor.now.word in _SEVERAL
            picks = frozenset(_key(each).lower() for each in sentence.tokens if each.kind in ("word", "name"))
            rows = Rows(named if several else (("table", *table),), named)
            yield Part("contract", statement, statement.text, () if several else table, rows=rows, picks=picks)
        elif first == "REVOKE":
            yield Part("contract", statement, statement.text)
        elif first in _IDLE and len(sentence.tokens) <= 3:
            yield Part("expand", statement, statement.text, idle=f"{statement.text}: each statement has a transaction of its own")
        elif cursor.accept("RENAME", "TABLE") or cursor.accept("RENAME", "TABLES"):
            yield Part("expand", statement, statement.text, renames=tuple(_renamed(cursor)))
        elif first in ("INSERT", "REPLACE"):
            table = _written(cursor)
            yield Part("expand", statement, statement.text, table, rows=Rows((("table", *table),), _tables(cursor.tokens[cursor.at :], text)))
        elif first == "WITH":
            yield Part("expand", statement, statement.text, rows=_with(cursor, text))
        else:
            brings = tuple(_brought(Cursor(sentence.tokens, text)))
            yield Part("expand", statement, statement.text, makes=tuple(_made(cursor)), brings=brings, rows=_created(sentence, text))
    except Puzzled as puzzled:
        raise Unreadable(f"not understood from {puzzled.token.text!r} on", place(text, puzzled.token.offset)) from None


def _mysql_alter(statement: Statement, cursor: Cursor) -> Iterator[Part]:
    alter = alter_table(cursor)
    table = _names(alter.table)
    how = [spec.text for spec in alter.specs if spec.kind in ("algorithm", "lock")]
    specs = [spec for spec in alter.specs if spec.kind not in ("algorithm", "lock")]
    head = statement.text[: alter.specs[0].at.offset - statement.offset].rstrip()
    runs = [(takes, list(run)) for takes, run in groupby(specs, key=lambda spec: spec.kind in _TAKES)]
    for takes, run in runs:
        text = statement.text if len(runs) == 1 else f"{head} {', '.join([*(spec.text for spec in run), *how])}"
        renames = tuple(_renamed_by(table, run))
        called = next((new[1:] for _, new in renames if new[0] == "table"), table)
        makes = tuple((what, *called, _key(spec.names[0])) for spec in run if spec.names and (what := _ADDS.get(spec.kind)))
        drops = tuple((spec.kind.removeprefix("drop-"), *table, _key(spec.names[0])) for spec in run if takes and spec.names)
        others = tuple(("table", *_names(spec.names)) for spec in run if spec.kind == "add-foreign")
        rows = Rows(holds=(("table", *table), *others) if any(spec.kind in _HOLDS for spec in run) else ())
        yield Part("contract" if takes else "expand", statement, text, table, makes, drops, renames=renames, rows=rows)


def _renamed_by(table: Names, specs: Sequence[Spec]) -> Iterator[tuple[Names, Names]]:
    """What an ALTER TABLE gives other names to, the table itself last."""
    for spec in specs:
        if spec.kind in ("rename-column", "change", "rename-index"):
            what, (old, new) = "index" if spec.kind == "rename-index" else "column", map(_key, spec.names)
            if old != new:
                yield (what, *table, old), (what, *table, new)
    for spec in specs:
        if spec.kind == "rename-table":
            yield from _moved(table, _names(spec.names))


def _moved(table: Names, to: Names) -> Iterator[tuple[Names, Names]]:
    """What has a table's name, and the one that it gets; it may be a view."""
    new = to if len(to) > 1 else (*table[:-1], *to)
    yield from ((("view", *table), ("view", *new)), (("table", *table), ("table", *new)))


def _renamed(cursor: Cursor) -> Iterator[tuple[Names, Names]]:
    """Behind RENAME TABLE."""
    cursor.accept("IF", "EXISTS")
    while True:
        old = _names(cursor.table())
        cursor.expect("TO")
        yield from _moved(old, _names(cursor.table()))
        if not cursor.accept(","):
            return


def _sqlite_alter(statement: Statement, cursor: Cursor) -> Iterator[Part]:
    cursor.expect("ALTER", "TABLE")
    table = _names(cursor.table())
    verb = cursor.kind("word").word
    if verb == "RENAME":
        if cursor.accept("TO"):
            renames = tuple(_moved(table, (_key(cursor.name()),)))
        else:
            cursor.accept("COLUMN")
            old = ("column", *table, _key(cursor.name()))
            cursor.expect("TO")
            renames = ((old, (*old[:-1], _key(cursor.name()))),)
        yield Part("expand", statement, statement.text, table, renames=renames)
        return
    cursor.accept("COLUMN")
    named = (("column", *table, _key(cursor.name())),) if verb in ("ADD", "DROP") else ()
    if verb == "DROP":
        yield Part("contract", statement, statement.text, table, drops=named)
    else:
        yield Part("expand", statement, statement.text, table, makes=named)


def _dropped(cursor: Cursor) -> tuple[Names, ...]:
    cursor.expect("DROP")
    what = cursor.kind("word").word.lower()
    cursor.accept("IF", "EXISTS")
    names = [(what, *_names(cursor.table()))]
    while cursor.accept(","):
        names.append((what, *_names(cursor.table())))
    return tuple(names)


def _made(cursor: Cursor) -> Iterator[Names]:
    """What a CREATE makes that is surely new."""
    if cursor.accept("CREATE"):
        cursor.accept("UNIQUE")
        what = cursor.accept_one(words("TABLE VIEW INDEX TRIGGER SEQUENCE"))
        if what and not cursor.accept("IF", "NOT", "EXISTS"):
            yield what.lower(), *_names(cursor.table())


def _brought(cursor: Cursor) -> Iterator[Names]:
    """What is there once a CREATE has run: the first word that is a kind of thing says which; before it stand OR REPLACE, DEFINER = ... and such."""
    if cursor.accept("CREATE"):
        while not cursor.done and cursor.now.word not in _KINDS:
            cursor.at += 1
        if not cursor.done:
            what = cursor.kind("word").word.lower()
            cursor.accept("IF", "NOT", "EXISTS")
            yield what, *_names(cursor.table())


def _written(cursor: Cursor) -> Names:
    """The table of an INSERT, a DELETE or a TRUNCATE, whose verb is next; the cursor goes on behind it."""
    cursor.at += 1
    while cursor.accept_one(BEFORE_TABLE):
        pass
    return _names(_table(cursor))


def _table(cursor: Cursor) -> tuple[Token, ...]:
    """As ``Cursor.table``; MySQL's DELETE may have .* behind one."""
    names = [cursor.name()]
    while cursor.sees(".") and cursor.ahead(1).kind in ("word", "name"):
        names.append(cursor.ahead(1))
        cursor.at += 2
    return tuple(names)


def _tables(tokens: Sequence[Token], text: str) -> tuple[Names, ...]:
    """The tables that a statement names behind FROM and its like, and perhaps columns: never fewer."""
    found, listing, depth = [], {0: False}, 0
    for at, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if token.word == "(":
            listing[depth] = tokens[at - 1].word in _BEFORE_A_TABLE
        elif token.word in _ENDS_TABLES:
            listing[depth] = False
        elif token.word in _BEFORE_A_TABLE:
            listing[depth] = True
        following = tuple(tokens[at + 1 : at + 6])
        if following and following[0].kind in ("word", "name") and (token.word in _BEFORE_A_TABLE or (token.word in (",", "(") and listing.get(depth))):
            found.append(("table", *_names(_table(Cursor(following, text)))))
    return tuple(dict.fromkeys(found))


_BEFORE_A_TABLE = words("FROM JOIN STRAIGHT_JOIN USING UPDATE INTO")
_ENDS_TABLES = words("SELECT WHERE SET ON GROUP ORDER HAVING LIMIT VALUES")


def _with(cursor: Cursor, text: str) -> Rows:
    """The tables of a statement that begins with WITH, those that it defines too."""
    reads, depth = _tables(cursor.tokens, text), 0
    while not cursor.done and (depth or cursor.now.word not in _WRITES):
        depth += {"(": 1, ")": -1}.get(cursor.now.word, 0)
        cursor.at += 1
    if cursor.done:
        return Rows(reads=reads)
    table = _names(_target(cursor)) if cursor.now.word == "UPDATE" else _written(cursor)
    return Rows((("table", *table),), reads)


_WRITES = words("INSERT REPLACE UPDATE DELETE")


def _created(sentence: Sentence, text: str) -> Rows:
    """The tables about whose rows a CREATE is: of a unique index, of a trigger, and those from which a table is filled."""
    at = [token.word for token in sentence.tokens]
    what = next((word for word in at if word in _KINDS), "") if at[0] == "CREATE" else ""
    if "ON" in at and (what == "TRIGGER" or (what == "INDEX" and "UNIQUE" in at[: at.index("INDEX")])):
        on = _names(Cursor(sentence.tokens[at.index("ON") + 1 :], text).table())
        return Rows(reads=(("table", *on),)) if what == "TRIGGER" else Rows(holds=(("table", *on),))
    return Rows(reads=_tables(sentence.tokens, text)) if at[:2] == ["CREATE", "TABLE"] else Rows()


def _target(cursor: Cursor) -> tuple[Token, ...]:
    """The table of an UPDATE; the cursor stays where it is."""
    inner = Cursor(cursor.tokens[cursor.at + 1 :], cursor.text)
    while inner.accept_one(words("LOW_PRIORITY IGNORE OR ROLLBACK ABORT FAIL REPLACE")):
        pass
    return inner.table()


def _fill(cursor: Cursor) -> Fill:
    tokens = cursor.tokens
    change = update(Cursor(tokens, cursor.text), words("LOW_PRIORITY IGNORE OR ROLLBACK ABORT FAIL REPLACE"))
    begin = next(at for at, token in enumerate(tokens) if token.word == "SET") + 1
    pieces: list[list[Token]] = [[]]
    depth, where = 0, len(tokens)
    for at in range(begin, len(tokens)):
        word = tokens[at].word
        depth += {"(": 1, ")": -1}.get(word, 0)
        if not depth and word in ("WHERE", "ORDER", "LIMIT", "RETURNING"):
            where = at
            break
        if word == "," and not depth:
            pieces.append([])
        else:
            pieces[-1].append(tokens[at])
    assigned = dict(_assigned(piece, cursor.text) for piece in pieces)
    return Fill(change.name, _names(change.table), assigned, None if change.batched else _given(tokens[where + 1 :], assigned.keys()))


def _given(condition: Sequence[Token], targets: Set[str]) -> dict[str, str] | None:
    """As ``Fill`` has it."""
    found = {}
    while condition:
        column, rest = condition[0], [each.word for each in condition[1:5]]
        if rest[:3] == ["IS", "NOT", "NULL"]:
            found[_key(column)] = column.text
        elif rest[:2] != ["IS", "NULL"] or _key(column) not in targets:
            return None
        end = 4 if rest[1] == "NOT" else 3
        if len(condition) > end and (condition[end].word != "AND" or len(condition) == end + 1):
            return None
        condition = condition[end + 1 :]
    return found if len(found) < 2 else None  # as in postgres


def _assigned(piece: list[Token], text: str) -> tuple[str, Assigned]:
    """A column and what it is set to. Which words of an expression are columns is not told apart here: those that somebody drops are."""
    equals = next((at for at, each in enumerate(piece) if each.word == "="), None)
    if not equals or equals + 1 == len(piece):
        raise Puzzled(piece[0] if piece else Token("end", "", 0))
    column, value = piece[equals - 1], piece[equals + 1 :]
    calls = {at for at in range(len(value) - 1) if value[at + 1].word == "("}
    reads = dict.fromkeys(_key(each) for at, each in enumerate(value) if each.kind in ("word", "name") and at not in calls)
    beyond = any(each.word == "SELECT" for each in value)
    return _key(column), Assigned(text[value[0].offset : value[-1].end], tuple(reads), beyond, column.text if len(value) == 1 else "")


def _names(table: tuple[Token, ...]) -> Names:
    return tuple(_key(each) for each in table)


def _key(name: Token) -> str:
    return name.identifier
