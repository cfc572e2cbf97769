"""Two-way sync on SQLite: every rule of the decision table, every way to write a row, and the types and names that a table may have."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_files import MODES, NAMES, USERS, File, Table, installed, made

from bleen.database.migration import OnConflict, Pair


@pytest.fixture(params=MODES)
def users(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Table]:
    """In WAL mode and without."""
    file = made(tmp_path, request.param)
    with file.connect() as connection:
        yield Table(file, connection, NAMES, USERS)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return made(tmp_path)


KEPT = {
    "an index for search, as the manual has it": """;
        CREATE VIRTUAL TABLE kept USING fts5 (note, content = 'users', content_rowid = 'id');
        CREATE TRIGGER ai AFTER INSERT ON users BEGIN INSERT INTO kept (rowid, note) VALUES (NEW.id, NEW.note); END;
        CREATE TRIGGER au AFTER UPDATE ON users BEGIN
            INSERT INTO kept (kept, rowid, note) VALUES ('delete', OLD.id, OLD.note); INSERT INTO kept (rowid, note) VALUES (NEW.id, NEW.note); END""",
    "a table of a row each": """;
        CREATE TABLE kept (id integer PRIMARY KEY, note text);
        CREATE TRIGGER ai AFTER INSERT ON users BEGIN INSERT INTO kept VALUES (NEW.id, NEW.note); END;
        CREATE TRIGGER au AFTER UPDATE ON users BEGIN INSERT OR REPLACE INTO kept VALUES (NEW.id, NEW.note); END""",
    "a table by way of a view": """;
        CREATE TABLE kept (id integer PRIMARY KEY, note text); CREATE VIEW way AS SELECT * FROM kept;
        CREATE TRIGGER goes INSTEAD OF INSERT ON way BEGIN INSERT INTO kept VALUES (NEW.id, NEW.note); END;
        CREATE TRIGGER ai AFTER INSERT ON users BEGIN INSERT INTO way VALUES (NEW.id, NEW.note); END;
        CREATE TRIGGER au AFTER UPDATE ON users BEGIN DELETE FROM kept WHERE id = OLD.id; INSERT INTO way VALUES (NEW.id, NEW.note); END""",
}


class TestEveryRuleOfTheTable:
    def test_an_update_of_one_side_makes_the_other(self, users: Table) -> None:
        users.execute("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King')")
        assert users.row() == ("Ada", "King", "Ada King")
        users.execute("UPDATE users SET last = 'Lovelace'")
        assert users.row() == ("Ada", "Lovelace", "Ada Lovelace")
        users.execute("UPDATE users SET full_name = 'Grace Murray Hopper'")
        assert users.row() == ("Grace", "Murray Hopper", "Grace Murray Hopper")
        assert users.counts == (1, 0)

    def test_an_insert_of_the_new_columns_makes_the_old_ones(self, users: Table) -> None:
        users.execute("INSERT INTO users (id, full_name) VALUES (1, 'Ada King')")
        assert users.row() == ("Ada", "King", "Ada King")
        assert users.counts == (1, 0)

    def test_an_unrelated_update_changes_no_byte_of_a_row_in_step(self, users: Table) -> None:
        """semantics.md: "an unrelated UPDATE changes no byte of either". In step by what the new shape says more than the old one: one name."""
        users.execute("INSERT INTO users (id, full_name) VALUES (1, 'Cher'), (2, 'Ada King')")
        before = users.row(1), users.row(2), users.counts
        assert before[0] == ("Cher", "Cher", "Cher")
        users.execute("UPDATE users SET note = 'x'")
        assert (users.row(1), users.row(2), users.counts) == before

    def test_the_backfills_own_update_is_left_alone(self, users: Table) -> None:
        """semantics.md: "what a writer wrote is never overwritten by its own echo". Backward would give ('Ada', 'B King')."""
        users.unfilled("Ada B", "King")
        users.execute("UPDATE users SET full_name = first || ' ' || last")
        assert users.row() == ("Ada B", "King", "Ada B King")
        assert users.counts == (0, 0)

    def test_a_row_that_is_not_filled_yet_may_be_written_by_a_trigger_while_another_is_kept_in_step(self, users: Table) -> None:
        """One main row a person, say, kept by triggers of the application's: ours fires within ours."""
        users.unfilled("Ada", "King", key=1)
        for event in ("INSERT", "UPDATE"):
            others = "UPDATE users SET note = 'other' WHERE id <> NEW.id AND note IS NOT 'other'"
            users.execute(f"CREATE TRIGGER main_{event} AFTER {event} ON users BEGIN {others}; END")
        users.execute("INSERT INTO users (id, full_name) VALUES (2, 'Ada B King')")
        assert (users.row(1), users.row(2)) == (("Ada", "King", "Ada King"), ("Ada", "B King", "Ada B King"))
        assert users.counts == (1, 0)
        assert users.connection.execute("SELECT source, writing FROM bleen_sync").fetchall() == [(None, None)]

    def test_a_row_that_the_backfill_has_not_come_to_is_filled_by_an_unrelated_update_and_by_a_move(self, users: Table) -> None:
        """The issue: "a row whose key moves behind the backfill's cursor is never filled by a trigger that looks only at changed columns"."""
        users.unfilled("Ada", "King")
        users.execute("UPDATE users SET note = 'x'")
        assert users.row() == ("Ada", "King", "Ada King")
        users.unfilled("Eva", "King", key=100)
        users.execute("UPDATE users SET id = 2 WHERE id = 100")
        assert users.row(2) == ("Eva", "King", "Eva King")

    def test_a_writer_of_both_sides_that_agree_is_left_alone(self, users: Table) -> None:
        users.execute("INSERT INTO users (id, first, last, full_name) VALUES (1, 'Ada', 'King', 'Ada King'), (2, 'Cher', 'Cher', 'Cher')")
        users.execute("UPDATE users SET first = 'Eva', full_name = 'Eva King' WHERE id = 1")
        assert (users.row(1), users.row(2)) == (("Eva", "King", "Eva King"), ("Cher", "Cher", "Cher"))
        assert users.counts == (0, 0)

    @pytest.mark.parametrize(("choice", "expected"), [("old", ("A", "B", "A B")), ("new", ("C", "D", "C D")), ("error", None)])
    def test_both_sides_written_and_not_agreeing_on_conflict_decides_and_is_counted(
        self, file: File, choice: OnConflict, expected: tuple[str, ...] | None
    ) -> None:
        with file.connect() as connection:
            users = Table(file, connection, NAMES._replace(on_conflict=choice), USERS)
            users.execute("INSERT INTO users (id, first, last) VALUES (2, 'X', 'Y')")
            for key, statement in (
                (1, "INSERT INTO users (id, first, last, full_name) VALUES (1, 'A', 'B', 'C D')"),
                (2, "UPDATE users SET first = 'A', last = 'B', full_name = 'C D' WHERE id = 2"),
            ):
                if expected:
                    users.execute(statement)
                    assert users.row(key) == expected
                else:
                    with pytest.raises(sqlite3.IntegrityError, match="nothing says which of them counts: write one side only"):
                        users.execute(statement)
            assert users.counts == (2 * (choice == "new"), 2 * (expected is not None))

    def test_an_old_default_does_not_hide_a_new_value_nor_the_other_way(self, file: File) -> None:
        """The issue: 'A plain "fill if NULL" trigger lets an old DEFAULT and a new value diverge: ours must not.'"""
        pair = Pair("jobs", ("status",), ("active",), {"active": "status = 'on'"}, {"status": "CASE WHEN active THEN 'on' ELSE 'off' END"}, "error", True)
        with file.connect() as connection:
            table = "CREATE TABLE jobs (id integer PRIMARY KEY, status text NOT NULL DEFAULT off, active boolean NOT NULL DEFAULT FALSE)"
            jobs = Table(file, connection, pair, table)
            jobs.execute("INSERT INTO jobs (id, active) VALUES (1, 1)")
            jobs.execute("INSERT INTO jobs (id, status) VALUES (2, 'on')")
            jobs.execute("INSERT INTO jobs (id) VALUES (3)")
            assert [jobs.row(n) for n in (1, 2, 3)] == [("on", 1), ("on", 1), ("off", 0)]

    def test_an_insert_that_leaves_the_new_side_null_is_the_old_versions(self, file: File) -> None:
        pair = Pair("jobs", ("status",), ("state",), {"state": "status"}, {"status": "state"}, "new")
        with file.connect() as connection:
            jobs = Table(file, connection, pair, "CREATE TABLE jobs (id integer PRIMARY KEY, status text NOT NULL DEFAULT 'on', state text)")
            jobs.execute("INSERT INTO jobs (id) VALUES (1)")
            jobs.execute("INSERT INTO jobs (id, status) VALUES (2, 'on')")
            assert (jobs.row(1), jobs.row(2), jobs.counts) == (("on", "on"), ("on", "on"), (0, 0))

    def test_an_insert_that_a_volatile_default_leaves_open_is_a_conflict(self, file: File) -> None:
        pair = Pair("jobs", ("code",), ("number",), {"number": "code * 10"}, {"code": "number / 10"}, "new", True)
        with file.connect() as connection:
            jobs = Table(file, connection, pair, "CREATE TABLE jobs (id integer PRIMARY KEY, code int DEFAULT (abs(random() % 5) + 1), number int)")
            jobs.execute("INSERT INTO jobs (id, number) VALUES (1, 90)")
            assert (jobs.row(), jobs.counts) == ((9, 90), (1, 1))


class TestEveryWayToWrite:
    def test_upsert_with_excluded(self, users: Table) -> None:
        old = "INSERT INTO users (id, first, last) VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET first = excluded.first, last = excluded.last"
        users.execute(old, ["a", "b"])
        users.execute(old, ["c", "d"])
        assert users.row() == ("c", "d", "c d")
        users.execute("INSERT INTO users (id, full_name) VALUES (1, 'e f') ON CONFLICT (id) DO UPDATE SET full_name = excluded.full_name")
        assert users.row() == ("e", "f", "e f")

    @pytest.mark.parametrize("recursive", ["ON", "OFF"])
    def test_insert_or_replace_makes_the_row_anew(self, users: Table, recursive: str) -> None:
        users.execute(f"PRAGMA recursive_triggers = {recursive}")
        users.execute("INSERT INTO users (id, full_name) VALUES (1, 'a b')")
        users.execute("INSERT OR REPLACE INTO users (id, first, last) VALUES (1, 'c', 'd')")
        assert users.row() == ("c", "d", "c d")
        users.execute("REPLACE INTO users (id, full_name) VALUES (1, 'Cher')")
        assert users.row() == ("Cher", "Cher", "Cher")

    def test_insert_select_and_update_from(self, users: Table) -> None:
        users.execute("INSERT INTO users (id, first, last) VALUES (1, 'f1', 'l1'), (2, 'f2', 'l2'), (3, 'f3', 'l3')")
        users.execute("INSERT INTO users (id, full_name) SELECT id + 10, full_name || '!' FROM users")
        assert users.row(12) == ("f2", "l2!", "f2 l2!")
        users.execute("UPDATE users SET full_name = 'New ' || s.n FROM (SELECT 1 AS n UNION SELECT 2) AS s WHERE users.id = s.n")
        assert (users.row(1), users.row(2), users.row(3)) == (("New", "1", "New 1"), ("New", "2", "New 2"), ("f3", "l3", "f3 l3"))

    def test_the_last_rowid_and_the_number_of_changes_are_the_statements_own(self, users: Table) -> None:
        cursor = users.connection.execute("INSERT INTO users (full_name) VALUES ('a b')")
        assert (cursor.lastrowid, cursor.rowcount) == (1, 1)
        assert users.connection.execute("UPDATE users SET full_name = 'c d'").rowcount == 1

    def test_what_returning_gives_is_what_was_written_not_what_the_trigger_makes(self, users: Table) -> None:
        """SQLite, "RETURNING", section 3: it is accumulated before AFTER triggers run. Hence the guide says not to count on it."""
        assert users.execute("INSERT INTO users (id, full_name) VALUES (1, 'a b') RETURNING full_name, first") == [("a b", None)]
        assert users.row() == ("a", "b", "a b")

    def test_a_view_with_an_instead_of_trigger_writes_its_table(self, users: Table) -> None:
        users.execute("CREATE VIEW names AS SELECT id, full_name FROM users")
        users.execute("CREATE TRIGGER named INSTEAD OF INSERT ON names BEGIN INSERT INTO users (id, full_name) VALUES (NEW.id, NEW.full_name); END")
        users.execute("INSERT INTO names VALUES (1, 'a b')")
        assert users.row() == ("a", "b", "a b")

    def test_a_statement_under_or_ignore_whose_other_side_a_constraint_forbids_fails_and_changes_nothing(self, file: File) -> None:
        """The policy of a statement holds inside of its triggers (SQLite, "CREATE TRIGGER", section 2): the row would be left out of step in silence."""
        with file.connect() as connection:
            users = Table(file, connection, NAMES, USERS.replace("last text", "last text CHECK (length(last) < 5)"))
            for verb in ("INSERT", "INSERT OR IGNORE", "INSERT OR FAIL"):
                with pytest.raises(sqlite3.IntegrityError):
                    users.execute(f"{verb} INTO users (id, full_name) VALUES (1, 'Ada Lovelace')")
                assert users.execute("SELECT count(*) FROM users WHERE full_name IS NOT first || ' ' || last AND id = 1") == [(int("FAIL" in verb),)]

    def test_a_statement_that_fails_in_the_middle_switches_nothing_off(self, file: File) -> None:
        """OR FAIL keeps what was done before the failure, and with it the name of the row that was being written."""
        with file.connect() as connection:
            users = Table(file, connection, NAMES, USERS.replace("last text", "last text CHECK (length(last) < 5)"))
            users.execute("INSERT INTO users (id, full_name) VALUES (1, 'Ada King')")
            with pytest.raises(sqlite3.IntegrityError):
                users.execute("UPDATE OR FAIL users SET full_name = 'Ada Lovelace'")
            assert users.execute("SELECT count(*) FROM bleen_sync WHERE writing IS NOT NULL") == [(1,)]
            users.execute("UPDATE users SET full_name = 'Grace Jet'")
            assert users.row() == ("Grace", "Jet", "Grace Jet")
            users.execute("UPDATE users SET first = 'Eva'")
            assert users.row() == ("Eva", "Jet", "Eva Jet")

    def test_ours_are_the_first_of_the_after_triggers_also_for_who_opens_the_file_later(self, users: Table) -> None:
        """Newest first: a trigger of the application that writes the row again would else make an unfilled row of one that is just being written."""
        users.execute("CREATE TRIGGER later AFTER UPDATE ON users WHEN NEW.note IS OLD.note BEGIN UPDATE users SET note = 'x' WHERE id = NEW.id; END")
        installed(users.file)
        users.execute("INSERT INTO users (id, first, last) VALUES (1, 'a', 'b')")
        for name in ("c d", "e f"):
            with users.file.connect() as other:
                other.execute("UPDATE users SET full_name = ?, note = NULL", [name])
                other.execute("UPDATE users SET full_name = ?", [f"{name}g"])
            assert users.row(columns="first, last, full_name, note") == (name[0], f"{name[2]}g", f"{name}g", "x")
            users.execute("VACUUM")

    @pytest.mark.parametrize("kept", KEPT)
    def test_what_the_applications_triggers_keep_of_the_rows_elsewhere_is_kept(self, file: File, kept: str) -> None:
        """SQLite, "FTS5", section 4.4.3: an entry that is deleted before it was made leaves a malformed index."""
        with file.connect() as connection:
            users = Table(file, connection, NAMES, USERS + KEPT[kept])
            for name in ("first", "full_name"):
                users.execute(f"INSERT INTO users ({name}, note) VALUES ('a b', 'some {name}')")
                users.execute("UPDATE users SET note = note || ' more', full_name = 'c d'")
            assert users.execute("SELECT note FROM kept ORDER BY 1") == [("some first more more",), ("some full_name more",)]
            assert users.execute("SELECT count(*) FROM users WHERE full_name = 'c d' AND first = 'c'") == [(2,)]

    def test_of_the_applications_triggers_only_those_that_keep_rows_elsewhere_come_before_ours_in_their_order(self, users: Table) -> None:
        users.execute("CREATE TABLE log (id)")
        users.execute("CREATE TRIGGER replaces AFTER UPDATE ON users BEGIN UPDATE log SET id = NEW.id WHERE id = OLD.id; END")
        for name, does in {
            "late": "INSERT INTO log VALUES (NEW.id)",
            "again": "UPDATE users SET note = 'x' WHERE id = NEW.id",
            "other": "SELECT 1",
            "log": "INSERT INTO log VALUES (NEW.id)",
            "more": "INSERT INTO log VALUES (NEW.id)",
        }.items():
            users.execute(f"CREATE TRIGGER {name} AFTER INSERT ON users BEGIN {does}; END")
        ours = [f"~bleen_0007_full_name_1_{verb}" for verb in ("insert", "update")]
        for _ in range(2):
            installed(users.file)
            found = [name for (name,) in users.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid") if name != "replaces"]
            assert found == ["late", "again", "other", *ours, "log", "more"]


TYPES = {
    "text to integer": ("a text", "b integer", "a", "b", "'7'", "8", "8"),
    "integer to text, which a comparison of numbers would call the same": ("a integer", "b text", "a", "b", "7", "'08'", 8),
    "real": ("a integer", "b real", "a / 4.0", "b * 4", "10", "3.5", 14),
    "no type, where 1 and 1.0 are two values": ("a real", "b", "CASE WHEN a = CAST(a AS integer) THEN CAST(a AS integer) ELSE a END", "b", "1.0", "2", 2.0),
    "blob": ("a text", "b blob", "CAST(a AS blob)", "CAST(b AS text)", "'ä'", "x'41'", "A"),
    "json": ("a text", "b text", "json_object('a', a)", "json_extract(b, '$.a')", "'x'", """'{"a":"y"}'""", "y"),
    "a collation that calls two values the same": ("a text COLLATE NOCASE", "b text COLLATE NOCASE", "a", "b", "'x'", "'X'", "X"),
    "a date": ("a text", "b integer", "unixepoch(a)", "date(b, 'unixepoch')", "'2026-01-02'", "0", "1970-01-01"),
}


class TestTypesAndNames:
    @pytest.mark.parametrize("kind", TYPES)
    def test_values_of_every_type_go_both_ways_and_stay_in_step(self, file: File, kind: str) -> None:
        old, new, forward, backward, old_value, new_value, expected = TYPES[kind]
        pair = Pair("things", ("a",), ("b",), {"b": forward}, {"a": backward}, "error", True)
        with file.connect() as connection:
            things = Table(file, connection, pair, f"CREATE TABLE things (id integer PRIMARY KEY, note text, {old}, {new})")
            things.execute(f"INSERT INTO things (id, a) VALUES (1, {old_value})")
            assert things.execute(things.sync.lost()) == [(0,)]
            before = things.row()
            things.execute("UPDATE things SET note = 'x'")
            things.execute(f"UPDATE things SET b = {forward}")  # a backfill
            assert things.row() == before
            things.execute(f"UPDATE things SET b = {new_value}")
            assert things.row()[0] == expected
            assert things.execute(things.sync.diverged()) == [(0,)]

    def test_a_change_that_a_collation_or_a_type_does_not_see_is_a_change(self, file: File) -> None:
        pair = Pair("things", ("a",), ("b",), {"b": "quote(a)"}, {"a": "b"}, "error", True)
        for table, first, second in (("a text COLLATE NOCASE", "'x'", "'X'"), ("a", "1", "1.0"), ("a ANY", "1", "1.0")):
            strict = " STRICT" if "ANY" in table else ""
            with file.connect() as connection:
                connection.execute("DROP TABLE IF EXISTS things")
                things = Table(file, connection, pair, f"CREATE TABLE things (id integer PRIMARY KEY, {table}, b text){strict}")
                things.execute(f"INSERT INTO things (id, a) VALUES (1, {first})")
                things.execute(f"UPDATE things SET a = {second}")
                assert things.row(columns="b") == (second,)

    def test_a_table_without_rowid_and_a_key_of_two_columns(self, file: File) -> None:
        table = USERS.replace("id integer PRIMARY KEY", "id text COLLATE NOCASE, part blob")[:-1] + ", PRIMARY KEY (id, part)) WITHOUT ROWID"
        with file.connect() as connection:
            users = Table(file, connection, NAMES, table)
            users.execute("INSERT INTO users (id, part, full_name) VALUES ('1', x'00', 'a b'), ('1', x'01', 'c d'), ('x', '', 'e f')")
            users.execute("UPDATE users SET first = 'z', id = 'X' WHERE id = 'x'")
            assert users.execute("SELECT first, last, full_name FROM users ORDER BY id, part") == [("a", "b", "a b"), ("c", "d", "c d"), ("z", "f", "z f")]

    def test_columns_that_have_taken_the_names_of_the_rowid(self, file: File) -> None:
        with file.connect() as connection:
            users = Table(file, connection, NAMES, USERS.replace("id integer PRIMARY KEY", "id text, rowid text, OID text"))
            users.execute("INSERT INTO users (id, full_name) VALUES ('1', 'a b'), ('2', 'c d')")
            assert (users.row("1"), users.row("2")) == (("a", "b", "a b"), ("c", "d", "c d"))

    def test_strange_names(self, file: File) -> None:
        old, new = "Vor.Name \"x\" 'y' %s {y}", "select ä \\ ; --"
        quoted = {name: '"' + name.replace('"', '""') + '"' for name in (old, new)}
        table = '"Ta""b;le \'%s"'
        pair = Pair(f"main.{table}", (old,), (new,), {new: f"'$' || {quoted[old]} /* {quoted[new]} */"}, {old: f"substr({quoted[new]}, 2) -- x"}, "error")
        with file.connect() as connection:
            things = Table(file, connection, pair, f"CREATE TABLE {table} (id integer PRIMARY KEY, {quoted[old]} text, {quoted[new]} text)")
            things.execute(f"INSERT INTO {table} (id, {quoted[old]}) VALUES (1, 'x')")
            things.execute(f"INSERT INTO {table} (id, {quoted[new]}) VALUES (2, '$y')")
            both = ", ".join(quoted.values())
            assert (things.row(1, both), things.row(2, both), things.counts) == (("x", "$x"), ("y", "$y"), (1, 0))
            assert things.execute(things.sync.diverged()) == things.execute(things.sync.unreadable()) == [(0,)]
            for text in things.sync.remove():
                things.execute(text)


class TestInstallAndRemove:
    def test_installed_twice_is_installed_once_its_counts_stay_and_removed_leaves_an_empty_table(self, users: Table) -> None:
        query = "SELECT (SELECT count(*) FROM sqlite_master WHERE type = 'trigger'), (SELECT count(*) FROM bleen_sync)"
        users.execute("INSERT INTO users (id, full_name) VALUES (1, 'a b')")
        for number, text in enumerate(users.sync.install()):
            users.execute(text)
            for again in users.sync.install()[: number + 1]:
                users.execute(again)
        assert users.execute(query) == [(2, 1)]
        assert users.counts == (1, 0)
        for _ in range(2):
            for text in users.sync.remove():
                users.execute(text)
        assert users.execute(query) == [(0, 0)]

    def test_rows_out_of_step_and_rows_that_the_old_version_cannot_read_are_counted(self, users: Table) -> None:
        """semantics.md: '"Readable by blue" means: the old constraints hold, and old -> new -> old gives the same value'."""
        users.unfilled("Ada", "King", key=1)
        users.unfilled("Ada B", "King", key=2)
        assert users.execute(users.sync.diverged()) == [(2,)]
        assert users.execute(users.sync.unreadable()) == [(1,)]
        users.execute("UPDATE users SET note = 'x'")
        assert users.execute(users.sync.diverged()) == [(0,)]
        assert users.execute(users.sync.unreadable()) == [(1,)]

    def test_many_pairs_on_one_table_written_at_once(self, users: Table) -> None:
        users.execute("ALTER TABLE users ADD age text")
        users.execute("ALTER TABLE users ADD years int")
        users.unfilled("Eva", "King", key=5)
        users.execute("UPDATE users SET age = '30'")
        installed(users.file, Pair("users", ("age",), ("years",), {"years": "CAST(age AS int)"}, {"age": "years"}, "error"), number=2)
        columns = "first, last, full_name, age, years"
        users.execute("INSERT INTO users (id, full_name, years) VALUES (1, 'Cher', 7)")
        assert users.row(columns=columns) == ("Cher", "Cher", "Cher", "7", 7)
        users.execute("UPDATE users SET first = 'a', years = 8")
        assert users.row(columns=columns) == ("a", "Cher", "a Cher", "8", 8)
        assert users.row(5, columns=columns) == ("a", "King", "a King", "8", 8)
        users.execute("UPDATE users SET full_name = 'Bo', age = '9'")
        assert users.row(columns=columns) == ("Bo", "Bo", "Bo", "9", 9)
