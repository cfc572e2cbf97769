"""What two-way sync on SQLite cannot keep in step, or not without harm; each reason with a way."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from bleen.database.migration import Pair
from bleen.database.server import Server
from bleen.database.sqlite import values as sqlite_values
from bleen.database.sqlite.copy import REFERRING
from bleen.database.sqlite.triggers import Trigger, Write, before_ours, chain, triggers
from bleen.database.sqlite.values import MOMENTS, Table, checks, default, look, named, quoted, said
from bleen.database.statements import Unreadable
from bleen.database.sync import sqlite
from bleen.database.sync.reasons import lossy
from bleen.database.sync.sqlite import PREFIX, Sync
from bleen.errors import Refused

_NARROWER = "let it fire for UPDATE OF the columns that it is about, none of the pair's"
_OTHERWISE = "let the application do it, and drop the trigger first"


def foreseen(server: Server, pair: Pair, coming: str | None = "") -> list[str]:
    """Implements ``sync.foreseen``. What comes first is asked first: no reason is given that only follows from another. No SQL makes a function here."""
    try:
        if kind := _kind(server, named(pair.table)):
            return [kind]
    except Refused as error:
        return [str(error)]
    table = look(server, pair.table)
    if table is None:
        return []
    sync = Sync("", 0, pair, table)
    return [*_columns(server, sync), *_others(server, sync), *_undecided(pair)] or [*_expressions(sync)]


def refusals(server: Server, pair: Pair) -> list[str]:
    """Implements ``sync.refusals``, in the same order."""
    if found := foreseen(server, pair):
        return found
    try:
        return [*_values(server, sqlite.of(server, "", 0, pair))]
    except Refused as error:
        return [str(error)]


def risks(server: Server, pair: Pair, expand: str) -> list[str]:
    """Implements ``sync.risks``: what is asked of the old side, or reads it, before our trigger has filled it, when it still is what its defaults make it."""
    try:
        table = look(server, pair.table)
    except Refused:  # as ``foreseen`` says
        return []
    if table is None or any(name not in table.columns for name in pair.old):
        return []
    defaults = {name: default(table.columns[name].default) or "NULL" for name in pair.old}
    given = ", ".join(f"{value} AS {quoted(name)}" for name, value in defaults.items())
    broken = [f"CHECK {text}" for text in checks(server, table.name) if _breaks(server, text, table, defaults, given)]
    for (index,) in server.rows("SELECT name FROM pragma_index_list(%s) WHERE \"unique\" AND NOT partial AND origin <> 'pk' ORDER BY name", [table.name]):
        columns = [name for (name,) in server.rows("SELECT name FROM pragma_index_info(%s) ORDER BY seqno", [index])]
        if all(defaults.get(name, "NULL").upper().strip("()") != "NULL" for name in columns):
            broken.append(f"that {', '.join(columns)} is unique")
    way = "let the new version give that side too, or rebuild the table with another default in a release before this one"
    there = triggers(server, PREFIX)
    return [*_late(there, table, pair), *_early(there, table, pair), *_endless(there, table, pair)] + [
        f"{each} of {table.name} is asked before {', '.join(pair.old)} is made from {', '.join(pair.new)}, and while it has its default: an INSERT of the new"
        f" version may fail; {way}"
        for each in broken
    ]


def _late(there: Sequence[Trigger], table: Table, pair: Pair) -> Iterator[str]:
    """The triggers that keep something of the table's rows elsewhere, and see what was written only when our UPDATE has fired those that keep it up to date."""
    for each in before_ours(there, table.name, (*pair.old, *pair.new))[1]:
        yield (
            f"the trigger {each.name} of {table.name} sees a row only after we have written it again, as it writes {table.name}, or fires behind one that does;"
            f" of what it keeps elsewhere, which ours has updated by then, a write may fail, or leave it wrong: {_NARROWER}, or let it write nothing else"
        )


def _early(there: Sequence[Trigger], table: Table, pair: Pair) -> Iterator[str]:
    """The triggers that are given the old side of a row that the new version inserts as it was inserted, also where they fire behind ours. But what others keep
    up to date, ours fires.
    """
    kept, _ = before_ours(there, table.name, (*pair.old, *pair.new))
    for each in there:
        reads = [name for name in pair.old if ("NEW", name.lower()) in _said(each)]
        if not reads or (each.table, each.verb) != (table.name.lower(), "INSERT"):
            continue
        if refuses := _raises(each):
            does = "and may refuse that"
        elif each.writes and each not in kept:
            does = "and what it writes depends on that"
        else:
            continue
        way = "let the new version give that side too" if refuses else f"let the new version give that side too, or {_OTHERWISE}"
        yield (
            f"the trigger {each.name} of {table.name} says NEW.{', NEW.'.join(reads)} of what is inserted: when the new version inserts, it sees the default,"
            f" not what {', '.join(pair.new)} makes of it, {does}; {way}"
        )


def _endless(there: Sequence[Trigger], table: Table, pair: Pair) -> Iterator[str]:
    """The triggers that write their own row where a column, a time say, is what it was, and end as it then is another. For the second UPDATE of a statement, as
    ours is one, it stays the same.
    """
    for each in chain(there, Write("UPDATE", table.name.lower(), frozenset(name.lower() for name in (*pair.old, *pair.new)))):
        said = _said(each)
        again = sorted({name for write in each.writes if each.fires(write) for name in write.anew if {("OLD", name), ("NEW", name)} <= said})
        if again:
            names = ", ".join(again)
            yield (
                f"the trigger {each.name} of {each.table} ends as {names} changes, and our write fires it when that is changed already: on a connection that"
                f" has set PRAGMA recursive_triggers it fires itself without end, and the UPDATE fails; let it fire for UPDATE OF columns without {names}"
            )


def _breaks(server: Server, check: str, table: Table, defaults: Mapping[str, str], given: str) -> bool:
    """Whether a CHECK does not hold for these columns alone, or, where it names others too, may not."""
    names = said(check)
    ours = {name.lower() for name in defaults}
    if not names & ours:
        return False
    if names & ({name.lower() for name in table.columns} - ours):
        return True
    try:
        return server.rows(f"SELECT {check} FROM (SELECT {given})") == [(0,)]
    except Refused:
        return False


def _undecided(pair: Pair) -> list[str]:
    if pair.on_conflict is not None:
        return []
    why = "SQLite does not know which environment writes, and a writer may change both sides at once"
    return [f'{why}: say on_conflict = "old", "new" or "error", for what to do then']


def _kind(server: Server, name: str) -> str:
    """What speaks against a table before it is looked at; empty if nothing does."""
    found = server.rows("SELECT type FROM pragma_table_list WHERE schema = 'main' AND name = %s COLLATE NOCASE", [name])
    if found and found[0][0] != "table":
        words = {"view": "a view, whose writes are its own INSTEAD OF triggers': name the table that holds the rows"}
        return f"{name} is {words.get(found[0][0], 'a virtual table, or a part of one, which has no triggers: expand without sync')}"
    return ""


def _columns(server: Server, sync: Sync) -> Iterator[str]:
    table, ours = sync.table, [name for name in (*sync.pair.old, *sync.pair.new) if name in sync.table.columns]
    if not table.locator:
        yield f"{table.name} has columns called rowid, _rowid_ and oid, and no primary key: nothing tells its rows apart"
    for name in ours:
        column = table.columns[name]
        if column.generated:
            yield f"{name} is a generated column, which a trigger cannot set: pair the columns that it is made from"
        if column.key:
            yield f"{name} is in the primary key: a write that seems to leave it alone would change it; leave it out of the pair"
        elif column.required and column.default.upper() in ("", "NULL"):
            other = "the new version, which does not name it" if name in sync.pair.old else "the old version, which does not know it"
            yield (
                f"{name} is NOT NULL without a default: an INSERT of {other}, fails before a trigger of SQLite can fill it; give it a default (ALTER TABLE"
                " cannot: rebuild the table in a release before this one), or let the expand make a new table"
            )
    known = {name.lower() for name in ours}
    for column, words in server.rows(REFERRING, [table.name, table.name]):
        if column.lower() in known:
            yield f"{column} is in {words}: a write that seems to leave it alone would change it; leave it out of the pair"


def _others(server: Server, sync: Sync) -> Iterator[str]:
    """Whoever else has a hand in the table's rows."""
    table, ours = sync.table, (*sync.pair.old, *sync.pair.new)
    known = frozenset(each.lower() for each in ours)
    there = triggers(server, PREFIX)
    for trigger in there:
        if trigger.table != table.name.lower():
            continue
        if _guards(trigger, known):
            yield f"the trigger {trigger.name} of {table.name} may refuse an UPDATE, and ours is one, in an INSERT too: {_NARROWER}, or {_OTHERWISE}"
        if what := _writes(trigger, table, known):
            yield f"the trigger {trigger.name} of {table.name} {what}, also when we have written the row: {_OTHERWISE}"
    for trigger, by in chain(there, Write("UPDATE", table.name.lower(), known)).items():
        if by and trigger.table != table.name.lower() and (what := _writes(trigger, table, known)):
            fired = f"which {by.name} of {by.table} fires"
            yield f"the trigger {trigger.name} of {trigger.table}, {fired}, {what}, also when we write a row, and ours does not fire again then: {_OTHERWISE}"
    if not server.columns("bleen_sync"):
        return
    for name, columns in server.rows("SELECT name, columns FROM bleen_sync WHERE of_table = %s ORDER BY name", [table.name]):
        theirs = {token.identifier for token in sqlite_values.tokens(columns) if token.kind == "name"}
        if theirs != {*ours} and (both := sorted(theirs & {*ours})):
            yield f"{', '.join(both)}: kept in step by {name} already; contract that migration first"


def _writes(trigger: Trigger, table: Table, ours: frozenset[str]) -> str:
    """What a trigger does to our columns of the table; empty if nothing."""
    for write in trigger.writes:
        if write.table == table.name.lower() and write.verb == "INSERT":
            return f"inserts rows into {table.name}"
        if write.table == table.name.lower() and (set_ := ours & write.columns):
            return f"writes {', '.join(sorted(set_))}"
    return ""


def _guards(trigger: Trigger, ours: frozenset[str]) -> bool:
    """Whether a trigger may refuse that we write a row which only others have changed: for what it is, or that these columns change; not for what it becomes,
    as a CHECK would too.
    """
    if not _raises(trigger) or trigger.verb != "UPDATE" or (trigger.of and not trigger.of & ours):
        return False
    was, becomes = ({column for row, column in _said(trigger) if row == which} for which in ("OLD", "NEW"))
    return not becomes or bool(was & ours or was - becomes)


def _raises(trigger: Trigger) -> bool:
    return "RAISE" in (token.word for token in trigger.tokens)


def _said(trigger: Trigger) -> set[tuple[str, str]]:
    """The columns that a trigger names with a row, or a table, before them: OLD or NEW, say."""
    tokens = trigger.tokens
    return {(row.word, column.identifier.lower()) for row, dot, column in zip(tokens, tokens[1:], tokens[2:], strict=False) if dot.text == "."}


def _expressions(sync: Sync) -> Iterator[str]:
    """What can be said of the expressions without a row."""
    for words, side, expressions in (("forward", sync.pair.old, sync.pair.forward), ("backward", sync.pair.new, sync.pair.backward)):
        for column, expression in expressions.items():
            if why := _unfit(sync.table, side, expression):
                yield f"{words} of {column} {why}"


def _unfit(table: Table, side: Sequence[str], expression: str) -> str:
    """Why a row's columns cannot be made by an expression; SQLite says it of what would be a generated column, for which it asks the same."""
    try:
        tokens = sqlite_values.tokens(expression)
    except Unreadable as error:
        return f"cannot be read: {error}"
    if not tokens:
        return "is not one expression"
    known = {name.lower() for name in side}
    for token in tokens:
        if token.kind == "name" and token.identifier.lower() not in known:  # which SQLite may take for a string
            return f"names {token.text}; it can be made from {', '.join(side)} only"
        if token.kind == "string" and token.text[1:-1].lower() in MOMENTS:
            return f"says {token.text}, which is something else each time, or in each process: a row would never be in step"
    scratch = sqlite3.connect(":memory:", isolation_level=None)
    try:
        columns = ", ".join(f"{quoted(name)} {table.columns[name].type if name in table.columns else ''}" for name in side)
        scratch.execute(f'CREATE TABLE {quoted(table.name)} ({columns}, "bleen made" GENERATED ALWAYS AS (\n{expression}\n) VIRTUAL)')
        scratch.execute(f"INSERT INTO {quoted(table.name)} DEFAULT VALUES")
        scratch.execute(f'SELECT "bleen made" FROM {quoted(table.name)}').fetchall()
    except sqlite3.Error as error:
        return f"is nothing that can be made of {', '.join(side)} alone; SQLite says: {str(error).replace('generated column', 'expression')}"
    finally:
        scratch.close()
    return ""


def _values(server: Server, sync: Sync) -> Iterator[str]:
    """Whether the expressions hold for the defaults of the columns and for the rows that there are."""
    for words, side, expressions in (("forward", sync.pair.old, sync.pair.forward), ("backward", sync.pair.new, sync.pair.backward)):
        defaults: Mapping[str, str | None] = {name: default(sync.table.columns[name].default) for name in side}
        if None not in defaults.values():
            given = ", ".join(f"{value} AS {quoted(name)}" for name, value in defaults.items())
            made = ", ".join(f"(\n{each}\n)" for each in expressions.values())
            try:
                server.rows(f"SELECT {made} FROM (SELECT {given})")
            except Refused as error:
                why = f"fails for the defaults of {', '.join(side)}, which a row has that was inserted by the other version"
                yield f"{words} {why}: {str(error).removeprefix('the database says: ')}"
                return
    key = " || ', ' || ".join(f"quote(t.{name})" for name in sync.table.locator)
    try:
        if sync.pair.lossy:
            server.rows(sync.diverged())
            return
        count, example = server.rows(f"SELECT count(*), min({key}) {sync.unreadable_rows()}")[0]
    except Refused as error:
        yield f"forward or backward fails for a row of the table: {str(error).removeprefix('the database says: ')}"
        return
    yield from lossy(sync.pair, ", ".join(sync.table.locator), count, example)
