"""Domains on PostgreSQL, which bring their constraints and defaults to every column of theirs.

Source: PostgreSQL 18, "CREATE DOMAIN", "ALTER DOMAIN"; tablecmds.c, ATExecAddColumn: a table is written again for a column of a domain with a constraint.
"""

from collections.abc import Iterator
from typing import NamedTuple

from postgast import pg_query_pb2 as pb

from bleen.database.grammar.postgres import Message, changed, quoted, sql, words
from bleen.database.rules.findings import Finding
from bleen.database.rules.postgres_look import BUILT_IN, FREE, OF_EXTENSIONS, STEADY, Look, called, functions
from bleen.database.rules.postgres_made import OF_DOMAIN, unseen
from bleen.database.rules.postgres_values import Value, as_type, value
from bleen.database.rules.sentences import HELD
from bleen.database.statements import Place


class Domain(NamedTuple):
    """What this release has made of one, with what it has from the domain that it is made of."""

    base: tuple[str, ...]
    sure: bool
    """Its base is no domain that nobody has looked at."""
    constrained: bool
    volatile: bool
    given: Value
    """Its default."""


def create_domain(look: Look, statement: Message) -> Iterator[Finding]:
    name, base = words(statement.domainname), _plain(statement.type_name)
    under = look.known.of("domain", *base) or Domain((), (len(base) == 1 and base[0] in BUILT_IN) or look.known.made("type", *base), False, False, None)
    constraints = [each.constraint for each in statement.constraints]
    constrained = under.constrained or any(each.contype not in (pb.CONSTR_NULL, pb.CONSTR_DEFAULT) for each in constraints)
    made = Domain(base, under.sure, constrained, under.volatile, under.given)
    for default in (each.raw_expr for each in constraints if each.contype == pb.CONSTR_DEFAULT):
        made = made._replace(volatile=_volatile(default), given=as_type(value(default), statement.type_name))
    look.known.learns("domain", *name, what=made)
    calls = [*(look.known.of(OF_DOMAIN, base[-1]) or ()), *_calls(look, statement)]
    if calls:
        look.known.learns(OF_DOMAIN, name[-1], what=calls)
    look.known.makes("type", *name)
    yield from ()


def _plain(type_name: Message) -> tuple[str, ...]:
    name = words(type_name.names)
    return name[1:] if name[0] == "pg_catalog" else name


def _calls(look: Look, constraint: Message) -> list[str]:
    return [*functions(constraint, FREE), *unseen(look, constraint)]


def _volatile(default: Message) -> bool:
    return bool(functions(pb.ResTarget(val=default), STEADY))


def alter_domain(look: Look, statement: Message) -> Iterator[Finding]:
    name = words(statement.type_name)
    adds = statement.subtype in ("C", "O")
    constraint = getattr(statement, "def").constraint
    for each in _over(look, name) if (statement.subtype in "CT" and (calls := _calls(look, statement))) else ():
        look.known.learns(OF_DOMAIN, each[-1], what=[*(look.known.of(OF_DOMAIN, each[-1]) or ()), *calls])
    if look.known.made("type", *name):
        over = _over(look, name)
        for each in over if adds else [name] if statement.subtype == "T" else ():
            was = look.known.of("domain", *each)
            if was is not None:
                volatile = statement.HasField("def") and _volatile(getattr(statement, "def")) if statement.subtype == "T" else was.volatile
                given = was.given
                if statement.subtype == "T":
                    given = value(getattr(statement, "def")) if statement.HasField("def") else None
                look.known.learns("domain", *each, what=was._replace(constrained=was.constrained or adds, volatile=volatile, given=given))
        if not any(look.known.knows("column of", *each) for each in over):
            return
    read = f"every table with a column of {quoted(*name)} is read while nobody writes it"
    left = [each for each in _over(look, name) if _left_out(look, each)] if look.expanding and adds and value(constraint.raw_expr, _null) is False else []
    if statement.subtype == "O" or (adds and constraint.contype == pb.CONSTR_NOTNULL):  # which is never NOT VALID
        chosen = quoted(constraint.conname or called(name[-1], "not_null"))
        check = f"ALTER DOMAIN {quoted(*name)} ADD CONSTRAINT {chosen} CHECK (value IS NOT NULL) NOT VALID"
        fix = look.later(check) if look.expanding else f"{check};"  # the old version leaves a new column of it NULL
        yield look.finding("domain", f"{read}; a CHECK that is NOT VALID holds what is written from then on", fix)
    elif adds and not constraint.skip_validation:
        safe = changed(statement)
        getattr(safe, "def").constraint.skip_validation, getattr(safe, "def").constraint.initially_valid = True, False
        fix = look.later(sql(safe).removesuffix(";")) if left else sql(safe)
        yield look.finding("domain", f"{read}; add it NOT VALID, which holds what is written from then on, and leave it so", fix)
    elif statement.subtype == "V":
        yield look.finding("domain", f"{read}; leave it NOT VALID, which holds what is written, or validate a CHECK of each table instead")
    elif left:
        why = f"every INSERT of the old version fails from here on: it does not know the new column of {quoted(*left[0])}, which has no default"
        yield look.finding("not-null-in-expand", f"{why}; require it in contract", look.later())
    elif adds and look.expanding:
        over_what = f"columns of {quoted(*name)}"
        yield look.warning("holds-the-old-version", f"{quoted(*name)}: {HELD.format(over=over_what)}", look.later())
    elif statement.subtype in ("X", "T") and look.expanding:
        yield look.finding("domain", f"the old version counts on {quoted(*name)} as it is; change it in contract", look.later())


def _null(column: Message) -> Value:
    """VALUE, in a row that leaves it out."""
    return None


def _left_out(look: Look, domain: tuple[str, ...]) -> bool:
    """Whether this release has made a domain, and added a column of it to a table in use, and neither has a default."""
    it = look.known.of("domain", *domain)
    return it is not None and it.given is None and bool(look.known.of("column of", *domain))


def _over(look: Look, name: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The domains that are made of this one, itself the first; by their names some may be made of each other (of the other's namesake in another schema)."""
    found = [name]
    for below in found:
        found += [each for each in look.known.facts("domain") if look.known.of("domain", *each).base == below and each not in found]
    return found


def domain_column(look: Look, type_name: Message, table: str, has_default: bool, at: Place) -> Iterator[Finding]:
    """A column of a type that is not PostgreSQL's, added to a table in use. Whether it is a domain is asked once of each type."""
    name = words(type_name.names)
    base, rewrites = quoted(*name), f"PostgreSQL writes the whole of {table} again, and nobody reads or writes it meanwhile"
    left_out = not (has_default or type_name.array_bounds)
    look.known.learns("column of", *name, what=left_out or look.known.of("column of", *name))
    it, asked = look.known.of("domain", *name), look.known.knows("asked of", *name)
    if it is not None and it.constrained and not type_name.array_bounds:
        yield look.finding(
            "domain-column",
            f"{base} is a domain with a constraint: {rewrites}; use the domain's base type, and the constraint as a CHECK that is NOT VALID at first",
            at=at,
        )
    elif it is not None and it.volatile and not has_default and not type_name.array_bounds:
        yield look.finding("domain-column", f"{base} is a domain whose default differs, or may differ, from row to row: {rewrites}; say DEFAULT NULL", at=at)
    elif not (type_name.array_bounds or (it.sure if it is not None else look.known.made("type", *name) or name[-1] in OF_EXTENSIONS or asked)):
        look.known.learns("asked of", *name)
        yield look.warning("domain-column", f"if {base} is a domain with a constraint, {rewrites}; an enum or a composite type is fine", at=at)
