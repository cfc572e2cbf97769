"""Which columns PostgreSQL believes to be never NULL without reading their table, going by what this release did: NOT NULL, or a validated CHECK that says so.

Source: PostgreSQL 18, "ALTER TABLE", SET NOT NULL; tablecmds.c, NotNullImpliedByRelConstraints.
"""

from collections.abc import Iterable, Iterator

from postgast import pg_query_pb2 as pb
from postgast import walk

from bleen.database.grammar.postgres import Message, kind, type_name, words
from bleen.database.rules.postgres_holds import check, never_null
from bleen.database.rules.postgres_look import SERIAL, Look

_REQUIRED, _PROMISED, _PROVEN = "required", "promises not null", "proves not null"


def is_never_null(look: Look, table: tuple[str, ...], column: str) -> bool:
    return look.known.knows(_REQUIRED, *table, column) or any(names[:-1] == (*table, column) for names in look.known.facts(_PROVEN))


def requires(look: Look, table: tuple[str, ...], column: str) -> None:
    """NOT NULL."""
    look.known.learns(_REQUIRED, *table, column)


def allows(look: Look, table: tuple[str, ...], column: str) -> None:
    look.known.unlearns(_REQUIRED, *table, column)


def follows(look: Look, table: tuple[str, ...], tree: Message) -> list[str]:
    """The columns that CREATE TABLE, or a part of an ALTER of a table that nobody uses yet, requires from here on."""
    subtype = pb.AlterTableType.Name(tree.subtype) if kind(tree) == "AlterTableCmd" else ""
    if subtype in ("AT_DropNotNull", "AT_DropColumn"):
        allows(look, table, tree.name)
    elif subtype == "AT_DropConstraint":
        loses_constraint(look, table, tree.name, False)
    required = [tree.name] if subtype == "AT_SetNotNull" else said(tree)
    for column in required:
        requires(look, table, column)
    return required


def said(tree: Message) -> list[str]:
    """The columns that a CREATE TABLE, or a part of an ALTER, says are never NULL."""
    return list(_required(tree))


def _required(tree: Message) -> Iterator[str]:
    for _, node in walk(tree):
        if kind(node) == "ColumnDef":
            said = {each.constraint.contype for each in node.constraints}
            if said & {pb.CONSTR_NOTNULL, pb.CONSTR_PRIMARY, pb.CONSTR_IDENTITY} or type_name(node.type_name) in SERIAL:
                yield node.colname
        elif kind(node) == "Constraint" and node.contype == pb.CONSTR_PRIMARY:
            yield from words(node.keys)
        elif kind(node) == "Constraint" and node.contype in (pb.CONSTR_CHECK, pb.CONSTR_NOTNULL) and not (node.skip_validation or node.is_no_inherit):
            yield from never_null(check(node, "").parts)


def promises(look: Look, table: tuple[str, ...], constraint: str, columns: Iterable[str], over: Iterable[str]) -> None:
    """A constraint that is NOT VALID yet says of ``columns`` that they are never NULL; it goes when one goes that it is ``over``."""
    for column in columns:
        look.known.learns(_PROMISED, *table, column, constraint, what=frozenset(over))


def validated(look: Look, table: tuple[str, ...], constraint: str) -> None:
    for column in promised_by(look, table, constraint):
        look.known.learns(_PROVEN, *table, column, constraint)


def doubts(look: Look, table: tuple[str, ...], constraint: str) -> None:
    """It is there, but proves nothing any more: NOT ENFORCED, NO INHERIT."""
    for column in promised_by(look, table, constraint):
        look.known.unlearns(_PROVEN, *table, column, constraint)


def loses_constraint(look: Look, table: tuple[str, ...], constraint: str, named: bool) -> None:
    """One that is not ``named`` by this release may be a NOT NULL, which has a name from PostgreSQL 18 on."""
    promised = promised_by(look, table, constraint)
    for column in promised:
        look.known.unlearns(_PROMISED, *table, column, constraint)
        look.known.unlearns(_PROVEN, *table, column, constraint)
    for names in look.known.facts(_REQUIRED) if not promised and not named else ():
        if names[:-1] == table:
            look.known.unlearns(_REQUIRED, *names)


def renames_constraint(look: Look, table: tuple[str, ...], old: str, new: str) -> None:
    for fact in (_PROMISED, _PROVEN):
        for names in look.known.facts(fact):
            if names[:-2] == table and names[-1] == old:
                look.known.learns(fact, *names[:-1], new, what=look.known.of(fact, *names))
                look.known.unlearns(fact, *names)


def loses_column(look: Look, table: tuple[str, ...], column: str) -> None:
    """Every CHECK over a column goes with it, what it says of another one too."""
    for names in look.known.facts(_PROMISED):
        if names[:-2] == table and column in look.known.of(_PROMISED, *names):
            loses_constraint(look, table, names[-1], named=True)


def promised_by(look: Look, table: tuple[str, ...], constraint: str) -> list[str]:
    return [names[-2] for names in look.known.facts(_PROMISED) if names[:-2] == table and names[-1] == constraint]
