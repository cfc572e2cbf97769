"""The backfill's SQL for SQLite. Keys are kept as SQL literals, which say the type too: 7, 'x', X'00'."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bleen.database.backfill import LARGEST, Bound, Estimate
from bleen.database.backfill.common import Common
from bleen.database.migration import Backfill, Pair
from bleen.database.sqlite import values as sqlite_values
from bleen.database.sqlite.server import SQLite
from bleen.database.sqlite.values import MOMENTS, Stored, look, named, quoted
from bleen.database.statements import Unreadable, whole
from bleen.errors import Refused

SAMPLE = 10_000
"""Rows that an estimate looks at: those with the lowest keys."""

_DETERMINISTIC = 0x800
"""SQLITE_DETERMINISTIC, among the flags of PRAGMA function_list."""
_CLOCKS = ("date", "time", "datetime", "julianday", "unixepoch", "strftime")
_NOW = ("current_timestamp", "current_date", "current_time")


class Rows(Common):
    """Implements ``backfill.Rows``."""

    TABLE = "let expand.sql make it"
    GENERATED = "generated: SQLite makes it itself"
    KEYS = "A key is the rowid, the primary key, or a unique index of NOT NULL columns"

    _server: SQLite
    _columns: Mapping[str, Stored]
    _keys: Mapping[tuple[str, ...], tuple[str, ...]]

    def __init__(self, server: SQLite, backfill: Backfill, pairs: Sequence[Pair], late: bool) -> None:
        self._server, self._found = server, look(server, backfill.table)
        self._columns = self._found.columns if self._found else {}
        super().__init__(backfill, pairs, late)

    @contextmanager
    def batch(self, lock: float, limit: float) -> Iterator[None]:
        with self._server.waiting(lock), self._server.within(limit), self._server.transaction():
            yield

    def count(self) -> int:
        """For a table with a rowid, as many as its rowids leave room for: read from both ends of it. Else they are counted."""
        counted = "coalesce(max({0}) - min({0}) + 1, 0)" if self._found and self._found.rowid else "count(*)"
        return int(self._server.rows(f"SELECT {counted.format(self._found.rowid if self._found else '')} FROM {self.table}")[0][0])

    def any(self) -> bool:
        return any(self._server.rows(f"SELECT 1 FROM {self.table} WHERE {part} AND {self._out_of_step()} LIMIT 1") for part in self._parts())

    def left(self) -> tuple[int, tuple[str, ...]]:
        number, lowest = 0, tuple[str, ...]()
        for part in self._parts():
            (count,) = self._server.rows(f"SELECT count(*) FROM {self.table} WHERE {part} AND {self._out_of_step()}")[0]
            if count and not number:
                found = self._server.rows(f"SELECT {self._texts()} FROM {self.table} WHERE {part} AND {self._out_of_step()} ORDER BY {self._names()} LIMIT 1")
                if not found:  # somebody has mended them between the two
                    continue
                lowest = tuple(found[0])
            number += count
        return number, lowest

    def number(self, condition: str) -> int:
        parts = self._parts() if self._key else ["1"]
        return sum(self._server.rows(f"SELECT count(*) FROM {self.table} WHERE {part} AND ({condition})")[0][0] for part in parts)

    def reach(self, begin: Bound | None, size: int) -> tuple[tuple[str, ...], int] | None:
        names, along = ", ".join(self._key), self._names()
        found = self._server.rows(
            f'SELECT "bleen number", {self._texts()} FROM (SELECT {names}, row_number() OVER (ORDER BY {along}) AS "bleen number" FROM {self.table}'
            f' WHERE {self._range(begin)} ORDER BY {along} LIMIT {size}) ORDER BY "bleen number" DESC LIMIT 1'
        )
        return (tuple(found[0][1:]), found[0][0]) if found else None

    def fill(self, begin: Bound | None, last: tuple[str, ...]) -> int:
        changed = 0
        for some, differs in self._groups():
            assignments = ", ".join(f"{quoted(name)} = (\n{expression}\n)" for name, expression in some.items())
            self._server.rows(f"UPDATE {self.table} SET {assignments} WHERE {self._until(begin, last)} AND {differs}")
            changed += int(self._server.rows("SELECT changes()")[0][0])
        return changed

    def spelled(self, expression: str) -> Sequence[str]:
        return [token.identifier.lower() if token.kind in ("word", "name") else token.text for token in sqlite_values.tokens(expression)]

    def burden(self, lag: float) -> str:
        """There are no replicas, and who has to wait is seen in how long a batch does."""
        return ""

    def estimate(self, rate: float) -> Estimate:
        """The file grows by the new values alone, as rows are changed where they lie; each page of the table is written to the journal once, or to the WAL."""
        rows = self.count()
        ready = set(self._set) <= set(self._columns)
        values = " + ".join(f"coalesce(length((\n{expression}\n)), 0) + 1" for expression in self._set.values())
        sampled = f"SELECT {values} AS grows, {self._out_of_step() if ready else '1'} AS out FROM {self.table} LIMIT {SAMPLE}"
        looked, out, grows = self._server.rows(f"SELECT count(*), coalesce(sum(out), 0), coalesce(sum(grows * out), 0) FROM ({sampled})")[0]
        scale = max(rows / max(looked, 1), 1.0)
        pages = self._server.rows("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")[0][0]
        share = out / max(looked, 1)
        return Estimate(self.table, rows, round(out * scale), round(grows * scale), round(pages * share), rows / rate, ())

    def _parts(self) -> Iterator[str]:
        """The table in pieces, each a condition: where there is no WAL, whoever reads for long keeps all who write from their commits."""
        begin = None
        while reached := self.reach(begin, LARGEST):
            yield self._until(begin, reached[0])
            begin = Bound(reached[0], False)

    def same(self, expressions: Mapping[str, str]) -> str:
        assert self._found is not None, "the table was there"
        return "(" + " AND ".join(self._found.same(self._alias, n, f"(SELECT ({chr(10)}{e}{chr(10)}))") for n, e in expressions.items()) + ")"

    def default(self, name: str) -> str:
        """SQLite takes none in ADD COLUMN that is another for each row."""
        assert self._found is not None, "the table was there"
        return sqlite_values.default(self._found.columns[name].default) or "NULL"

    @property
    def _alias(self) -> str:
        return quoted(named(self.table))

    def _range(self, begin: Bound | None) -> str:
        return f"({self._names()}) {'>=' if begin.itself else '>'} ({', '.join(begin.key)})" if begin else "1"

    def _until(self, begin: Bound | None, last: tuple[str, ...]) -> str:
        return f"{self._range(begin)} AND ({self._names()}) <= ({', '.join(last)})"

    def _names(self) -> str:
        return ", ".join(self._keys.get(self._key, ()))

    @property
    def _hidden(self) -> Sequence[str]:
        return [name for name in self._key if self._found and name == self._found.rowid]

    def _texts(self) -> str:
        return ", ".join(f"quote({name})" for name in self._key)

    def _shown(self, name: str) -> str:
        return quoted(name)

    def _is(self, table: str) -> bool:
        return named(table).lower() == named(self.table).lower()

    def _unique(self) -> Mapping[tuple[str, ...], tuple[str, ...]]:
        """With how each is compared, as the collation of its index may be another than the column's: the rowid first, then the primary key, then each unique
        index. Names are quoted, but for a rowid's.
        """
        if self._found is None:
            return {}
        found = self._server.rows(
            'SELECT i.name, i.origin, c.name, c.coll FROM pragma_index_list(%s) i, pragma_index_xinfo(i.name) c WHERE i."unique" AND NOT i.partial AND c.key'
            " ORDER BY i.origin = 'pk' DESC, i.seq, c.seqno",
            [self._found.name],
        )
        columns, made = self._columns, dict[str, list[tuple[str, str]]]()
        for index, _, column, collation in found:
            sure = column in columns and (columns[column].required or (not self._found.rowid and columns[column].key))
            made.setdefault(index, []).append((quoted(column) if sure else "", f"{quoted(column or '')} COLLATE {quoted(collation)}"))
        alone = [self._found.rowid] if self._found.rowid else []
        if alone and not any(origin == "pk" for _, origin, _, _ in found):
            alone += map(quoted, self._found.primary)
        keys: dict[tuple[str, ...], tuple[str, ...]] = {(name,): (name,) for name in alone}
        for key in made.values():
            names, compared = zip(*key, strict=True)
            if all(names):
                keys.setdefault(names, compared)
        return keys

    def _steady(self, said: str, expression: str, clocks: bool) -> None:
        try:
            tokens = sqlite_values.tokens(expression)
        except Unreadable as error:
            raise Refused(f"backfill of {self.table}: {said}: {error}") from None
        if not whole(expression, "sqlite"):
            raise Refused(f"backfill of {self.table}: {said}: this is not one expression")
        for at, token in enumerate(tokens):
            name, behind = token.text.lower(), [each.text for each in tokens[at + 1 : at + 3]]
            if not clocks and ((token.kind == "word" and name in _NOW) or (token.kind == "string" and name[1:-1] in MOMENTS)):
                raise self._refused(said, token.text)
            if not clocks and name in _CLOCKS and behind == ["(", ")"]:
                raise self._refused(said, f"{name}()")
            query = "SELECT 1 FROM pragma_function_list WHERE name = %s AND type = 's' AND NOT flags & %s"
            if behind[:1] == ["("] and self._server.rows(query, [name, _DETERMINISTIC]):
                raise self._refused(said, f"{name}()")
