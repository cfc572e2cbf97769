"""Which triggers on MySQL and MariaDB give whole rows: an INSERT that names no columns, or takes all by ``SELECT *``. With a column more or less on one side of
it, each write that fires it fails, or values land in other columns; a trigger is a text to the server, which looks at it only then.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from bleen.database.catalogue import Spreading
from bleen.database.grammar.mysql import Spec
from bleen.database.migration import speaks_of
from bleen.database.mysql import statements as mysql_statements
from bleen.database.mysql.triggers import Table, Trigger, together, triggers, unshown
from bleen.database.statements import Statement, Unreadable
from bleen.database.tokens import Cursor, Puzzled, Token, read, words

if TYPE_CHECKING:
    from bleen.database.mysql.server import MySQL

_COLUMNS = """
    SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s AND extra NOT LIKE '%%INVISIBLE%%'
    ORDER BY ordinal_position"""
_MODIFIERS = words("LOW_PRIORITY DELAYED HIGH_PRIORITY IGNORE")
_SELECTS = words("ALL DISTINCT DISTINCTROW HIGH_PRIORITY STRAIGHT_JOIN SQL_SMALL_RESULT SQL_BIG_RESULT SQL_BUFFER_RESULT SQL_NO_CACHE SQL_CALC_FOUND_ROWS")
_JOINS = words("JOIN INNER CROSS LEFT RIGHT NATURAL STRAIGHT_JOIN ON USING FORCE USE IGNORE PARTITION")
"""What stands behind a table, and is no other name for it."""
_BEHIND = words("WHERE GROUP HAVING WINDOW ORDER LIMIT OFFSET FETCH UNION EXCEPT INTERSECT FOR LOCK PROCEDURE RETURNING")
"""What stands behind all tables; and so does ON DUPLICATE KEY UPDATE."""


class _Insert(NamedTuple):
    """An INSERT of a trigger's."""

    trigger: str
    where: str
    """The trigger and its table, for people."""
    into: Table
    columns: tuple[str, ...]
    """Empty if it names none."""
    values: tuple[str | Table, ...]
    """What it gives: each value as it is written, or a table all of whose columns it gives."""
    uncounted: str = ""
    """What gives them instead, but for its strings, if nobody sees how many those are."""


_Values = tuple[str | Table, ...]


def spreading(server: "MySQL", statements: Sequence[Statement], before: Sequence[Statement]) -> Iterator[Spreading]:
    """Implements ``Catalogue.spreading``. What a statement before it speaks of may be such by then that it is right; what fails already is not told."""
    shapes, said = dict[Table, list[str]](), ""
    there = triggers(server) if any(mysql_statements.reshaped(each)[1] for each in statements) else []
    left, hidden = _inserts(server, there), [each for each in there if not each.body]
    for number, statement in enumerate((*before, *statements)):
        (written, specs), was = mysql_statements.reshaped(statement), dict(shapes)
        if specs:
            table = server.qualified(written)
            shapes[table] = _with(specs, _shape(server, shapes, table))
        for each in left if specs and number >= len(before) else ():
            (columns, given), (had, gave) = (_matched(server, each, by) for by in (shapes, was))
            if speaks_of(said, each.trigger):
                continue
            does = f"trigger {each.where} gives whole rows to {each.into[1]} without naming their columns"
            if each.uncounted:
                gives_too = speaks_of(each.uncounted, table[1])
                if had and len(columns) != len(had):
                    fails = "may fail" if gives_too else "fails"
                    why = f"{does}, of which there are {len(columns)} then, and were {len(had)}: every write {fails} that comes there"
                    yield Spreading(statement, why, each.trigger, fails=not gives_too)
                elif gives_too:
                    why = f"trigger {each.where} gives whole rows to {each.into[1]}, and how many columns of {table[1]}, is not to be seen"
                    yield Spreading(statement, f"{why}: every write may fail that comes there", each.trigger, fails=False)
                continue
            if len(had) != len(gave) or (columns, given) == (had, gave):
                continue
            if len(columns) != len(given):
                why = f"{does}: {len(given)} values for {len(columns)} columns from then on, so that every write fails that comes there"
                yield Spreading(statement, why, each.trigger, fails=True)
            elif moved := [name for name in columns if name in had and given[columns.index(name)] != gave[had.index(name)]]:
                yield Spreading(statement, f"{does}: values land in other columns from then on, unseen, as in {moved[0]}", each.trigger, fails=False)
        if number >= len(before) and any(spec.kind == "add-column" for spec in specs):  # of one that goes, ``needing`` tells
            yield from _may(server, statement, [each for each in hidden if not speaks_of(said, each.name)], table[0])
            hidden = []
        said += f"{statement.text};\n"


def _may(server: "MySQL", statement: Statement, hidden: Sequence[Trigger], own: str) -> Iterator[Spreading]:
    """As in ``needing``: those of another database than the ``own`` one are told as one."""
    aside, does = dict[str, list[str]](), "may give whole rows without naming their columns, and fail then"
    for each in hidden:
        if each.schema == own:
            yield Spreading(statement, f"trigger {each.where(server)} {does}: {unshown(server, 'TRIGGER', own)}", each.name, fails=False)
        else:
            aside.setdefault(each.schema, []).append(each.name)
    for schema, names in aside.items():
        why = f"{together('trigger', schema, names)} {does}: {unshown(server, 'TRIGGER', schema, len(names) > 1)}"
        yield Spreading(statement, why, schema, fails=False)


def _with(specs: Sequence[Spec], columns: Sequence[str]) -> list[str]:
    """What columns a table has behind the parts of an ALTER TABLE."""
    found = [*columns]
    for spec in specs:
        name = spec.names[0].identifier.lower()
        if spec.kind == "drop-column":
            found = [each for each in found if each != name]
        elif spec.column and name not in found and "INVISIBLE" not in spec.column.written():
            behind = spec.column.position.removeprefix("AFTER ").strip("`").lower()
            found.insert(0 if behind == "first" else found.index(behind) + 1 if behind in found else len(found), name)
    return found


def _shape(server: "MySQL", shapes: dict[Table, list[str]], table: Table) -> list[str]:
    if table not in shapes:
        shapes[table] = [str(name).lower() for (name,) in server.rows(_COLUMNS, table)]
    return shapes[table]


def _matched(server: "MySQL", insert: _Insert, shapes: dict[Table, list[str]]) -> tuple[list[str], list[str]]:
    """The columns that an INSERT is for, and what it gives."""
    given = list[str]()
    for value in insert.values:
        given += [value] if isinstance(value, str) else [f"{'.'.join(value)}.{name}" for name in _shape(server, shapes, value)]
    return [*insert.columns] or _shape(server, shapes, insert.into), given


def _inserts(server: "MySQL", there: Sequence[Trigger]) -> list[_Insert]:
    """Those of all triggers that could be read."""
    found = list[_Insert]()
    for trigger in there:
        head, body = "CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW ", trigger.body
        try:
            tokens = read(head + body, "mysql").sentences[0].tokens
        except Unreadable:
            continue
        for number, token in enumerate(tokens):
            if number > 4 and token.word in ("INSERT", "REPLACE"):
                end = next((at for at in range(number, len(tokens)) if tokens[at].text == ";"), len(tokens))
                with suppress(Puzzled):  # a function of that name
                    found += _insert(server, Cursor(tokens[number + 1 : end], head + body), trigger)
    return found


def _insert(server: "MySQL", cursor: Cursor, trigger: Trigger) -> list[_Insert]:
    """What follows the word INSERT, up to the end of the statement; none if it says SET, which names what it gives. Raises Puzzled if it is none."""
    into, columns = _into(server, cursor, trigger.schema)
    if cursor.sees("SET"):
        return []
    begin, made = cursor.at, _Insert(trigger.name, trigger.where(server), into, columns, ())
    try:
        return [made._replace(values=_values(server, cursor, trigger.schema, {}))]
    except Puzzled:
        return [made._replace(uncounted=" ".join(token.text for token in cursor.tokens[begin:] if not token.text.startswith("'")))]


def _into(server: "MySQL", cursor: Cursor, schema: str) -> tuple[Table, tuple[str, ...]]:
    """The table that an INSERT is for, and the columns that it names."""
    while cursor.accept_one(_MODIFIERS):
        pass
    cursor.accept("INTO")
    into = _table(server, cursor, schema)
    if cursor.accept("PARTITION"):
        cursor.group()
    if cursor.sees("(") and cursor.ahead(1).word not in ("(", "SELECT", "VALUES", "WITH", "TABLE"):
        return into, tuple(part[-1].identifier.lower() for part in _parts(cursor.group()))
    return into, ()


def _values(server: "MySQL", cursor: Cursor, schema: str, known: Mapping[str, _Values | None]) -> _Values:
    """What a query gives, up to the end of the statement; ``known``: what the queries do that WITH has named. Raises Puzzled if how many values that are is
    not to be seen.
    """
    if cursor.accept("VALUES") or cursor.accept("VALUE"):
        return tuple(" ".join(token.text for token in part) for part in _parts(cursor.group()))
    if cursor.accept("TABLE"):
        return _counted(_all(server, cursor, schema, known)[1], cursor)
    if cursor.sees("("):
        return _values(server, Cursor(cursor.group(), cursor.text), schema, known)
    if cursor.accept("WITH"):
        cursor.accept("RECURSIVE")
        known = dict(known)
        while True:
            name, named = cursor.name().identifier.lower(), bool(cursor.sees("(") and cursor.group())
            cursor.expect("AS")
            known[name] = _queried(server, cursor, schema, known, named)
            if not cursor.accept(","):
                return _values(server, cursor, schema, known)
    cursor.expect("SELECT")
    while cursor.accept_one(_SELECTS):
        pass
    rest = cursor.rest()
    end = next((at for at, token in _flat(rest) if token.word in ("FROM", "UNION")), len(rest))
    given = _parts(rest[:end])
    if not any(map(_whole, given)):
        return tuple(" ".join(token.text for token in part) for part in given)
    behind = rest[end + 1 :]
    last = next((at for at, token in _flat(behind) if token.word in _BEHIND or [each.word for each in behind[at : at + 2]] == ["ON", "DUPLICATE"]), len(behind))
    tables = dict(_read(server, Cursor(behind[:last], cursor.text), schema, known))
    values = list[str | Table]()
    for part in given:
        if not _whole(part):
            values.append(" ".join(token.text for token in part))
            continue
        for each in tables.values() if len(part) == 1 else [tables.get(part[-3].identifier.lower())]:
            values += _counted(each, cursor)
    return tuple(values)


def _counted(values: _Values | None, cursor: Cursor) -> _Values:
    if values is None:
        raise Puzzled(cursor.now)
    return values


def _queried(server: "MySQL", cursor: Cursor, schema: str, known: Mapping[str, _Values | None], named: bool) -> _Values | None:
    """What the query in the brackets that come next gives; none if that is not to be seen, or is to be as many as it has names."""
    try:
        values = _values(server, Cursor(cursor.group(), cursor.text), schema, known)
    except Puzzled:
        return None
    return None if named and not all(isinstance(each, str) for each in values) else values


def _whole(part: Sequence[Token]) -> bool:
    """Whether a value stands for all columns of a table, or of all."""
    return part[-1].word == "*" and (len(part) == 1 or part[-2].word == ".")


def _read(server: "MySQL", cursor: Cursor, schema: str, known: Mapping[str, _Values | None]) -> Iterator[tuple[str, _Values | None]]:
    """What the tables and queries behind FROM give, by the names that they go by there; none if that is not to be seen, as where columns run into those of
    another.
    """
    while not cursor.done:
        name, values = ("", _queried(server, cursor, schema, known, False)) if cursor.sees("(") else _all(server, cursor, schema, known)
        if cursor.sees("("):  # JSON_TABLE, say
            cursor.group()
            values = None
        aliased = cursor.accept("AS") or (cursor.now.kind in ("word", "name") and cursor.now.word not in _JOINS)
        yield (cursor.name().identifier.lower() if aliased else name), None if aliased and cursor.sees("(") else values
        rest = [*_flat(cursor.tokens[cursor.at :])]
        to = next((at for at, token in rest if token.word in ("JOIN", "STRAIGHT_JOIN", ",")), len(cursor.tokens))
        if any(token.word in ("NATURAL", "USING") for at, token in rest if at < to):
            yield "", None
        cursor.at += to + 1


def _all(server: "MySQL", cursor: Cursor, schema: str, known: Mapping[str, _Values | None]) -> tuple[str, _Values | None]:
    """All columns of the table that comes next, or of what WITH has named so, and its name."""
    name = cursor.now.identifier.lower()
    if name in known and cursor.ahead(1).word != ".":
        cursor.at += 1
        return name, known[name]
    table = _table(server, cursor, schema)
    return table[1].lower(), (table,)


def _table(server: "MySQL", cursor: Cursor, schema: str) -> Table:
    names = [cursor.kind("word", "name", "string").identifier]  # a string is a name under ANSI_QUOTES
    while cursor.accept("."):
        names.append(cursor.kind("word", "name", "string").identifier)
    return server.qualified(names if len(names) > 1 else (schema, *names))


def _parts(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    """What commas part that no bracket holds."""
    ends = [at for at, token in _flat(tokens) if token.word == ","]
    return [tuple(tokens[begin:end]) for begin, end in zip([0, *(at + 1 for at in ends)], [*ends, len(tokens)], strict=True) if begin < end]


def _flat(tokens: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    """The tokens that no bracket holds, with their numbers."""
    depth = 0
    for number, token in enumerate(tokens):
        depth -= token.word == ")"
        if not depth:
            yield number, token
        depth += token.word == "("
