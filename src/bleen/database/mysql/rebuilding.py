"""How InnoDB takes a column into a table, or out of it, where that is not at once or beside who writes: because of a FULLTEXT index, an index on a virtual
column, or how rows are held. No empty copy tells, as a temporary table has no FULLTEXT index and is always copied.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bleen.database.grammar.mysql import Alter, Spec
from bleen.database.mysql import statements as mysql_statements
from bleen.database.mysql.triggers import Table
from bleen.database.statements import Statement
from bleen.database.tokens import Puzzled

if TYPE_CHECKING:
    from bleen.database.mysql.server import MySQL

_INDEXES = """
    SELECT lower(index_name), lower(column_name) FROM information_schema.statistics
    WHERE table_schema = %s AND table_name = %s AND index_type = 'FULLTEXT' ORDER BY 1, seq_in_index"""
_VIRTUAL = """
    SELECT lower(s.index_name), lower(s.column_name) FROM information_schema.statistics s WHERE s.table_schema = %s AND s.table_name = %s
    AND s.index_name IN (SELECT v.index_name FROM information_schema.statistics v JOIN information_schema.columns c ON c.column_name = v.column_name
        WHERE v.table_schema = %s AND v.table_name = %s AND c.table_schema = %s AND c.table_name = %s AND c.extra LIKE '%%VIRTUAL%%')
    ORDER BY 1, s.seq_in_index"""
"""The table is named each time: where one side goes by another, MariaDB opens every table of the server."""
_AHEAD = """
    SELECT lower(a.column_name) FROM information_schema.columns a WHERE a.table_schema = %s AND a.table_name = %s AND a.ordinal_position <
        (SELECT max(v.ordinal_position) FROM information_schema.columns v WHERE v.table_schema = %s AND v.table_name = %s AND v.extra LIKE '%%VIRTUAL%%')"""
_COMPRESSED = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s AND row_format = 'Compressed'"

_NEVER = ("INSTANT", "NOCOPY")

Indexes = dict[str, set[str]]
"""By name, in lower case, their columns."""


class _Known:
    """What is known of a table: its FULLTEXT indexes, and whether it has the column for them that InnoDB hides in its rows until it is built anew without any;
    its indexes on virtual columns, and what stands before the last of those; whether its rows are compressed.
    """

    def __init__(self, server: "MySQL", table: Table) -> None:
        self.indexes = _indexes(server, _INDEXES, table)
        self.virtual = _indexes(server, _VIRTUAL, table * 3) if server.mariadb else {}
        self.ahead = {name for (name,) in server.rows(_AHEAD, table * 2)} if self.virtual else set()
        self.compressed = bool(server.rows(_COMPRESSED, table))
        self.hides = bool(self.indexes) and "FTS_DOC_ID" not in server.columns(".".join(map(server.quoted, table)))

    def holds(self, alter: Alter, virtual: Indexes) -> str:
        """What the server does not do as an ALTER TABLE says it that makes or takes a column, for compressed rows, or for indexes on virtual columns that were
        there before it (``virtual``), and how it does; empty if nothing speaks against it.
        """
        algorithm, beside = alter.value("algorithm"), alter.value("lock") == "NONE"
        moves = any(self._moves(spec) for spec in alter.specs)
        if virtual and (algorithm in _NEVER or (beside and (moves or self.virtual)) or (moves and algorithm == "INPLACE")):
            which = f"has the index{'es' * (len(virtual) > 1)} {', '.join(virtual)} on a virtual column"
            how = "takes and makes what stands before that by a copy only" if moves else "does that under a lock only"
            return f"{which}, with which the server {how}: {_under_a_lock('COPY' if moves else 'INPLACE')}"
        if self.compressed and algorithm in _NEVER:
            return "has ROW_FORMAT=COMPRESSED, with which no column comes or goes at once: say ALGORITHM=INPLACE, LOCK=NONE"
        return ""

    def _moves(self, spec: Spec) -> bool:
        """Whether a virtual column has another place behind it."""
        if spec.column and spec.kind == "add-column":
            place = spec.column.position
            return place == "FIRST" or place.removeprefix("AFTER ").strip("`").lower() in self.ahead
        return spec.kind == "drop-column" and spec.names[0].identifier.lower() in self.ahead


def _under_a_lock(algorithm: str) -> str:
    return f"say ALGORITHM={algorithm}, LOCK=SHARED, below a line `-- bleen: allow table-rewrite REASON`; who writes waits for as long as it takes"


def _indexes(server: "MySQL", query: str, values: Sequence[str]) -> Indexes:
    found: Indexes = {}
    for name, column in server.rows(query, values):
        found.setdefault(name, set()).add(column)
    return found


def refused(server: "MySQL", before: Sequence[Statement], statements: Sequence[Statement]) -> str:
    """Implements ``Catalogue.refuses``, as far as it is about that."""
    known = dict[Table, _Known]()
    for number, statement in enumerate((*before, *statements)):
        try:
            alter = mysql_statements.altered(statement)
        except Puzzled:
            continue
        if not alter:
            _drop(server, known, statement)
            continue
        written = tuple(each.identifier for each in alter.table)
        of = _of(server, known, written)
        left, rebuilds = of.indexes, _rebuilds(server, alter)
        searched = of.hides or bool(left)
        virtual = dict(of.virtual)
        _follow(alter, left)
        _follow(alter, of.virtual)
        if rebuilds and number >= len(before) and (why := of.holds(alter, virtual)):
            return f"{statement.brief}: {written[-1]} {why}"
        looked, algorithm = searched and rebuilds and number >= len(before), alter.value("algorithm")
        copies = len(left) > 1 or not server.mariadb  # InnoDB makes one at a time, and MySQL none where it may not copy, as seen on 9.7
        if looked and left and (alter.value("lock") == "NONE" or algorithm in _NEVER + ("INPLACE",) * copies):
            which, how = f"index{'es' * (len(left) > 1)} {', '.join(left)}", "COPY" if copies else "INPLACE"
            does = f"has the FULLTEXT {which}, with which the server does that under a lock only"
            return f"{statement.brief}: {written[-1]} {does}: {_under_a_lock(how)}"
        if looked and not left and algorithm in _NEVER:
            way = "say ALGORITHM=INPLACE, LOCK=NONE"
            return f"{statement.brief}: what {written[-1]} had its FULLTEXT index by is hidden in its rows until it is built anew: {way}"
        of.hides &= bool(left) or not rebuilds
        of.compressed &= not any(spec.kind == "option" for spec in alter.specs)
    return ""


def waits(server: "MySQL", statement: Statement) -> str:
    """Whom a statement keeps waiting that says nothing of it: the server builds a table with such an index anew under a lock where it may choose."""
    try:
        alter = mysql_statements.altered(statement)
    except Puzzled:
        return ""
    if not alter or alter.value("lock") not in ("", "DEFAULT") or alter.value("algorithm") == "COPY":
        return ""
    left = dict(_Known(server, server.qualified([each.identifier for each in alter.table])).indexes)
    if not left or not _rebuilds(server, alter):
        return ""
    _follow(alter, left)
    named = f"{alter.table[-1].identifier} has the FULLTEXT index{'es' * (len(left) > 1)} {', '.join(left)}"
    return f"{named}, and is built anew under a lock: who writes waits for as long as it takes" if left else ""


def _of(server: "MySQL", known: dict[Table, _Known], written: Sequence[str]) -> _Known:
    table = server.qualified(written)
    if table not in known:
        known[table] = _Known(server, table)
    return known[table]


def _drop(server: "MySQL", known: dict[Table, _Known], statement: Statement) -> None:
    """A DROP INDEX takes what it names."""
    for about in mysql_statements.about(statement) if statement.text[:4].upper() == "DROP" else ():
        for name in about.parts:
            of = _of(server, known, [each.identifier for each in about.name])
            of.indexes.pop(name.lower(), None)
            of.virtual.pop(name.lower(), None)


def _rebuilds(server: "MySQL", alter: Alter) -> bool:
    """Whether it makes or takes a column that rows hold."""
    virtual = {name.lower() for name, column in server.columns(".".join(each.text for each in alter.table)).items() if column.generated}
    added = any(spec.kind == "add-column" and spec.column and not spec.column.generated for spec in alter.specs)
    return added or any(spec.kind == "drop-column" and spec.names[0].identifier.lower() not in virtual for spec in alter.specs)


def _follow(alter: Alter, left: Indexes) -> None:
    """What indexes there are behind it, of those before it: an index without columns is gone too."""
    for spec in alter.specs:
        name = spec.names[0].identifier.lower() if spec.names else ""
        if spec.kind == "drop-index":
            left.pop(name, None)
        elif spec.kind == "drop-column":
            for index in [each for each, columns in left.items() if columns == {name}]:
                del left[index]
            for columns in left.values():
                columns.discard(name)
