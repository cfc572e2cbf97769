"""A backfill.sql of MySQL or SQLite: one UPDATE of one table, taken apart."""

from bleen.database.migration import Backfill
from bleen.database.statements import Dialect, Place, Unreadable, place
from bleen.database.tokens import Cursor, Puzzled, Sentence, Token, read, words

_ENDS = words("ORDER LIMIT RETURNING FROM")
_SECOND = words("JOIN , INNER LEFT RIGHT CROSS STRAIGHT_JOIN NATURAL")


def update(text: str, dialect: Dialect) -> Backfill:
    """Its table, assignments and condition, as they were written, but for comments at their ends. Raises Unreadable for what cannot be done in batches."""
    sentences = read(text, dialect).sentences
    if len(sentences) != 1 or sentences[0].tokens[0].word != "UPDATE":
        at = sentences[min(1, len(sentences) - 1)].statement.at if sentences else Place(1, 1)
        raise Unreadable("a backfill is one UPDATE of one table, and nothing beside it; other statements go into expand.sql", at)
    try:
        return _update(text, sentences[0])
    except Puzzled as puzzled:
        raise Unreadable(f"not understood from {puzzled.token.text!r} on: a backfill is UPDATE table SET column = ... WHERE ...", _at(text, puzzled)) from None


def _update(text: str, sentence: Sentence) -> Backfill:
    cursor = Cursor(sentence.tokens, text)
    cursor.expect("UPDATE")
    table = cursor.table()
    if cursor.now.word in _SECOND:
        raise Unreadable(f"a backfill has no second table; write it as a subquery: SET x = (SELECT ...) of {cursor.now.text}", place(text, cursor.now.offset))
    if not cursor.sees("SET"):
        raise Unreadable("a backfill names its table without an alias: it is read in more than one statement", place(text, cursor.now.offset))
    cursor.expect("SET")
    assigned: dict[str, str] = {}
    while True:
        begin = cursor.now
        column = cursor.table()[-1].identifier
        if column.lower() in {each.lower() for each in assigned}:
            raise Unreadable(f"{column} is set twice", place(text, begin.offset))
        cursor.expect("=")
        assigned[column] = _expression(cursor, _ENDS | {",", "WHERE"})
        if not cursor.accept(","):
            break
    where = _expression(cursor, _ENDS) if cursor.accept("WHERE") else ""
    if not cursor.done:
        what = cursor.now
        raise Unreadable(f"a backfill has no {what.word or what.text}: bleen cuts it into batches along its key itself", place(text, what.offset))
    return Backfill(".".join(token.text for token in table), assigned, where)


def _expression(cursor: Cursor, ends: frozenset[str]) -> str:
    """What stands from here to the next of these words that no bracket holds."""
    begin, depth = cursor.at, 0
    while not cursor.done and (depth or cursor.now.word not in ends or _compares(cursor)):
        depth += {"(": 1, ")": -1}.get(cursor.now.word, 0)
        if depth < 0:
            raise Puzzled(cursor.now)
        cursor.at += 1
    if begin == cursor.at or depth:
        raise Puzzled(cursor.now)
    return cursor.written(begin)


def _compares(cursor: Cursor) -> bool:
    """IS DISTINCT FROM has a FROM of its own."""
    return cursor.sees("FROM") and cursor.ahead(-1).word == "DISTINCT"


def _at(text: str, puzzled: Puzzled) -> Place:
    token: Token = puzzled.token
    return place(text, token.offset)
