"""What is told of functions that another column fails is what PostgreSQL does: each is asked of the catalogue first, then called."""

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from bleen.database.foresight import Foresight
from bleen.database.migration import parse
from bleen.database.parser import split
from bleen.database.postgres.catalogue import PostgresCatalogue
from bleen.database.schema import Schema
from databases import Base

USERS = "CREATE TABLE users (id bigint PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'a'); CREATE TABLE names (id bigint, name text);"
RUNS = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ {} RETURN NEW; END $$;"
FIRES = RUNS + "CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION f();"
WHEN = RUNS.format("BEGIN") + "CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW WHEN ({}) EXECUTE FUNCTION f();"
GIVES = "CREATE FUNCTION f() RETURNS SETOF users LANGUAGE {} AS $$ {} $$;"
JSON, TEXT = "ALTER TABLE users ADD COLUMN full_name json", "ALTER TABLE users ADD COLUMN full_name text"
UPDATE, CALL = "UPDATE users SET name = name", "SELECT * FROM f()"
COMPARES, MAKES, LISTS = "compares its rows whole", "makes a row of users of values that it lists", "returns rows of users, whose columns it lists"
EACH = "cannot be compared: every write fails that comes there"
NAMED = "has a variable full_name where it reads users"
CASES = {
    "rows compared": (FIRES.format("BEGIN IF NEW IS DISTINCT FROM OLD THEN NULL; END IF;"), JSON, UPDATE, COMPARES),
    "all of rows compared": (FIRES.format("BEGIN IF NEW.* = OLD.* THEN NULL; END IF;"), JSON, UPDATE, COMPARES),
    "rows compared column by column": (FIRES.format("BEGIN IF ROW(NEW.*) IS DISTINCT FROM ROW (OLD.*) THEN NULL; END IF;"), JSON, UPDATE, EACH),
    "rows compared whose values are of a domain": (
        "CREATE DOMAIN doc AS json;" + FIRES.format("BEGIN IF NEW = OLD THEN NULL; END IF;"),
        JSON.replace("json", "doc"),
        UPDATE,
        COMPARES,
    ),
    "rows compared whose values are of a domain that can be": (
        "CREATE DOMAIN doc AS jsonb;" + FIRES.format("BEGIN IF ROW(NEW.*) = ROW(OLD.*) THEN NULL; END IF;"),
        JSON.replace("json", "doc"),
        UPDATE,
        "",
    ),
    "rows compared by WHEN": (WHEN.format("OLD.* IS DISTINCT FROM NEW.*"), JSON, UPDATE, COMPARES),
    "rows compared whose values can be": (WHEN.format("OLD.* IS DISTINCT FROM NEW.*"), JSON.replace("json", "jsonb"), UPDATE, ""),
    "columns compared": (FIRES.format("BEGIN IF NEW.name = OLD.name THEN NULL; END IF;"), JSON, UPDATE, ""),
    "a row of values": (FIRES.format("BEGIN NEW := (NEW.id, upper(NEW.name))::users;"), TEXT, UPDATE, MAKES),
    "a row of values that CAST makes": (FIRES.format("BEGIN NEW := CAST(ROW(NEW.id, upper(NEW.name)) AS users);"), TEXT, UPDATE, MAKES),
    "a row of values without a name": (FIRES.format("BEGIN IF true THEN NEW = ROW(NEW.id, coalesce(NEW.name, '')); END IF;"), TEXT, UPDATE, MAKES),
    "a row of values that is returned": (FIRES.format("BEGIN RETURN (NEW.id, upper(NEW.name));"), TEXT, UPDATE, MAKES),
    "a row of values that is read": (FIRES.format("BEGIN SELECT NEW.id, n.name INTO NEW FROM (SELECT 1) u LEFT JOIN names n ON true;"), TEXT, UPDATE, MAKES),
    "a row of values that INTO comes before": (FIRES.format("BEGIN SELECT INTO STRICT NEW NEW.id, upper(NEW.name);"), TEXT, UPDATE, MAKES),
    "a row that is read as it is": (FIRES.format("BEGIN SELECT u.* INTO NEW FROM users u WHERE id = NEW.id;"), TEXT, UPDATE, ""),
    "values that are read into columns": (FIRES.format("BEGIN SELECT NEW.id, upper(NEW.name) INTO NEW.id, NEW.name;"), TEXT, UPDATE, ""),
    "values that are compared as a row": (FIRES.format("BEGIN IF (NEW.id, NEW.name) = (OLD.id, OLD.name) THEN RETURN NEW; END IF;"), TEXT, UPDATE, ""),
    "a row that an AFTER trigger returns": (FIRES.replace("BEFORE", "AFTER").format("BEGIN RETURN (NEW.id, NEW.name);"), TEXT, UPDATE, MAKES),
    "a row that is not returned": (FIRES.replace("NEW; END", "OLD; END").format("BEGIN NEW := (NEW.id, NEW.name);"), TEXT, UPDATE, ""),
    "a row that nobody looks at": (FIRES.replace("EACH ROW", "EACH STATEMENT").format("BEGIN RETURN (1, 'x');"), TEXT, UPDATE, ""),
    "a row of a function": (FIRES.format("BEGIN NEW := jsonb_populate_record(NEW, to_jsonb(OLD))::users;"), TEXT, UPDATE, ""),
    "a row of another table": (FIRES.format("BEGIN NEW.name := ((NEW.id, upper(NEW.name))::names).name;"), TEXT, UPDATE, ""),
    "a row of a table of another schema": (
        "CREATE SCHEMA old; CREATE TABLE old.users (LIKE users);" + FIRES.format("BEGIN NEW.name := ((NEW.id, upper(NEW.name))::old.users).name;"),
        TEXT,
        UPDATE,
        "",
    ),
    "a row of a table that its search_path names": (
        "CREATE SCHEMA old; CREATE TABLE old.users (LIKE users);"
        + FIRES.replace("LANGUAGE", "SET search_path = old, public LANGUAGE").format("BEGIN NEW.name := ((NEW.id, upper(NEW.name))::users).name;"),
        TEXT,
        UPDATE,
        "",
    ),
    "a row of the table that its search_path names": (
        FIRES.replace("LANGUAGE", "SET search_path = old, public LANGUAGE").format("BEGIN NEW := (NEW.id, upper(NEW.name))::users;"),
        TEXT,
        UPDATE,
        MAKES,
    ),
    "a row of values on a replica": (
        FIRES.format("BEGIN NEW := (NEW.id, upper(NEW.name))::users;") + "ALTER TABLE users ENABLE REPLICA TRIGGER t;",
        TEXT,
        UPDATE,
        "",
    ),
    "a row of values, called": (GIVES.format("sql", "SELECT ROW(id, name)::users FROM users"), TEXT, CALL, MAKES),
    "columns by name": (GIVES.format("sql", "SELECT id, name FROM users WHERE id = 1"), TEXT, CALL, LISTS),
    "columns that RETURNING names": (GIVES.format("sql", "INSERT INTO users VALUES (2) RETURNING id, name"), TEXT, CALL, LISTS),
    "columns as they were then": ("CREATE FUNCTION f() RETURNS SETOF users BEGIN ATOMIC SELECT * FROM users; END;", TEXT, CALL, LISTS),
    "columns by name, in PL/pgSQL": (GIVES.format("plpgsql", "BEGIN RETURN QUERY SELECT id, name FROM users; END"), TEXT, CALL, LISTS),
    "all columns": (GIVES.format("sql", "SELECT u.* FROM users u"), TEXT, CALL, ""),
    "all columns, in PL/pgSQL": (GIVES.format("plpgsql", "BEGIN RETURN QUERY SELECT * FROM users; END"), TEXT, CALL, ""),
    "rows": (GIVES.format("sql", "SELECT u FROM users u"), TEXT, CALL, ""),
    "columns into a variable": (GIVES.format("plpgsql", "DECLARE r users; BEGIN SELECT id, name INTO r FROM users; RETURN NEXT r; END"), TEXT, CALL, ""),
    "a variable of that name": (
        FIRES.format("DECLARE full_name text := NEW.name; BEGIN INSERT INTO names SELECT u.id, full_name FROM users u;"),
        TEXT,
        UPDATE,
        NAMED,
    ),
    "an argument of that name": (
        "CREATE FUNCTION f(full_name text DEFAULT 'a') RETURNS SETOF names LANGUAGE plpgsql AS $$ BEGIN"
        " RETURN QUERY SELECT id, u.name FROM users u WHERE name = full_name; END $$;",
        TEXT,
        CALL,
        NAMED,
    ),
    "a variable that is read into": (
        FIRES.format("DECLARE full_name text; BEGIN SELECT u.name INTO full_name FROM users u; full_name := (SELECT max(name) FROM users);"),
        TEXT,
        UPDATE,
        "",
    ),
    "a variable that another table is written with": (
        FIRES.format("DECLARE full_name text; BEGIN INSERT INTO names VALUES (1, full_name); PERFORM 1 FROM users;"),
        TEXT,
        UPDATE,
        "",
    ),
}


@pytest.mark.parametrize(("made", "expand", "then", "why"), CASES.values(), ids=CASES)
def test_a_function_that_another_column_fails_is_told_and_no_other(base: Base, made: str, expand: str, then: str, why: str) -> None:
    """The plan refuses an expand whose new column such a function would fail on."""
    with base.connect() as db, base.connect() as other:
        db.execute(USERS + made)
        db.execute(then)
        catalogue = PostgresCatalogue(lambda query, values: db.execute(query, values).fetchall())
        told = catalogue.outgrown(split(expand), ())
        db.execute(expand)
        try:
            other.execute(then)
            failed = ""
        except psycopg.Error as error:
            failed = str(error)
    assert [why in each.why for each in told] == [True] * bool(why), told
    assert bool(told) == bool(failed), (told, failed)
    assert [each.fails for each in told] == [why in (MAKES, EACH) and then == UPDATE] * bool(why), told


@pytest.mark.parametrize("own", [False, True])
def test_a_function_that_many_tables_share_is_looked_at_and_told_once(base: Base, own: bool) -> None:
    shares = "".join(f"CREATE TABLE m{n} (); CREATE TRIGGER t BEFORE UPDATE ON m{n} FOR EACH ROW EXECUTE FUNCTION f();" for n in range(10))
    looked = list[int]()
    with base.connect() as db:
        db.execute(USERS + (FIRES if own else RUNS).format("DECLARE full_name text; BEGIN PERFORM 1 FROM users WHERE name = full_name;") + shares)

        def rows(query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
            found = db.execute(query, values).fetchall()
            looked.append(len(found) if "pg_proc" in query else 0)
            return found

        told = [each.why for each in PostgresCatalogue(rows).outgrown(split(TEXT), ())]
    assert [NAMED in each and f"trigger t on table {'users' if own else 'm0'} runs f()" in each for each in told] == [True]
    assert sum(looked) == 1 + own


def test_a_function_that_is_made_anew_before_the_column_comes_is_not_told(base: Base) -> None:
    with base.connect() as db:
        db.execute(USERS + CASES["a row of values"][0])
        catalogue = PostgresCatalogue(lambda query, values: db.execute(query, values).fetchall())
        assert catalogue.outgrown(split(f"{RUNS.replace('CREATE', 'CREATE OR REPLACE').format('BEGIN')} {TEXT};"), ()) == []


@pytest.mark.parametrize(("case", "refused"), [("a row of values", True), ("columns by name", False)])
def test_the_plan_refuses_what_fails_writes_and_warns_of_what_somebody_has_to_call(base: Base, case: str, refused: bool) -> None:
    with base.connect() as db:
        db.execute(USERS + CASES[case][0])
    server = base.open()
    foresight, wanted = Foresight(Schema(server)), parse("0001_x", {"expand.sql": f"{TEXT};"}, "")
    found = [[CASES[case][3] in each and each.count("expand.sql: line 1") for each in said] for said in (foresight.foreseen(wanted), foresight.risks(wanted))]
    server.close()
    assert found == ([[1], []] if refused else [[], [1]])
