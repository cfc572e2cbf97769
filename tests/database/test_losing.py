"""What contract takes away for good with the old columns, told before the expand; and what a revert does, told before it."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from bleen.database import connect
from bleen.database.foresight import Foresight
from bleen.database.gate import Around
from bleen.database.ledger import State
from bleen.database.migration import Migration, parse
from bleen.database.operations import template
from bleen.database.schema import Schema
from bleen.errors import Refused
from databases import Base
from dialects import DIALECTS, urls
from mariadb import MariaBase

POSTGRES = """
CREATE TABLE acc (id bigserial PRIMARY KEY, tenant int NOT NULL DEFAULT 1, login text, state text NOT NULL CHECK (state <> 'login'), UNIQUE (tenant, login));
CREATE INDEX by_login ON acc (lower(login)) WHERE tenant > 0; CREATE INDEX by_tenant ON acc (tenant)
"""
MARIA = "CREATE TABLE acc (id int PRIMARY KEY, tenant int, login varchar(50) NOT NULL UNIQUE, state int CHECK (state > 0), KEY more (tenant, login))"
SQLITE = "CREATE TABLE acc (id integer PRIMARY KEY, login text NOT NULL DEFAULT '' CHECK (login <> 'login'), state text CHECK (length(state) > 0))"
UNIQUE = "CREATE UNIQUE INDEX CONCURRENTLY acc_handle_tenant_key ON acc USING btree (tenant, handle);"
INDEX = "CREATE INDEX CONCURRENTLY acc_handle_tenant_idx ON acc USING btree (lower(handle)) WHERE (tenant > 0);"


def renamed(old: str, new: str, more: str = "", before: str = "", type: str = "text") -> Migration:
    pair = f'[[sync]]\ntable = "acc"\nold = ["{old}"]\nnew = ["{new}"]\nforward = {{ {new} = "{old}" }}\nbackward = {{ {old} = "{new}" }}\n'
    files = {"expand.sql": f"ALTER TABLE acc ADD COLUMN {new} {type}; {more}", "contract.sql": f"{before} ALTER TABLE acc DROP COLUMN {old};"}
    return parse("0007_renamed", {**files, "migration.toml": f'{pair}on_conflict = "new"\n'}, "")


def of_contract(schema: Schema, migration: Migration) -> list[str]:
    head = f"{migration.name}: contract.sql drops "
    return [each.removeprefix(head) for each in Foresight(schema).risks(migration) if each.startswith(head)]


def emptied(tmp_path: Path) -> str:
    (tmp_path / "app.db").touch()
    return f"sqlite:///{tmp_path / 'app.db'}"


@contextmanager
def file(tmp_path: Path, made: str) -> Iterator[Schema]:
    with closing(connect(emptied(tmp_path))) as server:
        server.rows(made)
        yield Schema(server)


def test_the_plan_writes_out_what_gives_a_new_column_the_unique_check_index_and_not_null_of_the_old_one(base: Base) -> None:
    with base.connect() as db:
        db.execute(POSTGRES)
    schema = Schema(base.open())
    unique, index = of_contract(schema, renamed("login", "handle"))
    assert unique == (
        "login of acc, and with it UNIQUE acc_tenant_login_key USING btree (tenant, login); nothing says that of handle: let expand.sql say " + UNIQUE
    )
    assert index.endswith(INDEX)
    check, required = of_contract(schema, renamed("state", "login2"))
    assert check.endswith(
        "ALTER TABLE acc ADD CONSTRAINT acc_login2_check CHECK ((login2 <> 'login'::text)) NOT VALID; ALTER TABLE acc VALIDATE CONSTRAINT acc_login2_check;"
    )
    assert required.startswith("state of acc, which is NOT NULL, and login2 may be NULL from then on: if it is not to be, let contract.sql say ALTER TABLE acc")
    with base.connect() as db:  # what is told can be done, and is enough
        db.execute(f"ALTER TABLE acc ADD handle text; {(UNIQUE + INDEX).replace('CONCURRENTLY', '')}")
    assert of_contract(schema, renamed("login", "handle")) == []


@pytest.mark.parametrize(
    ("more", "before", "told"),
    [
        (UNIQUE, "", ["by_login"]),
        ("CREATE UNIQUE INDEX CONCURRENTLY u ON acc (handle);", "", ["acc_tenant_login_key", "by_login"]),  # it says something else
        (f"{UNIQUE} CREATE INDEX CONCURRENTLY i ON acc (tenant, handle);", "", ["by_login"]),
        (UNIQUE, "DROP INDEX CONCURRENTLY by_login;", []),
        (f"{UNIQUE} {INDEX}", "", []),
    ],
)
def test_what_the_migration_says_of_the_new_column_or_drops_by_name_is_not_told(base: Base, more: str, before: str, told: list[str]) -> None:
    with base.connect() as db:
        db.execute(POSTGRES)
    said = of_contract(Schema(base.open()), renamed("login", "handle", more, before))
    assert [name in each for name, each in zip(told, said, strict=True)] == [True] * len(told)


@pytest.mark.parametrize(
    ("contract", "told"),
    [
        ("ALTER TABLE acc DROP COLUMN login;", ["acc_tenant_login_key", "by_login"]),
        ("ALTER TABLE acc DROP COLUMN login, DROP COLUMN tenant;", []),
        ("ALTER TABLE acc DROP CONSTRAINT acc_tenant_login_key; ALTER TABLE acc DROP COLUMN login;", ["by_login"]),
        ("ALTER TABLE acc DROP COLUMN id;", []),
    ],
)
def test_what_holds_other_columns_too_and_goes_with_one_that_is_dropped_is_told(base: Base, contract: str, told: list[str]) -> None:
    """PostgreSQL drops a UNIQUE of several columns with any of them, without a word."""
    with base.connect() as db:
        db.execute(POSTGRES)
    said = [each for each in Foresight(Schema(base.open())).risks(parse("0007_gone", {"contract.sql": contract}, "")) if "and with it" in each]
    assert [name in each for name, each in zip(told, said, strict=True)] == [True] * len(told)


def test_what_a_later_migration_of_the_same_release_says_of_the_new_column_is_not_asked_for(base: Base) -> None:
    with base.connect() as db:
        db.execute(POSTGRES)
    foresight, later = Foresight(Schema(base.open())), parse("0008_indexes", {"expand.sql": f"{UNIQUE} {INDEX}"}, "")
    told = [foresight.plan(renamed("login", "handle"), behind=behind).beware for behind in ([], [later])]
    assert ["nothing says that of handle" in "".join(each) for each in told] == [True, False]


@pytest.mark.parametrize(
    ("index", "same"),
    [
        ("CREATE INDEX i ON one (kind) WHERE kind IN ('a', 'b')", "CREATE INDEX CONCURRENTLY j ON one (sort) WHERE sort IN ('a', 'b');"),
        ("CREATE INDEX i ON one (at) WHERE at > '2020-01-01'", "CREATE INDEX CONCURRENTLY j ON one (since) WHERE since > '2020-01-01';"),
        ("CREATE INDEX i ON one (kind) WITH (fillfactor = 70)", "CREATE INDEX CONCURRENTLY j ON one (sort);"),
        ("CREATE INDEX i ON one (trim(kind), (coalesce(at, '2020-01-01')))", "CREATE INDEX CONCURRENTLY j ON one (trim(sort), (coalesce(at, '2020-01-01')));"),
    ],
)
def test_an_index_that_is_given_in_the_words_of_the_old_one_is_not_asked_for_once_more(base: Base, index: str, same: str) -> None:
    with base.connect() as db:
        db.execute("CREATE TABLE one (id int PRIMARY KEY, kind varchar(9), at timestamp)")
        db.execute(index)
    old, new = ("at", "since") if "since" in same else ("kind", "sort")
    migration = renamed(old, new, same)
    of_one = parse(migration.name, {name: text.replace(" acc ", " one ").replace('"acc"', '"one"') for name, text in migration.sources.items()}, "")
    assert of_contract(Schema(base.open()), of_one) == []


def test_the_statements_that_plan_writes_name_a_column_as_the_server_takes_it(base: Base) -> None:
    with base.connect() as db:
        db.execute(f'{POSTGRES}; ALTER TABLE acc ADD "userName" text, ADD "theState" text')
        schema = Schema(base.open())
        told = [*of_contract(schema, renamed("login", "userName")), *of_contract(schema, renamed("state", "theState"))]
        said = [each.partition("let expand.sql say ")[2] for each in told if "let expand.sql say " in each]
        assert len(said) == 3
        for each in said:
            db.execute(each.replace("CONCURRENTLY", ""))
        assert of_contract(schema, renamed("login", "userName")) == []


def test_not_null_of_the_safe_way_is_no_check_of_the_new_column(base: Base) -> None:
    with base.connect() as db:
        db.execute(POSTGRES)
    safe = "ALTER TABLE acc ADD CONSTRAINT n CHECK (status IS NOT NULL) NOT VALID; ALTER TABLE acc ALTER status SET NOT NULL;"
    (check,) = of_contract(Schema(base.open()), renamed("state", "status", before=safe))
    assert len(of_contract(Schema(base.open()), renamed("state", "status", type="numeric(10, 2) NOT NULL"))) == 1
    assert "CHECK acc_state_check (state <> 'login'::text)" in check


def test_mariadb_and_sqlite_are_told_of_what_goes_there(maria_base: MariaBase, tmp_path: Path) -> None:
    with closing(maria_base.open()) as server:
        server.rows(MARIA)
        unique, more, required = of_contract(Schema(server), renamed("login", "handle", type="varchar(50)"))
        assert more.endswith("let expand.sql say ALTER TABLE `acc` ADD INDEX `acc_tenant_handle_idx` (`tenant`, `handle`), ALGORITHM=INPLACE, LOCK=NONE;")
        assert unique.endswith("let expand.sql say ALTER TABLE `acc` ADD UNIQUE INDEX `acc_handle_key` (`handle`), ALGORITHM=INPLACE, LOCK=NONE;")
        assert of_contract(Schema(server), renamed("Login", "handle", type="varchar(50)")) == [unique, more, required]
        assert "which is NOT NULL, and handle may be NULL" in required
        assert required.endswith("let contract.sql say ALTER TABLE `acc` MODIFY COLUMN `handle` TYPE NOT NULL, ALGORITHM=INPLACE, LOCK=NONE;")
        (check,) = of_contract(Schema(server), renamed("state", "status", type="int"))
        assert check.endswith("let the ADD COLUMN of expand.sql say CHECK (`status` > 0)")
        assert of_contract(Schema(server), renamed("state", "status", type="int CHECK (status > 0)")) == []
    with file(tmp_path, SQLITE) as schema:
        check, required = of_contract(schema, renamed("login", "handle"))
        way = """nothing says that of handle: let the ADD COLUMN of expand.sql say CHECK ("handle" <> 'login')"""
        assert check.endswith(f"with it CHECK login <> 'login'; {way}")
        assert "let the ADD COLUMN of expand.sql say NOT NULL with a default" in required
        assert of_contract(schema, renamed("login", "handle", type="text NOT NULL DEFAULT '' CHECK (handle <> 'login')")) == []


MERGED = """[[sync]]
table = "acc"
old = ["first", "last"]
new = ["whole"]
forward = {{ whole = "{}" }}
backward = {{ first = "{}", last = "coalesce(whole, '')" }}
on_conflict = "new"
lossy = true
"""


@pytest.mark.parametrize("dialect", ["postgres", "mysql", "sqlite"])
@pytest.mark.parametrize(
    ("forward", "first", "told"),
    [
        ("first || last", "whole", True),
        ("coalesce(first, '') || coalesce(last, '')", "whole", False),
        ("first || last", "coalesce(whole, 'Cher')", False),  # it comes back
    ],
)
def test_the_plan_counts_the_rows_that_say_something_of_which_forward_makes_null(
    request: pytest.FixtureRequest, tmp_path: Path, dialect: str, forward: str, first: str, told: bool
) -> None:
    """'0 rows lost or diverged'; lossy may have been declared for another loss."""
    url = emptied(tmp_path) if dialect == "sqlite" else request.getfixturevalue("base" if dialect == "postgres" else "maria_base").url
    if dialect == "mysql":
        forward = f"concat({forward.replace('||', ',')})"
    with closing(connect(url)) as server:
        server.rows("CREATE TABLE acc (id int PRIMARY KEY, first varchar(9), last varchar(9))")
        server.rows("INSERT INTO acc VALUES (1, 'Cher', NULL), (2, 'Ann', 'Lee'), (3, NULL, NULL), (4, '', NULL)")
        files = {"expand.sql": "ALTER TABLE acc ADD COLUMN whole varchar(20);", "contract.sql": "ALTER TABLE acc DROP COLUMN first;"}
        migration = parse("0007_whole", {**files, "migration.toml": MERGED.format(forward, first)}, "")
        said = Foresight(Schema(server)).risks(migration)
        lost = "1 rows have something in first or last, and forward makes NULL of it for whole"
        assert [lost in each for each in said] == [True] * told
        server.rows("ALTER TABLE acc ADD COLUMN whole varchar(20)")
        server.rows("UPDATE acc SET whole = 'Cher' WHERE id = 1")
        assert Foresight(Schema(server)).losing(migration) == []  # somebody has written it


def test_no_example_that_is_to_be_copied_makes_null_of_who_has_one_name(base: Base) -> None:
    guide = Path(__file__).parents[2] / "docs" / "guide"
    texts = [*(guide.joinpath(name).read_text() for name in ("database.md", "sync.md")), template("postgres").files["migration.toml"]]
    examples = [said for text in texts for said in re.findall(r"rtrim\(.+\)(?=\"|;)", text)]
    assert len(examples) >= 5
    with base.connect() as db:
        for each in examples:
            assert db.execute(f"SELECT {each} FROM (SELECT 'Cher', NULL::text) AS t (first_name, last_name)").fetchall() == [("Cher",)], each


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_the_old_version_writes_behind_a_backfill_without_a_pair_is_foretold_and_shuts_the_gate(request: pytest.FixtureRequest, dialect: str) -> None:
    """ "0 rows lost": the old column goes with what only it says."""
    with ExitStack() as stack, closing(connect(urls(dialect, stack, request)[0])) as server:
        server.rows("CREATE TABLE acc (id int PRIMARY KEY, phone varchar(20))")
        server.rows("INSERT INTO acc VALUES (1, '555'), (2, NULL)")
        files = {"expand.sql": "ALTER TABLE acc ADD COLUMN tel varchar(20);", "backfill.sql": "UPDATE acc SET tel = phone;"}
        migration = parse("0007_tel", {**files, "contract.sql": "ALTER TABLE acc DROP COLUMN phone;"}, "")
        schema = Schema(server)
        (said,) = [each for each in Foresight(schema).risks(migration) if "backfill makes" in each]
        assert said.startswith(
            "0007_tel: contract.sql takes phone away, by which the backfill makes tel of acc, and nothing follows: unless each version writes both"
        )
        assert 'old = ["phone"], new = ["tel"]' in said
        schema.expand([migration], "shop", 2, {}, {})
        (pending,) = schema.pending(Around("shop", ()))
        assert pending.obstacles == ()
        server.rows("INSERT INTO acc (id, phone) VALUES (3, '777')")
        server.rows("INSERT INTO acc (id, phone, tel) VALUES (4, '888', '888')")  # by one that writes both
        server.rows("UPDATE acc SET phone = '556' WHERE id = 1")
        (pending,) = schema.pending(Around("shop", ()))
        assert [each.told for each in pending.obstacles] == [
            "1 rows of acc have nothing in tel of what phone says, which goes with the contract: `bleen migrate backfill 0007_tel` fills them;"
            " --because REASON opens it all the same, if it names phone",
            "1 rows of acc have something else in tel than phone says, which goes with the contract: the new version wrote tel, or the old one phone behind the"
            " backfill: nobody but you knows; --because REASON opens it all the same, if it names phone",
        ]
        schema.backfill("0007_tel")
        (pending,) = schema.pending(Around("shop", ()))
        assert ["something else" in each.why for each in pending.obstacles] == [True]
        assert server.rows("SELECT tel FROM acc ORDER BY id") == [("555",), (None,), ("777",), ("888",)]
        server.rows("UPDATE acc SET tel = phone WHERE id = 1")
        (pending,) = schema.pending(Around("shop", ()))
        assert pending.obstacles == ()
        assert any("look at those rows, and write tel of them, before" in each for each in Foresight(schema).losing(migration))
        schema.contract("0007_tel")
        assert [*server.columns("acc")] == ["id", "tel"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_backfill_that_looks_for_rows_by_what_the_contract_takes_away_is_followed_too(request: pytest.FixtureRequest, dialect: str) -> None:
    """The gate is shut while rows diverge: late, promoted and demoted by the old version behind the backfill."""
    with ExitStack() as stack, closing(connect(urls(dialect, stack, request)[0])) as server:
        server.rows("CREATE TABLE acc (id int PRIMARY KEY, status int)")
        server.rows("INSERT INTO acc VALUES (1, 0), (2, 2), (3, 0)")
        files = {"expand.sql": "ALTER TABLE acc ADD COLUMN admin int NOT NULL DEFAULT 0;", "backfill.sql": "UPDATE acc SET admin = 1 WHERE status = 2;"}
        migration = parse("0007_admin", {**files, "contract.sql": "ALTER TABLE acc DROP COLUMN status;"}, "")
        schema = Schema(server)
        assert any("takes status away, by which the backfill makes admin of acc" in each for each in Foresight(schema).risks(migration))
        schema.expand([migration], "shop", 2, {}, {})
        (pending,) = schema.pending(Around("shop", ()))
        assert pending.obstacles == ()
        server.rows("INSERT INTO acc (id, status) VALUES (4, 2)")
        server.rows("UPDATE acc SET status = 2 WHERE id = 1")
        server.rows("UPDATE acc SET status = 0 WHERE id = 2")
        (pending,) = schema.pending(Around("shop", ()))
        assert [each.why.partition(",")[0] for each in pending.obstacles] == [
            "2 rows of acc have nothing in admin of what status says",
            "1 rows of acc have something else in admin than status says",
        ]
        schema.backfill("0007_admin")
        server.rows("UPDATE acc SET admin = 0 WHERE id = 2")
        (pending,) = schema.pending(Around("shop", ()))
        assert pending.obstacles == ()
        assert server.rows("SELECT id, admin FROM acc ORDER BY id") == [(1, 1), (2, 0), (3, 0), (4, 1)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_backfill_of_an_earlier_migration_or_from_another_table_is_followed_until_what_it_reads_goes(request: pytest.FixtureRequest, dialect: str) -> None:
    with ExitStack() as stack, closing(connect(urls(dialect, stack, request)[0])) as server:
        server.rows("CREATE TABLE acc (id int PRIMARY KEY, status int)")
        server.rows("CREATE TABLE logs (id int PRIMARY KEY, acc int, msg varchar(20))")
        server.rows("INSERT INTO acc VALUES (1, 1), (2, 2)")
        server.rows("INSERT INTO logs VALUES (1, 1, 'one')")
        last = "(SELECT max(l.msg) FROM logs l WHERE l.acc = acc.id)"
        release = [
            parse("1_on", {"expand.sql": "ALTER TABLE acc ADD COLUMN state varchar(9);", "backfill.sql": "UPDATE acc SET state = 'on' WHERE status = 1;"}, ""),
            parse("2_off", {"backfill.sql": "UPDATE acc SET state = 'off' WHERE status = 2;", "contract.sql": "ALTER TABLE acc DROP COLUMN status;"}, ""),
            parse("3_msg", {"expand.sql": "ALTER TABLE acc ADD COLUMN msg varchar(20);", "backfill.sql": f"UPDATE acc SET msg = {last};"}, ""),
            parse("4_logs", {"expand.sql": "SELECT 1;", "contract.sql": "DROP TABLE logs;"}, ""),
        ]
        schema = Schema(server)
        schema.expand(release, "shop", 2, {}, {})
        assert next(each.obstacles for each in schema.pending(Around("shop", ()))) == ()
        server.rows("INSERT INTO acc (id, status) VALUES (3, 1)")
        server.rows("INSERT INTO logs VALUES (2, 3, 'late')")
        said = {each.migration: [o.why.partition(":")[0] for o in each.obstacles] for each in schema.pending(Around("shop", ()))}
        assert "1 rows of acc have nothing in state of what status says, which goes with the contract" in said["2_off"]
        assert "1 rows of acc have nothing in msg of what logs says, which goes with the contract" in said["4_logs"]


@pytest.mark.parametrize(
    ("backfill", "late", "empty", "other"),
    [
        ("whole = first WHERE whole IS NULL", ["first = 'New' WHERE id = 1"], 0, 1),
        ("whole = first WHERE acc.whole IS NULL AND acc.first <> ''", ["first = '' WHERE id = 1", "whole = NULL WHERE id = 2"], 1, 1),
        ("whole = first WHERE id IN (SELECT a.id FROM acc a WHERE a.whole IS NULL)", ["first = 'New' WHERE id = 1"], 0, 1),
        ("whole = first WHERE first IS NOT NULL", ["first = NULL WHERE id = 1", "whole = NULL, first = NULL WHERE id = 2"], 0, 1),
        ("vip = 1 WHERE status = 2 AND vip = 0", ["status = 0 WHERE id = 2", "status = 2 WHERE id = 1"], 1, 1),
        ("whole = first WHERE id < 3", ["first = 'New' WHERE id = 3", "first = 'New' WHERE id = 2"], 0, 1),
        ("whole = first WHERE status = 0", ["first = 'New', status = 1 WHERE id = 1"], 0, 1),
        ("vip = 1 WHERE status = 2", ["whole = 'Whoever' WHERE id = 1"], 0, 0),
    ],
    ids=[
        "that are empty",
        "empty or not wanted any more",
        "that are empty, by a query",
        "wanted no more",
        "of what it sets and of what goes",
        "that it leaves out",
        "that it has filled and leaves out by now",
        "another column",
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_backfill_does_not_look_for_once_it_has_filled_it_is_followed_all_the_same(
    request: pytest.FixtureRequest, dialect: str, backfill: str, late: list[str], empty: int, other: int
) -> None:
    """'0 rows lost': a WHERE that has the backfill pass by what it has filled says nothing of what the old version wrote there since."""
    with ExitStack() as stack, closing(connect(urls(dialect, stack, request)[0])) as server:
        server.rows("CREATE TABLE acc (id int PRIMARY KEY, first varchar(9), status int)")
        server.rows("INSERT INTO acc VALUES (1, 'Ann', 0), (2, 'Bob', 2), (3, 'Cy', 0)")
        expand = "ALTER TABLE acc ADD COLUMN whole varchar(20); ALTER TABLE acc ADD COLUMN vip int NOT NULL DEFAULT 0;"
        contract = "ALTER TABLE acc DROP COLUMN first; ALTER TABLE acc DROP COLUMN status;"
        schema = Schema(server)
        files = {"expand.sql": expand, "backfill.sql": f"UPDATE acc SET {backfill};", "contract.sql": contract}
        schema.expand([parse("0007_full", files, "")], "shop", 2, {}, {})
        (pending,) = schema.pending(Around("shop", ()))
        assert pending.obstacles == ()
        for each in late:
            server.rows(f"UPDATE acc SET {each}")
        (pending,) = schema.pending(Around("shop", ()))
        said = {("have nothing" if "have nothing" in each.why else "something else"): each.why.partition(" ")[0] for each in pending.obstacles}
        assert said == {what: str(count) for what, count in (("have nothing", empty), ("something else", other)) if count}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_backfill_into_what_is_gone_keeps_no_gate_shut(request: pytest.FixtureRequest, dialect: str) -> None:
    with ExitStack() as stack, closing(connect(urls(dialect, stack, request)[0])) as server:
        server.rows("CREATE TABLE acc (id int PRIMARY KEY, first varchar(9), last varchar(9))")
        server.rows("CREATE TABLE town (id int PRIMARY KEY)")
        server.rows("INSERT INTO acc VALUES (1, 'Ann', 'Lee')")
        both = "first || last" if dialect != "mysql" else "concat(first, last)"
        city = "(SELECT max(a.last) FROM acc a WHERE a.id = town.id)"
        release = [
            parse("1_up", {"expand.sql": "ALTER TABLE acc ADD COLUMN up varchar(9);", "backfill.sql": "UPDATE acc SET up = upper(last);"}, ""),
            parse("2_no", {"expand.sql": "SELECT 1;", "contract.sql": "ALTER TABLE acc DROP COLUMN up;"}, ""),
            parse("3_city", {"expand.sql": "ALTER TABLE town ADD COLUMN city varchar(9);", "backfill.sql": f"UPDATE town SET city = {city};"}, ""),
            parse("4_town", {"expand.sql": "SELECT 1;", "contract.sql": "DROP TABLE town;"}, ""),
            parse("5_full", {"expand.sql": "ALTER TABLE acc ADD COLUMN whole varchar(20);", "backfill.sql": f"UPDATE acc SET whole = {both};"}, ""),
            parse("6_first", {"expand.sql": "SELECT 1;", "contract.sql": "ALTER TABLE acc DROP COLUMN first;"}, ""),
            parse("7_last", {"expand.sql": "SELECT 1;", "contract.sql": "ALTER TABLE acc DROP COLUMN last;"}, ""),
        ]
        schema = Schema(server)
        schema.expand(release, "shop", 2, {}, {})
        for name in ("2_no", "4_town", "6_first"):
            assert schema.pending(Around("shop", ()))[0].obstacles == ()
            schema.contract(name)
        (pending,) = schema.pending(Around("shop", ()))
        (obstacle,) = pending.obstacles
        assert obstacle.why.startswith("which rows of acc have something else in whole than last says, which goes with the contract, cannot be counted: ")
        assert obstacle.opened("last: nobody writes it")
        schema.contract("7_last")
        assert [*server.columns("acc")] == ["id", "whole"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_pairs_of_two_tables_that_are_pending_at_once_are_in_nobody_s_way(request: pytest.FixtureRequest, dialect: str) -> None:
    """Several migrations belong to one release: the gate of each asked the other's pair for a backfill, which it has not, and was shut for good."""
    pair = '[[sync]]\ntable = "{0}"\nold = ["kind"]\nnew = ["sort"]\nforward = {{ sort = "kind" }}\nbackward = {{ kind = "sort" }}\non_conflict = "new"\n'
    with ExitStack() as stack, closing(connect(urls(dialect, stack, request)[0])) as server:
        release = []
        for number, table in enumerate(("acc", "bill"), 1):
            server.rows(f"CREATE TABLE {table} (id int PRIMARY KEY, kind varchar(9))")
            server.rows(f"INSERT INTO {table} VALUES (1, 'a')")
            files = {"expand.sql": f"ALTER TABLE {table} ADD COLUMN sort varchar(9);", "contract.sql": f"ALTER TABLE {table} DROP COLUMN kind;"}
            release.append(parse(f"{number}_{table}", {**files, "migration.toml": pair.format(table)}, ""))
        schema = Schema(server)
        assert not any("no backfill" in each for migration in release for each in Foresight(schema).risks(migration))
        schema.expand(release, "shop", 2, {}, {})
        assert schema.pending(Around("shop", ()))[0].obstacles == ()
        for migration in release:
            schema.contract(migration.name)
        assert [[*server.columns(table)] for table in ("acc", "bill")] == [["id", "sort"]] * 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_contracted_migration_has_filled_is_followed_until_what_it_reads_goes(request: pytest.FixtureRequest, dialect: str) -> None:
    """'0 rows lost': its own contract took something else, and another one takes what its backfill read."""
    with ExitStack() as stack, closing(connect(urls(dialect, stack, request)[0])) as server:
        server.rows("CREATE TABLE acc (id int PRIMARY KEY, name varchar(9), odd varchar(9), admin int)")
        server.rows("INSERT INTO acc (id, name, admin) VALUES (1, 'Ann', 1), (2, 'Bob', 0)")
        adds, drops = "ALTER TABLE acc ADD COLUMN {} varchar(9);", "ALTER TABLE acc DROP COLUMN {};"
        full = parse("1_whole", {"expand.sql": adds.format("whole"), "backfill.sql": "UPDATE acc SET whole = name;", "contract.sql": drops.format("odd")}, "")
        role = {"expand.sql": adds.format("role"), "backfill.sql": "UPDATE acc SET role = 'admin' WHERE admin = 1;", "contract.sql": "SELECT 1;"}
        rest = {"backfill.sql": "UPDATE acc SET role = 'user' WHERE admin = 0;", "contract.sql": drops.format("admin")}
        release = [full, parse("2_role", role, ""), parse("3_rest", rest, ""), parse("4_name", {"contract.sql": drops.format("name")}, "")]
        schema = Schema(server)
        schema.expand(release, "shop", 2, {}, {})
        for name in ("1_whole", "2_role"):
            schema.contract(name)
        server.rows("INSERT INTO acc (id, name, admin) VALUES (3, 'late', 1)")
        said = {each.migration: [o.why.partition(",")[0] for o in each.obstacles if "acc" in o.why] for each in schema.pending(Around("shop", ()))}
        assert said == {
            "3_rest": ["1 rows of acc have nothing in role of what admin says"],
            "4_name": ["1 rows of acc have nothing in whole of what name says"],
        }
        assert any("takes name away, by which the backfill makes whole of acc" in each for each in Foresight(schema).losing(release[3]))
        schema.backfill("1_whole")
        schema.backfill("2_role")
        assert schema.pending(Around("shop", ()))[0].obstacles == ()
        assert server.rows("SELECT whole, role FROM acc ORDER BY id") == [("Ann", "admin"), ("Bob", "user"), ("late", "admin")]
        schema.contract("3_rest")
        with pytest.raises(Refused, match="admin"):
            schema.backfill("3_rest")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_second_backfill_makes_of_a_column_is_its_own(request: pytest.FixtureRequest, dialect: str) -> None:
    """`import` makes two migrations of two UPDATEs: the gate of one took what the other had made for somebody's."""
    with ExitStack() as stack, closing(connect(urls(dialect, stack, request)[0])) as server:
        server.rows("CREATE TABLE acc (id int PRIMARY KEY, name varchar(9), nick varchar(9))")
        server.rows("INSERT INTO acc VALUES (1, 'Ann', 'A'), (2, 'Bob', NULL)")
        first = {"expand.sql": "ALTER TABLE acc ADD COLUMN shown varchar(9);", "backfill.sql": "UPDATE acc SET shown = name;"}
        drops = "ALTER TABLE acc DROP COLUMN name; ALTER TABLE acc DROP COLUMN nick;"
        second = {"backfill.sql": "UPDATE acc SET shown = nick WHERE nick IS NOT NULL;", "contract.sql": drops}
        schema = Schema(server)
        schema.expand([parse("1_name", first, ""), parse("2_nick", second, "")], "shop", 2, {}, {})
        assert schema.pending(Around("shop", ()))[0].obstacles == ()
        server.rows("UPDATE acc SET nick = 'B' WHERE id = 1")
        assert sorted(each.why.partition(",")[0] for each in schema.pending(Around("shop", ()))[0].obstacles) == [
            "1 rows of acc have something else in shown than name says",
            "1 rows of acc have something else in shown than nick says",
        ]


def test_a_table_of_another_schema_may_have_the_name_of_the_one_that_is_filled(base: Base) -> None:
    with closing(connect(base.url)) as server:
        server.rows("CREATE TABLE acc (id int PRIMARY KEY)")
        server.rows("CREATE SCHEMA old; CREATE TABLE old.acc (id int PRIMARY KEY, mail text)")
        server.rows("INSERT INTO acc VALUES (1)")
        server.rows("INSERT INTO old.acc VALUES (1, 'a')")
        made = "UPDATE acc SET mail = (SELECT o.mail FROM old.acc o WHERE o.id = acc.id);"
        files = {"expand.sql": "ALTER TABLE acc ADD COLUMN mail text;", "backfill.sql": made, "contract.sql": "DROP TABLE old.acc;"}
        schema = Schema(server)
        schema.expand([parse("1_mail", files, "")], "shop", 2, {}, {})
        assert [each.obstacles for each in schema.pending(Around("shop", ()))] == [()]
        server.rows("UPDATE old.acc SET mail = 'late'")
        ((obstacle,),) = [each.obstacles for each in schema.pending(Around("shop", ()))]
        assert obstacle.why.startswith("1 rows of acc have something else in mail than acc says")


def test_a_column_that_knows_no_equal_is_compared_by_its_bytes(base: Base) -> None:
    with closing(connect(base.url)) as server:
        server.rows("CREATE TABLE acc (id int PRIMARY KEY, kind text)")
        server.rows("INSERT INTO acc VALUES (1, 'a')")
        made = "UPDATE acc SET data = json_build_object('kind', kind) WHERE kind IS NOT NULL;"
        files = {"expand.sql": "ALTER TABLE acc ADD COLUMN data json;", "backfill.sql": made, "contract.sql": "ALTER TABLE acc DROP COLUMN kind;"}
        schema = Schema(server)
        schema.expand([parse("0007_data", files, "")], "shop", 2, {}, {})
        assert [each.obstacles for each in schema.pending(Around("shop", ()))] == [()]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_only_a_backfill_fills_is_foretold_and_filled_by_the_way_that_is_named(request: pytest.FixtureRequest, dialect: str) -> None:
    with ExitStack() as stack, closing(connect(urls(dialect, stack, request)[0])) as server:
        server.rows("CREATE TABLE acc (id int PRIMARY KEY, phone varchar(20))")
        server.rows("INSERT INTO acc VALUES (1, '555')")
        migration = parse("0007_tel", {"expand.sql": "ALTER TABLE acc ADD COLUMN tel varchar(20);", "backfill.sql": "UPDATE acc SET tel = phone;"}, "")
        schema = Schema(server)
        (said,) = Foresight(schema).risks(migration)
        assert "nothing but the backfill fills tel of acc" in said
        assert "once no old version runs, `bleen migrate backfill 0007_tel` fills these" in said
        schema.expand([migration], "shop", 2, {}, {})
        server.rows("INSERT INTO acc (id, phone) VALUES (2, '777')")
        schema.backfill("0007_tel")
        assert server.rows("SELECT tel FROM acc ORDER BY id") == [("555",), ("777",)]


@pytest.mark.parametrize(
    "expand",
    [
        "ALTER TABLE acc ADD COLUMN tel text DEFAULT 'none';",
        "ALTER TABLE acc ADD COLUMN tel text; CREATE TRIGGER fills AFTER INSERT ON acc BEGIN UPDATE acc SET tel = NEW.phone WHERE id = NEW.id; END;",
        "ALTER TABLE acc ADD COLUMN other text;",
    ],
    ids=["a default", "a trigger", "it was there"],
)
def test_a_backfill_of_what_something_else_fills_too_is_nothing_to_beware_of(tmp_path: Path, expand: str) -> None:
    with file(tmp_path, f"CREATE TABLE acc (id integer PRIMARY KEY, phone text{', tel text' if 'tel' not in expand else ''})") as schema:
        files = {"expand.sql": expand, "backfill.sql": "UPDATE acc SET tel = phone;"}
        assert not any("nothing but the backfill" in each for each in Foresight(schema).risks(parse("0007_tel", files, "")))


PAIRED = """
[[sync]]
table = "acc"
old = ["phone"]
new = ["tel"]
forward = { tel = "phone" }
backward = { phone = "tel" }
on_conflict = "new"
"""


@pytest.mark.parametrize(
    "files",
    [
        {"backfill.sql": "UPDATE acc SET tel = 'none';"},
        {"contract.sql": "ALTER TABLE acc DROP COLUMN fax;"},
        {"migration.toml": PAIRED},
        {"backfill.sql": "UPDATE log SET at = 'phone';"},
    ],
)
def test_a_backfill_that_loses_nothing_with_the_contract_is_not_told_of(base: Base, files: dict[str, str]) -> None:
    with base.connect() as db:
        db.execute("CREATE TABLE acc (id int PRIMARY KEY, phone text, fax text); CREATE TABLE log (id int PRIMARY KEY, at text)")
    plain = {"expand.sql": "ALTER TABLE acc ADD COLUMN tel text;", "backfill.sql": "UPDATE acc SET tel = phone;"}
    migration = parse("0007_tel", {**plain, "contract.sql": "ALTER TABLE acc DROP COLUMN phone;", **files}, "")
    schema = Schema(base.open())
    assert not [each for each in Foresight(schema).risks(migration) if "backfill makes" in each]
    schema.expand([migration], "shop", 2, {}, {})
    schema.server.rows("INSERT INTO acc (id, phone) VALUES (3, '777')")
    assert [each.obstacles for each in schema.pending(Around("shop", ()))] == [()]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_rows_that_a_revert_loses_outside_of_pairs_are_counted(request: pytest.FixtureRequest, dialect: str) -> None:
    """'`revert` ... counts the values that would be lost.'"""
    with ExitStack() as stack, closing(connect(urls(dialect, stack, request)[0])) as server:
        server.rows("CREATE TABLE acc (id int PRIMARY KEY, phone varchar(20))")
        server.rows("INSERT INTO acc VALUES (1, '1'), (2, '2'), (3, '3')")
        more = "ALTER TABLE acc ADD COLUMN tel varchar(20); ALTER TABLE acc ADD COLUMN vip int NOT NULL DEFAULT 0; ALTER TABLE acc ADD COLUMN note varchar(9)"
        files = {"expand.sql": f"CREATE TABLE bill (id int PRIMARY KEY); {more};", "backfill.sql": "UPDATE acc SET tel = phone;"}
        schema = Schema(server)
        schema.expand([parse("0007_tel", files, "")], "shop", 2, {}, {})
        assert schema.losses("0007_tel") == {"bill": 0, "acc (tel, vip, note)": 0}
        server.rows("INSERT INTO acc (id, phone) VALUES (4, '4')")  # as the old version does
        server.rows("INSERT INTO bill VALUES (1), (2)")
        server.rows("UPDATE acc SET tel = 'new' WHERE id = 1")
        server.rows("UPDATE acc SET tel = 'new', vip = 1 WHERE id = 2")
        assert schema.losses("0007_tel") == {"bill": 2, "acc (tel, vip, note)": 2}
        server.rows("DROP TABLE bill")  # as a revert does that stops half way
        server.rows("ALTER TABLE acc DROP COLUMN vip")
        server.rows(*schema.ledger.reached("0007_tel", State.REVERTING))
        assert schema.losses("0007_tel") == {"acc (tel, note)": 2}


@pytest.mark.parametrize(
    ("files", "lost"),
    [
        ({"backfill.sql": "UPDATE acc SET tel = CAST(phone AS integer);"}, {"bill": 1, "acc (tel)": 1}),  # which fails for what the old version wrote since
        ({"revert.sql": 'DROP TABLE public."bill" CASCADE; ALTER TABLE ONLY acc ALTER phone DROP DEFAULT, DROP tel;'}, {"public.bill": 1, "acc (tel)": 1}),
        ({"revert.sql": "UPDATE acc SET phone = tel; ALTER TABLE acc DROP tel; INSERT INTO old_bill SELECT * FROM bill; DROP TABLE bill;"}, {}),
        ({"revert.sql": "-- bleen: irreversible nobody knows"}, {}),
    ],
)
def test_what_a_revert_loses_goes_by_what_its_sql_drops_and_does_not_bring_elsewhere(base: Base, files: dict[str, str], lost: dict[str, int]) -> None:
    with base.connect() as db:
        db.execute("CREATE TABLE acc (id int PRIMARY KEY, phone text); CREATE TABLE old_bill (id int)")
    expand = "CREATE TABLE bill (id int); ALTER TABLE acc ADD COLUMN tel int;"
    schema = Schema(base.open())
    schema.expand([parse("0007_tel", {"expand.sql": expand, **files}, "")], "shop", 2, {}, {})
    with base.connect() as db:
        db.execute("INSERT INTO acc VALUES (1, 'x', 1), (2, NULL, NULL); INSERT INTO bill VALUES (1)")
    assert schema.losses("0007_tel") == lost
