"""Which trigger functions on PostgreSQL spread whole rows: `INSERT INTO history SELECT OLD.*` gives as many values as the row then has columns. With one
more, the write that fires it fails; with one less, what comes behind lands in another column, unseen. Such a function is a text to the server (manual: INSERT).
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import postgast

from bleen.database.catalogue import Spreading
from bleen.database.migration import speaks_of
from bleen.database.postgres.leftovers import Rows
from bleen.database.postgres.parser import Source, Token
from bleen.database.postgres.trees import named, node_of
from bleen.database.statements import Place, Statement, Unreadable
from bleen.database.sync.postgres import PREFIX

_PB = postgast.pg_query_pb2
_HEIRS = "heirs(relid) AS (SELECT %s::oid UNION SELECT i.inhrelid FROM heirs JOIN pg_inherits i ON i.inhparent = heirs.relid)"
_FUNCTIONS = f"""
    WITH RECURSIVE {_HEIRS}, fired AS (
        SELECT DISTINCT ON (p.oid, own, t.tgoldtable, t.tgnewtable)
            t.tgname, t.tgrelid::regclass::text AS of, t.tgrelid::bigint, p.oid::regprocedure::text AS function, p.proname, p.prosrc,
            t.tgrelid IN (SELECT relid FROM heirs) AS own, t.tgoldtable, t.tgnewtable
        FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND NOT starts_with(t.tgname, %s) AND p.prosrc LIKE '%%*%%'
        ORDER BY p.oid, own, t.tgoldtable, t.tgnewtable, t.tgrelid, t.tgname)
    SELECT * FROM fired ORDER BY 2, 1"""
"""Each function once, and the first of its triggers: those of the table and of what inherits from it, and of others, which may read the table."""
_TABLE = "SELECT oid::bigint FROM pg_class WHERE oid = to_regclass(%s)"
_NAMED = """
    SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = %s AND CASE WHEN %s = '' THEN pg_table_is_visible(c.oid) ELSE n.nspname = %s END"""
"""What a function names, also in a schema that this role may not use: to_regclass() would be refused."""
_COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
_INHERITS = f"WITH RECURSIVE {_HEIRS} SELECT 1 FROM heirs WHERE relid = %s"

_STAR = r"(?:OLD|NEW)\b(?:\s*\))*\s*\.\s*\*"
_WHOLE = re.compile(rf"\b{_STAR}|\$\d+(?:\s*\))*\s*\.\s*\*", re.IGNORECASE)
_HARMLESS = re.compile(
    rf"(?:\bROW\b\s*)?[(\s]*\b{_STAR}[)\s]*(?:IS\s+(?:NOT\s+)?DISTINCT\s+FROM|=|<>|!=)\s*(?:\bROW\b\s*)?[(\s]*\b{_STAR}"
    rf"|\b(?!(?:VALUES|ROW|SELECT)\b)\w+\s*\(\s*{_STAR}\s*[,)]",
    re.IGNORECASE,
)
"""Rows that are compared, and those that are given to a function whole, such as to_jsonb(): they have another column, and that is all."""


class _Function(NamedTuple):
    """Of a trigger, or of several."""

    trigger: str
    of: str
    """The table of its trigger."""
    relid: int
    function: str
    called: str
    source: str
    own: bool
    """Whether it is a trigger of the table in question, so that OLD and NEW are rows of it."""
    old: str | None
    new: str | None
    """What it calls the transition tables."""


class _Insert(NamedTuple):
    """One that gives all columns of a row."""

    into: str
    relid: int
    """Of what it goes into; 0 if that is not there: the function may make it itself."""
    open: bool
    """Whether the columns of a row come last, and the table's are not named: what comes to both fits."""
    before: int
    """Values that come before them."""


def spreading(rows: Rows, statements: Sequence[Statement], before: Sequence[Statement]) -> Iterator[Spreading]:
    """Implements ``Catalogue.spreading``. What a statement before it speaks of may be such by then that it is right."""
    said, grown = "\n".join(s.text for s in before), dict[int, list[str]]()
    for statement in statements:
        node, kind = node_of(statement)
        commands = [each.alter_table_cmd for each in node.cmds] if kind == "alter_table_stmt" else []
        table = next((oid for (oid,) in rows(_TABLE, [named(node.relation)])), 0) if commands else 0
        there = [str(name) for (name,) in rows(_COLUMNS, [table])]
        comes = [name for each in commands if each.subtype == _PB.AT_AddColumn and (name := getattr(each, "def").column_def.colname) not in there]
        goes = [each.name for each in commands if each.subtype == _PB.AT_DropColumn and each.name in there]
        if there and (comes or goes):
            more = [*grown.get(table, ()), *comes]
            for each in (_Function(*row) for row in rows(_FUNCTIONS, [table, PREFIX])):
                if not (speaks_of(said, each.called) or speaks_of(said, each.trigger)):
                    yield from _spread(rows, statement, table, each, more if comes else [], goes, said)
            grown[table] = more
        said += f"\n{statement.text};"


def _spread(rows: Rows, statement: Statement, table: int, of: _Function, more: list[str], goes: list[str], said: str) -> Iterator[Spreading]:
    inserts, rest = _read(rows, table, of)
    runs = f"trigger {of.trigger} on table {of.of} runs {of.function}"
    for each in inserts:
        if rows(_INHERITS, [table, each.relid]):  # it gets what its parent gets
            continue
        does = f"{runs}, whose INSERT INTO {each.into} gives all columns of a row without naming them"
        if goes:
            yield Spreading(statement, f"{does}: without {', '.join(goes)}, values land in other columns, unseen, or the write fails", of.trigger, fails=False)
        at = each.before + len(rows(_COLUMNS, [of.relid if of.own else table]))
        fits = [name for (name,) in rows(_COLUMNS, [each.relid])][at : at + len(more)] == more
        if more and not (each.open and (fits or speaks_of(said, each.into))):
            unless = f", unless {each.into} gets {', '.join(more)} first" if each.open else ""
            yield Spreading(statement, f"{does}: with {', '.join(more)}, every write fails that fires it{unless}", of.trigger, bool(each.relid))
    if of.own and (found := _WHOLE.search(_HARMLESS.sub(" ", rest))):
        says = re.sub(r"[\s)]", "", found[0])
        why = "that is more or fewer values from then on, and may fail the write where they land"
        yield Spreading(statement, f"{runs}, which says {says}: {why}", of.trigger, fails=False)


def _read(rows: Rows, table: int, of: _Function) -> tuple[list[_Insert], str]:
    """The INSERTs of a function that give a whole row, and what else it says, without its comments."""
    try:
        source = Source(of.source)
    except Unreadable:  # another language, with strings of its own
        return [], of.source
    found, rest, at = list[_Insert](), list[str](), 0
    while at < len(source.tokens):
        end = _end(source.tokens, at) if source.tokens[at].kind == "INSERT" else at
        insert = _insert(rows, of.source[source.tokens[at].begin : source.tokens[end - 1].end], table, of) if end > at else None
        if insert:
            found.append(insert)
            at = end
        else:
            rest.append(of.source[source.tokens[at].begin : source.tokens[at].end])
            at += 1
    return found, " ".join(rest)


def _end(tokens: Sequence[Token], at: int) -> int:
    """Where an INSERT ends that may be part of something, before its RETURNING: behind that, PL/pgSQL says INTO."""
    depth = 0
    for number in range(at + 1, len(tokens)):
        kind = tokens[number].kind
        depth += (kind == "ASCII_40") - (kind == "ASCII_41")
        if depth < 0 or (depth == 0 and kind in ("ASCII_59", "RETURNING")):
            return number
    return len(tokens)


def _insert(rows: Rows, text: str, table: int, of: _Function) -> _Insert | None:
    """An INSERT, if it gives a whole row of the table, or of a trigger of it."""
    with suppress(Unreadable, AttributeError):
        insert = node_of(Statement(text, Place(0, 0), 0))[0]
        select = insert.select_stmt.select_stmt
        given = [value for each in select.values_lists[:1] for value in each.list.items] or [each.res_target.val for each in select.target_list]
        tables = [node.range_var for node in select.from_clause if node.WhichOneof("node") == "range_var"]
        read = {(each.alias.aliasname or each.relname).lower(): each for each in tables}
        transitions = [each.lower() for each in (of.old, of.new) if each and of.own]
        for number, value in enumerate(given):
            name = _spreads(value)
            ranges = [*read.values()] if name == "" else [read[name]] if name in read else []
            own = name in ("old", "new") and of.own and not ranges
            if own or any(each.relname.lower() in transitions or _oid(rows, each) == table for each in ranges):
                into = insert.relation
                return _Insert(into.relname, _oid(rows, into), number == len(given) - 1 and not insert.cols, number)
    return None


def _oid(rows: Rows, relation: Any) -> int:
    return next((int(oid) for (oid,) in rows(_NAMED, [relation.relname, *[relation.schemaname] * 2])), 0)


def _spreads(value: Any) -> str | None:
    """Of what all columns are: OLD of OLD.* and of (OLD).*, nothing of *; None if it is a value."""
    indirect = value.WhichOneof("node") == "a_indirection" and value.a_indirection.indirection[-1].WhichOneof("node") == "a_star"
    fields = (value.a_indirection.arg if indirect else value).column_ref.fields
    if not indirect and not (fields and fields[-1].WhichOneof("node") == "a_star"):
        return None
    names = [each.string.sval.lower() for each in fields if each.WhichOneof("node") == "string"]
    return names[-1] if names else ""
