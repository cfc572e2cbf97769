"""The backfill on a real MariaDB."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from bleen.database import backfill
from bleen.database.backfill import Filled, Progress
from bleen.database.backfill.mysql import CROWD
from bleen.database.grammar.tokens_update import update
from bleen.database.ledger import Ledger
from bleen.database.migration import Backfill, Locks, Migration, Pace, Pair
from bleen.database.mysql.server import MySQL
from bleen.database.statements import Unreadable
from bleen.errors import Refused
from bleen.testing.site import until
from mariadb import Client, MariaBase, numbers

FULL_NAME = Backfill("users", {"full_name": "concat(first_name, ' ', last_name)"})
AT_ONCE = Pace(duty=1.0)
PATIENT = Locks()


@contextmanager
def opened(base: MariaBase) -> Iterator[MySQL]:
    server = base.open()
    try:
        yield server
    finally:
        server.close()


def migration(*pairs: Pair, pace: Pace = AT_ONCE, locks: Locks = PATIENT, name: str = "0007_full_name") -> Migration:
    return Migration(name, {}, "", None, pairs, locks, pace)


def fill(
    server: MySQL,
    wanted: Backfill = FULL_NAME,
    of: Migration | None = None,
    told: Callable[[Progress], None] = lambda _: None,
    pause: Callable[[float], object] = lambda _: None,
) -> Filled:
    ledger = Ledger(server)
    ledger.make()
    return backfill.run(server, ledger, of or migration(), wanted, told, pause)


def users(base: MariaBase, rows: int = 2500) -> Client:
    """The article's table, expanded and not filled; how often a row was written is written in it."""
    client = base.connect()
    client.run(
        "CREATE TABLE users (id bigint PRIMARY KEY, first_name varchar(40), last_name varchar(40), full_name varchar(81), writes int NOT NULL DEFAULT 0,"
        " writer varchar(20))",
        f"INSERT INTO users (id, first_name, last_name) SELECT seq, concat('F', seq), concat('L', seq) FROM {numbers(rows)}",
        "CREATE TRIGGER written BEFORE UPDATE ON users FOR EACH ROW SET NEW.writes = OLD.writes + 1, NEW.writer = @bleen_environment",
    )
    return client


def test_every_row_is_filled_and_what_is_right_is_not_written(maria_base: MariaBase) -> None:
    """It has ended when a count of rows out of step is 0."""
    with users(maria_base) as client, opened(maria_base) as server:
        client.run("UPDATE users SET full_name = concat(first_name, ' ', last_name) WHERE id % 10 = 0", "UPDATE users SET full_name = 'f7 l7' WHERE id = 7")
        assert fill(server) == Filled(2500, 2250, 1)
        assert client.only("SELECT count(*) FROM users WHERE BINARY full_name = BINARY concat(first_name, ' ', last_name)") == 2500
        assert client.only("SELECT count(*) FROM users WHERE writer = 'backfill'") == 2250
        assert server.rows("SELECT @bleen_environment") == [(None,)]


def test_a_condition_leaves_the_other_rows_alone(maria_base: MariaBase) -> None:
    with users(maria_base) as client, opened(maria_base) as server:
        assert fill(server, FULL_NAME._replace(where="first_name LIKE 'F%5' -- and no others")).changed == 250
        assert client.only("SELECT count(full_name) FROM users") == 250


class Mortal(MySQL):
    """Dies by SIGKILL at one of the points before and after each of its statements."""

    point = 0

    def _live(self) -> None:
        self.point -= 1
        if self.point == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self._live()
        found = super().rows(sql, values)
        self._live()
        return found


def _killed(base: MariaBase, point: int) -> bool:
    """Whether a backfill that was to die at this point came to it."""
    child = os.fork()
    if not child:
        try:
            server = Mortal(base.url)
            server.point = point
            fill(server, of=migration(pace=Pace(batch=5, duty=1.0)))
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_killed_at_any_point_no_batch_is_done_again(maria_base: MariaBase) -> None:
    """The checkpoint is committed in the batch's own transaction: after kill -9 at most one batch is done again."""
    with users(maria_base, 15) as client, opened(maria_base) as server:
        Ledger(server).make()
        for point in range(1, 500):
            client.run("DELETE FROM bleen_step", "UPDATE users SET full_name = NULL")
            before = client.rows("SELECT id, writes FROM users")
            killed = _killed(maria_base, point)
            until("the server has noticed", lambda: len(server.sessions()) == 1)
            assert fill(server).rows == 15, f"after a kill at point {point}"
            assert client.rows("SELECT id, writes - 1 FROM users") == before, f"after a kill at point {point}"
            if not killed:
                assert point > 60
                return
    raise AssertionError("it has no end")


KEYS = [
    ("a int", "CAST(seq AS SIGNED) - 50"),
    ("a bigint unsigned", "18446744073709551615 - seq"),
    ("a varchar(20) COLLATE utf8mb4_general_ci", "concat(char(40 + seq % 80 USING utf8mb4), '''\\\\', seq)"),
    ("a varchar(20) CHARACTER SET latin1 COLLATE latin1_bin", "if(seq = 1, '', concat('é', seq))"),
    ("a char(5)", "seq"),
    ("a decimal(10,4)", "(CAST(seq AS SIGNED) - 50) / 7.0"),
    ("a uuid", "concat(left(md5(seq), 12), '4', substr(md5(seq), 14, 3), 'a', substr(md5(seq), 18))"),
    ("a varbinary(20)", "unhex(md5(seq))"),
    ("a datetime(6)", "'2026-10-25' + INTERVAL seq * 7.000001 MINUTE"),
    ("a date", "'1000-01-01' + INTERVAL seq DAY"),
    ("a time(3)", "sec_to_time(seq * 61.5 - 3000)"),
    ("a boolean, b int", "seq % 2 = 0, seq"),
    ("a int, b varchar(9), c int", "seq % 3, char(65 + seq % 5), seq"),
]


@pytest.mark.parametrize(("columns", "values"), KEYS, ids=[columns for columns, _ in KEYS])
def test_it_goes_along_any_key(maria_base: MariaBase, columns: str, values: str) -> None:
    names = ", ".join(word.split()[0] for word in columns.split(", "))
    with maria_base.connect() as client, opened(maria_base) as server:
        client.run(f"CREATE TABLE t ({columns}, done int NOT NULL DEFAULT 0, PRIMARY KEY ({names}))", f"INSERT INTO t SELECT {values}, 0 FROM {numbers(100)}")
        assert fill(server, Backfill("t", {"done": "1"}), migration(pace=Pace(batch=3, duty=1.0, target=1e-6))) == Filled(100, 100, 1)
        assert client.only("SELECT min(done) FROM t") == 1


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("CREATE TABLE t (id int, a int)", "no key to go along"),
        ("CREATE TABLE t (id int UNIQUE, a int)", "no key to go along"),
        ("CREATE TABLE t (id int NOT NULL, a int, INDEX (id))", "no key to go along"),
        ("CREATE TABLE t (id varchar(9) NOT NULL, a int, UNIQUE INDEX (id(3)))", "no key to go along"),
        ("CREATE TABLE t (id double PRIMARY KEY, a int)", "no key to go along"),
        ("CREATE TABLE t (id int, a int, PRIMARY KEY (id DESC))", r"no key to go along\..*not one that goes down \(DESC\)"),
        ("CREATE TABLE t (id enum('x') PRIMARY KEY, a int)", "no key to go along"),
        ("CREATE TABLE t (id int PRIMARY KEY)", "no column a; it has id"),
        ("CREATE TABLE t (id int PRIMARY KEY, a int AS (id) STORED)", "the server fills it"),
        ("CREATE TABLE t (id int, a int PRIMARY KEY)", "of the key that it goes along"),
        ("CREATE VIEW t AS SELECT 1 AS id, 2 AS a", "no key to go along"),
        ("CREATE TABLE u (id int)", "no table t"),
    ],
)
def test_a_table_that_cannot_be_gone_along_is_refused(maria_base: MariaBase, table: str, says: str) -> None:
    """One UPDATE of one table with a key, else an error."""
    with maria_base.connect() as client, opened(maria_base) as server:
        client.run(table)
        with pytest.raises(Refused, match=says):
            fill(server, Backfill("t", {"a": "1"}))


def test_a_unique_index_of_columns_that_are_not_null_is_as_good_as_a_primary_key(maria_base: MariaBase) -> None:
    with maria_base.connect() as client, opened(maria_base) as server:
        client.run("CREATE TABLE t (a int, b int NOT NULL, c int NOT NULL, UNIQUE INDEX (b, c), UNIQUE INDEX (c))")
        client.run(f"INSERT INTO t SELECT 0, seq, 100 - seq FROM {numbers(10)}")
        assert fill(server, Backfill("t", {"a": "1"})).changed == 10
        assert fill(server, Backfill("t", {"a": "2"}, key=("b", "c")), migration(name="0008_along_another")).changed == 10
        with pytest.raises(Refused, match=r"\(c, b\) is none of its keys; it has \(c\) and \(b, c\)"):
            fill(server, Backfill("t", {"a": "3"}, key=("c", "b")), migration(name="0009_along_none"))


@pytest.mark.parametrize("fault", [{"key": ("n",)}, {"set": {"notes": "b"}}, {"set": {"a": "concat(n, b)"}}, {"where": "t.n > 3"}])
def test_a_column_that_will_not_be_there_is_known_before_expand(maria_base: MariaBase, fault: dict[str, Any]) -> None:
    coming = "ALTER TABLE t ADD COLUMN a text"
    with maria_base.connect() as client, opened(maria_base) as server:
        client.run("CREATE TABLE t (id int PRIMARY KEY, b text)")
        good = Backfill("t", {"a": "b"}, "a IS NULL")
        backfill.check(server, migration(), good, coming)
        with pytest.raises(Refused, match=r"backfill of t: it has no column (n|notes), and expand.sql adds none; it has id, b$"):
            backfill.check(server, migration(), good._replace(**fault), coming)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("rand()", "rand says something else each time"),
        ("now()", "now says something else"),
        ("CURRENT_TIMESTAMP(3)", "CURRENT_TIMESTAMP says something else"),
        ("uuid()", "uuid says something else"),
        ("coalesce(b, (SELECT max(rand()) FROM t))", "rand says"),
        ("full_of(b)", r"full_of\(\) is not DETERMINISTIC"),
        ("@x", "@ has no place"),
        ("b || 'x'", "sql_mode"),
        ("1) , (2", "not one expression"),
        ("1, 2", "not one expression"),
        ("", "not one expression"),
        ("upper(c)", "made from c, which it sets too"),
    ],
)
def test_what_says_something_else_each_time_is_refused(maria_base: MariaBase, expression: str, says: str) -> None:
    """Rows could never be in step."""
    with maria_base.connect() as client, opened(maria_base) as server:
        client.run("CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text)", "CREATE FUNCTION full_of(x text) RETURNS text RETURN x")
        with pytest.raises(Refused, match=says):
            fill(server, Backfill("t", {"a": expression, "c": "b"}))


def test_who_holds_a_row_is_named_and_given_way_to(maria_base: MariaBase) -> None:
    """Retries that name the blocking session. Nobody who wants a row waits for a batch that waits: it takes its rows without waiting, or not at all."""
    with users(maria_base) as client, opened(maria_base) as server, maria_base.connect() as holder:
        holder.run("BEGIN", "UPDATE users SET last_name = 'X' WHERE id = 1700")
        id, waited = holder.only("SELECT connection_id()"), list[str]()

        def told(progress: Progress) -> None:
            waited.append(progress.waits)
            if f"connection {id} " in progress.waits:
                holder.run("COMMIT")

        assert fill(server, told=told) == Filled(2500, 2500, 1)
        assert any(f"in the way: connection {id} (root@127.0.0.1:" in each for each in waited)
        assert client.only("SELECT full_name FROM users WHERE id = 1700") == "F1700 X"


def test_a_row_that_is_held_for_too_long_ends_it_and_nothing_is_lost(maria_base: MariaBase) -> None:
    with users(maria_base), opened(maria_base) as server, maria_base.connect() as holder:
        holder.run("BEGIN", "SELECT id FROM users WHERE id = 1700 FOR UPDATE")
        with pytest.raises(Refused, match=r"in the way: connection .*tried for 0\.3 s; what was done stays"):
            fill(server, of=migration(locks=Locks(timeout=0.05, patience=0.3)), pause=threading.Event().wait)
        holder.run("COMMIT")
        assert fill(server) == Filled(2500, 2500, 1)


def test_rows_that_come_or_move_behind_it_are_gone_over_again(maria_base: MariaBase) -> None:
    """A row whose key moves behind the backfill's cursor."""
    with users(maria_base) as client, opened(maria_base) as server:
        rounds: list[int] = []

        def meanwhile(_: float) -> None:
            if not rounds:
                client.run("INSERT INTO users (id, first_name) VALUES (-1, 'Ada')", "UPDATE users SET id = -2 WHERE id = 2400")
            rounds.append(1)

        assert fill(server, Backfill("users", {"full_name": "first_name"}), pause=meanwhile) == Filled(2499, 2501, 2)
        assert client.rows("SELECT full_name FROM users WHERE id < 0 ORDER BY id") == [("F2400",), ("Ada",)]


def test_a_row_that_cannot_be_changed_is_named(maria_base: MariaBase) -> None:
    with users(maria_base) as client, opened(maria_base) as server:
        client.run("ALTER TABLE users ADD CHECK (full_name <> 'F1234 L1234')")
        with pytest.raises(Refused, match=r"row 1234: .*CONSTRAINT .* failed"):
            fill(server)
        assert client.only("SELECT max(id) FROM users WHERE full_name IS NOT NULL") == 1233
        client.run("UPDATE users SET last_name = 'L' WHERE id = 1234")
        assert fill(server) == Filled(2500, 2500, 1)


def test_between_two_batches_nothing_is_held(maria_base: MariaBase) -> None:
    """No transaction of ours is older than a batch: who changes the table waits for nobody."""
    seen: list[object] = []
    with users(maria_base) as client, opened(maria_base) as server:
        fill(server, pause=lambda _: seen.append(client.only("SELECT count(*) FROM information_schema.innodb_trx")))
    assert len(seen) >= 2
    assert set(seen) == {0}


def test_it_waits_while_many_run(maria_base: MariaBase) -> None:
    """Paused by load."""
    waits: list[str] = []
    with users(maria_base) as client, opened(maria_base) as server, maria_base.connect() as holder, ExitStack() as stack:
        client.run("CREATE TABLE till (id int)")
        holder.run("LOCK TABLES till WRITE")
        threads = [threading.Thread(target=stack.enter_context(maria_base.connect()).run, args=["SELECT * FROM till"]) for _ in range(CROWD + 2)]
        for thread in threads:
            thread.start()
        until("they all wait", lambda: client.only("SELECT count(*) > 20 FROM information_schema.processlist WHERE state LIKE 'Waiting%'") == 1)

        def told(progress: Progress) -> None:
            if "statements run at once" in progress.waits:
                waits.append(progress.waits)
                holder.run("UNLOCK TABLES")

        assert fill(server, told=told, pause=threading.Event().wait) == Filled(2500, 2500, 1)
        for thread in threads:
            thread.join()
    assert f"more than {CROWD}" in waits[0]


NAMES = Pair(
    "users",
    ("first_name", "last_name"),
    ("full_name",),
    {"full_name": "concat(first_name, ' ', last_name)"},
    {"first_name": "substring_index(full_name, ' ', 1)", "last_name": "substring_index(substring_index(full_name, ' ', 2), ' ', -1)"},
    lossy=True,
)


def test_what_the_new_version_wrote_is_not_overwritten(maria_base: MariaBase) -> None:
    """What a writer wrote is never overwritten: a row is also in step if the old side is what the new one says."""
    with users(maria_base) as client, opened(maria_base) as server:
        client.run("UPDATE users SET first_name = 'Ada', last_name = 'King', full_name = 'Ada King Lovelace' WHERE id = 7")
        assert fill(server, of=migration(NAMES._replace(table=f"`{maria_base.name}`.users"))) == Filled(2500, 2499, 1)
        assert client.only("SELECT full_name FROM users WHERE id = 7") == "Ada King Lovelace"
        assert fill(server, of=migration(name="0008_without_a_pair")).changed == 1


def test_a_partitioned_table_is_one_table(maria_base: MariaBase) -> None:
    with maria_base.connect() as client, opened(maria_base) as server:
        client.run("CREATE TABLE t (id int PRIMARY KEY, a int) PARTITION BY HASH (id) PARTITIONS 3", f"INSERT INTO t (id) SELECT seq FROM {numbers(2000)}")
        assert fill(server, Backfill("t", {"a": "id"})) == Filled(2000, 2000, 1)
        assert client.only("SELECT count(*) FROM t WHERE a = id") == 2000


def test_the_estimate_is_of_the_right_size(maria_base: MariaBase) -> None:
    """An estimate of space and time first, also before the columns are there."""
    with users(maria_base, 30_000) as client, opened(maria_base) as server:
        client.run("UPDATE users SET full_name = concat(first_name, ' ', last_name) WHERE id % 2 = 0", "ANALYZE TABLE users")
        estimate = backfill.estimate(server, migration(), FULL_NAME)
        assert 20_000 < estimate.rows < 40_000
        assert 10_000 < estimate.changes < 20_000
        assert estimate.seconds == pytest.approx(estimate.rows / 20_000)
        client.run("ALTER TABLE users DROP COLUMN full_name")
        assert backfill.estimate(server, migration(), FULL_NAME).changes == backfill.estimate(server, migration(), FULL_NAME).rows


def test_strange_names_are_names(maria_base: MariaBase) -> None:
    with maria_base.connect() as client, opened(maria_base) as server:
        client.run('CREATE TABLE `T%s.``x` (`i d%s` int PRIMARY KEY, `s%"` varchar(9), `sel ect` varchar(20))')
        client.run(f"INSERT INTO `T%s.``x` SELECT seq, seq, seq FROM {numbers(10)}")
        wanted = server.update("UPDATE `T%s.``x` SET `sel ect` = concat(`s%\"`, '%s%%') /* % */ WHERE `s%\"` LIKE '%'")
        assert fill(server, wanted).changed == 10
        assert client.only("SELECT `sel ect` FROM `T%s.``x` WHERE `i d%s` = 7") == "7%s%%"


class TestBackfillSql:
    def test_it_is_taken_apart_as_it_is_written(self) -> None:
        case = "CASE WHEN b IS NOT DISTINCT FROM 1 THEN (SELECT x FROM o WHERE o.id = 1) ELSE ',' END"
        text = f"-- all of them\nUPDATE `s`.users SET a = {case}, users.`b c` = b = 2\nWHERE a IS NULL;"
        assert update(text, "mysql") == Backfill("`s`.users", {"a": case, "b c": "b = 2"}, "a IS NULL")

    @pytest.mark.parametrize(
        ("text", "says", "at"),
        [
            ("", "one UPDATE of one table", (1, 1)),
            ("DELETE FROM users", "one UPDATE of one table", (1, 1)),
            ("UPDATE users SET a = 1;\nUPDATE users SET b = 1", "one UPDATE of one table", (2, 1)),
            ("UPDATE users u SET a = 1", "without an alias", (1, 14)),
            ("UPDATE users, others SET a = 1", "no second table", (1, 13)),
            ("UPDATE users SET a = 1 ORDER BY id", "a backfill has no ORDER", (1, 24)),
            ("UPDATE users SET a = 1 WHERE b = 1 LIMIT 5", "a backfill has no LIMIT", (1, 36)),
            ("UPDATE users SET a = 1, A = 2", "A is set twice", (1, 25)),
            ("UPDATE users SET a = ", "not understood", (1, 21)),
            ("UPDATE users SET (a, b) = (1, 2)", "not understood from '('", (1, 18)),
            ("UPDATE LOW_PRIORITY users SET a = 1", "without an alias", (1, 21)),
        ],
    )
    def test_what_cannot_be_done_in_batches_is_refused_with_its_place(self, text: str, says: str, at: tuple[int, int]) -> None:
        with pytest.raises(Unreadable, match=says.replace("(", r"\(")) as raised:
            update(text, "mysql")
        assert raised.value.at == at
