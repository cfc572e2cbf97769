"""What on PostgreSQL needs that which statements take away (manual: "Dependency Tracking"; pg_depend): without CASCADE the server refuses those, which nobody
shall find out only when the contract is due. What a trigger function says of a column is a text to the server, which drops it all the same; then writes fail.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import postgast

from bleen.database.catalogue import Needing
from bleen.database.migration import speaks_of
from bleen.database.postgres.leftovers import Rows
from bleen.database.postgres.objects import GIVEN, Key, columns_of, keys, made, steps, understood
from bleen.database.postgres.trees import node_of
from bleen.database.postgres.triggers import PREFIX, calling
from bleen.database.statements import Statement

_GOES = f"""
    WITH RECURSIVE gone(classid, objid, objsubid) AS (
        SELECT * FROM {GIVEN} UNION
        SELECT d.classid, d.objid, d.objsubid FROM gone g JOIN pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid
        AND g.objsubid IN (0, d.refobjsubid) WHERE d.deptype <> 'n' OR %s)
    SELECT classid::bigint, objid::bigint, objsubid FROM gone"""
"""With what is dropped goes what belongs to it; with CASCADE, what needs it too."""
_MEANT = _GOES.replace("OR %s)", "OR d.refclassid = 'pg_namespace'::regclass)")
"""Of what goes by CASCADE, what whoever drops a thing means by its name: what belongs to it, and what is in a schema."""
_NEEDS = f"""
    WITH goes(classid, objid, objsubid) AS (SELECT * FROM {GIVEN}), gone(classid, objid, objsubid) AS (SELECT * FROM {GIVEN}),
    needs AS (
        SELECT DISTINCT g.classid AS ofclass, g.objid AS ofobj, g.objsubid AS ofsub,
            CASE WHEN r.oid IS NOT NULL OR e.oid IS NOT NULL THEN 'pg_class'::regclass::oid ELSE d.classid END AS classid,
            coalesce(r.ev_class, e.adrelid, d.objid) AS objid, coalesce(e.adnum, d.objsubid) AS objsubid
        FROM goes g JOIN pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid AND g.objsubid IN (0, d.refobjsubid)
        LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'
        LEFT JOIN pg_attrdef e ON d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid
        WHERE d.deptype = 'n' AND NOT EXISTS (SELECT FROM gone o WHERE (o.classid, o.objid) = (d.classid, d.objid) AND o.objsubid IN (0, d.objsubid)))
    SELECT DISTINCT ON (1) pg_describe_object(classid, objid, objsubid), (pg_identify_object_as_address(classid, objid, objsubid)).object_names,
        pg_describe_object(ofclass, ofobj, ofsub)
    FROM needs n WHERE NOT EXISTS (SELECT FROM gone o WHERE (o.classid, o.objid) = (n.classid, n.objid) AND o.objsubid IN (0, n.objsubid)) ORDER BY 1, 3"""
"""A view is its rule to pg_depend, a generated column its expression."""
_PB = postgast.pg_query_pb2
_APART = (_PB.AT_DropInherit, _PB.AT_DetachPartition, _PB.AT_DetachPartitionFinalize)
"""A table that is an heir no more keeps what the other loses."""


def needing(rows: Rows, statements: Sequence[Statement], before: Sequence[Statement]) -> Iterator[Needing]:
    """Implements ``Catalogue.needing``. What a statement before it makes anew may do without; and where one is not understood, what it speaks of. Behind one
    that we are blind to, what the server refuses is left to the server; what a function speaks of it would never refuse, so that is told all the same.
    """
    gone, said, blind = set[Key](), "", False
    everything = (*before, *statements)
    trees = [node_of(statement) for statement in everything]
    for number, (statement, (node, kind)) in enumerate(zip(everything, trees, strict=True)):
        blind = blind or _blind(node, kind)
        for step in steps(rows, node, kind):
            goes = keys(rows(_GOES, [*columns_of(step.keys), step.cascades])) if step.drops and step.keys else []
            left = set(gone)
            gone |= {*step.keys, *goes}
            if goes and number >= len(before):
                dropped, all_gone = goes, gone
                if step.cascades:  # what is dropped later by its own name is meant to go
                    dropped = keys(rows(_MEANT, columns_of(step.keys)))
                    all_gone = left | {*dropped, *_going(rows, trees[number:])}
                for what, names, of in [] if blind else rows(_NEEDS, [*columns_of(dropped), *columns_of(all_gone)]):
                    name = str(names[-1]).rpartition(".")[2].strip('"') if names else PREFIX  # gone since it was found
                    if not speaks_of(said, name) and not name.startswith(PREFIX):
                        why = ", and goes with it by CASCADE" if step.cascades else ""
                        yield Needing(statement, f"{what} needs {of}{why}", name if step.cascades else "")
                for trigger, why in calling(rows, goes, gone, said, {made(*tree) for tree in trees[number + 1 :]}):
                    yield Needing(statement, why, trigger)
        said += "" if understood(node, kind) else f"{statement.text};\n"


def _going(rows: Rows, trees: Sequence[tuple[Any, str]]) -> Iterator[Key]:
    """What statements drop, with what belongs to it, but for what goes by CASCADE alone."""
    for node, kind in trees:
        for step in steps(rows, node, kind):
            if step.drops and step.keys:
                yield from keys(rows(_MEANT, columns_of(step.keys)))


def _blind(node: Any, kind: str) -> bool:
    """Whether only the statement knows what is there behind it, or what is meant by a name."""
    if kind == "alter_table_stmt":
        return any(each.alter_table_cmd.subtype in _APART for each in node.cmds)
    if kind == "alter_seq_stmt":
        return any(each.def_elem.defname == "owned_by" for each in node.options)
    return kind in ("do_stmt", "call_stmt", "select_stmt", "drop_owned_stmt") or (kind == "variable_set_stmt" and node.name == "search_path")
