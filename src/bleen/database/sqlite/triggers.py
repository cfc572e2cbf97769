"""The application's triggers in a SQLite file, by their text: what each fires on, what it writes, and so which others fire for it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bleen.database.server import Server
from bleen.database.tokens import Cursor, Token, read, words

_STATEMENTS = words("INSERT REPLACE UPDATE DELETE SELECT VALUES WITH")


class Write(NamedTuple):
    """What a statement does to rows of a table, or of a view. All names are in lower case."""

    verb: str
    """INSERT, UPDATE or DELETE."""
    table: str
    columns: frozenset[str] = frozenset()
    """What an UPDATE sets."""
    anew: frozenset[str] = frozenset()
    """Those of them that its statement names nowhere else: it sets them whatever they were."""


class Trigger(NamedTuple):
    """A trigger as the catalogue has it."""

    name: str
    table: str
    """In lower case, as the columns."""
    text: str
    tokens: tuple[Token, ...]
    timing: str
    """BEFORE, AFTER or INSTEAD."""
    verb: str
    of: frozenset[str]
    """The columns of which an UPDATE has to set one; empty: any."""
    writes: tuple[Write, ...]

    def fires(self, write: Write) -> bool:
        return (self.table, self.verb) == (write.table, write.verb) and not (self.of and not self.of & write.columns)


def triggers(server: Server, but: str) -> list[Trigger]:
    """Those of the file, oldest first: of some that fire on the same, the newest fires first. Without those whose names begin like ours."""
    query = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid"
    return [_read(name, table, text) for name, table, text in server.rows(query) if not name.startswith(but)]


def chain(among: Sequence[Trigger], *writes: Write) -> dict[Trigger, Trigger | None]:
    """The triggers that fire for writes, each with the one that fires it; None if the write itself does."""
    found = dict[Trigger, Trigger | None]()
    left: list[tuple[Write, Trigger | None]] = [(write, None) for write in writes]
    for write, by in left:
        for each in among:
            if each not in found and each.fires(write):
                found[each] = by
                left += [(further, each) for further in each.writes]
    return found


def before_ours(among: Sequence[Trigger], table: str, columns: Sequence[str]) -> tuple[list[Trigger], list[Trigger]]:
    """The AFTER triggers of a table that write what an UPDATE of these columns writes too, as they keep an index of its rows, say: they have to see what was
    written before it is updated. First those that can, oldest first, with the ones that fire before them; then those that cannot, as they, or one that fires
    before them, write the table: ours has to see the row before that.
    """
    table, kept, first, late = table.lower(), set[str](), list[Trigger](), list[Trigger]()
    for each in chain(among, Write("UPDATE", table, frozenset(name.lower() for name in columns))):
        kept |= {write.table for write in each.writes} - {table}
    for verb in ("INSERT", "UPDATE"):
        after = [each for each in reversed(among) if (each.table, each.timing, each.verb) == (table, "AFTER", verb)]
        written = {each: {write.table for by in (each, *chain(among, *each.writes)) for write in by.writes} for each in after}
        able = after[: next((number for number, each in enumerate(after) if table in written[each]), len(after))]
        while able and not written[able[-1]] & kept:
            del able[-1]
        first += able[::-1]
        late += [each for each in after if each not in able and written[each] & kept]
    return first, late


def _read(name: str, table: str, text: str) -> Trigger:
    tokens = read(text, "sqlite").sentences[0].tokens
    cursor = Cursor(tokens, text)
    cursor.expect("CREATE", "TRIGGER")
    cursor.accept("IF", "NOT", "EXISTS")
    _name(cursor)
    timing = cursor.accept_one(words("BEFORE AFTER INSTEAD")) or "BEFORE"
    cursor.accept("OF")
    verb, of = cursor.accept_one(words("INSERT UPDATE DELETE")), set[str]()
    while cursor.accept("OF") or cursor.accept(","):
        of.add(_name(cursor))
    writes = tuple(write for statement in _statements(tokens[_begin(cursor) + 1 :]) for write in _written(statement, text))
    return Trigger(name, table.lower(), text, tokens, timing, verb, frozenset(of), writes)


def _begin(cursor: Cursor) -> int:
    """Where the body begins, from what the trigger fires on: BEGIN is a name too for SQLite, of a column in its WHEN, say, where no statement follows."""
    while not cursor.done and not (cursor.sees("BEGIN") and cursor.ahead(1).word in _STATEMENTS):
        if cursor.sees("("):
            cursor.group()
        else:
            cursor.at += 1
    return cursor.at


def _name(cursor: Cursor) -> str:
    return cursor.kind("word", "name", "string").identifier.lower()  # SQLite takes a string where only a name can stand


def _statements(body: Sequence[Token]) -> Iterator[tuple[Token, ...]]:
    statement: list[Token] = []
    for token in body:
        if token.text == ";" and statement:
            yield tuple(statement)
            statement = []
        else:
            statement.append(token)


def _written(statement: tuple[Token, ...], text: str) -> Iterator[Write]:
    cursor = Cursor(statement, text)
    verb = cursor.accept_one(words("INSERT REPLACE UPDATE DELETE"))
    if not verb:
        return
    if cursor.accept("OR"):
        cursor.at += 1
    cursor.accept_one(words("INTO FROM"))
    table = _name(cursor)
    if verb != "UPDATE":
        yield Write("DELETE" if verb == "DELETE" else "INSERT", table)
    for number, token in enumerate(statement):  # an upsert has one too
        if token.word == "SET":
            columns = frozenset(_assigned(statement[number + 1 :]))
            names = [token.identifier.lower() for token in statement if token.kind in ("word", "name", "string")]
            yield Write("UPDATE", table, columns, frozenset(name for name in columns if names.count(name) == 1))


def _assigned(tokens: Sequence[Token]) -> Iterator[str]:
    """The columns that an UPDATE sets: what stands before a = that no bracket holds, up to its WHERE."""
    depth, left = 0, True
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if depth == 0 and token.word in ("WHERE", "FROM"):
            return
        if depth == 0 and token.word in ("=", ","):
            left = token.word == ","
        elif left and token.kind in ("word", "name", "string"):
            yield token.identifier.lower()
