"""What sync on MariaDB refuses, each with its reason and its way."""

import re

import pytest
from in_step_mysql import NAMES, USERS, change, made

from bleen.cli.database import allowed
from bleen.database import sync
from bleen.database.foresight import Foresight
from bleen.database.migration import Pair, parse
from bleen.database.schema import Schema
from bleen.errors import UserError
from mariadb import MariaBase, mariadb


def refused(base: MariaBase, pair: Pair = NAMES, *before: str) -> str:
    server = base.open()
    try:
        for statement in before:
            server.rows(statement)
        return "; ".join(sync.refusals(server, pair))
    finally:
        server.close()


def test_a_pair_that_can_be_kept_in_step_is_not_refused(maria_base: MariaBase) -> None:
    assert refused(maria_base, NAMES, USERS, "INSERT INTO users (id, first, last) VALUES (1, 'a', 'b')") == ""


TABLES = {
    "no table": ("DO 0", "there is no table users in test_"),
    "a view": ("CREATE VIEW users AS SELECT 1 AS id, 'a' AS first, 'b' AS last, 'c' AS full_name", "users is view, which has no triggers of this kind"),
    "an engine without transactions": (f"{USERS} ENGINE=MyISAM", "users is kept by MyISAM, without transactions"),
    "a column that is missing": (USERS.replace(", full_name varchar(81)", ""), "users has no column full_name; add it in expand.sql"),
    "a generated column": (USERS.replace("full_name varchar(81)", "full_name varchar(81) AS (first)"), "full_name is generated"),
    "the primary key": (USERS.replace(" PRIMARY KEY", "").replace("last varchar(40)", "last varchar(40) PRIMARY KEY"), "last is in the primary key"),
    "a partition": (
        USERS.replace("id int PRIMARY KEY, ", "id int, ") + " PARTITION BY KEY (first) PARTITIONS 2",
        "first is in what users is partitioned by (`first`): a trigger must not move a row",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_triggers_cannot_keep_in_step(maria_base: MariaBase, case: str) -> None:
    """semantics.md: "Refused with a reason, for now: pairs across tables, partition, primary and foreign keys, identity and generated columns"."""
    table, says = TABLES[case]
    assert says in refused(maria_base, NAMES, table)


def test_a_foreign_key_in_either_direction_is_refused_as_cascades_fire_no_trigger(maria_base: MariaBase) -> None:
    said = refused(
        maria_base,
        NAMES,
        "CREATE TABLE names (name varchar(40) PRIMARY KEY)",
        USERS.replace("note text", "note text, UNIQUE (last), CONSTRAINT named FOREIGN KEY (first) REFERENCES names (name) ON UPDATE CASCADE"),
        "CREATE TABLE cards (holder varchar(40), CONSTRAINT held FOREIGN KEY (holder) REFERENCES users (last) ON UPDATE CASCADE)",
    )
    assert "first is in the foreign key named of users" in said
    assert "last is in the foreign key held of cards" in said


TOML = """
table = "users"
old = ["first", "last"]
new = ["full_name"]
forward = { full_name = "concat(first, ' ', last)" }
backward = { first = "substring_index(full_name, ' ', 1)", last = "substring_index(full_name, ' ', -1)" }
on_conflict = "new"
"""
LATER = {  # and the columns of a pair that it puts into a foreign key
    "ALTER TABLE users ADD CONSTRAINT named FOREIGN KEY (note, Full_Name) REFERENCES names (a, b) ON DELETE SET NULL, LOCK=NONE;": "Full_Name",
    "ALTER TABLE users ADD KEY (id), ADD FOREIGN KEY IF NOT EXISTS named (`last`) REFERENCES other.names (id);": "last",
    "CREATE TABLE cards (id int, holder varchar(40) REFERENCES users (first) ON UPDATE CASCADE);": "first",
    "CREATE TABLE cards (holder varchar(40), CONSTRAINT held FOREIGN KEY (holder) REFERENCES {db}.users (last));": "last",
    "ALTER TABLE users DROP FOREIGN KEY gone, ADD COLUMN team int REFERENCES teams (first), ADD KEY (last);": "",
    "CREATE TABLE cards (first int, FOREIGN KEY (first) REFERENCES users (id));": "",
    "CREATE TABLE other.cards (holder varchar(40), FOREIGN KEY (holder) REFERENCES users (last));": "",
}


@pytest.mark.parametrize("text", LATER)
def test_a_foreign_key_of_a_later_migration_is_refused_by_the_plan_while_the_pair_is_in_step(maria_base: MariaBase, text: str) -> None:
    """A cascade fires no trigger."""
    sources = {"expand.sql": "SELECT 1;", "migration.toml": f"[[sync]]\n{TOML}"}
    earlier, later = parse("0001_names", sources, ""), parse("0002_key", {"expand.sql": text.replace("{db}", maria_base.name)}, "")
    server = maria_base.open()
    try:
        server.rows(USERS)
        said = Foresight(Schema(server)).foreseen(later, [earlier])
    finally:
        server.close()
    assert [f"is kept in step for 0001_names, and {LATER[text]} is then in a foreign key" in each for each in said] == [True] * bool(LATER[text]), said


def test_a_column_that_changes_by_itself_or_with_the_time_zone(maria_base: MariaBase) -> None:
    pair = Pair("t", ("a",), ("b",), {"b": "a"}, {"a": "b"}, "error")
    said = refused(maria_base, pair, "CREATE TABLE t (id int PRIMARY KEY, a datetime ON UPDATE current_timestamp, b timestamp NULL)")
    assert "a changes by itself (ON UPDATE CURRENT_TIMESTAMP)" in said
    assert "a TIMESTAMP is another text in every session's time_zone" in said


COMING = {
    "b datetime": "a TIMESTAMP is another text in every session's time_zone",
    "b timestamp NULL DEFAULT NULL ON UPDATE current_timestamp": "b changes by itself",
    "b timestamp AS (a) VIRTUAL": "b is generated",
    "b timestamp NULL": "",
}


def test_a_table_of_a_pair_that_is_a_word_of_sql_is_refused_with_its_quotes_before_the_expand(maria_base: MariaBase) -> None:
    """docs/guide/database.md: "a pair that could never be kept in step, ...: `plan` and `deploy` refuse it before anything is touched"."""
    toml = '[[sync]]\ntable = "order"\nold = ["a"]\nnew = ["b"]\nforward = { b = "a" }\nbackward = { a = "b" }\non_conflict = "new"\n'
    server = maria_base.open()
    try:
        server.rows("CREATE TABLE `order` (id int PRIMARY KEY, a int)")
        said = Foresight(Schema(server)).foreseen(parse("0001_b", {"expand.sql": "ALTER TABLE `order` ADD COLUMN b int;", "migration.toml": toml}, ""))
    finally:
        server.close()
    assert said == ["order (a <-> b) cannot be kept in step: order is a word of SQL, and no name of a table without quotes: table = '`order`'"]


@pytest.mark.parametrize(("old", "new", "why"), [("A", "b", "it names A, and the catalogue a"), ("a", "B", "it names B, and the catalogue b"), ("a", "b", "")])
def test_a_column_of_a_pair_that_is_spelt_in_another_case_is_refused_before_the_expand(maria_base: MariaBase, old: str, new: str, why: str) -> None:
    same = f'forward = {{ {new} = "{old}" }}\nbackward = {{ {old} = "{new}" }}\n'
    toml = f'[[sync]]\ntable = "t"\nold = "{old}"\nnew = "{new}"\n{same}on_conflict = "new"\n'
    server = maria_base.open()
    try:
        server.rows("CREATE TABLE t (id int PRIMARY KEY, a int)")
        said = Foresight(Schema(server)).foreseen(parse("0001_b", {"expand.sql": "ALTER TABLE t ADD COLUMN b int;", "migration.toml": toml}, ""))
    finally:
        server.close()
    assert said == ([f"t ({old} <-> {new}) cannot be kept in step: {why}: write it so"] if why else [])


@pytest.mark.parametrize("column", COMING)
def test_a_column_that_comes_by_the_expand_is_looked_at_before_it_is_there(maria_base: MariaBase, column: str) -> None:
    """docs/guide/database.md: "a pair that could never be kept in step, ...: `plan` and `deploy` refuse it before anything is touched"."""
    toml = '[[sync]]\ntable = "t"\nold = ["a"]\nnew = ["b"]\nforward = { b = "a" }\nbackward = { a = "b" }\non_conflict = "new"\n'
    wanted = parse("0001_b", {"expand.sql": f"ALTER TABLE t ADD COLUMN {column};", "migration.toml": toml}, "")
    server = maria_base.open()
    try:
        server.rows("CREATE TABLE t (id int PRIMARY KEY, a timestamp NULL)")
        said = Foresight(Schema(server)).foreseen(wanted)
    finally:
        server.close()
    assert [COMING[column] in each for each in said] == [True] * bool(COMING[column]), said


def test_columns_that_another_sync_has(maria_base: MariaBase) -> None:
    server = maria_base.open()
    change(server, USERS.replace("note text", "note text, given varchar(40)"))
    change(server, *made(server).install())
    server.close()
    second = Pair("users", ("first",), ("given",), {"given": "first"}, {"first": "given"}, "error")
    assert "first: kept in step by bleen_0007_full_name_1_insert_" in refused(maria_base, second)
    assert refused(maria_base, NAMES) == ""


def test_without_on_conflict_it_is_refused(maria_base: MariaBase) -> None:
    assert "say on_conflict" in refused(maria_base, NAMES._replace(on_conflict=None), USERS)


EXPRESSIONS = {
    "now()": "calls now(), of which bleen does not know",
    "CURRENT_TIMESTAMP": "asks for the time or the user",
    "concat(first, @x)": "has a variable of the session",
    "concat(first, uuid())": "calls uuid(), of which bleen does not know",
    "date_format('2020-01-01', '%M')": "calls date_format()",
    "(SELECT 'x')": "has a subquery",
    "first || last": "has ||, which is OR or puts strings together",
    "concat(first, note)": "names note; it can be made from first, last only",
    "concat(others.first)": "names others.first",
    "full_of(first)": "calls full_of(), which may give another value every time",
    "nobody(first)": "calls nobody(), of which",
    "first, last": "is more than one expression",
    "first) , (last": "is more than one expression",
    "concat(first, ?)": "has a parameter",
    "concat(first": "is more than one expression",
    "left(first)": "You have an error in your SQL syntax",
    "concat(first /*! , last */)": "has a comment that some servers carry out",
    "DEFAULT(first)": "has DEFAULT",
    "'x": "this string has no end",
    "max(first)": "calls max(), of which",
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_that_is_none_or_says_something_else_each_time(maria_base: MariaBase, expression: str) -> None:
    pair = NAMES._replace(forward={"full_name": expression})
    assert EXPRESSIONS[expression] in refused(maria_base, pair, USERS, "CREATE FUNCTION full_of(x text) RETURNS text RETURN x")


def test_a_function_that_is_deterministic_is_taken(maria_base: MariaBase) -> None:
    pair = NAMES._replace(forward={"full_name": "joined(first, last)"})
    function = "CREATE FUNCTION joined(a text, b text) RETURNS text DETERMINISTIC RETURN concat(a, ' ', b)"
    assert refused(maria_base, pair, USERS, function) == ""


def test_a_column_that_is_called_like_a_word_of_sql_has_to_be_quoted(maria_base: MariaBase) -> None:
    pair = Pair("t", ("day",), ("b",), {"b": "day + 1"}, {"day": "b - 1"}, "error")
    assert "write the column as `day`" in refused(maria_base, pair, "CREATE TABLE t (id int PRIMARY KEY, day int, b int)")
    assert refused(maria_base, pair._replace(forward={"b": "`day` + 1"})) == ""


def test_rows_that_lose_something_are_counted_with_an_example(maria_base: MariaBase) -> None:
    rows = "INSERT INTO users (id, first, last) VALUES (3, 'Ada B', 'King'), (4, 'a', 'b')"
    assert "1 rows lose something on the way first, last -> full_name -> first, last (such as id = 3)" in refused(maria_base, NAMES, USERS, rows)
    assert refused(maria_base, NAMES._replace(lossy=True)) == ""


def test_a_server_that_logs_wants_super_for_triggers() -> None:
    """Found before anything is touched, not by CREATE TRIGGER."""
    with mariadb("--log-bin=log", "--server-id=1") as server, server.database() as base, base.connect() as admin:
        admin.run(USERS, "CREATE USER owner", f"GRANT ALL ON {base.name}.* TO owner")
        assert refused(base) == "", "root has SUPER"
        limited = base._replace(user="owner")
        assert "SET GLOBAL log_bin_trust_function_creators = 1" in refused(limited)
        admin.run("SET GLOBAL log_bin_trust_function_creators = 1")
        assert refused(limited) == ""
        opened = limited.open()
        change(opened, *made(opened).install())
        opened.close()
        admin.run("INSERT INTO users (id, full_name) VALUES (1, 'a b')")
        assert admin.only("SELECT first FROM users") == "a"


def test_an_enum_that_the_server_gives_no_default_any_more_is_refused_until_it_has_one(maria_base: MariaBase) -> None:
    """The old version does not notice: beside any trigger for INSERT, MariaDB fails one that leaves out an ENUM which is NOT NULL without a default."""
    table, way = USERS.replace("note text", "kind enum('plain', 'odd') NOT NULL"), "ALTER `kind` SET DEFAULT 'plain'"
    with maria_base.connect() as client:
        client.run(table, "INSERT INTO users (id, first, last) VALUES (1, 'a', 'b')")
        assert "with any trigger for INSERT on users, MariaDB fails an INSERT that leaves it out" in refused(maria_base)
        assert way in refused(maria_base)
        server = maria_base.open()
        assert sync.foreseen(server, NAMES, f"ALTER TABLE users {way};") == [], "expand says it"
        client.run("CREATE TRIGGER noted BEFORE INSERT ON users FOR EACH ROW SET NEW.first = NEW.first")
        assert refused(maria_base) == "", "it fails already"
        client.run("DROP TRIGGER noted", f"ALTER TABLE users {way}")
        assert refused(maria_base) == ""
        change(server, *made(server).install())
        server.close()
        client.run("INSERT INTO users (id, first, last) VALUES (2, 'a', 'b')")
        assert client.rows("SELECT kind, full_name FROM users WHERE id = 2") == [("plain", "a b")]


ROLES = {  # what the role of the url may, beside what every such role has to, and why its triggers would fail the writes of everybody
    "all of the database": ("GRANT SELECT, INSERT, UPDATE, DELETE ON {db}.* TO few", ""),
    "no writing of the table": ("GRANT SELECT, INSERT ON {db}.* TO few", "it may not write users: GRANT SELECT, UPDATE ON `{db}`.`users` TO that role"),
    "writing of the old columns": (
        "GRANT SELECT, INSERT, UPDATE (first, last) ON {db}.users TO few",
        "it may not write users: GRANT SELECT, UPDATE ON `{db}`.`users` TO that role",
    ),
    "this table alone": (
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {db}.users TO few",
        "it may not count by the sequences that it makes: GRANT SELECT, INSERT ON `{db}`.* TO that role",
    ),
    "all by a role": (
        "GRANT ALL ON {db}.* TO many",
        "it may not write users: GRANT SELECT, UPDATE, TRIGGER ON `{db}`.`users` TO that role itself, as many gives its triggers nothing",
    ),
    "but for the triggers all by a role": (
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {db}.* TO few",
        "it may not write users: GRANT SELECT, UPDATE, TRIGGER ON `{db}`.`users` TO that role itself, as many gives its triggers nothing",
    ),
    "enough, and a role": ("GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON {db}.* TO few", ""),
}


@pytest.mark.parametrize("case", ROLES)
def test_a_role_whose_triggers_could_not_do_what_they_are_for_is_refused_before_there_is_one(maria_base: MariaBase, case: str) -> None:
    """The migrating role needs ownership and nothing more. A trigger does what its definer may, and else fails the write of whoever fires it."""
    grant, why = (text.format(db=maria_base.name) for text in ROLES[case])
    with maria_base.connect() as admin:
        admin.run(USERS, "DROP USER IF EXISTS few", "DROP ROLE IF EXISTS many", "CREATE USER few", "CREATE ROLE many")
        whose = "many" if "role" in case else "few"
        admin.run(f"GRANT CREATE, DROP, ALTER, INDEX, TRIGGER ON {maria_base.name}.* TO {whose}", grant)
        if whose == "many":
            admin.run("GRANT many TO few", "SET DEFAULT ROLE many FOR few")
    said = refused(maria_base._replace(user="few"))
    assert why in said
    assert bool(why) == bool(said)


SYNC = """
[[sync]]
table = "{table}"
old = ["first"]
new = ["full_name"]
forward = {{ full_name = "{forward}" }}
backward = {{ first = "full_name" }}
on_conflict = "new"
"""
UNREADABLE = {
    "an expression of a backfill": ("[backfill]\ntable = 'users'\nset = { note = \"'x\" }", "backfill of users: note = 'x: this string has no end"),
    "its condition": ('[backfill]\ntable = \'users\'\nset = { note = "1" }\nwhere = "note = \'x"', "WHERE note = 'x: this string has no end"),
    "its table": ("[backfill]\ntable = 'us ers'\nset = { note = \"1\" }", "'us ers' is no name of a table; it is like users, or test_"),
    "a table with too many parts": ("[backfill]\ntable = 'a.b.users'\nset = { note = \"1\" }", "'a.b.users' is no name of a table"),
    "a table in quotes without an end": ("[backfill]\ntable = '`users'\nset = { note = \"1\" }", "this quoted name has no end"),
    "the table of a pair": (SYNC.format(table="us ers", forward="first"), "'us ers' is no name of a table"),
    "an expression of a pair": (SYNC.format(table="users", forward="concat(first, 'x)"), "forward of full_name is no expression"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_in_migration_toml_is_told_before_anything_is_touched(maria_base: MariaBase, case: str) -> None:
    """ "No traceback reaches a person." """
    toml, says = UNREADABLE[case]
    sources = {"expand.sql": "ALTER TABLE users ADD COLUMN more text, ALGORITHM=INSTANT;", "migration.toml": toml}
    server = maria_base.open()
    try:
        server.rows(USERS)
        with pytest.raises(UserError, match=re.escape(says)):
            allowed(Schema(server), "1", [parse("0001_more", sources, "0001_more")])
    finally:
        server.close()


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("SET NEW.note = lower(New.`first`)", True),
        ('SET NEW.note = NEW . "first"', True),
        ("SET NEW.note = lower(NEW.first_name)", False),
        ("SET @a = 1", False),
    ],
)
def test_a_trigger_that_reads_the_old_side_before_ours_has_made_it_is_told(maria_base: MariaBase, does: str, told: bool) -> None:
    with maria_base.connect() as client:
        client.run(
            USERS.replace("note text", "note text, first_name text"),
            "SET sql_mode = 'ANSI_QUOTES'",
            f"CREATE TRIGGER noted BEFORE INSERT ON users FOR EACH ROW {does}",
        )
    server = maria_base.open()
    try:
        said = sync.risks(server, NAMES)
    finally:
        server.close()
    assert ["the trigger noted, BEFORE INSERT, says NEW.first, and fires before ours" in each for each in said] == [True] * told


NARROW = {  # what full_name is, in the table or once it is added, what forward makes of first and last, of 40 characters each, and what is told
    "one that fits": ("varchar(81)", "concat(first, ' ', last)", ""),
    "one that does not": ("varchar(80)", "concat(first, ' ', last)", "takes 80 characters, and what forward makes may have 81"),
    "what is put together with something between": ("char(80)", "CONCAT_WS(' ', trim(`first`), users.last)", "may have 81: a write of the old version fails"),
    "a longer text": ("varchar(80)", "note", "may have 65535: a write of the old version fails whose value does not fit; let it be text"),
    "longer texts": ("text", "concat(note, note)", "takes 65535 characters, and what forward makes may have 131070"),
    "the longest text that there is": ("longtext", "concat(body, ' ', body)", ""),
    "a national text": ("national varchar(80)", "concat(first, ' ', last)", "takes 80 characters, and what forward makes may have 81"),
    "what is cut": ("varchar(5)", "left(first, 5)", ""),
    "a number": ("int", "first", ""),
}


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("what", NARROW)
def test_a_new_column_that_is_too_short_for_what_the_old_version_may_write_is_told(maria_base: MariaBase, what: str, there: bool) -> None:
    type, forward, words = NARROW[what]
    pair = NAMES._replace(old=("first", "last", "note", "body"), forward={"full_name": forward})
    add = f"ALTER TABLE users ADD COLUMN age int, ADD COLUMN full_name {type} DEFAULT NULL AFTER last, ALGORITHM=INPLACE"
    server = maria_base.open()
    try:
        server.rows(USERS.replace(", full_name varchar(81)", ", body longtext"))
        if there:
            server.rows(add)
        assert [words in each for each in sync.risks(server, pair, "" if there else f"{add};")] == [True] * bool(words)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("type", "told"),
    [
        ("BIGINT", True),
        ("int unsigned", True),
        ("decimal(12, 2)", True),
        ("varchar(20)", True),
        ("int(10)", False),
        ("mediumint", False),
        ("enum('a')", False),
    ],
)
def test_a_new_type_that_holds_what_the_old_one_does_not_is_told_once(maria_base: MariaBase, type: str, told: bool) -> None:
    server = maria_base.open()
    try:
        server.rows("CREATE TABLE t (id int PRIMARY KEY, Amount int)")
        pair = Pair("t", ("amount",), ("total",), {"total": "amount"}, {"amount": "CAST(total AS SIGNED)"}, "new")
        add = f"ALTER TABLE t ADD COLUMN total {type};"
        said = sync.risks(server, pair, add)
        assert ["cannot hold all that total" in each and "of the new version that does not fit fails" in each for each in said] == [True] * told
    finally:
        server.close()
