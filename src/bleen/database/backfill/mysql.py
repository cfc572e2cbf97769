"""The backfill's SQL for MySQL 8 and MariaDB 10.6 and later."""

import datetime
import decimal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import cast

from bleen.database.backfill import Bound, Estimate, Group, filled, groups, written
from bleen.database.migration import Backfill, Pair
from bleen.database.mysql import statements as mysql_statements
from bleen.database.mysql.columns import shapes
from bleen.database.mysql.server import MySQL
from bleen.database.server import Server
from bleen.database.statements import Unreadable
from bleen.database.sync.mysql_expression import constant
from bleen.database.tokens import words
from bleen.errors import Refused

CROWD = 20
"""Statements that run at once (``Threads_running``, ours left out), above which the backfill waits."""
SAMPLE = 10_000
"""Rows that an estimate looks at: half of them at each end of the key."""

_CLOCKS = words("""
    NOW SYSDATE CURDATE CURTIME CURRENT_TIMESTAMP CURRENT_DATE CURRENT_TIME LOCALTIME LOCALTIMESTAMP UTC_TIMESTAMP UTC_DATE UTC_TIME UNIX_TIMESTAMP
""")
_VOLATILE = words("RAND UUID UUID_SHORT UUIDV4 UUIDV7 SYS_GUID RANDOM_BYTES LAST_INSERT_ID CONNECTION_ID ROW_COUNT FOUND_ROWS SLEEP NEXTVAL LASTVAL SETVAL")
_UNORDERED = ("enum", "set", "bit", "float", "double", "timestamp", "json", "point", "geometry")
"""Types whose values as text do not compare as they are ordered."""
_NUMBERS = ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year")
_BYTES = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")


class Rows:
    """Implements ``backfill.Rows``."""

    def __init__(self, server: Server, backfill: Backfill, pairs: Sequence[Pair], late: bool) -> None:
        self._server, self._backfill, self._late = cast(MySQL, server), backfill, late
        self._schema, self._name = self._server.named(backfill.table)
        self.table = backfill.table
        self._shapes = shapes(self._server, self.table)
        self.given = {self._column(name): expression for name, expression in backfill.set.items()}
        self.pairs = [pair for pair in pairs if self._server.named(pair.table) == (self._schema, self._name)]
        self._set = filled(self.given, self.pairs)
        self._keys = self._unique()
        named = [index for index, key in self._keys.items() if key == tuple(self._column(name) for name in backfill.key)]
        self._index = next(iter(named if backfill.key else self._keys), "")
        self._key = self._keys.get(self._index, ())

    def check(self) -> None:
        for name, expression in self.given.items():
            self._steady(f"{name} = {expression}", expression, clocks=False)
            others = {each.lower() for each in self.given} - {name.lower()}
            if read := sorted(others & {token.identifier.lower() for token in mysql_statements.expression(expression) if token.kind in ("word", "name")}):
                raise Refused(f"backfill of {self.table}: {name} is made from {', '.join(read)}, which it sets too: MySQL would take what it has just set")
        if self._backfill.where:
            self._steady(f"WHERE {self._backfill.where}", self._backfill.where, clocks=True)

    def ready(self) -> None:
        table = self.table
        if not self._shapes:
            raise Refused(f"backfill: there is no table {table}; let expand.sql make it, or name its database")
        columns = self._server.columns(table)
        for name in self._set:
            if name not in columns:
                raise Refused(f"backfill of {table}: it has no column {name}; it has {', '.join(columns)}")
            if columns[name].generated:
                raise Refused(f"backfill of {table}: {name} is generated, or counts by itself: the server fills it")
        self.along()
        if moved := set(self._key) & set(self._set):
            raise Refused(f"backfill of {table}: it changes {', '.join(sorted(moved))}, which is of the key that it goes along; name another key")

    def along(self) -> None:
        table = self.table
        if not self._key:
            wrong = f"({', '.join(self._backfill.key)}) is none of its keys" if self._backfill.key else "it has no key to go along"
            known = "; it has " + " and ".join(f"({', '.join(key)})" for key in self._keys.values()) if self._keys else ""
            raise Refused(
                f"backfill of {table}: {wrong}{known}. A primary key is one, or a unique index of NOT NULL columns; not one that goes down (DESC), nor of"
                " FLOAT, DOUBLE, TIMESTAMP, ENUM, SET or BIT"
            )

    @contextmanager
    def batch(self, lock: float, limit: float) -> Iterator[None]:
        """Rows are locked without waiting (NOWAIT), as ``innodb_lock_wait_timeout`` is in whole seconds: ``lock`` is how long is waited until the next try.
        ``limit`` holds on MariaDB; MySQL knows none for an UPDATE.
        """
        self._server.rows(f"SET lock_wait_timeout = {int(lock) + 1}")
        if self._server.mariadb:
            self._server.rows(f"SET max_statement_time = {limit}")
        if not self._server.logs_statements():
            self._server.rows("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")  # locks only what it changes
        self._server.rows("SET @bleen_environment = 'backfill'")
        try:
            with self._server.transaction():
                yield
        finally:
            if self._server.connected:
                self._server.rows("SET @bleen_environment = NULL")
                if self._server.mariadb:
                    self._server.rows("SET max_statement_time = 0")

    def count(self) -> int:
        return self._size()[0]

    def any(self) -> bool:
        return bool(self._server.rows(f"SELECT EXISTS (SELECT 1 FROM {self._full} WHERE {self._out_of_step()})")[0][0])

    def left(self) -> tuple[int, tuple[str, ...]]:
        found = self._server.rows(f"SELECT count(*) FROM {self._full} WHERE {self._out_of_step()}")[0][0]
        lowest = self._keyed(f"WHERE {self._out_of_step()} ORDER BY {self._names()} LIMIT 1") if found else []
        return (found, lowest[0]) if lowest else (0, ())

    def told(self) -> int:
        return int(self._server.rows(f"SELECT count(*) FROM {self._full} WHERE {written(self._set, self._same, self._default)}")[0][0])

    def reach(self, begin: Bound | None, size: int) -> tuple[tuple[str, ...], int] | None:
        where = f"WHERE {self._from(begin)}"
        if last := self._keyed(f"{where} ORDER BY {self._names()} LIMIT 1 OFFSET {size - 1}"):
            return last[0], size
        if not (last := self._keyed(f"{where} ORDER BY {self._names('DESC')} LIMIT 1")):
            return None
        return last[0], self._server.rows(f"SELECT count(*) FROM {self._along} {where}")[0][0]

    def fill(self, begin: Bound | None, last: tuple[str, ...]) -> int:
        return sum(self._fill(some, f"WHERE {self._from(begin)} AND {self._compared(last, '<', True)} AND {d}") for some, d in self._groups())

    def _fill(self, some: Mapping[str, str], where: str) -> int:
        if not self._server.rows(f"SELECT count(*) FROM {self._along} {where} FOR UPDATE NOWAIT")[0][0]:
            return 0
        assignments = ", ".join(f"{self._server.quoted(name)} = ({expression}\n)" for name, expression in some.items())
        self._server.rows(f"UPDATE {self._along} SET {assignments} {where}")
        return int(self._server.rows("SELECT ROW_COUNT()")[0][0])

    def spelled(self, expression: str) -> Sequence[str]:
        return [token.identifier.lower() if token.kind in ("word", "name") else token.text for token in mysql_statements.expression(expression)]

    def burden(self, lag: float) -> str:
        """How far replicas are behind is not to be seen from the primary: see the notes of ``estimate``."""
        running = int(self._server.rows("SHOW GLOBAL STATUS LIKE 'Threads_running'")[0][1]) - 1
        return f"{running} statements run at once, more than {CROWD}" if running > CROWD else ""

    def estimate(self, rate: float) -> Estimate:
        rows, data, indexes = self._size()
        looked, out = self._sample()
        if looked < SAMPLE:  # the statistics are only near, and this is all of it
            rows = looked
        changes = round(rows * out / max(looked, 1))
        share = changes / max(rows, 1)
        log = 2 * round(data * share) if self._server.rows("SELECT @@log_bin")[0][0] else 0  # a row before and after
        return Estimate(self.table, rows, changes, round((data + indexes) * share), log, rows / rate, tuple(self._notes()))

    @property
    def _full(self) -> str:
        return f"{self._server.quoted(self._schema)}.{self._server.quoted(self._name)}"

    @property
    def _along(self) -> str:
        return f"{self._full} FORCE INDEX ({self._server.quoted(self._index)})"

    def _column(self, name: str) -> str:
        """A name as the catalogue has it; case does not matter."""
        return next((each for each in self._shapes if each.lower() == name.lower()), name)

    def _size(self) -> tuple[int, int, int]:
        """Rows, and bytes of data and of indexes, by the statistics."""
        if not self._server.mariadb:
            self._server.rows("SET information_schema_stats_expiry = 0")
        found = self._server.rows(
            "SELECT coalesce(table_rows, 0), coalesce(data_length, 0), coalesce(index_length, 0) FROM information_schema.tables"
            " WHERE table_schema = %s AND table_name = %s",
            [self._schema, self._name],
        )
        return (int(found[0][0]), int(found[0][1]), int(found[0][2])) if found else (0, 0, 0)

    def _sample(self) -> tuple[int, int]:
        """Rows at both ends of the key, and how many of them are out of step: all, before expand has made the columns."""
        out = self._out_of_step() if set(self._set) <= set(self._shapes) else "TRUE"
        half = SAMPLE // 2
        ends = [f"(SELECT * FROM {self._full} LIMIT {half})"]
        if self._key:
            ends = [f"(SELECT * FROM {self._along} ORDER BY {self._names(way)} LIMIT {half})" for way in ("", "DESC")]
        looked = changes = 0
        for end in ends[:1] if self._size()[0] <= half else ends:
            found = self._server.rows(f"SELECT count(*), coalesce(sum({out}), 0) FROM {end} AS {self._server.quoted(self._name)}")[0]
            looked, changes = looked + int(found[0]), changes + int(found[1])
        return looked, changes

    def _notes(self) -> Iterator[str]:
        replicas = self._server.rows("SELECT count(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")[0][0]
        if replicas:
            yield f"{replicas} replicas read its log: how far they are behind cannot be seen from here; watch them, and lower duty in [pace] if they fall back"
        if self._server.logs_statements():
            yield "binlog_format is STATEMENT: each batch locks the gaps between its rows too; ROW is better"

    def _out_of_step(self) -> str:
        return f"({' OR '.join(differs for _, differs in self._groups())})"

    def _groups(self) -> list[Group]:
        return groups(self._set, self._backfill.where, self.pairs, self._late, self._same, self._default)

    def _same(self, expressions: Mapping[str, str]) -> str:
        """Bytes are compared, as collations call equal what is not."""
        shapes = {name: self._shapes[name] for name in expressions}
        return f"({' AND '.join(shapes[n].same(self._server.quoted(n), shapes[n].cast(f'({e}{chr(10)})')) for n, e in expressions.items())})"

    def _default(self, name: str) -> str:
        """What ADD COLUMN gave the rows that were there; one that is another for each row is not to be known."""
        default = self._shapes[name].default
        return default if default and constant(default) else "NULL"

    def _from(self, begin: Bound | None) -> str:
        return self._compared(begin.key, ">", begin.itself) if begin else "TRUE"

    def _compared(self, key: tuple[str, ...], sign: str, itself: bool) -> str:
        """Rows before or behind a key. A comparison of rows would not be looked up in the index: it is written out, column by column."""
        names = [self._server.quoted(name) for name in self._key]
        values = [self._value(name, text) for name, text in zip(self._key, key, strict=True)]
        ways = []
        for at, name in enumerate(names):
            last = at == len(names) - 1
            equal = [f"{names[before]} = {values[before]}" for before in range(at)]
            ways.append(" AND ".join([*equal, f"{name} {sign}{'=' if last and itself else ''} {values[at]}"]))
        return f"({names[0]} {sign}= {values[0]} AND ({' OR '.join(f'({way})' for way in ways)}))"

    def _value(self, name: str, text: str) -> str:
        base = self._shapes[name].base
        if base in _NUMBERS:
            return str(decimal.Decimal(text))
        return f"X'{text}'" if base in _BYTES else self._server.literal(text)

    def _keyed(self, rest: str) -> list[tuple[str, ...]]:
        """Keys as text."""
        texts = [f"HEX({each})" if self._shapes[name].base in _BYTES else each for name in self._key if (each := self._server.quoted(name))]
        return [tuple(_text(value) for value in row) for row in self._server.rows(f"SELECT {', '.join(texts)} FROM {self._along} {rest}")]

    def _names(self, way: str = "") -> str:
        return ", ".join(f"{self._server.quoted(name)} {way}".rstrip() for name in self._key)

    def _unique(self) -> dict[str, tuple[str, ...]]:
        """The columns of each index that tells all rows apart and goes up along every column; the primary key first, then the one with the fewest."""
        shown = "ignored = 'NO'" if self._server.mariadb else "is_visible = 'YES'"
        found = self._server.rows(
            "SELECT index_name, column_name, coalesce(sub_part, 0) = 0 AND collation = 'A' AND index_type = 'BTREE' AND nullable = ''"
            f" FROM information_schema.statistics WHERE table_schema = %s AND table_name = %s AND non_unique = 0 AND {shown} ORDER BY index_name, seq_in_index",
            [self._schema, self._name],
        )
        indexes: dict[str, list[tuple[str | None, bool]]] = {}
        for index, column, good in found:
            indexes.setdefault(index, []).append((column, bool(good) and column is not None and self._shapes[column].base not in _UNORDERED))
        fit = {index: tuple(str(column) for column, _ in parts) for index, parts in indexes.items() if all(good for _, good in parts)}
        return dict(sorted(fit.items(), key=lambda each: (each[0] != "PRIMARY", len(each[1]))))

    def _steady(self, said: str, expression: str, clocks: bool) -> None:
        """Raises Refused unless this is one expression that says the same for the same row whenever it is asked."""
        try:
            tokens = mysql_statements.expression(expression)
        except Unreadable as error:
            raise Refused(f"backfill of {self.table}: {said}: {error}") from None
        if not mysql_statements.whole(tokens):
            raise Refused(f"backfill of {self.table}: {said}: this is not one expression")
        for here, after in zip(tokens, (*tokens[1:], *tokens[-1:]), strict=True):
            if here.kind in ("parameter", "executable") or here.word in ("@", ";"):
                raise Refused(f"backfill of {self.table}: {said}: {here.text} has no place in it")
            if here.word == "|" and after.word == "|" and after.offset == here.end:
                raise Refused(f"backfill of {self.table}: {said}: || is OR, or puts strings together, as sql_mode says; write OR, or CONCAT()")
            if here.word in _VOLATILE or (here.word in _CLOCKS and not clocks):
                raise Refused(
                    f"backfill of {self.table}: {said}: {here.text} says something else each time, so that no row would ever be in step; write a constant"
                )
        stored = self._server.rows(
            "SELECT routine_name FROM information_schema.routines WHERE routine_type = 'FUNCTION' AND is_deterministic = 'NO' AND routine_schema = %s",
            [self._schema],
        )
        called = {here.identifier.lower() for here, after in pairwise(tokens) if here.kind in ("word", "name") and after.word == "("}
        if volatile := sorted(name for (name,) in stored if name.lower() in called):
            raise Refused(f"backfill of {self.table}: {said}: {volatile[0]}() is not DETERMINISTIC: say so if it is, else no row would ever be in step")


def _text(value: object) -> str:
    """A value of a key as a text that compares as it does."""
    if isinstance(value, datetime.timedelta):  # TIME
        micro = round(value / datetime.timedelta(microseconds=1))
        seconds, fraction = divmod(abs(micro), 1_000_000)
        return f"{'-' if micro < 0 else ''}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:06}"
    return str(value)
