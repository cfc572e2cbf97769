"""What two-way sync refuses, on a real server: each with its reason and a way out."""

import pytest
from in_step import NAMES, USERS, installed

from bleen.database import sync
from bleen.database.migration import Pair
from bleen.database.sync import postgres_expression
from bleen.errors import Refused
from databases import Base


def refused(base: Base, pair: Pair = NAMES, *before: str) -> str:
    """What is said against a pair, once ``before`` was run; empty if nothing is."""
    with base.connect() as admin:
        for statement in before or (USERS,):
            admin.execute(statement.encode())
    server = base.open()
    try:
        return "\n".join(sync.refusals(server, pair))
    finally:
        server.close()


def a_pair(old: str = "a", new: str = "b", forward: str = "", backward: str = "", table: str = "t") -> Pair:
    return Pair(table, (old,), (new,), {new: forward or old}, {old: backward or new}, "error")


def test_a_pair_that_can_be_kept_in_step_is_not_refused(end_base: Base) -> None:
    assert refused(end_base, NAMES, USERS, "INSERT INTO users (id, first, last) SELECT n, 'f' || n, 'l' || n FROM generate_series(1, 1000) n") == ""


@pytest.mark.parametrize(
    ("statements", "pair", "said"),
    [
        ((), NAMES, "there is no table users"),
        (("CREATE TABLE t (a text)",), a_pair(), "t has no column b"),
        (("CREATE TABLE s (a text, b text)", "CREATE VIEW t AS SELECT * FROM s"), a_pair(), "t is a view"),
        (("CREATE TABLE t (a text, b text) PARTITION BY LIST (a)",), a_pair(), "t is partitioned"),
        (("CREATE TABLE s (a text, b text) PARTITION BY LIST (a)", "CREATE TABLE t PARTITION OF s DEFAULT"), a_pair(), "t is partitioned, or a partition"),
        (("CREATE TABLE t (a text, b text)", "CREATE TABLE s () INHERITS (t)"), a_pair(), "t inherits"),
        (("CREATE TABLE t (a int PRIMARY KEY, b int)",), a_pair(), "a is in the primary key"),
        (("CREATE TABLE t (a int, b int, PRIMARY KEY (b))",), a_pair(), "b is in the primary key"),
        (("CREATE TABLE s (id int PRIMARY KEY)", "CREATE TABLE t (a int REFERENCES s, b int)"), a_pair(), "a is in the foreign key t_a_fkey of t"),
        (("CREATE TABLE t (a int, b int UNIQUE)", "CREATE TABLE s (x int REFERENCES t (b))"), a_pair(), "b is in the foreign key s_x_fkey of s"),
        (("CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY, b int)",), a_pair(), "a is an identity"),
        (("CREATE TABLE t (a int, c int, b int GENERATED ALWAYS AS (c) STORED)",), a_pair(), "b is a generated column"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tables_and_columns_of_these_kinds_are_refused(base: Base, statements: tuple[str, ...], pair: Pair, said: str) -> None:
    """semantics.md: "pairs across tables, partition, primary and foreign keys, identity and generated columns"."""
    assert said in refused(base, pair, "SELECT 1", *statements)


@pytest.mark.parametrize(
    ("type", "forward", "said"),
    [
        ("text", "a::integer", "b is made by a cast of a to int4: a write of the old version fails whose value cannot be cast"),
        ("varchar(20)", "CAST(a AS date)", "CASE WHEN ... THEN CAST(a AS date) END"),
        ("bigint", "a::integer", "cast of a to int4"),
        ("varchar(20)[]", "a::integer[]", "cast of a to int4"),
        ("char(3)[]", "a::text[]", ""),
        ("integer", "a::bigint", ""),
        ("integer", "a::text", ""),
        ("text", "CASE WHEN a ~ '^[0-9]{1,9}$' THEN a::integer END", ""),
        ("text", "a || ' EUR'", ""),
    ],
)
def test_a_cast_that_may_fail_a_write_of_the_old_version_is_warned_of(base: Base, type: str, forward: str, said: str) -> None:
    """Where an expression fails, the client's write fails: known before expand, and no reason to refuse it."""
    with base.connect() as admin:
        admin.execute(f"CREATE TABLE t (a {type})".encode())
    server = base.open()
    found = "\n".join(sync.risks(server, a_pair(forward=forward)))
    server.close()
    assert said in found
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    ("old", "new", "backward", "told"),
    [
        ("integer", "bigint", "CAST(b AS integer)", True),
        ("integer", "numeric(12, 2)", "b", True),
        ("integer", "text", "nullif(b, '')::integer", True),
        ("numeric(10,2)", "numeric(12,2)", "b", True),
        ("varchar(50)", "text", "b", True),
        ("varchar(50)", "varchar(80)", "coalesce(b, 'none')", True),
        ("date", "timestamptz", "b::date", True),
        ("varchar", "text", "b", False),
        ("bigint", "integer", "b", False),
        ("integer", "numeric", "CASE WHEN b < 2e9 THEN b END", False),
        ("integer", "numeric(12, 2)", "b / 100", False),
        ("integer[]", "bigint[]", "b", False),
        ("timestamp", "timestamptz", "b AT TIME ZONE 'UTC'", False),
    ],
)
@pytest.mark.parametrize("made", [False, True], ids=["before expand", "afterwards"])
def test_a_new_type_that_holds_what_the_old_one_does_not_is_warned_of(base: Base, old: str, new: str, backward: str, told: bool, made: bool) -> None:
    """The change from int to bigint is made for values that fail until contract."""
    add = f"ALTER TABLE t ADD COLUMN b {new};"
    with base.connect() as admin:
        admin.execute(f"CREATE TABLE t (a {old}); {add if made else ''}")
    server = base.open()
    said = [each for each in sync.risks(server, a_pair(backward=backward), add) if "cannot hold all" in each]
    server.close()
    assert [each.startswith("a (") and "until contract, a write of the new version that does not fit fails" in each for each in said] == [True] * told


@pytest.mark.parametrize(
    ("old", "new", "forward", "said"),
    [
        ("text", "varchar(255)", "a || ' ' || a", "b takes 255 characters, and what forward makes may be longer, as a may: a write of the old version fails"),
        ("varchar(128)", "varchar(256)", "a || ' ' || a", "may have 257: a write of the old version fails whose value does not fit; let it be text"),
        ("char(3)", "char(6)", "concat_ws('-', a, coalesce(a, '?'))", "may have 7"),
        ("varchar(20)", "varchar(10)", "CASE WHEN a = '' THEN 'nothing' ELSE trim(a) END", "may have 20"),
        ("int", "varchar(10)", "a || ''", "may have 11"),
        ("varchar(127)", "varchar(255)", "a || ' ' || a", ""),
        ("text", "text", "a || ' ' || a", ""),
        ("text", "varchar(255)", "left(a, 255)", ""),
        ("varchar(20)[]", "varchar(10)[]", "a", ""),
        ("char(3)[]", "varchar(2)[]", "'{nothing}'", ""),
    ],
)
@pytest.mark.parametrize("made", [False, True], ids=["before expand", "afterwards"])
def test_a_new_column_that_is_too_short_for_what_the_old_version_may_write_is_warned_of(
    base: Base, old: str, new: str, forward: str, said: str, made: bool
) -> None:
    add = f"ALTER TABLE public.t ADD COLUMN c int, ADD COLUMN b {new}"
    with base.connect() as admin:
        admin.execute(f"CREATE TABLE t (a {old})".encode())
        if made:
            admin.execute(add.encode())
    server = base.open()
    found = "\n".join(sync.risks(server, a_pair(forward=forward, backward="left(b, 9)", table="T"), add))
    server.close()
    assert said in found
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    ("event", "expand", "said"),
    [
        ("AFTER UPDATE OF first", "", "trigger told fires on UPDATE OF first, and not on an UPDATE of full_name that changes first"),
        ("BEFORE UPDATE OF id, full_name", "", "trigger told fires on UPDATE OF full_name, and not on an UPDATE of first, last"),
        ("AFTER UPDATE OF first", "CREATE OR REPLACE TRIGGER told ...", ""),
        ("AFTER UPDATE OF first, last, full_name", "", ""),
        ("AFTER UPDATE OF id", "", ""),
        ("AFTER INSERT OR UPDATE", "", ""),
    ],
)
def test_a_trigger_of_columns_that_a_pair_changes_unseen_is_warned_of(base: Base, event: str, expand: str, said: str) -> None:
    server = base.open()
    for each in (USERS, TRIGGER[0], TRIGGER[1].format("told", event)):
        server.rows(each)
    found = "\n".join(sync.risks(server, NAMES, expand))
    server.close()
    assert (said in found, bool(found)) == (True, bool(said))


LOOKS = "CREATE FUNCTION looks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$"


@pytest.mark.parametrize(
    ("body", "fires", "expand", "said"),
    [
        ("NEW.last := lower(NEW.first);", "BEFORE INSERT OR UPDATE", "", "BEFORE INSERT OR UPDATE, says NEW.first and says NEW.last, and fires before ours"),
        ("IF NOT to_jsonb(NEW) ? 'last' THEN RAISE 'none'; END IF;", "BEFORE UPDATE", "", "a_look, BEFORE UPDATE, speaks of last of users, and fires"),
        ("", "BEFORE INSERT", "", ""),
        ("NEW.first := 'x';", "AFTER UPDATE", "", ""),
        ("INSERT INTO log SELECT OLD.*, OLD.first;", "BEFORE UPDATE", "", ""),
        ("NEW.first := 'x';", "BEFORE INSERT", "CREATE OR REPLACE FUNCTION looks() ...", ""),
    ],
)
def test_a_trigger_that_sees_the_old_side_before_ours_has_made_it_is_warned_of(base: Base, body: str, fires: str, expand: str, said: str) -> None:
    server = base.open()
    for each in (USERS, LOOKS.format(body), f"CREATE TRIGGER a_look {fires} ON users FOR EACH ROW EXECUTE FUNCTION looks()"):
        server.rows(each)
    found = "\n".join(sync.risks(server, NAMES, expand))
    server.close()
    assert (said in found, bool(found)) == (True, bool(said)), found


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ("WHEN (NEW.first IS NULL) EXECUTE FUNCTION suppress_redundant_updates_trigger()", "says new.first"),
        ("EXECUTE FUNCTION tsvector_update_trigger(words, 'pg_catalog.english', last)", "speaks of last of users"),
    ],
)
def test_so_is_one_that_speaks_of_the_old_side_itself(base: Base, trigger: str, said: str) -> None:
    server = base.open()
    server.rows(USERS)
    server.rows(f"ALTER TABLE users ADD words tsvector; CREATE TRIGGER a_look BEFORE UPDATE ON users FOR EACH ROW {trigger}")
    (found,) = sync.risks(server, NAMES)
    server.close()
    assert f"trigger a_look, BEFORE UPDATE, {said}, and fires before ours: when the new version writes, it does not see what full_name makes" in found


def test_a_foreign_table_is_refused(base: Base) -> None:
    made = ("CREATE FOREIGN DATA WRAPPER nothing", "CREATE SERVER s FOREIGN DATA WRAPPER nothing", "CREATE FOREIGN TABLE t (a text, b text) SERVER s")
    assert "t is a foreign table" in refused(base, a_pair(), *made)


TRIGGER = (
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    'CREATE TRIGGER "{}" {} ON users FOR EACH ROW EXECUTE FUNCTION f()',
)


@pytest.mark.parametrize(
    ("name", "when", "refuses"),
    [
        ("~c", "BEFORE UPDATE", True),
        ("über", "BEFORE INSERT", True),
        ("~c", "AFTER UPDATE", False),
        ("~c", "BEFORE DELETE", False),
        ("zzz", "BEFORE INSERT OR UPDATE", False),
        ("~ a", "BEFORE UPDATE", False),
    ],
)
def test_a_users_before_trigger_that_sorts_after_ours_is_refused(base: Base, name: str, when: str, refuses: bool) -> None:
    """semantics.md: "a user's BEFORE trigger that sorts after ours"."""
    assert ("would fire after ours" in refused(base, NAMES, USERS, TRIGGER[0], TRIGGER[1].format(name, when))) is refuses


def test_a_trigger_that_is_disabled_is_in_nobodys_way(base: Base) -> None:
    assert refused(base, NAMES, USERS, TRIGGER[0], TRIGGER[1].format("~c", "BEFORE UPDATE"), 'ALTER TABLE users DISABLE TRIGGER "~c"') == ""


def test_columns_that_another_pair_keeps_in_step_are_refused_and_a_pair_that_is_installed_is_not(base: Base) -> None:
    """Of two pairs in a chain the first has fired when the second changes what they share."""
    with base.connect() as admin:
        admin.execute(USERS + "; ALTER TABLE users ADD shown text")
    installed(base, NAMES)
    assert "full_name: kept in step by ~bleen_0007_full_name_1 already" in refused(base, a_pair("full_name", "shown", table="users"), "SELECT 1")
    assert refused(base, NAMES, "SELECT 1") == ""
    assert refused(base, a_pair("note", "shown", table="users"), "SELECT 1") == ""


WAYS_OUT = {
    "FOR TABLE users": 'ALTER PUBLICATION "p" DROP TABLE "public"."users"',
    "FOR ALL TABLES": 'DROP PUBLICATION "p"; CREATE PUBLICATION "p" FOR TABLE',
    "FOR TABLES IN SCHEMA public": 'ALTER PUBLICATION "p" DROP TABLES IN SCHEMA "public"',
    "FOR TABLES IN SCHEMA public, TABLE users": 'ALTER PUBLICATION "p" DROP TABLE "public"."users"; ALTER PUBLICATION "p" DROP TABLES IN SCHEMA "public"',
}


@pytest.mark.parametrize(("published", "way"), WAYS_OUT.items())
def test_a_table_with_subscribers_is_refused_with_a_way_out_that_the_server_takes(base: Base, published: str, way: str) -> None:
    """semantics.md: "tables with subscribers"."""
    said = refused(base, NAMES, USERS, f"CREATE TABLE others (); CREATE PUBLICATION p {published}")
    assert "users is in the publication p: subscribers have neither the columns nor the trigger" in said
    assert f"{way} and all the others, with the options that it has; or" in said if "ALL" in published else way in said
    assert refused(base, NAMES, f"{way} others" if "ALL" in published else way) == ""


def test_a_table_that_a_subscription_fills_is_refused(base: Base) -> None:
    """semantics.md: "writers under session_replication_role = replica". A subscription that is not connected is one."""
    made = "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p WITH (connect = false, slot_name = NONE)"
    row = "INSERT INTO pg_subscription_rel SELECT oid, 'users'::regclass, 'r', NULL FROM pg_subscription"
    try:
        assert "users is filled by a subscription" in refused(base, NAMES, USERS, made, "SET allow_system_table_mods = on", row)
    finally:
        with base.connect() as admin:
            admin.execute("DROP SUBSCRIPTION s")


def test_a_role_that_writes_as_a_replica_is_refused(base: Base) -> None:
    role = f"replica_{base.name}"
    try:
        said = refused(base, NAMES, USERS, f"CREATE ROLE {role}", f"ALTER ROLE {role} IN DATABASE {base.name} SET session_replication_role = replica")
        assert f"the role {role} is set to session_replication_role = replica" in said
        with base.connect() as admin:
            admin.execute(f"ALTER ROLE {role} IN DATABASE {base.name} RESET ALL")
            admin.execute(f"ALTER DATABASE {base.name} SET session_replication_role = replica")
        assert "this database is set to session_replication_role = replica" in refused(base, NAMES, "SELECT 1")
    finally:
        with base.connect() as admin:
            admin.execute(f"DROP ROLE {role}")


def test_a_pair_says_what_counts_where_nothing_tells(base: Base) -> None:
    """semantics.md: "`on_conflict: old | new | error`, required by the plan where it can happen". It can for every pair."""
    assert 'say on_conflict = "old", "new" or "error"' in refused(base, NAMES._replace(on_conflict=None))


@pytest.mark.parametrize(("expression", "name"), [("apart.joined(first, last)", "joined"), ("(first || last)::apart.short", "short")])
def test_whoever_writes_the_table_may_use_the_schema_of_what_a_pair_names(base: Base, expression: str, name: str) -> None:
    """A trigger reads its expressions with the rights of the writer, whose every statement would fail."""
    role = f"app_{base.name}"
    pair = NAMES._replace(forward={"full_name": expression}, lossy=True)
    with base.connect() as admin:
        admin.execute(USERS)
        admin.execute("CREATE SCHEMA apart; CREATE DOMAIN apart.short AS text")
        admin.execute("CREATE FUNCTION apart.joined(text, text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1 || $2'")
        admin.execute(f"CREATE ROLE {role} LOGIN; GRANT UPDATE (note) ON users TO {role}")
        try:
            said = f'forward or backward names {name} of the schema apart, which {role} may not use, who writes users: GRANT USAGE ON SCHEMA "apart"'
            assert said in refused(base, pair, "SELECT")
            admin.execute(f"GRANT USAGE ON SCHEMA apart TO {role}")
            assert refused(base, pair, "SELECT") == ""
        finally:
            admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


FUNCTIONS = (
    "CREATE TABLE t (id int PRIMARY KEY, a text, b text)",
    "CREATE FUNCTION volatile(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
    "CREATE FUNCTION stable(text) RETURNS text STABLE LANGUAGE sql AS 'SELECT $1'",
    "CREATE FUNCTION steady(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
    "CREATE FUNCTION hidden(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
    "REVOKE EXECUTE ON FUNCTION hidden(text) FROM PUBLIC",
    "CREATE SCHEMA other",
    "CREATE FUNCTION other.away(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("a", ""),
        ("t.a || ''", ""),
        ("concat(a, '') -- as it is", ""),
        ("steady(a)", ""),
        ("other.away(a)", ""),
        ("CASE WHEN a IS NULL THEN NULL ELSE a END", ""),
        ('U&"\\0061"', "names a column with U&"),
        ("b", "names b; it can be made from a only"),
        ("id::text", "names id; it can be made from a only"),
        ("users.a", "names users.a; it can name columns of t only"),
        ("public.t.*", "names public.t.*"),
        ("(SELECT a)", "has a subquery"),
        ("a || (SELECT 'x' FROM pg_class LIMIT 1)", "has a subquery"),
        ("$1", "has a parameter"),
        ("a || current_user", "asks for the time or the user"),
        ("a || now()", "calls now()"),
        ("a || random()", "calls random()"),
        ("a || current_setting('x')", "calls current_setting()"),
        ("nextval('x')::text", "calls nextval()"),
        ("age(a::date)::text", "calls age()"),
        ("volatile(a)", "calls volatile(), which may give another value every time"),
        ("stable(a)", "calls stable(), which may give another value every time"),
        ("hidden(a)", "GRANT EXECUTE ON FUNCTION hidden TO PUBLIC"),
        ("left(a, length(a))", ""),
        ("away(a)", "calls away(), which there is not; name it with its schema"),
        ("max(a)", "which is for many rows"),
        ("count(*)::text", "has an aggregate or a window"),
        ("lag(a) OVER ()", "has an aggregate or a window"),
        ("unnest(ARRAY[a])", "which is for many rows, or gives many"),
        ("a, a", "is more than one expression"),
        ("a), (a", "is more than one expression"),
        ("a) FROM t WHERE (true", "is more than one expression"),
        ("a); DROP TABLE t; SELECT (1", "is more than one expression"),
        ("a ||", "is no expression that PostgreSQL understands"),
        ("'a", "is no expression that PostgreSQL understands"),
        ("", "is no expression that PostgreSQL understands"),
        ("-- nothing", "is no expression that PostgreSQL understands"),
        ("ROW(a, a) = ROW(a, a)", "1 rows lose something"),
        ("a::jsonb::money", "does not take forward and backward as values of their columns: cannot cast type jsonb to money"),
        ("a::int::text", "forward or backward fails for a row of the table: invalid input syntax"),
        ("upper(a)", '1 rows lose something on the way a -> b -> a (such as "id" = 1)'),
    ],
)
def test_expressions_are_made_from_the_columns_of_the_other_side_and_from_nothing_else(base: Base, expression: str, said: str) -> None:
    pair = Pair("t", ("a",), ("b",), {"b": expression}, {"a": "b"}, "error")
    found = refused(base, pair, *FUNCTIONS, "INSERT INTO t (id, a) VALUES (1, 'x')")
    assert said in found if said else found == ""


def test_a_column_in_mixed_case_that_is_written_without_quotes_is_told_with_them() -> None:
    with pytest.raises(Refused, match='names fullName, which PostgreSQL reads as fullname: write "fullName" in double quotes'):
        postgres_expression.read("fullName", "backward of nick", "users", ["fullName"])


def test_a_mapping_that_loses_is_refused_with_a_count_and_an_example_unless_it_is_declared(end_base: Base) -> None:
    """semantics.md: "a lossy mapping is declared as such"."""
    rows = "INSERT INTO users (id, first, last) VALUES (7, 'Ada B', 'King'), (8, 'Ada', 'King'), (9, 'Eva C', 'King')"
    said = refused(end_base, NAMES, USERS, rows)
    assert '2 rows lose something on the way first, last -> full_name -> first, last (such as "id" = 7)' in said
    assert refused(end_base, NAMES._replace(lossy=True), "SELECT 1") == ""


def test_an_expression_that_fails_for_a_default_is_refused(base: Base) -> None:
    pair = a_pair("status", "state", "CASE status WHEN 'on' THEN 'up' ELSE (status::int)::text END", "state")
    assert "forward fails for the defaults of status" in refused(base, pair, "CREATE TABLE t (id int, status text DEFAULT 'off', state text)")


def test_what_is_found_is_found_again_inside_a_transaction_and_leaves_it_usable(base: Base) -> None:
    with base.connect() as admin:
        admin.execute(b"CREATE TABLE t (id int PRIMARY KEY, a text, b text)")
    server = base.open()
    with server.transaction():
        assert sync.refusals(server, a_pair(forward="a", backward="b::int::jsonb"))
        assert server.rows("SELECT 1") == [(1,)]
    server.close()
