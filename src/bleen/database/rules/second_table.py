"""An UPDATE or a DELETE of MySQL or SQLite over more than one table, and the same UPDATE of one table, which can be the backfill."""

from collections.abc import Collection, Iterable, Sequence

from bleen.database.grammar.rows import JOINS
from bleen.database.tokens import Cursor, Puzzled, Token, words

RULE = {"second-table": "An UPDATE or a DELETE over two tables locks rows of both until it ends: a backfill reads the second in a subquery."}

_BEFORE = words("LOW_PRIORITY IGNORE OR")
_ENDS = words("SET WHERE FROM ORDER LIMIT RETURNING ON USING") | JOINS


def in_a_subquery(cursor: Cursor) -> str:
    """The UPDATE that begins here with its second table in a subquery; empty where that is not surely the same: of another than an inner join of two tables,
    or where a column is set that may be of either. Where more than one row meets a row, the join takes any of them, and MySQL refuses this one.
    """
    try:
        return _in_a_subquery(Cursor(cursor.tokens, cursor.text))
    except Puzzled:
        return ""


def _in_a_subquery(cursor: Cursor) -> str:
    """Raises Puzzled at what it does not know."""
    cursor.expect("UPDATE")
    if cursor.now.word in _BEFORE:
        raise Puzzled(cursor.now)
    table = cursor.table()
    called = _alias(cursor) or table[-1]
    conditions: list[Sequence[Token]] = []
    second: Sequence[Token] = ()
    if not cursor.sees("SET"):
        comma = cursor.accept(",")
        if not comma:
            cursor.accept("INNER")
            cursor.expect("JOIN")
        second, of, other = _second(cursor)
        if not comma:
            cursor.expect("ON")
            conditions.append(_until(cursor))
    qualified = bool(second)  # MySQL's, where the columns of either may be set
    cursor.expect("SET")
    assigned: list[tuple[Token, Sequence[Token]]] = []
    while not assigned or cursor.accept(","):
        column = cursor.table()
        if column[:-1] != () if not qualified else [each.identifier.lower() for each in column[:-1]] != [called.identifier.lower()]:
            raise Puzzled(column[0])
        cursor.expect("=")
        if cursor.sees("DEFAULT"):  # which no subquery can give
            raise Puzzled(cursor.now)
        assigned.append((column[-1], _until(cursor)))
    if not qualified:
        cursor.expect("FROM")
        second, of, other = _second(cursor)
    if cursor.accept("WHERE"):
        conditions.append(_until(cursor))
    if not cursor.done or not conditions or {table[-1].identifier.lower()} & {of.identifier.lower(), other.identifier.lower()}:
        raise Puzzled(cursor.now)
    if qualified and "||" in cursor.text[cursor.tokens[0].offset : cursor.tokens[-1].end]:  # OR there, and refused in a backfill
        raise Puzzled(cursor.now)
    _unmistakable({table[-1].identifier.lower(), called.identifier.lower()}, [*(value for _, value in assigned), *conditions])
    if qualified and len(assigned) > 1:
        _apart([column for column, _ in assigned], [*(value for _, value in assigned), *conditions], other)

    def written(tokens: Sequence[Token]) -> str:
        """With the table's name in the place of its alias, as a backfill has none."""
        text, end = "", tokens[0].offset
        for before, token, after in zip(["", *(each.word for each in tokens)], tokens, [*(each.word for each in tokens[1:]), ""], strict=False):
            own = token.kind in ("word", "name") and token.identifier.lower() == called.identifier.lower() and after == "." != before
            text += cursor.text[end : token.offset] + (".".join(each.text for each in table) if own else token.text)
            end = token.end
        return f"({text})" if any(token.word in ("OR", "XOR") for token in tokens) else text

    source = cursor.text[second[0].offset : second[-1].end]
    rows = f"FROM {source} WHERE {' AND '.join(map(written, conditions))}"
    sets = ", ".join(f"{column.text} = (SELECT {written(value)} {rows})" for column, value in assigned)
    name = ".".join(each.text for each in table)
    several = f"-- if no row of {name} meets more than one of {source}; else say which of them: max(...), or ORDER BY ... LIMIT 1\n"
    return f"{several}UPDATE {name} SET {sets} WHERE EXISTS (SELECT 1 {rows});"


def _unmistakable(names: Collection[str], read: Iterable[Sequence[Token]]) -> None:
    """Raises Puzzled where a name of the table that is updated may be another one's in a subquery: with its alias gone, who is meant is another."""
    for tokens in read:
        for token, after in zip(tokens, [*(each.word for each in tokens[1:]), ""], strict=True):
            if token.kind in ("word", "name") and token.identifier.lower() in names and after != ".":
                raise Puzzled(token)


def _apart(columns: Iterable[Token], read: Iterable[Sequence[Token]], other: Token) -> None:
    """Raises Puzzled where a column that is set is read too: MySQL sets one after the other, and a subquery would see what is set before it."""
    names = {column.identifier.lower() for column in columns}
    for tokens in read:
        for at, token in enumerate(tokens):
            of_second = at > 1 and tokens[at - 1].word == "." and tokens[at - 2].identifier.lower() == other.identifier.lower()
            if token.kind in ("word", "name") and token.identifier.lower() in names and not of_second:
                raise Puzzled(token)


def _second(cursor: Cursor) -> tuple[Sequence[Token], Token, Token]:
    """A table with its alias; its name, and what it is called."""
    begin = cursor.at
    table = cursor.table()
    called = _alias(cursor) or table[-1]
    return cursor.tokens[begin : cursor.at], table[-1], called


def _alias(cursor: Cursor) -> Token | None:
    if cursor.accept("AS") or not (cursor.done or cursor.now.word in _ENDS):
        return cursor.name()
    return None


def _until(cursor: Cursor) -> Sequence[Token]:
    """What stands before the next clause, comma or join."""
    begin, depth = cursor.at, 0
    while not cursor.done and (depth or cursor.now.word not in _ENDS or _belongs(cursor)):
        depth += {"(": 1, ")": -1}.get(cursor.now.word, 0)
        cursor.at += 1
    if begin == cursor.at:
        raise Puzzled(cursor.now)
    return cursor.tokens[begin : cursor.at]


def _belongs(cursor: Cursor) -> bool:
    """IS DISTINCT FROM has a FROM of its own, and LEFT(a, 1) is a function."""
    return (cursor.sees("FROM") and cursor.ahead(-1).word == "DISTINCT") or (cursor.now.word in ("LEFT", "RIGHT") and cursor.ahead(1).word == "(")
