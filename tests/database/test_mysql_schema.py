"""Expand, contract and revert on a real MariaDB, where every change of the schema commits by itself."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pymysql
import pytest

from bleen.database.foresight import Foresight
from bleen.database.gate import Around
from bleen.database.ledger import State
from bleen.database.migration import Locks, Migration, parse
from bleen.database.mysql import rebuilding
from bleen.database.mysql.server import MySQL
from bleen.database.reading import Pending
from bleen.database.schema import Schema
from bleen.database.server import NotGiven, Taken
from bleen.errors import Refused, Unavailable
from bleen.testing.site import until
from mariadb import MariaBase, MariaDB, mariadb, numbers

USERS = (
    "CREATE TABLE users (id bigint AUTO_INCREMENT PRIMARY KEY, first_name varchar(50) NOT NULL, last_name varchar(50) NOT NULL)",
    f"INSERT INTO users (first_name, last_name) SELECT concat('F', seq), concat('L', seq) FROM {numbers(2500)}",
)
FULL_NAME = {
    "expand.sql": "ALTER TABLE users ADD COLUMN full_name varchar(101), ALGORITHM=INSTANT;",
    "backfill.sql": "UPDATE users SET full_name = concat(first_name, ' ', last_name);",
    "contract.sql": "ALTER TABLE users DROP COLUMN first_name;\nALTER TABLE users DROP COLUMN last_name;",
    "revert.sql": "ALTER TABLE users DROP COLUMN full_name;",
    "migration.toml": """
[[sync]]
table = "users"
old = ["first_name", "last_name"]
new = ["full_name"]
forward = { full_name = "concat(first_name, ' ', last_name)" }
backward = { first_name = "substring_index(full_name, ' ', 1)", last_name = "substring_index(full_name, ' ', -1)" }
on_conflict = "new"
""",
}
PAIR = "users (first_name+last_name <-> full_name)"
SHIPS = {"blue-1": frozenset[str](), "green-2": frozenset({"0007_full_name"})}
NOBODY = Around("shop", ())


def migration(name: str = "0007_full_name", locks: str = "", **files: str) -> Migration:
    return parse(name, {**({f"{file}.sql": text for file, text in files.items()} or FULL_NAME), **({"migration.toml": locks} if locks else {})}, name)


@pytest.fixture
def users(maria_base: MariaBase) -> MariaBase:
    with maria_base.connect() as client:
        client.run(*USERS)
    return maria_base


@pytest.fixture
def schema(users: MariaBase) -> Iterator[Schema]:
    with opened(users) as made:
        yield made


@contextmanager
def opened(base: MariaBase) -> Iterator[Schema]:
    server = base.open()
    try:
        yield Schema(server)
    finally:
        server.close()


def pending(schema: Schema) -> list[Pending]:
    """What is pending once the server has seen that our own connections were closed."""
    until("nobody else is connected", lambda: not schema.server.sessions())
    return schema.pending(NOBODY)


def test_tables_that_refer_to_each_other_are_taken_back(users: MariaBase, schema: Schema) -> None:
    """Always make migrations reversible until the contract phase."""
    both = (
        "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int, FOREIGN KEY (a) REFERENCES a (id));"
        " ALTER TABLE a ADD CONSTRAINT to_b FOREIGN KEY (b) REFERENCES b (id);"
    )
    schema.expand([migration("0008_both", expand=both)], "shop", 2, {})
    schema.revert("0008_both")
    with users.connect() as client:
        assert client.rows("SHOW TABLES LIKE '_'") == []
    assert schema.ledger.entries() == []


def test_a_database_is_bare_until_there_is_a_table_in_it_that_is_not_the_ledger_s(maria_base: MariaBase) -> None:
    with opened(maria_base) as schema:
        schema.expand([migration("0001_none", expand="SELECT 1;")], "shop", 1, {})
        assert schema.server.bare()
        schema.server.rows("CREATE TABLE users (id int PRIMARY KEY)")
        assert not schema.server.bare()


def test_where_statements_are_logged_both_versions_write_all_the_same_and_nothing_is_counted() -> None:
    """Install and removal are atomic for clients. A table whose trigger names a sequence takes no write then, whatever it writes (error 1665)."""
    with mariadb("--log-bin=log", "--server-id=1", "--binlog-format=STATEMENT") as server, server.database() as base, opened(base) as schema:
        with base.connect("blue") as blue, base.connect("green") as green, base.connect(init_command="SET binlog_format = 'MIXED'") as other:
            blue.run(*USERS)
            schema.expand([migration()], "shop", 2, SHIPS)
            blue.run("INSERT INTO users (first_name, last_name) VALUES ('Ada', 'Lovelace')")
            green.run("INSERT INTO users (full_name) VALUES ('Alan Turing')")
            other.run("UPDATE users SET full_name = 'Ada King' WHERE first_name = 'Ada'")
            assert blue.rows("SELECT first_name, last_name FROM users WHERE id > 2500 ORDER BY id") == [("Ada", "King"), ("Alan", "Turing")]
            (counts,) = schema.written(["0007_full_name"]).values()
            assert counts == {"unreadable": 0, "lost": 0}
            blue.run("SET GLOBAL binlog_format = 'ROW'")
        with opened(base) as later:
            assert later.written(["0007_full_name"]) == schema.written(["0007_full_name"])
            later.contract("0007_full_name")
        with base.connect("green") as green:
            green.run("INSERT INTO users (full_name) VALUES ('Grace Hopper')")


def test_a_server_that_logs_statements_from_now_on_is_told_of_with_what_has_its_tables_written_again() -> None:
    """A table whose trigger names a sequence takes no write then, whatever it writes (error 1665)."""
    with mariadb("--log-bin=log", "--server-id=1", "--binlog-format=ROW") as server, server.database() as base:
        with opened(base) as schema, base.connect("blue") as blue:
            blue.run(*USERS)
            schema.expand([migration()], "shop", 2, SHIPS)
            assert schema.jammed("shop") == ""
            blue.run("SET GLOBAL binlog_format = 'STATEMENT'")
        with opened(base) as schema, base.connect("blue") as blue:
            ada = "INSERT INTO users (first_name, last_name) VALUES ('Ada', 'Lovelace')"
            with pytest.raises(pymysql.Error, match="1665"):
                blue.run(ada)
            assert schema.jammed("shop").startswith("every write to users fails: binlog_format is STATEMENT")
            assert "`bleen migrate expand VERSION`" in schema.jammed("shop")
            schema.expand([migration()], "shop", 2, SHIPS)
            blue.run(ada)
            assert (blue.only("SELECT full_name FROM users WHERE first_name = 'Ada'"), schema.jammed("shop")) == ("Ada Lovelace", "")


def test_the_article_s_example_goes_there_and_contracts(users: MariaBase, schema: Schema) -> None:
    """Expand: ADD COLUMN and a whole-table UPDATE; contract: the DROPs; both versions work in between."""
    assert schema.expand([migration()], "shop", 2, SHIPS) == ["0007_full_name"]
    with users.connect("blue") as blue, users.connect("green") as green:
        assert blue.only("SELECT count(*) FROM users WHERE full_name = concat(first_name, ' ', last_name)") == 2500
        blue.run("INSERT INTO users (first_name, last_name) VALUES ('Ada', 'Lovelace')")
        green.run("INSERT INTO users (full_name) VALUES ('Alan Turing')")
        assert blue.rows("SELECT first_name, last_name, full_name FROM users ORDER BY id DESC LIMIT 2") == [
            ("Alan", "Turing", "Alan Turing"),
            ("Ada", "Lovelace", "Ada Lovelace"),
        ]
    (found,) = pending(schema)
    assert (found.migration, found.obstacles) == ("0007_full_name", ())
    schema.contract("0007_full_name")
    assert list(schema.server.columns("users")) == ["id", "full_name"]
    assert pending(schema) == []
    assert schema.contracted() == ["0007_full_name"]
    assert schema.server.rows("SHOW TRIGGERS") == []


@pytest.mark.parametrize(
    ("fails", "left"),
    [("SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114", State.EXPANDED), ("KILL CONNECTION_ID()", State.CONTRACTING)],
    ids=["a full disk", "a lost connection"],
)
def test_what_a_contract_has_added_when_the_server_fails_it_is_gone_before_an_old_version_comes_back(users: MariaBase, fails: str, left: State) -> None:
    """ "A contract that is manual ... is pending ... So is one that failed before it took anything away": who needs the old shape may come back."""
    less = "ALTER TABLE users ADD CONSTRAINT c CHECK (full_name <> 'Bob Roe');\nALTER TABLE users DROP COLUMN first_name, DROP COLUMN last_name;"
    with opened(users) as schema:
        schema.expand([parse("0007_full_name", {**FULL_NAME, "contract.sql": less}, "")], "shop", 2, SHIPS)

    with opened(users) as schema:

        def fail(text: str) -> None:
            if "DROP COLUMN" in text:
                schema.server.rows(fails)

        with pytest.raises(Unavailable, match="`bleen migrate contract 0007_full_name` goes on from there"):
            Schema(schema.server, fail).contract("0007_full_name")
    with opened(users) as schema:
        assert schema.ledger.entries()[0].state is left
        schema.expand([], "shop", 3, {"green-2": SHIPS["green-2"], "blue-3": frozenset()})
        assert schema.ledger.entries()[0].state is State.EXPANDED
    with users.connect("blue") as blue:
        blue.run("INSERT INTO users (first_name, last_name) VALUES ('Bob', 'Roe')")
        assert blue.rows("SELECT full_name FROM users ORDER BY id DESC LIMIT 1") == [("Bob Roe",)]


def test_what_was_done_is_not_done_again(schema: Schema) -> None:
    schema.expand([migration()], "shop", 2, SHIPS)
    assert schema.expand([migration()], "shop", 3, SHIPS) == []


def test_a_statement_that_fails_leaves_what_was_done_and_a_retry_goes_on(users: MariaBase, schema: Schema) -> None:
    """A retry finds the expanded schema and goes on."""
    broken = migration(expand="ALTER TABLE users ADD COLUMN a int; ALTER TABLE users ADD UNIQUE INDEX u (first_name); ALTER TABLE users ADD COLUMN b int;")
    with users.connect() as client:
        client.run("UPDATE users SET first_name = 'F1' WHERE id = 2")
        with pytest.raises(Refused, match=r"line 1, ALTER TABLE users ADD UNIQUE INDEX.* Duplicate entry 'F1' for key 'u'"):
            schema.expand([broken], "shop", 2, {})
        assert list(schema.server.columns("users"))[-1] == "a"
        assert {key: step.done for key, step in schema.ledger.steps("0007_full_name").items()} == {("expand", 1): True}
        client.run("UPDATE users SET first_name = 'F2' WHERE id = 2")
    assert schema.expand([broken], "shop", 2, {}) == ["0007_full_name"]
    assert list(schema.server.columns("users"))[-2:] == ["a", "b"]


LOST = {
    "a dump without triggers": ("CREATE TABLE anew LIKE users", "INSERT INTO anew SELECT * FROM users", "DROP TABLE users", "RENAME TABLE anew TO users"),
    "a swap": ("CREATE TABLE anew LIKE users", "INSERT INTO anew SELECT * FROM users", "RENAME TABLE users TO aside, anew TO users"),
}


@pytest.mark.parametrize("by", LOST)
def test_triggers_that_a_table_has_lost_are_made_again_and_rows_written_meanwhile_are_told(users: MariaBase, schema: Schema, by: str) -> None:
    """Whatever the environments were when they were made."""
    schema.expand([migration()], "shop", 2, SHIPS)
    told: list[str] = []
    with users.connect("blue") as blue:
        blue.run(*LOST[by], "UPDATE users SET first_name = 'Ada' WHERE id = 1")
        Schema(schema.server, told.append).expand([], "shop", 3, {"green-2": SHIPS["green-2"]})
        said = [each for each in told if "keep users (first_name+last_name <-> full_name) in step were gone" in each]
        assert ["1 rows written meanwhile are out of step" in each for each in said] == [True]
        blue.run("UPDATE users SET first_name = 'Ada' WHERE id = 2")
        assert blue.only("SELECT full_name FROM users WHERE id = 2") == "Ada L2"


def test_a_dump_of_before_the_contract_is_restored_beside_the_original_under_another_name(users: MariaBase, schema: Schema) -> None:
    """Triggers and sequences are those of the copy, and what stands behind them in the dump comes too."""
    schema.expand([migration()], "shop", 2, SHIPS)
    schema.server.rows("CREATE TABLE zones (id int PRIMARY KEY)")
    triggers = schema.server.rows("SHOW TRIGGERS")
    with users.server.database() as copy:
        as_root = ["--no-defaults", "--user=root", f"--socket={users.server.socket}"]
        dump = subprocess.run(["mariadb-dump", *as_root, users.name], check=True, capture_output=True).stdout
        subprocess.run(["mariadb", *as_root, copy.name], check=True, input=dump)
        assert schema.server.rows("SHOW TRIGGERS") == triggers
        with opened(copy) as restored, copy.connect("green") as green, users.connect("green") as original:
            green.run("INSERT INTO users (full_name) VALUES ('Ada Lovelace')", "SELECT * FROM zones")
            assert green.only("SELECT first_name FROM users WHERE full_name = 'Ada Lovelace'") == "Ada"
            written = "SELECT next_not_cached_value - 1 FROM bleen_0007_full_name_1_written"
            assert [client.only(written) for client in (green, original)] == [1, 0]
            restored.revert("0007_full_name")
    assert schema.server.rows("SHOW TRIGGERS") == triggers


def test_what_was_there_before_is_no_work_of_ours(schema: Schema) -> None:
    """Begun and not done, and its column is there: but so it was before."""
    schema.server.rows("ALTER TABLE users ADD COLUMN a int")
    for _ in range(2):
        with pytest.raises(Refused, match="Duplicate column name 'a'"):
            schema.expand([migration(expand="ALTER TABLE users ADD COLUMN a int")], "shop", 2, {})


def test_revert_takes_the_new_shape_away_and_forgets_the_migration(users: MariaBase, schema: Schema) -> None:
    before = schema.server.columns("users")
    schema.expand([migration()], "shop", 2, SHIPS)
    assert schema.losses("0007_full_name") == {PAIR: 0}
    with users.connect("green") as green:
        green.run("INSERT INTO users (full_name) VALUES ('Jean Jacques Rousseau')")
    assert schema.losses("0007_full_name") == {PAIR: 1}
    schema.revert("0007_full_name")
    assert schema.server.columns("users") == before
    assert schema.ledger.entries() == []
    assert schema.expand([migration()], "shop", 3, SHIPS) == ["0007_full_name"]


def test_a_pair_whose_table_is_one_of_before_by_now_is_reverted(schema: Schema, users: MariaBase) -> None:
    schema.expand([migration()], "shop", 2, SHIPS)
    with users.connect() as client:
        client.run("DROP TABLE users", *USERS)
    with pytest.raises(Refused, match=r"users has no column full_name any more, .*`bleen migrate revert 0007_full_name`"):
        schema.expand([migration()], "shop", 3, {"blue-3": SHIPS["green-2"]})
    schema.revert("0007_full_name")
    assert schema.ledger.entries() == []


@pytest.mark.parametrize("way", ["revert", "contract"])
def test_a_migration_whose_table_somebody_has_dropped_is_led_out_of_and_is_in_no_other_s_way(schema: Schema, users: MariaBase, way: str) -> None:
    schema.expand([migration()], "shop", 2, SHIPS)
    schema.server.rows("ALTER TABLE users RENAME TO people")
    with pytest.raises(Refused, match="users is people by now"):
        schema.losses("0007_full_name")
    schema.server.rows("DROP TABLE people")
    notes = parse("0008_notes", {"expand.sql": "CREATE TABLE notes (id int PRIMARY KEY);"}, "")
    assert schema.expand([notes], "shop", 3, {"blue-3": SHIPS["green-2"]}) == ["0008_notes"]
    assert (schema.losses("0007_full_name"), schema.written(["0007_full_name"])) == ({}, {})
    (found,) = schema.pending(NOBODY)
    assert "there is no table users, whose columns 0007_full_name keeps in step" in found.obstacles[-1].why
    if way == "revert":
        schema.revert("0007_full_name")
    else:
        schema.contract("0007_full_name", "it was a trial")
    assert schema.pending(NOBODY) == []
    assert schema.server.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = database() AND table_name LIKE 'bleen\\_0007%'") == []


def test_a_revert_of_half_an_expand_takes_away_what_there_is(schema: Schema) -> None:
    half = migration(
        expand="ALTER TABLE users ADD COLUMN a int; ALTER TABLE users ADD COLUMN id int;",
        revert="ALTER TABLE users DROP COLUMN b; ALTER TABLE users DROP COLUMN a;",
    )
    with pytest.raises(Refused, match="Duplicate column name 'id'"):
        schema.expand([half], "shop", 2, {})
    schema.revert("0007_full_name")
    assert "a" not in schema.server.columns("users")


def test_what_was_there_before_an_expand_that_failed_is_no_work_of_its_revert(schema: Schema) -> None:
    """ "what was there before stays", in whatever words it would be taken away; a statement that would take both is refused."""
    schema.server.rows("CREATE TABLE settings (k int PRIMARY KEY)")
    expand = "ALTER TABLE users ADD COLUMN seen int; CREATE TABLE settings (k int);"
    with pytest.raises(Refused, match="already exists"):
        schema.expand([migration(expand=expand, revert="DROP TABLE settings; ALTER TABLE users DROP seen;")], "shop", 2, {})
    schema.revert("0007_full_name")
    assert schema.server.columns("settings")
    assert "seen" not in schema.server.columns("users")
    expand = "ALTER TABLE users ADD COLUMN seen int; ALTER TABLE users ADD COLUMN first_name text;"
    with pytest.raises(Refused, match="Duplicate column"):
        schema.expand([migration(expand=expand, revert="ALTER TABLE users DROP first_name, DROP seen;")], "shop", 2, {})
    with pytest.raises(Refused, match="may take away first_name of users, which the expand had not made"):
        schema.revert("0007_full_name")
    assert "first_name" in schema.server.columns("users")


def test_what_is_contracted_cannot_be_reverted(schema: Schema) -> None:
    schema.expand([migration()], "shop", 2, SHIPS)
    schema.contract("0007_full_name")
    with pytest.raises(Refused, match="the old shape is gone"):
        schema.revert("0007_full_name")


@pytest.mark.parametrize("alter", ["ALTER ONLINE TABLE", "ALTER IGNORE TABLE", "ALTER ONLINE IGNORE TABLE IF EXISTS"])
def test_the_triggers_of_a_pair_go_with_its_columns_however_mariadb_lets_say_that(users: MariaBase, schema: Schema, alter: str) -> None:
    contract = f"{alter} users DROP COLUMN first_name; {alter} users DROP COLUMN last_name;"
    schema.expand([parse("0007_full_name", FULL_NAME | {"contract.sql": contract}, "")], "shop", 2, SHIPS)
    schema.contract("0007_full_name")
    with users.connect() as client:
        client.run("INSERT INTO users (full_name) VALUES ('Ada Lovelace')", "UPDATE users SET full_name = 'Alan Turing' WHERE id = 2")


def test_a_contract_that_took_the_columns_and_left_the_triggers_is_ended_by_the_next(users: MariaBase, schema: Schema) -> None:
    """As an earlier bleen did, that did not know by what a pair ends."""
    schema.expand([migration()], "shop", 2, SHIPS)
    with users.connect() as client:
        client.run("ALTER TABLE users DROP COLUMN first_name, DROP COLUMN last_name")
        done = [mark for number in (1, 2) for mark in schema.ledger.mark("0007_full_name", "contract", number, True)]
        schema.ledger.note([*done, schema.ledger.reached("0007_full_name", State.CONTRACTING)])
        schema.contract("0007_full_name")
        assert schema.ledger.entries()[0].state is State.CONTRACTED
        client.run("INSERT INTO users (full_name) VALUES ('Ada Lovelace')", "UPDATE users SET full_name = 'Alan Turing' WHERE id = 2")


def test_pending_contracts_come_in_order(schema: Schema) -> None:
    """Pending contracts run in order."""
    second = migration("0008_note", expand="ALTER TABLE users ADD COLUMN note text", contract="ALTER TABLE users DROP COLUMN note")
    schema.expand([migration(), second], "shop", 2, SHIPS)
    assert [(p.migration, [o.why for o in p.obstacles]) for p in pending(schema)] == [
        ("0007_full_name", []),
        ("0008_note", ["0007_full_name comes first, and is pending"]),
    ]


def test_rows_out_of_step_keep_the_gate_shut(users: MariaBase, schema: Schema) -> None:
    """Shut while rows diverge (a count query): a person has dropped a trigger, and made it again."""
    schema.expand([migration()], "shop", 2, SHIPS)
    with users.connect() as person:
        trigger = next(str(row[0]) for row in person.rows("SHOW TRIGGERS") if row[1] == "UPDATE")
        made = str(person.rows(f"SHOW CREATE TRIGGER {trigger}")[0][2])
        person.run(f"DROP TRIGGER {trigger}", "UPDATE users SET full_name = 'nobody' WHERE id <= 3", made)
    (found,) = pending(schema)
    assert [o.why for o in found.obstacles] == [f"3 rows of {PAIR} are out of step: `bleen migrate backfill 0007_full_name` fills or shows them"]


def test_two_releases_never_interleave(users: MariaBase, schema: Schema) -> None:
    """One advisory lock per database, so that two releases never interleave."""
    other = users.open()
    with other.alone(), pytest.raises(Taken, match=r"another migration of this database is under way: connection \d+ \(root@"):
        schema.expand([migration()], "shop", 2, SHIPS)
    other.close()
    assert schema.ledger.entries() == []


def test_the_later_release_tells_the_triggers_who_writes_what(users: MariaBase, schema: Schema) -> None:
    """A conflict is decided by the writer: green knew the new shape in release 2; in release 3 blue knows it too."""
    schema.expand([migration()], "shop", 2, SHIPS)
    with users.connect("blue") as blue:
        write = "UPDATE users SET full_name = '{0} {0}', first_name = 'X' WHERE id = 1"
        blue.run(write.format("A"))
        assert blue.only("SELECT first_name, last_name, full_name FROM users WHERE id = 1") == ("X", "L1", "X L1")
        schema.expand([migration()], "shop", 3, {"green-2": frozenset({"0007_full_name"}), "blue-3": frozenset({"0007_full_name"})})
        blue.run(write.format("B"))
        assert blue.only("SELECT first_name, last_name, full_name FROM users WHERE id = 1") == ("B", "B", "B B")
        assert len(blue.rows("SHOW TRIGGERS")) == 2


FOREIGN = migration(
    "0009_team",
    expand="""
    CREATE TABLE teams (id bigint PRIMARY KEY);
    ALTER TABLE users ADD COLUMN team bigint;
    SET foreign_key_checks = 0;
    ALTER TABLE users ADD CONSTRAINT team FOREIGN KEY (team) REFERENCES teams (id), ALGORITHM=INPLACE, LOCK=NONE;
    SET foreign_key_checks = 1;
    CREATE INDEX both_names ON users (last_name, first_name) ALGORITHM=INPLACE LOCK=NONE;
    CREATE VIEW members AS SELECT id, team FROM users;
    INSERT INTO teams VALUES (1), (2);
    ALTER TABLE users ALTER COLUMN team SET DEFAULT 1;
    CREATE TRIGGER counted BEFORE INSERT ON teams FOR EACH ROW SET NEW.id = NEW.id;
    """,
    contract="ALTER TABLE users DROP FOREIGN KEY team; DROP INDEX both_names ON users; DROP VIEW members; DROP TABLE teams;",
)


class Mortal(MySQL):
    """Dies by SIGKILL at one of the points behind its statements that change something, which the server may not have committed."""

    point = 0

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        found = super().rows(sql, values)
        if not sql.startswith(("SELECT", "SHOW", "SET", "DO")):
            self.point -= 1
            if self.point == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return found


def killed(base: MariaBase, point: int, work: Callable[[Schema], object]) -> bool:
    """Whether work that was to die at this point came to it."""
    child = os.fork()
    if not child:
        try:
            server = Mortal(base.url)
            server.point = point
            work(Schema(server))
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"it failed without being killed, at point {point}"
    return os.WIFSIGNALED(status)


def shape(base: MariaBase) -> list[object]:
    """All that is there but the ledger."""
    with base.connect() as client:
        tables = sorted(str(name) for (name,) in client.rows("SHOW TABLES") if not str(name).startswith("bleen_"))
        shown = [client.rows(f"SHOW CREATE TABLE {table}")[0][1] for table in tables]
        triggers = sorted(str(row[0])[:-8] for row in client.rows("SHOW TRIGGERS"))  # its end is a hash of the text, which names the database
        return [*shown, *triggers, client.only("SELECT count(*) FROM users WHERE id < 100")]


STORIES: dict[str, tuple[Migration, Callable[[Schema], object], Callable[[Schema], object]]] = {
    "expand": (migration(), lambda s: None, lambda s: s.expand([migration()], "shop", 2, SHIPS)),
    "contract": (migration(), lambda s: s.expand([migration()], "shop", 2, SHIPS), lambda s: s.contract("0007_full_name")),
    "revert": (migration(), lambda s: s.expand([migration()], "shop", 2, SHIPS), lambda s: s.revert("0007_full_name")),
    "every kind of statement": (FOREIGN, lambda s: None, lambda s: s.expand([FOREIGN], "shop", 2, {})),
    "the drop of everything": (FOREIGN, lambda s: s.expand([FOREIGN], "shop", 2, {}), lambda s: s.contract("0009_team")),
}


@pytest.mark.parametrize("story", STORIES)
def test_killed_at_any_statement_it_ends_where_it_would_have(maria: MariaDB, story: str) -> None:
    """The issue: "kill -9 at every step of expand, backfill, sync install, contract"; semantics.md: "one that cannot run in a transaction is resumed from the
    catalogue". Here every seventh point is tried; with BLEEN_CRASHES=all, all are.
    """
    of, before, work = STORIES[story]
    expected: list[object] = []
    for point in (0, *range(1, 1_000, 1 if os.environ.get("BLEEN_CRASHES") == "all" else 7)):
        with maria.database() as base:
            with base.connect() as client:
                client.run(USERS[0], USERS[1].replace("2500", "40"))
            with opened(base) as schema:
                before(schema)
            died = point > 0 and killed(base, point, work)
            with opened(base) as schema:
                entry = schema.ledger.entry(of.name)
                if point == 0 or entry is None or entry.state not in (State.CONTRACTED,):
                    again(schema, of, work)
                assert not [s for s in schema.ledger.steps(of.name).values() if not s.done]
            found = shape(base)
            expected = expected or found
            assert found == expected, f"after a kill at point {point}"
            if point and not died:
                assert point > 10
                return
    raise AssertionError("it has no end")


def test_an_expand_that_was_killed_at_any_statement_can_be_reverted(maria: MariaDB) -> None:
    """What is left of it is in nobody's way: a trigger without its columns would have every write of the serving version fail."""
    for point in range(1, 1_000, 1 if os.environ.get("BLEEN_CRASHES") == "all" else 5):
        with maria.database() as base, base.connect() as client:
            client.run(USERS[0], USERS[1].replace("2500", "40"))
            before = shape(base)
            died = killed(base, point, STORIES["expand"][2])
            with opened(base) as schema:
                if schema.ledger.entry("0007_full_name"):
                    schema.revert("0007_full_name")
            assert shape(base) == before, f"after a kill at point {point}"
            client.run("UPDATE users SET first_name = 'Ada' WHERE id = 1")
        if not died:
            return


def test_rows_that_are_written_after_a_contract_was_killed_do_not_shut_its_gate_for_ever(maria: MariaDB) -> None:
    for point in range(1, 1_000, 1 if os.environ.get("BLEEN_CRASHES") == "all" else 5):
        with maria.database() as base, base.connect() as client:
            client.run(USERS[0], USERS[1].replace("2500", "40"))
            with opened(base) as schema:
                schema.expand([migration()], "shop", 2, SHIPS)
            died = killed(base, point, STORIES["contract"][2])
            client.run("UPDATE users SET full_name = 'Alan Turing' WHERE id = 2")
            with opened(base) as schema:
                assert not [o.why for each in schema.pending(NOBODY) for o in each.obstacles if "out of step" in o.why], f"after a kill at point {point}"
                schema.contract("0007_full_name")
            assert client.only("SELECT full_name FROM users WHERE id = 2") == "Alan Turing"
        if not died:
            return


def again(schema: Schema, of: Migration, work: Callable[[Schema], object]) -> None:
    """Whoever comes next does the same; a revert that has ended has nothing to do."""
    if schema.ledger.entry(of.name) is None and work is STORIES["revert"][2]:
        return
    work(schema)


def test_who_stands_in_the_way_is_named_and_waited_for(users: MariaBase, schema: Schema) -> None:
    """DDL with `lock_timeout` (100 ms) and bounded, jittered retries that name the blocking session. Others wait for no longer."""
    told: list[str] = []
    with users.connect() as holder, users.connect() as other:
        holder.run("BEGIN", "SELECT count(*) FROM users")

        def tell(text: str) -> None:
            told.append(text)
            if "a lock was not given" in text:
                other.run("SET max_statement_time = 0.5", "INSERT INTO users (first_name, last_name) VALUES ('a', 'b')")  # nobody queues for it now
                holder.run("COMMIT")

        Schema(schema.server, tell).expand([migration(expand="ALTER TABLE users ADD COLUMN a int")], "shop", 2, {})
        id = holder.only("SELECT connection_id()")
    waited = next(text for text in told if "a lock was not given" in text)
    assert "line 1, ALTER TABLE users ADD COLUMN a int: a lock was not given within 100 ms; perhaps in the way: connection " in waited
    assert f"connection {id} (root@127.0.0.1:" in waited
    assert "its transaction " in waited


def test_a_lock_that_is_never_given_ends_it_with_nothing_changed(users: MariaBase, schema: Schema) -> None:
    with users.connect() as holder:
        holder.run("BEGIN", "SELECT count(*) FROM users")
        of = migration(expand="ALTER TABLE users ADD COLUMN a int", locks="[locks]\ntimeout = 0.05\npatience = 0.3\n")
        waited = r"within 50 ms; perhaps in the way: connection .*nothing was changed by it; tried for 0\.3 s"
        with pytest.raises(Refused, match=f"{waited}; expanded again, it goes on from there, and `bleen migrate revert 0007_full_name` undoes"):
            schema.expand([of], "shop", 2, {})
        assert "a" not in schema.server.columns("users")
        holder.run("COMMIT")
    assert schema.expand([of], "shop", 2, {}) == ["0007_full_name"]


def test_who_is_killed_while_waiting_for_a_lock_is_out_of_the_way_soon(users: MariaBase, schema: Schema) -> None:
    """The server does not notice that a client has died while its statement waits: the wait of that statement has an end of its own."""
    with users.connect() as holder, users.connect() as watcher:
        holder.run("BEGIN", "SELECT count(*) FROM users")
        child = os.fork()
        if not child:
            try:
                of = migration(expand="ALTER TABLE users ADD COLUMN a int", locks="[locks]\ntimeout = 0.9\n")
                Schema(MySQL(users.url)).expand([of], "shop", 2, {})
            finally:
                os._exit(1)
        until("it waits", lambda: watcher.only("SELECT count(*) FROM information_schema.processlist WHERE state LIKE '%metadata lock'") == 1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        of = migration(expand="ALTER TABLE users ADD COLUMN a int", locks="[locks]\ntimeout = 0.9\n")
        thread = threading.Timer(0.2, lambda: holder.run("COMMIT"))
        thread.start()
        assert schema.expand([of], "shop", 2, {}) == ["0007_full_name"]
        thread.join()
    assert list(schema.server.columns("users"))[-1] == "a"


def test_the_triggers_that_a_backfill_fires_are_warned_of(schema: Schema) -> None:
    for event in ("UPDATE", "INSERT"):
        schema.server.rows(f"CREATE TRIGGER on_{event} BEFORE {event} ON users FOR EACH ROW SET @fired = NEW.id")
    (said,) = Foresight(schema).risks(migration())
    assert "the backfill updates the rows of users, and fires trigger on_UPDATE of yours" in said


def test_a_time_of_the_last_change_that_a_backfill_sets_is_warned_of_and_kept_by_the_remedy(schema: Schema) -> None:
    schema.server.rows("ALTER TABLE users ADD seen_at TIMESTAMP NOT NULL DEFAULT '2020-01-01 00:00:00' ON UPDATE CURRENT_TIMESTAMP")
    (said,) = Foresight(schema).risks(migration())
    assert "sets seen_at of each row of users that it fills to the time then (ON UPDATE): SET seen_at = seen_at in it keeps" in said
    keeps = migration(expand="ALTER TABLE users ADD COLUMN a INT;", backfill="UPDATE users SET a = 1, Seen_At = seen_at WHERE a IS NULL")
    assert "ON UPDATE" not in "".join(Foresight(schema).risks(keeps))


TOUCH = "CREATE TRIGGER a_touch BEFORE UPDATE ON users FOR EACH ROW SET NEW.first_name = {}"
COPY = "CREATE TRIGGER a_copy AFTER INSERT ON notes FOR EACH ROW UPDATE users SET {} = NEW.text WHERE id = NEW.id"
LAST = "ALTER TABLE users DROP COLUMN last_name, ALGORITHM=INPLACE, LOCK=NONE;"
NAMING = {
    "a trigger of the table": (TOUCH.format("lower(Old . `last_name`)"), LAST, "trigger a_touch on table users says Old . `last_name`"),
    "made under ANSI_QUOTES": (TOUCH.format('lower(OLD."last_name")'), LAST, 'trigger a_touch on table users says OLD."last_name"'),
    "of another column": (TOUCH.format("lower(OLD.last_names)").replace("last_names", "first_name"), LAST, ""),
    "whose trigger it drops": (TOUCH.format("OLD.last_name"), f"DROP TRIGGER a_touch; {LAST}", ""),
    "whose table it drops too": (TOUCH.format("OLD.last_name"), "DROP TABLE users;", ""),
    "a trigger of another table": (COPY.format("last_name"), LAST, "trigger a_copy on table notes speaks of last_name of users"),
    "of another column there": (COPY.format("first_name"), LAST, ""),
    "of a table that goes": (COPY.format("first_name"), "DROP TABLE users;", "trigger a_copy on table notes speaks of users"),
    "a view": ("CREATE VIEW people AS SELECT u.last_name FROM users u", LAST, "view people reads last_name of users"),
    "a view of a table that goes": ("CREATE VIEW people AS SELECT id FROM users", "DROP TABLE users;", "view people reads users"),
    "of another column, and table": ("CREATE VIEW people AS SELECT n.last_name FROM users u JOIN notes n USING (id)", LAST, ""),
    "which it drops first": ("CREATE VIEW people AS SELECT last_name FROM users", f"DROP VIEW people; {LAST}", ""),
    "which it makes anew": ("CREATE VIEW people AS SELECT last_name FROM users", f"CREATE OR REPLACE VIEW people AS SELECT id FROM users; {LAST}", ""),
}


@pytest.mark.parametrize(("made", "contract", "why"), NAMING.values(), ids=NAMING)
def test_what_names_that_which_a_contract_drops_is_told_and_keeps_its_gate_shut(users: MariaBase, schema: Schema, made: str, contract: str, why: str) -> None:
    """Nor, unless a reason is named, while a trigger or a view names it."""
    schema.server.rows("CREATE TABLE notes (id bigint PRIMARY KEY, text text, last_name text)")
    with users.connect() as person:
        person.run("SET sql_mode = 'ANSI_QUOTES'", made)
    wanted = migration("0008_less", expand=FULL_NAME["expand.sql"], contract=contract)
    assert [why in each for each in Foresight(schema).risks(wanted) if "drop that" in each] == [True] * bool(why)
    schema.expand([wanted], "shop", 2, SHIPS)
    (waits,) = pending(schema)
    assert [why in o.why and o.unseen for o in waits.obstacles] == [True] * bool(why)


@pytest.mark.parametrize("said", ["users", "{}.users", "`{}` . `users`"])
def test_a_trigger_of_another_database_names_a_table_of_this_one_only_with_its_database(users: MariaBase, schema: Schema, said: str) -> None:
    """A schema for each tenant has the same names in it."""
    with users.server.database() as aside, aside.connect() as person:
        person.run("CREATE TABLE users (id bigint, last_name text)", "CREATE TABLE notes (id bigint, text text)")
        body = f"INSERT INTO notes SELECT id, last_name FROM {said.format(users.name)} WHERE id = NEW.id"
        person.run(f"CREATE TRIGGER tenant AFTER UPDATE ON users FOR EACH ROW {body}")
        told = [each for each in Foresight(schema).risks(migration("0008_less", contract=LAST)) if f"trigger {aside.name}.tenant on table users" in each]
    assert len(told) == (said != "users")


FULL, FEWER = "ADD COLUMN full_name int", "DROP COLUMN last_name"
SPREAD = {
    "a history": ("users", "INSERT INTO history SELECT * FROM users WHERE id = NEW.id", FULL, "to history .*: 4 values for 3 columns", True),
    "of some columns": ("users", "INSERT INTO history SELECT id, u.last_name, 'x, y' FROM users u", FULL, "", False),
    "of values": ("users", "INSERT IGNORE shop.history VALUES (NEW.id, concat(NEW.first_name, ''), '')", FULL, "", False),
    "its own rows": ("history", "BEGIN IF NEW.id > 1 THEN REPLACE INTO users VALUES (NEW.id, '', ''); END IF; END", FULL, "3 values for 4 columns", True),
    "with its columns": ("users", "INSERT INTO history (id, a, b) SELECT u.* FROM users AS u JOIN notes n ON n.id = u.id", FULL, "4 values", True),
    "of two tables": ("users", "INSERT INTO both_of SELECT * FROM notes n, users WHERE n.id = 1 ORDER BY 1, 2", FULL, "6 values for 5 columns", True),
    "a join by USING": ("notes", "INSERT INTO users SELECT 1, h.a, h.b FROM history h JOIN both_of USING (id)", FULL, "3 values for 4 columns", True),
    "said ONLINE": ("users", "INSERT INTO history SELECT * FROM users", f"ALTER ONLINE TABLE users {FULL}", "4 values for 3 columns", True),
    "a UNION": ("notes", "INSERT INTO users SELECT 1, 'a', 'b' UNION SELECT id, a, b FROM history", FULL, "3 values for 4 columns", True),
    "of a query, to its columns": ("notes", "INSERT INTO users SELECT q.* FROM (SELECT * FROM history) q", FULL, "3 values for 4 columns", True),
    "of itself": ("notes", "INSERT INTO users SELECT q.* FROM (SELECT * FROM users) q", FULL, "", False),
    "out of a query": ("notes", "INSERT INTO history SELECT q.* FROM (SELECT * FROM users) q", FULL, "4 values for 3 columns", True),
    "by WITH": ("notes", "INSERT INTO history WITH u AS (SELECT * FROM users) SELECT u.* FROM u", FULL, "4 values for 3 columns", True),
    "of a query elsewhere": ("notes", "INSERT INTO history SELECT q.* FROM (SELECT * FROM both_of) q", FULL, "", False),
    "of two, by WITH": ("notes", "INSERT INTO history (id, a) WITH u AS (SELECT id, last_name FROM users) SELECT * FROM u", FULL, "", False),
    "of a query of two": ("notes", "INSERT INTO history (id, a) SELECT u.* FROM (SELECT id, last_name FROM users) u", FULL, "", False),
    "of a query beside": ("notes", "INSERT INTO notes (id, n) SELECT a.* FROM users JOIN (SELECT 1 i, count(*) n FROM notes) a", FULL, "", False),
    "of columns that run together": ("notes", "INSERT INTO history SELECT * FROM users NATURAL JOIN both_of", FULL, "columns of users, is not", False),
    "to its columns": ("notes", "INSERT INTO users SELECT * FROM history NATURAL JOIN both_of", FULL, "are 4 then, and were 3: .* fails", True),
    "of it and others": ("notes", "INSERT INTO users SELECT * FROM users NATURAL JOIN notes", FULL, "are 4 then, and were 3: .* may fail", False),
    "of others, that a text speaks of": ("notes", "INSERT INTO history SELECT *, 'users' FROM history NATURAL JOIN both_of", FULL, "", False),
    "of one of both": ("notes", "INSERT INTO history SELECT u.* FROM both_of NATURAL LEFT JOIN notes JOIN users u USING (id)", FULL, "4 values", True),
    "by names of its own": ("notes", "INSERT INTO history WITH u (a, b, c) AS (SELECT * FROM users) SELECT * FROM u", FULL, "is not to be seen", False),
    "with its names": ("notes", "INSERT INTO users SET first_name = 'a', last_name = 'b'", FULL, "", False),
    "no row": ("users", "SET @n = (SELECT count(*) FROM users), @s = INSERT('abc', 1, 1, 'x')", FULL, "", False),
    "an EXISTS": ("users", "SET @n = EXISTS (SELECT * FROM users)", FULL, "", False),
    "that an invisible column leaves alone": ("users", "INSERT INTO history SELECT * FROM users", f"{FULL} INVISIBLE", "", False),
    "that failed before": ("users", "INSERT INTO notes SELECT * FROM users", FULL, "", False),
    "in another order": (
        "users",
        "INSERT INTO history SELECT * FROM users",
        f"{FEWER}, {FULL} FIRST",
        "land in other columns from then on, unseen, as in id",
        False,
    ),
    "in the same": ("users", "INSERT INTO history SELECT * FROM users", f"{FEWER}, {FULL} AFTER first_name", "as in b", False),
}


@pytest.mark.parametrize(("table", "body", "expand", "why", "fails"), SPREAD.values(), ids=SPREAD)
def test_a_trigger_that_gives_whole_rows_refuses_an_expand_that_makes_it_fail(
    users: MariaBase, schema: Schema, table: str, body: str, expand: str, why: str, fails: bool
) -> None:
    """It refuses an expand whose new column such a function would fail on, on MySQL and MariaDB a trigger, on SQLite a write or a view."""
    body = body.replace("shop", schema.server.rows("SELECT database()")[0][0])
    with users.connect() as client:
        for name, columns in {"history": "a text, b text", "notes": "n int", "both_of": "n int, i int, a text, b text"}.items():
            client.run(f"CREATE TABLE {name} (id bigint, {columns})")
        client.run(f"CREATE TRIGGER t AFTER UPDATE ON {table} FOR EACH ROW {body}")
    wanted = migration("0008_full", expand=expand if expand.startswith("ALTER") else f"ALTER TABLE users {expand};")
    foresight = Foresight(schema)
    told = [[each for each in said if "let the trigger name its columns" in each] for said in (foresight.foreseen(wanted), foresight.risks(wanted))]
    assert [len(each) for each in told] == [fails, bool(why) and not fails], told
    assert re.search(why, "".join(told[0] + told[1]))


def test_a_contract_waits_for_a_trigger_that_gives_whole_rows_of_what_loses_a_column(users: MariaBase, schema: Schema) -> None:
    with users.connect() as client:
        client.run(
            "CREATE TABLE history (id bigint, a text, b text)", "CREATE TRIGGER t AFTER UPDATE ON users FOR EACH ROW INSERT INTO history SELECT * FROM users"
        )
    wanted = migration("0008_less", contract=LAST)
    (told,) = [each for each in Foresight(schema).risks(wanted) if "drop that" in each]
    assert "trigger t on table users gives whole rows to history without naming their columns: 2 values for 3 columns" in told
    assert not [each for each in Foresight(schema).risks(migration("0008_less", contract=f"DROP TRIGGER t; {LAST}")) if "drop that" in each]


def test_a_trigger_that_somebody_has_made_since_and_that_names_what_a_revert_takes_away_is_told(schema: Schema) -> None:
    schema.expand([migration()], "shop", 2, SHIPS)
    assert schema.breaking("0007_full_name") == []
    schema.server.rows(TOUCH.format("NEW.full_name"))
    (told,) = schema.breaking("0007_full_name")
    assert "DROP COLUMN full_name: trigger a_touch on table users says NEW.full_name: writes would fail that fire it" in told.why
    assert (told.opened("as it is"), told.opened("a_touch: dropped tonight")) == (False, True)


def test_what_somebody_has_dropped_by_hand_is_in_the_way_of_no_contract_and_no_revert(users: MariaBase, schema: Schema) -> None:
    """The way past a file that the server refuses, and that does not change any more."""
    wanted = migration("0008_less", expand=FULL_NAME["expand.sql"], contract=LAST)
    schema.expand([wanted, migration("0009_note", expand="ALTER TABLE users ADD COLUMN note int, ALGORITHM=INSTANT;")], "shop", 2, SHIPS)
    with users.connect() as client:
        client.run("ALTER TABLE users ADD FULLTEXT (first_name)")
        for refused, says in {"contract": "0008_less/contract.sql", "revert": "0009_note, its way back as the plan shows it"}.items():
            with pytest.raises(Refused, match=rf"{says}: line 1, .*LOCK=NONE is not supported.*; mend that by hand, then try again"):
                getattr(schema, refused)(says[:9])
        client.run("ALTER TABLE users DROP COLUMN last_name, DROP COLUMN note")
    schema.revert("0009_note")
    with pytest.raises(Refused, match=r"if somebody has dropped that, .*--because REASON` goes on, with a reason that names last_name; mend that by hand"):
        schema.contract("0008_less", "the on-call's shell")
    schema.contract("0008_less", "last_name: dropped tonight")
    assert [(entry.name, entry.state) for entry in schema.ledger.entries()] == [("0008_less", State.CONTRACTED)]


ONE = "ALTER TABLE users DROP COLUMN first_name, DROP COLUMN `last_name`, ALGORITHM=INPLACE, LOCK=NONE;"


@pytest.mark.parametrize("contract", [FULL_NAME["contract.sql"], ONE], ids=["two", "one"])
@pytest.mark.parametrize("dropped", [["first_name"], ["first_name", "last_name"]], ids=["half", "all"])
def test_a_pair_whose_old_columns_somebody_has_dropped_is_led_out_of_by_its_contract(
    users: MariaBase, schema: Schema, dropped: list[str], contract: str
) -> None:
    """Errors say what to do next, and that leads out."""
    made = parse("0007_full_name", {**FULL_NAME, "contract.sql": contract}, "")
    schema.expand([made], "shop", 2, SHIPS)
    with users.connect() as client:
        client.run(*(f"ALTER TABLE users DROP COLUMN {name}" for name in dropped))
    if len(dropped) == 2:
        assert schema.expand([made], "shop", 3, {"blue-3": SHIPS["green-2"]}) == []
        assert [(each.opened("gone"), each.opened("first_name, last_name: gone")) for each in pending(schema)[0].obstacles] == [(False, True)] * 2
    schema.contract("0007_full_name", f"{', '.join(dropped)}: gone")
    assert list(schema.server.columns("users")) == ["id", "full_name"]
    with users.connect() as client:
        client.run("INSERT INTO users (full_name) VALUES ('Ada Lovelace')")
    assert (pending(schema), schema.ledger.entries()[0].state) == ([], State.CONTRACTED)


def test_a_name_that_is_misspelt_in_a_revert_is_none_that_somebody_has_dropped(schema: Schema) -> None:
    schema.expand([migration("0008_full", expand=FULL_NAME["expand.sql"], revert="ALTER TABLE users DROP COLUMN ful_name;")], "shop", 2, SHIPS)
    with pytest.raises(Refused, match="Can't DROP COLUMN `ful_name`"):
        schema.revert("0008_full")


@pytest.mark.parametrize("sees", [True, False])
def test_a_view_whose_text_the_role_may_not_see_keeps_the_gate_shut_as_one_that_may_read_what_goes(users: MariaBase, sees: bool) -> None:
    """Nor, unless a reason is named, while a trigger or a view names it."""
    few = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, TRIGGER, REFERENCES, CREATE TEMPORARY TABLES" + ", SHOW VIEW" * sees
    wanted = parse("0007_full_name", FULL_NAME, "")
    with users.connect() as client:
        client.run("CREATE VIEW ids AS SELECT id FROM users", "CREATE USER few", f"GRANT {few} ON {users.name}.* TO few")
        try:
            with opened(users._replace(user="few")) as schema:
                said = [each for each in Foresight(schema).risks(wanted) if "view ids" in each]
                schema.expand([wanted], "shop", 2, SHIPS)
                shut = [o.why for each in schema.pending(NOBODY) for o in each.obstacles if o.unseen and "view ids" in o.why]
        finally:
            client.run("DROP USER few")
    assert [["its text is not shown to this role: GRANT SHOW VIEW ON" in each for each in found] for found in (said, shut)] == [[True] * (not sees)] * 2


@pytest.mark.parametrize("contract", [LAST, "DROP TABLE notes;"])
@pytest.mark.parametrize("sees", [True, False])
def test_a_trigger_whose_text_the_role_may_not_see_keeps_the_gate_shut_as_one_that_may_name_what_goes(users: MariaBase, sees: bool, contract: str) -> None:
    """Nor, unless a reason is named, while a view or a trigger may name it whose text is not shown to them."""
    few = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, CREATE TEMPORARY TABLES" + ", TRIGGER" * sees
    wanted = migration("0008_less", expand=FULL_NAME["expand.sql"], contract=contract)
    with users.connect() as client:
        client.run("CREATE TABLE notes (id bigint)", "CREATE TRIGGER no_row BEFORE UPDATE ON users FOR EACH ROW SET @n = 1")
        client.run("CREATE USER few", f"GRANT {few} ON {users.name}.* TO few")
        try:
            with opened(users._replace(user="few")) as schema:
                said = [each for each in Foresight(schema).risks(wanted) if "trigger no_row on table users may" in each]
                schema.expand([wanted], "shop", 2, SHIPS)
                shut = [o for each in schema.pending(NOBODY) for o in each.obstacles if "no_row" in o.why]
        finally:
            client.run("DROP USER few")
    assert ["its text is not shown to this role: GRANT TRIGGER ON" in each for each in said] == [True] * 2 * (not sees)
    assert [o.opened("no_row: it counts") for o in shut] == [True] * (not sees)


def test_hidden_triggers_of_another_database_are_told_as_one_and_a_reason_that_names_it_passes_them_all(users: MariaBase) -> None:
    """A role that may write another service's rows, of whose triggers it is shown no text."""
    with users.server.database() as aside, users.connect() as client:
        client.run(f"CREATE TABLE {aside.name}.invoice (id bigint, at datetime)", "CREATE USER few", f"GRANT ALL ON {users.name}.* TO few")
        for event in ("INSERT", "UPDATE"):
            client.run(f"CREATE TRIGGER {aside.name}.at_{event} BEFORE {event} ON {aside.name}.invoice FOR EACH ROW SET NEW.at = now()")
        client.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {aside.name}.* TO few")
        wanted = migration("0008_less", expand="ALTER TABLE users ADD COLUMN age int, ALGORITHM=INSTANT;", contract=LAST)
        try:
            with opened(users._replace(user="few")) as schema:
                said = [each for each in Foresight(schema).risks(wanted) if aside.name in each]
                schema.expand([wanted], "shop", 2, SHIPS)
                (shut,) = [o for each in schema.pending(NOBODY) for o in each.obstacles if o.unseen and aside.name in o.why]
        finally:
            client.run("DROP USER few")
    assert [f"triggers at_INSERT, at_UPDATE of {aside.name} may {does}" in each for each, does in zip(said, ("name", "give"), strict=True)] == [True] * 2
    assert f"their texts are not shown to this role: GRANT TRIGGER ON `{aside.name}`.*" in shut.why
    assert [shut.opened(because) for because in ("at_INSERT: theirs", f"{aside.name} is another service's")] == [False, True]


def test_a_release_on_a_server_without_strict_mode_is_told_what_is_cut_and_neither_stops_nor_fails_a_write(maria_base: MariaBase) -> None:
    pair = '[[sync]]\ntable = "parts"\nold = ["qty", "name"]\nnew = ["quantity", "title"]\nforward = { quantity = "qty", title = "name" }\n'
    pair += 'backward = { qty = "quantity", name = "title" }\non_conflict = "new"\nlossy = true\n'
    expand = "ALTER TABLE parts ADD COLUMN quantity int, ADD COLUMN title varchar(3), ALGORITHM=INSTANT;"
    wanted = parse("0007_qty", {"expand.sql": expand, "migration.toml": pair}, "")
    with maria_base.connect() as client:
        before = client.only("SELECT @@GLOBAL.sql_mode")
        client.run("CREATE TABLE parts (id int PRIMARY KEY, name varchar(9), qty varchar(20) NOT NULL DEFAULT '')", "SET GLOBAL sql_mode = '', sql_mode = ''")
        client.run("INSERT INTO parts (id, name, qty) VALUES (1, 'bolts', ''), (2, 'nut', '12 pcs')")
        try:
            with opened(maria_base) as schema:
                short, cut, *_ = Foresight(schema).risks(wanted)
                schema.expand([wanted], "shop", 2, SHIPS)
                client.run("UPDATE parts SET name = 'nuts' WHERE id = 1", "INSERT INTO parts (id, name) VALUES (3, 'screws')")
                client.run("INSERT INTO parts (id, title, quantity) VALUES (4, 'cog', 7)")
                assert not [each for pending in schema.pending(NOBODY) for each in pending.obstacles if "out of step" in each.why]
        finally:
            client.run(f"SET GLOBAL sql_mode = '{before}'")
        assert client.rows("SELECT name, title, qty, quantity FROM parts ORDER BY id")[:3] == [
            ("nuts", "nut", "", 0),
            ("nut", "nut", "12 pcs", 12),
            ("screws", "scr", "", 0),
        ]
    assert "what does not fit is cut; let it be varchar(9)" in short
    assert "sql_mode is not strict: what quantity (int) cannot hold of qty, or title (varchar(3)) cannot hold of name, is cut" in cut


def test_a_column_that_every_insert_has_to_give_and_that_contract_drops_is_warned_of(schema: Schema) -> None:
    (said,) = Foresight(schema).risks(migration("0001_x", contract="ALTER TABLE users DROP COLUMN id, DROP last_name, ALGORITHM=INPLACE, LOCK=NONE;"))
    assert "drops last_name of users, NOT NULL without a default" in said
    assert "ALTER TABLE users ALTER COLUMN `last_name` SET DEFAULT" in said
    assert Foresight(schema).risks(migration()) == []


def test_a_pair_may_call_a_function_that_its_own_expand_makes(users: MariaBase) -> None:
    """What expand makes can be looked at once it is made, which is before a trigger calls it."""
    calling = {
        **FULL_NAME,
        "backfill.sql": "",
        "revert.sql": FULL_NAME["revert.sql"] + " DROP FUNCTION whole;",
        "migration.toml": FULL_NAME["migration.toml"].replace("concat(first_name, ' ', last_name)", "whole(first_name, last_name)"),
    }
    whole = "CREATE FUNCTION whole(a varchar(50), b varchar(50)) RETURNS varchar(101) {}DETERMINISTIC RETURN concat(a, ' ', b);"
    made = {how: {**calling, "expand.sql": whole.format(how) + FULL_NAME["expand.sql"]} for how in ("", "NOT ")}
    good, fickle = (parse("0007_full_name", files, how) for how, files in made.items())
    schema = Schema(users.open())
    assert Foresight(schema).foreseen(good) == []
    assert "calls whole(), of which bleen does not know" in Foresight(schema).foreseen(parse("0007_full_name", calling, ""))[0]
    with pytest.raises(Refused, match=r"calls whole\(\), which may give another value every time"):
        schema.expand([fickle], "shop", 2, SHIPS)
    schema.revert("0007_full_name")
    schema.expand([good], "shop", 3, SHIPS)
    with users.connect() as client:
        assert client.only("SELECT count(*) FROM users WHERE full_name = concat(first_name, ' ', last_name)") == 2500


@pytest.mark.parametrize(
    "refused",
    [
        "ALTER TABLE users ADD UNIQUE INDEX by_first (first_name), ALGORITHM=INPLACE, LOCK=NONE;",
        "ALTER TABLE users ADD COLUMN age int, ADD COLUMN old int AS (no_such_column), ALGORITHM=INSTANT;",
    ],
    ids=["rows are twice there", "what it names is not there"],
)
def test_an_expand_whose_statement_the_server_refused_is_reverted(users: MariaBase, refused: str) -> None:
    """what that had not come to is left alone, whatever your wording"""
    with users.connect() as client:
        client.run("UPDATE users SET first_name = 'Ada'")
    schema = Schema(users.open())
    stops = parse("0008_stops", {"expand.sql": f"ALTER TABLE users ADD COLUMN note text, ALGORITHM=INSTANT;\n{refused}"}, "")
    shown = schema.server.rows("SHOW CREATE TABLE users")
    with pytest.raises(Refused, match="`bleen migrate revert 0008_stops` undoes what was done of it"):
        schema.expand([stops], "shop", 2, {})
    schema.revert("0008_stops")
    assert (schema.server.rows("SHOW CREATE TABLE users"), schema.ledger.entries()) == (shown, [])


def test_an_expand_that_was_given_no_lock_is_reverted(users: MariaBase) -> None:
    schema = Schema(users.open())
    waits = {"expand.sql": "ALTER TABLE users ADD COLUMN note text, ALGORITHM=INSTANT;", "migration.toml": "[locks]\ntimeout = 0.05\npatience = 0.2\n"}
    with users.connect() as client:
        client.run("BEGIN", "SELECT * FROM users LIMIT 1")
        with pytest.raises(Refused, match="a lock was not given"):
            schema.expand([parse("0008_waits", waits, "")], "shop", 2, {})
    schema.revert("0008_waits")
    assert schema.ledger.entries() == []


@pytest.mark.parametrize(
    ("expand", "there"),
    {
        "ALTER TABLE users ADD INDEX by_id (id), ALGORITHM=INPLACE, LOCK=NONE;": "by_id of users",
        "CREATE INDEX by_id ON users (id);": "by_id of users",
        "CREATE TABLE users (id int);": "users",
        "CREATE VIEW users AS SELECT 1 AS a;": "users",
        "ALTER TABLE users ADD COLUMN last_name text, ALGORITHM=INSTANT;": "last_name of users",
        "CREATE TABLE IF NOT EXISTS users (id int);": "",
        "CREATE TABLE others (id int); CREATE INDEX by_id ON others (id);": "",
        "ALTER TABLE users DROP INDEX by_id; ALTER TABLE users ADD INDEX by_id (id);": "",
    }.items(),
)
def test_a_name_that_something_has_already_is_known_before_expand(users: MariaBase, expand: str, there: str) -> None:
    schema = Schema(users.open())
    schema.server.rows("CREATE INDEX by_id ON users (first_name)")
    said = Foresight(schema).foreseen(parse("0008_again", {"expand.sql": expand}, "x"))
    assert [each.partition(": ")[2].partition(": ")[2].partition(" is there already")[0] for each in said] == [there] * bool(there)


@pytest.mark.parametrize(
    ("expand", "revert", "there"),
    [
        ("CREATE TABLE IF NOT EXISTS Notes (id int);", "DROP TABLE IF EXISTS Notes;", "Notes"),
        ("CREATE TABLE IF NOT EXISTS notes (id int);", "DROP TABLE IF EXISTS notes;", ""),
        ("ALTER TABLE Notes ADD COLUMN IF NOT EXISTS Body text;", "ALTER TABLE Notes DROP COLUMN IF EXISTS Body;", "Body of Notes"),
        ("CREATE TABLE IF NOT EXISTS {db}.users (id int);", "DROP TABLE IF EXISTS {db}.users;", "users"),
        ("ALTER TABLE {db}.users ADD COLUMN IF NOT EXISTS id int;", "ALTER TABLE {db}.users DROP COLUMN IF EXISTS id;", "id of users"),
        ("CREATE TABLE audit (users int); CREATE TABLE IF NOT EXISTS users (id int);", "DROP TABLE IF EXISTS users; DROP TABLE audit;", "users"),
        ("CREATE OR REPLACE FUNCTION one() RETURNS int RETURN 2;", "DROP FUNCTION IF EXISTS one;", "one"),
        ("CREATE PROCEDURE IF NOT EXISTS one() SELECT 2;", "DROP PROCEDURE IF EXISTS one;", ""),
        ("RENAME TABLE users TO folk; CREATE TABLE IF NOT EXISTS users (id int);", "DROP TABLE users;", ""),
    ],
)
def test_what_is_there_already_and_revert_sql_would_drop_is_known_before_expand(users: MariaBase, expand: str, revert: str, there: str) -> None:
    """undoes what was done: what was there before stays"""
    schema = Schema(users.open())
    schema.server.rows("CREATE TABLE Notes (Body text)")
    schema.server.rows("CREATE FUNCTION one() RETURNS int RETURN 1")
    files = {f"{name}.sql": text.format(db=users.name) for name, text in (("expand", expand), ("revert", revert))}
    said = Foresight(schema).foreseen(parse("0008_perhaps", files, "x"))
    assert [f": {there} is there already, and revert.sql would drop it" in each for each in said] == [True] * bool(there), said


@pytest.mark.parametrize(
    ("expand", "revert", "told"),
    [
        ("GRANT SELECT ON users TO app_14;", "REVOKE SELECT ON users FROM app_14;", "'app_14'@'%' has SELECT on users already"),
        ("GRANT SELECT ON {db}.users TO app_14@'%';", "REVOKE SELECT ON TABLE {db}.users FROM app_14@'%';", "has SELECT on {db}.users already"),
        ("GRANT SELECT, DELETE ON users TO app_14;", "REVOKE DELETE, SELECT ON users FROM app_14;", "'app_14'@'%' has SELECT on users already"),
        ("GRANT DELETE ON users TO app_14;", "REVOKE DELETE ON users FROM app_14;", ""),
        ("GRANT ALL ON users TO app_14;", "REVOKE ALL PRIVILEGES ON users FROM app_14;", "'app_14'@'%' has SELECT on users already"),
        ("GRANT ALL ON {db}.* TO app_14;", "REVOKE ALL PRIVILEGES ON {db}.* FROM app_14;", "has INSERT on {db}.* already"),
        ("GRANT ALL (id) ON users TO app_14;", "REVOKE ALL PRIVILEGES (id) ON users FROM app_14;", "has UPDATE on id of users already"),
        ("GRANT UPDATE (id) ON users TO app_14;", "REVOKE UPDATE (id) ON users FROM app_14;", "has UPDATE on id of users already"),
        ("GRANT UPDATE (first_name) ON users TO app_14;", "REVOKE UPDATE (first_name) ON users FROM app_14;", ""),
        ("GRANT INSERT ON {db}.* TO app_14;", "REVOKE INSERT ON {db}.* FROM app_14;", "has INSERT on {db}.* already"),
        ("GRANT EXECUTE ON PROCEDURE pr TO app_14;", "REVOKE EXECUTE ON PROCEDURE {db}.pr FROM app_14;", "has EXECUTE on {db}.pr already"),
        ("GRANT ALTER ROUTINE ON PROCEDURE pr TO app_14;", "REVOKE ALTER ROUTINE ON PROCEDURE pr FROM app_14;", ""),
        ("GRANT EXECUTE ON FUNCTION pr TO app_14;", "REVOKE EXECUTE ON FUNCTION pr FROM app_14;", ""),
        ("GRANT ro_14 TO app_14;", "REVOKE ro_14 FROM app_14@'%';", "'app_14'@'%' has the role ro_14 already"),
        ("GRANT rw_14 TO app_14;", "REVOKE rw_14 FROM app_14;", ""),
        ("GRANT ro_14 TO app_14 WITH ADMIN OPTION;", "REVOKE ADMIN OPTION FOR ro_14 FROM app_14;", ""),
        ("GRANT INSERT ON users TO app_14;", "REVOKE INSERT ON users FROM app_14;", ""),
        ("ALTER TABLE users ALTER age SET DEFAULT 5;", "ALTER TABLE users ALTER age DROP DEFAULT;", "age of users has the default 3 now"),
        ("ALTER TABLE users ALTER age SET DEFAULT 5;", "ALTER TABLE users ALTER age SET DEFAULT 3;", ""),
        ("ALTER TABLE users ALTER first_name SET DEFAULT '';", "ALTER TABLE users ALTER first_name DROP DEFAULT;", ""),
        ("ALTER TABLE users ALTER first_name SET DEFAULT '';", "ALTER TABLE users ALTER first_name SET DEFAULT 'x';", "has no default now"),
    ],
)
def test_what_is_so_already_and_revert_sql_would_take_back_is_known_before_expand(users: MariaBase, expand: str, revert: str, told: str) -> None:
    """undoes what was done: what was there before stays"""
    schema = Schema(users.open())
    try:
        for made in ("CREATE USER app_14", "GRANT SELECT, UPDATE (id) ON users TO app_14", f"GRANT INSERT ON {users.name}.* TO app_14"):
            schema.server.rows(made)
        for made in ("PROCEDURE pr() SELECT 1", "FUNCTION pr() RETURNS int RETURN 1", "ROLE ro_14", "ROLE rw_14"):
            schema.server.rows(f"CREATE {made}")
        for made in ("EXECUTE ON PROCEDURE pr", "ro_14"):
            schema.server.rows(f"GRANT {made} TO app_14")
        schema.server.rows("ALTER TABLE users ADD COLUMN age int DEFAULT 3")
        files = {f"{name}.sql": text.format(db=users.name) for name, text in (("expand", expand), ("revert", revert))}
        said = Foresight(schema).foreseen(parse("0008_so", files, "x"))
        assert [told.format(db=users.name) in each for each in said] == [True] * bool(told), said
    finally:
        schema.server.rows("DROP USER app_14")
        schema.server.rows("DROP ROLE IF EXISTS ro_14, rw_14")


@pytest.mark.parametrize("part", ["expand", "contract", "revert"])
def test_what_goes_by_one_statement_that_could_be_done_by_half_is_known_before_expand(users: MariaBase, schema: Schema, part: str) -> None:
    files = {"expand": "CREATE TABLE notes (id int PRIMARY KEY);"}
    both = migration("0008_less", **files | {part: files.get(part, "") + "DROP TABLE IF EXISTS notes, users;"})
    assert f"{part}.sql: line 1, DROP TABLE IF EXISTS notes, users: write a statement of its own for each" in " ".join(Foresight(schema).foreseen(both))

    def carried_out() -> None:
        """As by an earlier bleen, it is in the ledger already."""
        schema.expand([both], "shop", 2, {})
        if part == "contract":
            schema.contract("0008_less")
        schema.revert("0008_less")

    with pytest.raises(Refused, match=f"^0008_less/{part}.sql: line 1, .* of its own for each"):
        carried_out()
    assert [*schema.server.columns("users"), *schema.server.columns("notes")] == ["id", "first_name", "last_name"] + ["id"] * (part != "expand")


NAMED = {
    "a generated column": ("ADD COLUMN initial char(1) AS (left(first_name, 1))", "DROP COLUMN initial", "`initial` char(1)"),
    "a CHECK": ("ADD CONSTRAINT both_said CHECK (first_name <> last_name)", "DROP CONSTRAINT both_said", "CONSTRAINT `both_said` CHECK"),
    "a key": ("ADD UNIQUE KEY (first_name, id)", "DROP KEY first_name", "UNIQUE KEY `first_name` (`first_name`,`id`)"),
}
"""What names a column that goes, what takes it away, and how it is shown."""


@pytest.mark.parametrize("case", NAMED)
def test_a_contract_that_drops_what_something_else_names_is_foreseen(users: MariaBase, schema: Schema, case: str) -> None:
    """The server refuses it, each time, and the triggers would be gone by then."""
    names, frees, shown = NAMED[case]
    with users.connect() as client:
        client.run(f"ALTER TABLE users {names}")
    (said,) = Foresight(schema).foreseen(migration())
    assert "contract.sql: line 1, ALTER TABLE users DROP COLUMN first_name: " in said
    assert shown in said
    assert "drop what names it before, or in the same ALTER TABLE" in said
    drop = f"ALTER TABLE users {frees};\n"
    frees_it = parse("0007_full_name", {**FULL_NAME, "contract.sql": drop + FULL_NAME["contract.sql"]}, "")
    assert Foresight(schema).foreseen(frees_it) == []
    earlier = migration("0006_frees", expand="ALTER TABLE users ADD COLUMN note text", contract=drop)
    assert Foresight(schema).foreseen(migration(), [earlier]) == [], "its contract comes before"
    schema.expand([frees_it], "shop", 2, SHIPS)
    schema.contract("0007_full_name")
    assert "first_name" not in schema.server.columns("users")


BOSS = "ADD COLUMN boss bigint, ADD CONSTRAINT boss FOREIGN KEY (boss) REFERENCES users (id)"
IN_THE_WAY = {
    "something names it": ("ADD CONSTRAINT both_said CHECK (first_name <> full_name)", "DROP CONSTRAINT both_said", "", "CONSTRAINT `both_said` CHECK"),
    "what goes with it is not there": ("COMMENT 'x'", "ADD KEY by_full (full_name)", ", DROP KEY by_full", "Can't DROP INDEX `by_full`"),
    "a foreign key that goes with it is not there": ("COMMENT 'x'", BOSS, ", DROP FOREIGN KEY boss, DROP COLUMN boss", "Can't DROP FOREIGN KEY `boss`"),
    "a foreign key needs it": (BOSS, "DROP FOREIGN KEY boss", ", DROP COLUMN boss", "the foreign key boss of users needs boss"),
    "it cannot be done so": ("ADD KEY by_first (first_name)", "DROP KEY by_first", ", ALGORITHM=INSTANT", "ALGORITHM=INSTANT is not supported"),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_a_contract_that_the_server_would_refuse_leaves_the_pair_in_step(users: MariaBase, schema: Schema, case: str) -> None:
    """So is one that failed before it took anything away"""
    comes, goes, how, says = IN_THE_WAY[case]
    contract = f"ALTER TABLE users DROP COLUMN first_name, DROP COLUMN last_name{how};"
    schema.expand([parse("0007_full_name", {**FULL_NAME, "contract.sql": contract}, "")], "shop", 2, SHIPS)
    with users.connect() as client:
        client.run(f"ALTER TABLE users {comes}")
        with pytest.raises(Refused) as refused:
            schema.contract("0007_full_name")
        assert says in str(refused.value)
        assert "mend that by hand, then try again" in str(refused.value)
        assert "but do not drop first_name, last_name yourself: every write would fail" in str(refused.value)
        client.run("UPDATE users SET full_name = 'Ada Lovelace' WHERE id = 1")
        assert client.only("SELECT last_name FROM users WHERE id = 1") == "Lovelace"
        assert [entry.state for entry in schema.ledger.entries()] == [State.EXPANDED]
        assert schema.server.rows("SHOW TABLES LIKE 'bleen_empty'") == []
        client.run(f"ALTER TABLE users {goes}")
    schema.contract("0007_full_name")
    assert list(schema.server.columns("users")) == ["id", "full_name"]


class Meanwhile(MySQL):
    """Has the new version write right before the ALTER that drops, when the triggers are gone."""

    writes: Sequence[str] = ()
    behind: Callable[[], object] = staticmethod(lambda: None)
    """What somebody else does then."""

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if sql.startswith("ALTER TABLE users DROP COLUMN first_name"):
            assert not super().rows("SHOW TRIGGERS"), "they would name columns that are gone"
            for each in self.writes:
                super().rows(each)
            self.behind()
        return super().rows(sql, values)


ROWS_IN_THE_WAY = {  # what else the ALTER does that drops, what is done to the table before the expand, what a row says that the ALTER fails on
    "twice the same": ("ADD UNIQUE INDEX whole (full_name)", "COMMENT 'x'", "full_name = 'F1 L1'", "Duplicate entry 'F1 L1'"),
    "a NULL": ("MODIFY full_name varchar(101) NOT NULL", "MODIFY first_name varchar(50), MODIFY last_name varchar(50)", "full_name = NULL", "full_name"),
    "a CHECK": ("ADD CONSTRAINT named CHECK (full_name <> 'F2 X')", "COMMENT 'x'", "full_name = 'F2 X'", "`named`"),
    "unique before": ("ADD UNIQUE INDEX w (full_name), DROP INDEX u", "ADD UNIQUE INDEX u (first_name, id)", "full_name = 'F3 L3'", "entry 'F3 L3'"),
    "of no primary key": (
        "ADD UNIQUE INDEX whole (full_name)",
        "MODIFY id bigint NOT NULL, DROP PRIMARY KEY, ADD UNIQUE (id)",
        "full_name = 'F1 L1'",
        "Duplicate entry 'F1 L1'",
    ),
}


@pytest.mark.parametrize("case", ROWS_IN_THE_WAY)
def test_a_contract_that_fails_on_a_row_is_pending_and_the_pair_is_kept_in_step_as_before(users: MariaBase, case: str) -> None:
    """So is one that failed before it took anything away"""
    also, before, row, says = ROWS_IN_THE_WAY[case]
    contract = f"ALTER TABLE users DROP COLUMN first_name, DROP COLUMN last_name, {also};"
    with users.connect() as client:
        client.run("DELETE FROM users WHERE id > 40", f"ALTER TABLE users {before}")
    table = [line for line in shape(users)[0].split("\n") if "full_name" not in line]  # type: ignore[attr-defined]
    server = Meanwhile(users.url)
    schema = Schema(server)
    schema.expand([parse("0007_full_name", {**FULL_NAME, "contract.sql": contract}, "")], "shop", 2, SHIPS)
    expanded = shape(users)
    server.writes = ["UPDATE users SET full_name = 'Jean Jacques Rousseau' WHERE id = 7", "INSERT INTO users (id, full_name) VALUES (50, 'Alan Turing')"]
    with users.connect() as client:
        client.run(f"UPDATE users SET {row} WHERE id = 2")
        with pytest.raises(Refused, match=f"{says}.*; mend that by hand, then try again"):
            schema.contract("0007_full_name")
        server.writes = ()
        assert [entry.state for entry in schema.ledger.entries()] == [State.EXPANDED]
        assert (shape(users)[0], shape(users)[1:-1]) == (expanded[0], expanded[1:-1]), "columns as they were, and both triggers"
        assert not [o.why for each in schema.pending(NOBODY) for o in each.obstacles if "out of step" in o.why]
        read = "SELECT first_name, last_name, full_name FROM users WHERE id = {}"
        assert client.only(read.format(7)) == ("Jean", "Rousseau", "Jean Jacques Rousseau")
        assert client.only(read.format(50)) == ("Alan", "Turing", "Alan Turing")
        client.run("UPDATE users SET full_name = 'Ada Lovelace' WHERE id = 2", "UPDATE users SET first_name = 'Alonzo' WHERE id = 50")
        assert (client.only(read.format(2)), client.only(read.format(50))) == (("Ada", "Lovelace", "Ada Lovelace"), ("Alonzo", "Turing", "Alonzo Turing"))
    reverted = "unique" in case
    if reverted:
        schema.revert("0007_full_name")
        assert shape(users)[0].split("\n") == table  # type: ignore[attr-defined]
    else:
        schema.contract("0007_full_name")
        assert list(schema.server.columns("users")) == ["id", "full_name"]
    assert schema.server.rows("SHOW TRIGGERS") == []
    server.close()


def test_what_the_new_version_wrote_while_a_contract_failed_stays_though_no_old_side_can_be_made_of_it(users: MariaBase) -> None:
    """What a writer wrote is never overwritten by its own echo."""
    one = """[[sync]]
        table = "users"
        old = "first_name"
        new = "full_name"
        forward = { full_name = "first_name" }
        backward = { first_name = "nullif(full_name, 'paused')" }
        on_conflict = "new"
    """
    contract = "ALTER TABLE users DROP COLUMN first_name, ADD UNIQUE INDEX (last_name);"
    with users.connect() as client:
        client.run("DELETE FROM users WHERE id > 5", "UPDATE users SET last_name = 'L1' WHERE id = 2")
        client.run("ALTER TABLE users ADD COLUMN at datetime NOT NULL DEFAULT '2020-01-01' ON UPDATE current_timestamp")
    server, said = Meanwhile(users.url), list[str]()
    schema = Schema(server, said.append)
    wanted = parse("0007_full_name", {"expand.sql": FULL_NAME["expand.sql"], "contract.sql": contract, "migration.toml": one}, "")
    schema.expand([wanted], "shop", 2, SHIPS)
    server.rows("UPDATE users SET at = '2020-01-01'")
    server.writes = [
        "UPDATE users SET full_name = 'paused', at = at WHERE id = 3",
        "INSERT INTO users (id, last_name, full_name) VALUES (50, 'L50', 'paused')",
        "UPDATE users SET full_name = 'Ada', at = at WHERE id = 4",
    ]
    with pytest.raises(Refused, match="Duplicate entry 'L1'"):
        schema.contract("0007_full_name")
    server.writes = ()
    (told,) = [each for each in said if "backward makes nothing of" in each]
    assert "2 rows of users (first_name <-> full_name), written while nothing kept them in step" in told
    schema.expand([wanted], "shop", 3, SHIPS)  # who writes which shape is told to the triggers anew
    with users.connect() as client:
        assert client.only("SELECT count(*) FROM users WHERE at = '2020-01-01'") == 6
        client.run("UPDATE users SET last_name = id")
        read = "SELECT id, first_name, full_name FROM users WHERE id > 2"
        assert client.rows(read) == [(3, "F3", "paused"), (4, "Ada", "Ada"), (5, "F5", "F5"), (50, "", "paused")]
        client.run("UPDATE users SET full_name = 'Jean' WHERE id = 3", "UPDATE users SET first_name = 'Alan' WHERE id = 50")
        assert client.rows(read)[::3] == [(3, "Jean", "Jean"), (50, "Alan", "Alan")]
    assert not [o.why for each in schema.pending(NOBODY) for o in each.obstacles if "out of step" in o.why]
    schema.contract("0007_full_name")
    assert list(server.columns("users")) == ["id", "last_name", "at", "full_name"]
    assert server.rows("SHOW TRIGGERS") == []
    server.close()


def test_a_contract_that_fails_on_a_row_and_is_killed_at_any_statement_can_be_reverted(maria: MariaDB) -> None:
    """So is one that failed before it took anything away: until then, the way back is open."""
    also = "ALTER TABLE users DROP COLUMN first_name, DROP COLUMN last_name, ADD UNIQUE INDEX whole (full_name);"
    of = parse("0007_full_name", {**FULL_NAME, "contract.sql": also}, "")

    def fails(schema: Schema) -> None:
        with pytest.raises(Refused, match="Duplicate entry"):
            schema.contract("0007_full_name")

    for point in range(1, 1_000, 1 if os.environ.get("BLEEN_CRASHES") == "all" else 9):
        with maria.database() as base, base.connect("green") as green:
            green.run(USERS[0], USERS[1].replace("2500", "40"), "UPDATE users SET first_name = 'F1', last_name = 'L1' WHERE id = 2")
            before = shape(base)
            with opened(base) as schema:
                schema.expand([of], "shop", 2, SHIPS)
            died = killed(base, point, fails)
            green.run("UPDATE users SET full_name = 'Jean Jacques Rousseau' WHERE id = 7")
            with opened(base) as schema:
                schema.revert("0007_full_name")
                assert green.only("SELECT concat(first_name, ' ', last_name) FROM users WHERE id = 7") == "Jean Rousseau", f"after a kill at point {point}"
            assert shape(base) == before, f"after a kill at point {point}"
        if not died:
            assert point > 10
            return


FREES = {"": False, "ALTER TABLE cards DROP FOREIGN KEY held;": True, "DROP TABLE cards;": True, "ALTER TABLE users DROP CONSTRAINT other;": False}


@pytest.mark.parametrize("before", FREES)
def test_a_contract_that_drops_what_a_foreign_key_needs_is_foreseen(users: MariaBase, schema: Schema, before: str) -> None:
    """The copy has none, so that is not the server's word but the catalogue's."""
    with users.connect() as client:
        client.run("ALTER TABLE users ADD COLUMN code int UNIQUE, ADD CONSTRAINT other CHECK (last_name <> '')")
        client.run("CREATE TABLE cards (code int, CONSTRAINT held FOREIGN KEY (code) REFERENCES users (code))")
    said = Foresight(schema).foreseen(migration("0008_code", contract=f"{before} ALTER TABLE users DROP COLUMN code;"))
    needs = "the foreign key held of cards needs code, and an index that begins so: drop it before"
    assert [needs in each for each in said] == [True] * (not FREES[before])


HELD = "has the FULLTEXT index words, with which the server does that under a lock only: say ALGORITHM=INPLACE, LOCK=SHARED"
TWO, QUICK = "/* two */", "ALTER TABLE users DROP COLUMN last_name, ALGORITHM=INSTANT;"
FULLTEXT = {
    "a column that goes": (LAST, HELD),
    "that comes": ("ALTER TABLE users ADD COLUMN age int, ALGORITHM=INSTANT;", HELD),
    "under a lock": (LAST.replace("NONE", "SHARED"), ""),
    "behind its index": (f"DROP INDEX words ON users; {LAST}", ""),
    "with its index": (LAST.replace(",", ", DROP INDEX words,", 1), ""),
    "that no row holds": ("ALTER TABLE users ADD COLUMN age int AS (id) VIRTUAL, ALGORITHM=INPLACE, LOCK=NONE;", ""),
    "an index": ("ALTER TABLE users ADD INDEX (last_name), ALGORITHM=INPLACE, LOCK=NONE;", ""),
    "at once, behind its index": (f"DROP INDEX words ON users; {QUICK}", "users had its FULLTEXT index by is hidden .*: say ALGORITHM=INPLACE, LOCK=NONE"),
    "at once, with its index": (QUICK.replace(",", ", DROP INDEX words,", 1), "is hidden in its rows until it is built anew"),
    "at once, once it was built anew": (f"DROP INDEX words ON users; {LAST} ALTER TABLE users ADD COLUMN age int, ALGORITHM=INSTANT;", ""),
    "of two indexes": (f"{TWO} {LAST.replace('NONE', 'SHARED')}", "has the FULLTEXT indexes more, words, .*: say ALGORITHM=COPY, LOCK=SHARED"),
    "of two indexes, by a copy": (f"{TWO} {LAST.replace('NONE', 'SHARED').replace('INPLACE', 'COPY')}", ""),
    "of two indexes, with one of them": (f"{TWO} {LAST.replace('NONE', 'SHARED').replace(',', ', DROP INDEX more,', 1)}", ""),
}


@pytest.mark.parametrize(("contract", "why"), FULLTEXT.values(), ids=FULLTEXT)
def test_what_a_server_refuses_of_a_table_with_a_fulltext_index_is_foreseen(users: MariaBase, schema: Schema, contract: str, why: str) -> None:
    with users.connect() as client:
        client.run("ALTER TABLE users ADD FULLTEXT INDEX words (first_name)")
        if TWO in contract:
            client.run("ALTER TABLE users ADD FULLTEXT INDEX more (first_name, last_name)")
    wanted = migration("0008_less", expand="CREATE TABLE notes (id int);", contract=contract)
    assert [bool(re.search(why, each)) for each in Foresight(schema).foreseen(wanted)] == [True] * bool(why)
    schema.expand([wanted], "shop", 2, SHIPS)
    if why:
        with pytest.raises(Refused, match=r"Fulltext index creation requires a lock|ALGORITHM=INSTANT is not supported|one FULLTEXT index creation at a time"):
            schema.contract("0008_less")
    else:
        schema.contract("0008_less")


@pytest.mark.parametrize(("algorithm", "way"), [("INPLACE", "say ALGORITHM=COPY, LOCK=SHARED"), ("COPY", "")])
def test_mysql_builds_a_table_with_a_fulltext_index_by_a_copy_only(users: MariaBase, algorithm: str, way: str) -> None:
    """As MySQL 9.7 was seen to."""
    with users.connect() as client:
        client.run("ALTER TABLE users ADD FULLTEXT INDEX words (first_name)")
    with closing(users.open()) as server:
        server.mariadb = False
        said = rebuilding.refused(server, [], server.split(f"ALTER TABLE users DROP COLUMN last_name, ALGORITHM={algorithm}, LOCK=SHARED;"))
    assert (way in said, bool(said)) == (True, bool(way))


VIRTUAL, COMPRESSED = "ADD COLUMN up varchar(50) AS (upper(first_name)) VIRTUAL, ADD INDEX by_up (up)", "ROW_FORMAT=COMPRESSED"
VIRTUAL_FIRST = VIRTUAL.replace("VIRTUAL", "VIRTUAL FIRST")
COMES, SHARED = "ALTER TABLE users ADD COLUMN age int, ALGORITHM=INSTANT;", "ALGORITHM=INPLACE, LOCK=SHARED"
BESIDE = "ALGORITHM=INPLACE, LOCK=NONE"
OTHERWISE = {  # how the table is, what is done to it, and how the server would rather have it
    "goes from before a virtual one": (VIRTUAL, LAST, "index by_up on a virtual column, .* by a copy only: say ALGORITHM=COPY, LOCK=SHARED"),
    "goes from there at once": (VIRTUAL, QUICK, "by a copy only"),
    "goes from there with its index": (VIRTUAL, QUICK.replace(",", ", DROP INDEX by_up,", 1), "by a copy only"),
    "goes from there by a copy": (VIRTUAL, LAST.replace(BESIDE, "ALGORITHM=COPY, LOCK=SHARED"), ""),
    "goes from behind it": (VIRTUAL_FIRST, LAST, f"under a lock only: say {SHARED}"),
    "goes from behind it under a lock": (VIRTUAL_FIRST, LAST.replace(BESIDE, SHARED), ""),
    "goes from behind it with its index": (VIRTUAL_FIRST, LAST.replace(",", ", DROP INDEX by_up,", 1), ""),
    "goes from there behind the index": (VIRTUAL, f"DROP INDEX by_up ON users; {LAST}", ""),
    "comes there": (VIRTUAL, COMES, f"under a lock only: say {SHARED}"),
    "comes there beside who writes": (VIRTUAL, COMES.replace("ALGORITHM=INSTANT", BESIDE), f"under a lock only: say {SHARED}"),
    "comes before it": (VIRTUAL, COMES.replace("ALGORITHM=INSTANT", SHARED).replace("int", "int AFTER `ID`"), "makes what stands before that by a copy only"),
    "comes there under a lock": (VIRTUAL, COMES.replace("ALGORITHM=INSTANT", SHARED), ""),
    "goes from compressed rows": (COMPRESSED, QUICK, f"COMPRESSED, with which no column comes or goes at once: say {BESIDE}"),
    "goes from there beside who writes": (COMPRESSED, LAST, ""),
    "goes from what was compressed": (COMPRESSED, f"ALTER TABLE users ROW_FORMAT=DYNAMIC, FORCE; {QUICK}", ""),
}


@pytest.mark.parametrize(("how", "contract", "why"), OTHERWISE.values(), ids=OTHERWISE)
def test_how_a_server_would_rather_make_or_take_a_column_is_foreseen(users: MariaBase, schema: Schema, how: str, contract: str, why: str) -> None:
    with users.connect() as client:
        client.run(f"ALTER TABLE users {how}")
    wanted = migration("0008_less", expand="CREATE TABLE notes (id int);", contract=contract)
    assert [bool(re.search(why, each)) for each in Foresight(schema).foreseen(wanted)] == [True] * bool(why)
    schema.expand([wanted], "shop", 2, SHIPS)
    if why:
        with pytest.raises(Refused, match=r"is not supported"):
            schema.contract("0008_less")
    else:
        schema.contract("0008_less")


@pytest.mark.parametrize("also", ["", "ADD FULLTEXT INDEX more (first_name, last_name)"])
def test_a_column_of_a_table_with_a_fulltext_index_that_comes_without_a_word_is_warned_of_and_goes_again(users: MariaBase, schema: Schema, also: str) -> None:
    """As Django, Rails and Alembic write it."""
    with users.connect() as client:
        client.run("ALTER TABLE users ADD FULLTEXT INDEX words (first_name)", *([f"ALTER TABLE users {also}"] if also else []))
    wanted = migration("0008_age", expand="ALTER TABLE users ADD COLUMN age int;")
    (said,) = Foresight(schema).risks(wanted)
    assert "words, and is built anew under a lock: who writes waits" in said
    aloud = migration("0008_age", expand="ALTER TABLE users ADD COLUMN age int, ALGORITHM=COPY, LOCK=SHARED;")
    assert Foresight(schema).risks(aloud) == []
    schema.expand([wanted], "shop", 2, SHIPS)
    schema.revert("0008_age")
    assert "age" not in schema.server.columns("users")


def test_a_contract_waits_for_its_table_before_it_asks_and_keeps_the_pair_where_that_is_in_vain(users: MariaBase, schema: Schema) -> None:
    """A contract "that failed before it took anything away, for a lock that was not given, say" is pending."""
    locks = "[locks]\ntimeout = 0.05\npatience = 0.2\n"
    schema.expand([parse("0007_full_name", {**FULL_NAME, "migration.toml": FULL_NAME["migration.toml"] + locks}, "")], "shop", 2, SHIPS)
    with users.connect() as client:
        client.run("ALTER TABLE users ADD CONSTRAINT both_said CHECK (first_name <> full_name)", "LOCK TABLES users WRITE")
        with pytest.raises(NotGiven, match=r"CREATE TABLE .*`bleen_empty`.*: a lock was not given within 50 ms"):
            schema.contract("0007_full_name")
        client.run("UNLOCK TABLES")
    assert len(schema.server.rows("SHOW TRIGGERS")) == 2
    assert [entry.state for entry in schema.ledger.entries()] == [State.EXPANDED]


@pytest.mark.parametrize("late", [False, True], ids=["for a trigger that goes", "for what drops, and for triggers that come back"])
def test_a_contract_that_was_given_no_lock_is_pending_or_can_be_reverted(users: MariaBase, late: bool) -> None:
    """So is one that failed before it took anything away, for a lock that was not given, say."""
    of = parse("0007_full_name", {**FULL_NAME, "migration.toml": FULL_NAME["migration.toml"] + "[locks]\ntimeout = 0.05\npatience = 0.2\n"}, "")
    server = Meanwhile(users.url)
    schema = Schema(server)
    before = shape(users)
    schema.expand([of], "shop", 2, SHIPS)
    with users.connect() as reader:
        read = ("BEGIN", "SELECT count(*) FROM users")
        server.behind = lambda: reader.run(*read)
        if not late:
            reader.run(*read)
        with pytest.raises(
            Refused, match="a lock was not given.*its pairs could not be kept in step again: .*`bleen migrate revert" if late else "a lock was not given"
        ):
            schema.contract("0007_full_name")
        server.behind = lambda: None
        assert [entry.state for entry in schema.ledger.entries()] == [State.CONTRACTING if late else State.EXPANDED]
        assert (len(schema.server.rows("SHOW TRIGGERS")), schema.contracted()) == ((0, ["0007_full_name"]) if late else (2, []))
        reader.run("COMMIT", "UPDATE users SET full_name = 'Alan Turing' WHERE id = 1")
        schema.revert("0007_full_name")
        assert reader.only("SELECT first_name FROM users WHERE id = 1") == "Alan"
    assert shape(users) == before
    server.close()


def test_a_pair_over_columns_of_one_whose_contract_has_not_ended_is_refused(users: MariaBase) -> None:
    """ "what a writer wrote is never overwritten by its own echo": triggers that went for a contract come back when it fails."""
    of = parse("0007_full_name", {**FULL_NAME, "migration.toml": FULL_NAME["migration.toml"] + "[locks]\ntimeout = 0.05\npatience = 0.2\n"}, "")
    pair = '[[sync]]\ntable = "users"\nold = ["full_name"]\nnew = ["whole"]\nforward = { whole = "full_name" }\nbackward = { full_name = "whole" }\n'
    add = "ALTER TABLE users ADD COLUMN whole varchar(101), ALGORITHM=INSTANT;"
    later = parse("0008_whole", {"expand.sql": add, "migration.toml": pair + 'on_conflict = "new"\n'}, "")
    server = Meanwhile(users.url)
    schema = Schema(server)
    schema.expand([of], "shop", 2, SHIPS)
    with users.connect() as reader:
        server.behind = lambda: reader.run("BEGIN", "SELECT count(*) FROM users")
        with pytest.raises(Refused, match="its pairs could not be kept in step again"):
            schema.contract("0007_full_name")
    server.behind = lambda: None
    assert server.rows("SHOW TRIGGERS") == []
    why = "users (full_name <-> whole) cannot be kept in step: full_name: 0007_full_name keeps that in step, and its contract has not ended; contract"
    assert [each for each in Foresight(schema).foreseen(later) if each.startswith(why)]
    drops = migration("0008_less", contract="ALTER TABLE users DROP COLUMN full_name, ALGORITHM=INPLACE, LOCK=NONE;")
    assert [each for each in Foresight(schema).foreseen(drops) if "is kept in step for 0007_full_name" in each]
    with pytest.raises(Refused, match=re.escape(why)):
        schema.expand([later], "shop", 3, SHIPS)
    schema.contract("0007_full_name")
    assert schema.expand([later], "shop", 3, SHIPS) == ["0008_whole"]
    server.close()


def test_a_contract_that_cannot_be_tried_is_refused_and_says_what_it_lacks(users: MariaBase) -> None:
    """A table of another database can be one on which the user has rights, and no others there."""
    with users.server.database() as aside, users.connect() as client:
        client.run(f"RENAME TABLE users TO {aside.name}.users", "CREATE USER narrow", f"GRANT ALL ON {users.name}.* TO narrow")
        client.run(f"GRANT ALL ON {aside.name}.users TO narrow", "GRANT SUPER ON *.* TO narrow")
        try:
            with opened(users._replace(user="narrow")) as schema:
                drop = schema.server.split(f"ALTER TABLE {aside.name}.users DROP COLUMN last_name;")
                with pytest.raises(Refused, match=r"tried on an empty copy first, and none can be made: .* command denied to user 'narrow'"):
                    schema.server.catalogue.tries(drop, Locks(), print)
        finally:
            client.run("DROP USER narrow")


NOT_NULL = "ALTER TABLE users MODIFY age int NOT NULL;"
FORGETS = [  # what an earlier migration expands and contracts, then this one, and what it forgets
    ("", "", "ALTER TABLE users ADD COLUMN k int DEFAULT 5;", "ALTER TABLE users MODIFY k int NOT NULL;", "say DEFAULT 5 in it"),
    ("", "", "ALTER TABLE users ALTER COLUMN id2 SET DEFAULT (1 + 1);", "ALTER TABLE users CHANGE id2 id3 int;", "say DEFAULT (1 + 1) in it"),
    ("ALTER TABLE users ADD COLUMN k int DEFAULT 5;", "", "", "ALTER TABLE users MODIFY k int NOT NULL;", "say DEFAULT 5 in it"),
    ("ALTER TABLE users ADD COLUMN k int DEFAULT NULL;", "", "", "ALTER TABLE users MODIFY k int NOT NULL;", ""),
    ("", "ALTER TABLE users ALTER COLUMN age DROP DEFAULT;", "", NOT_NULL, ""),
    ("", NOT_NULL, "", NOT_NULL, ""),
    ("", "ALTER TABLE users RENAME COLUMN age TO years;", "", "ALTER TABLE users MODIFY years int;", "say DEFAULT 1 in it"),
    ("", "", "", f"{NOT_NULL} ALTER TABLE users DROP COLUMN age;", ""),
    ("", "", "", "ALTER TABLE users CHANGE age years int; ALTER TABLE users ALTER COLUMN years SET DEFAULT 1;", ""),
    ("", "", "", f"{NOT_NULL} {NOT_NULL} ALTER TABLE users RENAME COLUMN age TO years;", "say DEFAULT 1 in it"),
]


@pytest.mark.parametrize(("expanded", "contracted", "expand", "contract", "forgets"), FORGETS)
def test_a_default_that_another_statement_gives_or_takes_is_forgotten_or_not(
    users: MariaBase, schema: Schema, expanded: str, contracted: str, expand: str, contract: str, forgets: str
) -> None:
    schema.server.rows("ALTER TABLE users ADD COLUMN age int DEFAULT 1, ADD COLUMN id2 int")
    earlier = migration("0007_earlier", expand=expanded or "SELECT 1;", contract=contracted)
    said = Foresight(schema).foreseen(migration("0008_age", expand=expand, contract=contract), [earlier])
    assert [forgets in each and "contract.sql: line 1, ALTER TABLE users" in each for each in said] == [True] * bool(forgets)


@pytest.mark.parametrize(
    ("contract", "forgets"),
    {
        "ALTER TABLE users MODIFY COLUMN age int NOT NULL, ALGORITHM=INPLACE, LOCK=NONE;": True,
        "ALTER TABLE users CHANGE `AGE` age int NOT NULL, ALGORITHM=INPLACE, LOCK=NONE;": True,
        "ALTER TABLE users MODIFY COLUMN age int NOT NULL DEFAULT 1, ALGORITHM=INPLACE, LOCK=NONE;": False,
        "ALTER TABLE users ALTER COLUMN age DROP DEFAULT; ALTER TABLE users MODIFY COLUMN age int NOT NULL;": False,
        "ALTER TABLE users MODIFY COLUMN last_name varchar(60) NOT NULL;": False,
    }.items(),
)
def test_a_default_that_a_modify_does_not_say_again_is_known_before_expand(users: MariaBase, schema: Schema, contract: str, forgets: bool) -> None:
    schema.server.rows("ALTER TABLE users ADD COLUMN age int DEFAULT 1")
    said = Foresight(schema).foreseen(migration("0008_age", contract=contract))
    assert ["takes the default of age away" in each and "say DEFAULT 1 in it" in each for each in said] == [True] * forgets


@pytest.mark.parametrize(
    ("contract", "lacks"),
    {
        "ALTER TABLE users MODIFY COLUMN emial varchar(100) NOT NULL, ALGORITHM=INPLACE, LOCK=NONE;": "users has no column emial",
        "ALTER TABLE users CHANGE `emial` email text;": "users has no column emial",
        "ALTER TABLE users ALTER COLUMN emial SET DEFAULT 'a';": "users has no column emial",
        "ALTER TABLE user MODIFY COLUMN first_name varchar(60);": "there is no user",
        "ALTER TABLE USERS DROP COLUMN first_name;": "no table USERS is there",
        "ALTER TABLE users MODIFY COLUMN FIRST_NAME varchar(60), MODIFY COLUMN added int;": "",
        "ALTER TABLE users MODIFY COLUMN IF EXISTS emial int;": "",
    }.items(),
)
def test_what_a_contract_changes_and_nobody_has_is_known_before_expand(schema: Schema, contract: str, lacks: str) -> None:
    said = Foresight(schema).risks(migration("0008_added", expand="ALTER TABLE users ADD COLUMN added int;", contract=contract))
    assert [f"{lacks}, so that the contract will stop" in each for each in said] == [True] * bool(lacks), said


REQUIRED = """[[sync]]
table = "users"
old = ["phone"]
new = ["tel"]
forward = {{ tel = "{}" }}
backward = {{ phone = "tel" }}
on_conflict = "new"
"""


@pytest.mark.parametrize(("forward", "told", "makes"), [("phone", True, "forward makes NULL"), ("coalesce(phone, '')", False, "backward makes another value")])
def test_a_new_column_that_is_not_null_while_the_old_version_may_write_null_is_told_and_refused_for_rows_that_have_it(
    schema: Schema, forward: str, told: bool, makes: str
) -> None:
    schema.server.rows("ALTER TABLE users ADD COLUMN phone varchar(20)")
    expand = {"expand.sql": "ALTER TABLE users ADD COLUMN tel varchar(20) NOT NULL DEFAULT '';", "migration.toml": REQUIRED.format(forward)}
    said = [each for each in Foresight(schema).risks(parse("0008_tel", expand, "")) if "tel is NOT NULL from expand on" in each]
    assert len(said) == told
    (refused,) = Foresight(schema).foreseen(parse("0008_tel", expand, ""))
    assert f"2500 rows have NULL in phone, and tel is NOT NULL from expand on, but {makes}" in refused


def test_a_contract_that_is_set_aside_leaves_its_columns_to_whoever_does_not_give_them(users: MariaBase, schema: Schema) -> None:
    """Its pairs end, unless an INSERT needs them, the old shape stays; whoever goes on with one that was broken off sets it aside, too."""
    schema.expand([migration()], "shop", 2, SHIPS)
    with users.connect() as client:
        client.run("CREATE VIEW firsts AS SELECT first_name FROM users")  # what only the dropping would need
        (found,) = schema.pending(NOBODY)
        assert any("firsts" in o.why for o in found.obstacles)
        schema.ledger.note([schema.ledger.reached("0007_full_name", State.CONTRACTING), *schema.ledger.reasoned("0007_full_name", "of a test", aside=True)])
        (found,) = schema.pending(NOBODY)
        assert not any("firsts" in o.why for o in found.obstacles)
        schema.contract("0007_full_name")
        client.run("INSERT INTO users (full_name) VALUES ('Ann Lee')")
    assert schema.server.rows("SELECT count(*) FROM information_schema.triggers WHERE trigger_schema = database()") == [(0,)]
    assert {"first_name", "last_name"} <= schema.server.columns("users").keys()
    with pytest.raises(Refused, match="was set aside, and counts as contracted, though the old shape is there"):
        schema.revert("0007_full_name")


def test_triggers_whose_role_is_dropped_are_named_before_and_made_anew_by_the_role_that_comes(users: MariaBase) -> None:
    """The old version does not notice: a trigger does what its definer may, and without one it fails each write (error 1449)."""
    with users.connect() as admin, opened(users) as root:
        admin.run("DROP USER IF EXISTS leaving", "CREATE USER leaving", f"GRANT ALL ON {users.name}.* TO leaving")
        with opened(users._replace(user="leaving")) as schema:
            schema.expand([migration()], "shop", 2, SHIPS)
            assert schema.jammed("shop") == ""
        assert "the triggers of users were made by leaving@%, and not by the role of the database's url" in root.jammed("shop")
        admin.run("DROP USER leaving")
        with pytest.raises(pymysql.Error, match="The user specified as a definer"):
            admin.run("UPDATE users SET first_name = 'Ada' WHERE id = 1")
        root.expand([migration()], "shop", 2, SHIPS)
        assert root.jammed("shop") == ""
        admin.run("UPDATE users SET first_name = 'Ada' WHERE id = 1")
        assert admin.only("SELECT full_name LIKE 'Ada L%' FROM users WHERE id = 1")


def test_the_triggers_of_another_service_stay_its_role_s(users: MariaBase) -> None:
    """Two services share a database, each with its role: what that of one may not write, its triggers could not, and each write of the other failed."""
    triggers = "SELECT trigger_name, definer FROM information_schema.triggers WHERE trigger_schema = database() ORDER BY 1"
    other = parse("0001_note", {"expand.sql": "CREATE TABLE bills (id int PRIMARY KEY);"}, "")
    with users.connect() as admin:
        admin.run("DROP USER IF EXISTS mine, theirs, few", "CREATE USER mine", "CREATE USER theirs", "CREATE USER few")
        for role in ("mine", "theirs"):
            admin.run(f"GRANT ALL ON {users.name}.* TO {role}")
        admin.run(f"GRANT CREATE, ALTER, DROP, INDEX, TRIGGER, SELECT, INSERT, DELETE ON {users.name}.* TO few")
        with opened(users._replace(user="mine")) as schema:
            schema.expand([migration()], "shop", 2, SHIPS)
            before = schema.server.rows(triggers)
        admin.run(*(f"GRANT UPDATE ON {users.name}.{name} TO few" for name in ("bleen_migration", "bleen_step", "bleen_environment")))
        for role in ("theirs", "few"):
            with opened(users._replace(user=role)) as schema:
                schema.expand([other], "desk", 2, {"green-2": frozenset({"0001_note", "0007_full_name"})})
                assert (schema.jammed("desk"), schema.server.rows(triggers) if role == "theirs" else before) == ("", before)
        admin.run("UPDATE users SET first_name = 'Ada' WHERE id = 1")
        assert admin.only("SELECT full_name LIKE 'Ada L%' FROM users WHERE id = 1")


def test_triggers_that_came_back_from_a_dump_as_another_role_s_are_made_anew(users: MariaBase) -> None:
    found = "SELECT trigger_name, event_manipulation, action_statement FROM information_schema.triggers WHERE trigger_schema = database()"
    with users.connect() as admin, opened(users) as root:
        admin.run("DROP USER IF EXISTS another", "CREATE USER another", f"GRANT ALL ON {users.name}.* TO another")
        root.expand([migration()], "shop", 2, SHIPS)
        for name, event, body in root.server.rows(found):
            admin.run(f"DROP TRIGGER {name}", f"CREATE DEFINER = another TRIGGER {name} BEFORE {event} ON users FOR EACH ROW {body}")
        root.backfill("0007_full_name")
        assert root.jammed("shop") == ""
        admin.run("DROP USER another", "UPDATE users SET first_name = 'Ada' WHERE id = 1")
        assert admin.only("SELECT full_name LIKE 'Ada L%' FROM users WHERE id = 1")


def test_a_column_whose_default_comes_behind_it_is_filled_in_every_row(users: MariaBase, schema: Schema) -> None:
    """It has ended when a count of rows out of step is 0: SET DEFAULT fills no row, and nobody wrote NULL there, whatever `backward` makes of it."""
    with users.connect() as client:
        client.run("ALTER TABLE users ADD COLUMN status int NOT NULL DEFAULT 0", "UPDATE users SET status = id % 3")
    expand = "ALTER TABLE users ADD COLUMN state varchar(20), ALGORITHM=INSTANT; ALTER TABLE users ALTER state SET DEFAULT 'new';"
    pair = '[[sync]]\ntable = "users"\nold = ["status"]\nnew = ["state"]\non_conflict = "new"\n'
    pair += "forward = { state = \"CASE status WHEN 0 THEN 'new' WHEN 1 THEN 'active' ELSE 'gone' END\" }\n"
    pair += "backward = { status = \"CASE state WHEN 'new' THEN 0 WHEN 'active' THEN 1 ELSE 2 END\" }\n"
    fill = "UPDATE users SET state = CASE status WHEN 0 THEN 'new' WHEN 1 THEN 'active' ELSE 'gone' END;"
    files = {"expand.sql": expand, "backfill.sql": fill, "contract.sql": "ALTER TABLE users DROP COLUMN status;", "migration.toml": pair}
    schema.expand([parse("0008_state", files, "0008_state")], "shop", 2, {"blue-1": frozenset(), "green-2": frozenset({"0008_state"})})
    with users.connect() as client:
        assert client.rows("SELECT status, state, count(*) > 800 FROM users GROUP BY 1, 2 ORDER BY 1") == [(0, "new", 1), (1, "active", 1), (2, "gone", 1)]


@pytest.mark.parametrize(
    "setting",
    [
        "sql_select_limit = 3",
        "completion_type = 1",
        "completion_type = 2",
        "tx_read_only = 1",
        "max_join_size = 1",
        "sql_mode = 'EMPTY_STRING_IS_NULL'",
    ],
)
def test_what_a_server_gives_its_sessions_is_in_the_way_of_no_expand(users: MariaBase, setting: str) -> None:
    name = setting.partition(" ")[0]
    with users.connect() as admin:
        before = admin.only(f"SELECT @@GLOBAL.{name}")
        admin.run(f"SET GLOBAL {setting}")
        try:
            with opened(users) as schema:
                schema.expand([migration()], "shop", 2, SHIPS)
                assert not [each for found in schema.pending(NOBODY) for each in found.obstacles if "out of step" in each.why]
        finally:
            admin.run(f"SET GLOBAL {name} = {before!r}")
        assert admin.only("SELECT count(*) FROM users WHERE full_name IS NULL") == 0
