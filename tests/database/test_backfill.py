"""The backfill on real servers: what it fills, along which key, and what a kill leaves."""

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg
import pytest
from filling import FULL_NAME, Enough, fill, migration, only, opened, users

from bleen.database import backfill
from bleen.database.backfill import Filled, Progress
from bleen.database.ledger import Ledger
from bleen.database.migration import Backfill, Pace, Pair
from bleen.database.postgres.server import Postgres
from bleen.errors import Refused, Unavailable
from bleen.testing.site import until
from databases import Base


def test_every_row_is_filled_and_what_is_right_is_not_written(end_base: Base) -> None:
    """It has ended when a count of rows out of step is 0."""
    with users(end_base) as client, opened(end_base) as server:
        client.execute("UPDATE users SET full_name = first_name || ' ' || last_name WHERE id % 10 = 0")
        assert fill(server) == Filled(2500, 2250, 1)
        assert only(client, "SELECT count(*) FROM users WHERE full_name IS DISTINCT FROM first_name || ' ' || last_name") == 0
        assert only(client, "SELECT min(writes), max(writes) FROM users") == (1, 1)
        assert only(client, "SELECT count(*) FROM users WHERE writer = 'backfill'") == 2250
        assert server.rows("SELECT current_setting('bleen.environment', true)") in ([("",)], [(None,)])


def test_a_condition_leaves_the_other_rows_alone(base: Base) -> None:
    with users(base) as client, opened(base) as server:
        assert fill(server, FULL_NAME._replace(where="first_name LIKE 'F%5' -- and no others")).changed == 250
        assert only(client, "SELECT count(full_name) FROM users") == 250


class Mortal(Postgres):
    """Dies by SIGKILL at one of the points before and after each of its statements and commits."""

    point = 0

    def _live(self) -> None:
        self.point -= 1
        if self.point == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def rows(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        self._live()
        found = super().rows(sql, values)
        self._live()
        return found

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with super().transaction():
            yield
            self._live()
        self._live()


def _killed(base: Base, point: int, rows: int) -> bool:
    """Whether a backfill that was to die at this point came to it."""
    child = os.fork()
    if not child:
        try:
            server = Mortal(base.url)
            with server.alone():
                server.point = point
                fill(server, of=migration(pace=Pace(batch=rows // 6, duty=1.0)))
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_killed_at_any_point_no_batch_is_done_again(base: Base) -> None:
    """The checkpoint is committed in the batch's own transaction: after kill -9 at most one batch is done again."""
    with users(base, 30) as client, opened(base) as server:
        point = 0
        Ledger(server).make()
        while True:
            point += 1
            client.execute("ALTER TABLE users DISABLE TRIGGER USER; UPDATE users SET full_name = NULL, writes = 0; ALTER TABLE users ENABLE TRIGGER USER")
            client.execute("DELETE FROM bleen_step")
            killed = _killed(base, point, 30)
            until("the server has noticed", lambda: not server.sessions() or all(s.application != "bleen migrate" for s in server.sessions()))
            assert fill(server) == Filled(30, 30, 1), f"after a kill at point {point}"
            assert only(client, "SELECT min(writes), max(writes) FROM users") == (1, 1), f"after a kill at point {point}"
            if not killed:
                break
        assert point > 60


def test_one_that_was_ended_goes_on_where_it_was(base: Base) -> None:
    """Resumable: after resume the done count goes on."""

    def ends(_: float) -> None:
        raise Enough

    with users(base), opened(base) as server:
        told: list[Progress] = []
        with pytest.raises(Enough):
            fill(server, pause=ends)
        assert fill(server, told=told.append) == Filled(2500, 2500, 1)
        assert told[0].rows > 1000
        assert told[-1].rows == 2500


def test_more_rows_than_the_statistics_know_of_are_told_as_that_and_not_as_all_of_them(base: Base) -> None:
    """It said 100 %, and 0 s left, from there to the end."""
    with users(base) as client, opened(base) as server:
        client.execute("ALTER TABLE users SET (autovacuum_enabled = false)")  # nobody analyses it
        told: list[Progress] = []
        fill(server, told=told.append)
        assert (told[-1].rows, told[-1].left) == (2500, None)
        assert f"users: 2,500 rows, more than the {told[-1].of:,} of the statistics: how many are left is not known, 2,500 changed" in told[-1].line()
        assert "users: 2,500 rows, 2,500 changed" in told[-1]._replace(round=2).line(), "rows that were looked at again are no news of the statistics"
        assert "users: 100 %, 2,500 of about 2,500 rows, 2,500 changed" in told[-1]._replace(of=2500).line()


class Listening(Postgres):
    """Keeps what it was asked."""

    def __init__(self, url: str) -> None:
        self.asked: list[str] = []
        super().__init__(url)

    def rows(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        self.asked.append(sql)
        return super().rows(sql, values)


class Cut(Listening):
    """Its server ends the session behind one of its statements."""

    left = 0
    admin: psycopg.Connection[tuple[Any, ...]]

    def rows(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        found = super().rows(sql, values)
        self.left -= 1
        if self.left == 0:
            pid = self._connection.info.backend_pid
            self.admin.execute("SELECT pg_terminate_backend(%s)", [pid])
            until("it is gone", lambda: not only(self.admin, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"))
        return found


def test_a_server_that_goes_away_is_said_to_whenever_it_does_and_the_same_backfill_goes_on(base: Base) -> None:
    """ "Methods raise Unavailable if the server is away, [...] and nothing else of the driver's." """
    with users(base, 2) as client, opened(base) as server:
        statements = 2
        for left in itertools.count(0):  # the first of which is not cut
            client.execute("UPDATE users SET full_name = NULL")
            Ledger(server).make()
            client.execute("DELETE FROM bleen_step")
            cut = Cut(base.url)
            cut.asked.clear()
            cut.left, cut.admin = left, client
            with pytest.raises(Unavailable, match="the database does not answer: ") if left else nullcontext(), cut.alone():
                fill(cut)
            statements = statements if left else len(cut.asked)
            cut.close()
            assert fill(server).rows == 2
            if left == statements - 1:  # the last one lets go of the lock
                break
        assert statements > 20


def test_a_table_whose_rows_are_all_right_is_looked_at_once(end_base: Base) -> None:
    with users(end_base), opened(end_base) as server:
        fill(server, of=migration()._replace(name="0006_the_same"))
        listening = Listening(end_base.url)
        assert fill(listening) == Filled(0, 0, 1)
        assert len([sql for sql in listening.asked if "users" in sql and "WHERE" in sql]) == 1
        listening.asked.clear()
        assert fill(listening) == Filled(0, 0, 1)
        assert not [sql for sql in listening.asked if "users" in sql and "WHERE" in sql]
        listening.close()


KEYS = [
    ("a int", "n - 50"),
    ("a text", "chr(40 + n) || '''\\' || n"),
    ('a text COLLATE "C"', "CASE n WHEN 1 THEN '' ELSE 'é' || n END"),
    ("a varchar(9)", "md5(n::text)::varchar(9)"),
    ("a char(5)", "n::text"),
    ("a numeric", "(n - 50) / 7.0"),
    ("a float", "(n - 50) / 7.0"),
    ("a float, b real", "n % 2, 1700000000.123454 + n * 1000"),
    ("a interval", "(n - 50) * interval '1 day -02:03:04.000005'"),
    ("a uuid", "md5(n::text)::uuid"),
    ("a bytea", "decode(md5(n::text), 'hex')"),
    ("a timestamptz", "CASE n WHEN 1 THEN '-infinity' ELSE timestamptz '2026-10-25 00:00Z' + n * interval '7.000001 min' END"),
    ("a date", "CASE n WHEN 1 THEN 'infinity' ELSE date '0044-03-15 BC' + n END"),
    ("a boolean, b int", "n % 2 = 0, n"),
    ("a int, b text, c int", "n % 3, chr(65 + n % 5), n"),
    ("a int, b int, c int", "n / 10, n / 3, n"),
    ("a int, b int", "1, n"),
]


@pytest.mark.parametrize(("columns", "values"), KEYS, ids=[columns for columns, _ in KEYS])
def test_it_goes_along_any_key(base: Base, columns: str, values: str) -> None:
    names = ", ".join(word.split()[0] for word in columns.split(", "))
    with base.connect() as client, opened(base) as server:
        client.execute(f"CREATE TABLE t ({columns}, done int NOT NULL DEFAULT 0, PRIMARY KEY ({names}))")
        client.execute(f"INSERT INTO t SELECT {values} FROM generate_series(1, 100) n")
        server.rows("SET extra_float_digits = 0; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET TimeZone = 'Asia/Kolkata'")
        assert fill(server, Backfill("t", {"done": "1"}), migration(pace=Pace(batch=3, duty=1.0, target=1e-6))) == Filled(100, 100, 1)
        assert only(client, "SELECT min(done) FROM t") == 1


def test_what_is_written_is_written_with_the_settings_of_the_session(base: Base) -> None:
    with base.connect() as client, opened(base) as server:
        client.execute("CREATE TABLE t (a date PRIMARY KEY, made text); INSERT INTO t VALUES ('2026-11-27')")
        server.rows("SET DateStyle = 'SQL, DMY'")
        assert fill(server, Backfill("t", {"made": "a::text"})) == Filled(1, 1, 1)
        assert only(client, "SELECT made FROM t") == "27/11/2026"


@pytest.mark.parametrize("key", ["1, n, n", "n / 4000, n, n"])
def test_a_composite_key_is_read_once_from_end_to_end(end_base: Base, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL reads an index to the end of a first column where a comparison of rows, (a, b) <= (1, 2), would end: for each batch again."""
    monkeypatch.setattr(backfill, "LARGEST", 100)
    with end_base.connect() as client:
        client.execute("CREATE TABLE t (a int, b int, c int, done int, PRIMARY KEY (a, b, c)) WITH (fillfactor = 40)")
        client.execute(f"INSERT INTO t SELECT {key} FROM generate_series(0, 11999) n")
        client.execute("ANALYZE t")
    with end_base.connect() as client, opened(end_base) as server:
        before = _pages(client, "n_tup_ins")
        assert fill(server, Backfill("t", {"done": "1"}), migration(pace=Pace(batch=100, target=60.0, duty=1.0))) == Filled(12000, 12000, 1)
        server.close()
        assert _pages(client, "n_tup_upd") - before < 20 * 120, "a batch reads some pages of the index, not all that follow"


def _pages(client: psycopg.Connection[tuple[Any, ...]], what: str) -> int:
    """Pages of t's index that were read, once it is known that all its rows were written; whoever wrote them has left, and told the statistics."""
    until("statistics are there", lambda: bool(only(client, f"SELECT {what} = 12000 FROM pg_stat_user_tables WHERE relname = 't'")))
    return int(only(client, "SELECT idx_blks_hit + idx_blks_read FROM pg_statio_user_tables WHERE relname = 't'"))


def test_strange_names_are_names(base: Base) -> None:
    with base.connect() as client, opened(base) as server:
        client.execute('CREATE SCHEMA "a b"; CREATE TABLE "a b"."T%s.""x" ("i d%s" int PRIMARY KEY, "s%""" text, "sel ect" text, "bleen number" int)')
        client.execute('INSERT INTO "a b"."T%s.""x" SELECT n, n FROM generate_series(1, 10) n')  # type: ignore[call-overload, unused-ignore]
        wanted = server.update('UPDATE "a b"."T%s.""x" SET "sel ect" = "s%""" || \'%s%%\' /* % */ WHERE "s%""" LIKE \'%\'')
        assert fill(server, wanted).changed == 10
        assert only(client, 'SELECT "sel ect" FROM "a b"."T%s.""x" WHERE "i d%s" = 7') == "7%s%%"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("CREATE TABLE t (id int, a int)", "no key to go along"),
        ("CREATE TABLE t (id int UNIQUE, a int)", "no key to go along"),
        ("CREATE TABLE t (id int NOT NULL, a int); CREATE INDEX ON t (id)", "no key to go along"),
        ("CREATE TABLE t (id int NOT NULL, a int); CREATE UNIQUE INDEX ON t (id) WHERE id > 0", "no key to go along"),
        ("CREATE TABLE t (id int NOT NULL, a int); CREATE UNIQUE INDEX ON t ((id + 1))", "no key to go along"),
        ("CREATE TABLE t (id int NOT NULL, a int NOT NULL); CREATE UNIQUE INDEX ON t (id, a DESC)", "no key to go along"),
        ("CREATE TABLE t (id int PRIMARY KEY)", "no column a; it has id"),
        ("CREATE TABLE t (id int PRIMARY KEY, a int GENERATED ALWAYS AS (id) STORED)", "fills it itself"),
        ("CREATE TABLE t (id int, a int PRIMARY KEY)", "of the key that it goes along"),
        ("CREATE VIEW t AS SELECT 1 AS id, 2 AS a", "no key to go along"),
        ("CREATE TABLE u (id int)", "no table t"),
    ],
)
def test_a_table_that_cannot_be_gone_along_is_refused(base: Base, table: str, says: str) -> None:
    """One UPDATE of one table with a key, else an error."""
    with base.connect() as client, opened(base) as server:
        client.execute(table)
        with pytest.raises(Refused, match=says):
            fill(server, Backfill("t", {"a": "1"}))


def test_a_unique_index_of_columns_that_are_not_null_is_as_good_as_a_primary_key(base: Base) -> None:
    with base.connect() as client, opened(base) as server:
        client.execute("CREATE TABLE t (a int, b int NOT NULL, c int NOT NULL); CREATE UNIQUE INDEX ON t (b, c) INCLUDE (a); CREATE UNIQUE INDEX ON t (c)")
        client.execute("INSERT INTO t SELECT 0, n, -n FROM generate_series(1, 10) n")
        assert fill(server, Backfill("t", {"a": "1"})).changed == 10
        assert fill(server, Backfill("t", {"a": "2"}, key=("b", "c")), migration()._replace(name="0008_along_another")).changed == 10
        with pytest.raises(Refused, match=r"\(c, b\) is none of its keys; it has \(c\) and \(b, c\)"):
            fill(server, Backfill("t", {"a": "3"}, key=("c", "b")), migration()._replace(name="0009_along_none"))


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("random()", "random(), which is volatile, says something else each time"),
        ("now()", "now()"),
        ("pg_catalog.now()", "now()"),
        ("clock_timestamp()", "clock_timestamp()"),
        ("CURRENT_TIMESTAMP(3)", "the current time"),
        ("localtime", "the current time"),
        ("'today'::date", "'today'"),
        ("age(date '2000-01-01')", "age()"),
        ("nextval('s')", "nextval"),
        ("coalesce(b, (SELECT max(random()) FROM t)::text)", "random()"),
        ("full_of(b)", r"ALTER FUNCTION full_of\(text\) IMMUTABLE"),
        ("1) , (2", "not one expression"),
        ("b) || (b", "not one expression"),
        ("1 FROM t", "syntax error"),
        ("", "syntax error"),
    ],
)
def test_what_says_something_else_each_time_is_refused(base: Base, expression: str, says: str) -> None:
    """Rows could never be in step."""
    with base.connect() as client, opened(base) as server:
        client.execute("CREATE TABLE t (id int PRIMARY KEY, a text, b text); CREATE SEQUENCE s")
        client.execute("CREATE FUNCTION full_of(text) RETURNS text LANGUAGE sql AS 'SELECT $1'")
        with pytest.raises(Refused, match=says.replace("()", r"\(\)")):
            fill(server, Backfill("t", {"a": expression}))


@pytest.mark.parametrize("expression", ["concat(b, 'x')", "to_char(c, 'YYYY')", "format('%s', b)", "age(c, c)::text", "current_user", "'now'", "lower(b)"])
def test_what_depends_on_the_row_and_on_settings_alone_is_done(base: Base, expression: str) -> None:
    with base.connect() as client, opened(base) as server:
        client.execute("CREATE TABLE t (id int PRIMARY KEY, a text, b text, c timestamptz); INSERT INTO t VALUES (1, NULL, 'B', '2026-01-01')")
        assert fill(server, Backfill("t", {"a": expression}, "c < now()")).changed == 1


@pytest.mark.parametrize(
    ("kind", "was", "expression"),
    [
        ("json", "'[1]'", "'[2]'"),
        ("xml", "'<a/>'", "'<b/>'"),
        ("numeric", "1.50", "1.5"),
        ("box", "'(1,1),(0,0)'", "'(2,2),(1,1)'"),
        ("point", "NULL", "point(1, 1)"),
        ("text COLLATE shrugs", "'ADA'", "lower(a)"),
        ("char(4)", "NULL", "'x'"),
        ("varchar(4)[]", "NULL", "ARRAY[id::text]"),
        ("numeric(9,2)", "NULL", "1.005"),
        ("float", "0", "'-0'"),
    ],
)
def test_bytes_are_compared_as_equal_may_mean_less(base: Base, kind: str, was: str, expression: str) -> None:
    """Some types have no =, and some call equal what is not the same."""
    with base.connect() as client, opened(base) as server:
        client.execute("CREATE COLLATION shrugs (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
        client.execute(f"CREATE TABLE t (id int PRIMARY KEY, a {kind}); INSERT INTO t VALUES (1, {was})")
        assert fill(server, Backfill("t", {"a": expression})) == Filled(1, 1, 1)
        assert fill(server, Backfill("t", {"a": expression}), migration()._replace(name="0008_again")) == Filled(0, 0, 1)


def test_rows_that_come_or_move_behind_it_are_gone_over_again(end_base: Base) -> None:
    """A row whose key moves behind the backfill's cursor."""
    with users(end_base) as client, opened(end_base) as server:
        rounds: list[int] = []

        def meanwhile(_: float) -> None:
            if not rounds:
                client.execute("INSERT INTO users (id, first_name) VALUES (-1, 'Ada'); UPDATE users SET id = -2 WHERE id = 2400")
            rounds.append(1)

        assert fill(server, Backfill("users", {"full_name": "first_name"}), pause=meanwhile) == Filled(2499, 2501, 2)
        assert only(client, "SELECT array_agg(full_name ORDER BY id) FROM users WHERE id < 0") == ["F2400", "Ada"]


def test_rows_that_somebody_keeps_out_of_step_end_it_with_a_count_and_one_of_them(end_base: Base) -> None:
    with users(end_base) as client, opened(end_base) as server:
        client.execute(
            "CREATE FUNCTION unfill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.full_name := NULL; RETURN NEW; END $$;"
            "CREATE TRIGGER unfill BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.id IN (1234, 2345)) EXECUTE FUNCTION unfill()"
        )
        with pytest.raises(Refused, match="after 5 rounds 2 rows are out of step, such as 1234: who writes them so"):
            fill(server)
        client.execute("DROP TRIGGER unfill ON users")
        assert fill(server).changed >= 2500


def test_a_row_that_cannot_be_changed_is_named(end_base: Base) -> None:
    with users(end_base) as client, opened(end_base) as server:
        client.execute("ALTER TABLE users ADD CHECK (full_name <> 'F1234 L1234')")
        with pytest.raises(Refused, match=r"row 1234: .*violates check constraint"):
            fill(server)
        assert only(client, "SELECT max(id) FROM users WHERE full_name IS NOT NULL") == 1233
        client.execute("UPDATE users SET last_name = 'L' WHERE id = 1234")
        assert fill(server) == Filled(2500, 2500, 1)


def test_a_policy_that_would_hide_rows_is_an_error(base: Base) -> None:
    """Row-level security is tested: a row that we do not see would never be filled."""
    with users(base) as client:
        client.execute("CREATE ROLE owner_7 LOGIN; GRANT ALL ON SCHEMA public TO owner_7; ALTER TABLE users OWNER TO owner_7")
        client.execute("ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON users USING (id < 1000)")
        server = Postgres(base.server.url(base.name, "owner_7"))
        assert fill(server) == Filled(2500, 2500, 1)  # an owner is above it
        client.execute("UPDATE users SET full_name = NULL; ALTER TABLE users FORCE ROW LEVEL SECURITY")
        with pytest.raises(Refused, match="row-level security"):
            fill(server, of=migration()._replace(name="0008_forced"))
        server.close()
        client.execute("DROP OWNED BY owner_7 CASCADE; DROP ROLE owner_7")


NAMES = Pair(
    "public.users",
    ("first_name", "last_name"),
    ("full_name",),
    {"full_name": "first_name || ' ' || last_name"},
    {"first_name": "split_part(full_name, ' ', 1)", "last_name": "split_part(full_name, ' ', 2)"},
    lossy=True,
)


def test_what_the_new_version_wrote_is_not_overwritten(end_base: Base) -> None:
    """What a writer wrote is never overwritten: a row is also in step if the old side is what the new one says."""
    with users(end_base) as client, opened(end_base) as server:
        client.execute("UPDATE users SET first_name = 'Ada', last_name = 'King', full_name = 'Ada King Lovelace' WHERE id = 7")
        assert fill(server, of=migration(NAMES)) == Filled(2500, 2499, 1)
        assert only(client, "SELECT full_name FROM users WHERE id = 7") == "Ada King Lovelace"
        assert fill(server, of=migration()._replace(name="0008_without_a_pair")).changed == 1


def test_a_partitioned_table_is_one_table(end_base: Base) -> None:
    with end_base.connect() as client, opened(end_base) as server:
        client.execute("CREATE TABLE t (id int PRIMARY KEY, a int) PARTITION BY HASH (id)")
        for number in range(3):
            client.execute(f"CREATE TABLE t{number} PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER {number})")
        client.execute("INSERT INTO t SELECT n FROM generate_series(1, 2000) n")
        assert fill(server, Backfill("t", {"a": "id"})) == Filled(2000, 2000, 1)
        assert only(client, "SELECT count(*) FROM t WHERE a = id") == 2000


def test_the_estimate_is_of_the_right_size(end_base: Base) -> None:
    """An estimate of space and time first."""
    with users(end_base, 50_000) as client, opened(end_base) as server:
        client.execute("UPDATE users SET full_name = first_name || ' ' || last_name WHERE id % 2 = 0; CREATE INDEX ON users (full_name)")
        client.execute("VACUUM FULL users")
        client.execute("CHECKPOINT")
        estimate = backfill.estimate(server, migration(), FULL_NAME)
        before, log = only(client, "SELECT pg_total_relation_size('users'), pg_current_wal_lsn() - '0/0'")
        fill(server)
        after, ended = only(client, "SELECT pg_total_relation_size('users'), pg_current_wal_lsn() - '0/0'")
        assert 40_000 < estimate.rows < 60_000
        assert 20_000 < estimate.changes < 30_000
        assert 0.5 < estimate.bytes / (after - before) < 2
        assert 0.5 < estimate.log / float(ended - log) < 2
        assert estimate.seconds == pytest.approx(estimate.rows / 20_000)


def test_an_estimate_can_be_had_before_the_columns_are_there(base: Base) -> None:
    with users(base, 1000) as client, opened(base) as server:
        client.execute("ALTER TABLE users DROP COLUMN full_name, SET (autovacuum_enabled = off)")
        estimate = backfill.estimate(server, migration(), FULL_NAME)
        assert estimate.changes == estimate.rows == 1000
        assert estimate.line().endswith("autovacuum is off for it: old versions stay until somebody runs VACUUM")
