"""How free a release is with a relation that it made itself: by name only, or to lock it too, or to write all its rows at once."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from postgast import pg_query_pb2 as pb
from postgast import walk

from bleen.database.grammar.postgres import Message, kind, quoted, relation, type_name, words
from bleen.database.rules.postgres_look import FREE as HARMLESS
from bleen.database.rules.postgres_look import SERIAL, Look, called, functions

NAME = "relation"
"""Nobody uses it by its name, so that it may be dropped, renamed and given away: a view, a foreign table, an index too."""

FREE = "free"
"""Nobody waits for a lock on it either: not so an index of a table that is in use, and what reads other tables."""

ROWS = "table"
"""And a statement that reads or writes all its rows reaches no other ones: an ordinary table on which no rule, trigger or cascade was put."""

QUERY, DEFAULTS = "query calls", "defaults call"
"""What a view's query, or the defaults of a table by their columns, call that may do anything. They do it once somebody uses them, and only that is an error;
by the last of the names alone."""

TIES = "tied by"
"""The foreign keys of a free table to tables in use, or of those to it: PostgreSQL locks both for what is done to a key. By the last of its names too."""

OF_DOMAIN, SHADOWS = "domain calls", "shadows"
"""What the CHECKs and the default of a new domain call for each value of it; and new functions that have the name of a harmless one. By the last name."""

FILLED = "has rows"
"""A new table that this release has written to: what is computed for each row that is there runs. By the last of its names too."""

FIRES = "a write runs"
"""What a row that is written to a new table sets off besides: a trigger, the functions of a CHECK. By the last of its names too."""

PARTS = "partitions and children"
"""Of a table, with whether each was in use when it came to it: what is done to the table is done to them. By the last of its names too."""

GRANTED = "granted"
"""A sequence on which this release has granted something, by the last of its names; an empty one stands for all that there are, or will be."""

INSERTS, UPDATES = 4, 16
"""Bits of a trigger's events (pg_trigger.h)."""

_EVERYTHING = (NAME, FREE, ROWS)
_CARRIED = (QUERY, DEFAULTS, TIES, FILLED, FIRES, PARTS)


class Fired(NamedTuple):
    """Something that a write sets off."""

    rule: str
    what: str
    events: int
    """That a trigger is of, by bits."""
    phase: str
    """In the next one it runs for what the versions write as well."""


class Tie(NamedTuple):
    """A foreign key between a free table and one in use."""

    constraint: str
    columns: tuple[str, ...]
    """Of the free table; none if it refers to the primary key without a name."""
    other: tuple[str, ...]
    """The table in use."""
    emptied: tuple[str, ...] = ()
    """The columns that are set to NULL when the row goes that they refer to."""


def makes_table(look: Look, name: tuple[str, ...]) -> None:
    for freedom in _EVERYTHING:
        look.known.makes(freedom, *name)
    for fact in (TIES, FILLED, FIRES, PARTS):
        look.known.unlearns(fact, name[-1])


def makes_copy(look: Look, name: tuple[str, ...]) -> None:
    """A materialized view, a sequence, an index of what is new itself."""
    look.known.makes(NAME, *name)
    look.known.makes(FREE, *name)


def makes_numbers(look: Look, name: tuple[str, ...], tree: Message) -> None:
    """The sequences of a new table's serial and identity columns, as they are called or as PostgreSQL calls them."""
    for _, node in walk(tree):
        if kind(node) == "ColumnDef":
            identity = next((each.constraint for each in node.constraints if each.constraint.contype == pb.CONSTR_IDENTITY), None)
            numbered, column = identity is not None or type_name(node.type_name) in SERIAL, node.colname
        else:
            numbered = kind(node) == "AlterTableCmd" and node.subtype == pb.AT_AddIdentity
            identity, column = (getattr(node, "def").constraint, node.name) if numbered else (None, "")
        options = identity.options if identity is not None else ()
        said = next((words(each.def_elem.arg.list.items) for each in options if each.def_elem.defname == "sequence_name"), (called(name[-1], column, "seq"),))
        if numbered:
            makes_copy(look, said if len(said) > 1 else (*name[:-1], *said))  # its schema is the table's


def makes_name(look: Look, name: tuple[str, ...]) -> None:
    look.known.makes(NAME, *name)


def is_free(look: Look, name: tuple[str, ...]) -> bool:
    return look.known.made(FREE, *name) and not in_use_below(look, name)


def has_own_rows(look: Look, name: tuple[str, ...]) -> bool:
    return look.known.made(ROWS, *name) and not in_use_below(look, name)


def takes_in(look: Look, whole: tuple[str, ...], part: tuple[str, ...]) -> None:
    """A partition or a child comes to a table."""
    look.known.learns(PARTS, whole[-1], what={**_parts(look, whole), part: not look.known.made(FREE, *part)})


def lets_go(look: Look, whole: tuple[str, ...], part: tuple[str, ...]) -> None:
    look.known.learns(PARTS, whole[-1], what={each: used for each, used in _parts(look, whole).items() if each != part})


def took_in(look: Look, whole: tuple[str, ...], part: tuple[str, ...]) -> bool:
    """Whether it came to the table by a statement of this release, and is there still."""
    return part in _parts(look, whole)


def _parts(look: Look, whole: tuple[str, ...]) -> dict[tuple[str, ...], bool]:
    return look.known.of(PARTS, whole[-1]) or {}


def in_use_below(look: Look, name: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The tables in use that belong to a new one, at whatever depth, by statements of this release."""
    found, left = [], [name]
    for whole in left:
        parts = _parts(look, whole)
        found += [each for each, used in parts.items() if used]
        left += [each for each, used in parts.items() if not used and each not in left]
    return found


def forgets(look: Look, name: tuple[str, ...]) -> None:
    for freedom in _EVERYTHING:
        look.known.forgets(freedom, *name)


def ties(look: Look, name: tuple[str, ...]) -> list[Tie]:
    return look.known.of(TIES, name[-1]) or []


def moves(look: Look, old: tuple[str, ...], new: tuple[str, ...]) -> None:
    """To another name; columns and what else is known below it is known no more, but not what it calls."""
    had, calls = [each for each in _EVERYTHING if look.known.made(each, *old)], [(fact, look.known.of(fact, old[-1])) for fact in _CARRIED]
    forgets(look, old)
    for freedom in had:
        look.known.makes(freedom, *new)
    for fact, what in calls:
        if what:
            look.known.learns(fact, new[-1], what=what)


def refers(look: Look, name: tuple[str, ...], tree: Message) -> None:
    """What a table's foreign keys cascade is written with the rows that they refer to; and each ties a free table to one in use."""
    for key, columns in foreign_keys(tree):
        parent = relation(key.pktable)
        if {key.fk_del_action, key.fk_upd_action} & {"c", "n", "d"}:
            look.known.learns("cascades", parent[-1], name[-1])
            if not has_own_rows(look, name):
                reaches_further(look, parent)
        constraint = key.conname or called(name[-1], *columns, "fkey")  # as PostgreSQL calls it
        if not is_free(look, name):
            _tie(look, parent, Tie(constraint, words(key.pk_attrs), name))
        elif not is_free(look, parent):
            _tie(look, name, Tie(constraint, columns, parent, emptied(key, columns)))


def foreign_keys(tree: Message) -> Iterator[tuple[Message, tuple[str, ...]]]:
    """With the columns that they are of."""
    for _, node in walk(tree):
        if kind(node) == "ColumnDef":
            yield from ((each.constraint, (node.colname,)) for each in node.constraints if each.constraint.contype == pb.CONSTR_FOREIGN)
        elif kind(node) == "Constraint" and node.contype == pb.CONSTR_FOREIGN and node.fk_attrs:
            yield node, words(node.fk_attrs)


def emptied(key: Message, columns: tuple[str, ...]) -> tuple[str, ...]:
    """By ON DELETE SET NULL."""
    return (words(key.fk_del_set_cols) or columns) if key.fk_del_action == "n" else ()


def _tie(look: Look, name: tuple[str, ...], tie: Tie) -> None:
    look.known.learns(TIES, name[-1], what=[*ties(look, name), tie])


def unties(look: Look, name: tuple[str, ...], tie: Tie) -> None:
    look.known.learns(TIES, name[-1], what=[each for each in ties(look, name) if each != tie])


def reaches_further(look: Look, name: tuple[str, ...]) -> None:
    """From now on who writes its rows writes, or calls, something else, and so who writes those that cascade to them; whatever schema was named before."""
    left, seen = [name[-1]], set[str]()
    while left:
        last = left.pop()
        seen.add(last)
        look.known.takes_back(ROWS, last)
        left += [parent for parent, child in look.known.facts("cascades") if child == last and parent not in seen]


def unseen(look: Look, tree: Message) -> list[str]:
    """What a tree calls though ``functions`` does not show it: by a domain of a value or a column, or as another function of a harmless one's name."""
    found: list[str] = []
    for _, node in walk(tree):
        if kind(node) in ("TypeCast", "ColumnDef"):
            found += look.known.of(OF_DOMAIN, words(node.type_name.names)[-1]) or () if node.type_name.names else ()
        elif kind(node) == "FuncCall" and words(node.funcname)[0] != "pg_catalog" and look.known.knows(SHADOWS, words(node.funcname)[-1]):
            found.append(quoted(*words(node.funcname)))
    return found


def calls_by_default(look: Look, name: tuple[str, ...], columns: Iterable[Message], added: bool = False) -> None:
    """The columns whose defaults call what may do anything, with their places; one that is added later has none."""
    found = list(look.known.of(DEFAULTS, name[-1]) or ()) if added else []
    for place, column in enumerate(columns):
        defaults = [each for each in column.constraints if each.constraint.contype == pb.CONSTR_DEFAULT]
        calls = [call for each in defaults for call in (*functions(each, HARMLESS), *unseen(look, each))]
        if calls:
            found.append((column.colname, None if added else place, calls))
    look.known.learns(DEFAULTS, name[-1], what=found)


def fires(look: Look, name: tuple[str, ...], trigger: Message) -> None:
    _fires(look, name, Fired("trigger", f"the trigger {quoted(trigger.trigname)}", trigger.events, look.phase))


def calls_by_check(look: Look, name: tuple[str, ...], tree: Message) -> None:
    checks = [node for _, node in walk(tree) if kind(node) == "Constraint" and node.contype == pb.CONSTR_CHECK]
    columns = [pb.ColumnDef(type_name=node.type_name) for _, node in walk(tree) if kind(node) == "ColumnDef"]
    calls = [*(call for each in checks for call in functions(each, HARMLESS)), *(call for each in (*checks, *columns) for call in unseen(look, each))]
    if calls:
        _fires(look, name, Fired("side-effect", f"{', '.join(dict.fromkeys(calls))}() of a CHECK or a domain", INSERTS | UPDATES, look.phase))


def _fires(look: Look, name: tuple[str, ...], it: Fired) -> None:
    look.known.learns(FIRES, name[-1], what=[*(look.known.of(FIRES, name[-1]) or ()), it])


def fired(look: Look, name: tuple[str, ...], events: int) -> list[Fired]:
    """By a write of a row, which is of these events."""
    return [each for each in look.known.of(FIRES, name[-1]) or () if each.events & events and each.phase == look.phase]
