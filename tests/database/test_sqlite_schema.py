"""Expand, contract and revert of a SQLite file, by the ledger: in WAL mode and without."""

import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from sqlite_files import FIRST, LAST, MODES, File, made

from bleen import wiring
from bleen.cli import main
from bleen.cli.database import allowed
from bleen.cli.migrating import agreed
from bleen.database import connect
from bleen.database.command.home import Home
from bleen.database.foresight import Foresight
from bleen.database.gate import Around
from bleen.database.ledger import State
from bleen.database.migration import Locks, Migration, Pair, parse
from bleen.database.operations import from_words, migrations, template
from bleen.database.schema import Schema
from bleen.database.server import Contended, Taken, Values
from bleen.database.sqlite import processes as sqlite_processes
from bleen.database.sqlite.server import SQLite
from bleen.database.statements import Place, Statement
from bleen.database.worker import _worked
from bleen.errors import Refused, Unavailable, UserError
from bleen.host import state
from bleen.model import Verdict
from bleen.testing.site import until

USERS = """
CREATE TABLE users (id integer PRIMARY KEY, first_name text NOT NULL DEFAULT '', last_name text NOT NULL DEFAULT '');
WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2500) INSERT INTO users (first_name, last_name) SELECT 'F' || n, 'L' || n FROM n;
"""
FULL_NAME = {
    "expand.sql": "ALTER TABLE users ADD COLUMN full_name text;",
    "backfill.sql": "UPDATE users SET full_name = first_name || ' ' || last_name;",
    "contract.sql": "ALTER TABLE users DROP COLUMN first_name;\nALTER TABLE users DROP COLUMN last_name;",
    "revert.sql": "ALTER TABLE users DROP COLUMN full_name;",
    "migration.toml": f"""
[[sync]]
table = "users"
old = ["first_name", "last_name"]
new = ["full_name"]
forward = {{ full_name = "first_name || ' ' || last_name" }}
backward = {{ first_name = "{FIRST}", last_name = "{LAST}" }}
on_conflict = "new"
""",
}
SHIPS = {"blue-1": frozenset[str](), "green-2": frozenset({"0007_full_name"})}
NOBODY = Around("shop", ())


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process's takes a byte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def migration(name: str = "0007_full_name", **files: str) -> Migration:
    return parse(name, {f"{file}.sql": text for file, text in files.items()} or FULL_NAME, name)


@pytest.fixture(params=MODES)
def users(request: pytest.FixtureRequest, tmp_path: Path) -> File:
    file = made(tmp_path, request.param)
    with file.connect() as connection:
        connection.executescript(USERS)
    return file


@pytest.fixture
def schema(users: File) -> Iterator[Schema]:
    with users.opened() as server:
        yield Schema(server)


def rows(file: File, query: str) -> list[Any]:
    with file.connect() as connection:
        return connection.execute(query).fetchall()


def test_the_article_s_example_goes_there_and_contracts(users: File, schema: Schema) -> None:
    """Expand: ADD COLUMN and a whole-table UPDATE; contract: the DROPs; both versions work in between."""
    mode = rows(users, "PRAGMA journal_mode")
    assert schema.expand([migration()], "shop", 2, SHIPS) == ["0007_full_name"]
    assert rows(users, "SELECT count(*) FROM users WHERE full_name = first_name || ' ' || last_name") == [(2500,)]
    rows(users, "INSERT INTO users (first_name, last_name) VALUES ('Ada', 'Lovelace')")
    rows(users, "INSERT INTO users (full_name) VALUES ('Alan Turing')")
    assert rows(users, "SELECT first_name, last_name, full_name FROM users WHERE id > 2500") == [
        ("Ada", "Lovelace", "Ada Lovelace"),
        ("Alan", "Turing", "Alan Turing"),
    ]
    pair = "0007_full_name, users (first_name+last_name <-> full_name)"
    assert schema.written(["0007_full_name"]) == {pair: {"written": 1, "conflicts": 0, "unreadable": 0, "lost": 0}}
    (found,) = schema.pending(NOBODY)
    assert (found.migration, found.obstacles) == ("0007_full_name", ())
    schema.contract("0007_full_name")
    assert list(schema.server.columns("users")) == ["id", "full_name"]
    assert (schema.pending(NOBODY), schema.contracted()) == ([], ["0007_full_name"])
    assert rows(users, "SELECT name FROM sqlite_master WHERE type = 'trigger' UNION ALL SELECT name FROM bleen_sync") == []
    assert rows(users, "PRAGMA journal_mode") == mode


@pytest.mark.parametrize(
    ("expand", "there"),
    {
        "CREATE INDEX by_id ON users (id);": "by_id",
        "CREATE TABLE users (id int);": "users",
        "ALTER TABLE users ADD COLUMN last_name text;": "last_name of users",
        "CREATE INDEX IF NOT EXISTS by_id ON users (id);": "",
        "DROP INDEX by_id; CREATE INDEX by_id ON users (id);": "",
        'ALTER TABLE "order items" ADD COLUMN Id int;': "id of order items",
        'ALTER TABLE "order items" ADD COLUMN more int;': "",
    }.items(),
)
def test_a_name_that_something_has_already_is_known_before_expand(schema: Schema, expand: str, there: str) -> None:
    schema.server.rows("CREATE INDEX by_id ON users (first_name)")
    schema.server.rows('CREATE TABLE "order items" (id int)')
    said = Foresight(schema).foreseen(parse("0008_again", {"expand.sql": expand}, "x"))
    assert [each.partition(": ")[2].partition(": ")[2].partition(" is there already")[0] for each in said] == [there] * bool(there)


AGE = "ALTER TABLE people ADD COLUMN years int;"
LESS = "ALTER TABLE people DROP COLUMN age;"
PART = "a key, UNIQUE or a CHECK goes with its table only: leave the column there, or let expand make a new table"


@pytest.mark.parametrize(
    ("there", "files", "said"),
    [
        (
            "CREATE INDEX by_age ON people (age)",
            {"contract": LESS},
            'contract.sql: line 1, ALTER TABLE people DROP COLUMN age: .*; say DROP INDEX "by_age" before it',
        ),
        ("CREATE INDEX by_age ON people (age)", {"contract": f"DROP INDEX by_age; {LESS}"}, ""),
        ("CREATE VIEW ages AS SELECT age FROM people", {"contract": LESS}, 'error in view ages .*; say DROP VIEW "ages" before it'),
        ('CREATE TRIGGER "a b" AFTER UPDATE ON people WHEN NEW.age > 9 BEGIN SELECT 1; END', {"contract": LESS}, 'say DROP TRIGGER "a b" before it'),
        ("ALTER TABLE people ADD COLUMN twice AS (2 * age)", {"contract": LESS}, "drop a generated column over it before"),
        ("ALTER TABLE people ADD COLUMN twice AS (2 * age)", {"contract": f"ALTER TABLE people DROP COLUMN twice; {LESS}"}, ""),
        ("", {"contract": "ALTER TABLE people DROP COLUMN name;"}, f'cannot drop UNIQUE column: "name"; .*{PART}'),
        ("", {"contract": "ALTER TABLE people DROP COLUMN floor;"}, f"error in table people after drop column: no such column: floor; .*{PART}"),
        ("", {"expand": "CREATE INDEX by_age ON people (age);", "contract": LESS}, 'error in index by_age .*; say DROP INDEX "by_age" before it'),
        (
            "",
            {"expand": AGE, "revert": f"{AGE} ALTER TABLE people DROP COLUMN years;"},
            "revert.sql: line 1, ALTER TABLE people ADD COLUMN years int: .*duplicate column",
        ),
        ("", {"expand": "ALTER TABLE poeple ADD COLUMN years int;"}, "expand.sql: .*no such table: poeple; mend it, or take it out"),
        ("CREATE VIRTUAL TABLE words USING fts5 (word)", {"expand": AGE, "contract": LESS}, ""),
        ("", {"expand": "INSERT INTO people (name) SELECT name FROM people WHERE id = 1;", "contract": LESS}, ""),
    ],
)
def test_what_sqlite_will_refuse_for_the_shape_of_a_table_is_known_before_expand(schema: Schema, there: str, files: dict[str, str], said: str) -> None:
    """It is asked for on an empty copy; a contract that cannot be done would be found only once there is no way back to before the expand."""
    schema.server.rows("CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL UNIQUE, age int, floor int, CHECK (floor > id))")
    schema.server.rows(there or "SELECT 1")
    found = Foresight(schema).foreseen(migration("0008_less", **files))
    assert len(found) == bool(said)
    assert re.search(said, "".join(found))


def test_a_release_asks_no_more_of_the_database_with_each_migration_that_is_behind_it(users: File, schema: Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contracted migrations are never taken out of the ledger: a line of them is read at once, and not each by itself."""
    asked, rows, counts = list[str](), SQLite.rows, list[int]()

    def counted(server: SQLite, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        asked.append(sql)
        return rows(server, sql, values)

    monkeypatch.setattr(SQLite, "rows", counted)
    for last in (3, 20):
        with schema.server.alone():
            schema.ledger.make()
            for number in range(1 if last == 3 else 4, last + 1):
                done = parse(f"{number:04}_done", {"expand.sql": "SELECT 1;", "contract.sql": "SELECT 1;"}, "")
                schema.ledger.begin(done, "shop", 1)
                schema.ledger.note([schema.ledger.reached(done.name, State.CONTRACTED)])
        behind = [entry.migration for entry in schema.ledger.entries() if entry.state is State.CONTRACTED]
        new, ships = parse(f"{last + 50:04}_new", {"expand.sql": f"CREATE TABLE new_{last} (id integer PRIMARY KEY);"}, ""), {each.name for each in behind}
        asked.clear()
        allowed(schema, "1.1", [*behind, new], None, "shop", {"1.0": frozenset(ships)})
        counts.append(len(asked))
        asked.clear()
        schema.expand([new], "shop", 2, {"green-2": frozenset({*ships, new.name})}, {})
        counts.append(len(asked))
    assert counts[:2] == counts[2:]


def test_what_is_done_before_a_contract_is_done_before_it_on_the_copy_too(schema: Schema) -> None:
    schema.server.rows("CREATE TABLE people (id integer PRIMARY KEY, age int)")
    schema.server.rows("CREATE INDEX by_age ON people (age)")
    first, second = migration("0008_index", contract="DROP INDEX by_age;"), migration("0009_less", contract=LESS)
    foresight = Foresight(schema)
    assert foresight.foreseen(second, [first]) == []
    schema.expand([first], "shop", 2, SHIPS)
    assert foresight.foreseen(second) == []
    index = migration("0007_age", expand="CREATE INDEX more ON people (age);")
    assert "error in index more" in "; ".join(foresight.foreseen(second, [index]))


KINDS = "CREATE TABLE kinds (id integer PRIMARY KEY, code text); CREATE UNIQUE INDEX by_code ON kinds (code); "
OF_KIND = KINDS + "CREATE TABLE things (id integer PRIMARY KEY, kind integer REFERENCES kinds);"
LEFT_OVER = {
    "a table that another refers to": (
        OF_KIND,
        "DROP TABLE kinds;",
        "an INSERT into things, an UPDATE of things, a DELETE from things fail (no such table: main.kinds, where foreign_keys are on)",
    ),
    "which goes too": (OF_KIND, "DROP TABLE kinds; DROP TABLE things;", ""),
    "which is made anew": (OF_KIND, "DROP TABLE kinds; CREATE TABLE kinds (id integer PRIMARY KEY);", ""),
    "an index that a key needs": (
        KINDS + "CREATE TABLE o (c REFERENCES kinds (code))",
        "DROP INDEX by_code;",
        "a DELETE from kinds, an INSERT into o, an UPDATE of o, a DELETE from o fail (foreign key mismatch",
    ),
    "a trigger of another table": (
        KINDS + "CREATE TRIGGER noted AFTER INSERT ON users BEGIN INSERT INTO kinds (code) VALUES (NEW.id); END",
        "DROP TABLE kinds;",
        "after it an INSERT into users fails (no such table: main.kinds)",
    ),
    "a view": (KINDS + "CREATE VIEW codes AS SELECT code FROM kinds", "DROP TABLE kinds;", "after it a SELECT from codes fails (no such table: main.kinds)"),
    "a view that failed before": ("CREATE VIEW codes AS SELECT code FROM kinds; CREATE TABLE others (id)", "DROP TABLE others;", ""),
}


@pytest.mark.parametrize(("made", "contract", "why"), LEFT_OVER.values(), ids=LEFT_OVER)
def test_what_fails_for_what_a_contract_drops_is_told_and_keeps_its_gate_shut(users: File, schema: Schema, made: str, contract: str, why: str) -> None:
    """On SQLite while writes, or a view, would fail for it."""
    with users.connect() as connection:
        connection.executescript(made)
    wanted = migration("0008_less", contract=contract)
    told = [each for each in Foresight(schema).risks(wanted) if "drop that" in each]
    assert [why in each for each in told] == [True] * bool(why)
    schema.expand([wanted], "shop", 2, {})
    (waits,) = schema.pending(NOBODY)
    assert [why in o.why and o.unseen for o in waits.obstacles] == [True] * bool(why)


COPIES = "INSERT INTO history SELECT * FROM users WHERE id = OLD.id"
HISTORY = f"CREATE TABLE history (id, first_name, last_name); CREATE TRIGGER t AFTER UPDATE ON users BEGIN {COPIES}; END"
SPREAD = {
    "a history": (HISTORY, "an UPDATE of users fails (table history has 3 columns but 4 values were supplied)"),
    "one with a column more first": (HISTORY + "; ALTER TABLE history ADD COLUMN more text", ""),
    "rows of another table": (
        "CREATE TABLE log (a, b, c); CREATE TRIGGER t AFTER DELETE ON log BEGIN INSERT INTO users VALUES (OLD.a, OLD.b, OLD.c); END",
        "a DELETE from log fails (table users has 4 columns but 3 values were supplied)",
    ),
    "a view of two tables": ("CREATE TABLE old (a, b, c); CREATE VIEW v AS SELECT * FROM users UNION ALL SELECT * FROM old", "a SELECT from v fails"),
    "a name that means two columns": (
        "CREATE TABLE o (full_name); CREATE VIEW v AS SELECT full_name FROM users, o",
        "fails (ambiguous column name: full_name)",
    ),
    "one that failed before": ("CREATE VIEW v AS SELECT missing FROM users", ""),
}


@pytest.mark.parametrize(("made", "why"), SPREAD.values(), ids=SPREAD)
def test_a_trigger_or_a_view_that_gives_all_columns_of_a_row_and_would_fail_refuses_the_expand(users: File, schema: Schema, made: str, why: str) -> None:
    """It refuses an expand whose new column such a function would fail on, on MySQL and MariaDB a trigger, on SQLite a write or a view."""
    with users.connect() as connection:
        connection.executescript(made)
    new = "CREATE TABLE things (id integer PRIMARY KEY, kind integer REFERENCES kinds);"  # which nobody writes yet
    told = Foresight(schema).foreseen(migration(expand=FULL_NAME["expand.sql"] + new))
    assert [why in each and "name its columns before this" in each for each in told] == [True] * bool(why), told


def test_a_trigger_that_calls_a_function_of_the_application_is_only_told_of(users: File, schema: Schema) -> None:
    wanted = migration(expand="CREATE TRIGGER t AFTER UPDATE ON users BEGIN SELECT slug(NEW.id); END;")
    assert Foresight(schema).foreseen(wanted) == []
    assert "no such function: slug" in "".join(Foresight(schema).risks(wanted))


EXTENDED = """PRAGMA writable_schema = ON; INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql)
VALUES ('table', 'near', 'near', 0, 'CREATE VIRTUAL TABLE near USING vec0 (place float[3])'); PRAGMA writable_schema = OFF;
CREATE TRIGGER moved AFTER UPDATE ON users BEGIN DELETE FROM near WHERE place = OLD.id; END"""


def test_what_only_the_application_can_make_is_told_and_hides_nothing_else(users: File, schema: Schema) -> None:
    """On SQLite while a write of a table, or a view, would fail for it; the plan tells all of that before the expand, and refuses an expand."""
    with users.connect() as connection:
        connection.executescript(f"{HISTORY}; {EXTENDED}")
    foresight = Foresight(schema)
    left = "the table near (no such module: vec0), the trigger moved (speaks of near)"
    assert f"bleen cannot make {left} on its copy" in "".join(foresight.risks(migration()))
    assert foresight.risks(migration(expand="CREATE TABLE more (id integer PRIMARY KEY);")) == []
    _hides_nothing(foresight, schema, "ALTER TABLE near RENAME TO far; DROP TABLE far; DROP TRIGGER moved;")


LENT = {
    "a table with a function": ("CREATE TABLE books (id integer PRIMARY KEY, title text, short AS (slug(title)))", "ALTER TABLE books ADD COLUMN more text;"),
    "a table that checks by one": ("CREATE TABLE books (title text CHECK (title REGEXP '.'))", "ALTER TABLE books RENAME COLUMN title TO name;"),
    "an index with one": ("CREATE INDEX by_slug ON users (slug(last_name))", "DROP INDEX by_slug;"),
    "a trigger that calls two": ("CREATE TRIGGER s BEFORE UPDATE ON users BEGIN SELECT slug(NEW.id), REGEXP(NEW.id, 'x'); END", "DROP TRIGGER s;"),
    "an index of a collation": ("CREATE INDEX by_name ON users (last_name COLLATE german)", "DROP INDEX by_name; ALTER TABLE users RENAME TO people;"),
}


@pytest.mark.parametrize(("made", "touching"), LENT.values(), ids=LENT)
def test_what_the_application_gives_its_connections_hides_nothing(users: File, schema: Schema, made: str, touching: str) -> None:
    with users.connect() as connection:
        connection.create_function("slug", 1, str, deterministic=True)
        connection.create_function("regexp", 2, lambda *_: True, deterministic=True)
        connection.create_collation("german", lambda *_: 0)
        connection.executescript(f"{HISTORY}; {made}")
    assert "bleen cannot make" not in "".join(Foresight(schema).risks(migration()))
    _hides_nothing(Foresight(schema), schema, touching)


def _hides_nothing(foresight: Foresight, schema: Schema, touching: str) -> None:
    assert "table history has 3 columns but 4 values" in "".join(foresight.foreseen(migration(expand=FULL_NAME["expand.sql"])))
    assert foresight.foreseen(migration(expand=touching)) == []
    less = migration("0008_less", expand="CREATE TABLE more (id integer PRIMARY KEY);", contract="DROP TABLE history;")
    schema.expand([less], "shop", 2, {})
    assert ["an UPDATE of users fails" in o.why for o in schema.pending(NOBODY)[0].obstacles] == [True]


def test_what_bleen_s_own_connection_cannot_do_for_a_collation_of_the_application_is_refused_by_the_plan(users: File, schema: Schema) -> None:
    with users.connect() as connection:
        connection.create_collation("german", lambda *_: 0)
        connection.executescript("CREATE INDEX by_name ON users (last_name COLLATE german); CREATE TABLE people (age int, name text)")
    less = "ALTER TABLE people DROP COLUMN age;"
    (told,) = Foresight(schema).foreseen(migration("0008_less", contract=less))
    assert 'error in index by_name: no such collation sequence: german; say DROP INDEX "by_name" before it, and let the application make it anew' in told
    with pytest.raises(Refused, match="no such collation sequence: german"):
        schema.server.rows(less)


def test_what_was_done_is_not_done_again_and_changed_files_are_refused(schema: Schema) -> None:
    schema.expand([migration()], "shop", 2, SHIPS)
    assert schema.expand([migration()], "shop", 3, SHIPS) == []
    changed = parse("0007_full_name", {**FULL_NAME, "expand.sql": "ALTER TABLE users ADD COLUMN name text;"}, "")
    with pytest.raises(Refused, match=r"0007_full_name was changed after it had been applied \(expand\.sql\)"):
        schema.expand([changed], "shop", 3, SHIPS)


def test_a_statement_that_fails_leaves_what_was_done_and_a_retry_goes_on(users: File, schema: Schema) -> None:
    """A retry finds the expanded schema and goes on."""
    broken = migration(expand="ALTER TABLE users ADD COLUMN a int;\nCREATE UNIQUE INDEX one ON users (first_name);\nALTER TABLE users ADD COLUMN b int;")
    rows(users, "UPDATE users SET first_name = 'F1' WHERE id = 2")
    with pytest.raises(Refused, match=r"^0007_full_name/expand\.sql: line 2, CREATE UNIQUE INDEX one .*: UNIQUE constraint failed: users.first_name"):
        schema.expand([broken], "shop", 2, {})
    assert list(schema.server.columns("users"))[-1] == "a"
    entry = schema.ledger.entry("0007_full_name")
    assert entry is not None
    assert entry.state is State.EXPANDING
    rows(users, "UPDATE users SET first_name = 'F2' WHERE id = 2")
    assert schema.expand([broken], "shop", 2, {}) == ["0007_full_name"]
    assert list(schema.server.columns("users"))[-2:] == ["a", "b"]


def test_revert_takes_the_new_shape_away_and_forgets_the_migration(users: File, schema: Schema) -> None:
    before = schema.server.columns("users")
    schema.expand([migration()], "shop", 2, SHIPS)
    rows(users, "INSERT INTO users (full_name) VALUES ('Cher')")
    assert schema.losses("0007_full_name") == {"users (first_name+last_name <-> full_name)": 1}
    schema.revert("0007_full_name")
    assert schema.server.columns("users") == before
    assert schema.ledger.entries() == []
    assert schema.expand([migration()], "shop", 3, SHIPS) == ["0007_full_name"]


def test_a_pair_whose_table_is_one_of_before_by_now_is_reverted(schema: Schema, users: File) -> None:
    schema.expand([migration()], "shop", 2, SHIPS)
    with users.connect() as connection:
        connection.executescript(f"DROP TABLE users; {USERS}")
    with pytest.raises(Refused, match=r"users has no column full_name any more, .*`bleen migrate revert 0007_full_name`"):
        schema.expand([migration()], "shop", 3, {"blue-3": SHIPS["green-2"]})
    schema.revert("0007_full_name")
    assert schema.ledger.entries() == []


@pytest.mark.parametrize("way", ["revert", "contract"])
def test_a_migration_whose_table_somebody_has_dropped_is_led_out_of_and_is_in_no_other_s_way(schema: Schema, users: File, way: str) -> None:
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
    assert rows(users, "SELECT name FROM bleen_sync") == []


def test_a_contract_that_sqlite_refuses_leaves_the_sync_in_place(users: File, schema: Schema) -> None:
    """DROP COLUMN is refused for what an index names (SQLite, "ALTER TABLE", section 5); the triggers go in the same transaction, or stay."""
    rows(users, "CREATE INDEX by_name ON users (last_name)")
    schema.expand([migration()], "shop", 2, SHIPS)
    with pytest.raises(Refused, match="error in index by_name after drop column: no such column: last_name"):
        schema.contract("0007_full_name")
    rows(users, "INSERT INTO users (full_name) VALUES ('Alan Turing')")
    assert rows(users, "SELECT first_name FROM users WHERE id = 2501") == [("Alan",)]
    rows(users, "DROP INDEX by_name")
    schema.contract("0007_full_name")
    assert list(schema.server.columns("users")) == ["id", "full_name"]


REBUILD = """
CREATE TABLE anew (id integer PRIMARY KEY, first_name text NOT NULL DEFAULT '', last_name text NOT NULL DEFAULT '', full_name text);
INSERT INTO anew SELECT id, first_name, last_name, full_name FROM users;
DROP TABLE users;
ALTER TABLE anew RENAME TO users;
UPDATE users SET first_name = 'Ada' WHERE id = 1;
"""
REBUILDING = "import os, sqlite3, sys; sqlite3.connect(os.environ['DATABASE_URL'][10:]).executescript(sys.argv[1]); sys.exit(int(sys.argv[2]))"


@pytest.mark.parametrize("by", ["a command", "a command that then fails", "contract.sql", "somebody else"])
def test_triggers_that_go_with_a_table_that_is_rebuilt_are_made_again_and_rows_written_meanwhile_are_told(users: File, by: str) -> None:
    """Alembic's ``batch_alter_table``, say, in the contract of an earlier migration."""
    told: list[str] = []
    command = json.dumps([sys.executable, "-c", REBUILDING, REBUILD, str(int("fails" in by))])
    files = {"migration.toml": f"[command]\ncontract = {command}\n"} if "command" in by else {"contract.sql": REBUILD if by == "contract.sql" else "SELECT 1;"}
    first = parse("0006_less", files, "")
    home = Home("1", str(users.path.parent), {**os.environ, "DATABASE_URL": f"sqlite:///{users.path}"}, "", ())
    with users.opened() as server:
        schema = Schema(server, told.append)
        schema.expand([first, migration()], "shop", 2, SHIPS, home=home)
        triggers = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
        before = rows(users, triggers)
        if by == "somebody else":
            with users.connect() as connection:
                connection.executescript(REBUILD)
        with pytest.raises(Refused, match="ended with 1") if "fails" in by else nullcontext():
            schema.contract("0006_less", home=home)
        assert rows(users, triggers) == before
        (said,) = [each for each in told if "rebuilt" in each]
        missed = "; 1 rows written meanwhile are out of step: `bleen migrate backfill 0007_full_name` fills or shows them"
        assert said.endswith("are there again" + missed * (by != "contract.sql")), "its UPDATE comes behind them"
        rows(users, "UPDATE users SET first_name = 'Alan' WHERE id = 2")
        assert rows(users, "SELECT full_name FROM users WHERE id = 2") == [("Alan L2",)]


def test_triggers_that_an_earlier_bleen_made_otherwise_are_made_anew_by_the_next_expand_and_not_again(users: File, schema: Schema) -> None:
    schema.expand([migration()], "shop", 2, SHIPS)
    texts = "SELECT name, sql, rowid FROM sqlite_master WHERE type = 'trigger' ORDER BY 1"
    made = schema.server.rows(texts)
    schema.expand([migration()], "shop", 3, SHIPS)
    assert schema.server.rows(texts) == made
    name, text, _ = made[1]
    with users.connect() as client:
        client.executescript(f'DROP TRIGGER "{name}"; {text.replace("cannot both hold", "do not hold")}')
        schema.expand([migration()], "shop", 4, SHIPS)
        assert [each[:2] for each in client.execute(texts)] == [each[:2] for each in made]


def test_a_pair_of_a_table_that_a_pending_contract_rebuilds_is_refused_by_the_plan(schema: Schema) -> None:
    said = "is of what contract.sql of 0006_less takes away (line 4, DROP TABLE users): say it in a release after the contract of 0006_less"
    assert said in "; ".join(Foresight(schema).foreseen(migration(), [migration("0006_less", contract=REBUILD)]))


def test_a_pair_whose_old_columns_somebody_has_dropped_is_led_out_of_by_its_contract(users: File, schema: Schema) -> None:
    """Errors say what to do next, and that leads out."""
    schema.expand([migration()], "shop", 2, SHIPS)
    for (name,) in rows(users, "SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        rows(users, f'DROP TRIGGER "{name}"')
    for name in ("first_name", "last_name"):
        rows(users, f"ALTER TABLE users DROP COLUMN {name}")
    assert schema.expand([migration()], "shop", 3, {"blue-3": SHIPS["green-2"]}) == []
    (found,) = schema.pending(NOBODY)
    assert [(each.opened("gone"), each.opened("first_name, last_name: gone")) for each in found.obstacles] == [(False, True)] * 2
    schema.contract("0007_full_name", "first_name, last_name: gone")
    assert (schema.pending(NOBODY), schema.contracted()) == ([], ["0007_full_name"])


def test_a_contract_that_drops_what_is_not_there_is_done_only_by_a_reason_that_names_it(users: File, schema: Schema) -> None:
    """It may be misspelt as well as dropped by hand."""
    wanted = migration("0008_less", contract="DROP TABLE logs;\nALTER TABLE users DROP COLUMN last_nam;")
    assert len([each for each in Foresight(schema).risks(wanted) if "is there, so that the contract will stop" in each]) == 2
    schema.expand([wanted], "shop", 2, SHIPS)
    for because in ("", "last_nam: gone"):
        with pytest.raises(Refused, match=r"if somebody has dropped that, and it is not misspelt, .* names logs$"):
            schema.contract("0008_less", because)
        assert schema.ledger.entries()[0].state == State.EXPANDED
    schema.contract("0008_less", "logs, last_nam: gone")


def test_the_age_of_a_pending_contract_is_that_of_its_expand_whatever_was_tried_since(schema: Schema) -> None:
    schema.expand([migration(expand="CREATE TABLE pets (id int);", contract="DROP TABLE IF EXISTS cats;\nALTER TABLE dogs ADD a int;")], "shop", 2, SHIPS)
    since = schema.ledger.entries()[0].at
    with pytest.raises(Refused, match="no such table: dogs"):
        schema.contract("0007_full_name")
    (found,) = schema.ledger.entries()
    assert (found.state, found.at) == (State.CONTRACTING, since)


def test_a_contract_whose_drops_of_a_pair_stand_apart_takes_away_at_once_what_stands_between_them(schema: Schema) -> None:
    apart = "ALTER TABLE users DROP COLUMN first_name;\nDROP TABLE IF EXISTS pets;\nALTER TABLE users DROP COLUMN last_name;"
    made = parse("0007_full_name", {**FULL_NAME, "contract.sql": apart}, "x")
    assert Foresight(schema).foreseen(made) == []
    schema.expand([made], "shop", 2, SHIPS)
    schema.contract("0007_full_name")
    assert {"first_name", "last_name"}.isdisjoint(schema.server.columns("users"))


@pytest.mark.parametrize("second", ["0007_full_name", "0008_shout"])
def test_a_column_of_two_pairs_is_refused_before_anything_is_touched(schema: Schema, second: str) -> None:
    first = migration()
    chained = Pair("users", ("full_name",), ("shout",), {"shout": "full_name"}, {"full_name": "shout"}, "new")
    expand = "ALTER TABLE users ADD COLUMN shout text;"
    if second == first.name:
        new = [parse(first.name, {**FULL_NAME, "expand.sql": FULL_NAME["expand.sql"] + expand}, "x")._replace(pairs=(*first.pairs, chained))]
    else:
        new = [first, migration(second, expand=expand)._replace(pairs=(chained,))]
    with pytest.raises(UserError) as refused:
        allowed(schema, "2", new)
    said = f"{second}: users (full_name <-> shout) cannot be kept in step: full_name is in users (first_name+last_name <-> full_name) of 0007_full_name already"
    assert said in str(refused.value)
    assert schema.ledger.entries() == []


def test_a_pair_over_a_column_that_the_table_has_not_is_foreseen_before_anything_is_touched(schema: Schema) -> None:
    wrong = {name: text.replace("first_name", "given_name") for name, text in FULL_NAME.items()}
    wrong["expand.sql"] += " -- whole is of given_name, too"
    (said,) = Foresight(schema).foreseen(parse("0007_full_name", {**wrong, "backfill.sql": "UPDATE users SET last_name = 'x' WHERE last_name = 'y';"}, "x"))
    assert "users has no column given_name, and expand.sql adds none; it has id, first_name, last_name" in said
    wrong = {name: text.replace("users", "user") if name == "migration.toml" else text for name, text in FULL_NAME.items()}
    (said,) = Foresight(schema).foreseen(parse("0007_full_name", wrong, "x"))
    assert "there is no table user, and expand.sql makes none" in said


def test_where_nobody_can_be_asked_it_is_said_first_that_nothing_was_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO())
    with pytest.raises(UserError, match=r"^nothing was changed: nobody is there to ask\. This would revert 0002_years; --yes says that it may$"):
        agreed(Namespace(yes=False), "revert 0002_years")


Bleen = Callable[..., tuple[int, str]]


@pytest.fixture
def bleen(users: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bleen:
    """`bleen migrate WORDS` of two services on one database that were never up, each of which brings a migration of the same name."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    for service in ("ann", "bob"):
        folder = Path(service, "releases/1/migrations/0001_init")
        folder.mkdir(parents=True)
        Path(service, "bleen.yaml").write_text(
            f"service: {service}\n"
            'platform: {process: {command: [./app], directory: "releases/{version}"}}\n'
            'router: {envoy: {listen: "127.0.0.1:18080", preview: "127.0.0.1:18081"}}\n'
            f'database: {{url: "{users.url}"}}\n'
        )
        (folder / "expand.sql").write_text(f"CREATE TABLE of_{service} (id int);")
        (folder / "contract.sql").write_text("DROP TABLE users;")
    return lambda service, *words: (main(["migrate", *words, "-f", f"{service}/bleen.yaml"]), "".join(capsys.readouterr()))


ASKED = {
    "contract": (("contract",), frozenset[str](), 1, "0001_init: its gate is shut\n  bob shares this database, and its blue-1 (7) does not ship"),
    "revert": (("revert", "0001_init"), frozenset({"0001_init"}), 2, "0001_init is needed: bob's blue-1 ships it"),
}


@pytest.mark.parametrize(("words", "ships", "code", "why"), ASKED.values(), ids=ASKED)
def test_the_gate_is_asked_again_after_the_person(
    schema: Schema, bleen: Bleen, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], ships: frozenset[str], code: int, why: str
) -> None:
    """ "and only when every environment that exists [...] ships that migration": a deploy may end while a person thinks about it."""

    class Person:
        def isatty(self) -> bool:
            return True

        def readline(self, *_: object) -> str:
            schema.expand([], "bob", 1, {"blue-1": ships}, {"blue-1": "7"})
            return "y\n"

    assert bleen("ann", "expand", "1")[0] == 0
    monkeypatch.setattr(sys, "stdin", Person())
    ended, said = bleen("ann", *words)
    assert (ended, why in said) == (code, True)
    assert schema.server.columns("users")
    assert schema.server.columns("of_ann")


def test_a_revert_waits_for_what_would_fail_afterwards_until_a_reason_names_it(bleen: Bleen, schema: Schema) -> None:
    """`revert` refuses while […], unless a reason that names it is given, a trigger or a view would fail without what it takes away."""
    assert bleen("ann", "expand", "1")[0] == 0
    schema.server.rows("CREATE TRIGGER noted AFTER UPDATE ON users BEGIN INSERT INTO of_ann VALUES (NEW.id); END")
    revert = ("revert", "0001_init", "--yes")
    for because in ((), ("--because", "nobody writes now")):
        code, said = bleen("ann", *revert, *because)
        assert (code, "DROP TABLE IF EXISTS of_ann: after it an UPDATE of users fails (no such table: main.of_ann); drop that" in said) == (2, True), said
        assert "--because REASON opens it all the same, if it names users" in said
    assert schema.server.columns("of_ann")
    assert bleen("ann", *revert, "--because", "users is written by nobody now") == (
        0,
        "0001_init: revert, DROP TABLE IF EXISTS of_ann\n0001_init is reverted\n",
    )


def test_a_service_is_migrated_by_its_name_where_its_bleen_yaml_is_elsewhere(bleen: Bleen, capsys: pytest.CaptureFixture[str]) -> None:
    """the service by its name, where its bleen.yaml is gone or elsewhere"""
    assert bleen("ann", "expand", "1")[0] == 0
    place = state.Place("ann")
    place.make()
    wiring.journal(place)
    place.comes_from(Path("ann/bleen.yaml"))
    assert main(["migrate", "status", "--service", "ann"]) == 0
    assert "0001_init" in capsys.readouterr().out
    assert main(["migrate", "lint", "--rules", "--service", "ann"]) == 0  # it knows whose SQL it is
    assert main(["migrate", "status", "-f", "bob/bleen.yaml", "--service", "ann"]) == 2
    way = f"which {Path('ann/bleen.yaml').absolute()} describes: name that with -f"
    assert f"bob/bleen.yaml is of the service 'bob', not of 'ann', {way}" in capsys.readouterr().err
    assert main(["migrate", "status", "--service", "bob"]) == 2
    assert "no service 'bob' under" in capsys.readouterr().err
    Path("ann/bleen.yaml").unlink()
    assert main(["migrate", "status", "--service", "ann"]) == 2
    assert "ann/bleen.yaml:1:1: cannot be read: there is no such file" in capsys.readouterr().err


def test_a_migration_of_another_service_on_this_database_is_told_as_that(bleen: Bleen) -> None:
    assert bleen("ann", "expand", "1")[0] == 0
    for words in ("plan", "expand"):
        code, said = bleen("bob", words, "1")
        assert code == 2
        assert "0001_init is already a migration of ann, which is on this database too: give this one another number or name" in said
    assert bleen("bob", "contract", "--yes") == (0, "no contract is pending of bob; 0001_init is for ann to contract\n")
    code, said = bleen("bob", "contract", "0001_init", "--yes")
    assert code == 1
    assert "it is a migration of ann, which is on this database too: contract it with the bleen.yaml of ann" in said
    code, said = bleen("bob", "revert", "0001_init", "--yes")
    assert code == 2
    assert "0001_init: it is a migration of ann, which is on this database too: revert it with the bleen.yaml of ann" in said
    assert bleen("ann", "contract", "--yes")[0] == 0


def test_what_is_there_already_is_not_rehearsed_and_on_a_bare_database_nothing_is(bleen: Bleen, schema: Schema, tmp_path: Path) -> None:
    (tmp_path / "clone.db").touch()
    (tmp_path / "ann/releases/1/migrations/0001_init/contract.sql").unlink()
    rehearse = ("rehearse", "1", "--on", f"sqlite:///{tmp_path}/clone.db")
    assert bleen("ann", "expand", "1")[0] == 0
    assert bleen("ann", *rehearse) == (0, "nothing to rehearse: the database has every migration of it\n")
    for change in ("DROP TABLE of_ann", "DROP TABLE users", "DELETE FROM bleen_migration"):
        schema.server.rows(change)
    assert bleen("ann", *rehearse) == (0, "nothing to rehearse: the database holds no table\n")


def test_a_template_that_nobody_filled_in_is_refused_with_the_file_to_fill_in(schema: Schema) -> None:
    left = parse("0008_empty", template("sqlite").files, "x")
    with pytest.raises(UserError, match=r"^0008_empty: nothing is written in it yet: fill in 0008_empty/expand\.sql"):
        allowed(schema, "2", [migration(), left])
    assert schema.ledger.entries() == []


def test_a_file_is_bare_until_there_is_a_table_in_it_that_is_not_the_ledger_s(tmp_path: Path) -> None:
    (tmp_path / "new.db").touch()
    with File(tmp_path / "new.db").opened() as server:
        assert server.bare()
        Schema(server).expand([parse("0001_none", {"expand.sql": "SELECT 1;"}, "")], "shop", 1, {})
        assert server.bare()
        server.rows("CREATE TABLE sqlitex (id integer PRIMARY KEY AUTOINCREMENT)")
        assert not server.bare()


def test_rows_out_of_step_keep_the_gate_shut(users: File, schema: Schema) -> None:
    """Shut while rows diverge (a count query)."""
    schema.expand([migration()], "shop", 2, SHIPS)
    (trigger,) = rows(users, "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%_update'")
    rows(users, f'DROP TRIGGER "{trigger[0]}"')
    rows(users, "UPDATE users SET full_name = 'nobody' WHERE id <= 3")
    rows(users, trigger[1])
    (found,) = schema.pending(NOBODY)
    assert [o.why for o in found.obstacles] == [
        "3 rows of users (first_name+last_name <-> full_name) are out of step: `bleen migrate backfill 0007_full_name` fills or shows them"
    ]


def test_who_only_looks_is_in_no_writer_s_way_nor_waits_for_one(users: File, schema: Schema) -> None:
    schema.expand([migration()], "shop", 2, SHIPS)
    with users.connect() as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert [each.migration for each in schema.pending(NOBODY)] == ["0007_full_name"]
        assert (list(schema.losses("0007_full_name").values()), len(schema.written(["0007_full_name"]))) == ([0], 1)


def test_two_releases_never_interleave_by_whatever_path_they_come(users: File, schema: Schema) -> None:
    """One advisory lock per database, so that two releases never interleave."""
    link = users.path.with_name("link.db")
    link.symlink_to(users.path)
    with File(link).opened("bleen migrate worker") as other, other.alone(), pytest.raises(Taken, match=f"worker \\(process {os.getpid()}\\)"):
        schema.expand([migration()], "shop", 2, SHIPS)
    assert schema.ledger.entries() == []


def test_the_lock_of_a_database_belongs_to_whom_the_database_does_whoever_came_first(users: File) -> None:
    """ "The lock of a migration is a file beside the database": root may migrate once, and the owner after it."""
    if os.geteuid() == 0:
        os.chown(users.path, 65534, 65534)
    users.path.chmod(0o664)
    with users.opened() as server, server.alone():
        lock, database = (os.stat(f"{users.path}{suffix}") for suffix in ("-bleen", ""))
    assert (lock.st_uid, lock.st_gid, lock.st_mode) == (database.st_uid, database.st_gid, database.st_mode)


def test_a_lock_that_cannot_be_opened_is_refused_with_the_way_out(users: File) -> None:
    lock = users.path.with_name(f"{users.path.name}-bleen")
    lock.symlink_to("elsewhere")
    with users.opened() as server, pytest.raises(Refused, match=r"-bleen, the lock of the database, cannot be opened by uid \d+ \(.*\): .*remove the file"):
        server.alone().__enter__()
    assert not lock.with_name("elsewhere").exists()


def test_a_statement_that_no_transaction_can_hold_runs_by_itself(users: File, schema: Schema) -> None:
    assert schema.expand([migration("0009_small", expand="VACUUM;")], "shop", 2, {}) == ["0009_small"]


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("holds", flush=True)
sys.stdin.read()
"""


def holding(file: File, *statements: str, **variables: str) -> "subprocess.Popen[bytes]":
    """Another process that has the file open, and has said this in it."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(file.path), *statements], stdin=pipe, stdout=pipe, env={**os.environ, **variables})
    assert process.stdout is not None
    assert process.stdout.readline() == b"holds\n"
    return process


A = Statement("ALTER TABLE users ADD COLUMN a int", Place(3, 1), 0)


def test_a_change_waits_for_a_writer_tells_who_it_is_and_then_goes_on(users: File, schema: Schema) -> None:
    """Bounded, jittered retries that name the blocking session."""
    said: list[str] = []
    with holding(users, "BEGIN IMMEDIATE", BLEEN_APPLICATION="bleen:shop:blue") as process:

        def told(text: str) -> None:
            said.append(text)
            if process.stdin and not process.stdin.closed:
                process.stdin.close()

        schema.server.change([A], [], Locks(), told)
    assert f"; in the way: process {process.pid} (bleen:shop:blue, writes): {sys.executable} -c import sqlite3" in said[0]
    assert "a" in schema.server.columns("users")


def test_a_lock_on_a_file_of_the_same_number_on_another_device_is_a_stranger_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made(tmp_path, "delete")
    at, other = os.stat(file.path), os.getppid()

    def locks(device: int) -> list[list[str]]:
        return [f"1: POSIX ADVISORY WRITE {other} {os.major(device):02x}:{os.minor(device):02x}:{at.st_ino} 0 EOF".split()]

    for device, found in ((at.st_dev, [other]), (at.st_dev + 1, [])):
        monkeypatch.setattr(sqlite_processes, "_locks", lambda device=device: iter(locks(device)))
        assert [lock.pid for lock in sqlite_processes.in_the_way(file.path)] == found


def test_a_change_that_is_never_let_in_is_refused_with_nothing_changed(users: File, schema: Schema) -> None:
    schema.ledger.make()
    with holding(users, "BEGIN IMMEDIATE") as process:
        with pytest.raises(Refused, match=r"line 3, ALTER TABLE users ADD COLUMN a int: others were .* nothing was changed by it; tried for 0\.5 s"):
            schema.server.change([A], [], Locks(patience=0.5), lambda _: None)
        locked = f"0007_full_name: .*database is locked; in the way: process {process.pid} .*; nothing was done of it this time: try again"
        with pytest.raises(Contended, match=locked):
            schema.expand([migration()], "shop", 2, SHIPS)
        process.stdin.close() if process.stdin else None
    assert "a" not in schema.server.columns("users")


def test_a_reader_keeps_a_commit_waiting_only_where_there_is_no_wal(users: File, schema: Schema) -> None:
    """Who waits to commit keeps others from reading (SQLite, "File Locking And Concurrency", PENDING): ``locks.timeout`` at a time, and then all is undone."""
    wal = rows(users, "PRAGMA journal_mode") == [("wal",)]
    with holding(users, "BEGIN", "SELECT * FROM users LIMIT 1") as process:
        if wal:
            schema.server.change([A], [], Locks(patience=0.5), lambda _: None)
        else:
            with pytest.raises(Refused, match=rf"in the way: process {process.pid} \(no BLEEN_APPLICATION, reads\)"):
                schema.server.change([A], [], Locks(patience=0.5), lambda _: None)
            assert rows(users, "SELECT count(*) FROM users") == [(2500,)]
        process.stdin.close() if process.stdin else None
    assert ("a" in schema.server.columns("users")) == wal


def test_who_has_the_file_open_is_evidence_for_the_gate(users: File, schema: Schema) -> None:
    """The contract gate: shut while blue has a session; evidence, not proof."""
    schema.expand([migration()], "shop", 2, SHIPS)
    with holding(users, "SELECT 1 FROM users", BLEEN_APPLICATION="bleen:shop:blue") as known, holding(users, "SELECT 1 FROM users") as stranger:
        sessions = {s.id: s.application for s in schema.server.sessions()}
        assert sessions == {known.pid: "bleen:shop:blue", stranger.pid: ""}
        (found,) = schema.pending(NOBODY)
        assert sorted(o.unseen for o in found.obstacles) == [False, True]
        for each in (known, stranger):
            each.stdin.close() if each.stdin else None
    until("nobody has it open", lambda: not schema.server.sessions())
    assert [p.obstacles for p in schema.pending(NOBODY)] == [()]


@pytest.mark.parametrize(
    ("mode", "uid", "group", "bits", "seen"),
    [
        ("wal", 0, 0, 0o600, "this host"),
        ("wal, no /proc/locks", 1234, 1234, 0o644, "only root sees whether it has"),
        ("delete", 1234, 1234, 0o644, "only root sees whether it has"),
        ("delete", 1234, 1234, 0o640, ""),
        ("delete", 999, os.getegid(), 0o640, "only root sees whether it has"),
        ("delete", 999, 999, 0o644, ""),
        ("delete", 999, 999, 0o646, "only root sees whether it has"),
        ("delete", 0, 0, 0o666, ""),
    ],
    ids=[
        "a lock of root's",
        "locks that are not told",
        "a person",
        "a person who may not",
        "a daemon of our group",
        "any daemon",
        "any daemon that may write",
        "root without a lock",
    ],
)
def test_who_may_not_be_looked_into_and_may_have_the_file_open_keeps_the_gate_shut(
    monkeypatch: pytest.MonkeyPatch, mode: str, uid: int, group: int, bits: int, seen: str
) -> None:
    """ "what is unseen keeps the gate shut until a person names the reason", and what runs on every host does not"""
    with tempfile.TemporaryDirectory(prefix="bleen-open-") as place:
        os.chmod(place, 0o755)
        file = made(Path(place), mode.partition(",")[0])
        os.chmod(file.path, bits)
        if mode.endswith("no /proc/locks"):
            monkeypatch.setattr(sqlite_processes, "_LOCKS", Path(place, "none"))
        with holding(file, "SELECT * FROM sqlite_master") as stranger, file.opened() as server:
            server.rows("SELECT 1 FROM sqlite_master")
            looked, acts = sqlite_processes._files, sqlite_processes._credentials

            def files(pid: int) -> Iterator[os.stat_result]:
                if pid == stranger.pid:
                    raise PermissionError
                return looked(pid)

            monkeypatch.setattr(sqlite_processes, "_files", files)
            monkeypatch.setattr(sqlite_processes, "_credentials", lambda pid: (uid, frozenset({group})) if pid == stranger.pid else acts(pid))
            found = [session for session in server.sessions() if session.id == stranger.pid]
            assert [seen in session.client for session in found] == [True] * bool(seen)
            stranger.stdin.close() if stranger.stdin else None


@pytest.mark.parametrize("device", ["", "fe:dc"], ids=["the same device", "another device, as btrfs tells"])
def test_who_is_hidden_by_proc_is_known_by_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """hidepid=2: neither listed in /proc nor to be looked into, but its locks are."""
    file = made(tmp_path, "wal")
    with holding(file, "SELECT * FROM sqlite_master") as stranger, file.opened() as server:
        server.rows("SELECT 1 FROM sqlite_master")
        shared = os.stat(f"{file.path}-shm").st_ino
        seen = [each for each in sqlite_processes._locks() if each[5].endswith(f":{shared}")]
        told = [[*each[:5], f"{device}:{shared}" if device else each[5], *each[6:]] for each in seen]

        def files(pid: int) -> Iterator[os.stat_result]:
            raise FileNotFoundError

        monkeypatch.setattr(sqlite_processes, "_locks", lambda: iter(told))
        monkeypatch.setattr(sqlite_processes, "_pids", lambda: [os.getpid()])
        monkeypatch.setattr(sqlite_processes, "_files", files)
        monkeypatch.setattr(os.path, "exists", lambda path: not str(path).startswith("/proc/"))
        found = server.sessions()
        monkeypatch.undo()
        assert [(session.id, session.client) for session in found] == [(stranger.pid, "this host, where /proc shows it to root alone")]
        stranger.stdin.close() if stranger.stdin else None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:////nowhere/at/all.db", "there is no database at /nowhere/at/all.db"),
        ("sqlite://", "is not that of a file"),
        ("sqlite:///:memory:", "is not that of a file"),
        ("sqlite:///shop.db?mode=ro", "is not that of a file"),
    ],
)
def test_a_url_that_is_no_database_is_refused(url: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        connect(url)


def test_a_file_that_is_no_database_and_one_that_is_too_old_to_change_are_refused(users: File, monkeypatch: pytest.MonkeyPatch) -> None:
    text = users.path.with_name("text")
    text.write_text("no database, but long enough to be looked at" * 30)
    with pytest.raises(Refused, match="file is not a database"):
        connect(f"sqlite:///{text}")
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(Refused, match=r"bleen changes schemas with 3\.37 and later, which can drop a column"):
        connect(users.url)


def test_a_relative_url_is_looked_for_where_bleen_runs(users: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(users.path.parent)
    connect("sqlite:///shop.db").close()


def test_a_column_that_every_insert_has_to_give_and_that_contract_drops_is_warned_of(users: File, schema: Schema) -> None:
    rows(users, "CREATE TABLE notes (id integer PRIMARY KEY, note text NOT NULL, at int)")
    (said,) = Foresight(schema).risks(parse("0001_x", {"contract.sql": "ALTER TABLE notes DROP COLUMN note; ALTER TABLE notes DROP at;"}, "0001_x"))
    assert "drops note of notes, NOT NULL without a default" in said
    assert "rebuild the table in a release before this one" in said


@pytest.mark.parametrize(
    ("verb", "way"),
    [
        ("expand", "expanded again, it goes on from there, and `bleen migrate revert 0007_full_name` undoes what was done of it"),
        ("contract", "`bleen migrate contract 0007_full_name` goes on from there"),
        ("revert", "`bleen migrate revert 0007_full_name` goes on from there"),
    ],
)
def test_a_disk_that_is_full_breaks_off_and_what_goes_on_is_said(schema: Schema, verb: str, way: str) -> None:
    """The issue: "Any failure leaves a state from which expand resumes or reverts, and says so"."""
    grows = {"expand.sql": FULL_NAME["expand.sql"], verb + ".sql": FULL_NAME[f"{verb}.sql"] + "\nCREATE TABLE large AS SELECT zeroblob(1000000) AS all_of_it;"}
    large = parse("0007_full_name", {**FULL_NAME, **grows}, "0007_full_name")
    verbs: dict[str, Callable[[], object]] = {
        "expand": lambda: schema.expand([large], "shop", 2, SHIPS),
        "contract": lambda: schema.contract("0007_full_name"),
        "revert": lambda: schema.revert("0007_full_name"),
    }
    if verb != "expand":
        verbs["expand"]()
    ((pages,),) = schema.server.rows("PRAGMA page_count")
    schema.server.rows(f"PRAGMA max_page_count = {pages + 100}")
    with pytest.raises(
        Unavailable, match=re.escape(f"0007_full_name: the database cannot be worked with: database or disk is full, make room where it lies; {way}")
    ):
        verbs[verb]()
    with no_room(), pytest.raises(Unavailable, match=re.escape("0007_full_name: the database cannot be worked with: ") + f".*; {re.escape(way)}$"):
        verbs[verb]()  # tried again while it is full, before anything is written
    schema.server.rows("PRAGMA max_page_count = 100000")
    verbs[verb]()
    assert [entry.state for entry in schema.ledger.entries()] == {"expand": [State.EXPANDED], "contract": [State.CONTRACTED], "revert": []}[verb]


ADDS = "ALTER TABLE users ADD COLUMN tel {};"
NULLS = {
    "what may be NULL": (ADDS.format("text NOT NULL DEFAULT ''"), "phone", True),
    "what is put together of it": (ADDS.format("varchar(9, 9) DEFAULT '' NOT NULL"), "first_name || phone", True),
    "what is never NULL": (ADDS.format("text NOT NULL DEFAULT ''"), "coalesce(phone, '')", False),
    "another column": ("ALTER TABLE users ADD COLUMN n int NOT NULL DEFAULT 0;" + ADDS.format("text DEFAULT ''"), "phone", False),
    "a condition": (ADDS.format("text") + " CREATE INDEX i ON users (tel) WHERE tel IS NOT NULL;", "phone", False),
}


def test_a_migration_that_came_with_a_byte_order_mark_is_known_by_its_files_without_it(schema: Schema) -> None:
    """An earlier bleen took the mark for a part of the file."""
    marked = parse("0008_tel", {"expand.sql": "\ufeffALTER TABLE users ADD COLUMN tel text;", "contract.sql": "\ufeffDROP TABLE visits;"}, "")
    plain = parse("0008_tel", {file: text.removeprefix("\ufeff") for file, text in marked.sources.items()}, "")
    schema.expand([plain], "shop", 2, SHIPS)
    schema.server.rows("UPDATE bleen_migration SET checksum = ?, sources = ?", [marked.checksum, json.dumps(marked.sources)])
    assert schema.expand([plain], "shop", 2, SHIPS) == []
    (entry,) = schema.ledger.entries()
    assert entry.migration == plain


@pytest.mark.parametrize("what", NULLS)
def test_a_new_column_that_is_not_null_while_the_old_version_may_write_null_is_told(users: File, schema: Schema, what: str) -> None:
    expand, forward, told = NULLS[what]
    schema.server.rows("ALTER TABLE users ADD COLUMN phone text DEFAULT '0'")
    pair = "[[sync]]\ntable = 'users'\nold = ['first_name', 'phone']\nnew = ['tel']\nbackward = { first_name = 'tel', phone = 'tel' }\non_conflict = 'new'\n"
    wanted = parse("0008_tel", {"expand.sql": expand, "migration.toml": f'{pair}forward = {{ tel = "{forward}" }}\nlossy = true\n'}, "")
    said = [each for each in Foresight(schema).risks(wanted) if "tel is NOT NULL from expand on, and what forward makes of phone may be NULL" in each]
    assert len(said) == told
    schema.expand([wanted], "shop", 2, SHIPS)
    with users.connect() as old, pytest.raises(sqlite3.IntegrityError, match=r"users\.tel") if told else nullcontext():
        old.execute("UPDATE users SET phone = '1'")
        old.execute("UPDATE users SET phone = NULL")


RENAMED = ["rename_column", "table=users", "column=phone", "to=tel", "type=text", "default=''", "not_null=true"]


def test_a_column_that_is_renamed_to_one_that_is_not_null_lets_the_old_version_write_null_as_before(users: File, schema: Schema) -> None:
    schema.server.rows("ALTER TABLE users ADD COLUMN phone text")
    (made,) = migrations(from_words(RENAMED), "sqlite", "")
    renamed = parse("0008_tel", made.files, "")
    (refused,) = Foresight(schema).foreseen(renamed)
    assert "2500 rows have NULL in phone, and tel is NOT NULL from expand on, but backward makes another value of what they become" in refused
    declared = parse("0008_tel", {**made.files, "migration.toml": made.files["migration.toml"].replace("# lossy", "lossy")}, "")
    assert (Foresight(schema).foreseen(declared), Foresight(schema).risks(declared)) == ([], [])
    schema.expand([declared], "shop", 2, SHIPS)
    with users.connect() as old:
        old.execute("UPDATE users SET first_name = 'x' WHERE id = 1")
        old.execute("UPDATE users SET phone = '2' WHERE id < 4")
        old.execute("UPDATE users SET phone = NULL WHERE id = 2")
        old.execute("INSERT INTO users (id, phone) VALUES (9001, NULL)")
        kept = "SELECT id, phone, tel FROM users WHERE id IN (1, 2, 4, 9001) ORDER BY id"
        assert [*old.execute(kept)] == [(1, "2", "2"), (2, None, ""), (4, None, ""), (9001, None, "")]
    schema.backfill("0008_tel")  # which says so if rows are out of step


def test_rows_that_have_null_where_the_new_column_cannot_are_counted_by_plan_and_where_expand_finds_them_the_ways_on_are_said(schema: Schema) -> None:
    schema.server.rows("ALTER TABLE users ADD COLUMN phone text")
    (made,) = migrations(from_words(RENAMED), "sqlite", "")
    files = {name: re.sub(r"coalesce\((.*?), ''\)", r"\1", text) for name, text in made.files.items()}
    written = parse("0008_tel", files, "")
    (refused,) = Foresight(schema).foreseen(written)
    assert "2500 rows have NULL in phone, and tel is NOT NULL from expand on, but forward makes NULL of them: let tel be NULL until contract" in refused
    with pytest.raises(Refused, match=r"row 1: .*; expanded again, it goes on from there, and `bleen migrate revert 0008_tel` undoes what was done of it"):
        schema.expand([written], "shop", 2, SHIPS)


def test_a_migration_that_has_no_backfill_has_nothing_to_be_filled_which_is_no_refusal(schema: Schema) -> None:
    """A command names an end: "given twice it equals once"."""
    schema.expand([parse("0008_tel", {"expand.sql": "ALTER TABLE users ADD COLUMN tel text;"}, "")], "shop", 2, SHIPS)
    assert schema.backfill("0008_tel") is False


def test_where_no_connection_is_given_any_more_a_release_still_says_what_was_left_half_done(users: File) -> None:
    def work(schema: Schema, spec: object) -> Verdict:
        schema.server.close()
        for beside in ("-wal", "-journal"):
            Path(users.url.partition("://")[2][1:] + beside).mkdir()
        raise Unavailable("0007_full_name: no room; `bleen migrate revert 0007_full_name` undoes it")

    found = _worked(work, users.url, {"service": "shop", "patience": 0.5}, lambda _: None)
    assert re.match(r"0007_full_name: no room; `bleen migrate revert 0007_full_name` undoes it; then: .*; tried for 0\.5 s$", found.why), found
