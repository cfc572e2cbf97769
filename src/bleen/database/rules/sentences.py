"""What the rules of MySQL and of SQLite share: a file, sentence by sentence, and what is wrong with each."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from bleen.database.grammar.conditions import EXPRESSION, UNKNOWN, Named, Unknown, Value, truth, value
from bleen.database.grammar.rows import SecondTable, Update, update
from bleen.database.migration import Phase
from bleen.database.rules.findings import Finding, Severity
from bleen.database.rules.second_table import RULE, in_a_subquery
from bleen.database.statements import Dialect, Unreadable, place
from bleen.database.tokens import Cursor, Puzzled, Token, read, words

NOT_UNDERSTOOD = "What cannot be read to its last word, or is not on the list of what the rules know, may do anything."


HELD = (
    "from here on the old version is held to it too, as it writes {over}: what breaks it fails, and neither abort nor rollback takes it away; "
    "add it in contract, or only over columns that this release adds"
)
"""Why what refuses rows waits for contract; ``over`` is what it is about."""

BY_DEFAULT = (
    "from here on each INSERT of the old version leaves {over} to the default, and whether that passes cannot be told here; "
    "see that it does, or add it in contract"
)
"""The same of what is only over columns that the old version does not know."""

HOLDS = {"holds-the-old-version": "A CHECK, foreign key or unique index over what the old version writes waits for contract: it holds that version too."}

ROWS = {
    "whole-table-update": "An UPDATE of all rows locks them until it ends: backfill.sql does it in batches.",
    "update-outside-backfill": "An UPDATE locks each row that it reads until it ends: backfill.sql does it in batches.",
    "delete-without-where": "A DELETE of all rows locks them until it ends.",
    "delete-in-expand": "The version that serves still uses the rows: delete in contract.",
    "delete-in-contract": "A DELETE locks each row that it reads until it ends.",
    "row-locks": "Rows, tables and names are locked for as long as the statement or the session lasts.",
    "backfill": "backfill.sql is exactly one UPDATE of one table.",
    **RULE,
}


_FREE = words("""
    ABS ACOS ADDDATE ADDTIME AES_DECRYPT AES_ENCRYPT ASCII ASIN ATAN ATAN2 AVG BIN BIN_TO_UUID BIT_AND BIT_COUNT BIT_LENGTH BIT_OR BIT_XOR CAST CEIL CEILING
    CHANGES CHAR CHARACTER_LENGTH CHARSET CHAR_LENGTH COALESCE COERCIBILITY COLLATION COMPRESS CONCAT CONCAT_WS CONNECTION_ID CONV CONVERT CONVERT_TZ COS COT
    COUNT CRC32 CURDATE CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER CURTIME DATABASE DATE DATEDIFF DATETIME DATE_ADD DATE_FORMAT DATE_SUB DAY
    DAYNAME DAYOFMONTH DAYOFWEEK DAYOFYEAR DEGREES ELT EXP EXPORT_SET EXTRACT FIELD FIND_IN_SET FLOOR FORMAT FOUND_ROWS FROM_BASE64 FROM_DAYS FROM_UNIXTIME
    GET_FORMAT GLOB GREATEST GROUP_CONCAT HEX HOUR IF IFNULL IIF INET6_ATON INET6_NTOA INET_ATON INET_NTOA INSTR ISNULL IS_IPV4 IS_IPV6 JSON JSON_ARRAY
    JSON_ARRAYAGG JSON_ARRAY_APPEND JSON_ARRAY_INSERT JSON_ARRAY_LENGTH JSON_CONTAINS JSON_CONTAINS_PATH JSON_DEPTH JSON_EXTRACT JSON_GROUP_ARRAY
    JSON_GROUP_OBJECT JSON_INSERT JSON_KEYS JSON_LENGTH JSON_MERGE_PATCH JSON_MERGE_PRESERVE JSON_OBJECT JSON_OBJECTAGG JSON_OVERLAPS JSON_PATCH JSON_PRETTY
    JSON_QUOTE JSON_REMOVE JSON_REPLACE JSON_SEARCH JSON_SET JSON_TYPE JSON_UNQUOTE JSON_VALID JSON_VALUE JULIANDAY LAST_DAY LAST_INSERT_ID LAST_INSERT_ROWID
    LCASE LEAST LEFT LENGTH LIKELIHOOD LIKELY LN LOCALTIME LOCALTIMESTAMP LOCATE LOG LOG10 LOG2 LOWER LPAD LTRIM MAKEDATE MAKETIME MAKE_SET MAX MD5 MICROSECOND
    MIN MINUTE MOD MONTH MONTHNAME NOW NULLIF OCT OCTET_LENGTH ORD PASSWORD PERIOD_ADD PERIOD_DIFF PI POINT POSITION POW POWER PRINTF QUARTER QUOTE RADIANS RAND
    RANDOM RANDOMBLOB RANDOM_BYTES REGEXP_INSTR REGEXP_REPLACE REGEXP_SUBSTR REPEAT REPLACE REVERSE RIGHT ROUND ROW_COUNT RPAD RTRIM SCHEMA SECOND SEC_TO_TIME
    SESSION_USER SHA SHA1 SHA2 SIGN SIN SOUNDEX SPACE SQLITE_SOURCE_ID SQLITE_VERSION SQRT STD STDDEV STDDEV_POP STDDEV_SAMP STRCMP STRFTIME STRING_AGG
    STR_TO_DATE ST_GEOMFROMTEXT SUBDATE SUBSTR SUBSTRING SUBSTRING_INDEX SUBTIME SUM SYSDATE SYSTEM_USER TAN TIME TIMEDIFF TIMESTAMP TIMESTAMPADD TIMESTAMPDIFF
    TIME_FORMAT TIME_TO_SEC TOTAL TOTAL_CHANGES TO_BASE64 TO_DAYS TO_SECONDS TRIM TRUNC TRUNCATE TYPEOF UCASE UNCOMPRESS UNHEX UNICODE UNIXEPOCH UNIX_TIMESTAMP
    UNLIKELY UPPER USER UTC_DATE UTC_TIME UTC_TIMESTAMP UUID UUID_TO_BIN VARIANCE VAR_POP VAR_SAMP VERSION WEEK WEEKDAY WEEKOFYEAR WEIGHT_STRING YEAR YEARWEEK
    ZEROBLOB
    CUME_DIST DENSE_RANK FIRST_VALUE LAG LAST_VALUE LEAD NTH_VALUE NTILE PERCENT_RANK RANK ROW_NUMBER
    PRAGMA_FOREIGN_KEY_LIST PRAGMA_INDEX_INFO PRAGMA_INDEX_LIST PRAGMA_TABLE_INFO PRAGMA_TABLE_LIST PRAGMA_TABLE_XINFO
""")
_ACTING = words("""
    SLEEP BENCHMARK GET_LOCK RELEASE_LOCK RELEASE_ALL_LOCKS IS_FREE_LOCK MASTER_POS_WAIT SOURCE_POS_WAIT MASTER_GTID_WAIT WAIT_FOR_EXECUTED_GTID_SET LOAD_FILE
    SETVAL SYS_EXEC SYS_EVAL LOAD_EXTENSION WRITEFILE READFILE EDIT
""")
"""Functions that wait, lock, or reach beyond the database."""
_BEFORE_PARENTHESIS = words(
    "SELECT EXISTS VALUES VALUE ROW IN AND OR NOT XOR AS ON CONFLICT LIKE BETWEEN CASE WHEN THEN ELSE WHERE SET RETURNING IS DIV COLLATE INTERVAL "
    "FROM JOIN USING UNION ALL EXCEPT INTERSECT DISTINCT BY HAVING LIMIT OVER INDEX KEY MATCH AGAINST"
)
_BITS = re.compile(r"0b[01]+")
_BEHIND_OPERAND = words("NOTNULL ISNULL GLOB MATCH ESCAPE")
"""Operators of SQLite that are no columns where they stand behind one."""
_TYPES = words("CHAR BINARY DECIMAL VARCHAR NCHAR NUMERIC")


def unknown_call(statement: Sequence[Token]) -> Token | None:
    """The first call of a function that is not known to do nothing but answer."""
    for before, token, after in zip((None, *statement), statement, statement[1:], strict=False):
        if after.word != "(" or token.kind not in ("word", "name"):
            continue
        if token.word in _BEFORE_PARENTHESIS or (token.word in _TYPES and before is not None and before.word in ("AS", ",")):
            continue
        if token.word not in _FREE or (before is not None and before.word == "."):
            return token
    return None


def columns(group: Sequence[Token]) -> list[Token]:
    """The columns that a CHECK or the parts of an index name, and perhaps more: never less. ``group`` is what stands in its parentheses."""
    found, depth, cases, typed = [], 0, any(token.word == "CASE" for token in group), 0
    for at, token in enumerate(group):
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        typed = depth if token.word == "AS" else 0 if depth < typed else typed  # CAST(a AS UNSIGNED ARRAY)
        called = at + 1 < len(group) and group[at + 1].word == "("
        first = depth == 0 and (at == 0 or group[at - 1].word == ",")  # of an index's part: a(10)
        qualifies = at + 1 < len(group) and group[at + 1].word == "."
        collation = at > 0 and group[at - 1].word == "COLLATE"
        operator = token.word in _BEHIND_OPERAND and at > 0 and (group[at - 1].kind != "sign" or group[at - 1].word == ")")
        constant = (at + 1 < len(group) and group[at + 1].kind == "string") or _BITS.fullmatch(token.text)  # x'0f', DATE '2026-01-01'
        other = typed or constant or operator or token.word in EXPRESSION or (cases and token.word == "END") or (called and not first) or qualifies or collation
        if token.kind in ("word", "name") and not other:
            found.append(token)
    return found


def within(expression: Sequence[Token]) -> list[Token]:
    """As ``columns``, where a word with a parenthesis behind it is a function, and no part of MySQL's index: a(10)."""
    return columns([_OPEN, *expression, _CLOSE])


_OPEN, _CLOSE = Token("sign", "(", 0), Token("sign", ")", 0)


class Fault(NamedTuple):
    """A broken rule, at a token."""

    at: Token
    rule: str
    message: str
    fix: str = ""
    severity: Severity = "error"


def held(at: Token, table: str, over: Sequence[Token], fix: str = "") -> Fault:
    """What refuses rows of the old version, because of its columns ``over``; ``fix`` is the same in contract."""
    told = ", ".join(dict.fromkeys(token.text for token in over)) or "its rows"
    return Fault(at, "holds-the-old-version", f"{table}: {HELD.format(over=told)}", f"-- contract.sql\n{fix}" if fix else "", "warn")


def left(at: Token, table: str, over: Sequence[Token], fix: str = "") -> Fault:
    """What may refuse rows of the old version, because of the defaults that the new columns ``over`` have in them; ``fix`` is the same in contract."""
    told = ", ".join(dict.fromkeys(token.text for token in over))
    return Fault(at, "holds-the-old-version", f"{table}: {BY_DEFAULT.format(over=told)}", f"-- contract.sql\n{fix}" if fix else "", "warn")


def unknown(call: Token, severity: Severity = "error") -> Fault:
    """A function that may do anything."""
    return Fault(call, "side-effect", f"{call.text}() may do more than answer; no rule knows it to be harmless", "", severity)


def refuses(
    at: Token, table: str, column: Token, default: Value, checks: Sequence[Sequence[Token]], used: Callable[[Sequence[Token]], list[Token]]
) -> Iterator[Fault]:
    """What the CHECKs at a new column do to the old version, whose INSERTs leave the column to its default; ``used`` picks the columns that it writes."""
    for check in checks:
        said = truth(value(check, {column.identifier.lower(): default}))
        over = used(within(check))
        if said is False:
            message = f"the default of {column.text} does not meet this CHECK: each INSERT into {table} by the version that does not know it fails"
            yield Fault(at, "holds-the-old-version", message)
        elif over:
            yield held(at, table, over)
        elif isinstance(said, Unknown):
            yield left(at, table, [column])


def not_null(expression: str, dialect: Dialect) -> tuple[Token, ...]:
    """What NOT NULL at a generated column says, as a CHECK; the expression stands in its parentheses."""
    return (*read(expression, dialect).sentences[0].tokens, *read("IS NOT NULL", dialect).sentences[0].tokens)


def same_again(at: Token, table: str, over: Sequence[Token], fix: str) -> Fault:
    """A unique index over columns that are new, each with a constant for its default; ``fix`` is the same in contract."""
    told = ", ".join(token.text for token in over)
    message = f"each INSERT into {table} by the version that does not know {told} writes the default there: only one of them can succeed"
    return Fault(at, "unique", message, f"-- contract.sql\n{fix}")


def collide(parts: Sequence[Token], unfilled: Sequence[Token]) -> bool | Unknown:
    """Whether two rows that leave the new columns of a unique index to their defaults are the same to it; ``unfilled`` are those with NULL for theirs."""
    values = [_of_index(part, {column.identifier.lower(): None for column in unfilled}) for part in _parted(parts)]
    if any(said is None for said in values):
        return False
    return UNKNOWN if any(isinstance(said, Unknown | Named) for said in values) else True


def _of_index(part: Sequence[Token], given: Mapping[str, Value]) -> Value:
    """What a part of an index says: a column, perhaps only its beginning, as in a(10), or an expression."""
    while part and part[-1].word in ("ASC", "DESC"):
        part = part[:-1]
    if len(part) > 2 and part[-2].word == "COLLATE":
        part = part[:-2]
    if len(part) == 4 and part[1].word == "(" and part[2].kind == "number":
        part = part[:1]
    return value(part, given)


def _parted(group: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """What stands between the commas."""
    begin, depth = 0, 0
    for at, token in enumerate(group):
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if token.word == "," and not depth:
            yield group[begin:at]
            begin = at + 1
    yield group[begin:]


class Judge(Protocol):
    """The rules of one dialect, over one file."""

    phase: Phase

    def judge(self, cursor: Cursor) -> Iterator[Fault]:
        """What is wrong with a statement; raises ``Puzzled`` at the token from which on it is not understood."""

    def at_end(self) -> Iterator[Fault]:
        """What is wrong with the file as a whole, once each statement has been seen."""


def findings(text: str, file: str, dialect: Dialect, rules: Judge) -> list[Finding]:
    """What is wrong with each statement of a file. A statement that puzzles the rules, and a file that cannot be read, is ``not-understood``."""
    try:
        sentences = read(text, dialect).sentences
    except Unreadable as why:
        return [Finding(file, why.at.line, why.at.column, "not-understood", "error", f"cannot be read: {why}; nothing after it was looked at")]
    faults: list[Fault] = []
    if rules.phase == "backfill" and not sentences:
        faults.append(Fault(Token("end", "", 0), "backfill", "there is no UPDATE in it; a migration without a backfill has no backfill.sql"))
    for sentence in sentences:
        parameter = next((token for token in sentence.tokens if token.kind == "parameter"), None)
        if parameter is not None:
            faults.append(_not_understood(parameter, sentence.tokens[-1]))
            continue
        if (deep := _too_deep(sentence.tokens)) is not None:
            faults.append(Fault(deep, "not-understood", f"not understood: parentheses stand more than {_DEEPEST} deep in each other here"))
            continue
        try:
            faults += rules.judge(Cursor(sentence.tokens, text))
        except SecondTable as second:
            faults.append(_joined(Cursor(sentence.tokens, text), second.token, rules.phase))
        except Puzzled as puzzled:
            faults.append(_not_understood(puzzled.token, sentence.tokens[-1]))
    faults += rules.at_end()
    found = []
    for fault in faults:
        at = place(text, fault.at.offset)
        found.append(Finding(file, at.line, at.column, fault.rule, fault.severity, fault.message, _in_time(fault.fix, rules.phase)))
    return found


def _in_time(fix: str, phase: Phase) -> str:
    """What a backfill fills has to be there before: a fix for contract that has one begins in expand."""
    late = phase == "contract" and "\n-- backfill.sql\n" in fix and not fix.startswith("-- expand.sql\n")
    return f"-- expand.sql\n{fix}" if late else fix


_DEEPEST = 500


def _too_deep(tokens: Sequence[Token]) -> Token | None:
    """The parenthesis from which on nobody writes by hand, and no parser promises to go on."""
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if depth > _DEEPEST:
            return token
    return None


def _not_understood(at: Token, last: Token) -> Fault:
    if at.kind == "end":
        return Fault(last, "not-understood", f"not understood: something is missing after {last.text!r}")
    return Fault(at, "not-understood", f"not understood from {at.text!r} on, so it may do anything; write it in a form that the rules know")


def _joined(cursor: Cursor, at: Token, phase: Phase) -> Fault:
    verb, where = cursor.now, "" if phase == "backfill" else "-- backfill.sql\n"
    way = "read the second table in a subquery of backfill.sql" if verb.word == "UPDATE" else "delete by key in batches, or have a release do that"
    safe = in_a_subquery(cursor) if verb.word == "UPDATE" else ""
    message = f"from {at.text} on, a second table is read, and the rows of both are locked until the {verb.word} has ended; {way}"
    return Fault(verb, "second-table", message, f"{where}{safe}" if safe else "")


def changed(change: Update, phase: Phase) -> Iterator[Fault]:
    """What is wrong with an UPDATE or a DELETE of rows that are in use."""
    if change.reads is not None:
        yield Fault(change.reads, "row-locks", f"this query locks the rows that it reads until the change of {change.name} has ended")
    if change.at.word == "UPDATE":
        rule = "update-outside-backfill" if change.where else "whole-table-update"
        which = "each row that it looks at" if change.where else "every row"
        message = f"locks {which} of {change.name} until it has ended, and the version that serves waits; backfill.sql does it in batches"
        yield Fault(change.at, rule, message, f"-- backfill.sql\n{change.text};" if change.text and not change.batched else "")
    elif not change.where:
        message = f"locks every row of {change.name} until it has ended; drop the table in contract, or delete by key in batches"
        yield Fault(change.at, "delete-without-where", message)
    elif phase == "expand":
        message = f"the version that serves still uses these rows of {change.name}"
        yield Fault(change.at, "delete-in-expand", message, f"-- contract.sql\n{change.text};" if change.text and change.reads is None else "")
    else:
        message = f"locks each row that it looks at in {change.name} until it has ended; with many rows, delete by key in batches"
        yield Fault(change.at, "delete-in-contract", message, "", "warn")


class Backfill:
    """The rules of backfill.sql: one UPDATE of one table, which bleen cuts into batches."""

    def __init__(self) -> None:
        self.updates = 0

    def judge(self, cursor: Cursor) -> Iterator[Fault]:
        if not cursor.sees("UPDATE"):
            yield self.other(cursor.now)
            return
        change = update(cursor, frozenset())
        self.updates += 1
        if self.updates > 1:
            message = f"backfill.sql is one UPDATE of one table; write that of {change.name} as a migration of its own"
            yield Fault(change.at, "backfill", message)
        if change.batched:
            message = f"bleen cuts the UPDATE of {change.name} into batches itself: leave {change.batched} out"
            yield Fault(change.at, "backfill", message)
        acting = next((token for token, after in pairwise(cursor.tokens) if after.word == "(" and token.text.strip('`"[]').upper() in _ACTING), None)
        if acting is not None:
            yield unknown(acting)
        elif (call := unknown_call(cursor.tokens)) is not None:
            yield unknown(call, "warn")
        if change.reads is not None:
            message = f"this query locks the rows that it reads, in each batch of {change.name}"
            yield Fault(change.reads, "row-locks", message, "", "warn")

    def other(self, at: Token) -> Fault:
        """A statement that is no UPDATE."""
        return Fault(at, "backfill", f"backfill.sql is one UPDATE of one table; {at.text} belongs in expand.sql or contract.sql")
