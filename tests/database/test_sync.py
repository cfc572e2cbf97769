"""Two-way sync on PostgreSQL: every rule of the decision table, every way to write a row, and the types and names that a table may have."""

import subprocess
from collections.abc import Iterator

import psycopg
import pytest
from in_step import NAMES, USERS, Table, installed
from psycopg import errors

from bleen.database import sync
from bleen.database.migration import OnConflict, Pair
from bleen.database.postgres.server import Postgres
from databases import Base

PROGRAMS = "/usr/lib/postgresql/15/bin"


@pytest.fixture
def users(end_base: Base) -> Iterator[Table]:
    with Table(end_base) as made:
        yield made


@pytest.fixture
def people(base: Base) -> Iterator[Table]:
    """The same on one version, for what does not depend on it."""
    with Table(base) as made:
        yield made


class TestEveryRuleOfTheTable:
    def test_an_update_of_the_old_columns_makes_the_new_ones(self, users: Table) -> None:
        users.old.execute("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King')")
        users.anyone.execute("UPDATE users SET last = 'Lovelace'")
        assert users.row() == ("Ada", "Lovelace", "Ada Lovelace")
        assert users.counts == (0, 0)

    def test_an_update_of_the_new_columns_makes_the_old_ones_and_is_counted(self, users: Table) -> None:
        users.old.execute("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King')")
        users.anyone.execute("UPDATE users SET full_name = 'Grace Murray Hopper'")
        assert users.row() == ("Grace", "Murray Hopper", "Grace Murray Hopper")
        assert users.counts == (1, 0)

    def test_an_insert_of_the_old_columns_makes_the_new_ones(self, users: Table) -> None:
        users.anyone.execute("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King')")
        assert users.row() == ("Ada", "King", "Ada King")
        assert users.counts == (0, 0)

    def test_an_insert_of_the_new_columns_makes_the_old_ones(self, users: Table) -> None:
        users.anyone.execute("INSERT INTO users (id, full_name) VALUES (1, 'Ada King')")
        assert users.row() == ("Ada", "King", "Ada King")
        assert users.counts == (1, 0)

    def test_an_unrelated_update_changes_no_byte_of_a_row_in_step(self, users: Table) -> None:
        """semantics.md: "an unrelated UPDATE changes no byte of either". In step by what the new shape says more than the old one: one name."""
        users.new.execute("INSERT INTO users (id, full_name) VALUES (1, 'Cher'), (2, 'Ada King')")
        assert users.row() == ("Cher", "Cher", "Cher")
        before = users.row(1), users.row(2), users.counts
        for writer in (users.old, users.new, users.anyone):
            writer.execute("UPDATE users SET note = 'x'")
        assert (users.row(1), users.row(2), users.counts) == before

    def test_the_backfills_own_update_is_left_alone(self, users: Table) -> None:
        """semantics.md: "what a writer wrote is never overwritten by its own echo". Backward would give ('Ada', 'B King')."""
        users.unfilled("Ada B", "King")
        users.anyone.execute("UPDATE users SET full_name = first || ' ' || last")
        assert users.row() == ("Ada B", "King", "Ada B King")
        assert users.counts == (0, 0)

    def test_a_row_that_the_backfill_has_not_come_to_is_filled_by_an_unrelated_update(self, users: Table) -> None:
        users.unfilled("Ada", "King")
        users.new.execute("UPDATE users SET note = 'x'")
        assert users.row() == ("Ada", "King", "Ada King")

    def test_a_row_whose_key_moves_behind_the_backfills_cursor_is_filled(self, users: Table) -> None:
        """The issue: "a row whose key moves behind the backfill's cursor is never filled by a trigger that looks only at changed columns"."""
        users.unfilled("Ada", "King", key=100)
        users.old.execute("UPDATE users SET id = 1 WHERE id = 100")
        assert users.row(1) == ("Ada", "King", "Ada King")

    def test_an_unfilled_row_that_the_new_version_writes_takes_what_it_wrote(self, users: Table) -> None:
        users.unfilled("Ada", "King")
        users.anyone.execute("UPDATE users SET full_name = 'Grace Hopper'")
        assert users.row() == ("Grace", "Hopper", "Grace Hopper")

    def test_a_writer_of_both_sides_that_agree_is_left_alone(self, users: Table) -> None:
        users.anyone.execute("INSERT INTO users (id, first, last, full_name) VALUES (1, 'Ada', 'King', 'Ada King'), (2, 'Cher', 'Cher', 'Cher')")
        users.anyone.execute("UPDATE users SET first = 'Eva', full_name = 'Eva King' WHERE id = 1")
        assert (users.row(1), users.row(2)) == (("Eva", "King", "Eva King"), ("Cher", "Cher", "Cher"))
        assert users.counts == (0, 0)

    @pytest.mark.parametrize(
        "statement",
        ["INSERT INTO users (id, first, last, full_name) VALUES (2, 'A', 'B', 'C D')", "UPDATE users SET first = 'A', last = 'B', full_name = 'C D'"],
    )
    def test_both_sides_written_and_not_agreeing_the_writer_decides(self, users: Table, statement: str) -> None:
        users.old.execute("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King')")
        key = 2 if "INSERT" in statement else 1
        users.old.execute(statement)
        assert users.row(key) == ("A", "B", "A B")
        users.anyone.execute("DELETE FROM users WHERE id = 2")
        users.new.execute(statement.replace("C D", "C E"))
        assert users.row(key) == ("C", "E", "C E")
        assert users.counts == (1, 0)

    @pytest.mark.parametrize(("choice", "expected"), [("old", ("A", "B", "A B")), ("new", ("C", "D", "C D")), ("error", None)])
    def test_both_sides_written_and_the_writer_unknown_on_conflict_decides_and_is_counted(
        self, end_base: Base, choice: OnConflict, expected: tuple[str, ...] | None
    ) -> None:
        with Table(end_base, NAMES._replace(on_conflict=choice)) as users:
            for statement in (
                "INSERT INTO users (id, first, last, full_name) VALUES (1, 'A', 'B', 'C D')",
                "UPDATE users SET first = 'A', last = 'B', full_name = 'C D'",
            ):
                users.anyone.execute("DELETE FROM users")
                if "UPDATE" in statement:
                    users.old.execute("INSERT INTO users (id, first, last) VALUES (1, 'X', 'Y')")
                if expected:
                    users.anyone.execute(statement)
                    assert users.row() == expected
                else:
                    with pytest.raises(errors.IntegrityConstraintViolation, match="nothing says which of them counts") as raised:
                        users.anyone.execute(statement)
                    assert "bleen.environment" in (raised.value.diag.message_hint or "")
            assert users.counts == (2 if choice == "new" else 0, 2)

    def test_a_conflict_is_counted_although_its_transaction_is_rolled_back(self, users: Table) -> None:
        with pytest.raises(errors.IntegrityConstraintViolation), users.anyone.transaction():
            users.anyone.execute("INSERT INTO users (id, first, last, full_name) VALUES (1, 'A', 'B', 'C D')")
        assert users.counts == (0, 1)


class TestWhoWrites:
    @pytest.mark.parametrize(("name", "expected"), [("green", "new"), ("green-17", "new"), ("blue", "old"), ("blue-5", "new"), ("purple", None), ("", None)])
    def test_an_environment_is_known_by_its_name_and_release_first_then_by_its_name(self, people: Table, name: str, expected: str | None) -> None:
        installed(people.base, NAMES, {"blue": "old", "blue-5": "new", "green": "new"})
        people.anyone.execute("SELECT set_config('bleen.environment', %s, false)", [name])
        write = "INSERT INTO users (id, first, last, full_name) VALUES (1, 'A', 'B', 'C D')"
        if expected is None:
            with pytest.raises(errors.IntegrityConstraintViolation):
                people.anyone.execute(write)
        else:
            people.anyone.execute(write)
            assert people.row()[2] == {"old": "A B", "new": "C D"}[expected]

    def test_a_rewrite_reaches_sessions_that_are_warm(self, people: Table) -> None:
        write = "UPDATE users SET first = 'A', last = 'B', full_name = 'C D'"
        people.old.execute("INSERT INTO users (id, first, last) VALUES (1, 'X', 'Y')")
        people.old.execute(write)
        assert people.row() == ("A", "B", "A B")
        made = people.sync._replace(writers={"blue": "new"})  # type: ignore[attr-defined]
        for text in made.rewrite():
            people.anyone.execute(text)
        people.old.execute("UPDATE users SET first = 'E', last = 'F', full_name = 'G H'")
        assert people.row() == ("G", "H", "G H")

    def test_a_setting_of_a_transaction_counts_too(self, people: Table) -> None:
        with people.anyone.transaction():
            people.anyone.execute("SET LOCAL bleen.environment = 'green'")
            people.anyone.execute("INSERT INTO users (id, first, last, full_name) VALUES (1, 'A', 'B', 'C D')")
        assert people.row() == ("C", "D", "C D")


class TestEveryWayToWrite:
    def test_copy(self, users: Table) -> None:
        for connection, columns, rows in ((users.old, "id, first, last", [(1, "a", "b"), (2, "c", "d")]), (users.new, "id, full_name", [(3, "e f")])):
            with connection.cursor() as cursor, cursor.copy(f"COPY users ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        assert [users.row(n) for n in (1, 2, 3)] == [("a", "b", "a b"), ("c", "d", "c d"), ("e", "f", "e f")]

    def test_insert_on_conflict_do_update_with_excluded(self, users: Table) -> None:
        old = "INSERT INTO users (id, first, last) VALUES (1, %s, %s) ON CONFLICT (id) DO UPDATE SET first = EXCLUDED.first, last = EXCLUDED.last"
        new = "INSERT INTO users (id, full_name) VALUES (1, %s) ON CONFLICT (id) DO UPDATE SET full_name = EXCLUDED.full_name"
        users.old.execute(old, ["a", "b"])
        users.old.execute(old, ["c", "d"])
        assert users.row() == ("c", "d", "c d")
        users.new.execute(new, ["e f"])
        assert users.row() == ("e", "f", "e f")
        users.anyone.execute(old, ["g", "h"])
        assert users.row() == ("g", "h", "g h")

    def test_excluded_has_the_null_that_the_new_version_gave_if_it_says_who_it_is(self, base: Base) -> None:
        """The guide: "Let the new version say it". For who does not, EXCLUDED is filled from the defaults of the old columns."""
        back = {name: f"coalesce({each}, '')" for name, each in NAMES.backward.items()}
        table = "CREATE TABLE users (id int PRIMARY KEY, first text NOT NULL DEFAULT '', last text NOT NULL DEFAULT '', full_name text)"
        upsert = "INSERT INTO users (id, full_name) VALUES (1, NULL) ON CONFLICT (id) DO UPDATE SET full_name = coalesce(EXCLUDED.full_name, users.full_name)"
        with Table(base, NAMES._replace(backward=back), table) as users:
            users.old.execute("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King')")
            users.new.execute(upsert)
            assert users.row() == ("Ada", "King", "Ada King")
            users.anyone.execute(upsert)
            assert users.row() == ("", "", " ")

    def test_merge(self, users: Table) -> None:
        merge = (
            "MERGE INTO users u USING (VALUES (1, %s), (2, %s)) s (id, v) ON u.id = s.id"
            " WHEN MATCHED THEN UPDATE SET {0} = s.v WHEN NOT MATCHED THEN INSERT (id, {1}) VALUES (s.id, {2})"
        )
        users.old.execute("INSERT INTO users (id, first, last) VALUES (1, 'a', 'b')")
        users.new.execute(merge.format("full_name", "full_name", "s.v"), ["c d", "e f"])
        assert (users.row(1), users.row(2)) == (("c", "d", "c d"), ("e", "f", "e f"))
        users.anyone.execute("DELETE FROM users WHERE id = 2")
        users.old.execute(merge.format("first", "first, last", "s.v, 'z'"), ["g", "h"])
        assert (users.row(1), users.row(2)) == (("g", "d", "g d"), ("h", "z", "h z"))

    def test_insert_select_and_update_from(self, users: Table) -> None:
        users.old.execute("INSERT INTO users (id, first, last) SELECT n, 'f' || n, 'l' || n FROM generate_series(1, 3) n")
        users.new.execute("INSERT INTO users (id, full_name) SELECT id + 10, full_name || '!' FROM users")
        assert users.row(12) == ("f2", "l2!", "f2 l2!")
        users.new.execute("UPDATE users SET full_name = 'New ' || s.n FROM (VALUES (1), (2)) s (n) WHERE users.id = s.n")
        assert (users.row(1), users.row(2), users.row(3)) == (("New", "1", "New 1"), ("New", "2", "New 2"), ("f3", "l3", "f3 l3"))

    def test_what_returning_gives_is_what_was_stored(self, users: Table) -> None:
        found = users.new.execute("INSERT INTO users (id, full_name) VALUES (1, 'a b') RETURNING first, last").fetchone()
        assert found == ("a", "b")

    def test_savepoints(self, users: Table) -> None:
        with users.old.transaction():
            users.old.execute("INSERT INTO users (id, first, last) VALUES (1, 'a', 'b')")
            with users.old.transaction(force_rollback=True):
                users.old.execute("UPDATE users SET first = 'x'")
            users.old.execute("UPDATE users SET last = 'c'")
        assert users.row() == ("a", "c", "a c")

    def test_a_users_own_trigger_has_its_say_first(self, users: Table) -> None:
        users.anyone.execute("CREATE FUNCTION upper_case() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.last := upper(NEW.last); RETURN NEW; END $$")
        users.anyone.execute("CREATE TRIGGER zzz BEFORE INSERT OR UPDATE OF last ON users FOR EACH ROW EXECUTE FUNCTION upper_case()")
        users.old.execute("INSERT INTO users (id, first, last) VALUES (1, 'a', 'b')")
        assert users.row() == ("a", "B", "a B")

    def test_a_dump_that_is_read_back_changes_no_byte(self, users: Table) -> None:
        """A row whose new side says more than its old one can comes back as it was, though nobody names an environment."""
        users.new.execute("INSERT INTO users (id, full_name) VALUES (1, 'Cher'), (2, 'a b')")
        users.anyone.execute("CREATE TEMP TABLE dump AS SELECT * FROM users")
        before = users.row(1), users.row(2)
        users.anyone.execute("DELETE FROM users")
        users.anyone.execute("INSERT INTO users SELECT * FROM dump")
        assert (users.row(1), users.row(2)) == before

    def test_a_dump_of_the_whole_database_is_kept_in_step_where_it_is_read_back(self, people: Table) -> None:
        """semantics.md: "Journal lost or database restored: the ledger decides": so what it says is installed has to come with it."""
        people.new.execute("INSERT INTO users (id, full_name) VALUES (1, 'Cher'), (2, 'a b')")
        query = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
        dump = subprocess.run([f"{PROGRAMS}/pg_dump", people.base.url], check=True, capture_output=True).stdout
        with people.base.server.database() as name:
            psql = [f"{PROGRAMS}/psql", "-q", "-v", "ON_ERROR_STOP=1", people.base.server.url(name)]
            read = subprocess.run(psql, input=dump, check=False, capture_output=True)
            assert read.returncode == 0, read.stderr.decode()
            with people.base.server.connect(name) as client:
                assert client.execute(query).fetchall() == people.anyone.execute(query).fetchall()
                client.execute("UPDATE users SET full_name = 'c d' WHERE id = 2")
                client.execute("INSERT INTO users (id, first, last) VALUES (3, 'e', 'f')")
                found = client.execute("SELECT first, last, full_name FROM users ORDER BY id").fetchall()
        assert found == [("Cher", "Cher", "Cher"), ("c", "d", "c d"), ("e", "f", "e f")]


class TestDefaultsAndNulls:
    STATUS = Pair(
        "jobs", ("status",), ("active",), {"active": "status = 'active'"}, {"status": "CASE WHEN active THEN 'active' ELSE 'paused' END"}, "error", lossy=True
    )

    def test_an_old_default_does_not_hide_a_new_value(self, end_base: Base) -> None:
        """The issue: 'A plain "fill if NULL" trigger lets an old DEFAULT and a new value diverge: ours must not.'"""
        with Table(end_base, self.STATUS, "CREATE TABLE jobs (id int PRIMARY KEY, status text NOT NULL DEFAULT 'paused', active boolean)") as jobs:
            jobs.anyone.execute("INSERT INTO jobs (id, active) VALUES (1, true)")
            jobs.anyone.execute("INSERT INTO jobs (id, status) VALUES (2, 'banned')")
            assert (jobs.row(1), jobs.row(2)) == (("active", True), ("banned", False))

    def test_a_new_default_does_not_hide_an_old_value(self, end_base: Base) -> None:
        table = "CREATE TABLE jobs (id int PRIMARY KEY, status text NOT NULL DEFAULT 'paused', active boolean NOT NULL DEFAULT false)"
        with Table(end_base, self.STATUS, table) as jobs:
            jobs.anyone.execute("INSERT INTO jobs (id, status) VALUES (1, 'active')")
            jobs.anyone.execute("INSERT INTO jobs (id, active) VALUES (2, true)")
            jobs.anyone.execute("INSERT INTO jobs (id) VALUES (3)")
            assert [jobs.row(n) for n in (1, 2, 3)] == [("active", True), ("active", True), ("paused", False)]

    def test_an_old_column_that_must_not_be_null_and_has_no_default_is_made_from_the_new_one(self, end_base: Base) -> None:
        """Forward of NULL is false here, so that the row of a new writer who says false looks in step, were it not for the NULL."""
        pair = self.STATUS._replace(forward={"active": "(status = 'active') IS TRUE"})
        with Table(end_base, pair, "CREATE TABLE jobs (id int PRIMARY KEY, status text NOT NULL, active boolean)") as jobs:
            jobs.new.execute("INSERT INTO jobs (id, active) VALUES (1, false), (2, true)")
            assert (jobs.row(1), jobs.row(2)) == (("paused", False), ("active", True))

    def test_an_insert_that_a_volatile_default_leaves_open_is_decided_by_the_writer_or_counted(self, end_base: Base) -> None:
        pair = Pair("jobs", ("code",), ("number",), {"number": "code * 10"}, {"code": "number / 10"}, "new", lossy=True)
        with Table(
            end_base, pair, "CREATE SEQUENCE codes; CREATE TABLE jobs (id int PRIMARY KEY, code bigint NOT NULL DEFAULT nextval('codes'), number bigint)"
        ) as jobs:
            jobs.old.execute("INSERT INTO jobs (id) VALUES (1)")
            assert jobs.row(1) == (1, 10)
            jobs.new.execute("INSERT INTO jobs (id, number) VALUES (2, 70)")
            assert jobs.row(2) == (7, 70)
            assert jobs.counts == (1, 0)
            jobs.anyone.execute("INSERT INTO jobs (id, number) VALUES (3, 90)")
            assert jobs.row(3) == (9, 90)
            assert jobs.counts == (2, 1)

    def test_an_insert_that_leaves_the_new_side_null_is_the_old_versions_unless_the_new_one_is_known_to_write(self, end_base: Base) -> None:
        with Table(end_base, self.STATUS, "CREATE TABLE jobs (id int PRIMARY KEY, status text NOT NULL DEFAULT 'paused', active boolean)") as jobs:
            jobs.old.execute("INSERT INTO jobs (id) VALUES (1)")
            jobs.new.execute("INSERT INTO jobs (id) VALUES (2)")
            jobs.anyone.execute("INSERT INTO jobs (id) VALUES (3)")  # backward of NULL is 'paused'
            assert [jobs.row(n) for n in (1, 2, 3)] == [("paused", False), ("paused", None), ("paused", False)]
            jobs.anyone.execute("ALTER TABLE jobs ALTER status SET DEFAULT 'new'")
            installed(end_base, self.STATUS)
            jobs.anyone.execute("INSERT INTO jobs (id) VALUES (4)")
            jobs.anyone.execute("INSERT INTO jobs (id, status) VALUES (5, 'new')")
            assert (jobs.row(4), jobs.row(5), jobs.counts[1]) == (("new", False), ("new", False), 0)

    def test_a_default_that_differs_from_row_to_row_costs_the_old_version_neither_its_inserts_nor_its_values(self, end_base: Base) -> None:
        pair = Pair("jobs", ("at",), ("made_at",), {"made_at": "at"}, {"at": "made_at"}, "new")
        with Table(end_base, pair, "CREATE TABLE jobs (id int PRIMARY KEY, at date NOT NULL DEFAULT now(), made_at date)") as jobs:
            jobs.anyone.execute("INSERT INTO jobs (id) VALUES (1)")
            jobs.anyone.execute("INSERT INTO jobs (id, at) VALUES (2, '2021-01-01')")
            assert jobs.count("SELECT count(*) FROM jobs WHERE at = made_at AND (id = 1) = (at > '2021-01-01')") == 2
            assert jobs.counts == (0, 0)

    def test_nulls_go_from_side_to_side(self, people: Table) -> None:
        people.old.execute("INSERT INTO users (id, first, last) VALUES (1, 'a', 'b')")
        people.old.execute("UPDATE users SET first = NULL")
        assert people.row() == (None, "b", None)
        people.new.execute("UPDATE users SET full_name = 'c d'")
        people.new.execute("UPDATE users SET full_name = NULL")
        assert people.row() == (None, None, None)

    def test_a_default_of_a_domain_is_a_default(self, base: Base) -> None:
        table = "CREATE DOMAIN state AS text DEFAULT 'paused' NOT NULL; CREATE TABLE jobs (id int PRIMARY KEY, status state, active boolean)"
        with Table(base, self.STATUS, table) as jobs:
            jobs.anyone.execute("INSERT INTO jobs (id, active) VALUES (1, true)")
            assert jobs.row(1) == ("active", True)


TYPES = {
    "int to bigint": ("a int", "b bigint", "a", "b", ["(7)"], ["(8)"], 8),
    "text to enum": ("a text", "b mood", "a::mood", "b::text", ["('sad')"], ["('happy')"], "happy"),
    "numeric with a scale": ("a int", "b numeric(10,2)", "a / 100.0", "b * 100", ["(1250)"], ["(3.5)"], 350),
    "a division that is cut": ("a int", "b numeric(10,2)", "a / 3.0", "b * 3", ["(10)"], ["(3.5)"], 11),
    "jsonb": ("a text", "b jsonb", "jsonb_build_object('a', a)", "b ->> 'a'", ["('x')"], ["""('{"a": "y"}')"""], "y"),
    "json, which has no equality": ("a text", "b json", "json_build_object('a', a)", "b ->> 'a'", ["('x')"], ["""('{"a": "y"}')"""], "y"),
    "point, which has none either": ("a float8", "b point", "point(a, a)", "b[0]", ["(1.5)"], ["('(2.5,2.5)')"], 2.5),
    "text to timestamptz": (
        "a text",
        "b timestamptz",
        "a::timestamptz",
        "to_char(b, 'YYYY-MM-DD HH24:MI')",
        ["('2026-01-02 03:04')"],
        ["('2026-02-03 04:05')"],
        "2026-02-03 04:05",
    ),
    "float to text": ("a float8", "b text", "a::text", "b::float8", ["(0.1::float8 + 0.2)"], ["('0.5')"], 0.5),
    "an array": ("a text", "b text[]", "string_to_array(a, ',')", "array_to_string(b, ',')", ["('x,y')"], ["('{p,q}')"], "p,q"),
    "a short varchar": ("a text", "b varchar(5)", "a", "b", ["('abcde')"], ["('fgh')"], "fgh"),
    "char, which is padded": ("a text", "b char(5)", "a", "rtrim(b)", ["('abc')"], ["('fgh')"], "fgh"),
    "bytea": ("a text", "b bytea", "convert_to(a, 'UTF8')", "convert_from(b, 'UTF8')", ["('ä')"], ["('\\x41')"], "A"),
}


class TestTypesAndNames:
    @pytest.mark.parametrize("kind", TYPES)
    def test_values_of_every_type_go_both_ways_and_stay_in_step(self, base: Base, kind: str) -> None:
        old, new, forward, backward, old_values, new_values, expected = TYPES[kind]
        pair = Pair("things", ("a",), ("b",), {"b": forward}, {"a": backward}, "error", lossy=True)
        table = f"CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TABLE things (id int PRIMARY KEY DEFAULT 1, note text, {old}, {new})"
        with Table(base, pair, table) as things:
            things.old.execute(f"INSERT INTO things (a) VALUES {old_values[0]}")
            assert things.count(things.sync.diverged()) == 0
            before = things.row(), things.row(columns="b::text")
            for environment in ("SET TimeZone = 'Asia/Tokyo'", "SET DateStyle = 'German'", "SET extra_float_digits = -5", "SET bytea_output = 'escape'"):
                things.anyone.execute(environment)
            things.anyone.execute("UPDATE things SET note = 'x'")
            things.anyone.execute("RESET ALL")
            assert (things.row(), things.row(columns="b::text")) == before
            things.anyone.execute(f"UPDATE things SET b = {forward}")  # a backfill
            assert things.row() == before[0]
            things.new.execute(f"UPDATE things SET b = {new_values[0]}")
            assert things.row()[0] == expected
            assert things.count(things.sync.diverged()) == 0

    def test_a_change_that_equality_does_not_see_is_a_change(self, base: Base) -> None:
        pair = Pair("things", ("a",), ("b",), {"b": "a::text"}, {"a": "b::numeric"}, "error")
        with Table(base, pair, "CREATE TABLE things (id int PRIMARY KEY, a numeric, b text)") as things:
            things.old.execute("INSERT INTO things (id, a) VALUES (1, 1.0)")
            things.old.execute("UPDATE things SET a = 1.00")
            assert things.row(columns="b") == ("1.00",)

    def test_one_column_to_many(self, base: Base) -> None:
        pair = Pair(
            "things", ("full",), ("a", "b"), {"a": "split_part(\"full\", ' ', 1)", "b": "split_part(\"full\", ' ', 2)"}, {"full": "a || ' ' || b"}, "error"
        )
        with Table(base, pair, 'CREATE TABLE things (id int PRIMARY KEY, "full" text, a text, b text)') as things:
            things.old.execute("INSERT INTO things (id, \"full\") VALUES (1, 'x y')")
            assert things.row() == ("x y", "x", "y")
            things.new.execute("UPDATE things SET b = 'z'")
            assert things.row() == ("x z", "x", "z")

    def test_strange_names_with_a_schema_quotes_and_more(self, base: Base) -> None:
        old, new = 'Vor.Name "x" $bleen$ %s {y}', "select ä \\ ; --"
        quoted = {name: '"' + name.replace('"', '""') + '"' for name in (old, new)}
        table = '"My ""Schema"""."Ta.ble \'$$"'
        pair = Pair(table, (old,), (new,), {new: f"'$bleen$' || {quoted[old]} /* {quoted[new]} */"}, {old: f"substr({quoted[new]}, 8) -- $bleen$"}, "error")
        made = f'CREATE SCHEMA "My ""Schema"""; CREATE TABLE {table} (id int PRIMARY KEY, {quoted[old]} text, {quoted[new]} text)'
        long = "0008_" + "a_name_that_is_as_long_as_a_name_of_a_migration_may_be" * 2
        with base.connect() as admin:
            admin.execute(made)
            made_sync = installed(base, pair, migration=long[:105])
            admin.execute(f"INSERT INTO {table} (id, {quoted[old]}) VALUES (1, 'x')".encode())
            admin.execute(f"INSERT INTO {table} (id, {quoted[new]}) VALUES (2, '$bleen$y')".encode())
            assert admin.execute(f"SELECT {quoted[old]}, {quoted[new]} FROM {table} ORDER BY id".encode()).fetchall() == [("x", "$bleen$x"), ("y", "$bleen$y")]
            assert [admin.execute(query.encode()).fetchone() for query in (made_sync.diverged(), made_sync.unreadable(), made_sync.written())] == [
                (0,),
                (0,),
                (1,),
            ]
            for text in made_sync.remove():
                admin.execute(text.encode())


class TestRights:
    def test_an_application_role_needs_no_grant_but_those_that_it_had(self, end_base: Base) -> None:
        """The issue: "application roles need no new grants". It may write its own columns only, and not see our sequences."""
        with Table(end_base) as users:
            role = f"app_{end_base.name}"
            users.anyone.execute(f"CREATE ROLE {role} LOGIN; GRANT INSERT (id, first, last), UPDATE (first, last), SELECT ON users TO {role}")
            users.anyone.execute(f"CREATE ROLE {role}_new LOGIN; GRANT INSERT (id, full_name), UPDATE (full_name), SELECT ON users TO {role}_new")
            try:
                with end_base.connect(role) as app, end_base.connect(f"{role}_new") as other:
                    app.execute("INSERT INTO users (id, first, last) VALUES (1, 'a', 'b')")
                    other.execute("UPDATE users SET full_name = 'c d'")
                    other.execute("INSERT INTO users (id, full_name) VALUES (2, 'e f')")
                    with pytest.raises(errors.InsufficientPrivilege):
                        app.execute("UPDATE users SET full_name = 'x'")
                assert (users.row(1), users.row(2), users.counts) == (("c", "d", "c d"), ("e", "f", "e f"), (2, 0))
            finally:
                users.anyone.execute(f"DROP OWNED BY {role}, {role}_new; DROP ROLE {role}, {role}_new")

    def test_a_role_that_writes_through_a_view_needs_no_right_to_the_schema_of_the_table(self, end_base: Base) -> None:
        with end_base.connect() as admin:
            admin.execute("CREATE SCHEMA private; CREATE SCHEMA api; CREATE TABLE private.users (id int PRIMARY KEY, first text, last text, full_name text)")
            admin.execute("CREATE VIEW api.users AS SELECT * FROM private.users")
            made = installed(end_base, NAMES._replace(table="private.users"))
            role = f"web_{end_base.name}"
            admin.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA api TO {role}; GRANT INSERT, UPDATE, SELECT ON api.users TO {role}")
            try:
                with end_base.connect(role) as web:
                    web.execute("INSERT INTO api.users (id, full_name) VALUES (1, 'a b')")
                assert admin.execute("SELECT first FROM private.users").fetchone() == ("a",)
                assert admin.execute(made.written()).fetchone() == (1,)
            finally:
                admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    def test_row_level_security_neither_blocks_nor_gives_more(self, end_base: Base) -> None:
        with Table(end_base) as users:
            role = f"tenant_{end_base.name}"
            users.anyone.execute(f"CREATE ROLE {role} LOGIN; GRANT INSERT, UPDATE, SELECT ON users TO {role}; ALTER TABLE users ENABLE ROW LEVEL SECURITY")
            users.anyone.execute(f"CREATE POLICY mine ON users TO {role} USING (last = 'King') WITH CHECK (last = 'King')")
            users.anyone.execute("INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King'), (2, 'Grace', 'Hopper')")
            try:
                with end_base.connect(role) as tenant:
                    tenant.execute("INSERT INTO users (id, full_name) VALUES (3, 'Eva King')")  # the policy sees what the trigger has made
                    assert tenant.execute("UPDATE users SET full_name = 'X King'").rowcount == 2
                    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
                        tenant.execute("UPDATE users SET full_name = 'X Hopper'")
                    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
                        tenant.execute("INSERT INTO users (id, full_name) VALUES (4, 'X Hopper')")
                assert [users.row(n) for n in (1, 2, 3)] == [("X", "King", "X King"), ("Grace", "Hopper", "Grace Hopper"), ("X", "King", "X King")]
            finally:
                users.anyone.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    def test_an_expression_runs_with_the_rights_of_whoever_writes(self, people: Table) -> None:
        people.anyone.execute("CREATE FUNCTION me(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1 || current_user'")
        installed(people.base, NAMES._replace(forward={"full_name": "me(first)"}))
        role = f"writer_{people.base.name}"
        people.anyone.execute(f"CREATE ROLE {role} LOGIN; GRANT INSERT ON users TO {role}")
        try:
            with people.base.connect(role) as writer:
                writer.execute("INSERT INTO users (id, first, last) VALUES (1, 'by ', 'x')")
            assert people.row()[2] == f"by {role}"
        finally:
            people.anyone.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    def test_a_migrating_role_needs_to_own_the_table_and_nothing_more(self, end_base: Base) -> None:
        """The issue: "the migrating role needs ownership and nothing more": of the table, and the right to create in its schema."""
        role = f"owner_{end_base.name}"
        with end_base.connect() as admin:
            admin.execute(f"CREATE ROLE {role} LOGIN; CREATE SCHEMA own AUTHORIZATION {role}")
            try:
                with end_base.connect(role) as owner:
                    owner.execute("CREATE TABLE own.users (id int PRIMARY KEY, first text, last text, full_name text)")
                    server = Postgres(end_base.server.url(end_base.name, role))
                    for text in sync.of(server, "0007_full_name", 1, NAMES._replace(table="own.users"), {}).install():
                        server.rows(text)
                    server.close()
                    owner.execute("INSERT INTO own.users (id, full_name) VALUES (1, 'a b')")
                    assert owner.execute("SELECT first FROM own.users").fetchone() == ("a",)
            finally:
                admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    def test_the_clients_search_path_and_settings_have_no_say(self, people: Table) -> None:
        """The issue: "functions have a pinned `search_path`". The client has a `||` of its own, and looks there first."""
        people.anyone.execute("CREATE SCHEMA evil; CREATE FUNCTION evil.cat(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''evil''::text'")
        people.anyone.execute("CREATE OPERATOR evil.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.cat)")
        people.anyone.execute("SET search_path = evil, pg_catalog")
        people.anyone.execute("INSERT INTO public.users (id, first, last) VALUES (1, 'a', 'b')")
        assert people.anyone.execute("SHOW search_path").fetchone() == ("evil, pg_catalog",)
        people.anyone.execute("RESET search_path")
        assert people.row() == ("a", "b", "a b")


CONDITIONS = {
    "functions, operators and types of PostgreSQL": ("upper(first || ' ' || last)", "text", True),
    "a function of somebody's": ("joined(first, last)", "text", False),
    "a name that is somebody's function too": ("initcap(first)", "text", False),
    "a setting of the session": ("to_timestamp(first, 'YYYY')::text", "text", False),
    "a type whose text depends on one": ("make_date(length(first), 1, 1)::text", "text", False),
    "a number of binary digits": ("sqrt(length(first))::text", "text", False),
    "a cast that cuts": ("first", "char(3)", False),
    "a type of somebody's": ("first", "short", False),
    "bits": ("length(first)::bit(8)", "varbit(3)", False),
    "an array": ("ARRAY[first]", "varchar(3)[]", False),
}


@pytest.mark.parametrize(("expression", "kind", "has"), CONDITIONS.values(), ids=CONDITIONS)
def test_the_function_is_not_called_for_a_row_in_step_where_that_is_the_same_in_every_session(base: Base, expression: str, kind: str, has: bool) -> None:
    pair = NAMES._replace(forward={"full_name": expression}, lossy=True)
    server = base.open()
    server.rows("CREATE DOMAIN short AS varchar(3)")
    server.rows(f"CREATE TABLE users (id int PRIMARY KEY, first text, last text, full_name {kind})")
    server.rows("CREATE FUNCTION joined(text, text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT $1 || $2 $$")
    server.rows("CREATE FUNCTION initcap(int) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT $1::text $$")
    for text in sync.of(server, "0007_full_name", 1, pair, {}).install():
        server.rows(text)
    defined = server.rows("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal")[0][0]
    assert (" WHEN (" in defined) is has
    server.close()


READINGS = {
    "a backslash": ("standard_conforming_strings", "off", r"regexp_replace(a, '\s+', '', 'g')", "s s", "ss"),
    "a quote behind one": ("backslash_quote", "off", r"a || E'\''", "s", "s'"),
    "a NULL of an array": ("array_nulls", "off", "array_to_string('{NULL}'::text[], ',', a)", "s", "s"),
    "a comparison with NULL": ("transform_null_equals", "on", "CASE WHEN nullif(a, 's') = NULL THEN 'none' ELSE 'some' END", "s", "some"),
}


@pytest.mark.parametrize(("setting", "value", "forward", "given", "made"), READINGS.values(), ids=READINGS)
def test_how_a_session_reads_a_text_has_no_say(base: Base, setting: str, value: str, forward: str, given: str, made: str) -> None:
    """The text of a function is read anew in each session. Of backslashes not even the session has a say that installs it."""
    pair = Pair("t", ("a",), ("b",), {"b": forward}, {"a": "b"}, "new", lossy=True)
    ours = {setting: value} if setting == "standard_conforming_strings" else {}
    with base.connect(**{setting: value}) as client:
        client.execute("CREATE TABLE t (id int PRIMARY KEY, a text, b text)")
        server = Postgres(base.server.url(base.name, **ours))
        for text in sync.of(server, "0007_b", 1, pair, {}).install():
            server.rows(text)
        server.close()
        client.execute("INSERT INTO t (id, a) VALUES (1, %s)", [given])
        assert client.execute("SELECT b FROM t").fetchall() == [(made,)]


SETTINGS = {
    "moments": ("timestamptz", "timestamp", "a::timestamp", "b::timestamptz", "'2020-01-01 12:00+00'"),
    "the text of a day": ("int", "text", "make_date(a, 2, 4)::text", "split_part(b, '-', 1)::int", "2020"),
    "binary digits": ("int", "text", "sqrt(a)::text", "round(b::numeric ^ 2)::int", "3"),
    "a domain over moments": ("moment", "text", "a::text", "b::moment", "'2020-01-01 12:00+00'"),
}


@pytest.mark.parametrize(("old", "new", "forward", "backward", "value"), SETTINGS.values(), ids=SETTINGS)
def test_what_a_session_sets_has_no_say_not_even_that_of_a_later_expand(base: Base, old: str, new: str, forward: str, backward: str, value: str) -> None:
    """ "pinned to those of the session that installed it"; "An UPDATE of other columns changes no byte of a row in step." """
    pair = Pair("t", ("a",), ("b",), {"b": forward}, {"a": backward}, "new")
    others = {"TimeZone": "Asia/Tokyo", "DateStyle": "German", "extra_float_digits": "0"}
    with base.connect() as client, base.connect(**others) as abroad, base.connect(**others) as later:
        client.execute("CREATE DOMAIN moment AS timestamptz")
        client.execute(f"CREATE TABLE t (id int PRIMARY KEY, a {old}, b {new}, note text)")
        first = Postgres(base.url)
        for text in sync.of(first, "0007_b", 1, pair, {}).install():
            first.rows(text)
        client.execute(f"INSERT INTO t (id, a) VALUES (1, {value})")
        shown = client.execute("SELECT * FROM t").fetchall()
        abroad.execute(f"INSERT INTO t (id, a) VALUES (2, {value})")
        second = Postgres(base.server.url(base.name, **others))
        made = sync.of(second, "0007_b", 1, pair, {"green": "new"})
        for text in made.rewrite():
            second.rows(text)
        for each in (abroad, later):
            each.execute("UPDATE t SET note = 'x'")
        assert [row[1:3] for row in client.execute("SELECT * FROM t ORDER BY id")] == [shown[0][1:3]] * 2
        with second.transaction():
            for text in made.session():
                second.rows(text)
            assert second.rows(made.diverged()) == [(0,)]
        for server in (first, second):
            server.close()


class TestInstallAndRemove:
    def test_installed_twice_is_installed_once_and_removed_leaves_nothing(self, users: Table) -> None:
        query = (
            "SELECT (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users'::regclass), (SELECT count(*) FROM pg_class WHERE relname LIKE '~bleen%'),"
            " (SELECT count(*) FROM pg_proc WHERE proname LIKE '~bleen%')"
        )
        for number, text in enumerate(users.sync.install()):
            users.anyone.execute(text)  # not in one transaction: each may be the last that an earlier try has done
            for again in users.sync.install()[: number + 1]:
                users.anyone.execute(again)
        assert users.anyone.execute(query).fetchone() == (1, 2, 1)
        for _ in range(2):
            for text in users.sync.remove():
                users.anyone.execute(text)
        assert users.anyone.execute(query).fetchone() == (0, 0, 0)

    def test_its_counts_outlive_a_second_install(self, people: Table) -> None:
        people.new.execute("INSERT INTO users (id, full_name) VALUES (1, 'a b')")
        installed(people.base, NAMES)
        assert people.counts == (1, 0)

    def test_rows_out_of_step_and_rows_that_the_old_version_cannot_read_are_counted(self, people: Table) -> None:
        """semantics.md: '"Readable by blue" means: the old constraints hold, and old -> new -> old gives the same value'."""
        people.unfilled("Ada", "King", key=1)
        people.unfilled("Ada B", "King", key=2)
        assert people.count(people.sync.diverged()) == 2
        assert people.count(people.sync.unreadable()) == 1
        people.anyone.execute("UPDATE users SET note = 'x'")
        assert people.count(people.sync.diverged()) == 0
        assert people.count(people.sync.unreadable()) == 1

    def test_an_old_value_that_is_too_long_for_the_new_column_is_out_of_step(self, base: Base) -> None:
        with Table(base, table=USERS.replace("full_name text", "full_name varchar(5)")) as users:
            users.unfilled("Ada", "King")
            users.anyone.execute("ALTER TABLE users DISABLE TRIGGER USER; UPDATE users SET full_name = 'Ada K'")
            assert users.count(users.sync.diverged()) == 1

    def test_a_write_that_the_old_constraints_forbid_fails_for_the_new_version(self, base: Base) -> None:
        table = USERS.replace("last text", "last text CHECK (length(last) < 5)")
        with Table(base, table=table) as users, pytest.raises(errors.CheckViolation):
            users.new.execute("INSERT INTO users (id, full_name) VALUES (1, 'Ada Lovelace')")

    def test_many_pairs_on_one_table(self, people: Table) -> None:
        people.anyone.execute("ALTER TABLE users ADD age text, ADD years int")
        installed(people.base, Pair("users", ("age",), ("years",), {"years": "age::int"}, {"age": "years::text"}, "error"), number=2)
        people.new.execute("INSERT INTO users (id, full_name, years) VALUES (1, 'a b', 7)")
        assert people.row(columns="first, last, full_name, age, years") == ("a", "b", "a b", "7", 7)


def test_a_trap_a_before_trigger_that_changes_a_partition_key_fails(end_base: Base) -> None:
    """The issue: "a BEFORE trigger that changes a partition key errors". Hence partitioned tables are refused: see test_sync_refusals."""
    with end_base.connect() as admin:
        admin.execute("CREATE TABLE t (id int, kind text) PARTITION BY LIST (kind); CREATE TABLE t_a PARTITION OF t FOR VALUES IN ('a')")
        admin.execute("CREATE TABLE t_b PARTITION OF t FOR VALUES IN ('b')")
        admin.execute("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.kind := 'b'; RETURN NEW; END $$")
        admin.execute("CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()")
        with pytest.raises(psycopg.Error, match="to another partition"):
            admin.execute("INSERT INTO t VALUES (1, 'a')")


def test_a_trap_a_before_trigger_sees_a_stored_column_as_null(end_base: Base) -> None:
    """The issue: "one sees a STORED column as NULL". Hence generated columns are refused: see test_sync_refusals."""
    with end_base.connect() as admin:
        admin.execute("CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) STORED, c int)")
        admin.execute("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.c := NEW.b; RETURN NEW; END $$")
        admin.execute("CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()")
        assert admin.execute("INSERT INTO t (a) VALUES (1) RETURNING b, c").fetchone() == (2, None)
