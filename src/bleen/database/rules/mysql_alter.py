"""ALTER TABLE in MySQL and MariaDB: what it does to a table that is in use, and how it is asked to do it online.

Sources: MySQL 8.0 Reference Manual 17.12.1 "Online DDL Operations"; MariaDB, "InnoDB Online DDL Operations"; what only one of them can do is tried on
MariaDB 10.11. The principle: name ALGORITHM and LOCK, so that a server that would have to copy or to lock refuses instead.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from bleen.database.grammar.conditions import UNKNOWN, value
from bleen.database.grammar.mysql import Alter, Spec, changes_nothing_else
from bleen.database.grammar.mysql_column import Column, is_constant
from bleen.database.migration import PHASES, Phase
from bleen.database.rules.findings import Known
from bleen.database.rules.moved import kept_equal
from bleen.database.rules.mysql_adding import INSTANT, ONLINE, added, defined, nullable, required
from bleen.database.rules.sentences import HOLDS, Fault, collide, columns, held, left, not_null, refuses, same_again
from bleen.database.tokens import Cursor, Token, read, words

RULES = {
    "algorithm": "A change of a table names ALGORITHM and LOCK, so that a server that would copy the table or lock it refuses instead.",
    "table-rewrite": "What copies or rebuilds a table, or locks it while it does, stops writers for as long as that takes.",
    "rename": "The version that serves knows the old name: add the new one, fill it, drop the old one in contract.",
    "drop-in-expand": "The version that serves still uses it: drop in contract.",
    "change-type": "CHANGE and MODIFY copy the table, and the version that serves expects the old type: add a column with the new one.",
    "add-not-null": "A column that is NOT NULL without a default refuses the INSERTs of the version that does not know it.",
    "volatile-default": "A default that differs per row is written into every row, by a copy of the table.",
    "rewriting-column": "A STORED generated column and an AUTO_INCREMENT one are written into every row, under a lock.",
    "inline-constraint": "A UNIQUE, PRIMARY KEY, CHECK or REFERENCES at a new column builds an index or copies the table.",
    "unique": "A unique index over columns that have values cannot be built if one of them is there twice.",
    **HOLDS,
    "primary-key": "A change of the primary key rebuilds the table.",
    "offline-index": "FULLTEXT and SPATIAL indexes cannot be built while rows are written.",
    "foreign-key": "Adding a foreign key copies the table, unless foreign_key_checks is off.",
    "check-constraint": "Adding a CHECK, or enforcing one, copies the table.",
    "set-default": "The version that serves leaves the column out, and gets another value from then on.",
    "drop-default": "The version that serves leaves the column out, and its INSERTs fail without a default.",
    "visibility": "An invisible column vanishes from SELECT *, an invisible index from the plans of queries.",
    "partition": "Partitioning copies rows, drops them or locks the table.",
    "table-option": "The option rebuilds the table, or changes what later statements and INSERTs get.",
}


class Context(NamedTuple):
    """The table of an ALTER TABLE, and when it runs."""

    table: tuple[Token, ...]
    phase: Phase
    known: Known
    online: bool
    """ALGORITHM and LOCK are named such that the server refuses to copy and to lock."""
    instant: bool

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(token.identifier for token in self.table)

    @property
    def name(self) -> str:
        return ".".join(token.text for token in self.table)

    def alter(self, spec: str, how: str = "") -> str:
        return f"ALTER TABLE {self.name} {spec}{', ' + how if how else ''};"

    def made(self, column: Token) -> bool:
        """Whether this phase has added that column, so that nobody uses it."""
        return self.known.made("column", *self.key, column.identifier.lower())

    def knows(self, fact: str, column: Token) -> bool:
        """What ``_remember`` has kept of a column."""
        return self.known.knows(fact, *self.key, column.identifier.lower())

    def used(self, named: Sequence[Token]) -> list[Token]:
        """Those columns that the old version writes: itself, or as it writes what they are computed from."""
        return [token for token in named if not self.made(token) or self.knows("computed", token)]


def judged(alter: Alter, phase: Phase, known: Known) -> Iterator[Fault]:
    """What is wrong with an ALTER TABLE; ``known`` learns what it makes."""
    algorithm, lock = alter.value("algorithm"), alter.value("lock")
    instant = algorithm == "INSTANT"
    online = instant or (algorithm in ("INPLACE", "NOCOPY") and lock == "NONE")
    context = Context(alter.table, phase, known, online, instant)
    if known.made("table", *context.key):
        yield from _of_new_table(alter, context)
        return
    unnamed: list[Spec] = []
    left: list[Spec] = []
    found: list[Fault] = []
    unsaid: list[Spec] = []
    for spec in alter.specs:
        if spec.column is not None and spec.kind == "add-column":
            _remember(spec.column, context)
            if not spec.value:
                known.makes("column", *context.key, spec.names[0].identifier.lower())
        elif spec.kind in ("add-index", "add-unique") and spec.names and "EXISTS" not in _words(spec):
            known.makes("index", *context.key, spec.names[0].identifier.lower())
        faults = list(_SPECS[spec.kind](spec, context))
        found += faults
        if spec.kind in ("algorithm", "lock") or any(fault.severity == "error" for fault in faults):
            continue
        left.append(spec)
        if not any(fault.fix for fault in faults):
            unsaid.append(spec)
        if not online and spec.kind in _NAMED:
            unnamed.append(spec)
    nameless = bool(unnamed) and algorithm != "COPY" and lock not in ("SHARED", "EXCLUSIVE")
    yield from found if nameless else _with_the_rest(found, unsaid, alter, context)
    for kind in ("algorithm", "lock"):
        again = [spec for spec in alter.specs if spec.kind == kind][1:]
        if again:
            yield Fault(again[-1].at, "algorithm", f"{kind.upper()} is named more than once, and the last one counts: name it once")
    if nameless:  # which says the rest
        yield _unnamed(unnamed, left, context)
    for spec in alter.specs:
        if spec.kind == "add-foreign":
            known.forgets("table", *(token.identifier for token in spec.names))  # what it cascades to is in use


def _with_the_rest(found: Sequence[Fault], unsaid: Sequence[Spec], alter: Alter, context: Context) -> Iterator[Fault]:
    """The last safe way of a statement says the parts too against which there is nothing to be said: a column or an index among them may need those before."""
    last = max((fault for fault in found if fault.severity == "error" and fault.fix), key=lambda fault: fault.at.offset, default=None)
    dropped = {_target(spec) for spec in alter.specs if spec.kind in ("drop-column", "drop-index")}
    apart = [spec for spec in unsaid if spec.kind in ("add-column", "add-index", "add-unique") and spec.names and _target(spec) in dropped]
    rest = [spec for spec in unsaid if spec not in apart]
    how = [spec.text for spec in alter.specs if spec.kind in ("algorithm", "lock")] if context.online else []
    if not how and any(spec.kind in _NAMED for spec in rest):
        how = [INSTANT if all(spec.kind == "add-column" for spec in rest) else ONLINE]
    for fault in found:
        fix = fault.fix
        if fault is last and rest:
            fix = _followed(fix, context.alter(", ".join([*(spec.text for spec in rest), *how])), context.phase)
        if fault is last and apart:
            later = " ".join(context.alter(", ".join(spec.text for spec in apart)).split())
            fix += f"\n-- in a release after that, as the name is taken until then: {later}"
        yield fault._replace(fix=fix)


def _target(spec: Spec) -> tuple[bool, str]:
    return spec.kind.endswith("column"), spec.names[0].identifier.lower()


def _followed(fix: str, more: str, phase: Phase) -> str:
    """A safe way with a statement behind all that it does in this phase."""
    file, lines = f"-- {phase}.sql", fix.splitlines()
    files = [at for at, line in enumerate(lines) if line in (f"-- {each}.sql" for each in PHASES)]
    if file in lines:
        at = next((each for each in files if each > lines.index(file)), len(lines))
    elif not files or (phase == "expand" and files[0] > 0):
        at = files[0] if files else len(lines)
    else:
        return f"{file}\n{more}\n{fix}" if phase == "expand" else f"{fix}\n{file}\n{more}"
    return "\n".join([*lines[:at], more, *lines[at:]])


_NAMED = frozenset(["add-column", "add-index", "add-unique", "drop-column", "modify", "change"])
_GROWING = ("VARCHAR", "VARBINARY")
"""Types that can become longer without a copy."""
_LONG = frozenset(["add-index", "add-unique", "modify", "change"])


def _words(spec: Spec) -> set[str]:
    """The bare words of a part."""
    return {token.word for token in read(spec.text, "mysql").sentences[0].tokens}


def _named(spec: Spec, behind: str) -> list[Token]:
    """The columns that stand in the first parentheses behind a word of a part."""
    return columns(_group(spec, behind))


def _group(spec: Spec, behind: str = "(") -> tuple[Token, ...]:
    """What stands in the first parentheses at or behind a word of a part."""
    cursor = Cursor(read(spec.text, "mysql").sentences[0].tokens, spec.text)
    while not cursor.sees(behind):
        cursor.at += 1
    while not cursor.sees("("):
        cursor.at += 1
    return cursor.group()


def _remember(column: Column, context: Context) -> None:
    """What later parts and statements have to know of a new column, as long as the old version leaves it out."""
    constant = bool(column.default) and is_constant(column.default) and value(column.default) is not None
    for fact, holds in (("required", column.not_null), ("filled", constant), ("computed", bool(column.generated))):
        tell = context.known.learns if holds else context.known.unlearns
        tell(fact, *context.key, column.name.identifier.lower())


def _unnamed(specs: list[Spec], left: list[Spec], context: Context) -> Fault:
    """One finding for all parts that ought to name how they are done: a warning where every server that we know of does without copy and lock.

    ``left`` is all that may stay in the statement: the parts that nothing is wrong with too.
    """
    waits = any(spec.kind in _LONG or (spec.column is not None and spec.column.position) for spec in specs)
    instant = all(spec.kind == "add-column" for spec in left)
    how = INSTANT if instant else ONLINE
    message = f"ALTER TABLE {context.name} does not name {how}: a server that cannot do it so copies {context.name} or locks it, and says nothing"
    fix = context.alter(", ".join(spec.text for spec in left), how)
    retyped = next((spec for spec in specs if spec.kind in ("modify", "change")), None)
    if retyped is not None and retyped.column is not None:
        message += "; and refuses it so if the type becomes another: then add a column with the new type, keep both equal, and drop the old one"
        if context.phase == "contract" and len(left) == 1 and not retyped.column.not_null and not retyped.column.type.upper().startswith(_GROWING):
            moved = _retyped(retyped.column, context)
            fix = f"-- expand.sql\n{moved}" if moved else ""
    return Fault(specs[0].at, "algorithm", message, fix, "error" if waits else "warn")


def _of_new_table(alter: Alter, context: Context) -> Iterator[Fault]:
    for spec in alter.specs:
        if spec.kind == "partition" and any(word in spec.text.upper() for word in ("EXCHANGE", "TABLE")):
            yield Fault(spec.at, "partition", f"the other table of this is in use, other than {context.name}, which this release has made")
        if spec.kind == "add-foreign":
            yield from refers(spec.at, spec.names, context.known)
        if spec.kind == "rename-table":
            context.known.forgets("table", *context.key)
            context.known.makes("table", *(token.identifier for token in spec.names))


def refers(at: Token, table: tuple[Token, ...], known: Known) -> Iterator[Fault]:
    """A foreign key of a new table to one that may be in use."""
    if not known.made("table", *(token.identifier for token in table)):
        name = ".".join(token.text for token in table)
        message = f"waits for every transaction on {name} to end, holding up those that come after; rows of {name} can then not be deleted as before"
        yield Fault(at, "foreign-key", message, "", "warn")


def _fine(spec: Spec, context: Context) -> Iterator[Fault]:
    yield from ()


def _add_column(spec: Spec, context: Context) -> Iterator[Fault]:
    column = spec.column
    assert column is not None
    name, table = column.name.text, context.name
    safely = added(column, context.table, spec.value)
    if column.auto_increment or column.type.upper() == "SERIAL":
        yield Fault(spec.at, "rewriting-column", f"numbers all rows of {table} while nobody can write; build a new table and move the rows in batches")
    elif column.key == "PRIMARY":
        yield Fault(spec.at, "primary-key", f"a primary key added to {table} rebuilds it; build a new table and move the rows in batches")
    elif column.key:
        why = f", and no index holds all of a {column.type}" if column.endless else ", and all rows would have the same in it"
        then = "" if safely else why
        yield Fault(spec.at, "inline-constraint", f"{name} UNIQUE builds an index over {table} together with the column{then}", safely)
    elif column.references:
        yield Fault(spec.at, "inline-constraint", f"MySQL ignores REFERENCES at a column, and MariaDB copies {table} for it", safely)
    elif column.generated == "STORED":
        yield Fault(spec.at, "rewriting-column", f"a STORED column is computed and written for every row, by a copy of {table} that stops writers", safely)
    elif column.checks and not context.instant:
        message = f"a CHECK at a new column copies {table} in MySQL; {INSTANT} is refused there, and does not copy in MariaDB"
        yield Fault(spec.at, "inline-constraint", message, safely)
    elif not column.generated and column.not_null and (not column.default or value(column.default) is None):
        message = f"{name} is NOT NULL without a default: from now on each INSERT into {table} by the version that does not know it fails"
        yield Fault(spec.at, "add-not-null", message, safely)
    elif not is_constant(column.default):
        yield Fault(spec.at, "volatile-default", f"this default may differ from row to row, so {table} is copied while nobody can write", safely)
    if context.phase == "expand":
        default = UNKNOWN if column.generated else value(column.default) if column.default else None
        checks = (*column.checks, not_null(column.expression, "mysql")) if column.generated and column.not_null else column.checks
        yield from refuses(spec.at, context.name, column.name, default, checks, context.used)
        yield from _no_json(spec.at, column, context)


def _no_json(at: Token, column: Column, context: Context) -> Iterator[Fault]:
    """A new JSON column whose default is none, which the old version writes."""
    if column.no_json:
        fails = f"each INSERT into {context.name} by the version that does not know it fails"
        yield Fault(at, "holds-the-old-version", f"the default of {column.name.text} is no JSON: {fails}; write DEFAULT ('{{}}')")


def _add_unique(spec: Spec, context: Context) -> Iterator[Fault]:
    yield from unique(spec.at, _group(spec), context, context.alter(spec.text, ONLINE))


def unique(at: Token, parts: Sequence[Token], context: Context, fix: str) -> Iterator[Fault]:
    """A unique index of these columns and expressions over a table that is in use; ``fix`` is the same for contract."""
    named = columns(parts)
    used = context.used(named)
    if context.phase != "expand":
        return
    same = collide(parts, [column for column in named if not context.knows("filled", column)])
    if used or not named:
        if context.online:
            yield Fault(at, "unique", f"fails if {context.name} holds something twice", "", "warn")
        yield held(at, context.name, used, fix)
    elif same is True or all(context.knows("filled", column) for column in named):
        yield same_again(at, context.name, named, fix)
    elif same is not False:
        yield left(at, context.name, named, fix)


def _add_index(spec: Spec, context: Context) -> Iterator[Fault]:
    yield from computed(spec.at, _group(spec), context, context.alter(spec.text, ONLINE))


def computed(at: Token, parts: Sequence[Token], context: Context, fix: str) -> Iterator[Fault]:
    """An index of an expression that fails for some values: in a strict sql_mode, the default, the old version's write of such a value fails."""
    used = context.used(columns(parts))
    if context.phase == "expand" and used and any(token.word in _FAILS for token in parts):
        yield held(at, context.name, used, fix)


_FAILS = words("CAST CONVERT / % DIV MOD")


def _offline_index(spec: Spec, context: Context) -> Iterator[Fault]:
    yield offline_index(spec.at, spec.kind.removeprefix("add-").upper(), context.name)


def offline_index(at: Token, kind: str, table: str) -> Fault:
    """A FULLTEXT or SPATIAL index on a table that is in use."""
    message = f"a {kind} index cannot be built while {table} is written to (no LOCK=NONE); build a new table with it and move the rows in batches"
    return Fault(at, "offline-index", message)


def _add_primary(spec: Spec, context: Context) -> Iterator[Fault]:
    yield Fault(spec.at, "primary-key", f"rebuilds {context.name} in the order of the new key; build a new table with it and move the rows in batches")


def _add_foreign(spec: Spec, context: Context) -> Iterator[Fault]:
    fix = f"SET foreign_key_checks = 0;\n{context.alter(spec.text, ONLINE)}\nSET foreign_key_checks = 1;"
    named = _named(spec, "FOREIGN")
    used = [column for column in named if context.used([column]) or context.knows("filled", column)]
    if context.phase == "expand" and used:
        yield held(spec.at, context.name, used, fix)
    if context.online:
        message = f"is done without a copy only while foreign_key_checks is 0, and does not look at the rows of {context.name} that are there"
        yield Fault(spec.at, "foreign-key", message, "", "warn")
        return
    message = f"a foreign key copies {context.name} to check all rows while nobody can write"
    yield Fault(spec.at, "foreign-key", message, fix)


def _add_check(spec: Spec, context: Context) -> Iterator[Fault]:
    message = f"an enforced CHECK copies {context.name} while nobody can write; check it in the application, or on a table that is built new"
    yield Fault(spec.at, "check-constraint", message)
    if context.phase == "expand" and spec.text.upper().startswith("ADD"):
        named = _named(spec, "CHECK")
        if (used := context.used(named)) or not named:
            yield held(spec.at, context.name, used)


def _drop(what: str) -> "Callable[[Spec, Context], Iterator[Fault]]":
    def judge(spec: Spec, context: Context) -> Iterator[Fault]:
        new = spec.kind == "drop-index" and context.known.made("index", *context.key, spec.names[0].identifier.lower())
        if context.phase == "contract" or new or (spec.kind == "drop-column" and context.made(spec.names[0])):
            return
        later = context.alter(spec.text, ONLINE if spec.kind == "drop-column" else "")
        message = f"the version that serves still uses the {what} {spec.names[0].text} of {context.name}"
        yield Fault(spec.at, "drop-in-expand", message, f"-- contract.sql\n{later}")

    return judge


def _drop_primary(spec: Spec, context: Context) -> Iterator[Fault]:
    yield primary_dropped(spec.at, context.name)


def primary_dropped(at: Token, table: str) -> Fault:
    """A table that is in use loses its primary key."""
    return Fault(at, "primary-key", f"copies {table} to a table without a primary key; build a new table and move the rows in batches")


def _rename_table(spec: Spec, context: Context) -> Iterator[Fault]:
    new = ".".join(token.text for token in spec.names)
    yield renamed_table(spec.at, context.name, new)


def renamed_table(at: Token, old: str, new: str) -> Fault:
    """A table that is in use gets another name."""
    message = f"{old} is gone for the version that serves; a view gives the same rows a second name"
    return Fault(at, "rename", message, f"CREATE VIEW {new} AS SELECT * FROM {old};")


def swapped_table(at: Token, table: str) -> Fault:
    """Another table takes the name of one that is in use, and its rows are not there."""
    message = (
        f"what either version writes to {table} while the other table is filled is lost with it; add columns to {table}, or leave the other a name of its own"
    )
    return Fault(at, "rename", message)


def _rename_column(spec: Spec, context: Context) -> Iterator[Fault]:
    old, new = spec.names
    if not context.made(old):
        fix = "-- in place of VARCHAR(255) write the type that the old column has\n" + _moved(old, Column(new, "VARCHAR(255)"), context)
        yield Fault(spec.at, "rename", _renamed(old, context), fix)
    else:
        context.known.makes("column", *context.key, new.identifier.lower())
        for fact in ("required", "filled", "computed"):
            if context.knows(fact, old):
                context.known.learns(fact, *context.key, new.identifier.lower())


def _renamed(old: Token, context: Context) -> str:
    return f"the version that serves reads and writes {context.name}.{old.text}: each of its statements fails from here on"


def _moved(old: Token, column: Column, context: Context) -> str:
    """A second column, kept equal to the first one and filled in batches, and the first one dropped when nobody uses it; empty if it is more than a value."""
    if _is_more(column):
        return ""
    is_old, is_new, default = old.text, column.name.text, column.default_text
    kept = nullable(column.written())
    lines = [context.alter(f"{defined('ADD COLUMN', column, {'NULL': 'NULL', **kept})} {column.position}".rstrip(), INSTANT)]
    along = f"behind ADD COLUMN, if {is_old} has a default: {context.alter(f'ALTER COLUMN {is_new} SET DEFAULT (that of {is_old})')}"
    if default:
        lines.append(context.alter(f"ALTER COLUMN {is_new} SET DEFAULT ({column.bare_default})"))
    lines.append(kept_equal(context.name, old.identifier, column.name.identifier, is_old, is_new, "" if default else along))
    lines += ["-- backfill.sql", f"UPDATE {context.name} SET {is_new} = {is_old} WHERE NOT ({is_new} <=> {is_old});"]
    lines.append("-- contract.sql")
    if column.not_null:  # which fails where there is a NULL: before anything is lost
        lines += required(column, context.name, {"NULL": "NOT NULL", **column.written()})
    lines.append(context.alter(f"DROP COLUMN {is_old}", ONLINE))
    return "\n".join(lines)


def _is_more(column: Column) -> bool:
    """Whether a column is more than a value that is written to it."""
    return bool(column.generated or column.auto_increment or column.key or column.references or column.checks)


def _rename_index(spec: Spec, context: Context) -> Iterator[Fault]:
    if context.known.made("index", *context.key, spec.names[0].identifier.lower()):
        context.known.makes("index", *context.key, spec.names[1].identifier.lower())
    elif context.phase == "expand":
        message = f"queries of the version that serves may name the index {spec.names[0].text} (USE INDEX, FORCE INDEX)"
        yield Fault(spec.at, "rename", message, f"-- contract.sql\n{context.alter(spec.text)}")


def _change(spec: Spec, context: Context) -> Iterator[Fault]:
    old, new = spec.names
    assert spec.column is not None
    if context.made(old):
        context.known.makes("column", *context.key, new.identifier.lower())
        yield from _modify(spec, context)
    elif old.identifier.lower() != new.identifier.lower():
        yield Fault(spec.at, "rename", _renamed(old, context), _moved(old, spec.column, context))
    else:
        yield from _modify(spec, context)


def _modify(spec: Spec, context: Context) -> Iterator[Fault]:
    """In contract the new version alone uses the column; that the server does not copy for it has to be named."""
    column = spec.column
    assert column is not None
    if context.phase == "contract":
        return
    if context.made(column.name) and not _is_more(column):
        _remember(column, context)
        if column.not_null and (not column.default or value(column.default) is None):
            fails = f"each INSERT into {context.name} by the version that does not know it fails"
            message = f"{column.name.text} is NOT NULL without a default from here on: {fails}"
            yield Fault(spec.at, "add-not-null", message, f"-- contract.sql\n{context.alter(spec.text, ONLINE)}" if spec.kind == "modify" else "")
        yield from _no_json(spec.at, column, context)
        return
    message = f"changes {context.name}.{column.name.text} under the version that serves, and copies {context.name} if the type becomes another"
    yield Fault(spec.at, "change-type", message, _retyped(column, context))


def _retyped(column: Column, context: Context) -> str:
    """A second column of the new type in the place of the first."""
    name = "`" + f"{column.name.identifier}_new".replace("`", "``") + "`"
    return _moved(column.name, column._replace(name=Token("name", name, column.name.offset)), context)


def _default(spec: Spec, context: Context) -> Iterator[Fault]:
    column = spec.names[0]
    null = spec.column is None or value(spec.column.default) is None
    if context.phase == "contract":
        return
    if context.made(column):
        if null and context.knows("required", column):
            message = f"{column.text} is NOT NULL, and its default is all that the INSERTs of the version that does not know it have: they fail from here on"
            yield Fault(spec.at, "drop-default", message, f"-- contract.sql\n{context.alter(f'ALTER COLUMN {column.text} DROP DEFAULT')}")
        elif spec.kind == "drop-default":
            message = f"MySQL fails an INSERT that leaves {column.text} out from here on, though it may be NULL, as of the version that does not know it"
            yield Fault(spec.at, "drop-default", f"{message}; SET DEFAULT NULL", context.alter(f"ALTER COLUMN {column.text} SET DEFAULT NULL", ONLINE))
        tell = context.known.learns if spec.column is not None and not null and is_constant(spec.column.default) else context.known.unlearns
        tell("filled", *context.key, column.identifier.lower())
        return
    if spec.kind == "set-default":
        message = f"the version that serves leaves {column.text} out and gets another value from here on"
        yield Fault(spec.at, "set-default", message, "", "warn")
    else:
        message = f"an INSERT of the version that serves which leaves {column.text} out fails from here on"
        yield Fault(spec.at, "drop-default", message, f"-- contract.sql\n{context.alter(spec.text)}")


def _visibility(spec: Spec, context: Context) -> Iterator[Fault]:
    name = spec.names[0]
    new = context.known.made("index", *context.key, name.identifier.lower()) if spec.kind == "index-visibility" else context.made(name)
    shown = spec.kind == "index-visibility" and (spec.text.upper().endswith(" VISIBLE") or "NOT" in _words(spec))
    if context.phase == "contract" or new or shown:
        return
    if spec.kind == "index-visibility":
        yield Fault(spec.at, "visibility", f"queries of the version that serves may be as slow without the index {name.text} as if it were dropped", "", "warn")
    else:
        message = f"SELECT * of the version that serves has other columns from here on ({context.name}.{name.text})"
        yield Fault(spec.at, "visibility", message, f"-- contract.sql\n{context.alter(spec.text)}")


def _option(spec: Spec, context: Context) -> Iterator[Fault]:
    if changes_nothing_else(spec.value):
        return
    if spec.value in ("ENGINE", "TYPE", "ROW_FORMAT", "KEY_BLOCK_SIZE", "ENCRYPTION", "ENCRYPTED", "TABLESPACE", "CHARACTER SET"):
        yield Fault(spec.at, "table-rewrite", f"{spec.value} rebuilds {context.name} row by row; build a new table with it and move the rows in batches")
    else:
        yield Fault(spec.at, "table-option", f"setting {spec.value} may rebuild {context.name}, which is in use; set it on a table that is built new")


def _whole(message: str, rule: str = "table-rewrite") -> "Callable[[Spec, Context], Iterator[Fault]]":
    def judge(spec: Spec, context: Context) -> Iterator[Fault]:
        yield Fault(spec.at, rule, message.format(table=context.name))

    return judge


def _partition(spec: Spec, context: Context) -> Iterator[Fault]:
    """A new range lies behind all others, so that no row moves. Beside MariaDB's DEFAULT, a new list takes over rows without moving them: queries miss them."""
    said = " ".join(token.word for token in read(spec.text, "mysql").sentences[0].tokens)
    ranges = said.count(" VALUES LESS THAN ") if said.startswith("ADD PARTITION ") else 0
    if not ranges or said.count(" PARTITION ") != 1 + ranges:
        why = f"partitioning moves or drops rows of {context.name}, under a lock; build a partitioned table anew and move the rows in batches"
        yield Fault(spec.at, "partition", why)


def _algorithm(spec: Spec, context: Context) -> Iterator[Fault]:
    if spec.value in ("COPY", "SHARED", "EXCLUSIVE"):
        message = f"{spec.kind.upper()}={spec.value} asks for what stops the writers of {context.name}; name {ONLINE} or {INSTANT}"
        yield Fault(spec.at, "table-rewrite", message)


_SPECS: "dict[str, Callable[[Spec, Context], Iterator[Fault]]]" = {
    "add-column": _add_column,
    "add-index": _add_index,
    "add-unique": _add_unique,
    "add-fulltext": _offline_index,
    "add-spatial": _offline_index,
    "add-primary": _add_primary,
    "add-foreign": _add_foreign,
    "add-check": _add_check,
    "add-unenforced": _fine,
    "drop-column": _drop("column"),
    "drop-index": _drop("index"),
    "drop-foreign": _drop("foreign key"),
    "drop-constraint": _drop("constraint"),
    "drop-primary": _drop_primary,
    "rename-table": _rename_table,
    "rename-column": _rename_column,
    "rename-index": _rename_index,
    "change": _change,
    "modify": _modify,
    "set-default": _default,
    "drop-default": _default,
    "visibility": _visibility,
    "index-visibility": _visibility,
    "option": _option,
    "convert": _whole("CONVERT TO copies {table} into another character set while nobody can write; add columns with it, and fill them in batches"),
    "force": _whole("FORCE rebuilds {table}"),
    "order": _whole("ORDER BY copies {table} in that order while nobody can write; sort in the query"),
    "keys": _whole("ENABLE and DISABLE KEYS lock {table} and do nothing in InnoDB"),
    "tablespace": _whole("DISCARD and IMPORT TABLESPACE take {table} away from those who use it"),
    "versioning": _whole("SYSTEM VERSIONING copies {table}; build a new table with it and move the rows in batches"),
    "partition": _partition,
    "algorithm": _algorithm,
    "lock": _algorithm,
}
