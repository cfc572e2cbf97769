"""What InnoDB does with a table that has a FULLTEXT index under a lock only: what builds it anew, so that the index is there behind that too. No empty copy
tells, as no temporary table may have such an index.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bleen.database.mysql import statements as mysql_statements
from bleen.database.mysql.triggers import Table
from bleen.database.rules.mysql_grammar import Alter
from bleen.database.statements import Statement
from bleen.database.tokens import Puzzled

if TYPE_CHECKING:
    from bleen.database.mysql.server import MySQL

_INDEXES = """
    SELECT lower(index_name), lower(column_name) FROM information_schema.statistics
    WHERE table_schema = %s AND table_name = %s AND index_type = 'FULLTEXT' ORDER BY 1, seq_in_index"""

_NEVER = ("INSTANT", "NOCOPY")

Indexes = dict[str, set[str]]
"""By name, in lower case, their columns."""


def refused(server: "MySQL", before: Sequence[Statement], statements: Sequence[Statement]) -> str:
    """Implements ``Catalogue.refuses``, as far as it is about that."""
    known = dict[Table, Indexes]()
    for number, statement in enumerate((*before, *statements)):
        try:
            alter = mysql_statements.altered(statement)
        except Puzzled:
            continue
        if not alter:
            _drop(server, known, statement)
            continue
        written = tuple(each.identifier for each in alter.table)
        left = _of(server, known, written)
        rebuilds = bool(left) and _rebuilds(server, alter)
        _follow(alter, left)
        several = len(left) > 1  # of which InnoDB makes one at a time
        which, how = f"index{'es' * several} {', '.join(left)}", "COPY" if several else "INPLACE"
        if left and rebuilds and number >= len(before) and (alter.value("lock") == "NONE" or alter.value("algorithm") in _NEVER + ("INPLACE",) * several):
            way = f"say ALGORITHM={how}, LOCK=SHARED, below a line `-- bleen: allow table-rewrite REASON`; who writes waits for as long as it takes"
            return f"{statement.brief}: {written[-1]} has the FULLTEXT {which}, with which the server does that under a lock only: {way}"
    return ""


def _of(server: "MySQL", known: dict[Table, Indexes], written: Sequence[str]) -> Indexes:
    table = server.qualified(written)
    if table not in known:
        known[table] = {}
        for name, column in server.rows(_INDEXES, table):
            known[table].setdefault(name, set()).add(column)
    return known[table]


def _drop(server: "MySQL", known: dict[Table, Indexes], statement: Statement) -> None:
    """A DROP INDEX takes what it names."""
    for about in mysql_statements.about(statement) if statement.text[:4].upper() == "DROP" else ():
        for name in about.parts:
            _of(server, known, [each.identifier for each in about.name]).pop(name.lower(), None)


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
