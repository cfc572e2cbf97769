"""What cannot be kept in step on SQLite is refused, each with its reason and its way."""

import sqlite3
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlite_files import NAMES, USERS, File, installed, made

from bleen.database import sync
from bleen.database.migration import Pair
from bleen.database.statements import Place, Statement


@pytest.fixture
def file(tmp_path: Path) -> File:
    return made(tmp_path)


def refused(file: File, *tables: str, pair: Pair = NAMES) -> str:
    with file.connect() as connection:
        for each in tables:
            connection.execute(each)
    with file.opened() as server:
        return "; ".join(sync.refusals(server, pair))


REFUSED = {
    "no such table": ((), NAMES._replace(table="people"), "there is no table people"),
    "a table of another database": ((), NAMES._replace(table="temp.users"), "is not the name of a table of this database"),
    "a column that is not there": (
        (),
        NAMES._replace(new=("name",), forward={"name": "first"}, backward={"first": "name", "last": "name"}),
        "users has no column name",
    ),
    "a view": (("CREATE VIEW v AS SELECT * FROM users",), NAMES._replace(table="v"), "v is a view, whose writes are its own INSTEAD OF triggers'"),
    "a virtual table": (("CREATE VIRTUAL TABLE f USING fts5 (first, last, full_name)",), NAMES._replace(table="f"), "f is a virtual table"),
    "no word on conflicts": ((), NAMES._replace(on_conflict=None), "SQLite does not know which environment writes"),
    "an unknown function": ((), NAMES._replace(forward={"full_name": "initcap(first)"}), "forward of full_name .* no such function: initcap|unknown function"),
    "random": ((), NAMES._replace(forward={"full_name": "first || random()"}), "non-deterministic functions prohibited"),
    "the time": ((), NAMES._replace(forward={"full_name": "first || date('now')"}), "says 'now', which is something else each time"),
    "a query": ((), NAMES._replace(forward={"full_name": "(SELECT max(first) FROM users)"}), "subqueries prohibited"),
    "a column of the other side": ((), NAMES._replace(forward={"full_name": "first || note"}), "no such column: note"),
    "a quoted column, which SQLite takes for a string": ((), NAMES._replace(forward={"full_name": '"note"'}), 'names "note"; it can be made from first, last'),
    "two expressions": ((), NAMES._replace(forward={"full_name": "first) , (last"}), "is not one expression"),
    "a string without an end": ((), NAMES._replace(forward={"full_name": "'x"}), "cannot be read: this string has no end"),
    "an UPDATE of our columns by a trigger": (
        ("CREATE TRIGGER u AFTER UPDATE ON users BEGIN UPDATE users SET note = 'x', Last = upper(NEW.last) WHERE id = NEW.id; END",),
        NAMES,
        "the trigger u of users writes last, also when we have written the row",
    ),
    "an UPDATE of our columns behind a WHEN of a column that is called as what begins the body": (
        (
            "ALTER TABLE users ADD COLUMN begin",
            "CREATE TRIGGER begin UPDATE OF begin, last ON users WHEN NEW.begin IS NOT (SELECT begin FROM users)"
            " BEGIN UPDATE users SET last = 'x' WHERE id = NEW.id; END",
        ),
        NAMES,
        "the trigger begin of users writes last, also when we have written the row",
    ),
    "an INSERT into the table by its own trigger": (
        ("CREATE TRIGGER u AFTER UPDATE ON users BEGIN INSERT OR IGNORE INTO users (id) VALUES (7); END",),
        NAMES,
        "the trigger u of users inserts rows",
    ),
    "an UPDATE of our columns by way of another table": (
        (
            "CREATE TABLE log (id, last)",
            "CREATE TRIGGER u AFTER UPDATE OF last ON users BEGIN INSERT INTO log VALUES (NEW.id + 1, NEW.last); END",
            "CREATE TRIGGER l AFTER INSERT ON log BEGIN UPDATE users SET last = NEW.last WHERE id = NEW.id; END",
        ),
        NAMES,
        "the trigger l of log, which u of users fires, writes last, also when we write a row, and ours does not fire again",
    ),
    "an INSERT into the table by way of another column of it and of a view": (
        (
            "CREATE VIEW v AS SELECT * FROM users",
            "CREATE TRIGGER i INSTEAD OF UPDATE ON v BEGIN INSERT INTO users (note) VALUES (NEW.note); END",
            "CREATE TRIGGER n AFTER UPDATE OF note ON users BEGIN UPDATE v SET note = 'x'; END",
            "CREATE TRIGGER u AFTER UPDATE ON users BEGIN UPDATE users SET note = NEW.last WHERE id = NEW.id; END",
        ),
        NAMES,
        "the trigger i of v, which n of users fires, inserts rows into users",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_kept_in_step_is_refused(file: File, what: str) -> None:
    statements, pair, words = REFUSED[what]
    import re

    assert re.search(words, refused(file, USERS, *statements, pair=pair))


LATER = {  # and the columns of a pair that it puts into a foreign key
    "CREATE TABLE cards (holder REFERENCES Users (last) ON UPDATE CASCADE)": "last",
    "ALTER TABLE users ADD COLUMN team REFERENCES users (first)": "first",
    "ALTER TABLE users ADD COLUMN team REFERENCES users (id)": "",
    "CREATE TABLE cards (first REFERENCES users (note))": "",
}


@pytest.mark.parametrize("text", LATER)
def test_a_foreign_key_of_a_later_migration_hampers_the_pair(file: File, text: str) -> None:
    with file.connect() as connection:
        connection.execute(USERS)
    with file.opened() as server:
        said = server.catalogue.hampers(Statement(text, Place(1, 1), 0), NAMES)
    assert said.partition(" is then in a foreign key")[0] == LATER[text]


GUARDS = {
    "of what a row is": ("BEFORE UPDATE ON users WHEN OLD.note = 'paid'", True),
    "of every row": ("AFTER UPDATE ON users", True),
    "of a column of ours that changes": ("BEFORE UPDATE OF note, first ON users WHEN OLD.first <> NEW.first", True),
    "of another column that changes": ("BEFORE UPDATE ON users WHEN OLD.note <> NEW.note", False),
    "of what a row becomes": ("BEFORE UPDATE ON users WHEN NEW.note = 'wrong'", False),
    "that fires for other columns": ("BEFORE UPDATE OF note ON users WHEN OLD.note = 'paid'", False),
    "of what is inserted": ("BEFORE INSERT ON users WHEN NEW.note = 'wrong'", False),
    "of what is deleted": ("BEFORE DELETE ON users WHEN OLD.note = 'paid'", False),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_a_trigger_that_may_refuse_what_ours_writes_is_refused(file: File, guard: str) -> None:
    """An UPDATE of ours fills what an INSERT leaves out: the INSERTs of both versions would fail."""
    fires, refuses = GUARDS[guard]
    said = refused(file, USERS, f"CREATE TRIGGER closed {fires} BEGIN SELECT RAISE(ABORT, 'no'); END")
    assert ("the trigger closed of users may refuse an UPDATE, and ours is one" in said) == refuses, said


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("first text NOT NULL", "first is NOT NULL without a default: an INSERT of the new version, which does not name it, fails"),
        ("full_name text NOT NULL", "full_name is NOT NULL without a default: an INSERT of the old version"),
        ("full_name text GENERATED ALWAYS AS (note)", "full_name is a generated column"),
        ("first text REFERENCES users (id)", "first is in the foreign key to users"),
        ("last text PRIMARY KEY", "last is in the primary key"),
    ],
)
def test_columns_that_a_trigger_cannot_fill_are_refused(file: File, column: str, words: str) -> None:
    name = column.partition(" ")[0]
    table = USERS.replace(f"{name} text", column)
    assert words in refused(file, table.replace("id integer PRIMARY KEY", "id integer") if "PRIMARY" in column else table)


def test_a_trigger_that_writes_other_columns_or_other_tables_is_none_of_ours(file: File) -> None:
    touched = "CREATE TRIGGER u AFTER UPDATE ON users BEGIN UPDATE users SET note = NEW.last || coalesce(full_name, '') WHERE first = NEW.first; END"
    log = "CREATE TRIGGER l AFTER INSERT ON users BEGIN INSERT INTO log (last) VALUES (NEW.last); DELETE FROM log WHERE last IS NULL; END"
    back = "CREATE TRIGGER b AFTER UPDATE ON log BEGIN UPDATE users SET last = NEW.last; END"
    assert refused(file, USERS, "CREATE TABLE log (last text)", touched, log, back) == ""


def test_a_column_that_another_pair_keeps_is_refused_and_the_same_pair_is_not(file: File) -> None:
    with file.connect() as connection:
        connection.execute(USERS)
    installed(file)
    assert refused(file) == ""
    other = Pair("users", ("last",), ("note",), {"note": "last"}, {"last": "note"}, "old")
    assert "last: kept in step by ~bleen_0007_full_name_1 already" in refused(file, pair=other)


def test_rows_that_lose_something_are_refused_unless_it_is_declared(file: File) -> None:
    rows = "INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King'), (2, 'Ada B', 'King')"
    assert "1 rows lose something on the way first, last -> full_name -> first, last (such as rowid = 2)" in refused(file, USERS, rows)
    assert refused(file, pair=NAMES._replace(lossy=True)) == ""


def test_a_row_for_which_an_expression_fails_is_refused(file: File) -> None:
    pair = Pair("users", ("first",), ("full_name",), {"full_name": "json_extract(first, '$.x')"}, {"first": "json_object('x', full_name)"}, "old", True)
    assert "fails for a row of the table: malformed JSON" in refused(file, USERS, "INSERT INTO users (id, first) VALUES (1, 'no')", pair=pair)


RISKS = {
    "a CHECK that the default breaks": ("first int NOT NULL DEFAULT 0 CHECK (first > 0)", "CHECK (first > 0) of users is asked before first, last is made"),
    "one that it holds for": ("first int NOT NULL DEFAULT 1 CHECK (first > 0)", ""),
    "one that NULL holds for": ("first int CHECK (first > 0)", ""),
    "one over another column too": ("first text, CHECK (note <> 'x' OR first IS NOT NULL)", "CHECK (note <> 'x' OR first IS NOT NULL) of users is asked"),
    "one over other columns": ("first text, CHECK (note <> 'x')", ""),
    "a unique column with a default": ("first text UNIQUE DEFAULT ''", "that first is unique of users is asked before"),
    "a unique column without": ("first text UNIQUE", ""),
}


@pytest.mark.parametrize("what", RISKS)
def test_a_constraint_that_is_asked_before_our_trigger_has_filled_the_old_side_is_told(file: File, what: str) -> None:
    column, words = RISKS[what]
    with file.connect() as connection:
        connection.execute(f"CREATE TABLE users (id integer PRIMARY KEY, note text, last text, full_name text, {column})")
    with file.opened() as server:
        assert [words in each for each in sync.risks(server, NAMES)] == [True] * bool(words)


@pytest.mark.parametrize(("fires", "told"), [("AFTER UPDATE ON", True), ("AFTER UPDATE OF note ON", False)])
def test_a_trigger_that_can_see_a_row_only_after_we_have_written_it_again_is_told(file: File, fires: str, told: bool) -> None:
    with file.connect() as connection:
        connection.execute(USERS)
        connection.execute("CREATE TABLE log (id integer PRIMARY KEY)")
        connection.execute(f"CREATE TRIGGER au {fires} users BEGIN REPLACE INTO log VALUES (NEW.id); END")
        does = "INSERT INTO log VALUES (NEW.id); UPDATE users SET note = 'x' WHERE id = NEW.id;"
        connection.execute(f"CREATE TRIGGER ai AFTER INSERT ON users BEGIN {does} END")
    with file.opened() as server:
        assert ["the trigger ai of users sees a row only after we" in each for each in sync.risks(server, NAMES)] == [True] * told


EARLY = {
    "one that notes it elsewhere": ("AFTER INSERT ON users BEGIN INSERT INTO log VALUES (NEW.id, NEW.First); END", "and what it writes depends on that"),
    "one that only then writes": ("AFTER INSERT ON users WHEN NEW.last <> '' BEGIN UPDATE users SET note = 'x' WHERE id = NEW.id; END", "depends on that"),
    "a guard": ("BEFORE INSERT ON users WHEN NEW.first = '' BEGIN SELECT RAISE(ABORT, 'no'); END", "and may refuse that"),
    "a guard of another column": ("BEFORE INSERT ON users WHEN NEW.note = '' BEGIN SELECT RAISE(ABORT, 'no'); END", ""),
    "one that notes another column": ("AFTER INSERT ON users BEGIN INSERT INTO log VALUES (NEW.id, NEW.note); END", ""),
    "one for a row that goes": ("AFTER DELETE ON users BEGIN INSERT INTO log VALUES (OLD.id, OLD.first); END", ""),
    "one of another table": ("AFTER INSERT ON log BEGIN UPDATE users SET note = NEW.first; END", ""),
    "one whose rows another keeps up to date": ("AFTER INSERT ON users BEGIN INSERT INTO kept VALUES (NEW.id, NEW.first); END", ""),
}


@pytest.mark.parametrize("what", EARLY)
def test_a_trigger_that_sees_the_old_side_of_what_is_inserted_before_it_is_made_is_told(file: File, what: str) -> None:
    does, words = EARLY[what]
    with file.connect() as connection:
        connection.executescript(f"{USERS}; CREATE TABLE log (id, first); CREATE TABLE kept (id, first); CREATE TRIGGER early {does}")
        connection.execute("CREATE TRIGGER keeps AFTER UPDATE ON users BEGIN UPDATE kept SET first = NEW.first WHERE id = NEW.id; END")
    with file.opened() as server:
        said = [each for each in sync.risks(server, NAMES) if "the trigger early of users says NEW." in each]
    assert [words in each for each in said] == [True] * bool(words)


NOTES = "UPDATE {} SET at = strftime('%f', 'now') WHERE id = NEW.id"
SAME = "AFTER UPDATE ON users WHEN NEW.at IS OLD.at"
ENDS = {
    "as the time is another": (f"{SAME} BEGIN {NOTES.format('users')}; END", "touched of users ends as at changes"),
    "as the time is later": (f"BEFORE UPDATE ON users WHEN NEW.at <= OLD.at BEGIN {NOTES.format('users')}; END", "touched of users ends as at changes"),
    "as the time of what it is a part of is another": (
        "AFTER UPDATE ON users BEGIN UPDATE teams SET note = 'x'; END; CREATE TRIGGER noted "
        + f"{SAME} BEGIN {NOTES.format('users')}; END".replace("users", "teams"),
        "noted of teams ends as at changes",
    ),
    "as it counts": (f"{SAME} BEGIN UPDATE users SET at = at + 1 WHERE id = NEW.id; END", ""),
    "as it leaves alone what has the time": (f"{SAME} BEGIN {NOTES.format('users')} AND at IS NOT strftime('%f', 'now'); END", ""),
    "as it is about other columns": (f"AFTER UPDATE OF note, first ON users WHEN NEW.at IS OLD.at BEGIN {NOTES.format('users')}; END", ""),
    "as nothing else changes": (f"AFTER UPDATE ON users WHEN NEW.first IS NOT OLD.first BEGIN {NOTES.format('users')}; END", ""),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_trigger_that_would_not_end_where_triggers_are_recursive_is_told(file: File, how: str) -> None:
    """Our write is the second one of a statement, in which the time is the same."""
    does, words = ENDS[how]
    with file.connect("recursive_triggers = ON") as connection:
        connection.executescript(f"{USERS.replace('note', 'at DEFAULT 0, note')}; CREATE TABLE teams (id, at, note); INSERT INTO teams VALUES (1, 0, '')")
        connection.executescript(
            f"INSERT INTO users (id, first, last) VALUES (1, 'Ada', 'King'); CREATE TRIGGER touched {does}; UPDATE users SET first = 'Eva'"
        )
        connection.executescript("PRAGMA recursive_triggers = OFF; UPDATE users SET at = 0; UPDATE teams SET at = 0; PRAGMA recursive_triggers = ON")
        with file.opened() as server:
            assert [words in each for each in sync.risks(server, NAMES)] == [True] * bool(words)
        installed(file)
        with pytest.raises(sqlite3.OperationalError, match="recursion") if words else nullcontext():
            connection.execute("UPDATE users SET first = 'Ada'")
