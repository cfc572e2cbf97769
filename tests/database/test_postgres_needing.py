"""What is told of a contract is what PostgreSQL does with it: each is asked of the catalogue first, then carried out."""

from contextlib import nullcontext

import psycopg
import pytest

from bleen.database.parser import split
from bleen.database.postgres.catalogue import PostgresCatalogue
from databases import Base

USERS = "CREATE TABLE users (id int PRIMARY KEY, a text, b text);"
PEOPLE = "CREATE VIEW people AS SELECT a FROM users;"
GENERATED = "ALTER TABLE users ADD g text GENERATED ALWAYS AS (a || b) STORED;"
MOOD = "CREATE TYPE mood AS ENUM ('fine'); ALTER TABLE users ADD m mood;"
KID = "CREATE TABLE kids ({}) INHERITS (users); CREATE VIEW people AS SELECT a FROM kids;"
PARTS = "CREATE TABLE parts (id int, a text) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF parts FOR VALUES FROM (1) TO (9);"
PARTS += "CREATE VIEW people AS SELECT a FROM low;"
TWO = "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION f(text[]) RETURNS int LANGUAGE sql AS 'SELECT 1';"
TWO += "CREATE VIEW people AS SELECT f('{}'::text[]);"
CHECKED = "CREATE FUNCTION f(text) RETURNS bool LANGUAGE sql AS 'SELECT true'; ALTER TABLE users ADD CONSTRAINT c CHECK (f(a));"
DROP = "ALTER TABLE users DROP COLUMN a;"
CASES = {
    "a view": (PEOPLE, DROP, "view people needs column a of table users"),
    "a view whose schema goes first": ("CREATE SCHEMA reports; CREATE VIEW reports.v AS SELECT a FROM users;", f"DROP SCHEMA reports CASCADE; {DROP}", ""),
    "a schema that is not empty": ("CREATE SCHEMA reports; CREATE TABLE reports.v ();", "DROP SCHEMA reports;", "table reports.v needs schema reports"),
    "a view that has the name of a table": (
        "CREATE SCHEMA reports; CREATE VIEW reports.users AS SELECT a FROM public.users;",
        f"ALTER TABLE users DROP CONSTRAINT users_pkey; {DROP}",
        "view reports.users needs column a of table users",
    ),
    "a view that an UPDATE speaks of": (PEOPLE, f"UPDATE users SET b = 'people'; {DROP}", "view people needs column a of table users"),
    "a view that gets another name": (PEOPLE, f"ALTER VIEW people RENAME TO men; DROP VIEW men; {DROP}", ""),
    "a publication": ("CREATE PUBLICATION p FOR TABLE users (id, a);", DROP, "publication of table users in publication p needs column a of table users"),
    "a publication that goes first": ("CREATE PUBLICATION p FOR TABLE users (id, a);", f"DROP PUBLICATION p; {DROP}", ""),
    "a publication that lets go of it": ("CREATE PUBLICATION p FOR TABLE users (id, a);", f"ALTER PUBLICATION p DROP TABLE users; {DROP}", ""),
    "a child": (KID.format(""), DROP, "view people needs column a of table kids"),
    "a child that has it by itself": (KID.format("a text"), DROP, ""),
    "a child that is left out": (KID.format(""), "ALTER TABLE ONLY users DROP COLUMN a;", ""),
    "a partition": (PARTS, "ALTER TABLE parts DROP COLUMN a;", "view people needs column a of table low"),
    "a partition that is none any more": (PARTS, "ALTER TABLE parts DETACH PARTITION low; ALTER TABLE parts DROP COLUMN a;", ""),
    "a generated column, after": (GENERATED, "ALTER TABLE users DROP COLUMN a, DROP COLUMN g;", "column g of table users needs column a of table users"),
    "a generated column, before": (GENERATED, "ALTER TABLE users DROP COLUMN g, DROP COLUMN a;", ""),
    "a generated column that is one no more": (GENERATED, f"ALTER TABLE users ALTER g DROP EXPRESSION; {DROP}", ""),
    "a type": (MOOD, "ALTER TABLE users DROP COLUMN m; DROP TYPE mood;", ""),
    "a type that another column of that name has": (
        MOOD + "CREATE TABLE orders (m mood);",
        "ALTER TABLE users DROP COLUMN m; DROP TYPE mood;",
        "column m of table orders needs type mood",
    ),
    "a type whose column gets another": (MOOD, "ALTER TABLE users ALTER m TYPE text; DROP TYPE mood;", ""),
    "a function by its arguments": (TWO, "DROP FUNCTION f(text[]);", "view people needs function f(text[])"),
    "another one of that name": (TWO, "DROP FUNCTION f(int);", ""),
    "an aggregate": (
        "CREATE AGGREGATE joined(text) (sfunc = textcat, stype = text); CREATE VIEW people AS SELECT joined(a) FROM users;",
        "DROP AGGREGATE joined(text);",
        "view people needs function joined(text)",
    ),
    "a default": ("CREATE SEQUENCE s; ALTER TABLE users ADD n int DEFAULT nextval('s');", "DROP SEQUENCE s;", "column n of table users needs sequence s"),
    "a sequence that its column lets go of": (
        "ALTER TABLE users ADD n serial; CREATE TABLE orders (n int DEFAULT nextval('users_n_seq'));",
        "ALTER SEQUENCE users_n_seq OWNED BY NONE; ALTER TABLE users DROP COLUMN n;",
        "",
    ),
    "a default that goes first": (
        "CREATE SEQUENCE s; ALTER TABLE users ADD n int DEFAULT nextval('s');",
        "ALTER TABLE users ALTER n DROP DEFAULT; DROP SEQUENCE s;",
        "",
    ),
    "the default of a child, which goes with it": (
        "CREATE SEQUENCE s; ALTER TABLE users ADD n int; CREATE TABLE kids (n int DEFAULT nextval('s')) INHERITS (users);",
        "ALTER TABLE users ALTER n DROP DEFAULT; DROP SEQUENCE s;",
        "",
    ),
    "the CHECK of a child, which goes with it": (
        f"{CHECKED} CREATE TABLE kids () INHERITS (users);",
        "ALTER TABLE users DROP CONSTRAINT c; DROP FUNCTION f(text);",
        "",
    ),
    "the CHECK of a child, which stays": (
        f"{CHECKED} CREATE TABLE kids (CONSTRAINT c CHECK (f(a))) INHERITS (users);",
        "ALTER TABLE users DROP CONSTRAINT c; DROP FUNCTION f(text);",
        "constraint c on table kids needs function f(text)",
    ),
    "the trigger of a partition, which is made anew with it": (
        "CREATE TABLE parts (id int) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF parts FOR VALUES FROM (1) TO (9);"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER t AFTER INSERT ON parts FOR EACH ROW EXECUTE FUNCTION f();",
        "CREATE OR REPLACE TRIGGER t AFTER DELETE ON parts FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(); DROP FUNCTION f();",
        "",
    ),
    "a collation": ('CREATE COLLATION c FROM "C"; CREATE TABLE pets (n text COLLATE c);', "DROP COLLATION c;", "column n of table pets needs collation c"),
    "an operator": (
        "CREATE FUNCTION e(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true'; CREATE OPERATOR === (leftarg = text, rightarg = text, procedure = e);",
        "DROP OPERATOR === (text, text); DROP FUNCTION e(text, text);",
        "",
    ),
    "a policy that is made anew": ("CREATE POLICY p ON users USING (a = 'x');", f"ALTER POLICY p ON users USING (b = 'x'); {DROP}", ""),
    "nothing that is there": (
        "",
        "DROP TABLE IF EXISTS no.t; DROP FUNCTION IF EXISTS f(no.such, nor_such); DROP SCHEMA IF EXISTS no; ALTER TABLE IF EXISTS no.t DROP COLUMN a;",
        "",
    ),
}


@pytest.mark.parametrize(("made", "contract", "why"), CASES.values(), ids=CASES)
def test_what_needs_what_a_contract_drops_is_told_when_the_server_refuses_it_and_only_then(base: Base, made: str, contract: str, why: str) -> None:
    """Not while a view, say, that they do not drop first needs what they drop."""
    with base.connect() as db:
        db.execute(USERS + made)
        catalogue = PostgresCatalogue(lambda query, values: db.execute(query, values).fetchall())
        told = [each.why for each in catalogue.needing(split(contract), ()) if each.certain]
        try:
            db.execute(contract)
            refused = ""
        except psycopg.errors.DependentObjectsStillExist as error:
            refused = str(error)
    assert bool(told) == bool(refused), (told, refused)
    assert [why in each for each in told] == [True] * bool(why), told


REFERS = "CREATE TABLE orders (id int, of int CONSTRAINT of_users REFERENCES users);"
CASCADES = {
    "a view": (PEOPLE, "ALTER TABLE users DROP COLUMN a CASCADE;", "view people needs column a of table users, and goes with it by CASCADE"),
    "the foreign key of a table that stays": (REFERS, "DROP TABLE users CASCADE;", "constraint of_users on table orders needs "),
    "that of a table that goes, too": (REFERS, "DROP TABLE users CASCADE; DROP TABLE orders;", ""),
    "a view that goes first": (PEOPLE, "DROP VIEW people; ALTER TABLE users DROP COLUMN a CASCADE;", ""),
    "a view that is made anew first": (PEOPLE, "CREATE OR REPLACE VIEW people AS SELECT b AS a FROM users; ALTER TABLE users DROP COLUMN a CASCADE;", ""),
    "what belongs to it": ("CREATE INDEX i ON users (a);", "ALTER TABLE users DROP COLUMN a CASCADE;", ""),
    "what is in a schema": (
        "CREATE SCHEMA old; CREATE TABLE old.log (was text); CREATE VIEW old.v AS SELECT was FROM old.log;",
        "DROP SCHEMA old CASCADE;",
        "",
    ),
    "a view of what is in a schema": (
        "CREATE SCHEMA old; CREATE TABLE old.log (was text); CREATE VIEW v AS SELECT was FROM old.log;",
        "DROP SCHEMA old CASCADE;",
        "view v",
    ),
}


@pytest.mark.parametrize(("made", "contract", "why"), CASCADES.values(), ids=CASCADES)
def test_what_goes_by_cascade_alone_is_told_until_a_reason_names_it(base: Base, made: str, contract: str, why: str) -> None:
    """Not while a view, say, that they do not drop first needs what they drop."""
    with base.connect() as db:
        db.execute(USERS + made)
        told = PostgresCatalogue(lambda query, values: db.execute(query, values).fetchall()).needing(split(contract), ())
    assert [(why in each.why, each.certain) for each in told] == [(True, False)] * bool(why), told


ADD = "ALTER TABLE users ADD n bigint;"
REPLACE = "CREATE OR REPLACE VIEW people AS SELECT"
VIEWS = {
    "a name": ("", f"{REPLACE} b FROM users;", "column 1 of view people is a, which PostgreSQL does not rename in it: write `AS a` there"),
    "a name that is given": ("", f"{REPLACE} b AS a FROM users;", ""),
    "names behind that of the view": ("", "CREATE OR REPLACE VIEW people (a, m) AS SELECT b, id FROM users;", ""),
    "another name behind that of the view": ("", "CREATE OR REPLACE VIEW people (m) AS SELECT a FROM users;", "column 1 of view people is a,"),
    "a column more": ("", f"{REPLACE} users.a, id FROM users;", ""),
    "a column less": ("CREATE VIEW two AS SELECT a, b FROM users;", "CREATE OR REPLACE VIEW two AS SELECT a FROM users;", "view two has a column b, which"),
    "all columns": ("", f"{REPLACE} u.* FROM (SELECT a, b FROM users) u;", ""),
    "the type of a new column": (ADD, f"{REPLACE} n AS a FROM users;", "column a of view people is text, and PostgreSQL gives it no other type"),
    "the same type of a new column": ("ALTER TABLE users ADD n text;", f"{REPLACE} u.n AS a FROM users u JOIN users v USING (id);", ""),
    "a type of another column": ("", f"{REPLACE} id AS a FROM users UNION SELECT 1 FROM users;", "column a of view people is text"),
    "a column that has got another type since": (ADD + "ALTER TABLE users ALTER n TYPE text;", f"{REPLACE} n AS a FROM users;", ""),
    "a cast": (ADD, f"{REPLACE} n::text AS a FROM users;", ""),
    "a cast to another type": ("", f"{REPLACE} a::varchar AS a FROM users;", "write `CAST(… AS text)` there"),
    "a view that goes first": ("DROP VIEW people;", f"{REPLACE} b FROM users;", ""),
    "a view that goes first with what it reads": ("DROP TABLE users CASCADE; CREATE TABLE users (b text);", f"{REPLACE} b FROM users;", ""),
    "a view that gets another name": ("ALTER VIEW people RENAME TO men;", f"{REPLACE} b FROM users;", ""),
    "a view whose column gets another name": ("ALTER VIEW people RENAME COLUMN a TO b;", f"{REPLACE} b FROM users;", ""),
    "a new view": ("", "CREATE OR REPLACE VIEW men AS SELECT b FROM users;", ""),
}


@pytest.mark.parametrize(("expand", "contract", "why"), VIEWS.values(), ids=VIEWS)
def test_a_view_that_the_server_will_not_make_anew_is_told_and_no_other(base: Base, expand: str, contract: str, why: str) -> None:
    with base.connect() as db:
        made, _, expand = expand.rpartition("FROM users;")
        db.execute(f"{USERS}{PEOPLE}{made and f'{made}FROM users;'}")
        told = PostgresCatalogue(lambda query, values: db.execute(query, values).fetchall()).refuses(split(expand), split(contract))
        db.execute(expand)
        with pytest.raises(psycopg.errors.InvalidTableDefinition) if why else nullcontext():
            db.execute(contract)
    assert (why in told, bool(told)) == (True, bool(why)), told


RUNS = "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;"
NOTED = RUNS + "CREATE TRIGGER t {} EXECUTE FUNCTION noted();"
EACH = "AFTER UPDATE ON {} FOR EACH ROW"
LOG = "CREATE TABLE log (was text, who text);"
WRITES = {
    "a table that it writes": (LOG + NOTED.format("INSERT INTO log VALUES (NEW.b);", EACH.format("users")), "DROP TABLE log;", "speaks of log"),
    "a column of another table": (
        LOG + NOTED.format("INSERT INTO log (was) VALUES (NEW.b);", EACH.format("users")),
        "ALTER TABLE log DROP COLUMN was;",
        "speaks of was of log",
    ),
    "another column of that table": (
        LOG + NOTED.format("INSERT INTO log (was) VALUES (NEW.b);", EACH.format("users")),
        "ALTER TABLE log DROP COLUMN who;",
        "",
    ),
    "a function that it calls": (
        "CREATE FUNCTION f(text) RETURNS text LANGUAGE sql AS 'SELECT $1';" + NOTED.format("NEW.b := f(NEW.b);", "BEFORE UPDATE ON users FOR EACH ROW"),
        "DROP FUNCTION f(text);",
        "speaks of f",
    ),
    "a type that it names": (
        "CREATE TYPE mood AS ENUM ('x');" + NOTED.format("NEW.b := 'x'::mood;", "BEFORE UPDATE ON users FOR EACH ROW"),
        "DROP TYPE mood;",
        "speaks of mood",
    ),
    "what the schema takes with it": (
        "CREATE SCHEMA old; CREATE TABLE old.log (was text);" + NOTED.format("INSERT INTO old.log VALUES (NEW.b);", EACH.format("users")),
        "DROP SCHEMA old CASCADE;",
        "speaks of log",
    ),
    "a column of the child that its trigger is on": (
        KID.format("") + NOTED.format("NEW.b := NEW.a;", EACH.format("kids")),
        f"DROP VIEW people; {DROP}",
        "says NEW.a",
    ),
    "a column that the child keeps": (KID.format("a text") + NOTED.format("NEW.b := NEW.a;", EACH.format("kids")), f"DROP VIEW people; {DROP}", ""),
    "a column of the partition that its trigger is on": (
        "CREATE TABLE parts (id int, a text, b text) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF parts FOR VALUES FROM (1) TO (9);"
        + NOTED.format("NEW.b := NEW.a;", EACH.format("low")),
        "ALTER TABLE parts DROP COLUMN a;",
        "says NEW.a",
    ),
    "a column with a comment within": (
        NOTED.format("NEW.b := OLD /* of 2019 */ . -- or so\n a;", "BEFORE UPDATE ON users FOR EACH ROW"),
        DROP,
        "says OLD . a",
    ),
    "a column in a comment": (NOTED.format("NEW.b := 'x'; -- no more NEW.a of users\n", "BEFORE UPDATE ON users FOR EACH ROW"), DROP, ""),
    "a column of its transition table": (
        LOG + NOTED.format("INSERT INTO log SELECT a FROM fresh;", "AFTER UPDATE ON users REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT"),
        DROP,
        "speaks of a of users",
    ),
    "a column of a text that it runs": (
        LOG + NOTED.format("EXECUTE 'INSERT INTO log SELECT $1.a' USING NEW;", EACH.format("users")),
        DROP,
        "speaks of a of users",
    ),
    "a column of the row in a variable": (
        NOTED.format("DECLARE one record; BEGIN one := NEW; NEW.b := one.a; END;", "BEFORE UPDATE ON users FOR EACH ROW"),
        DROP,
        "speaks of a of users",
    ),
    "a key of the row as JSON": (
        NOTED.format("IF NOT to_jsonb(NEW) ? 'a' THEN RAISE EXCEPTION 'no a'; END IF;", "BEFORE UPDATE ON users FOR EACH ROW"),
        DROP,
        "speaks of a of users",
    ),
    "a key of the row as JSON, read where it is written": (
        LOG + NOTED.format("INSERT INTO log (was) VALUES (1 / (to_jsonb(NEW) ? 'a')::int);", EACH.format("users")),
        DROP,
        "speaks of a of users",
    ),
    "a column that it sets": (NOTED.format("UPDATE users SET a = 'z' WHERE false;", EACH.format("users")), DROP, "speaks of a of users"),
    "a word that is no column, where the row is in no variable": (
        NOTED.format("DECLARE a text := NEW.b; BEGIN NEW.b := a; END;", "BEFORE UPDATE ON users FOR EACH ROW"),
        DROP,
        "",
    ),
    "a view that is made anew": (
        PEOPLE + NOTED.format("NEW.b := (SELECT max(a) FROM people);", EACH.format("users")),
        "DROP VIEW people; CREATE VIEW people AS SELECT b AS a FROM users; ALTER TABLE users DROP COLUMN a;",
        "",
    ),
    "what it does not speak of any more": (
        LOG + NOTED.format("INSERT INTO log VALUES (NEW.b);", EACH.format("users")),
        RUNS.replace("CREATE", "CREATE OR REPLACE").format("") + "DROP TABLE log;",
        "",
    ),
    "what the trigger does not see any more": (
        LOG + NOTED.format("INSERT INTO log VALUES (NEW.b);", EACH.format("users")),
        "ALTER TABLE users DISABLE TRIGGER t; DROP TABLE log;",
        "",
    ),
    "a column behind a statement that says nothing of it": (NOTED.format("NEW.b := NEW.a;", EACH.format("users")), f"SELECT 1; {DROP}", "says NEW.a"),
    "a column behind a sequence that gets an owner": (
        "CREATE SEQUENCE s;" + NOTED.format("NEW.b := NEW.a;", EACH.format("users")),
        f"ALTER SEQUENCE s OWNED BY users.b; {DROP}",
        "says NEW.a",
    ),
    "a column behind another search_path": (NOTED.format("NEW.b := NEW.a;", EACH.format("users")), f"SET search_path = public; {DROP}", "says NEW.a"),
    "a column behind a DO that drops the trigger": (
        NOTED.format("NEW.b := NEW.a;", EACH.format("users")),
        f"DO $$ BEGIN DROP TRIGGER t ON users; END $$; {DROP}",
        "",
    ),
}


@pytest.mark.parametrize(("made", "contract", "why"), WRITES.values(), ids=WRITES)
def test_a_trigger_function_that_speaks_of_what_goes_is_told_where_writes_fail_afterwards(base: Base, made: str, contract: str, why: str) -> None:
    """Nor, unless a reason that names the trigger is given, while its function speaks of it."""
    with base.connect() as db:
        db.execute(USERS + made)
        db.execute("INSERT INTO users VALUES (1)")
        for table in ("kids", "parts"):
            if table in made:
                db.execute(f"INSERT INTO {table} (id) VALUES (2)")
        catalogue = PostgresCatalogue(lambda query, values: db.execute(query, values).fetchall())
        told = [each.why for each in catalogue.needing(split(contract), ())]
        db.execute(contract)
        try:
            db.execute("UPDATE parts SET b = 'z'" if "parts" in made else "UPDATE users SET b = 'z'")
            failed = ""
        except psycopg.Error as error:
            failed = str(error)
    assert bool(told) == bool(failed), (told, failed)
    fail = "would" if why.startswith("says") else "may"
    assert [f"runs noted(), which {why}: writes {fail} fail" in each for each in told] == [True] * bool(why), told


OF_ROW = "CREATE FUNCTION f(users) RETURNS text LANGUAGE {} IMMUTABLE AS '{}';"
OF_TEXT = "CREATE FUNCTION f(text) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM users WHERE a = $1)';"
RUN = {
    "an index": (OF_ROW.format("sql", "SELECT $1.a") + "CREATE INDEX i ON users (f(users));", "index i runs f(users)"),
    "a CHECK": (
        OF_ROW.format("plpgsql", "BEGIN RETURN $1.a; END") + "ALTER TABLE users ADD CONSTRAINT c CHECK (f(users) <> 'y');",
        "constraint c on table users",
    ),
    "the CHECK of another table": (OF_TEXT + "ALTER TABLE log ADD CONSTRAINT c CHECK (NOT f(who));", "constraint c on table log runs f(text)"),
    "the CHECK of a domain": (
        OF_TEXT + "CREATE DOMAIN given AS text CONSTRAINT c CHECK (NOT f(value)); ALTER TABLE log ALTER who TYPE given;",
        "constraint c runs f(text)",
    ),
    "a default": (OF_TEXT + "ALTER TABLE log ALTER was SET DEFAULT f('x');", "column was of table log runs f(text)"),
    "a policy": (
        OF_TEXT + "ALTER TABLE log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON log WITH CHECK (NOT f(who));",
        "policy p on table log runs f(text)",
    ),
    "a generated column": (
        "CREATE FUNCTION f(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT max(a) FROM users); END';"
        "ALTER TABLE log ADD made text GENERATED ALWAYS AS (f(who)) STORED;",
        "column made of table log runs f(text)",
    ),
    "a trigger that gives it the name": (
        "ALTER TABLE users ADD v tsvector;"
        "CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger(v, 'pg_catalog.english', b, a);",
        "trigger t on table users runs tsvector_update_trigger()",
    ),
    "the WHEN of a trigger": (
        OF_TEXT + "CREATE TRIGGER t BEFORE INSERT ON log FOR EACH ROW WHEN (f(NEW.who)) EXECUTE FUNCTION suppress_redundant_updates_trigger();",
        "trigger t on table log runs f(text)",
    ),
    "an index over another column": (OF_ROW.format("sql", "SELECT $1.b -- and not $1.a\n") + "CREATE INDEX i ON users (f(users));", ""),
}


@pytest.mark.parametrize(("made", "why"), RUN.values(), ids=RUN)
def test_what_computes_by_a_function_that_speaks_of_what_goes_is_told_where_writes_fail_afterwards(base: Base, made: str, why: str) -> None:
    """And likewise while the function of a trigger's WHEN, an index, a CHECK, a default, a generated column or a policy speaks of it."""
    with base.connect() as db:
        db.execute(f"{USERS} {LOG} INSERT INTO users VALUES (1); {made} CREATE ROLE writer_12 LOGIN; GRANT ALL ON users, log TO writer_12")
        catalogue = PostgresCatalogue(lambda query, values: db.execute(query, values).fetchall())
        told = [each.why for each in catalogue.needing(split(DROP), ())]
        db.execute(DROP)
        try:
            with base.connect("writer_12") as writer:
                writer.execute("UPDATE users SET b = 'z'; INSERT INTO log (who) VALUES ('x')")
            failed = ""
        except psycopg.errors.UndefinedColumn as error:
            failed = str(error)
        finally:
            db.execute("DROP OWNED BY writer_12; DROP ROLE writer_12")
    assert bool(told) == bool(failed), (told, failed)
    assert [why in each and "speaks of a of users: writes may fail" in each for each in told] == [True] * bool(why), told


def test_what_computes_by_such_a_function_and_goes_first_is_not_told(base: Base) -> None:
    with base.connect() as db:
        db.execute(f"{USERS} {LOG} {RUN['an index'][0]} {RUN['a default'][0]} {RUN['a policy'][0].removeprefix(OF_TEXT)}")
        catalogue = PostgresCatalogue(lambda query, values: db.execute(query, values).fetchall())
        assert len(catalogue.needing(split(DROP), ())) == 3
        assert catalogue.needing(split(f"DROP INDEX i; ALTER TABLE log ALTER was DROP DEFAULT; DROP POLICY p ON log; {DROP}"), ()) == []
