"""An UPDATE or a DELETE of MySQL or SQLite, by its clauses."""

from typing import NamedTuple

from bleen.database.grammar.conditions import always
from bleen.database.tokens import Cursor, Puzzled, Token, words

JOINS = words(", JOIN INNER LEFT RIGHT CROSS STRAIGHT_JOIN NATURAL OUTER")
_SECOND_TABLE = words("FROM JOIN USING")
_CLAUSES = words("WHERE ORDER LIMIT RETURNING")
_AFTER_TABLE = _CLAUSES | words("SET FROM JOIN USING , . (")


class SecondTable(Puzzled):
    """A statement is about more than one table, from this token on."""


class Update(NamedTuple):
    """An UPDATE of one table, or a DELETE from one."""

    at: Token
    table: tuple[Token, ...]
    where: str
    """The condition, as it is written; empty without one, or if every row meets it."""
    batched: str
    """The first of ORDER, LIMIT and RETURNING; empty without them."""
    reads: Token | None
    """Where a query over other rows begins."""
    text: str
    """The statement, without LOW_PRIORITY and QUICK; empty if it passes over faults (IGNORE), as no batch does."""

    @property
    def name(self) -> str:
        return ".".join(token.text for token in self.table)


def update(cursor: Cursor, before: frozenset[str]) -> Update:
    """UPDATE or DELETE FROM, with one of the words ``before`` allowed behind the verb; ``SecondTable`` where another one comes in."""
    at = cursor.kind("word")
    while cursor.accept_one(before):
        pass
    begin = cursor.at
    if at.word == "DELETE" and not cursor.accept("FROM"):
        raise SecondTable(cursor.now) if any(token.word == "FROM" for token in cursor.tokens) else Puzzled(cursor.now)
    table = cursor.table()
    if cursor.accept("AS") or not (cursor.done or cursor.now.word in _AFTER_TABLE):
        cursor.name()
    if cursor.now.word in JOINS | {"USING"}:
        raise SecondTable(cursor.now)
    if at.word == "UPDATE":
        cursor.expect("SET")
    elif not cursor.done and cursor.now.word not in _CLAUSES:
        raise Puzzled(cursor.now)
    clauses: dict[str, int] = {}
    reads, depth = None, 0
    while not cursor.done:
        word = cursor.now.word
        depth += {"(": 1, ")": -1}.get(word, 0)
        if word in ("SELECT", "TABLE", "WITH"):
            reads = reads or cursor.now
        elif depth == 0 and word in _CLAUSES | _SECOND_TABLE and cursor.ahead(-1).word != "DISTINCT":  # IS DISTINCT FROM compares
            if word not in _CLAUSES or word in clauses:
                raise (SecondTable if word in _SECOND_TABLE else Puzzled)(cursor.now)
            clauses[word] = cursor.at
        cursor.at += 1
    where = ""
    if "WHERE" in clauses:
        end = min((number for word, number in clauses.items() if number > clauses["WHERE"]), default=cursor.at)
        condition = cursor.tokens[clauses["WHERE"] + 1 : end]
        where = "" if always(condition) else cursor.written(clauses["WHERE"] + 1, end)
    batched = next((word for word in clauses if word != "WHERE"), "")
    passes = any(token.word not in ("LOW_PRIORITY", "QUICK") for token in cursor.tokens[1:begin])
    return Update(at, table, where, batched, reads, "" if passes else f"{at.text} {cursor.written(begin)}")
