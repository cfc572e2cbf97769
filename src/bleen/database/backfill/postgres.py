"""The backfill's SQL for PostgreSQL 14 and later."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import postgast
from psycopg import sql

from bleen.database.backfill import Bound, Estimate
from bleen.database.backfill.common import Common
from bleen.database.grammar.postgres_update import below
from bleen.database.migration import Backfill, Pair
from bleen.database.parser import Source
from bleen.database.server import Column, Server
from bleen.database.statements import Place, Unreadable, whole
from bleen.database.sync.postgres import installed
from bleen.database.sync.postgres_expression import constant
from bleen.errors import Refused

CROWD = 20
"""Sessions of this database that wait at once for locks or for the disk (``wait_event_type`` of pg_stat_activity), above which the backfill waits too."""
SAMPLE = 10_000
"""Rows that an estimate looks at, roughly."""

_TO_A_PAGE = 50
"""Rows in a page of 8 KiB, roughly: so many have to be as they should for it to be left alone."""

_EXACT = "SAVEPOINT exact; SET LOCAL extra_float_digits = 1; SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = 'postgres'"
"""With these, a key as text is the same key again, whatever the session's settings are then."""

_CLOCKS = ("now", "transaction_timestamp", "statement_timestamp")
_TODAY = ("now", "today", "tomorrow", "yesterday")


class Rows(Common):
    """Implements ``backfill.Rows``."""

    TABLE = "let expand.sql make it, or name its schema"
    GENERATED = "generated, or an identity: the server fills it itself"
    KEYS = "A primary key is one, or a unique index of NOT NULL columns: CREATE UNIQUE INDEX CONCURRENTLY"

    _columns: Mapping[str, Column]

    def __init__(self, server: Server, backfill: Backfill, pairs: Sequence[Pair], late: bool) -> None:
        self._server, self._columns = server, server.columns(backfill.table)
        super().__init__(backfill, pairs, late)
        self._pinned = {n: v for pair in self.pairs for n, v in installed(server, pair).items() if n != "search_path"}

    def along(self) -> None:
        if self._server.rows("SELECT row_security_active(to_regclass(%s))", [self.table])[0][0]:
            way = f"ALTER TABLE {self.table} NO FORCE ROW LEVEL SECURITY if the role owns it, or let the migrating role be one with BYPASSRLS"
            raise Refused(f"backfill of {self.table}: row-level security hides rows of it from us, which would never be filled: {way}")
        super().along()

    @contextmanager
    def batch(self, lock: float, limit: float) -> Iterator[None]:
        """Its commit is not waited for on the disk, as whoever commits beside it would wait too: a server that crashes forgets checkpoint and rows together.
        To compile a statement (jit) would take longer than it may.
        """
        with self._transaction(lock, limit, synchronous_commit="off", jit="off"):
            yield

    def count(self) -> int:
        """The planner's number: it follows the size that the table has now, and knows partitions."""
        plan = self._server.rows(f"EXPLAIN (FORMAT JSON) SELECT FROM {self.table}")[0][0]
        return int((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"])

    def any(self) -> bool:
        with self._transaction(1.0, 0):
            return bool(self._server.rows(f"SELECT 1 FROM {self.table} WHERE {self._out_of_step()} LIMIT 1"))

    def left(self) -> tuple[int, tuple[str, ...]]:
        """Two questions, as one that asks for the lowest in order is answered along the index: row after row from all over a large table. Of what is seen then,
        that row's key is asked for: with the settings of ``_exact``, another one may be out of step.
        """
        with self._transaction(1.0, 0, "REPEATABLE READ", jit="off"):
            ((number,),) = self._server.rows(f"SELECT count(*) FROM {self.table} WHERE {self._out_of_step()}")
            if not number:
                return 0, ()
            lowest = f"SELECT tableoid, ctid::text FROM {self.table} WHERE {self._out_of_step()} ORDER BY {self._names()} LIMIT 1"
            ((of, at),) = self._server.rows(lowest)
            with self._exact():
                (key,) = self._server.rows(f"SELECT {self._texts()} FROM {self.table} WHERE tableoid = {of} AND ctid = '{at}'")
        return number, tuple(key)

    def number(self, condition: str) -> int:
        with self._transaction(1.0, 0, jit="off"):
            return super().number(condition)

    def reach(self, begin: Bound | None, size: int) -> tuple[tuple[str, ...], int] | None:
        along = f"FROM {self.table} WHERE {self._after(begin)} ORDER BY {self._names()}"
        numbered = f'SELECT {self._names()}, row_number() OVER (ORDER BY {self._names()}) AS "bleen number" {along}'
        with self._exact():
            found = self._server.rows(f"SELECT {self._texts()} FROM (SELECT {self._names()} {along} OFFSET {size - 1} LIMIT 1) AS last")
            if found:
                return tuple(found[0]), size
            found = self._server.rows(f'SELECT {self._texts()}, "bleen number" FROM ({numbered}) AS rest ORDER BY "bleen number" DESC LIMIT 1')
        return (tuple(found[0][:-1]), found[0][-1]) if found else None

    def fill(self, begin: Bound | None, last: tuple[str, ...]) -> int:
        changed = 0
        for some, differs in self._groups():
            assignments = ", ".join(f"{self._server.quoted(name)} = ({expression}\n)" for name, expression in some.items())
            where = f"({self._between(begin, last)}) AND {differs}"
            update = f"WITH changed AS (UPDATE {self.table} SET {assignments} WHERE {where} RETURNING 1) SELECT count(*) FROM changed"
            changed += int(self._server.rows(update)[0][0])
        return changed

    def spelled(self, expression: str) -> Sequence[str]:
        try:
            return [postgast.deparse(postgast.parse(Source(f"SELECT (\n{expression}\n)").joined))]
        except postgast.PgQueryError as error:
            raise Unreadable(error.message, Place(1, 1)) from None

    def burden(self, lag: float) -> str:
        """The lag of a replica is known to superusers and pg_monitor (PostgreSQL manual, "pg_stat_replication"); see the notes of ``estimate``."""
        late = self._server.rows(
            "SELECT coalesce(nullif(application_name, ''), pid::text), extract(epoch FROM replay_lag)::float FROM pg_stat_replication"
            " WHERE state IN ('streaming', 'catchup') AND replay_lag > make_interval(secs => %s) ORDER BY replay_lag DESC LIMIT 1",
            [lag],
        )
        if late:
            return f"replica {late[0][0]} is {late[0][1]:.1f} s behind, more than {lag:g} s"
        crowd = self._server.rows(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND backend_type = 'client backend'"
            " AND wait_event_type IN ('Lock', 'LWLock', 'BufferPin', 'IO')"
        )[0][0]
        return f"{crowd} sessions wait for locks or the disk, more than {CROWD}" if crowd > CROWD else ""

    def estimate(self, rate: float) -> Estimate:
        percent = min(100.0, 100 * SAMPLE / max(self.count(), 1))
        looked, out = self._sample(percent)
        if looked < SAMPLE / 10 and percent < 100:  # the planner knows nothing of the table, or a few pages hold it all
            percent = 100.0
            looked, out = self._sample(percent)
        rows, changes = round(looked * 100 / percent), round(out * 100 / percent)
        heap, indexes = self._server.rows(
            "SELECT coalesce(sum(pg_relation_size(c.oid)), 0)::bigint, coalesce(sum(pg_indexes_size(c.oid)), 0)::bigint FROM pg_class c"
            " WHERE c.oid = to_regclass(%s) OR c.oid IN (SELECT relid FROM pg_partition_tree(to_regclass(%s)))",
            [self.table, self.table],
        )[0]
        share = changes / max(rows, 1)
        grows = round((heap + indexes) * share)
        touched = 1 - (1 - share) ** _TO_A_PAGE  # of all pages; each is written to the log whole, once after a checkpoint
        return Estimate(self.table, rows, changes, grows, 2 * grows + round((heap + indexes) * touched), rows / rate, tuple(self._notes()))

    def _sample(self, percent: float) -> tuple[int, int]:
        """Rows of some pages, and how many of them are out of step: all, before expand has made the columns."""
        out = self._out_of_step() if set(self._set) <= set(self._columns) else "true"
        with self._transaction(1.0, 0):
            query = f"SELECT count(*), count(*) FILTER (WHERE {out}) FROM {self.table} TABLESAMPLE SYSTEM ({percent:.6f}) REPEATABLE (1)"
            found = self._server.rows(query)[0]
        return found[0], found[1]

    def _notes(self) -> Iterator[str]:
        off = self._server.rows(
            "SELECT NOT current_setting('autovacuum')::boolean OR EXISTS (SELECT FROM pg_options_to_table(reloptions)"
            " WHERE option_name = 'autovacuum_enabled' AND NOT option_value::boolean) FROM pg_class WHERE oid = to_regclass(%s)",
            [self.table],
        )
        if off[0][0]:
            yield "autovacuum is off for it: old versions stay until somebody runs VACUUM"
        old = self._server.rows(
            "SELECT pid, coalesce(nullif(application_name, ''), 'no application_name'), round(extract(epoch FROM now() - xact_start) / 60)::int"
            " FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND xact_start < now() - interval '10 minutes' ORDER BY xact_start LIMIT 1"
        )
        if old:
            yield f"backend {old[0][0]} ({old[0][1]}) holds a transaction open for {old[0][2]} min: until it ends, no old version can be made free"
        if self._server.rows("SELECT 1 FROM pg_stat_replication WHERE state IS NULL LIMIT 1"):
            yield "there are replicas whose lag this role may not see: GRANT pg_monitor to it, else the backfill does not wait for them"

    @contextmanager
    def _transaction(self, lock: float, limit: float, isolation: str = "READ COMMITTED", **more: str) -> Iterator[None]:
        """Whatever the role's defaults are. A policy that would hide rows from us is an error: they would never be filled. One processor is enough for us."""
        waits = {"lock_timeout": round(lock * 1000), "statement_timeout": round(limit * 1000)}
        pinned = {name: sql.Literal(value).as_string() for name, value in self._pinned.items()}  # what a trigger makes, and what we make, is the same
        settings = {**pinned, **waits, "row_security": "off", "bleen.environment": "'backfill'", "max_parallel_workers_per_gather": "0", **more}
        with self._server.transaction():
            self._server.rows(f"SET TRANSACTION ISOLATION LEVEL {isolation}; " + "; ".join(f"SET LOCAL {name} = {value}" for name, value in settings.items()))
            yield

    @contextmanager
    def _exact(self) -> Iterator[None]:
        """For keys alone: expressions are computed with the settings that there are."""
        with self._server.transaction():
            self._server.rows(_EXACT)
            yield
            self._server.rows("ROLLBACK TO exact")

    def same(self, expressions: Mapping[str, str]) -> str:
        """Bytes are compared, as `=` of some types (citext, numeric, box) calls equal what is not, and some (json) have none."""
        names = ", ".join(map(self._server.quoted, expressions))
        return f"ROW({names})::record *= ROW({', '.join(self._cast(name, each) for name, each in expressions.items())})::record"

    def default(self, name: str) -> str:
        default = self._columns[name].default
        return default if default and constant(default) else "NULL"

    def _cast(self, name: str, expression: str) -> str:
        """A value as it would be in the column. A string that is too long stays as it is: an UPDATE refuses it, where a cast cuts it."""
        kind = re.sub(r"^(character varying)\(\d+\)$", r"\1", self._columns[name].type)
        return f"({expression}\n)::{kind}"

    def _after(self, begin: Bound | None) -> str:
        if begin is None:
            return "true"
        values = ", ".join(self._value(at, begin.key) for at in range(len(self._key)))
        return f"({self._names()}) {'>=' if begin.itself else '>'} ({values})"

    def _between(self, begin: Bound | None, last: tuple[str, ...]) -> str:
        """A range as ranges of one column each, beside columns that are the same. As one comparison of rows, (a, b) <= (1, 2), it would not end with the last
        row: the index is read to the end of all those with the same first column.
        """
        bounds = [(last, "<", "<=")] + ([(begin.key, ">", ">=" if begin.itself else ">")] if begin else [])
        depth = len(self._key)
        same = next((at for at in range(depth) if begin and begin.key[at] != last[at]), depth - 1) if begin else 0
        middle = [self._equal(same, last)] + [self._compare(same, key, ends if same == depth - 1 else goes) for key, goes, ends in bounds]
        ranges = [" AND ".join(filter(None, middle))]
        for key, goes, ends in bounds:
            for at in range(same + 1, depth):
                ranges.append(f"{self._equal(at, key)} AND {self._compare(at, key, ends if at == depth - 1 else goes)}")
        return " OR ".join(f"({each})" for each in ranges)

    def _equal(self, count: int, key: tuple[str, ...]) -> str:
        return " AND ".join(self._compare(at, key, "=") for at in range(count))

    def _compare(self, at: int, key: tuple[str, ...], sign: str) -> str:
        return f"{self._server.quoted(self._key[at])} {sign} {self._value(at, key)}"

    def _value(self, at: int, key: tuple[str, ...]) -> str:
        return f"{sql.Literal(key[at]).as_string()}::{self._columns[self._key[at]].type}"

    def _names(self) -> str:
        return ", ".join(self._server.quoted(name) for name in self._key)

    def _added(self, name: str) -> str:
        return f"{self.default(name)}::{self._columns[name].type}"

    @property
    def _alias(self) -> str:
        return str(self._server.rows("SELECT quote_ident(relname) FROM pg_class WHERE oid = to_regclass(%s)", [self.table])[0][0])

    def _texts(self) -> str:
        return ", ".join(f"{self._server.quoted(name)}::text" for name in self._key)

    def _unique(self) -> list[tuple[str, ...]]:
        """The columns of each btree index that tells all rows apart and goes up along every column; the primary key first, then the one with the fewest."""
        found = self._server.rows(
            "SELECT array_agg(a.attname::text ORDER BY k.place), i.indisprimary FROM pg_index i"
            " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam"
            " CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indoption::int2[], i.indclass::oid[], i.indcollation::oid[])"
            " WITH ORDINALITY k(number, way, class, sorted, place)"
            " JOIN pg_opclass o ON o.oid = k.class LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number"
            " WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree'"
            " AND k.place <= i.indnkeyatts GROUP BY i.indexrelid, i.indisprimary"
            " HAVING bool_and(k.number > 0 AND a.attnotnull AND k.way = 0 AND o.opcdefault AND k.sorted = a.attcollation)"
            " ORDER BY i.indisprimary DESC, count(*), i.indexrelid",
            [self.table],
        )
        return [tuple(row[0]) for row in found]

    def _steady(self, said: str, expression: str, clocks: bool) -> None:
        try:
            tree = postgast.parse(Source(f"SELECT (\n{expression}\n)").joined)
        except (postgast.PgQueryError, Unreadable) as error:
            raise Refused(f"backfill of {self.table}: {said}: {error}") from None
        select = tree.stmts[0].stmt.select_stmt
        parts = {f.name for f, _ in select.ListFields()}
        if not whole(expression, "postgres") or len(tree.stmts) > 1 or len(select.target_list) != 1 or parts > {"target_list", "limit_option", "op"}:
            raise Refused(f"backfill of {self.table}: {said}: this is not one expression")
        for node in below(tree):
            kind = node.DESCRIPTOR.name
            if kind == "FuncCall":
                self._unchanging(said, [part.string.sval for part in node.funcname], len(node.args), clocks)
            elif kind == "SQLValueFunction" and not clocks and node.op <= postgast.pg_query_pb2.SVFOP_LOCALTIMESTAMP_N:  # those after it tell who asks
                raise self._refused(said, "the current time")
            elif kind == "TypeCast" and not clocks and node.arg.a_const.sval.sval.strip().lower() in _TODAY:
                raise self._refused(said, f"'{node.arg.a_const.sval.sval}'")

    def _unchanging(self, said: str, name: Sequence[str], arguments: int, clocks: bool) -> None:
        if not clocks and (name[-1] in _CLOCKS or (name[-1] == "age" and arguments == 1)):
            raise self._refused(said, f"{name[-1]}()")
        volatile = self._server.rows(
            "SELECT p.oid::regprocedure::text, n.nspname = 'pg_catalog' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
            " WHERE p.proname = %s AND CASE WHEN %s::text IS NULL THEN pg_function_is_visible(p.oid) ELSE n.nspname = %s END AND p.provolatile = 'v'"
            " AND %s >= p.pronargs - p.pronargdefaults AND (%s <= p.pronargs OR p.provariadic <> 0) LIMIT 1",
            [name[-1], *([name[0] if len(name) > 1 else None] * 2), arguments, arguments],
        )
        if volatile:
            function, ours = volatile[0]
            way = "a constant" if ours else f"ALTER FUNCTION {function} IMMUTABLE (or STABLE) if it is not; or a constant"
            raise self._refused(said, f"{function}, which is volatile,", way)

    def _column(self, name: str) -> str:
        return name

    def _is(self, table: str) -> bool:
        return bool(self._server.rows("SELECT to_regclass(%s) = to_regclass(%s)", [table, self.table])[0][0])
