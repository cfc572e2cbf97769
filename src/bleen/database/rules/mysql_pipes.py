"""``a || b`` in MySQL and MariaDB: OR, and so 0 or 1, where whoever wrote it meant ``CONCAT(a, b)``.

Sources: MySQL 8.0 Reference Manual 7.1.11 "Server SQL Modes", PIPES_AS_CONCAT; MariaDB, "SQL_MODE".
"""

from collections.abc import Iterator, Sequence

from bleen.database.grammar.conditions import EXPRESSION
from bleen.database.migration import Phase
from bleen.database.rules.sentences import Fault
from bleen.database.tokens import Token, read, words

RULE = "pipes"
_VALUE = ("word", "name", "string", "number")
_MANY = 50
_PROGRAMS = words("TRIGGER PROCEDURE FUNCTION EVENT")


def pipes(tokens: Sequence[Token], text: str, phase: Phase) -> Iterator[Fault]:
    """The first ``||`` of a statement of ``text`` that stands where a value is made: not in the body of a program, nor in WHERE, unless of a backfill.

    A backfill that has one is refused when it is carried out (``backfill/mysql.py``).
    """
    program = tokens[0].word == "CREATE" and any(token.word in _PROGRAMS for token in tokens)
    everywhere = list(_pipes(tokens, len(tokens)))
    found = next(iter(_pipes(tokens) or (everywhere if phase == "backfill" else [])), None)
    if found is None or program:
        return
    statement = text[tokens[0].offset : tokens[-1].end]
    where = "-- backfill.sql\n" if tokens[0].word == "UPDATE" and phase != "backfill" else ""
    written = _concatenated(statement) if phase != "backfill" or everywhere == _pipes(tokens) else ""
    message = "|| is OR here, and gives 0 or 1, unless sql_mode has PIPES_AS_CONCAT; CONCAT joins strings, OR says that it is meant"
    yield Fault(tokens[found], RULE, message, f"{where}{written};" if written else "", "error" if phase == "backfill" else "warn")


def _pipes(tokens: Sequence[Token], end: int = 0) -> list[int]:
    """Where ``||`` begins before a token, as numbers of tokens; what stands behind WHERE is a condition, where OR may well be meant."""
    end = end or next((at for at, token in enumerate(tokens) if token.word == "WHERE"), len(tokens))
    return [at for at in range(end - 1) if tokens[at].word == tokens[at + 1].word == "|" and tokens[at].end == tokens[at + 1].offset]


def _concatenated(statement: str) -> str:
    """The statement with CONCAT in place of each chain of ``||``, the innermost first; empty if it is not clear what is joined."""
    while True:
        tokens = read(statement, "mysql").sentences[0].tokens
        found = _pipes(tokens)
        if not found:
            return statement
        if len(found) > _MANY:
            return ""
        depths = [sum({"(": 1, ")": -1}.get(token.word, 0) for token in tokens[:at]) for at in found]
        operands = _chain(tokens, found[depths.index(max(depths))])
        if not operands:
            return ""
        joined = ", ".join(statement[tokens[begin].offset : tokens[end - 1].end] for begin, end in operands)
        statement = f"{statement[: tokens[operands[0][0]].offset]}CONCAT({joined}){statement[tokens[operands[-1][1] - 1].end :]}"


def _chain(tokens: Sequence[Token], at: int) -> list[tuple[int, int]]:
    """What the ``||`` at a token joins, and those that follow it: from which token to before which; empty if that is not clear."""
    begin = _before(tokens, at)
    operands = [(begin, at)]
    while begin < at and tokens[at : at + 2] and tokens[at].word == "|":
        begin, at = at + 2, _behind(tokens, at + 2)
        operands.append((begin, at))
        if at >= len(tokens) or tokens[at].word != "|":
            break
    more = at < len(tokens) and tokens[at].kind in ("string", "number")  # 'a' 'b', x'61'
    return operands if all(first < last for first, last in operands) and not more else []


def _behind(tokens: Sequence[Token], at: int) -> int:
    """The end of the value that begins at a token: a literal, a name, a call, or what stands in parentheses; ``at`` if it is none of them."""
    begin = at
    if at < len(tokens) and _is_value(tokens[at]):
        at += 1
        while at + 1 < len(tokens) and tokens[at].word == ".":
            at += 2
    if at < len(tokens) and tokens[at].word == "(" and (at == begin or tokens[at - 1].kind in ("word", "name")):
        depth = 0
        while at < len(tokens):
            depth += {"(": 1, ")": -1}.get(tokens[at].word, 0)
            at += 1
            if depth == 0:
                break
    return at


def _before(tokens: Sequence[Token], end: int) -> int:
    """Where the value begins that ends before a token; ``end`` if it is none that ``_behind`` knows."""
    depth = 0
    for at in range(end - 1, 0, -1):
        depth += {")": 1, "(": -1}.get(tokens[at].word, 0)
        if depth < 0 or (depth == 0 and tokens[at].word in ("=", ",")):
            break
        if depth == 0 and _behind(tokens, at) == end and not (_is_value(tokens[at - 1]) or tokens[at - 1].word == "."):
            return at
    return end


def _is_value(token: Token) -> bool:
    return token.kind in _VALUE and token.word not in EXPRESSION | {"END"}
