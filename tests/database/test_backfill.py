"""The backfill on real servers."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

import databases
from bleen.database import backfill
from bleen.database.backfill import Filled, Progress
from bleen.database.backfill.postgres import CROWD
from bleen.database.ledger import Ledger
from bleen.database.migration import Backfill, Locks, Migration, Pace, Pair
from bleen.database.postgres import Postgres
from bleen.errors import Refused
from bleen.testing.site import until
from databases import Base

FULL_NAME = Backfill("users", {"full_name": "first_name || ' ' || last_name"})
AT_ONCE = Pace(duty=1.0)
PATIENT = Locks()


@contextmanager
def opened(base: Base) -> Iterator[Postgres]:
    server = base.open()
    try:
        yield server
    finally:
        server.close()


def migration(*pairs: Pair, pace: Pace = AT_ONCE, locks: Locks = PATIENT) -> Migration:
    return Migration("0007_full_name", {}, "", None, pairs, locks, pace)


def fill(
    server: Postgres,
    wanted: Backfill = FULL_NAME,
    of: Migration | None = None,
    told: Callable[[Progress], None] = lambda _: None,
    pause: Callable[[float], object] = lambda _: None,
) -> Filled:
    ledger = Ledger(server)
    ledger.make()
    return backfill.run(server, ledger, of or migration(), wanted, told, pause)


def users(base: Base, rows: int = 2500) -> psycopg.Connection[tuple[Any, ...]]:
    """The article's table, expanded and not filled; how often a row was written is written in it."""
    client = base.connect()
    client.execute(
        "CREATE TABLE users (id bigint PRIMARY KEY, first_name text, last_name text, full_name text, writes int NOT NULL DEFAULT 0, writer text);"
        "CREATE FUNCTION written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.writes := NEW.writes + 1; NEW.writer := current_setting('bleen.environment', true); RETURN NEW; END $$;"
        "CREATE TRIGGER written BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION written()"
    )
    client.execute("INSERT INTO users (id, first_name, last_name) SELECT n, 'F' || n, 'L' || n FROM generate_series(1, %s) n", [rows])
    return client


def slow(client: psycopg.Connection[tuple[Any, ...]], seconds: float) -> None:
    """Each row of users takes its time."""
    client.execute(
        f"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;"
        "CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()"
    )


def only(client: psycopg.Connection[tuple[Any, ...]], query: str) -> Any:
    found = client.execute(query).fetchone()
    assert found is not None
    return found[0] if len(found) == 1 else found


def test_every_row_is_filled_and_what_is_right_is_not_written(any_base: Base) -> None:
    """It has ended when a count of rows out of step is 0."""
    with users(any_base) as client, opened(any_base) as server:
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


def test_killed_at_any_point_no_batch_is_done_again(any_base: Base) -> None:
    """The checkpoint is committed in the batch's own transaction: after kill -9 at most one batch is done again."""
    with users(any_base, 30) as client, opened(any_base) as server:
        point = 0
        Ledger(server).make()
        while True:
            point += 1
            client.execute("ALTER TABLE users DISABLE TRIGGER USER; UPDATE users SET full_name = NULL, writes = 0; ALTER TABLE users ENABLE TRIGGER USER")
            client.execute("DELETE FROM bleen_step")
            killed = _killed(any_base, point, 30)
            until("the server has noticed", lambda: not server.sessions() or all(s.application != "bleen migrate" for s in server.sessions()))
            assert fill(server) == Filled(30, 30, 1), f"after a kill at point {point}"
            assert only(client, "SELECT min(writes), max(writes) FROM users") == (1, 1), f"after a kill at point {point}"
            if not killed:
                break
        assert point > 60


class Enough(Exception):
    """Raised by who wants no more."""


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


class Listening(Postgres):
    """Keeps what it was asked."""

    def __init__(self, url: str) -> None:
        self.asked: list[str] = []
        super().__init__(url)

    def rows(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        self.asked.append(sql)
        return super().rows(sql, values)


def test_a_table_whose_rows_are_all_right_is_looked_at_once(any_base: Base) -> None:
    with users(any_base), opened(any_base) as server:
        fill(server, of=migration()._replace(name="0006_the_same"))
        listening = Listening(any_base.url)
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
        assert fill(server, Backfill("t", {"done": "1"}), migration(pace=Pace(batch=3, duty=1.0, target=1e-6))) == Filled(100, 100, 1)
        assert only(client, "SELECT min(done) FROM t") == 1


@pytest.mark.parametrize("key", ["1, n, n", "n / 4000, n, n"])
def test_a_composite_key_is_read_once_from_end_to_end(any_base: Base, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL reads an index to the end of a first column where a comparison of rows, (a, b) <= (1, 2), would end: for each batch again."""
    monkeypatch.setattr(backfill, "LARGEST", 100)
    with any_base.connect() as client:
        client.execute("CREATE TABLE t (a int, b int, c int, done int, PRIMARY KEY (a, b, c)) WITH (fillfactor = 40)")
        client.execute(f"INSERT INTO t SELECT {key} FROM generate_series(0, 11999) n")
        client.execute("ANALYZE t")
    with any_base.connect() as client, opened(any_base) as server:
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


def test_a_client_who_locks_rows_the_other_way_round_is_not_the_victim(any_base: Base) -> None:
    """It waits for a lock only `lock_timeout`, which is less than the server's `deadlock_timeout`: ours gives way, not the client's transaction."""
    with users(any_base, 100) as client, opened(any_base) as server, any_base.connect() as other:
        other.execute("BEGIN; UPDATE users SET last_name = 'X' WHERE id = 90")
        found: list[Filled] = []
        thread = threading.Thread(target=lambda: found.append(fill(server, of=migration(locks=Locks(timeout=0.5)), pause=threading.Event().wait)))
        thread.start()
        until("a batch waits", lambda: bool(only(client, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")))
        other.execute("UPDATE users SET last_name = 'X' WHERE id = 10; COMMIT")
        thread.join()
        assert found == [Filled(100, 100, 1)]
        assert only(client, "SELECT array_agg(full_name ORDER BY id) FROM users WHERE last_name = 'X'") == ["F10 X", "F90 X"]


def test_who_holds_a_row_is_named_and_given_way_to(any_base: Base) -> None:
    """Retries that name the blocking session."""
    with users(any_base) as client, opened(any_base) as server, any_base.connect() as holder:
        holder.execute("SET application_name = 'night shift'")
        holder.execute("BEGIN; UPDATE users SET last_name = 'X' WHERE id = 1700")
        waited: list[str] = []

        def told(progress: Progress) -> None:
            waited.append(progress.waits)
            if "night shift" in progress.waits:
                holder.execute("COMMIT")

        assert fill(server, of=migration(locks=Locks(timeout=0.05)), told=told) == Filled(2500, 2500, 1)
        said = next(each for each in waited if "night shift" in each)
        assert "idle in transaction" in said
        assert "UPDATE users SET last_name" in said
        assert only(client, "SELECT full_name FROM users WHERE id = 1700") == "F1700 X"


def test_a_row_that_is_held_for_too_long_ends_it_and_nothing_is_lost(base: Base) -> None:
    with users(base), opened(base) as server, base.connect() as holder:
        holder.execute("SET application_name = 'night shift'; BEGIN; SELECT FROM users WHERE id = 1700 FOR UPDATE")
        with pytest.raises(Refused, match=r"night shift.*tried for 0\.3 s; what was done stays"):
            fill(server, of=migration(locks=Locks(timeout=0.05, patience=0.3)), pause=threading.Event().wait)
        holder.execute("COMMIT")
        assert fill(server) == Filled(2500, 2500, 1)


def test_rows_that_come_or_move_behind_it_are_gone_over_again(any_base: Base) -> None:
    """A row whose key moves behind the backfill's cursor."""
    with users(any_base) as client, opened(any_base) as server:
        rounds: list[int] = []

        def meanwhile(_: float) -> None:
            if not rounds:
                client.execute("INSERT INTO users (id, first_name) VALUES (-1, 'Ada'); UPDATE users SET id = -2 WHERE id = 2400")
            rounds.append(1)

        assert fill(server, Backfill("users", {"full_name": "first_name"}), pause=meanwhile) == Filled(2499, 2501, 2)
        assert only(client, "SELECT array_agg(full_name ORDER BY id) FROM users WHERE id < 0") == ["F2400", "Ada"]


def test_rows_that_somebody_keeps_out_of_step_end_it_with_a_count_and_one_of_them(any_base: Base) -> None:
    with users(any_base) as client, opened(any_base) as server:
        client.execute(
            "CREATE FUNCTION unfill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.full_name := NULL; RETURN NEW; END $$;"
            "CREATE TRIGGER unfill BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.id IN (1234, 2345)) EXECUTE FUNCTION unfill()"
        )
        with pytest.raises(Refused, match="after 5 rounds 2 rows are out of step, such as 1234: who writes them so"):
            fill(server)
        client.execute("DROP TRIGGER unfill ON users")
        assert fill(server).changed >= 2500


def test_a_row_that_cannot_be_changed_is_named(any_base: Base) -> None:
    with users(any_base) as client, opened(any_base) as server:
        client.execute("ALTER TABLE users ADD CHECK (full_name <> 'F1234 L1234')")
        with pytest.raises(Refused, match=r"row 1234: .*violates check constraint"):
            fill(server)
        assert only(client, "SELECT max(id) FROM users WHERE full_name IS NOT NULL") == 1233
        client.execute("UPDATE users SET last_name = 'L' WHERE id = 1234")
        assert fill(server) == Filled(2500, 2500, 1)


def test_the_role_s_own_settings_do_not_matter(base: Base) -> None:
    """Statement timeouts of the role are overridden; and under SERIALIZABLE it would fail with clients who write."""
    with users(base, 240) as client:
        slow(client, 0.005)
        for setting in ("statement_timeout = '1s'", "default_transaction_isolation = 'serializable'"):
            client.execute(f"ALTER DATABASE {base.name} SET {setting}")
        with opened(base) as server:
            shown: list[Any] = []
            client.execute("CREATE TABLE seen (setting text); GRANT INSERT ON seen TO PUBLIC")
            client.execute(
                "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen SELECT current_setting('transaction_isolation');"
                " RETURN NULL; END $$; CREATE TRIGGER see AFTER UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION see()"
            )
            assert fill(server, of=migration(pace=Pace(batch=240, target=10.0, duty=1.0))) == Filled(240, 240, 1)
            shown += client.execute("SELECT DISTINCT setting FROM seen").fetchall()
            assert shown == [("read committed",)]


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


def test_between_two_batches_nothing_is_held(any_base: Base) -> None:
    """A long backfill bloats what it holds a snapshot of: no transaction of ours is older than a batch."""
    seen: list[Any] = []
    with users(any_base) as client, opened(any_base) as server:

        def between(_: float) -> None:
            seen.extend(client.execute("SELECT state, backend_xmin, backend_xid FROM pg_stat_activity WHERE application_name = 'bleen migrate'").fetchall())
            seen.extend(
                client.execute(
                    "SELECT l.relation::regclass::text FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'bleen migrate'"
                ).fetchall()
            )

        fill(server, pause=between)
    assert len(seen) >= 2
    assert set(seen) == {("idle", None, None)}


def test_batches_grow_and_shrink_towards_their_time(base: Base) -> None:
    """Adaptive batches (target ≤ 50 ms)."""
    with users(base, 1000) as client, opened(base) as server:
        sizes: list[int] = []
        fill(server, of=migration(pace=Pace(batch=10, target=60.0, duty=1.0)), pause=lambda _: sizes.append(_size(server)))
        assert sizes[:5] == [10, 20, 40, 80, 160]
        client.execute("UPDATE users SET full_name = NULL WHERE id <= 300")
        slow(client, 0.004)
        sizes.clear()
        fill(server, of=migration(pace=Pace(batch=500, duty=1.0))._replace(name="0008_slowly"), pause=lambda _: sizes.append(_size(server)))
        assert sizes[0] < 500, "one that took more than a second was ended, and tried with fewer rows"
        assert min(sizes[1:-3]) <= 15


class Far(Postgres):
    """Answers late, whatever it is asked."""

    def rows(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        threading.Event().wait(0.1)
        return super().rows(sql, values)


def test_a_server_that_is_far_away_does_not_make_batches_small(base: Base) -> None:
    """Fewer rows would not bring it nearer: there would be no end with batches of one row."""
    with users(base) as client:
        server = Far(base.url)
        sizes: list[int] = []

        def pause(_: float) -> None:
            sizes.append(only(client, "SELECT (memo::json->>'size')::int FROM bleen_step"))
            if len(sizes) == 6:
                raise Enough

        with pytest.raises(Enough):
            fill(server, of=migration(pace=Pace(batch=20, duty=1.0)), pause=pause)
        assert max(sizes) > 40
        server.close()


def _size(server: Postgres) -> int:
    """Rows of the last batch's size."""
    return int(server.rows("SELECT memo::json->>'size' FROM bleen_step ORDER BY at DESC LIMIT 1")[0][0])


def test_it_is_at_work_for_its_share_of_the_time(base: Base) -> None:
    """A duty cycle."""
    with users(base, 40) as client, opened(base) as server:
        slow(client, 0.005)
        pauses: list[float] = []
        fill(server, of=migration(pace=Pace(batch=20, target=1.0, duty=0.2)), pause=pauses.append)
        assert all(each >= 20 * 0.005 * 4 for each in pauses), "four times as long as it was at work"
        pauses.clear()
        client.execute("UPDATE users SET full_name = NULL")
        fill(server, of=migration()._replace(name="0008_always"), pause=pauses.append)
        assert set(pauses) == {0.0}


def test_it_waits_for_a_replica_that_lags(base: Base) -> None:
    """Paused by replica lag: a real replica, which does not apply what it gets."""
    waits: list[str] = []
    with users(base) as client, opened(base) as server, databases.replica(base.server) as replica, replica.connect(base.name) as behind:
        behind.execute("SELECT pg_wal_replay_pause()")
        until("the replica applies nothing", lambda: bool(only(behind, "SELECT pg_get_wal_replay_pause_state() = 'paused'")))
        lag = "SELECT coalesce(max(extract(epoch FROM replay_lag)), 0) FROM pg_stat_replication"

        def written() -> bool:
            client.execute("UPDATE users SET last_name = last_name WHERE id = 1")
            return bool(only(client, lag) > 0.3)

        until("it lags", written)

        def pause(seconds: float) -> None:
            if waits and not resumed:
                behind.execute("SELECT pg_wal_replay_resume()")
                resumed.append(True)
            threading.Event().wait(seconds)
            client.execute("UPDATE users SET last_name = last_name WHERE id = 1")  # who writes nothing hears of no lag

        resumed: list[bool] = []
        of = migration(pace=Pace(lag=0.3, duty=1.0))
        assert fill(server, of=of, told=lambda p: waits.append(p.waits) if "replica" in p.waits else None, pause=pause) == Filled(2500, 2500, 1)
    assert "s behind, more than 0.3 s" in waits[0]


def test_it_waits_while_many_wait(base: Base) -> None:
    """Paused by load."""
    waits: list[str] = []
    with users(base) as client, opened(base) as server, base.connect() as holder, ExitStack() as stack:
        client.execute("CREATE TABLE till (id int)")
        holder.execute("BEGIN; LOCK TABLE till")
        for _ in range(CROWD + 1):
            each = base.connect().pgconn
            stack.callback(each.finish)
            each.send_query(b"SELECT FROM till")
        until("they all wait", lambda: bool(only(client, "SELECT count(*) > 20 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")))

        def told(progress: Progress) -> None:
            if "sessions wait" in progress.waits:
                waits.append(progress.waits)
                holder.execute("COMMIT")

        assert fill(server, told=told, pause=threading.Event().wait) == Filled(2500, 2500, 1)
    assert waits[0] == "21 sessions wait for locks or the disk, more than 20"


NAMES = Pair(
    "public.users",
    ("first_name", "last_name"),
    ("full_name",),
    {"full_name": "first_name || ' ' || last_name"},
    {"first_name": "split_part(full_name, ' ', 1)", "last_name": "split_part(full_name, ' ', 2)"},
    lossy=True,
)


def test_what_the_new_version_wrote_is_not_overwritten(any_base: Base) -> None:
    """What a writer wrote is never overwritten: a row is also in step if the old side is what the new one says."""
    with users(any_base) as client, opened(any_base) as server:
        client.execute("UPDATE users SET first_name = 'Ada', last_name = 'King', full_name = 'Ada King Lovelace' WHERE id = 7")
        assert fill(server, of=migration(NAMES)) == Filled(2500, 2499, 1)
        assert only(client, "SELECT full_name FROM users WHERE id = 7") == "Ada King Lovelace"
        assert fill(server, of=migration()._replace(name="0008_without_a_pair")).changed == 1


def test_a_partitioned_table_is_one_table(any_base: Base) -> None:
    with any_base.connect() as client, opened(any_base) as server:
        client.execute("CREATE TABLE t (id int PRIMARY KEY, a int) PARTITION BY HASH (id)")
        for number in range(3):
            client.execute(f"CREATE TABLE t{number} PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER {number})")
        client.execute("INSERT INTO t SELECT n FROM generate_series(1, 2000) n")
        assert fill(server, Backfill("t", {"a": "id"})) == Filled(2000, 2000, 1)
        assert only(client, "SELECT count(*) FROM t WHERE a = id") == 2000


def test_whoever_ends_its_statement_ends_it(base: Base) -> None:
    """A statement that somebody cancels is not tried again, with fewer rows or with as many."""
    with users(base) as client, opened(base) as server:
        slow(client, 0.05)

        def cancel() -> None:
            until("a batch is under way", lambda: bool(only(client, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'WITH changed%'")))
            client.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'WITH changed%'")

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(Refused, match="user request"):
            fill(server, of=migration(pace=Pace(batch=2500, target=5.0)))
        thread.join()


def test_the_estimate_is_of_the_right_size(any_base: Base) -> None:
    """An estimate of space and time first."""
    with users(any_base, 50_000) as client, opened(any_base) as server:
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
