"""Two-way sync on MariaDB: every rule of the decision table, every way to write a row, and the types and names that a table may have."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_step_mysql import NAMES, USERS, Table, change, made
from pymysql import err

from bleen.database.migration import OnConflict, Pair
from bleen.database.sync.table import Side
from mariadb import MariaBase, numbers


@pytest.fixture
def users(maria_base: MariaBase) -> Iterator[Table]:
    with Table(maria_base) as table:
        yield table


class TestEveryRuleOfTheTable:
    def test_an_update_of_the_old_columns_makes_the_new_ones(self, users: Table) -> None:
        users.old.run("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King')")
        users.anyone.run("UPDATE users SET last = 'Lovelace'")
        assert users.row() == ("Ada", "Lovelace", "Ada Lovelace")

    def test_an_update_of_the_new_columns_makes_the_old_ones(self, users: Table) -> None:
        users.old.run("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King')")
        users.anyone.run("UPDATE users SET full_name = 'Grace Murray Hopper'")
        assert users.row() == ("Grace", "Murray Hopper", "Grace Murray Hopper")
        assert users.counts == (1, 0)

    def test_an_insert_of_either_side_makes_the_other(self, users: Table) -> None:
        users.anyone.run("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King')", "INSERT INTO users (id, full_name) VALUES (2, 'Ada King')")
        assert users.row(1) == users.row(2) == ("Ada", "King", "Ada King")

    def test_an_unrelated_update_changes_no_byte_of_a_row_in_step(self, users: Table) -> None:
        """semantics.md: "an unrelated UPDATE changes no byte of either". In step by what the new shape says more than the old one: one name."""
        users.new.run("INSERT INTO users (id, full_name) VALUES (1, 'Cher'), (2, 'Ada King')")
        assert users.row() == ("Cher", "Cher", "Cher")
        before = users.row(1), users.row(2)
        for writer in (users.old, users.new, users.anyone):
            writer.run("UPDATE users SET note = concat(coalesce(note, ''), 'x')")
        assert (users.row(1), users.row(2)) == before

    def test_the_backfills_own_update_is_left_alone(self, users: Table) -> None:
        """semantics.md: "what a writer wrote is never overwritten by its own echo". Backward would give ('Ada', 'B King')."""
        users.without("INSERT INTO users (id, first, last) VALUES (1, 'Ada B', 'King')")
        users.anyone.run("UPDATE users SET full_name = concat(first, ' ', last)")
        assert users.row() == ("Ada B", "King", "Ada B King")

    def test_a_row_that_the_backfill_has_not_come_to_is_filled_by_an_unrelated_update(self, users: Table) -> None:
        users.without("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King')")
        users.new.run("UPDATE users SET note = 'x'")
        assert users.row() == ("Ada", "King", "Ada King")

    def test_a_row_whose_key_moves_behind_the_backfills_cursor_is_filled(self, users: Table) -> None:
        """The issue: "a row whose key moves behind the backfill's cursor is never filled by a trigger that looks only at changed columns"."""
        users.without("INSERT INTO users (id, first, last) VALUES (100, 'Ada', 'King')")
        users.old.run("UPDATE users SET id = 1 WHERE id = 100")
        assert users.row(1) == ("Ada", "King", "Ada King")

    def test_an_unfilled_row_that_the_new_version_writes_takes_what_it_wrote(self, users: Table) -> None:
        users.without("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King')")
        users.anyone.run("UPDATE users SET full_name = 'Grace Hopper'")
        assert users.row() == ("Grace", "Hopper", "Grace Hopper")

    def test_a_writer_of_both_sides_that_agree_is_left_alone(self, users: Table) -> None:
        users.anyone.run("INSERT INTO users (id, first, last, full_name) VALUES (1, 'Ada', 'King', 'Ada King'), (2, 'Cher', 'Cher', 'Cher')")
        users.anyone.run("UPDATE users SET first = 'Eva', full_name = 'Eva King' WHERE id = 1")
        assert (users.row(1), users.row(2)) == (("Eva", "King", "Eva King"), ("Cher", "Cher", "Cher"))

    @pytest.mark.parametrize(
        "statement",
        ["INSERT INTO users (id, first, last, full_name) VALUES (2, 'A', 'B', 'C D')", "UPDATE users SET first = 'A', last = 'B', full_name = 'C D'"],
    )
    def test_both_sides_written_and_not_agreeing_the_writer_decides(self, users: Table, statement: str) -> None:
        users.old.run("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King')")
        key = 2 if "INSERT" in statement else 1
        users.old.run(statement)
        assert users.row(key) == ("A", "B", "A B")
        users.anyone.run("DELETE FROM users WHERE id = 2")
        users.new.run(statement.replace("C D", "C E"))
        assert users.row(key) == ("C", "E", "C E")

    @pytest.mark.parametrize(("choice", "expected"), [("old", ("A", "B", "A B")), ("new", ("C", "D", "C D")), ("error", None)])
    def test_both_sides_written_and_the_writer_unknown_on_conflict_decides_and_is_counted(
        self, maria_base: MariaBase, choice: OnConflict, expected: tuple[str, ...] | None
    ) -> None:
        with Table(maria_base, NAMES._replace(on_conflict=choice)) as users:
            for statement in (
                "INSERT INTO users (id, first, last, full_name) VALUES (1, 'A', 'B', 'C D')",
                "UPDATE users SET first = 'A', last = 'B', full_name = 'C D'",
            ):
                users.anyone.run("DELETE FROM users")
                if "UPDATE" in statement:
                    users.old.run("INSERT INTO users (id, first, last) VALUES (1, 'X', 'Y')")
                if expected:
                    users.anyone.run(statement)
                    assert users.row() == expected
                else:
                    with pytest.raises(err.MySQLError, match="set @bleen_environment, or write one side: first, last and full_name of users disagree"):
                        users.anyone.run("BEGIN", statement)
                    users.anyone.run("ROLLBACK")
            assert users.counts == (2 if choice == "new" else 0, 2)

    def test_a_change_of_case_or_of_blanks_is_a_change(self, users: Table) -> None:
        """What a collation calls equal is not the same."""
        users.old.run("INSERT INTO users (id, first, last) VALUES (1, 'ada', 'king')")
        users.old.run("UPDATE users SET first = 'ADA', last = 'king '")
        assert users.row() == ("ADA", "king ", "ADA king ")


class TestWhoWrites:
    @pytest.mark.parametrize(("name", "expected"), [("green", "new"), ("green-17", "new"), ("blue", "old"), ("blue-5", "new"), ("purple", None), ("", None)])
    def test_an_environment_is_known_by_its_name_and_release_first_then_by_its_name(self, users: Table, name: str, expected: str | None) -> None:
        change(users.server, *made(users.server, writers={"blue": "old", "blue-5": "new", "green": "new"}).rewrite())
        users.anyone.run(f"SET @bleen_environment = '{name}'")
        write = "INSERT INTO users (id, first, last, full_name) VALUES (1, 'A', 'B', 'C D')"
        if expected is None:
            with pytest.raises(err.MySQLError, match="disagree"):
                users.anyone.run(write)
        else:
            users.anyone.run(write)
            assert users.row()[2] == {"old": "A B", "new": "C D"}[expected]

    def test_a_rewrite_reaches_sessions_that_are_warm(self, users: Table) -> None:
        write = "UPDATE users SET first = 'A', last = 'B', full_name = 'C D'"
        users.old.run("INSERT INTO users (id, first, last) VALUES (1, 'X', 'Y')", write)
        assert users.row() == ("A", "B", "A B")
        change(users.server, *made(users.server, writers={"blue": "new"}).rewrite())
        users.old.run("UPDATE users SET first = 'E', last = 'F', full_name = 'G H'")
        assert users.row() == ("G", "H", "G H")


class TestEveryWayToWrite:
    def test_load_data(self, users: Table, maria_base: MariaBase, tmp_path: Path) -> None:
        (tmp_path / "rows").write_text("1\ta\tb\n2\tc\td\n")
        with maria_base.connect(local_infile="1") as loader:
            loader.run("SET GLOBAL local_infile = 1", f"LOAD DATA LOCAL INFILE '{tmp_path / 'rows'}' INTO TABLE users (id, first, last)")
        assert (users.row(1), users.row(2)) == (("a", "b", "a b"), ("c", "d", "c d"))

    def test_insert_on_duplicate_key_update(self, users: Table) -> None:
        old = "INSERT INTO users (id, first, last) VALUES (1, '{}', '{}') ON DUPLICATE KEY UPDATE first = VALUES(first), last = VALUES(last)"
        new = "INSERT INTO users (id, full_name) VALUES (1, '{}') ON DUPLICATE KEY UPDATE full_name = VALUES(full_name)"
        users.old.run(old.format("a", "b"), old.format("c", "d"))
        assert users.row() == ("c", "d", "c d")
        users.new.run(new.format("e f"))
        assert users.row() == ("e", "f", "e f")
        users.anyone.run(old.format("g", "h"))
        assert users.row() == ("g", "h", "g h")

    def test_replace(self, users: Table) -> None:
        users.old.run("REPLACE INTO users (id, first, last) VALUES (1, 'a', 'b')")
        users.anyone.run("REPLACE INTO users (id, full_name) VALUES (1, 'c d')")
        assert users.row() == ("c", "d", "c d")

    def test_insert_select_and_an_update_of_two_tables(self, users: Table) -> None:
        users.old.run(f"INSERT INTO users (id, first, last) SELECT seq, concat('f', seq), concat('l', seq) FROM {numbers(3)}")
        users.new.run("INSERT INTO users (id, full_name) SELECT id + 10, concat(full_name, '!') FROM users")
        assert users.row(12) == ("f2", "l2!", "f2 l2!")
        users.new.run("UPDATE users JOIN (SELECT 1 AS n UNION SELECT 2) s ON s.n = users.id SET full_name = concat('New ', s.n)")
        assert (users.row(1), users.row(2), users.row(3)) == (("New", "1", "New 1"), ("New", "2", "New 2"), ("f3", "l3", "f3 l3"))

    def test_what_returning_gives_is_what_was_stored(self, users: Table) -> None:
        assert users.new.rows("INSERT INTO users (id, full_name) VALUES (1, 'a b') RETURNING first, last") == [("a", "b")]

    def test_a_prepared_statement_of_a_warm_connection(self, users: Table) -> None:
        users.new.run("PREPARE p FROM 'INSERT INTO users (id, full_name) VALUES (?, ?)'", "SET @id = 1, @name = 'a b'", "EXECUTE p USING @id, @name")
        change(users.server, *made(users.server, writers={"green": "old"}).rewrite())
        users.new.run("SET @id = 2, @name = 'c d'", "EXECUTE p USING @id, @name")
        assert (users.row(1), users.row(2)) == (("a", "b", "a b"), ("c", "d", "c d"))

    def test_a_users_own_trigger_has_its_say_first(self, maria_base: MariaBase) -> None:
        with maria_base.connect() as admin:
            admin.run(USERS, "CREATE TRIGGER zzz BEFORE INSERT ON users FOR EACH ROW SET NEW.last = upper(NEW.last)")
        with Table(maria_base, table="DO 0") as users:
            users.old.run("INSERT INTO users (id, first, last) VALUES (1, 'a', 'b')")
            assert users.row() == ("a", "B", "a B")

    def test_a_cascade_fires_no_trigger_and_leaves_the_row_in_step(self, maria_base: MariaBase) -> None:
        """Foreign keys that could change a column of a pair are refused: see test_mysql_refusals."""
        with Table(maria_base, table=USERS.replace("note text", "note text, team int")) as users:
            users.anyone.run("CREATE TABLE teams (id int PRIMARY KEY)", "INSERT INTO teams VALUES (1)")
            users.anyone.run("ALTER TABLE users ADD FOREIGN KEY (team) REFERENCES teams (id) ON UPDATE CASCADE")
            users.old.run("INSERT INTO users (id, first, last, team) VALUES (1, 'a', 'b', 1)")
            users.anyone.run("UPDATE teams SET id = 2")
            assert users.row(columns="first, last, full_name, team") == ("a", "b", "a b", 2)

    def test_a_dump_that_is_read_back_changes_no_byte(self, users: Table) -> None:
        users.new.run("INSERT INTO users (id, full_name) VALUES (1, 'Cher'), (2, 'a b')")
        users.anyone.run("CREATE TEMPORARY TABLE dump AS SELECT * FROM users")
        before = users.row(1), users.row(2)
        users.anyone.run("DELETE FROM users", "INSERT INTO users SELECT * FROM dump")
        assert (users.row(1), users.row(2)) == before

    @pytest.mark.parametrize("event", ["insert", "update"])
    def test_a_trigger_that_an_earlier_bleen_made_and_that_no_dump_can_rename_is_made_anew(self, users: Table, event: str) -> None:
        """It named its database, and was called by a hash of its body alone."""
        (ours,) = [each for each in users.sync.ours() if each.name.startswith(f"{users.sync.name}_{event}")]
        name = f"{users.sync.name}_{event}_{hashlib.sha256(ours.body.encode()).hexdigest()[:8]}"
        made, of = users.sync.named(name), users.sync.named("users")
        change(users.server, f"DROP TRIGGER `{ours.name}`", f"CREATE TRIGGER {made} BEFORE {event} ON {of} FOR EACH ROW {ours.body}")
        change(users.server, *users.sync.install())
        shown = [str(users.anyone.rows(f"SHOW CREATE TRIGGER `{each.name}`")) for each in users.sync.ours()]
        assert [users.base.name in each for each in shown] == [False, False]

    def test_the_table_may_be_in_another_database_than_the_url_s(self, maria_base: MariaBase) -> None:
        with (
            maria_base.server.database() as aside,
            Table(maria_base, NAMES._replace(table=f"{aside.name}.users"), USERS.replace("users", f"{aside.name}.users")) as users,
        ):
            users.new.run(f"INSERT INTO {aside.name}.users (id, full_name) VALUES (1, 'Ada King')")
            assert (users.row(), users.counts) == (("Ada", "King", "Ada King"), (1, 0))
            change(users.server, *users.sync.remove())

    def test_a_client_with_another_sql_mode_and_character_set_writes_the_same(self, users: Table, maria_base: MariaBase) -> None:
        with maria_base.connect(charset="latin1") as other:
            other.run("SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES', time_zone = '+09:00'")
            other.run("INSERT INTO users (id, full_name) VALUES (1, 'Zoë Müller')")
        assert users.row() == ("Zoë", "Müller", "Zoë Müller")
        assert users.diverged() == 0


class TestDefaultsAndNulls:
    STATUS = Pair(
        "jobs", ("status",), ("active",), {"active": "status = 'active'"}, {"status": "CASE WHEN active THEN 'active' ELSE 'paused' END"}, "error", lossy=True
    )
    JOBS = "CREATE TABLE jobs (id int PRIMARY KEY, status varchar(9) NOT NULL DEFAULT 'paused', active boolean)"

    LAX = ("INSERT IGNORE INTO t (id, a) VALUES (2, 'q')", "INSERT IGNORE INTO t (id, b, n) VALUES (3, 7, 'x')", "INSERT IGNORE INTO t (id) VALUES (4)")

    @pytest.mark.parametrize("mode", ["", "STRICT_ALL_TABLES"])
    def test_what_the_server_puts_where_there_must_be_a_value_is_on_both_sides(self, maria_base: MariaBase, mode: str) -> None:
        """It does so behind every trigger."""
        types = {"a": "varchar(9)", "b": "int", "c": "date", "d": "enum('x','y')", "e": "binary(3)", "f": "year", "g": "datetime", "h": "decimal(9, 2)"}
        old, new = tuple(types), tuple(f"new_{name}" for name in types)
        pair = Pair("t", old, new, dict(zip(new, old, strict=True)), dict(zip(old, new, strict=True)), "error")
        said = ", ".join(f"{name} {kind} NOT NULL, new_{name} {kind}" for name, kind in types.items())
        with Table(maria_base, pair, f"CREATE TABLE t (id int PRIMARY KEY, n text, {said})") as t:
            t.new.run("INSERT INTO t (id, new_a, new_b, new_c, new_d, new_e, new_f, new_g, new_h) VALUES (1, 'q', 1, now(), 'y', 'abc', 1999, now(), 1.5)")
            for writer in (t.old, t.anyone, t.new):
                writer.run(f"SET sql_mode = '{mode}'", *self.LAX, f"UPDATE IGNORE t SET {', '.join(f'{name} = NULL' for name in old)} WHERE id = 1")
                assert t.diverged() == 0
                assert t.anyone.rows("SELECT new_a, new_b, new_d, new_f, n FROM t ORDER BY id") == [
                    ("", 0, "x", 0, None),
                    ("q", 0, "x", 0, None),
                    ("", 7, "x", 0, "x"),
                    ("", 0, "x", 0, None),
                ]
                t.anyone.run("DELETE FROM t WHERE id > 1")
            with pytest.raises(err.OperationalError, match="doesn't have a default value"):
                t.old.run("SET sql_mode = 'STRICT_ALL_TABLES'", "INSERT INTO t (id, a) VALUES (2, 'q')")

    def test_a_session_may_write_a_date_that_the_server_s_own_mode_forbids(self, maria_base: MariaBase) -> None:
        pair = Pair("t", ("a",), ("b",), {"b": "a"}, {"a": "b"}, "error")
        with maria_base.connect() as admin:
            before = admin.only("SELECT @@GLOBAL.sql_mode")
            admin.run("SET GLOBAL sql_mode = 'TRADITIONAL'")
            try:
                with Table(maria_base, pair, "CREATE TABLE t (id int PRIMARY KEY, a date, b date)") as t:
                    t.anyone.run("SET sql_mode = ''", "INSERT INTO t (id, a) VALUES (1, '0000-00-00')", "INSERT INTO t (id, b) VALUES (2, '2020-00-00')")
                    assert t.anyone.only("SELECT count(*) FROM t WHERE a = b") == 2
                    assert t.server.rows(t.sync.diverged()) == [(0,)]
            finally:
                admin.run(f"SET GLOBAL sql_mode = '{before}'")

    def test_what_a_server_without_strict_mode_cuts_fails_no_write_and_is_in_step(self, maria_base: MariaBase) -> None:
        types = ("varchar(3)", "char(3)", "smallint", "int unsigned", "bigint", "decimal(4, 2)", "date", "datetime", "enum('x','y')", "set('x','y')")
        values = ("abcdef", "", "n/a", "12 pcs", "99999999999999999999", "-70000", "2024-02-31", "x,q")
        columns = ", ".join(f"a{n} {kind}, b{n} varchar(40)" for n, kind in enumerate(types))
        old, new = tuple(f"a{n}" for n in range(len(types))), tuple(f"b{n}" for n in range(len(types)))
        with maria_base.connect() as admin:
            before = admin.only("SELECT @@GLOBAL.sql_mode")
            admin.run("SET GLOBAL sql_mode = ''")
            try:
                for one, other in ((old, new), (new, old)):
                    pair = Pair("t", one, other, dict(zip(other, one, strict=True)), dict(zip(one, other, strict=True)), "error")
                    with Table(maria_base, pair, f"CREATE OR REPLACE TABLE t (id int PRIMARY KEY, {columns}, z int)") as t:
                        rows = ", ".join(f"({n}, {', '.join([repr(value)] * len(types))})" for n, value in enumerate(values))
                        t.anyone.run("SET sql_mode = ''", f"INSERT INTO t (id, {', '.join(new)}) VALUES {rows}", "UPDATE t SET z = 1")
                        assert t.anyone.rows(f"SELECT * {t.sync.diverged_rows()}") == []
            finally:
                admin.run(f"SET GLOBAL sql_mode = '{before}'")

    def test_an_old_default_does_not_hide_a_new_value(self, maria_base: MariaBase) -> None:
        """The issue: 'A plain "fill if NULL" trigger lets an old DEFAULT and a new value diverge: ours must not.'"""
        with Table(maria_base, self.STATUS, self.JOBS) as jobs:
            jobs.anyone.run("INSERT INTO jobs (id, active) VALUES (1, true)", "INSERT INTO jobs (id, status) VALUES (2, 'banned')")
            assert (jobs.row(1), jobs.row(2)) == (("active", 1), ("banned", 0))

    def test_a_new_default_does_not_hide_an_old_value(self, maria_base: MariaBase) -> None:
        with Table(maria_base, self.STATUS, self.JOBS.replace("active boolean", "active boolean NOT NULL DEFAULT false")) as jobs:
            jobs.anyone.run("INSERT INTO jobs (id, status) VALUES (1, 'active')", "INSERT INTO jobs (id, active) VALUES (2, true)")
            jobs.anyone.run("INSERT INTO jobs (id) VALUES (3)")
            assert [jobs.row(n) for n in (1, 2, 3)] == [("active", 1), ("active", 1), ("paused", 0)]

    def test_an_old_column_that_must_not_be_null_and_has_no_default_is_made_from_the_new_one(self, maria_base: MariaBase) -> None:
        """Forward of NULL is false here, so that the row of a new writer who says false looks in step, were it not for the NULL."""
        pair = self.STATUS._replace(forward={"active": "status = 'active' IS TRUE"})
        with Table(maria_base, pair, self.JOBS.replace(" DEFAULT 'paused'", "")) as jobs:
            jobs.new.run("INSERT INTO jobs (id, active) VALUES (1, false), (2, true)")
            assert (jobs.row(1), jobs.row(2)) == (("paused", 0), ("active", 1))

    def test_an_insert_that_gives_nothing_that_it_has_to_fails_as_before(self, maria_base: MariaBase) -> None:
        with Table(maria_base, table=USERS.replace("last varchar(40)", "last varchar(40) NOT NULL")) as users:
            for writer in (users.old, users.anyone):
                with pytest.raises(err.MySQLError, match=r"disagree|default value|cannot be null"):
                    writer.run("INSERT INTO users (id, first) VALUES (1, 'a')")

    def test_a_trap_mariadb_wants_old_columns_in_an_insert_select_before_any_trigger(self, maria_base: MariaBase) -> None:
        """The module says so, and what to do: name them, or give them a default."""
        with Table(maria_base, table=USERS.replace("last varchar(40)", "last varchar(40) NOT NULL")) as users:
            users.new.run("INSERT INTO users (id, full_name) VALUES (1, 'a b')")
            with pytest.raises(err.OperationalError, match="Field 'last' doesn't have a default value"):
                users.new.run("INSERT INTO users (id, full_name) SELECT 2, 'a b'")
            users.new.run("INSERT INTO users (id, last, full_name) SELECT 2, 'ignored', 'c d'")
            assert users.row(2) == ("c", "d", "c d")

    def test_an_insert_that_a_volatile_default_leaves_open_is_decided_by_the_writer(self, maria_base: MariaBase) -> None:
        pair = Pair("jobs", ("code",), ("number",), {"number": "code * 10"}, {"code": "number DIV 10"}, "new", lossy=True)
        table = "CREATE TABLE jobs (id int PRIMARY KEY, code bigint NOT NULL DEFAULT (floor(rand() * 0) + 1), number bigint)"
        with Table(maria_base, pair, table) as jobs:
            jobs.old.run("INSERT INTO jobs (id) VALUES (1)")
            assert jobs.row(1) == (1, 10)
            jobs.new.run("INSERT INTO jobs (id, number) VALUES (2, 70)")
            jobs.anyone.run("INSERT INTO jobs (id, number) VALUES (3, 90)")
            assert (jobs.row(2), jobs.row(3)) == ((7, 70), (9, 90))

    def test_an_insert_that_leaves_the_new_side_null_is_the_old_versions_unless_the_new_one_is_known_to_write(self, maria_base: MariaBase) -> None:
        with Table(maria_base, self.STATUS, self.JOBS) as jobs:
            jobs.old.run("INSERT INTO jobs (id) VALUES (1)")
            jobs.new.run("INSERT INTO jobs (id) VALUES (2)")
            jobs.anyone.run("INSERT INTO jobs (id) VALUES (3)")  # backward of NULL is 'paused'
            assert [jobs.row(n) for n in (1, 2, 3)] == [("paused", 0), ("paused", None), ("paused", 0)]
            jobs.anyone.run("ALTER TABLE jobs ALTER status SET DEFAULT 'new'")
            change(jobs.server, *jobs.sync.install())
            jobs.anyone.run("INSERT INTO jobs (id) VALUES (4)", "INSERT INTO jobs (id, status) VALUES (5, 'new')")
            assert (jobs.row(4), jobs.row(5)) == (("new", 0), ("new", 0))

    def test_an_upsert_that_keeps_what_it_does_not_give_has_to_say_who_writes(self, maria_base: MariaBase) -> None:
        pair = Pair("jobs", ("status",), ("state",), {"state": "status"}, {"status": "state"}, "new")
        table = "CREATE TABLE jobs (id int PRIMARY KEY, status varchar(9) DEFAULT 'new', note int, state varchar(9))"
        upsert = "INSERT INTO jobs (id, note) VALUES (1, 1) ON DUPLICATE KEY UPDATE note = 1, state = coalesce(VALUES(state), state)"
        with Table(maria_base, pair, table) as jobs:
            jobs.new.run("INSERT INTO jobs (id, state) VALUES (1, 'done')", upsert)
            assert jobs.row() == ("done", "done")
            jobs.anyone.run(upsert)  # as one of the old version
            assert jobs.row() == ("new", "new")

    def test_a_time_that_the_old_version_gives_is_kept_although_its_column_has_one_by_default(self, maria_base: MariaBase) -> None:
        pair = Pair("jobs", ("at",), ("made_at",), {"made_at": "at"}, {"at": "made_at"}, "new")
        table = "CREATE TABLE jobs (id int PRIMARY KEY, at timestamp NOT NULL DEFAULT current_timestamp, made_at timestamp NULL)"
        with Table(maria_base, pair, table) as jobs:
            jobs.anyone.run("INSERT INTO jobs (id) VALUES (1)", "INSERT INTO jobs (id, at) VALUES (2, '2021-01-01')")
            assert jobs.anyone.only("SELECT count(*) FROM jobs WHERE at = made_at AND (id = 1) = (at > '2021-01-01')") == 2

    def test_nulls_go_from_side_to_side(self, users: Table) -> None:
        users.old.run("INSERT INTO users (id, first, last) VALUES (1, 'a', 'b')", "UPDATE users SET first = NULL")
        assert users.row() == (None, "b", None)
        users.new.run("UPDATE users SET full_name = 'c d'", "UPDATE users SET full_name = NULL")
        assert users.row() == (None, None, None)


TYPES = {
    "int to bigint": ("a int", "b bigint unsigned", "a", "b", "7", "8", 8),
    "text to enum": ("a text", "b enum('sad', 'happy')", "a", "b", "'sad'", "'happy'", "happy"),
    "decimal with a scale": ("a int", "b decimal(10,2)", "a / 100.0", "b * 100", "1250", "3.5", 350),
    "a division that is cut": ("a int", "b decimal(10,2)", "a / 3.0", "b * 3", "10", "3.5", 11),
    "json": ("a text", "b json", "json_object('a', a)", "json_unquote(json_extract(b, '$.a'))", "'x'", '\'{"a": "y"}\'', "y"),
    "text to datetime": (
        "a text",
        "b datetime(3)",
        "str_to_date(a, '%Y-%m-%d %H:%i')",
        "left(b, 16)",
        "'2026-01-02 03:04'",
        "'2026-02-03 04:05'",
        "2026-02-03 04:05",
    ),
    "two parts of a time": ("a time", "b int", "time_to_sec(a)", "sec_to_time(b)", "'01:02:03'", "60", "0:01:00"),
    "double to text": ("a double", "b text", "a", "b", "0.1e0 + 0.2e0", "'0.5'", 0.5),
    "float": ("a float", "b float", "a", "b", "0.1", "0.5", 0.5),
    "a short varchar": ("a text", "b varchar(5)", "a", "b", "'abcde'", "'fgh'", "fgh"),
    "char, which is padded": ("a text", "b char(5)", "a", "b", "'abc'", "'fgh'", "fgh"),
    "another character set": ("a varchar(9) CHARACTER SET latin1", "b varchar(9) CHARACTER SET utf16", "a", "upper(b)", "'ä'", "'ö'", "Ö"),
    "blob": ("a text CHARACTER SET utf8mb4", "b blob", "a", "CONVERT(b USING utf8mb4)", "'ä'", "X'41'", "A"),
    "binary, which is padded": ("a varchar(9)", "b binary(4)", "a", "replace(CONVERT(b USING utf8mb4), X'00', '')", "'abc'", "'de'", "de"),
    "bit": ("a int", "b bit(3)", "a", "b", "5", "b'110'", 6),
    "uuid": (
        "a char(36)",
        "b uuid",
        "a",
        "b",
        "'123e4567-e89b-12d3-a456-426614174000'",
        "'00000000-e89b-12d3-a456-426614174000'",
        "00000000-e89b-12d3-a456-426614174000",
    ),
    "year": ("a int", "b year", "a", "b", "1999", "2026", 2026),
    "set": ("a varchar(9)", "b set('x', 'y')", "a", "b", "'x'", "'y,x'", "x,y"),
}


STORED = {  # where a column stores another value than CAST makes of it: the old column, the new one, values of the old one
    "enum, in whatever letters and with spaces": ("varchar(20)", "enum('active', 'it''s o\\\\f %')", ["'Active'", "'active  '", "'IT''S O\\\\F %'"]),
    "enum of a collation that tells letters apart": ("varchar(9)", "enum('ä', 'Ä') CHARACTER SET latin1 COLLATE latin1_bin", ["'Ä'", "'ä'"]),
    "set of another character set": ("varchar(9)", "set('ä', 'b') CHARACTER SET latin1", ["'b,Ä'", "'ä'"]),
    "set, in whatever order": ("varchar(20)", "set('a', 'b', 'ö')", ["'b,A'", "''", "'Ö,a,a'"]),
    "integer of text": ("varchar(20)", "int", ["'1.5'", "'-2.5'", "'1e3'", "' 7'", "'2147483647'"]),
    "the largest of text": ("varchar(30)", "bigint unsigned", ["'18446744073709551615'", "'0.5'"]),
    "integer of floats": ("double", "int", ["2.5e0", "3.5e0", "-2.5e0"]),
    "integer of enum": ("enum('9', 'b')", "int", ["'9'", "'b'"]),
    "year of numbers": ("int", "year", ["0", "1", "69", "70", "99", "1999"]),
    "year of text": ("varchar(4)", "year", ["'0'", "'00'", "'0000'", "'5'", "'99'", "'2024'"]),
    "double with digits": ("double", "double(10, 2)", ["2.055", "-2.055", "1234567.895", "1.005", "0.1"]),
    "float with digits": ("double", "float(9, 3)", ["2.0555", "-1.0005", "123456.7895"]),
}


class TestTypesAndNames:
    @pytest.mark.parametrize("case", STORED)
    def test_a_row_is_in_step_by_what_its_column_has_stored(self, maria_base: MariaBase, case: str) -> None:
        old, new, values = STORED[case]
        pair = Pair("t", ("a",), ("b",), {"b": "a"}, {"a": "b"}, "error", lossy=True)
        with Table(maria_base, pair, f"CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, n int, a {old}, b {new})") as t:
            t.old.run(*(f"INSERT INTO t (a) VALUES ({value})" for value in [*values, "NULL"]))
            assert t.anyone.rows(f"SELECT a, b {t.sync.lost_rows()}") == []
            touch = t.sync.lost_rows().removeprefix("FROM ").replace(" WHERE ", " SET t.n = 1 WHERE ", 1)
            t.server.rows(f"UPDATE {touch}")  # where a strict mode makes an error of what is only a warning for a SELECT

    @pytest.mark.parametrize("kind", TYPES)
    def test_values_of_every_type_go_both_ways_and_stay_in_step(self, maria_base: MariaBase, kind: str) -> None:
        old, new, forward, backward, old_value, new_value, expected = TYPES[kind]
        pair = Pair("things", ("a",), ("b",), {"b": forward}, {"a": backward}, "error", lossy=True)
        with Table(maria_base, pair, f"CREATE TABLE things (id int PRIMARY KEY DEFAULT 1, note text, {old}, {new})") as things:
            things.old.run(f"INSERT INTO things (a) VALUES ({old_value})")
            assert things.diverged() == 0
            before = things.row(), things.row(columns="hex(b)")
            assert things.row()[1] is not None
            things.anyone.run("SET time_zone = '+09:00', div_precision_increment = 9, lc_time_names = 'de_DE'", "UPDATE things SET note = 'x'")
            assert (things.row(), things.row(columns="hex(b)")) == before
            things.anyone.run(f"UPDATE things SET b = {forward}")  # a backfill
            assert things.row() == before[0]
            things.new.run(f"UPDATE things SET b = {new_value}")
            assert str(things.row()[0]) == str(expected)
            assert things.diverged() == 0
            assert things.anyone.only(things.sync.unreadable()) == 0

    def test_strange_names_with_a_database_quotes_and_more(self, maria_base: MariaBase) -> None:
        old, new = 'Vor.Name `x` "y" %s {y}', "select ä \\ ; -- */"
        quoted = {name: "`" + name.replace("`", "``") + "`" for name in (old, new)}
        table = f"`{maria_base.name}`.`Ta.ble '$`` %s`"
        pair = Pair(table, (old,), (new,), {new: f"concat('*/{{}}%s', {quoted[old]}) /* x */"}, {old: f"substr({quoted[new]}, 7) -- y"}, "error")
        long = "0008_" + "a_name_that_is_as_long_as_a_name_of_a_migration_may_be" * 2
        server = maria_base.open()
        change(server, f"CREATE TABLE {table} (id int PRIMARY KEY, {quoted[old]} varchar(9), {quoted[new]} varchar(99))")
        change(server, *made(server, pair, migration=long[:105]).install())
        with maria_base.connect() as client:
            client.run(f"INSERT INTO {table} (id, {quoted[old]}) VALUES (1, 'x')", f"INSERT INTO {table} (id, {quoted[new]}) VALUES (2, '*/{{}}%sy')")
            assert client.rows(f"SELECT {quoted[old]}, {quoted[new]} FROM {table} ORDER BY id") == [("x", "*/{}%sx"), ("y", "*/{}%sy")]
            installed = made(server, pair, migration=long[:105])
            assert [client.only(query) for query in (installed.diverged(), installed.unreadable(), installed.lost())] == [0, 0, 0]
            assert installed.install() == []
        change(server, *made(server, pair, migration=long[:105]).remove())
        assert server.rows("SHOW TRIGGERS") == []
        server.close()

    @pytest.mark.parametrize(("old", "new"), [("new", "is_new"), ("old", "New"), ("bleen_new", "bleen_source")])
    def test_columns_that_are_called_as_the_rows_of_a_trigger_or_its_variables_are_kept_in_step(self, maria_base: MariaBase, old: str, new: str) -> None:
        pair = Pair("t", (old,), (new,), {new: f"`{old}`"}, {old: f"`{new}`"}, "error")
        with Table(maria_base, pair, f"CREATE TABLE t (id int PRIMARY KEY, `{old}` int NOT NULL, `{new}` int)") as t:
            t.old.run(f"INSERT INTO t (id, `{old}`) VALUES (1, 5)")
            t.new.run(f"INSERT INTO t (id, `{new}`) VALUES (2, 6)", f"UPDATE t SET `{new}` = 7 WHERE id = 1")
            assert (t.row(1), t.row(2)) == ((7, 7), (6, 6))
            t.old.run(f"UPDATE t SET `{old}` = 8")
            assert (t.row(1), t.row(2)) == ((8, 8), (8, 8))

    def test_one_column_to_many(self, maria_base: MariaBase) -> None:
        forward = {"a": "substring_index(full, ' ', 1)", "b": "substring_index(things.FULL, ' ', -1)"}
        pair = Pair("things", ("Full",), ("a", "b"), forward, {"Full": "concat(a, ' ', b)"}, "error")
        with Table(maria_base, pair, "CREATE TABLE things (id int PRIMARY KEY, `Full` varchar(20), a varchar(9), b varchar(9))") as things:
            things.old.run("INSERT INTO things (id, full) VALUES (1, 'x y')")
            assert things.row() == ("x y", "x", "y")
            things.new.run("UPDATE things SET b = 'z'")
            assert things.row() == ("x z", "x", "z")


class TestRights:
    def test_an_application_s_user_needs_no_right_but_those_that_it_had(self, users: Table, maria_base: MariaBase) -> None:
        """The issue: "application roles need no new grants". It may write its own columns only."""
        name = f"{maria_base.name}.users"
        users.anyone.run("CREATE USER app", f"GRANT SELECT, INSERT (id, first, last), UPDATE (first, last) ON {name} TO app")
        try:
            with maria_base.connect(user="app") as app:
                app.run("INSERT INTO users (id, first, last) VALUES (1, 'a', 'b')", "UPDATE users SET last = 'c'")
                with pytest.raises(err.OperationalError, match="denied"):
                    app.run("UPDATE users SET full_name = 'x'")
            assert users.row() == ("a", "c", "a c")
        finally:
            users.anyone.run("DROP USER app")


class TestInstallAndRemove:
    def test_installed_twice_is_installed_once_and_removed_leaves_nothing(self, users: Table) -> None:
        """Each statement may be the last that an earlier try has done."""
        change(users.server, *users.sync.remove())
        while texts := users.sync.install():
            change(users.server, texts[0])
        assert len(users.server.rows("SHOW TRIGGERS")) == 2
        assert len(users.server.rows("SHOW TABLES")) == 3
        while texts := users.sync.remove():
            change(users.server, texts[0])
        assert users.server.rows("SHOW TRIGGERS") == []
        assert users.server.rows("SHOW TABLES") == [("users",)]

    def test_half_installed_a_row_may_be_unfilled_but_never_wrong(self, users: Table) -> None:
        """What the old version writes between two triggers is found by the backfill, which would take a wrong row for what the new version wrote."""
        change(users.server, *users.sync.remove())
        while texts := users.sync.install():
            change(users.server, texts[0])
            users.old.run("REPLACE INTO users (id, first, last) VALUES (1, 'a', 'b')", "UPDATE users SET last = 'c'")
            assert users.row()[2] in (None, "a c")
        assert users.row()[2] == "a c"

    @pytest.mark.parametrize("leaves", ["old", "new"])
    def test_half_removed_nothing_that_the_side_which_stays_has_written_is_lost(self, users: Table, leaves: Side) -> None:
        """sync.md: "The triggers come and go one by one, in an order in which no client's statement fails and no UPDATE goes unseen" """
        stays, columns = (users.new, "full_name") if leaves == "old" else (users.old, "first, last")
        written = ("Ada",) if leaves == "old" else ("Ada", "King")
        while texts := users.sync.remove(leaves):
            change(users.server, texts[0])
            stays.run(f"REPLACE INTO users (id, {columns}) VALUES (1, {', '.join(map(repr, written))})", "UPDATE users SET note = 'seen'")
            assert users.row(columns=columns) == written

    @pytest.mark.parametrize(
        ("column", "beside"),
        [("json NOT NULL", ""), ("json NOT NULL COMMENT 'said'", ", CHECK (json_length(a) < 3)"), ("longtext NOT NULL", ""), ("enum('x', '{}') NOT NULL", "")],
    )
    def test_a_column_that_every_insert_has_to_give_stops_no_insert_of_the_side_which_stays(self, maria_base: MariaBase, column: str, beside: str) -> None:
        """sync.md: "such a column gets a default, or may be NULL, so that no INSERT fails in between" """
        pair = Pair("things", ("a",), ("b",), {"b": "a"}, {"a": "b"}, "error")
        with Table(maria_base, pair, f"CREATE TABLE things (id int AUTO_INCREMENT PRIMARY KEY, a {column}, b text{beside})") as things:
            while texts := things.sync.remove():
                change(things.server, texts[0])
                things.new.run("INSERT INTO things (b) VALUES ('{}')")
            things.new.run("INSERT INTO things (b) VALUES ('{}')")

    @pytest.mark.parametrize(("mariadb", "way"), [(True, "ALTER `a` SET DEFAULT"), (False, "MODIFY `a` longtext")])
    def test_where_a_text_takes_no_default_it_may_be_null_meanwhile(self, maria_base: MariaBase, mariadb: bool, way: str) -> None:
        """As on MySQL, which refuses it with 1101."""
        pair = Pair("things", ("a",), ("b",), {"b": "a"}, {"a": "b"}, "error")
        with Table(maria_base, pair, "CREATE TABLE things (id int AUTO_INCREMENT PRIMARY KEY, a longtext NOT NULL, b text)") as things:
            things.server.mariadb = mariadb
            assert [text for text in things.sync.remove() if "ALTER TABLE" in text and way not in text] == []

    def test_rows_out_of_step_and_rows_that_the_old_version_cannot_read_are_counted(self, users: Table) -> None:
        """semantics.md: '"Readable by blue" means: the old constraints hold, and old -> new -> old gives the same value'."""
        users.without("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King'), (2, 'Ada B', 'King')")
        assert (users.diverged(), users.anyone.only(users.sync.unreadable())) == (2, 1)
        users.anyone.run("UPDATE users SET note = 'x'")
        assert (users.diverged(), users.anyone.only(users.sync.unreadable())) == (0, 1)

    @pytest.mark.parametrize(("short", "gives"), [("last", "full_name) VALUES (1, 'Ada Lovelace')"), ("full_name", "first, last) VALUES (1, 'Ada', 'King')")])
    def test_a_write_that_does_not_fit_into_the_other_side_fails_and_names_the_column(self, maria_base: MariaBase, short: str, gives: str) -> None:
        table = re.sub(rf"{short} varchar\(\d+\)", f"{short} varchar(5)", USERS)
        with Table(maria_base, table=table) as users, pytest.raises(err.DataError, match=f"Data too long for column '{short}'"):
            users.anyone.run(f"INSERT INTO users (id, {gives}")

    def test_many_pairs_on_one_table(self, users: Table) -> None:
        change(users.server, "ALTER TABLE users ADD age varchar(9), ADD years int")
        ages = Pair("users", ("age",), ("years",), {"years": "CAST(age AS SIGNED)"}, {"age": "CAST(years AS CHAR)"}, "error")
        change(users.server, *made(users.server, ages, number=2).install())
        users.new.run("INSERT INTO users (id, full_name, years) VALUES (1, 'a b', 7)")
        assert users.row(columns="first, last, full_name, age, years") == ("a", "b", "a b", "7", 7)
