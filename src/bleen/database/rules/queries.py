"""What a query of MySQL or SQLite reads, as far as that is plain: which tables, and whether it does nothing but read."""

from collections.abc import Callable, Sequence

from bleen.database.rules.sentences import unknown_call
from bleen.database.tokens import Cursor, Puzzled, Token, words

_BEGINS = words("SELECT VALUES TABLE WITH")
_JOINED = words("JOIN STRAIGHT_JOIN INNER LEFT RIGHT CROSS NATURAL FULL OUTER")
_CLAUSES = words("WHERE GROUP HAVING WINDOW ORDER LIMIT UNION EXCEPT INTERSECT SELECT ON RETURNING")
_BEHIND = _JOINED | _CLAUSES | words(", USING")
"""What may stand behind a table in FROM: a partition is not read, so that no comma behind it is missed."""
_JOINS_ROWS = words("SELECT TABLE WITH UNION EXCEPT MINUS INTERSECT")
_HINTS = words("USE FORCE IGNORE")
_ACTS = words("INTO FOR LOCK PROCEDURE WITH RECURSIVE INSERT UPDATE DELETE REPLACE CREATE ALTER DROP :")
"""What a query does besides, or cannot be told from it; ``:=`` sets a variable of MySQL."""
_FROM_A_VALUE = words("EXTRACT TRIM SUBSTRING SUBSTR MID")
"""Functions that have FROM before a value, no table."""
_DEEPEST = 100

Made = Callable[[tuple[Token, ...]], bool]


def only_reads(query: Sequence[Token]) -> bool:
    """Whether a statement is a query that locks nothing, writes nothing and calls nothing that may."""
    first = next((token.word for token in query if token.word != "("), "")
    return first in _BEGINS and sources(query) is not None and call(query) is None


def call(query: Sequence[Token]) -> Token | None:
    """The first call of a function that may do more than answer; the columns of a WITH look like one, and are none."""
    cursor = Cursor(tuple(query), "")
    bodies: list[Token] = []
    try:
        if cursor.accept("WITH"):
            bodies = [token for _, body in with_clause(cursor) for token in body]
    except Puzzled:
        cursor.at = 0
    return unknown_call([*bodies, *cursor.rest()])


def reads_new(query: Sequence[Token], made: Made) -> bool:
    """Whether a query plainly reads only tables that nobody uses yet, as ``made`` says."""
    read = sources(query)
    return read is not None and all(map(made, read))


def copies(query: Sequence[Token], table: tuple[Token, ...], made: Made) -> bool:
    """Whether the query of an INSERT into a table reads rows of tables that are in use, or many rows for one that is."""
    return not (sources(query) == [] or (made(table) and reads_new(query, made)) or seeds(query, table))


def one_each(rows: Sequence[Token]) -> bool:
    """Whether an INSERT says its rows one by one, behind VALUES or SET, so that a query within them plainly gives one value, or fails."""
    depth = 0
    for token in rows:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if not depth and token.word in _JOINS_ROWS:
            return False
    return bool(rows) and rows[0].word in ("VALUES", "VALUE", "SET") and sources(rows) is not None


def sources(query: Sequence[Token]) -> list[tuple[Token, ...]] | None:
    """The tables that a query and the queries within it read; None if that is not plain."""
    try:
        return _read(query, frozenset(), _DEEPEST)
    except Puzzled:
        return None


def _read(query: Sequence[Token], named: frozenset[str], left: int, call: str = "") -> list[tuple[Token, ...]]:
    """``named`` are the queries that a WITH around it has given names, ``call`` the word before its parenthesis."""
    cursor = Cursor(tuple(query), "")
    if not left:
        raise Puzzled(cursor.now)
    found: list[tuple[Token, ...]] = []
    if cursor.accept("WITH"):
        for name, body in with_clause(cursor):
            found += _read(body, named, left - 1)  # one that reads itself reads a table of that name, for all we know
            named |= {name}
    conditions = False  # of a JOIN: a comma behind them goes on with FROM
    while not cursor.done:
        if cursor.sees("("):
            before = cursor.ahead(-1).word if cursor.at else ""
            inner = cursor.group()
            found += _read(inner, named, left - 1, "" if inner and inner[0].word in _BEGINS else before)
        elif _aside(cursor, call):
            continue
        elif cursor.accept("ON", "DUPLICATE", "KEY", "UPDATE") or cursor.accept("ON", "CONFLICT") or cursor.accept("DO", "UPDATE"):
            conditions = False
        elif cursor.accept("DISTINCT", "FROM"):  # IS DISTINCT FROM compares
            continue
        elif cursor.accept_one(words("FROM JOIN STRAIGHT_JOIN TABLE")) or (conditions and cursor.accept(",")):
            conditions = True
            found += _tables(cursor, named, left)
        elif cursor.now.word in _ACTS or (cursor.sees("IN") and cursor.ahead(1).word != "("):  # SQLite: x IN users
            if not (cursor.sees("REPLACE") and cursor.ahead(1).word == "("):
                raise Puzzled(cursor.now)
            cursor.at += 1
        else:
            conditions = conditions and cursor.now.word not in _CLAUSES - {"ON"}
            cursor.at += 1
    return found


def _aside(cursor: Cursor, call: str) -> bool:
    """Passes words of a call or of GROUP BY that elsewhere begin something else."""
    if call == "AGAINST":  # the mode of a MATCH
        return cursor.accept("IN") or cursor.accept("WITH", "QUERY", "EXPANSION")
    return bool(call in _FROM_A_VALUE and cursor.accept_one(words("FROM FOR"))) or cursor.accept("WITH", "ROLLUP")


def with_clause(cursor: Cursor) -> list[tuple[str, tuple[Token, ...]]]:
    """What follows WITH: queries and their names."""
    found: list[tuple[str, tuple[Token, ...]]] = []
    while not found or cursor.accept(","):
        name = cursor.name().identifier
        if cursor.sees("("):
            cursor.group()
        cursor.expect("AS")
        cursor.accept("NOT")
        cursor.accept("MATERIALIZED")
        found.append((name, cursor.group()))
    return found


def _tables(cursor: Cursor, named: frozenset[str], left: int) -> list[tuple[Token, ...]]:
    """What follows FROM or JOIN, up to the first condition."""
    found: list[tuple[Token, ...]] = []
    while True:
        if cursor.sees("("):
            if cursor.ahead(1).word not in ("SELECT", "VALUES"):
                raise Puzzled(cursor.now)
            found += _read(cursor.group(), named, left - 1)
        elif not cursor.accept("DUAL"):
            table = cursor.table()
            if cursor.sees("("):  # of SQLite: pragma_table_info('users')
                cursor.group()
            if len(table) > 1 or table[0].identifier not in named:
                found.append(table)
        if cursor.accept("AS") or not (cursor.done or cursor.now.word in _BEHIND or _hinted(cursor)):
            cursor.name()
        while _hinted(cursor):  # MySQL: USE INDEX FOR ORDER BY (a, b)
            while not (cursor.done or cursor.sees("(")):
                cursor.at += 1
            cursor.group()
        if not (cursor.done or cursor.now.word in _BEHIND):
            raise Puzzled(cursor.now)
        if not cursor.accept(","):
            return found


def _hinted(cursor: Cursor) -> bool:
    return not cursor.done and cursor.now.word in _HINTS and cursor.ahead(1).word in ("INDEX", "KEY")


def seeds(query: Sequence[Token], table: tuple[Token, ...]) -> bool:
    """Whether the query of an INSERT into a table is one row at most: SELECT values WHERE NOT EXISTS (SELECT ... FROM table WHERE ...), perhaps FROM DUAL, or
    from values with a name.
    """
    outer = Cursor(tuple(query), "")
    try:
        outer.expect("SELECT")
        _past(outer, "FROM", "WHERE")
        if outer.accept("FROM") and not outer.accept("DUAL"):
            values = Cursor(outer.group(), "")
            values.expect("SELECT")
            _past(values)
            outer.accept("AS")
            outer.name()
        outer.expect("WHERE", "NOT", "EXISTS")
        inner = Cursor(outer.group(), "")
        inner.expect("SELECT")
        _past(inner, "FROM")
        inner.expect("FROM")
        same = [token.identifier for token in inner.table()] == [token.identifier for token in table]
        if inner.accept("AS") or not inner.sees("WHERE"):
            inner.name()
        inner.expect("WHERE")
        _past(inner)
    except Puzzled:
        return False
    return same and (outer.done or (outer.accept("LIMIT") and [token.text for token in outer.rest()] == ["1"]))


def _past(cursor: Cursor, *ends: str) -> None:
    """Goes on to one of these words, or to the end; ``Puzzled`` where another query begins."""
    while not (cursor.done or cursor.now.word in ends):
        if cursor.now.word in _QUERY:
            raise Puzzled(cursor.now)
        cursor.at += 1


_QUERY = words("SELECT TABLE WITH VALUES UNION EXCEPT INTERSECT FROM JOIN INTO FOR LOCK GROUP HAVING")
