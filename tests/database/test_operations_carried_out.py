"""What operations and imports write, carried out on real servers: there and back, and on to the end."""

import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bleen.cli import main
from bleen.cli.database import allowed
from bleen.database import importing
from bleen.database.foresight import Foresight
from bleen.database.migration import PHASES, Migration, parse, read
from bleen.database.operations import from_words, migrations
from bleen.database.reverting import MARK
from bleen.database.rules import lint
from bleen.database.schema import Schema
from bleen.database.statements import DIALECTS, Dialect, split
from bleen.errors import Refused, UserError
from databases import Base
from mariadb import MariaDB, connect
from operation_cases import CASES, MYSQL_TABLES, SQLITE_TABLES, TABLES, Case

NAME = "0001_change"
SHIPS = {"blue-1": frozenset[str](), "green-2": frozenset({NAME})}


@pytest.fixture
def people(base: Base) -> Base:
    with base.connect() as db:
        db.execute(TABLES)
    return base


def dumped(base: Base) -> list[str]:
    """The schema, without what is bleen's."""
    program = "/usr/lib/postgresql/15/bin/pg_dump"
    lines = subprocess.run([program, "--schema-only", "--exclude-table=bleen_*", base.url], check=True, capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if not line.startswith("\\")]  # \restrict has a key of its own every time


def asked(base: Base, query: str) -> object:
    with base.connect() as db:
        row = db.execute(query).fetchone()
    assert row is not None
    return row[0]


def migration(case: Case) -> Migration:
    (made,) = migrations(from_words(case.words), "postgres", "")
    return parse(NAME, made.files, NAME)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_operation_goes_there_and_back_and_there_again_and_on_to_its_end(people: Base, case: Case) -> None:
    """Always make migrations reversible until the contract phase."""
    before = dumped(people)
    schema, made = Schema(people.open()), migration(case)
    schema.expand([made], "shop", 1, SHIPS)
    assert asked(people, case.expanded) is True
    schema.revert(NAME)
    assert dumped(people) == before
    schema.expand([made], "shop", 2, SHIPS)
    assert asked(people, case.expanded) is True
    schema.contract(NAME)
    assert asked(people, case.contracted or case.expanded) is True
    schema.server.close()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_derived_undoes_the_same_as_the_revert_sql_that_was_written(people: Base, case: Case) -> None:
    before = dumped(people)
    made = migration(case)
    schema = Schema(people.open())
    schema.expand([parse(NAME, {file: text for file, text in made.sources.items() if file != "revert.sql"}, NAME)], "shop", 1, SHIPS)
    schema.revert(NAME)
    assert dumped(people) == before
    schema.server.close()


def test_an_expand_that_stopped_half_way_is_reverted_by_what_is_derived(people: Base) -> None:
    before = dumped(people)
    expand = "ALTER TABLE people ADD COLUMN a int;\nCREATE INDEX CONCURRENTLY people_a ON people (a);\nALTER TABLE nobody ADD COLUMN b int;\n"
    schema = Schema(people.open())
    with pytest.raises(Refused, match="nobody"):
        schema.expand([parse(NAME, {"expand.sql": expand}, NAME)], "shop", 1, SHIPS)
    with people.connect() as db:
        db.execute("CREATE TABLE nobody (id int)")
        schema.revert(NAME)
        db.execute("DROP TABLE nobody")
    assert dumped(people) == before
    schema.server.close()


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, f"{NAME}/expand.sql:1: how it was before ALTER TABLE people ALTER COLUMN address DROP NOT NULL is not in the text"),
        ({"revert.sql": f"{MARK} the new version leaves it out\n"}, f"{NAME} cannot be reverted: the new version leaves it out"),
    ],
)
def test_an_expand_without_a_way_back_is_not_reverted(people: Base, files: dict[str, str], why: str) -> None:
    schema = Schema(people.open())
    made = parse(NAME, {"expand.sql": "ALTER TABLE people ALTER COLUMN address DROP NOT NULL;\n", **files}, NAME)
    schema.expand([made], "shop", 1, SHIPS)
    with pytest.raises(Refused) as refused:
        schema.revert(NAME)
    assert str(refused.value).startswith(why)
    assert Foresight(schema).plan(made).revert == (["cannot be: the new version leaves it out"] if files else [])
    schema.server.close()


def test_a_version_whose_expand_has_no_way_back_is_refused_before_anything_is_touched(people: Base) -> None:
    schema = Schema(people.open())
    files = {"expand.sql": "ALTER TABLE people ADD COLUMN note text;\nALTER TABLE people ALTER COLUMN address DROP NOT NULL;\n"}
    with pytest.raises(UserError, match=rf"{NAME}/expand.sql:2:1: \[irreversible\] how it was before"):
        allowed(schema, "1.1", [parse(NAME, files, NAME)])
    allowed(schema, "1.1", [parse(NAME, {**files, "revert.sql": f"{MARK} nobody leaves it out\n"}, NAME)])
    again = (
        "ADD CONSTRAINT there CHECK (address IS NOT NULL) NOT VALID",
        "VALIDATE CONSTRAINT there",
        "ALTER COLUMN address SET NOT NULL",
        "DROP CONSTRAINT there",
    )
    allowed(schema, "1.1", [parse(NAME, {**files, "revert.sql": "".join(f"ALTER TABLE people {each};\n" for each in again)}, NAME)])
    schema.server.close()


def test_the_article_s_example_is_imported_completed_and_carried_out(people: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`import` splits such a file by phase (DDL to expand, the UPDATE to a batched backfill, the DROPs to contract), and derives revert.sql."""
    monkeypatch.chdir(tmp_path)
    Path("expand.sql").write_text(
        "-- Add new column, keep old one\nALTER TABLE people ADD COLUMN full_name VARCHAR(255);\n"
        "-- Backfill new column\nUPDATE people SET full_name = first_name || ' ' || last_name;\n"
    )
    Path("contract.sql").write_text(
        "-- Now safe to remove old columns\nALTER TABLE people DROP COLUMN first_name;\nALTER TABLE people DROP COLUMN last_name;\n"
    )
    assert main(["migrate", "import", "--name", "change", "expand.sql", "contract.sql"]) == 0
    toml = Path("migrations", NAME, "migration.toml")
    backward = """{ first_name = "split_part(full_name, ' ', 1)", last_name = "split_part(full_name, ' ', 2)" }"""
    toml.write_text(toml.read_text().replace('{ first_name = "", last_name = "" }', backward))
    made, before = read(toml.parent), dumped(people)
    schema = Schema(people.open())
    schema.expand([made], "shop", 1, SHIPS)
    with people.connect() as db:
        db.execute("INSERT INTO people (first_name, last_name, address) VALUES ('Ada', 'Byron', '')")
        db.execute("INSERT INTO people (full_name, address) VALUES ('Alan Turing', '')")
    assert asked(people, "SELECT bool_and(full_name = first_name || ' ' || last_name) FROM people") is True
    assert asked(people, "SELECT last_name FROM people WHERE full_name = 'Alan Turing'") == "Turing"
    schema.revert(NAME)
    assert dumped(people) == before
    schema.expand([made], "shop", 2, SHIPS)
    schema.contract(NAME)
    assert asked(people, "SELECT count(*) FROM people WHERE full_name IN ('Ada Byron', 'Alan Turing', 'F50 L50')") == 3
    schema.server.close()


def there_and_back_and_on(case: Case, dialect: Dialect, run: Callable[[str], object], schema: Callable[[], object]) -> None:
    """Statement by statement, without sync."""
    (made,) = migrations(from_words(case.words), dialect, "")
    before = schema()
    for part in ("expand", "revert"):
        for statement in split(made.files.get(f"{part}.sql", ""), dialect):
            run(statement.text)
    assert schema() == before
    for part in ("expand", "backfill", "contract"):
        for statement in split(made.files.get(f"{part}.sql", ""), dialect):
            run(statement.text)
    assert schema() != before


@pytest.mark.parametrize("case", [c for c in CASES.values() if "sqlite" in c.needs], ids=[n for n, c in CASES.items() if "sqlite" in c.needs])
def test_an_operation_s_statements_go_there_and_back_on_sqlite(case: Case) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(SQLITE_TABLES)
    db.create_function("split_part", 3, lambda text, by, number: text.split(by)[number - 1])
    db.create_function("concat", -1, lambda *parts: "".join(parts))  # there since SQLite 3.44
    there_and_back_and_on(case, "sqlite", db.execute, lambda: sorted(db.execute("SELECT name, sql FROM sqlite_master")))
    db.close()


@pytest.mark.parametrize("case", [c for c in CASES.values() if "mysql" in c.needs], ids=[n for n, c in CASES.items() if "mysql" in c.needs])
def test_an_operation_s_statements_go_there_and_back_on_mariadb(case: Case, maria: MariaDB) -> None:
    with connect(maria.socket) as db, db.cursor() as cursor:

        def schema() -> list[object]:
            cursor.execute("SHOW TABLES")
            tables = [name for (name,) in cursor.fetchall()]
            return [(cursor.execute(f"SHOW CREATE TABLE `{name}`"), cursor.fetchone()) for name in tables]

        for statement in ("DROP DATABASE IF EXISTS t", "CREATE DATABASE t", "USE t", *(each.text for each in split(MYSQL_TABLES, "mysql"))):
            cursor.execute(statement)
        part = "RETURN SUBSTRING_INDEX(SUBSTRING_INDEX(a, b, n), b, -1)"
        cursor.execute(f"CREATE FUNCTION split_part(a text, b text, n int) RETURNS text DETERMINISTIC {part}")
        there_and_back_and_on(case, "mysql", cursor.execute, schema)


PLANS = "CREATE TABLE plans (code varchar(9), price int); INSERT INTO plans VALUES ('a', 1), ('a', 2), ('b', -3);"
CLEANS = """\
UPDATE plans SET price = 0 WHERE price < 0;
INSERT INTO plans VALUES ('new', -30);
DELETE FROM plans WHERE price = 2;
CREATE UNIQUE INDEX plans_code ON plans (code);
"""


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_import_leaves_the_rows_that_the_file_leaves(dialect: Dialect, base: Base, maria: MariaDB) -> None:
    imported = importing.split([("clean.sql", CLEANS)], dialect)
    ways = [CLEANS], [each.files.get(f"{phase}.sql", "") for phases in (PHASES[:2], PHASES[2:]) for each in imported for phase in phases]
    with maria.database() as other, other.connect() as client, base.connect() as db, closing(sqlite3.connect(":memory:")) as file:
        run: Any = {"postgres": db.execute, "mysql": client.rows, "sqlite": file.execute}[dialect]
        left = []
        for way in ways:
            for each in split("".join([PLANS, *way]), dialect):
                run(each.text)
            left.append(list(run("SELECT code, price FROM plans ORDER BY code")))
            run("DROP TABLE plans")
    assert left == [[("a", 1), ("b", 0), ("new", -30)]] * 2


SECOND = [
    ("mysql", "UPDATE plans p INNER JOIN seen s ON s.code = p.code SET p.code = LEFT(s.name, 1) WHERE p.price < 2 OR s.price > 8"),
    ("mysql", "UPDATE plans p JOIN seen s ON s.code = p.code SET p.price = 7 WHERE p.price < 2 XOR s.price > 8"),
    ("mysql", "UPDATE plans, seen AS s SET plans.price = s.price + plans.price WHERE s.code = plans.code AND plans.price IS NOT NULL"),
    ("sqlite", "UPDATE plans AS p SET price = s.price, code = s.name FROM seen s WHERE s.code = p.code AND (p.price < 2 OR s.price IS DISTINCT FROM 9)"),
    (
        "postgres",
        "UPDATE plans AS p SET price = s.price, code = upper(s.name) FROM seen s WHERE s.code = p.code AND (p.price < 2 OR s.price IS DISTINCT FROM 9)",
    ),
    ("postgres", "UPDATE plans SET price = NULL, code = s.name FROM seen s WHERE s.code = plans.code AND plans.code > 'a'"),
    (
        "postgres",
        "UPDATE plans SET price = s.price + plans.price FROM seen s JOIN seen o ON o.code = s.code WHERE s.code = plans.code AND s.name <> ''",
    ),
]


@pytest.mark.parametrize(("dialect", "joined"), SECOND)
def test_an_update_with_its_second_table_in_a_subquery_leaves_the_rows_that_it_left(dialect: Dialect, joined: str, base: Base, maria: MariaDB) -> None:
    (safe,) = [each.fix for each in lint(joined, dialect, "backfill") if each.rule in ("second-table", "backfill")]
    seen = "CREATE TABLE seen (code varchar(9), name varchar(9), price int); INSERT INTO seen VALUES ('a', 'xy', 9), ('c', 'zz', 1), ('d', 'q', NULL);"
    more = "INSERT INTO plans VALUES ('c', 1), ('d', 0), ('e', NULL);"
    with maria.database() as other, other.connect() as client, base.connect() as db, closing(sqlite3.connect(":memory:")) as file:
        run: Any = {"postgres": db.execute, "mysql": client.rows, "sqlite": file.execute}[dialect]
        left = []
        for way in (joined, safe):
            for each in split("".join([PLANS, seen, more, way]), dialect):
                run(each.text)
            left.append(list(run("SELECT code, price FROM plans ORDER BY 1, 2")))
            run("DROP TABLE plans")
            run("DROP TABLE seen")
    assert left[0] == left[1]
    assert len(set(left[0])) == 6
