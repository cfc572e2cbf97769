"""The expressions of a pair as MySQL and MariaDB read them: which columns they name, and the same expression over other names."""

from collections.abc import Callable, Collection, Iterator, Mapping

from bleen.database.mysql.statements import expression, whole
from bleen.database.statements import Unreadable
from bleen.database.sync.expression import Expression, Reference
from bleen.database.tokens import Cursor, Puzzled, Token, words
from bleen.errors import Refused

_WORDS = words("""
    AND OR NOT XOR IS NULL TRUE FALSE UNKNOWN LIKE REGEXP RLIKE IN BETWEEN DIV MOD CASE WHEN THEN ELSE END INTERVAL BINARY COLLATE ESCAPE AS USING
    CHARACTER CHARSET SET SOUNDS ROW BOTH LEADING TRAILING FROM FOR CHAR NCHAR SIGNED UNSIGNED INTEGER INT DECIMAL DATE TIME DATETIME DOUBLE FLOAT REAL JSON
    YEAR MICROSECOND SECOND MINUTE HOUR DAY WEEK MONTH QUARTER SECOND_MICROSECOND MINUTE_MICROSECOND MINUTE_SECOND HOUR_MICROSECOND HOUR_SECOND HOUR_MINUTE
    DAY_MICROSECOND DAY_SECOND DAY_MINUTE DAY_HOUR YEAR_MONTH VARCHAR PRECISION
""")
_CLOCKS = words("CURRENT_TIMESTAMP CURRENT_DATE CURRENT_TIME LOCALTIME LOCALTIMESTAMP UTC_TIMESTAMP UTC_DATE UTC_TIME CURRENT_USER CURRENT_ROLE SYSDATE")
_QUERIES = words("SELECT TABLE WITH EXISTS OVER DISTINCT")
_NO_CALL = _WORDS - words("CHAR DATE TIME YEAR REGEXP MOD HOUR MINUTE SECOND MICROSECOND DAY WEEK MONTH QUARTER INTERVAL ROW") | words("VALUES VALUE")
"""Words before a parenthesis that call nothing."""
_LENGTHS: Mapping[str, Callable[[list[int]], int]] = {
    **dict.fromkeys(("TRIM", "LTRIM", "RTRIM", "LOWER", "LCASE", "UPPER", "UCASE", "COALESCE", "IFNULL"), max),
    "CONCAT": sum,
    "CONCAT_WS": lambda made: sum(made) + made[0] * (len(made) - 3),
}
"""What the length of a string follows from, those of what a function is given."""


def read(text: str, what: str, table: str, columns: Collection[str]) -> Expression:
    """An expression that may name ``columns``, alone or after ``table``. Raises Refused, beginning with ``what``, if it is not one, or if it needs more than
    the columns.
    """
    try:
        given = expression(text)
    except Unreadable as error:
        raise Refused(f"{what} is no expression that MySQL understands: {error}") from None
    if not whole(given):
        raise Refused(f"{what} is more than one expression, or none")
    for here, after in zip(given, (*given[1:], given[-1]), strict=True):
        if why := _unfit(here, after):
            raise Refused(f"{what} {why}")
    first, last = given[0].offset, given[-1].end  # without the comments around it
    known = {name.lower(): name for name in columns}
    references, functions = [], []
    for names, called in _named(given):
        written, name = text[names[0].offset : names[-1].end], names[-1].identifier
        if called:
            functions.append(tuple(each.identifier for each in names))
            continue
        bare = len(names) == 1 and names[0].kind == "word"
        if bare and names[0].word in _WORDS:
            if name.lower() in known:
                raise Refused(f"{what} has {written}, which is a word of SQL and a column: write the column as `{written}`")
            continue
        if name.lower() not in known or (len(names) > 1 and names[-2].identifier.lower() != table.lower()):
            raise Refused(f"{what} names {written}; it can be made from {', '.join(columns)} only")
        references.append(Reference(known[name.lower()], names[0].offset - first, names[-1].end - first))
    return Expression(text[first:last], tuple(references), tuple(functions))


def longest(text: str, lengths: Mapping[str, int]) -> int | None:
    """How many characters a string may have that an expression makes of columns with so many, their names in lower case; None if that is not known."""
    try:
        cursor = Cursor(expression(text), text)
        made = _longest(cursor, lengths)
    except (Unreadable, Puzzled):
        return None
    return made if cursor.done else None


def _longest(cursor: Cursor, lengths: Mapping[str, int]) -> int:
    """The same of what comes next. Raises Puzzled."""
    at = cursor.kind("word", "name", "string")
    if at.kind == "string":
        return len(at.identifier)
    if at.kind == "word" and at.word in _LENGTHS and cursor.accept("("):
        made = [_longest(cursor, lengths)]
        while cursor.accept(","):
            made.append(_longest(cursor, lengths))
        cursor.expect(")")
        return _LENGTHS[at.word](made)
    while cursor.accept("."):
        at = cursor.name()
    if at.identifier.lower() not in lengths:
        raise Puzzled(at)
    return lengths[at.identifier.lower()]


def constant(default: str) -> bool:
    """Whether a column's default, as the catalogue has it, is the same for every row: it calls nothing."""
    given = expression(default)
    return not any(here.word in _CLOCKS or (here.kind == "word" and after.word == "(") for here, after in zip(given, (*given[1:], given[-1]), strict=True))


def _unfit(here: Token, after: Token) -> str:
    """What speaks against a token; empty if nothing does."""
    if here.kind == "executable":
        return "has a comment that some servers carry out; write what is meant"
    if here.kind == "parameter":
        return "has a parameter (?)"
    if here.word == "@":
        return "has a variable of the session; it must give the same for the same row, always"
    if here.word in _CLOCKS:
        return "asks for the time or the user; it must give the same for the same row, always"
    if here.word in _QUERIES:
        return "has a subquery, an aggregate or a window; a row is made from its own columns alone"
    if here.word == "DEFAULT":
        return "has DEFAULT; write the value"
    if here.word == "|" and after.word == "|" and after.offset == here.end:
        return "has ||, which is OR or puts strings together as sql_mode says: write OR, or CONCAT()"
    return ""


def _named(given: tuple[Token, ...]) -> Iterator[tuple[list[Token], bool]]:
    """Each name with what qualifies it, and whether it is called. Names of character sets and collations, and what introduces a string, are none."""
    at = 0
    while at < len(given):
        names = [given[at]]
        at += 1
        if names[0].kind not in ("word", "name"):
            continue
        while at + 1 < len(given) and given[at].word == "." and given[at + 1].kind in ("word", "name"):
            names.append(given[at + 1])
            at += 2
        before = given[at - 2 * len(names)] if at - 2 * len(names) >= 0 else None
        after = given[at] if at < len(given) else None
        if before is not None and before.word in ("USING", "COLLATE", "CHARSET", "SET"):
            continue
        if names[0].kind == "word" and after is not None and after.kind == "string" and (names[0].text.startswith("_") or names[0].word in ("X", "B", "N")):
            continue
        called = after is not None and after.word == "(" and not (len(names) == 1 and names[0].word in _NO_CALL)
        yield names, called
