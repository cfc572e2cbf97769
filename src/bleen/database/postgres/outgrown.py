"""Which functions on PostgreSQL a row with one more column fails, beside those whose INSERTs ``spreads`` knows. To the server they are texts, which it reads
when they run (manual: "Composite Types", "Row and Array Comparison", "PL/pgSQL under the Hood").
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import postgast

from bleen.database.catalogue import Outgrown
from bleen.database.migration import speaks_of
from bleen.database.parser import Source
from bleen.database.postgres.leftovers import Rows
from bleen.database.postgres.trees import named, node_of, written
from bleen.database.postgres.triggers import PREFIX
from bleen.database.postgres.wholes import HEIRS, NAMED, PATH
from bleen.database.statements import Statement, Unreadable

_PB = postgast.pg_query_pb2
_COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
_FUNCTIONS = rf"""
    WITH RECURSIVE {HEIRS.replace("%s::oid", "to_regclass(%s)::oid")}, fires AS (
        SELECT DISTINCT ON (t.tgfoid, own, CASE WHEN own THEN t.oid END) t.oid, t.tgfoid, t.tgname, t.tgrelid, own
        FROM pg_trigger t CROSS JOIN LATERAL (SELECT t.tgrelid IN (SELECT relid FROM heirs)) it(own)
        WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled IN ('O', 'A') ORDER BY t.tgfoid, own, CASE WHEN own THEN t.oid END, t.oid)
    SELECT p.oid::bigint, p.oid::regprocedure::text, p.proname, l.lanname,
        coalesce(substring(pg_get_function_sqlbody(p.oid) FROM '^\s*BEGIN ATOMIC\s(.*)END\s*$'), p.prosrc),
        p.prorettype = c.reltype, coalesce(p.proargnames, ARRAY[]::text[]), coalesce(t.tgname, ''), coalesce(t.tgrelid::regclass::text, ''),
        coalesce(t.own, false), coalesce(split_part(pg_get_triggerdef(t.oid), ' EXECUTE FUNCTION ', 1), ''),
        (SELECT nspname FROM pg_namespace n WHERE n.oid = c.relnamespace), c.relname, c.oid::bigint, {PATH}
    FROM pg_class c JOIN pg_proc p ON p.prorettype = c.reltype OR strpos(lower(p.prosrc), lower(c.relname)) > 0
        OR p.oid IN (SELECT tgfoid FROM fires WHERE own)
    JOIN pg_language l ON l.oid = p.prolang LEFT JOIN fires t ON t.tgfoid = p.oid
    WHERE c.oid = to_regclass(%s) AND l.lanname IN ('sql', 'plpgsql') AND p.pronamespace <> 'pg_catalog'::regnamespace
    AND NOT starts_with(p.proname, %s) AND (t.oid IS NOT NULL OR p.prorettype <> 'trigger'::regtype) ORDER BY p.oid, t.own DESC, t.tgname, t.tgrelid"""
"""Those that return rows of the table, speak of it, or belong to its triggers; once for each trigger of the table, with its head, in which its WHEN is, and
for one of the others.
"""
_UNEQUAL = """
    WITH RECURSIVE of(oid) AS (SELECT to_regtype(%s)::oid UNION SELECT CASE WHEN typtype = 'd' THEN typbasetype ELSE typelem END
        FROM of JOIN pg_type t ON t.oid = of.oid WHERE typtype = 'd' OR (typelem <> 0 AND typlen = -1))
    SELECT 1 FROM of JOIN pg_type t ON t.oid = of.oid WHERE typtype = 'b' AND NOT (typelem <> 0 AND typlen = -1) AND NOT EXISTS (
        SELECT FROM pg_opclass JOIN pg_am m ON m.oid = opcmethod WHERE amname IN ('btree', 'hash') AND opcdefault AND (opcintype = t.oid OR opcintype IN (
            SELECT casttarget FROM pg_cast WHERE castsource = t.oid AND castmethod = 'b' AND castcontext = 'i')))"""
"""Whether values of a type cannot be compared, as json, its arrays and domains: rows that have one cannot either."""
_ROW = r'\b(?:OLD|NEW)\b"?(?:\s*\.\s*\*)?(?!\s*\.)[)\s]*'
_WITH = r"(?:IS\s+(?:NOT\s+)?DISTINCT\s+FROM|=|<>|!=)\s*"
_COMPARED = re.compile(rf'{_ROW}{_WITH}(?:\bROW\b\s*)?[(\s]*"?{_ROW}', re.IGNORECASE)
_LISTED = r'\bROW\s*\(\s*"?(?:OLD|NEW)\b"?\s*\.\s*\*\s*\)\s*'
_EACH = re.compile(f"{_LISTED}{_WITH}{_LISTED}", re.IGNORECASE)
"""Rows compared column by column: for that, PostgreSQL looks for an operator of each before it looks at a value."""
_BEGINS = frozenset(("begin", ";", "then", "else", "loop"))
"""Behind what a statement of PL/pgSQL begins."""


class _Function(NamedTuple):
    oid: int
    shown: str
    called: str
    language: str
    source: str
    gives: bool
    """Whether it returns rows of the table."""
    arguments: list[str]
    trigger: str
    """One that runs it; empty if there is none."""
    of: str
    own: bool
    """Whether that is a trigger of the table."""
    head: str
    schema: str
    table: str
    relid: int
    """Of the table."""
    path: list[str] | None
    """The search_path that it sets for itself."""


def outgrown(rows: Rows, statements: Sequence[Statement], before: Sequence[Statement]) -> Iterator[Outgrown]:
    """Implements ``Catalogue.outgrown``. A function of which a statement before it speaks may be made anew by then."""
    said, told = "", set[tuple[int, str]]()
    for number, statement in enumerate((*before, *statements)):
        node, kind = node_of(statement)
        commands = [each.alter_table_cmd for each in node.cmds] if kind == "alter_table_stmt" else []
        added = [getattr(each, "def").column_def for each in commands if each.subtype == _PB.AT_AddColumn]
        if added and number >= len(before):
            table = named(node.relation)
            there = [name for (name,) in rows(_COLUMNS, [table])]
            comes = [each for each in added if each.colname not in there]
            for each in [_Function(*row) for row in rows(_FUNCTIONS, [table, table, PREFIX])] if there and comes else ():
                if not (speaks_of(said, each.called) or (each.trigger and speaks_of(said, each.trigger))):
                    for what, why, fails in _fails(rows, each, len(there), comes):
                        if (key := (each.oid, what)) not in told:
                            told.add(key)
                            yield Outgrown(statement, why, fails)
        elif not added:
            said += f"\n{statement.text};"


@lru_cache(maxsize=1024)
def _words(source: str) -> tuple[str, ...]:
    """Of a function, which many tables may share; none if it cannot be read, and so fails already."""
    try:
        return tuple(source[each.begin : each.end] for each in Source(source).tokens)
    except Unreadable:
        return ()


def _fails(rows: Rows, of: _Function, wide: int, comes: Sequence[Any]) -> Iterator[tuple[str, str, bool]]:
    """How it does so, by a name, why, and whether each write fails then."""
    words = _words(of.source)
    text, table, more = " ".join(words), of.table, ", ".join(each.colname for each in comes)
    runs = f"trigger {of.trigger} on table {of.of} runs {of.shown}, which" if of.trigger else of.shown
    compared = of.own and bool(_COMPARED.search(of.head) or _COMPARED.search(text))
    unequal = [each.colname for each in comes if rows(_UNEQUAL, [_type(each.type_name)])] if compared else []
    if unequal:
        each = bool(_EACH.search(text))
        fails = "every write fails that comes there" if each else "an UPDATE fails that changes nothing before it, as that of a backfill does"
        compares = f"trigger {of.trigger} on table {of.of} compares its rows whole, and values of {', '.join(unequal)} cannot be compared"
        yield f"compares {of.of} {of.trigger}", f"{compares}: {fails}; take jsonb, say, or let it compare columns before this", each
    if _makes(rows, of, words, wide):
        fails = "every write fails that comes there" if of.trigger else "it fails"
        why = f"{runs} makes a row of {table} of values that it lists: with {more}, {fails}; let it set the columns of a row by name before this"
        yield f"makes {of.schema}.{table}", why, bool(of.trigger)
    if of.gives and wide > 1 and wide in _listed(of, words):
        yield "lists", f"{of.shown} returns rows of {table}, whose columns it lists: with {more}, it fails; let it say {table}.* before this", False
    for column in comes if of.language == "plpgsql" else ():
        if _ambiguous(of, words, column.colname):
            why = f'has a variable {column.colname} where it reads {table}: with that as a column too, "column reference is ambiguous"'
            yield f"{column.colname} {of.schema}.{table}", f"{runs} {why}; give the variable another name before this", False


def _makes(rows: Rows, of: _Function, words: Sequence[str], wide: int) -> bool:
    """Whether as many values as the table has columns are put together to a row of it: `(a, b)::users`; or to the one that a trigger returns."""
    lower = ["", *(each.lower().strip('"') for each in words), "", ""]
    casts = of.path is None or (of.relid,) in rows(NAMED, ["", of.path, of.table])[:1]
    returned = of.own and " FOR EACH ROW" in of.head
    return wide > 1 and any(wide == values for at in range(len(lower)) for values in (_cast(of, lower, at, casts), returned and _returned(lower, at)))


def _cast(of: _Function, lower: Sequence[str], at: int, by_name: bool) -> int:
    """How many values are cast to a row of the table here: `(a, b)::users`, `CAST(ROW(a, b) AS users)`; ``by_name``: its name alone means the table."""
    named = lower[at + 1 : at + 4 : 2] if lower[at + 2 : at + 3] == ["."] else lower[at + 1 : at + 2]
    if lower[at] not in ("::", "as") or lower[at - 1] != ")" or named not in ([of.table.lower()] * by_name, [of.schema.lower(), of.table.lower()]):
        return 0
    begin = at - 1
    depth = 1
    while depth and begin:
        begin -= 1
        depth += (lower[begin] == ")") - (lower[begin] == "(")
    before = begin - (lower[begin - 1] == "row")
    if lower[at] == "as":
        return _values(lower, begin) if lower[before - 2 : before] == ["cast", "("] else 0
    calls = before == begin and re.match(r"\w", lower[begin - 1]) and lower[begin - 1] not in ("return", "select")
    return 0 if calls else _values(lower, begin)


def _returned(lower: Sequence[str], at: int) -> int:
    """How many values come to be the row that a trigger returns: `NEW := (a, b);`, `RETURN ROW(a, b);`, `SELECT a, b INTO NEW`."""
    if lower[at] == "return" or (lower[at] == "new" and _gives_new(lower, at) and lower[at + 1] in (":=", "=") and lower[at - 1] in _BEGINS):
        begin = at + (1 if lower[at] == "return" else 2)
        begin += lower[begin] == "row"
        return _values(lower, begin, ";") if lower[begin] == "(" else 0
    if lower[at] == "select" and lower[at - 1] in _BEGINS and _gives_new(lower, at):
        into = next((number for number in range(at, len(lower)) if lower[number] in ("into", ";")), at)
        name = into + 1 + (lower[into + 1] == "strict")
        if lower[into] == "into" and lower[name : name + 1] == ["new"] and lower[name + 1] not in (".", ","):
            listed = lower[at + 1 : into] if into > at + 1 else lower[name + 1 :]
            return _values(["(", *listed, ";"], 0)
    return 0


def _gives_new(lower: Sequence[str], at: int) -> bool:
    return ("return", "new") in pairwise(lower[at:])


def _values(lower: Sequence[str], begin: int, behind: str = "") -> int:
    """How many values a parenthesis has, behind which nothing else stands, or a list, up to its FROM; none if one of them is all of something."""
    depth, values = 0, 1
    for at in range(begin, len(lower)):
        depth += (lower[at] == "(") - (lower[at] == ")")
        if lower[at] == "*" and lower[at - 1] in (".", "(", ","):
            return 0
        if depth == 0 or (depth == 1 and lower[at] in ("from", ";")):
            return values if not behind or lower[at + 1 : at + 2] == [behind] else 0
        values += depth == 1 and lower[at] == ","
    return 0


def _listed(of: _Function, words: Sequence[str]) -> Iterator[int]:
    """How many columns each query gives whose rows a function returns; those with a star give what there is."""
    queries = [of.source]
    if of.language == "plpgsql":
        queries = [
            found[1] for each in " ".join(words).split(";") if (found := re.search(r"\bRETURN\s+QUERY\s+((?!EXECUTE\b).*)", each, re.IGNORECASE | re.DOTALL))
        ]
    for query in queries:
        try:
            node = Source(query).parsed()[-1].node
        except (Unreadable, IndexError):
            continue
        kind = node.WhichOneof("node")
        held = getattr(node, kind)
        while kind == "select_stmt" and held.HasField("larg"):
            held = held.larg
        targets = held.target_list if kind == "select_stmt" else held.returning_clause.exprs if hasattr(held, "returning_clause") else ()
        if not any(star for each in targets for star in postgast.find_nodes(each.res_target.val, _PB.A_Star)):
            yield len(targets)


def _ambiguous(of: _Function, words: Sequence[str], column: str) -> bool:
    """Whether a variable of that name stands by itself in what reads the table: what it is assigned to, as INTO does too, cannot be a column."""
    if not speaks_of(of.source, column) and column.lower() not in map(str.lower, of.arguments):  # most
        return False
    text = " ".join(each.strip('"') for each in words).lower()
    name = re.escape(column.lower())
    if not (re.search(rf"(?:\bdeclare|;) {name} ", text) or column.lower() in map(str.lower, of.arguments)) or "# variable_conflict use_variable" in text:
        return False
    for piece in re.sub(r"(?<!insert) into (?:strict )?[\w$]+(?: [.,] [\w$]+)*", " ", re.sub(rf"(?:\bdeclare|;) {name} ", "; ", text)).split(";"):
        if re.search(rf"(?<!\. )(?<!\bas )(?<![\w$]){name}(?![\w$]| :=)", piece) and re.search(
            rf"\b(?:from|join|update|using) (?:only )?(?:[\w$]+ \. )?{re.escape(of.table.lower())}(?![\w$])", piece
        ):
            return True
    return False


def _type(name: Any) -> str:
    return written([part.string.sval for part in name.names]) + "[]" * len(name.array_bounds)
